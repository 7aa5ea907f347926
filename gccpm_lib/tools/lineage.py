"""What led to a network: the trainings behind a checkpoint, read from the checkpoints themselves."""

from collections.abc import Sequence
from pathlib import Path

from gccpm_lib import checkpoints
from gccpm_lib.recipes import changes
from gccpm_lib.training.label_cleaning import counts_of
from gccpm_lib.training.run import Run

SHOWN_APART = ("input_size", "sigma", "base_lr", "num_epochs", "half_turn_probability", "frozen_layers", "batch_size")


def training_steps(path: str | Path) -> list[dict]:
    """The trainings that led to a checkpoint, first to last: its own and those of the weights that it began with.

    A published file of ours says its steps itself; of another's nothing is known. Raises FileNotFoundError where a
    checkpoint or data set on the way is gone, and ValueError where it has been overwritten by another training since.
    """
    saved = checkpoints.read_checkpoint(path)
    if "run" not in saved:
        return saved.get("about", {}).get("steps", [])
    run = Run(**saved["run"])
    if run.from_mobilenet or not run.checkpoint_path:
        began_with = "MobileNet" if run.from_mobilenet else "random weights"
        return [_step(saved, run, began_with, 1)]
    began = checkpoints.network_weights(checkpoints.read_checkpoint(run.checkpoint_path))
    if checkpoints.weights_hash(began) != saved["start"]:
        raise ValueError(f"{path}: began with other weights than {run.checkpoint_path} holds now; put those back")
    earlier = training_steps(run.checkpoint_path)
    began_with = f"step {len(earlier)}" if earlier else Path(run.checkpoint_path).name
    if earlier and not run.weights_only:  # it goes on with the other's history
        began_with = earlier.pop()["began_with"]
    return [*earlier, _step(saved, run, began_with, len(earlier) + 1)]


def _step(saved: dict, run: Run, began_with: str, number: int) -> dict:
    if not Path(run.dataset_folder).is_dir():  # it tells whether its labels were corrected
        raise FileNotFoundError(f"{run.dataset_folder}: {run.output_folder} was trained on it, and it is gone; put it back")
    recipe, history = run.full_recipe(), saved["history"]
    return {
        "number": number,
        "began_with": began_with,
        "dataset": Path(run.dataset_folder).name,
        "data": saved["data"][:16],
        "cleaned": counts_of(run.dataset_folder),
        "train_and_val": run.train_and_val,
        "recipe": recipe.name,
        "changes": {name: value for name, value in changes(recipe).items() if name not in SHOWN_APART},
        **{name: getattr(recipe, name) for name in SHOWN_APART if name != "num_epochs"},
        "planned_epochs": recipe.num_epochs,
        "epochs": len(history),
        "pictures": round(sum(row["images_per_s"] * row["train_s"] for row in history)),
        "hours": sum(row["train_s"] for row in history) / 3600,
        "threads": saved["provenance"]["threads"],
        "cpu": saved["provenance"]["cpu"],
        "gpu": saved["provenance"]["gpu"] if run.device.startswith("cuda") else None,
    }


def joined(base: Sequence[dict], other: Sequence[dict], share: float) -> list[dict]:
    """The steps of two networks and one more, the mean of their weights with this share of the other's.

    Steps with which both began stand there once; the other's own are numbered on.
    """
    common = 0
    while common < min(len(base), len(other)) and base[common] == other[common]:
        common += 1
    moved = len(base) - common
    names = {f"step {step['number']}": f"step {step['number'] + moved}" for step in other[common:]}
    steps = [*base]
    for step in other[common:]:
        own = {"number": step["number"] + moved, "began_with": names.get(step.get("began_with"), step.get("began_with"))}
        own |= {"mean_of": [n if n <= common else n + moved for n in step["mean_of"]]} if "mean_of" in step else {}
        steps.append(step | own)
    last = len(steps) if len(other) > common else common
    mean = {"number": len(steps) + 1, "mean_of": [len(base), last], "share": share, "pictures": 0, "hours": 0.0}
    return [*steps, mean]


def data_sets(steps: Sequence[dict]) -> dict[str, str]:
    """Name and fingerprint of every training set, in order: {"leeds_lip": "319f9c75bf459201"}."""
    return {step["dataset"]: step["data"] for step in steps if "dataset" in step}
