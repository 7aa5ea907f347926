"""Training: one resumable loop for every recipe.

    python -m gccpm_lib.training run.json
    torchrun --nproc-per-node=4 -m gccpm_lib.training run.json    (several devices, see `distributed`)

run.json holds the fields of `run.Run`. Data flows through in one direction: records -> batches -> losses -> weights,
and after every epoch a row of the history and a checkpoint.
"""

import contextlib
import json
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from gccpm_lib.datasets.layouts import read_persons, with_skeleton
from gccpm_lib.datasets.records import RAISE, BadSamples, DataError, Person, fingerprint
from gccpm_lib.devices import autocast, training_settings
from gccpm_lib.evaluation.validation import Validation, kind_of, read_validation
from gccpm_lib.files import locked, write_beside
from gccpm_lib.loading import Batch, Key, TrainingSet, epoch_batches, give_batches, make_loader
from gccpm_lib.prediction.predictor import PosePredictor, normalise
from gccpm_lib.progress import tqdm
from gccpm_lib.recipes import STRIDE, Recipe
from gccpm_lib.training import distributed, signals
from gccpm_lib.training.checkpointing import save, write_readable
from gccpm_lib.training.frozen import KeptBatch, kept_batches
from gccpm_lib.training.memory import keep_freed_memory
from gccpm_lib.training.norms import fewest_values, statistics_kept
from gccpm_lib.training.objective import frozen_modules, learning_rate_factor, parameter_groups, stage_losses
from gccpm_lib.training.run import Run, State, Sums, check_functions
from gccpm_lib.training.start import start

__all__ = ["Run", "parameter_groups", "stage_losses", "train"]

NUM_EXAMPLES = 6
ASK_AFTER = 10  # steps after which several processes ask each other whether to stop


def train(run: Run, say: Callable[[str], None] = print, num_processes: int = 1) -> list[dict]:
    """Train to the end, from the run's checkpoint if there is one; returns the history, one row per epoch.

    A row: epoch, lr, losses of the stages, images_per_s, train_s, validation scores in percent, examples. An
    interrupt or SIGTERM ends the step and saves a checkpoint first. A checkpoint of another run is moved aside, never
    overwritten. num_processes: how many of this machine's devices to use, each by a process that torchrun starts. Raises
    FolderBusy where another process trains in this folder, and FloatingPointError where the loss isn't finite any more.
    """
    check_functions(run, num_processes)
    with signals.terminable():
        return train_by_torchrun(run, say, num_processes) if num_processes > 1 else train_here(run, say)


def train_here(run: Run, say: Callable[[str], None]) -> list[dict]:
    """`train` in this process, which may be one of several."""
    keep_freed_memory()
    bad = BadSamples(run.on_bad_sample)
    recipe, persons = read_training(run, bad)
    validation = read_validation_of(run, recipe, bad)
    with distributed.joined(run.device) as device, training_settings(device, run.deterministic), held(run):
        say = say if distributed.rank() == 0 else silent
        run = replace(run, device=device)
        with distributed.first_before_others():  # it may move another run's folder aside
            state = start(run, recipe, fingerprint(persons, recipe.skeleton), say)
        distributed.check_agreement((state.epoch, state.batch), run.checkpoint_file.parent)
        model = distributed.parallel(state.network)
        state.model = torch.compile(model) if run.compile else model
        state.skipped = {skip.name: skip.reason for skip in bad.skipped} | state.skipped
        samples = TrainingSet(persons, recipe, run.seed, run.on_bad_sample, run.augmentation)
        loader = make_loader(samples, [], run.num_workers, device)
        while state.epoch < recipe.num_epochs:
            train_epoch(state, run, recipe, loader, say)
            finish_epoch(state, run, recipe, validation, say)
        write_readable(state, run)  # whoever was killed right after the last checkpoint hadn't come to it
    return state.history


def train_epoch(state: State, run: Run, recipe: Recipe, loader: DataLoader, say) -> None:
    """Train the rest of the epoch that state stands in, step by step; a step's batches are its micro-batches."""
    batches = epoch_batches(len(loader.dataset), state.epoch, recipe, run.seed)
    steps = [batches[i : i + run.batches_per_iter] for i in range(state.batch, len(batches), run.batches_per_iter)]
    own = [distributed.share(batch) for step in steps for batch in step]
    state.network.train()
    for name in frozen_modules(recipe):
        state.network.get_submodule(name).eval()  # its batch normalisation stays as it is
    loaded = kept_batches(state.network, loader, own, run, recipe) if run.frozen_folder else give_batches(loader, own)
    then = time.perf_counter()
    with progress(state.epoch, len(loader.dataset)) as bar, signals.kept_back() as stop_signal:
        bar.update(sum(map(len, batches[: state.batch])))
        for number, step in enumerate(steps, 1):
            micro_batches = [next(loaded) for _ in step]
            middle = state.epoch + (state.batch + len(step) / 2) / len(batches)  # so that no step has the rate 0
            losses, persons = optimiser_step(state, micro_batches, recipe, run.device, _rate(state, recipe, middle))
            state.batch += len(step)
            state.sums.add(losses, persons, step)
            state.skipped |= {skip.name: skip.reason for batch in micro_batches for skip in batch.skipped}

            last = number == len(steps)
            log, keep = (state.batch % n < run.batches_per_iter and not last for n in (run.log_after, run.checkpoint_after))
            if log or last or run.device == "cpu":  # more often, a GPU would be waited for
                check(state, step, loader.dataset.persons)
            state.sums.train_s += (now := time.perf_counter()) - then
            then = now
            bar.update(persons)
            if log:
                say(f"epoch {state.epoch + 1} batch {state.batch}/{len(batches)}: {_summary(state.sums)}")
            stop = distributed.agreed(stop_signal()) if number % ASK_AFTER == 0 or last or _alone() else 0
            if keep or stop or last:
                check(state, step, loader.dataset.persons, weights=True)
            if keep or stop:
                save(state, run, recipe)
            if stop:
                say(f"interrupted in epoch {state.epoch + 1}; run again to continue from {run.checkpoint_file}")
                signals.stop(stop)


def optimiser_step(state: State, batches: Sequence[Batch], recipe: Recipe, device: str, rate: float) -> tuple[Tensor, int]:
    """One step on the gradient over all the batches of all processes together; rate multiplies the initial learning rates.

    Returns the mean loss of every stage, on the device, since to read it is to wait for it; and how many samples there
    were: without any, nothing is done.
    """
    total = distributed.total(sum(batch.count for batch in batches))
    losses = torch.zeros(1 + recipe.num_refinement_stages, device=device)
    if not total:
        return losses, 0
    for group in state.optimizer.param_groups:
        group["lr"] = group["initial_lr"] * rate
    state.optimizer.zero_grad()
    for number, batch in enumerate(batches, 1):
        if not batch.count and _alone():
            continue
        with distributed.gradients_added_up(state.model, now=number == len(batches)):
            stages = batch_losses(state, batch, recipe, device)
            share = batch.count / total
            whole = stages.sum() * share * distributed.num_processes()  # the processes' gradients are averaged
            state.scaler.scale(whole).backward()
        losses += stages.detach() * share
    state.scaler.step(state.optimizer)
    state.scaler.update()
    if state.average is not None:
        state.average.update(state.network)
    return distributed.summed(losses), total


def batch_losses(state: State, batch: Batch | KeptBatch, recipe: Recipe, device: str) -> Tensor:
    """Each stage's loss, (stages,); zeros that still have a gradient for an empty batch."""
    inputs, targets, weights, others = (tensor.to(device, non_blocking=True) for tensor in batch.tensors)
    flat = fewest_values(state.network, batch.count, *batch.size) < 2
    # On maps a single column wide, CPUs' bfloat16 gradient of a strided convolution holds numbers never written.
    precision = recipe.precision if min(batch.size) > 2 * STRIDE else "float32"
    with autocast(precision, device), statistics_kept(state.network, flat):
        kept = isinstance(batch, KeptBatch)  # features and heatmaps, else images and channel orders
        outputs = state.network.refine(inputs, others) if kept else state.model(normalise(inputs, recipe, others))
        outputs = [output.float() for output in outputs]  # (N, H, h, w) each
    if not batch.count:
        return torch.stack([output.sum() for output in outputs])
    return torch.stack(stage_losses(outputs, targets, weights, recipe))


def check(state: State, step: list[list[Key]], persons: Sequence[Person], weights: bool = False) -> None:
    """Read the losses of the last steps; FloatingPointError naming the persons where one, or a weight, isn't finite."""
    bad = state.sums.read()
    if bad is None and weights and not _finite(state.network):
        bad = step
    if bad is not None:
        names = ", ".join(_name(persons[key.index]) for batch in bad for key in batch)
        raise FloatingPointError(
            f"epoch {state.epoch + 1}: the loss is not finite any more after the step on {names}; "
            "the last checkpoint is from before: lower base_lr, or look at these persons' labels"
        )


def finish_epoch(state: State, run: Run, recipe: Recipe, validation: Validation | None, say) -> None:
    """Validate, add the epoch's row to the history and save, so that a checkpoint between epochs holds all three."""
    save(state, run, recipe)  # an interrupted validation must not cost the epoch
    found = predict(state, run, recipe, validation) if validation else None
    row = distributed.from_first(None if distributed.rank() else epoch_row(state, run, recipe, validation, found))
    score = f", val {validation.headline(row['val'])}" if validation else ""
    say(f"epoch {row['epoch']}/{recipe.num_epochs}: {_summary(state.sums)}{score}")
    state.history.append(row)
    state.epoch, state.batch, state.sums = state.epoch + 1, 0, Sums()
    save(state, run, recipe)


def predict(state: State, run: Run, recipe: Recipe, validation: Validation) -> np.ndarray:
    """Keypoints (N, K, 3) of the validation's persons, to which all processes contribute."""
    network = state.kept_network
    distributed.take_first_buffers(network)
    precision = "float32" if run.device == "cpu" else recipe.precision
    predictor = PosePredictor(network, recipe, device=run.device, precision=precision)
    own = distributed.share(validation.subjects)
    return distributed.interleaved(predictor.predict_persons(own, num_workers=run.num_workers))


def epoch_row(state: State, run: Run, recipe: Recipe, validation: Validation | None, found: np.ndarray | None) -> dict:
    """The history's row of the epoch that was just trained, found being what the network finds of the validation."""
    sums = state.sums
    if not sums.persons:
        raise DataError(f"{run.dataset_folder}: no sample of epoch {state.epoch + 1} could be read; see skipped.json")
    row = {
        "epoch": state.epoch + 1,
        "lr": recipe.base_lr * _rate(state, recipe, state.epoch + 1),
        "losses": sums.mean_losses,
        "images_per_s": sums.persons / sums.train_s,
        "train_s": sums.train_s,
    }
    if validation:
        row["val"] = validation.scores(found)
        row["examples"] = found[:NUM_EXAMPLES].tolist()  # how the first predictions get better, epoch by epoch
    return row


def read_training(run: Run, bad: BadSamples = RAISE) -> tuple[Recipe, list[Person]]:
    """The run's recipe, with the joints that the training labels list, and its training persons."""
    recipe = with_skeleton(run.full_recipe(), run.dataset_folder, run.train_labels, run.val_labels)
    persons = read_persons(run.dataset_folder, "train", recipe, run.train_labels, bad)
    if run.train_and_val:
        persons += read_persons(run.dataset_folder, "val", recipe, run.val_labels, bad)
    return recipe, persons[: run.num_train_persons]


def read_validation_of(run: Run, recipe: Recipe, bad: BadSamples = RAISE) -> Validation | None:
    """Whom the run is validated on; None where it isn't."""
    if not run.num_val_persons:
        return None
    return read_validation(run.dataset_folder, recipe, labels=run.val_labels, num_persons=run.num_val_persons, bad=bad)


def train_by_torchrun(run: Run, say: Callable[[str], None], num_processes: int) -> list[dict]:
    """The same in processes of their own; the history is read from their file."""
    with tempfile.TemporaryDirectory() as folder:
        file = write_beside(Path(folder) / "run.json", json.dumps(run.as_json()))
        distributed.launch(file, num_processes, say)
    return json.loads(run.checkpoint_file.with_name("history.json").read_text(encoding="utf-8"))


def held(run: Run) -> contextlib.AbstractContextManager:
    """The run's folder, held against other trainings; the first of several processes holds it for all."""
    folder = run.checkpoint_file.parent
    return contextlib.nullcontext() if distributed.rank() else locked(folder.parent, f".{folder.name}.lock")


def silent(_: str) -> None:
    """What the other processes say."""


def progress(epoch: int, total: int) -> tqdm:
    """A bar over the persons of an epoch; the first process's alone is shown."""
    hidden = {"disable": True} if distributed.rank() else {}
    return tqdm(total=total, desc=f"epoch {epoch + 1}", unit="img", leave=False, **hidden)


def _alone() -> bool:
    return distributed.num_processes() == 1


def _rate(state: State, recipe: Recipe, epochs_done: float) -> float:
    scores = [row["val"][kind_of(recipe).main_score] for row in state.history if "val" in row]
    return learning_rate_factor(recipe, epochs_done, [100 - score for score in scores if not math.isnan(score)])


def _finite(network: nn.Module) -> bool:
    return bool(torch.stack([value.isfinite().all() for value in network.state_dict().values()]).all())


def _name(person: Person) -> str:
    return person.name if person.annotation_id is None else f"{person.name} (annotation {person.annotation_id})"


def _summary(sums: Sums) -> str:
    losses = " ".join(f"{loss:.3f}" for loss in sums.mean_losses)
    return f"losses {losses}, {sums.persons / sums.train_s:.1f} images/s"
