"""A run on disk: it continues from the checkpoint in its folder, and never writes over another run's.

The checkpoint carries all that changes; samples and learning rate depend on the position alone, so that the end is the
same as without an interruption.
"""

import dataclasses
import hashlib
import itertools
import json
from pathlib import Path

from gccpm_lib import checkpoints, provenance
from gccpm_lib.files import write_beside
from gccpm_lib.recipes import Recipe, get_recipe
from gccpm_lib.training import distributed
from gccpm_lib.training.run import Run, State, Sums

# What may differ between the run that wrote a checkpoint and the one that continues it: nothing that is trained.
FREE_TO_CHANGE = {
    "output_folder", "dataset_folder", "num_workers", "log_after", "checkpoint_after", "on_bad_sample", "device",
    "frozen_folder",
}  # fmt: skip
VALIDATION = {"num_val_persons", "val_labels"}  # free too, unless the schedule goes by the validation's scores
DEFAULTS = {field.name: field.default for field in dataclasses.fields(Run) if field.default is not dataclasses.MISSING}


def start_hash(run: Run) -> str:
    """Hash of the weights that the run starts from; "" where there is no such file (any more)."""
    if not run.checkpoint_path:
        return ""
    try:
        weights = checkpoints.network_weights(checkpoints.read_checkpoint(run.checkpoint_path))
    except FileNotFoundError:
        return ""
    return checkpoints.weights_hash(weights)


def effective(parameters: dict) -> dict:
    """A run's fields as JSON, the recipe's values in place of None: to write one out makes no other training of it."""
    recipe = json.loads(json.dumps(dataclasses.asdict(get_recipe(parameters["recipe"]))))
    return {name: recipe.get(name) if value is None else value for name, value in parameters.items()}


def own_checkpoint(run: Run, data: str, say) -> dict | None:
    """The checkpoint that this run left behind, if any. One of another run is moved aside with its folder, and said."""
    saved = last_whole_checkpoint(run.checkpoint_file, say)
    if saved is None:
        return None
    own, then = effective(run.as_json()), effective({**DEFAULTS, **saved.get("run", {})})  # an older file had the defaults
    started = start_hash(run)
    free = FREE_TO_CHANGE | ({"checkpoint_path"} if started and saved.get("start") == started else set())
    free |= VALIDATION if run.full_recipe().schedule != "plateau" else set()
    differing = [name for name in own if name not in free and own[name] != then.get(name)]
    changes = [f"{name} {_brief(then.get(name))} -> {_brief(own[name])}" for name in differing]
    if saved.get("data", data) != data:
        changes.append("other training persons, labels or joints")
    if started and saved.get("start", started) != started:
        changes.append("other weights in checkpoint_path")
    processes = saved.get("num_processes", 1), distributed.num_processes()
    if not changes and processes[0] != processes[1]:
        say(f"trained by {processes[0]} process(es) before, {processes[1]} now: the end will differ a little")
    if not changes:
        return saved
    folder = run.checkpoint_file.parent
    aside = next(p for n in itertools.count(1) if not (p := folder.with_name(f"{folder.name}.{n}")).exists())
    folder.rename(aside)
    say(f"another run's checkpoint ({', '.join(changes)}) moved to {aside.name}; training anew")
    return None


def _brief(value: object) -> str:
    """A field's value for a line of the log: of a function, its name and which text it has."""
    if not isinstance(value, dict):
        return repr(value)
    return f"{value['name']} (text {hashlib.sha256(value['source'].encode()).hexdigest()[:7]})"


def last_whole_checkpoint(file: Path, say) -> dict | None:
    """The checkpoint, or the one before where it can't be read (and this is said); None where there is neither."""
    previous = checkpoints.previous_of(file)
    if not previous.exists():
        return checkpoints.read_checkpoint(file) if file.exists() else None
    try:
        return checkpoints.read_checkpoint(file)
    except (FileNotFoundError, ValueError) as error:
        say(f"{error}; going on from {previous.name}")
        return checkpoints.read_checkpoint(previous)


def resume(state: State, saved: dict) -> None:
    """Put a checkpoint's state in place; ValueError when it has none or fits another network.

    Learning rates and weight decay stay those of the run, so that a checkpoint can be gone on from at other rates.
    """
    if "trained" not in saved:
        raise ValueError("checkpoint_path holds no training of this library; give weights_only=True")
    rates = [{name: group[name] for name in ("lr", "initial_lr", "weight_decay")} for group in state.optimizer.param_groups]
    checkpoints.load_weights(state.network, saved["trained"], "checkpoint")
    state.optimizer.load_state_dict(saved["optimizer"])
    for group, own in zip(state.optimizer.param_groups, rates, strict=True):
        group.update(own)
    if state.average is not None:
        if saved["average"] is None:
            checkpoints.load_weights(state.average.module, saved["trained"], "checkpoint")
        else:
            state.average.load_state_dict(saved["average"])
    if state.scaler.is_enabled() and saved.get("scaler"):
        state.scaler.load_state_dict(saved["scaler"])
    state.skipped = saved.get("skipped", {})
    state.sums = Sums(**saved["sums"])
    for name in ("epoch", "batch", "history"):
        setattr(state, name, saved[name])


def save(state: State, run: Run, recipe: Recipe) -> None:
    """Write the checkpoint and, beside it in readable form, the history and the run; the first process alone does."""
    state.skipped = distributed.united(state.skipped)
    if distributed.rank():
        return
    checkpoint = {
        "network": state.kept_network.state_dict(),
        "shape": checkpoints.told_shape(state.network),
        "recipe": recipe.name,
        "input_size": list(recipe.input_size),
        "sigma": recipe.sigma,
        "skeleton": recipe.skeleton.as_dict(),
        "data": state.data,
        "start": state.start,
        "run": run.as_json(),
        "trained": state.network.state_dict(),
        "average": state.average.state_dict() if state.average else None,
        "optimizer": state.optimizer.state_dict(),
        "scaler": state.scaler.state_dict(),
        "num_processes": distributed.num_processes(),
        "skipped": state.skipped,
        "provenance": provenance.of_process(),
        "sums": state.sums.as_dict(),
        **{name: getattr(state, name) for name in ("epoch", "batch", "history")},
    }
    checkpoints.save_checkpoint(run.checkpoint_file, checkpoint)
    write_readable(state, run)


def write_readable(state: State, run: Run) -> None:
    """The history and the run beside the checkpoint; the first process alone writes."""
    if distributed.rank():
        return
    for name, content in (("history", state.history), ("run", run.as_json()), ("skipped", state.skipped)):
        if name == "skipped" and not content:
            continue
        write_beside(run.checkpoint_file.with_name(f"{name}.json"), json.dumps(content, indent=1))
