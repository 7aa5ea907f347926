"""Training: one resumable loop for every recipe.

    python -m gccpm_lib.training run.json

run.json holds the fields of `runs.Run`. Data flows through in one direction: records -> batches -> losses -> weights,
and after every epoch a row of the history and a checkpoint.
"""

import contextlib
import functools
import json
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from gccpm_lib import scoring
from gccpm_lib.datasets.layouts import read_persons, with_skeleton
from gccpm_lib.datasets.records import Person
from gccpm_lib.loading import TrainingSet, epoch_batches, make_loader
from gccpm_lib.objective import learning_rate_factor, parameter_groups, stage_losses
from gccpm_lib.prediction import PosePredictor, normalise
from gccpm_lib.progress import tqdm
from gccpm_lib.recipes import Recipe
from gccpm_lib.runs import Run, State, empty_sums, fingerprint, save, start

__all__ = ["Run", "parameter_groups", "stage_losses", "train"]

NUM_EXAMPLES = 6


def train(run: Run, say: Callable[[str], None] = print) -> list[dict]:
    """Train to the end, from the run's checkpoint if there is one; returns the history, one row per epoch.

    A row: epoch, lr, losses of the stages, images_per_s, train_s, validation scores in percent, examples. An
    interrupt ends the batch and saves a checkpoint first. A checkpoint of another run is moved aside, never overwritten.
    """
    recipe, persons = read_training(run)
    validation = None
    if run.num_val_persons:
        validation = scoring.read_validation(
            run.dataset_folder, recipe, labels=run.val_labels, num_persons=run.num_val_persons
        )
    state = start(run, recipe, fingerprint(persons, recipe.skeleton), say)
    while state.epoch < recipe.num_epochs:
        train_epoch(state, run, recipe, persons, say)
        finish_epoch(state, run, recipe, validation, say)
    return state.history


def read_training(run: Run) -> tuple[Recipe, list[Person]]:
    """The run's recipe, with the joints that the training labels list, and its training persons."""
    recipe = with_skeleton(run.full_recipe(), run.dataset_folder, run.train_labels, run.val_labels)
    persons = read_persons(run.dataset_folder, "train", recipe, run.train_labels)
    if run.train_and_val:
        persons += read_persons(run.dataset_folder, "val", recipe, run.val_labels)
    return recipe, persons[: run.num_train_persons]


def train_epoch(state: State, run: Run, recipe: Recipe, persons: list[Person], say) -> None:
    """Train the rest of the epoch that state stands in."""
    batches = epoch_batches(len(persons), state.epoch, recipe, run.seed)
    loader = make_loader(TrainingSet(persons, recipe, run.seed), batches[state.batch :], run.num_workers)
    state.network.train()
    pending, then = [], time.perf_counter()
    bar = tqdm(total=len(persons), desc=f"epoch {state.epoch + 1}", unit="img", leave=False)
    with bar, interrupts_kept_back() as interrupted:
        bar.update(sum(map(len, batches[: state.batch])))
        for number, batch in enumerate(loader, state.batch + 1):
            pending.append(batch)
            if len(pending) < run.batches_per_iter and number < len(batches):
                continue
            rate = _rate(state, recipe, state.epoch + state.batch / len(batches))
            losses = optimiser_step(state, pending, recipe, run.device, rate)
            now, count = time.perf_counter(), sum(len(pictures) for pictures, *_ in pending)
            _add_up(state.sums, persons=count, train_s=now - then, losses=count * losses)
            state.batch, then, pending = number, now, []
            bar.update(count)
            if number % run.log_after < run.batches_per_iter and number < len(batches):
                say(f"epoch {state.epoch + 1} batch {number}/{len(batches)}: {_summary(state.sums)}")
            if number % run.checkpoint_after < run.batches_per_iter and number < len(batches):
                save(state, run, recipe)
            if interrupted():
                save(state, run, recipe)
                say(f"interrupted in epoch {state.epoch + 1}; run again to continue from {run.checkpoint_file}")
                raise KeyboardInterrupt


@contextlib.contextmanager
def interrupts_kept_back() -> Iterator[Callable[[], bool]]:
    """Yields a function that says whether an interrupt came meanwhile; none breaks into a step and leaves half of it."""
    came = []
    if threading.current_thread() is not threading.main_thread():  # signals only ever reach the main thread
        yield lambda: False
        return
    before = signal.signal(signal.SIGINT, lambda *_: came.append(True))
    try:
        yield lambda: bool(came)
    finally:
        signal.signal(signal.SIGINT, before)


def optimiser_step(state: State, batches: list, recipe: Recipe, device: str, rate: float) -> Tensor:
    """One step on the gradient over all the batches together; returns the mean loss of every stage.

    rate multiplies the groups' initial learning rates.
    """
    total, losses = sum(len(pictures) for pictures, *_ in batches), 0.0
    state.optimizer.zero_grad()
    for batch in batches:
        pictures, targets, weights, orders = (tensor.to(device, non_blocking=True) for tensor in batch)
        with autocast(recipe, device):
            outputs = state.network(normalise(pictures, recipe, orders))
        stages = torch.stack(stage_losses([output.float() for output in outputs], targets, weights, recipe))
        share = len(pictures) / total
        (stages.sum() * share).backward()
        losses = losses + stages.detach().cpu().double() * share
    for group in state.optimizer.param_groups:
        group["lr"] = group["initial_lr"] * rate
    state.optimizer.step()
    if state.average is not None:
        state.average.update_parameters(state.network)
    return losses


def autocast(recipe: Recipe, device: str) -> contextlib.AbstractContextManager:
    """bfloat16 where the recipe asks for it and the device computes in it; otherwise the context does nothing."""
    wanted = recipe.bf16 and computes_in_bf16(device)
    return torch.autocast(torch.device(device).type, torch.bfloat16) if wanted else contextlib.nullcontext()


@functools.cache
def computes_in_bf16(device: str) -> bool:
    """CUDA from Ampere on, and CPUs with AVX-512 BF16 or AMX; others emulate it, many times slower than float32."""
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    flags = Path("/proc/cpuinfo")
    return kind == "cpu" and flags.exists() and any(f in flags.read_text() for f in ("avx512_bf16", "amx_bf16"))


def finish_epoch(state: State, run: Run, recipe: Recipe, validation: scoring.Validation | None, say) -> None:
    """Validate, add the epoch's row to the history and save, so that a checkpoint between epochs holds all three."""
    save(state, run, recipe)  # an interrupted validation must not cost the epoch
    sums = state.sums
    row = {
        "epoch": state.epoch + 1,
        "lr": recipe.base_lr * _rate(state, recipe, state.epoch + 1),
        "losses": (sums["losses"] / sums["persons"]).tolist(),
        "images_per_s": sums["persons"] / sums["train_s"],
        "train_s": sums["train_s"],
    }
    if validation:
        found = PosePredictor(state.kept_network, recipe, device=run.device).predict_persons(validation.subjects)
        row["val"] = scoring.scores(validation, found)
        row["examples"] = found[:NUM_EXAMPLES].tolist()  # how the first predictions get better, epoch by epoch
    score = f", val {validation.headline(row['val'])}" if validation else ""
    say(f"epoch {row['epoch']}/{recipe.num_epochs}: {_summary(sums)}{score}")
    state.history.append(row)
    state.epoch, state.batch, state.sums = state.epoch + 1, 0, empty_sums()
    save(state, run, recipe)


def _rate(state: State, recipe: Recipe, epochs_done: float) -> float:
    scores = [row["val"][scoring.MAIN_SCORES[recipe.crop]] for row in state.history if "val" in row]
    return learning_rate_factor(recipe, epochs_done, [100 - score for score in scores if not math.isnan(score)])


def _add_up(sums: dict, **more) -> None:
    for name, value in more.items():
        sums[name] = sums[name] + value


def _summary(sums: dict) -> str:
    losses = " ".join(f"{loss:.3f}" for loss in (sums["losses"] / sums["persons"]).tolist())
    return f"losses {losses}, {sums['persons'] / sums['train_s']:.1f} images/s"


def main(path: str) -> None:
    """Train the run that a JSON file describes."""
    train(Run(**json.loads(Path(path).read_text())))


if __name__ == "__main__":
    main(sys.argv[1])
