"""A run: the parameters of one training, its state, and how both are kept on disk.

A run continues from the checkpoint in its folder. The checkpoint carries all that changes; samples and learning rate
depend on the position alone, so that the end is the same as without an interruption.
"""

import dataclasses
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from gccpm_lib import checkpoints, provenance
from gccpm_lib.files import write_beside
from gccpm_lib.network import BACKBONE_LAYERS, GCCPM
from gccpm_lib.recipes import Recipe, check_input_size, get_recipe
from gccpm_lib.training import distributed, transfer
from gccpm_lib.training.objective import parameter_groups
from gccpm_lib.training.precision import make_scaler


@dataclass(frozen=True)
class Run:
    """One training. Names follow the released scripts' options; where None is possible it means the recipe's value."""

    dataset_folder: str
    output_folder: str  # gets checkpoint.pt, history.json and run.json
    recipe: str = "lip-modern"
    checkpoint_path: str = ""  # weights to start from; "" with from_mobilenet: the shipped MobileNet
    from_mobilenet: bool = True  # checkpoint_path is a MobileNet, not a whole network
    weights_only: bool = True  # False: take over optimiser and position of checkpoint_path too
    fresh_refinement: bool = False  # checkpoint_path gives everything but the refinement stages, which start anew
    num_refinement_stages: int | None = None
    context: str | None = None  # block in front of each refinement stage
    input_size: tuple[int, int] | None = None  # height, width
    sigma: float | None = None
    rotation_degrees: float | None = None
    half_turn_probability: float | None = None
    quadrangle_probability: float | None = None
    base_lr: float | None = None
    frozen_layers: int | None = None  # first layers of the backbone that aren't trained
    batch_size: int | None = None
    num_epochs: int | None = None
    progressive: tuple[tuple[float, float], ...] | None = None
    ema_decay: float | None = None
    precision: str | None = None  # "float32", "bfloat16" or "float16"
    batches_per_iter: int = 1  # batches whose gradients are added up for one optimiser step
    num_workers: int = 0  # processes that load pictures; 0: this one
    log_after: int = 100  # batches between two lines of the log
    checkpoint_after: int = 500  # batches between two checkpoints; each epoch ends with one too
    train_labels: str = ""  # COCO: file of the training labels; "": the official name
    val_labels: str = ""
    train_and_val: bool = False  # train on both splits, as for the README's final test number
    num_train_persons: int | None = None  # the first so many
    num_val_persons: int = 1000  # the first so many validate each epoch (1000 as published); 0: none
    on_bad_sample: str = "error"  # "skip": leave out rows and pictures that can't be read, and list them
    device: str = "cpu"
    seed: int = 0

    def full_recipe(self) -> Recipe:
        """The named recipe with this run's own values put in."""
        recipe = get_recipe(self.recipe)
        names = {f.name for f in dataclasses.fields(Run)} & {f.name for f in dataclasses.fields(Recipe)}
        own = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        full = dataclasses.replace(recipe, **{k: tuple(v) if isinstance(v, list) else v for k, v in own.items()})
        check_input_size(full)
        if not 0 <= full.frozen_layers <= 1 + len(BACKBONE_LAYERS):
            raise ValueError(f"frozen_layers {full.frozen_layers}: the backbone has {1 + len(BACKBONE_LAYERS)} layers")
        if self.on_bad_sample not in ("error", "skip"):
            raise ValueError(f"on_bad_sample {self.on_bad_sample!r}: give 'error' or 'skip'")
        return full

    @property
    def checkpoint_file(self) -> Path:
        return Path(self.output_folder) / "checkpoint.pt"


def from_parameters(parameters: Mapping[str, object], **own) -> Run:
    """The run that a notebook's parameters ask for: those with a field's name that aren't None; own goes before.

    from_mobilenet None: where no checkpoint_path says otherwise.
    """
    names = {field.name for field in dataclasses.fields(Run)}
    given = {name: value for name, value in parameters.items() if name in names and value is not None} | own
    given.setdefault("from_mobilenet", not given.get("checkpoint_path"))
    return Run(**given)


def empty_sums() -> dict:
    """What an epoch adds up: persons, seconds, and each stage's loss times persons."""
    return {"persons": 0, "train_s": 0.0, "losses": 0.0}


@dataclass
class State:
    """All that changes while a network is trained."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    average: AveragedModel | None  # moving average of the weights, which is what is kept where there is one
    data: str = ""  # fingerprint of the training persons
    start: str = ""  # hash of the weights that it began with
    epoch: int = 0  # whole epochs done
    batch: int = 0  # batches of the next epoch done
    history: list[dict] = dataclasses.field(default_factory=list)  # one row per epoch
    sums: dict = dataclasses.field(default_factory=empty_sums)  # over the batches of this epoch
    skipped: dict[str, str] = dataclasses.field(default_factory=dict)  # row or picture left out -> why
    scaler: torch.amp.GradScaler = dataclasses.field(default_factory=lambda: make_scaler("cpu", "float32"))
    parallel: nn.Module | None = None  # around the network, where several processes train it

    @property
    def kept_network(self) -> nn.Module:
        return self.average.module if self.average else self.network


def start(run: Run, recipe: Recipe, data: str = "", say=print) -> State:
    """Network, optimiser and position: from the run's own checkpoint, another checkpoint, MobileNet, or from nothing.

    data is the training persons' `fingerprint`. Raises ValueError where checkpoint_path doesn't hold what is asked of it.
    """
    torch.manual_seed(run.seed)
    network = GCCPM(recipe.num_heatmaps, recipe.num_refinement_stages, context=recipe.context, upsampling=recipe.upsampling)
    saved = own = own_checkpoint(run, data, say)
    if run.from_mobilenet and not run.weights_only:
        raise ValueError("weights_only=False takes over a training; give from_mobilenet=False with it")
    if saved is None and run.from_mobilenet:
        checkpoints.load_backbone(network, run.checkpoint_path or None, recipe)
    elif saved is None and run.checkpoint_path and run.weights_only:
        transfer.start_from(network, run.checkpoint_path, recipe, say, run.fresh_refinement)
    elif saved is None and run.checkpoint_path:
        saved = checkpoints.read_checkpoint(run.checkpoint_path)
    network.model[: recipe.frozen_layers].requires_grad_(False)
    network = distributed.with_joint_norms(network, run.device).to(run.device, memory_format=torch.channels_last)
    make_optimizer = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
    optimizer = make_optimizer(parameter_groups(network, recipe), fused=True)
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    average = None
    if recipe.ema_decay:
        average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema_decay), use_buffers=True)
    state = State(network, optimizer, average, data, own.get("start", "") if own else start_hash(run))
    state.scaler = make_scaler(run.device, recipe.precision)
    if saved is not None:
        resume(state, saved)
    return state


# What may differ between the run that wrote a checkpoint and the one that continues it.
FREE_TO_CHANGE = {
    "output_folder", "dataset_folder", "num_workers", "log_after", "checkpoint_after", "device",
}  # fmt: skip
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


def own_checkpoint(run: Run, data: str, say) -> dict | None:
    """The checkpoint that this run left behind, if any. One of another run is moved aside with its folder, and said."""
    saved = last_whole_checkpoint(run.checkpoint_file, say)
    if saved is None:
        return None
    own, then = _as_json(run), {**DEFAULTS, **saved.get("run", {})}  # a file older than an option had its default
    started = start_hash(run)
    free = FREE_TO_CHANGE | ({"checkpoint_path"} if started and saved.get("start") == started else set())
    differing = [name for name in own if name not in free and own[name] != then.get(name)]
    changes = [f"{name} {then.get(name)!r} -> {own[name]!r}" for name in differing]
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
    for name in ("epoch", "batch", "history", "sums"):
        setattr(state, name, saved[name])


def skipped_table(run: Run) -> pd.DataFrame:
    """What on_bad_sample="skip" left out of a training, a row each: sample, reason."""
    file = run.checkpoint_file.with_name("skipped.json")
    skipped = json.loads(file.read_text()) if file.exists() else {}
    return pd.DataFrame(list(skipped.items()), columns=["sample", "reason"])


def history_table(history: Sequence[dict]) -> pd.DataFrame:
    """The history by epoch: speed, seconds, the loss of every stage and the validation scores."""
    return pd.DataFrame(
        [
            {"epoch": row["epoch"], "images/s": row["images_per_s"], "seconds": row["train_s"]}
            | {f"loss {stage}": loss for stage, loss in enumerate(row["losses"])}
            | row.get("val", {})
            for row in history
        ]
    ).set_index("epoch")


def total_speed(history: Sequence[dict]) -> float:
    """Images per second over the whole training."""
    seconds = sum(row["train_s"] for row in history)
    return sum(row["images_per_s"] * row["train_s"] for row in history) / seconds


def _as_json(run: Run) -> dict:
    return json.loads(json.dumps(dataclasses.asdict(run)))


def save(state: State, run: Run, recipe: Recipe) -> None:
    """Write the checkpoint and, beside it in readable form, the history and the run; the first process alone does."""
    state.skipped = distributed.united(state.skipped)
    if distributed.rank():
        return
    checkpoint = {
        "network": state.kept_network.state_dict(),
        "shape": state.network.shape,
        "recipe": recipe.name,
        "input_size": list(recipe.input_size),
        "sigma": recipe.sigma,
        "skeleton": recipe.skeleton.as_dict(),
        "data": state.data,
        "start": state.start,
        "run": _as_json(run),
        "trained": state.network.state_dict(),
        "average": state.average.state_dict() if state.average else None,
        "optimizer": state.optimizer.state_dict(),
        "scaler": state.scaler.state_dict(),
        "num_processes": distributed.num_processes(),
        "skipped": state.skipped,
        "provenance": provenance.of_process(),
        **{name: getattr(state, name) for name in ("epoch", "batch", "history", "sums")},
    }
    checkpoints.save_checkpoint(run.checkpoint_file, checkpoint)
    write_readable(state, run)


def write_readable(state: State, run: Run) -> None:
    """The history and the run beside the checkpoint; the first process alone writes."""
    if distributed.rank():
        return
    for name, content in (("history", state.history), ("run", _as_json(run)), ("skipped", state.skipped)):
        if name == "skipped" and not content:
            continue
        write_beside(run.checkpoint_file.with_name(f"{name}.json"), json.dumps(content, indent=1))
