"""A run: the parameters of one training, and its state: all that changes while it trains."""

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from gccpm_lib.augment import Augmentation
from gccpm_lib.loading import Key
from gccpm_lib.network import BACKBONE_LAYERS, told_context
from gccpm_lib.provenance import told_function
from gccpm_lib.recipes import Recipe, check_input_size, get_recipe
from gccpm_lib.training.average import Average


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
    context: str | Callable | None = None  # block in front of each refinement stage; a function: one's own
    input_size: tuple[int, int] | None = None  # height, width
    sigma: float | None = None
    rotation_degrees: float | None = None
    half_turn_probability: float | None = None
    quadrangle_probability: float | None = None
    augmentation: Augmentation | None = None  # a function of one's own on each training crop, see augment.own_augmentation
    base_lr: float | None = None
    frozen_layers: int | None = None  # first layers of the backbone that aren't trained
    refinement_only: bool | None = None  # train the refinement stages alone
    frozen_folder: str = ""  # refinement_only: what stands before them is computed once for all trainings that share it
    batch_size: int | None = None
    num_epochs: int | None = None
    progressive: tuple[tuple[float, float], ...] | None = None
    ema_decay: float | None = None
    precision: str | None = None  # "float32", "bfloat16" or "float16"
    batches_per_iter: int = 1  # batches whose gradients are added up for one optimiser step
    num_workers: int = 0  # processes that load pictures; 0: this one
    log_after: int = 100  # batches between two lines of the log
    checkpoint_after: int = 500  # batches between two checkpoints; each epoch ends with one too
    train_labels: str = ""  # COCO: label file; both: a csv of corrections, alone or "mine.json + corrections.csv"
    val_labels: str = ""
    train_and_val: bool = False  # train on both splits, as for the README's final test number
    num_train_persons: int | None = None  # the first so many
    num_val_persons: int = 1000  # the first so many validate each epoch (1000 as published); 0: none
    on_bad_sample: str = "error"  # "skip": leave out rows and pictures that can't be read, and list them
    device: str = "auto"  # "cuda", "mps" or "cpu"; "auto": the first of these that is there
    sync_norm: bool | None = None  # statistics over all processes; None: where each has fewer than 16 samples of a batch
    compile: bool = False  # let torch.compile make kernels for the network; the first steps then take minutes
    deterministic: bool = False  # the same bits each time on a GPU too, more slowly
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
        if self.frozen_folder and not full.refinement_only:
            raise ValueError("frozen_folder: give refinement_only=True with it; else what would be kept is trained")
        if full.refinement_only and not full.num_refinement_stages:
            raise ValueError("refinement_only=True: num_refinement_stages is 0, so nothing is left to train")
        if self.on_bad_sample not in ("error", "skip"):
            raise ValueError(f"on_bad_sample {self.on_bad_sample!r}: give 'error' or 'skip'")
        return full

    @property
    def checkpoint_file(self) -> Path:
        return Path(self.output_folder) / "checkpoint.pt"

    def as_json(self) -> dict:
        """The fields as a file has them; a block and an augmentation of one's own by their names and source texts."""
        own = {"context": self.context and told_context(self.context)}
        own |= {"augmentation": self.augmentation and told_function(self.augmentation)}
        return json.loads(json.dumps(dataclasses.asdict(self) | own))


def check_functions(run: Run, num_processes: int = 1) -> None:
    """ValueError for a function of one's own that can't be called here: read from a file, without a name, or elsewhere."""
    for field in ("context", "augmentation"):
        own = getattr(run, field)
        if isinstance(own, Mapping):
            told = f"{field} {own.get('name')}: a file keeps its source text for people alone"
            raise ValueError(f"{told}; train from Python with Run({field}={own.get('name')}, ...)")
        if own is None or (field == "context" and isinstance(own, str)):
            continue
        if not callable(own) or not hasattr(own, "__name__"):
            raise ValueError(f"{field} {own!r}: give a function made by def, or a class")
        if num_processes > 1:
            raise ValueError(f"{field} {own.__name__}: a function of one's own trains in this process; num_processes=1")


def from_parameters(parameters: Mapping[str, object], **own) -> Run:
    """The run that a notebook's parameters ask for: those with a field's name that aren't None; own goes before.

    from_mobilenet None: where no checkpoint_path says otherwise.
    """
    names = {field.name for field in dataclasses.fields(Run)}
    given = {name: value for name, value in parameters.items() if name in names and value is not None} | own
    given.setdefault("from_mobilenet", not given.get("checkpoint_path"))
    return Run(**given)


def make_scaler(device: str, precision: str) -> torch.amp.GradScaler:
    """Keeps float16's small gradients from vanishing; does nothing in other precisions."""
    return torch.amp.GradScaler(torch.device(device).type, enabled=precision == "float16")


@dataclass
class Sums:
    """What an epoch adds up: persons, seconds, and each stage's loss times persons."""

    persons: int = 0
    train_s: float = 0.0
    losses: Tensor | float = 0.0  # (stages,) float64
    unread: list[tuple[Tensor, int, list[list[Key]]]] = dataclasses.field(default_factory=list)  # still on the device

    def add(self, losses: Tensor, persons: int, step: list[list[Key]]) -> None:
        """The mean losses of a step over so many persons. They stay where they are until `read`, so that no step waits."""
        self.persons += persons
        self.unread.append((losses, persons, step))

    def read(self) -> list[list[Key]] | None:
        """Bring the losses here, which waits for the device; the first step whose loss isn't finite, None where all are."""
        here = torch.stack([losses for losses, _, _ in self.unread]).cpu().double() if self.unread else []
        bad = None
        for losses, (_, persons, step) in zip(here, self.unread, strict=True):
            self.losses = self.losses + persons * losses
            bad = step if bad is None and not losses.isfinite().all() else bad
        self.unread.clear()
        return bad

    def as_dict(self) -> dict:
        """What a checkpoint holds."""
        return {"persons": self.persons, "train_s": self.train_s, "losses": self.losses}

    @property
    def mean_losses(self) -> list[float]:
        """Each stage's loss by person, nan without one."""
        return (self.losses / self.persons).tolist() if self.persons else [math.nan]


@dataclass
class State:
    """All that changes while a network is trained."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    average: Average | None  # of the weights, which is what is kept where there is one
    data: str = ""  # fingerprint of the training persons
    start: str = ""  # hash of the weights that it began with
    epoch: int = 0  # whole epochs done
    batch: int = 0  # batches of the next epoch done
    history: list[dict] = dataclasses.field(default_factory=list)  # one row per epoch
    sums: Sums = dataclasses.field(default_factory=Sums)  # over the steps of this epoch
    skipped: dict[str, str] = dataclasses.field(default_factory=dict)  # row or picture left out -> why
    scaler: torch.amp.GradScaler = dataclasses.field(default_factory=lambda: make_scaler("cpu", "float32"))
    model: nn.Module | None = None  # what is called: the network, or that compiled or shared among processes

    def __post_init__(self):
        self.model = self.model or self.network

    @property
    def kept_network(self) -> nn.Module:
        return self.average.module if self.average else self.network


def skipped_table(run: Run) -> pd.DataFrame:
    """What on_bad_sample="skip" left out of a training, a row each: sample, reason."""
    file = run.checkpoint_file.with_name("skipped.json")
    skipped = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
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
