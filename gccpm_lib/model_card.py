"""Publish a trained LIP network: a half-precision file and a model card in which every number was measured on that file.

    python -m gccpm_lib.model_card CHECKPOINT --photos data/leeds_lip --rendered data/rendered_lip --scenes data/coco_small

writes gccpm_lib/weights/gccpm-2stage-leeds.safetensors and .md. --published C sets another training of the same photos
beside it; --name and --folder are for another network.
"""

import argparse
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2
import numpy as np
import pandas as pd
from torch import nn

from gccpm_lib import bootstrap, checkpoints, evaluation, joint_errors, pages, provenance
from gccpm_lib.datasets import coco, lip
from gccpm_lib.datasets.records import Person, read_person_image
from gccpm_lib.files import write_beside
from gccpm_lib.network import count_macs, count_parameters
from gccpm_lib.prediction import PosePredictor
from gccpm_lib.progress import tqdm
from gccpm_lib.recipes import Recipe
from gccpm_lib.shared_passes import predict_settings
from gccpm_lib.skeletons import COCO, split_side
from gccpm_lib.weight_files import SHIPPED, SHIPPED_NETWORK

SETTINGS = {"single scale": {}, "flip": {"flip": True}, "initial stage alone, flip": {"stage": 0, "flip": True}}
GROUPS = {**evaluation.COLUMNS, "Avg.": evaluation.AVERAGE, "12 limb joints": evaluation.LIMB_JOINTS}
BOX_MARGIN = 1.25  # COCO's boxes end at the skin; photographs in LIP's layout have air around the person
NEAR = 0.1  # somebody is near whose box covers more than this part of a person's own


def training_steps(path: str | Path) -> list[dict]:
    """What led to a checkpoint, first to last: its own training and, where it began with another's weights, that one's."""
    saved = checkpoints.read_checkpoint(path)
    run, history = saved["run"], saved["history"]
    earlier = [] if run["from_mobilenet"] or not run["checkpoint_path"] else training_steps(run["checkpoint_path"])
    step = {
        "recipe": saved["recipe"],
        "input_size": list(saved["input_size"]),
        "sigma": saved["sigma"],
        "base_lr": run["base_lr"],
        "half_turn_probability": run.get("half_turn_probability"),
        "epochs": len(history),
        "pictures": round(sum(row["images_per_s"] * row["train_s"] for row in history)),
        "hours": sum(row["train_s"] for row in history) / 3600,
        "cpu": saved["provenance"]["cpu"],
    }
    return [*earlier, step]


def publish(checkpoint: str | Path, folder: Path, name: str, photos: str | Path) -> Path:
    """The checkpoint's network as <folder>/<name>.safetensors in half precision, with what led to it."""
    about = {
        "trained_on": f"train split of {Path(photos).name}, data hash {provenance.data_hash(photos)}",
        "terms": "research use, as the photographs",
        "steps": training_steps(checkpoint),
    }
    network, recipe = checkpoints.load_network(checkpoint), checkpoints.recipe_of(checkpoint)
    return checkpoints.save_network(folder / f"{name}.safetensors", network, recipe, half=True, about=about)


def pooled(distances: np.ndarray, groups: Mapping[str, Sequence[int]], seed: int = 0) -> pd.DataFrame:
    """Distances (N, 16) in head sizes -> percent within 0.5 of every group's joints, with its 95 % bootstrap interval."""
    parts = [part[:, list(j)].sum(axis=1) for j in groups.values() for part in (distances <= 0.5, ~np.isnan(distances))]
    values = np.stack(parts, axis=1)  # (N, 2 groups): hits and scored instances in turn
    drawn = bootstrap.sums(values, 1000, seed).reshape(1000, -1, 2)
    hits, scored = values.sum(axis=0).reshape(-1, 2).T
    with np.errstate(invalid="ignore"):  # a draw without an instance is nan and not counted
        low, high = np.nanpercentile(100 * drawn[..., 0] / drawn[..., 1], [2.5, 97.5], axis=0)
        return pd.DataFrame({"found": 100 * hits / scored, "low": low, "high": high}, index=list(groups))


def distances(persons: Sequence[Person], found: np.ndarray) -> np.ndarray:
    """Distances (N, 16) in head sizes of predictions (N, 16, 3)."""
    return evaluation.normalised_distances(np.stack([person.keypoints for person in persons]), found)


def parity(one: np.ndarray, other: np.ndarray, persons: Sequence[Person]) -> dict[str, float]:
    """How two predictions (N, 16, 3) of the same persons differ: joints on one pixel, the farthest move, points of PCKh."""
    moved = np.linalg.norm((one - other)[:, :, :2], axis=2)
    gain = evaluation.paired_interval(distances(persons, one), distances(persons, other), evaluation.LIMB_JOINTS)
    return {"same": 100 * float((moved == 0).mean()), "farthest": float(moved.max()), "points": gain[0]}


def scene_scores(network: nn.Module, recipe: Recipe, folder: str | Path) -> pd.DataFrame:
    """Limb joints found on COCO's labelled persons, by whether somebody else's box reaches into their own.

    Each labelled box is grown by BOX_MARGIN and cut out; found is what has a keypoint similarity of 0.5 or more.
    """
    persons = coco.read_coco(folder, "val")
    found = np.stack([in_box(network, recipe, person) for person in tqdm(persons, desc="predict", leave=False)])
    errors, rows = joint_errors.errors(persons, found, COCO), {}
    near = np.array([_others_share(person, persons) > NEAR for person in persons])
    for name, chosen in (("nobody else near", ~near), ("somebody else near", near)):
        rows[name] = int(chosen.sum()), joint_errors.limb_score(errors[chosen], COCO)
    return pd.DataFrame.from_dict(rows, orient="index", columns=["persons", "limb joints found (%)"])


def in_box(network: nn.Module, recipe: Recipe, person: Person) -> np.ndarray:
    """A LIP network's joints of one COCO person, (17, 3) under COCO's names; nan for those that LIP lacks."""
    x, y, w, h = person.box
    grown = (x - w * (BOX_MARGIN - 1) / 2, y - h * (BOX_MARGIN - 1) / 2, w * BOX_MARGIN, h * BOX_MARGIN)
    own = PosePredictor(network, recipe, flip=True).predict(read_person_image(person), [grown])[0]
    joints = [recipe.skeleton.find(*split_side(name)) for name in COCO.joints]
    return np.array([np.full(3, np.nan) if joint is None else own[joint] for joint in joints])


def _others_share(person: Person, persons: Sequence[Person]) -> float:
    """The largest part of a person's box that another person's box in the same picture covers."""
    x, y, w, h = person.box
    shares = [0.0]
    for other in persons:
        if other is not person and other.image_path == person.image_path:
            left, top, width, height = other.box
            across = min(x + w, left + width) - max(x, left)
            down = min(y + h, top + height) - max(y, top)
            shares.append(max(0.0, across) * max(0.0, down) / (w * h))
    return max(shares)


def measure(file: Path, checkpoint: str, photos: str, rendered: str, scenes: str, published: str = "") -> dict:
    """All numbers of the card."""
    network, recipe = checkpoints.load_network(file), checkpoints.recipe_of(file)
    persons = lip.read_lip(photos, "val")
    found = predict_settings(network, recipe, SETTINGS, persons)
    whole = predict_settings(checkpoints.load_network(checkpoint), recipe, {"flip": {"flip": True}}, persons)["flip"]
    strangers = lip.read_lip(rendered, "val")
    joints = {name: [j] for j, name in enumerate(recipe.skeleton.joints)}
    errors = joint_errors.errors(persons, found["flip"], recipe.skeleton)
    by_setting = {name: distances(persons, poses) for name, poses in found.items()}
    other = {"steps": training_steps(published), **_scores_of(published, persons)} if published else None
    return {
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "megabytes": file.stat().st_size / 1e6,
        "parameters": count_parameters(network),
        "macs": count_macs(network, recipe.input_size),
        "recipe": recipe,
        "about": checkpoints.read_checkpoint(file)["about"],
        "num_train": len(lip.read_lip(photos, "train")),
        "num_persons": len(persons),
        "columns": {name: pooled(d, GROUPS) for name, d in by_setting.items()},
        "joints": {name: pooled(by_setting[name], joints) for name in ("single scale", "flip")},
        "directions": joint_errors.by_direction(persons, errors, recipe.skeleton),
        "kinds": joint_errors.kind_shares(joint_errors.kinds(persons, found["flip"], recipe.skeleton), recipe.skeleton),
        "parity": parity(found["flip"], whole, persons),
        "num_rendered": len(strangers),
        "rendered": pooled(distances(strangers, _flipped(network, recipe, strangers)), GROUPS),
        "scenes": scene_scores(network, recipe, scenes),
        "published": other,
    }


def _scores_of(checkpoint: str, persons: Sequence[Person]) -> dict:
    recipe = checkpoints.recipe_of(checkpoint)
    found = predict_settings(checkpoints.load_network(checkpoint), recipe, SETTINGS, persons)
    return {"columns": {name: pooled(distances(persons, poses), GROUPS) for name, poses in found.items()}}


def _flipped(network: nn.Module, recipe: Recipe, persons: Sequence[Person]) -> np.ndarray:
    return PosePredictor(network, recipe, flip=True).predict_persons(persons)


def write_card(path: Path, name: str, measured: Mapping) -> Path:
    """The card in Markdown, from templates/model_card.md.j2."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(pages.TEMPLATES), undefined=jinja2.StrictUndefined, keep_trailing_newline=True
    )
    return write_beside(path, environment.get_template("model_card.md.j2").render(name=name, **measured))


def main(arguments: Sequence[str] | None = None) -> None:
    """Publish and measure what the command line names."""
    parser = argparse.ArgumentParser(prog="python -m gccpm_lib.model_card", description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", help="of a LIP recipe")
    for option in ("photos", "rendered", "scenes"):
        parser.add_argument(f"--{option}", required=True, metavar="FOLDER")
    parser.add_argument("--published", default="", metavar="CHECKPOINT")
    parser.add_argument("--name", default=SHIPPED_NETWORK)
    parser.add_argument("--folder", type=Path, default=SHIPPED)
    options = parser.parse_args(arguments)
    file = publish(options.checkpoint, options.folder, options.name, options.photos)
    measured = measure(file, options.checkpoint, options.photos, options.rendered, options.scenes, options.published)
    print(write_card(file.with_suffix(".md"), options.name, measured))


if __name__ == "__main__":
    main()
