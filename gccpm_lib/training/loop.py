"""Training: one resumable loop for every recipe.

    python -m gccpm_lib.training run.json
    torchrun --nproc-per-node=4 -m gccpm_lib.training run.json    (several devices, see `distributed`)

run.json holds the fields of `runs.Run`. Data flows through in one direction: records -> batches -> losses -> weights,
and after every epoch a row of the history and a checkpoint.
"""

import contextlib
import json
import math
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from gccpm_lib.datasets.layouts import read_persons, with_skeleton
from gccpm_lib.datasets.records import DataError, Person, Skip, fingerprint
from gccpm_lib.evaluation import validation as scoring
from gccpm_lib.files import locked, write_beside
from gccpm_lib.loading import Batch, TrainingSet, epoch_batches, give_batches, make_loader
from gccpm_lib.prediction.predictor import PosePredictor, normalise
from gccpm_lib.progress import tqdm
from gccpm_lib.recipes import Recipe
from gccpm_lib.training import distributed
from gccpm_lib.training.memory import keep_freed_memory
from gccpm_lib.training.objective import learning_rate_factor, parameter_groups, stage_losses
from gccpm_lib.training.precision import autocast
from gccpm_lib.training.run import Run, State, empty_sums, save, start, write_readable

__all__ = ["Run", "parameter_groups", "stage_losses", "train"]

NUM_EXAMPLES = 6


def train(run: Run, say: Callable[[str], None] = print, num_processes: int = 1) -> list[dict]:
    """Train to the end, from the run's checkpoint if there is one; returns the history, one row per epoch.

    A row: epoch, lr, losses of the stages, images_per_s, train_s, validation scores in percent, examples. An
    interrupt ends the batch and saves a checkpoint first. A checkpoint of another run is moved aside, never overwritten.
    num_processes: how many of this machine's devices to use, each by a process that torchrun starts. Raises FolderBusy
    where another process trains in this folder.
    """
    if num_processes > 1:
        return train_by_torchrun(run, say, num_processes)
    keep_freed_memory()
    skipped = []
    recipe, persons = read_training(run, skipped)
    validation = read_validation_of(run, recipe, skipped)
    with distributed.joined(run.device) as device, held(run):
        say = say if distributed.rank() == 0 else silent
        run = replace(run, device=device)
        with distributed.first_before_others():  # it may move another run's folder aside
            state = start(run, recipe, fingerprint(persons, recipe.skeleton), say)
        distributed.check_agreement((state.epoch, state.batch), run.checkpoint_file.parent)
        state.parallel = distributed.parallel(state.network)
        state.skipped = {skip.name: skip.reason for skip in skipped} | state.skipped
        loader = make_loader(TrainingSet(persons, recipe, run.seed, run.on_bad_sample), [], run.num_workers)
        while state.epoch < recipe.num_epochs:
            train_epoch(state, run, recipe, loader, say)
            finish_epoch(state, run, recipe, validation, say)
        write_readable(state, run)  # whoever was killed right after the last checkpoint hadn't come to it
    return state.history


def train_by_torchrun(run: Run, say: Callable[[str], None], num_processes: int) -> list[dict]:
    """The same in processes of their own; the history is read from their file."""
    with tempfile.TemporaryDirectory() as folder:
        file = write_beside(Path(folder) / "run.json", json.dumps(asdict(run)))
        distributed.launch(file, num_processes, say)
    return json.loads(run.checkpoint_file.with_name("history.json").read_text())


def held(run: Run) -> contextlib.AbstractContextManager:
    """The run's folder, held against other trainings; the first of several processes holds it for all."""
    folder = run.checkpoint_file.parent
    return contextlib.nullcontext() if distributed.rank() else locked(folder.parent, f".{folder.name}.lock")


def silent(_: str) -> None:
    """What the other processes say."""


def read_training(run: Run, skipped: list[Skip] | None = None) -> tuple[Recipe, list[Person]]:
    """The run's recipe, with the joints that the training labels list, and its training persons.

    What can't be read is an error or, with on_bad_sample="skip", added to skipped.
    """
    skipped = (skipped if skipped is not None else []) if run.on_bad_sample == "skip" else None
    recipe = with_skeleton(run.full_recipe(), run.dataset_folder, run.train_labels, run.val_labels)
    persons = read_persons(run.dataset_folder, "train", recipe, run.train_labels, skipped)
    if run.train_and_val:
        persons += read_persons(run.dataset_folder, "val", recipe, run.val_labels, skipped)
    return recipe, persons[: run.num_train_persons]


def read_validation_of(run: Run, recipe: Recipe, skipped: list[Skip]) -> scoring.Validation | None:
    """Whom the run is validated on; None where it isn't."""
    if not run.num_val_persons:
        return None
    left_out = skipped if run.on_bad_sample == "skip" else None
    return scoring.read_validation(
        run.dataset_folder, recipe, labels=run.val_labels, num_persons=run.num_val_persons, skipped=left_out
    )


def train_epoch(state: State, run: Run, recipe: Recipe, loader: DataLoader, say) -> None:
    """Train the rest of the epoch that state stands in."""
    batches = epoch_batches(len(loader.dataset), state.epoch, recipe, run.seed)
    shares = [distributed.share(batch) for batch in batches[state.batch :]]
    state.network.train()
    state.network.model[: recipe.frozen_layers].eval()  # their batch normalisation stays as it is
    pending, then = [], time.perf_counter()
    with progress(state.epoch, len(loader.dataset)) as bar, interrupts_kept_back() as interrupted:
        bar.update(sum(map(len, batches[: state.batch])))
        for number, batch in enumerate(give_batches(loader, shares), state.batch + 1):
            pending.append(batch)
            if len(pending) < run.batches_per_iter and number < len(batches):
                continue
            rate = _rate(state, recipe, state.epoch + state.batch / len(batches))
            losses, total = optimiser_step(state, pending, recipe, run.device, rate)
            state.skipped |= {skip.name: skip.reason for batch in pending for skip in batch.skipped}
            now = time.perf_counter()
            _add_up(state.sums, persons=total, train_s=now - then, losses=total * losses)
            state.batch, then, pending = number, now, []
            bar.update(total)
            if number % run.log_after < run.batches_per_iter and number < len(batches):
                say(f"epoch {state.epoch + 1} batch {number}/{len(batches)}: {_summary(state.sums)}")
            if number % run.checkpoint_after < run.batches_per_iter and number < len(batches):
                save(state, run, recipe)
            if distributed.anywhere(interrupted(), run.device):
                save(state, run, recipe)
                say(f"interrupted in epoch {state.epoch + 1}; run again to continue from {run.checkpoint_file}")
                raise KeyboardInterrupt


def progress(epoch: int, total: int) -> tqdm:
    """A bar over the persons of an epoch; the first process's alone is shown."""
    hidden = {"disable": True} if distributed.rank() else {}
    return tqdm(total=total, desc=f"epoch {epoch + 1}", unit="img", leave=False, **hidden)


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


def optimiser_step(state: State, batches: Sequence[Batch], recipe: Recipe, device: str, rate: float) -> tuple[Tensor, int]:
    """One step on the gradient over all the batches of all processes together; rate multiplies the initial learning rates.

    Returns the mean loss of every stage, and how many samples there were: without any, nothing is done.
    """
    total = int(distributed.summed(torch.tensor(sum(batch.count for batch in batches), device=device)))
    losses = torch.zeros(1 + recipe.num_refinement_stages, device=device)
    if not total:
        return losses.double(), 0
    state.optimizer.zero_grad()
    for batch in batches:
        pictures, targets, weights, orders = (tensor.to(device, non_blocking=True) for tensor in batch.tensors)
        with autocast(recipe, device):
            outputs = (state.parallel or state.network)(normalise(pictures, recipe, orders))
        stages = torch.stack(stage_losses([output.float() for output in outputs], targets, weights, recipe))
        share = batch.count / total
        whole = stages.sum() * share * distributed.num_processes()  # the processes' gradients are averaged
        state.scaler.scale(whole).backward()
        losses = losses + stages.detach() * share
    for group in state.optimizer.param_groups:
        group["lr"] = group["initial_lr"] * rate
    state.scaler.step(state.optimizer)
    state.scaler.update()
    if state.average is not None:
        state.average.update_parameters(state.network)
    return distributed.summed(losses).cpu().double(), total


def finish_epoch(state: State, run: Run, recipe: Recipe, validation: scoring.Validation | None, say) -> None:
    """Validate, add the epoch's row to the history and save, so that a checkpoint between epochs holds all three."""
    save(state, run, recipe)  # an interrupted validation must not cost the epoch
    row = distributed.from_first(None if distributed.rank() else epoch_row(state, run, recipe, validation))
    score = f", val {validation.headline(row['val'])}" if validation else ""
    say(f"epoch {row['epoch']}/{recipe.num_epochs}: {_summary(state.sums)}{score}")
    state.history.append(row)
    state.epoch, state.batch, state.sums = state.epoch + 1, 0, empty_sums()
    save(state, run, recipe)


def epoch_row(state: State, run: Run, recipe: Recipe, validation: scoring.Validation | None) -> dict:
    """The history's row of the epoch that was just trained; validates."""
    sums = state.sums
    if not sums["persons"]:
        raise DataError(f"{run.dataset_folder}: no sample of epoch {state.epoch + 1} could be read; see skipped.json")
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
    return row


def _rate(state: State, recipe: Recipe, epochs_done: float) -> float:
    scores = [row["val"][scoring.MAIN_SCORES[recipe.crop]] for row in state.history if "val" in row]
    return learning_rate_factor(recipe, epochs_done, [100 - score for score in scores if not math.isnan(score)])


def _add_up(sums: dict, **more) -> None:
    for name, value in more.items():
        sums[name] = sums[name] + value


def _summary(sums: dict) -> str:
    losses = " ".join(f"{loss:.3f}" for loss in (sums["losses"] / sums["persons"]).tolist())
    return f"losses {losses}, {sums['persons'] / sums['train_s']:.1f} images/s"
