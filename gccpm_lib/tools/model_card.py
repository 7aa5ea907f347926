"""Publish a trained LIP network: a half-precision file and a model card in which every number was measured on that file.

    gccpm card CHECKPOINT --name gccpm-2stage-leeds --photos data/leeds_lip \\
        --rendered data/rendered_lip --scenes data/coco_small --data gccpm_lib/tools/templates/data_leeds.md

writes gccpm_lib/weights/gccpm-2stage-leeds.safetensors and .md, once all is measured. --data is what the card says of the
photographs and their terms; --published C sets another training on the same photographs beside it, --lip F adds LIP's own
people.
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from torch import nn

from gccpm_lib import checkpoints
from gccpm_lib.datasets import coco, lip
from gccpm_lib.datasets.records import Person, fingerprint, read_person_image
from gccpm_lib.evaluation import bootstrap, joint_errors, pckh
from gccpm_lib.evaluation.validation import distances
from gccpm_lib.extras import extra
from gccpm_lib.files import sha256, write_beside
from gccpm_lib.network import count_macs, count_parameters
from gccpm_lib.prediction.predictor import PosePredictor
from gccpm_lib.prediction.shared_passes import predict_settings
from gccpm_lib.progress import tqdm
from gccpm_lib.recipes import Recipe
from gccpm_lib.skeletons import COCO, UNSURE, split_side
from gccpm_lib.tools.lineage import data_sets, training_steps
from gccpm_lib.weight_files import SHIPPED

with extra("lab"):
    import jinja2

TEMPLATES = Path(__file__).with_name("templates")
SETTINGS = {"single scale": {}, "flip": {"flip": True}, "initial stage alone, flip": {"stage": 0, "flip": True}}
BOX_MARGIN = 1.25  # COCO's boxes end at the skin; photographs in LIP's layout have air around the person
NEAR = 0.1  # somebody is near whose box covers more than this part of a person's own


def publish(checkpoint: str | Path, file: Path, terms: str, sure_peak: float = UNSURE) -> Path:
    """The checkpoint's network in half precision, with what led to it: file (.safetensors).

    sure_peak: from which its joints are sure. Raises ValueError where validation persons were trained on: the card's scores
    would be no measure of new people.
    """
    steps = training_steps(checkpoint)
    if any(step.get("train_and_val") for step in steps):
        raise ValueError(f"{checkpoint}: trained on the validation persons too; a card needs a training without them")
    trained_on = ", ".join(f"{name} (fingerprint {data})" for name, data in data_sets(steps).items())
    about = {"trained_on": trained_on, "terms": terms, "steps": steps}
    network, recipe = checkpoints.load_network(checkpoint), checkpoints.recipe_of(checkpoint)
    return checkpoints.save_network(file, network, replace(recipe, sure_peak=sure_peak), half=True, about=about)


def described(file: Path, network: nn.Module, recipe: Recipe) -> dict:
    """What both kinds of card say of the file itself and of its network."""
    return {
        "sha256": sha256(file),
        "megabytes": file.stat().st_size / 1e6,
        "parameters": count_parameters(network),
        "macs": count_macs(network, recipe.input_size),
        "stages": network.shape["num_refinement_stages"] + 1,
        "recipe": recipe,
        "about": checkpoints.read_checkpoint(file)["about"],
    }


def columns(distances: np.ndarray, images: np.ndarray | None = None, seed: int = 0) -> pd.DataFrame:
    """The paper's columns but for U.Body, and the 12 limb joints pooled; arguments and columns as in `pooled`."""
    found, drawn = pckh.pckh(distances), pckh.pckh_intervals(distances, seed=seed, images=images)
    rows = {name: (found[name], *drawn[name]) for name in (*pckh.PAIRS, "Avg.")}
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["found", "low", "high"])
    return pd.concat([table, pooled(distances, {"12 limb joints": pckh.LIMB_JOINTS}, images, seed)])


def pooled(
    distances: np.ndarray, groups: Mapping[str, Sequence[int]], images: np.ndarray | None = None, seed: int = 0
) -> pd.DataFrame:
    """Distances (N, 16) in head sizes -> percent within 0.5 of every group's joints, with its 95 % bootstrap interval.

    images (N,): each person's, as `bootstrap.images_of` gives it; they are what is drawn.
    """
    parts = [part[:, list(j)].sum(axis=1) for j in groups.values() for part in (distances <= 0.5, ~np.isnan(distances))]
    values = np.stack(parts, axis=1)  # (N, 2 groups): hits and scored instances in turn
    drawn = bootstrap.sums(values, 1000, seed, images).reshape(1000, -1, 2)
    hits, scored = values.sum(axis=0).reshape(-1, 2).T
    with np.errstate(invalid="ignore"):  # a draw without an instance is nan and not counted
        low, high = np.nanpercentile(100 * drawn[..., 0] / drawn[..., 1], [2.5, 97.5], axis=0)
        return pd.DataFrame({"found": 100 * hits / scored, "low": low, "high": high}, index=list(groups))


def by_peak(errors: np.ndarray, found: np.ndarray, *edges: float) -> pd.DataFrame:
    """What becomes of the joints with a peak below, between and above the edges, a row each: errors (N, K) in tolerances.

    How many have a label, how many percent of these are found, and how many have no label. found (N, K, 3).
    """
    labelled, peaks, rows = ~np.isnan(errors), found[:, :, 2], {}
    names = [f"below {edges[0]:.2g}", *(f"{a:.2g} to {b:.2g}" for a, b in pairwise(edges)), f"from {edges[-1]:.2g} on"]
    for name, low, high in zip(names, (-np.inf, *edges), (*edges, np.inf), strict=True):
        inside = (peaks >= low) & (peaks < high)
        hits = errors[inside & labelled] <= 1
        share = 100 * float(hits.mean()) if len(hits) else float("nan")
        rows[name] = len(hits), share, int((inside & ~labelled).sum())
    return pd.DataFrame.from_dict(rows, orient="index", columns=["joints", "found (%)", "without a label"])


def parity(one: np.ndarray, other: np.ndarray, persons: Sequence[Person]) -> dict[str, float]:
    """How two predictions (N, 16, 3) of the same persons differ: joints on one pixel, the farthest move, points of PCKh."""
    moved = np.linalg.norm((one - other)[:, :, :2], axis=2)
    gain = pckh.paired_interval(distances(persons, one), distances(persons, other), pckh.LIMB_JOINTS)
    return {"same": 100 * float((moved == 0).mean()), "farthest": float(moved.max()), "points": gain[0]}


def scene_scores(network: nn.Module, recipe: Recipe, folder: str | Path) -> pd.DataFrame:
    """Limb joints found on COCO's labelled persons, by whether another labelled person's box reaches into their own.

    Each box is grown by BOX_MARGIN and cut out; found is what has a keypoint similarity of 0.5 or more.
    """
    persons = coco.read_coco(folder, "val")
    predictor = PosePredictor(network, recipe, flip=True)
    found = np.stack([in_box(predictor, person) for person in tqdm(persons, desc="predict", leave=False)])
    errors, rows = joint_errors.errors(persons, found, COCO), {}
    near = np.array([_others_share(person, persons) > NEAR for person in persons])
    for name, chosen in (("no other labelled person near", ~near), ("another one near", near)):
        rows[name] = int(chosen.sum()), joint_errors.limb_score(errors[chosen], COCO)
    return pd.DataFrame.from_dict(rows, orient="index", columns=["persons", "limb joints found (%)"])


def in_box(predictor: PosePredictor, person: Person) -> np.ndarray:
    """A LIP network's joints of one COCO person, (17, 3) under COCO's names; nan for those that LIP lacks."""
    x, y, w, h = person.box
    grown = (x - w * (BOX_MARGIN - 1) / 2, y - h * (BOX_MARGIN - 1) / 2, w * BOX_MARGIN, h * BOX_MARGIN)
    own = predictor.predict(read_person_image(person), [grown])[0]
    joints = [predictor.recipe.skeleton.find(*split_side(name)) for name in COCO.joints]
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


def measure(
    file: Path, checkpoint: str, photos: str, rendered: str, scenes: str, published: str = "", lip_people: str = ""
) -> dict:
    """All numbers of the card. Raises ValueError where it, or published, was trained on other photographs or labels."""
    network, recipe = checkpoints.load_network(file), checkpoints.recipe_of(file)
    about = checkpoints.read_checkpoint(file)["about"]
    train_persons, persons = (lip.read_lip(photos, split) for split in ("train", "val"))
    strangers = lip.read_lip(rendered, "val")
    if fingerprint(train_persons, recipe.skeleton)[:16] not in data_sets(about["steps"]).values():
        raise ValueError(f"{photos}: {checkpoint} was trained on {data_sets(about['steps'])}, not on its train split")
    other = _published(published, about["steps"], persons) if published else None
    found = predict_settings(network, recipe, SETTINGS, persons)
    flip = found["flip"]
    whole = PosePredictor(checkpoints.load_network(checkpoint), recipe, flip=True).predict_persons(persons)
    rendered_found = PosePredictor(network, recipe, flip=True).predict_persons(strangers)
    joints = {name: [j] for j, name in enumerate(recipe.skeleton.joints)}
    errors = joint_errors.errors(persons, flip, recipe.skeleton)
    by_setting = {name: distances(persons, poses) for name, poses in found.items()}
    images = bootstrap.images_of(persons)
    return {
        **described(file, network, recipe),
        "num_train": len(train_persons),
        "num_persons": len(persons),
        "columns": {name: columns(d, images) for name, d in by_setting.items()},
        "joints": {name: pooled(by_setting[name], joints, images) for name in ("single scale", "flip")},
        "directions": joint_errors.by_direction(persons, errors, recipe.skeleton),
        "kinds": joint_errors.kind_shares(joint_errors.kinds(persons, flip, recipe.skeleton), recipe.skeleton),
        "peaks": by_peak(2 * by_setting["flip"], flip, recipe.sure_peak),
        "parity": parity(flip, whole, persons),
        "num_rendered": len(strangers),
        "rendered": columns(distances(strangers, rendered_found), bootstrap.images_of(strangers)),
        "scenes": scene_scores(network, recipe, scenes),
        "published": other,
        "lip_people": lip_scores(network, recipe, lip_people) if lip_people else None,
    }


def lip_scores(network: nn.Module, recipe: Recipe, folder: str | Path) -> dict:
    """Number of a LIP folder's validation persons, and their `columns` at a single scale and with flip."""
    persons = lip.read_lip(folder, "val")
    found = predict_settings(network, recipe, {name: SETTINGS[name] for name in ("single scale", "flip")}, persons)
    return {"persons": len(persons), **{name: columns(distances(persons, poses)) for name, poses in found.items()}}


def _published(checkpoint: str, own_steps: Sequence[Mapping], persons: Sequence[Person]) -> dict:
    """Another training on the photographs with which the network's own first step began: its steps and its scores."""
    steps = training_steps(checkpoint)
    if {step["data"] for step in steps} != {own_steps[0]["data"]}:
        raise ValueError(
            f"{checkpoint}: trained on {data_sets(steps)}, not on {data_sets(own_steps[:1])}; train it on these"
        )
    recipe = checkpoints.recipe_of(checkpoint)
    settings = {name: SETTINGS[name] for name in ("single scale", "flip")}
    found = predict_settings(checkpoints.load_network(checkpoint), recipe, settings, persons)
    return {"steps": steps, "columns": {name: columns(distances(persons, poses)) for name, poses in found.items()}}


def write_card(path: Path, name: str, data: str, measured: Mapping) -> Path:
    """The card in Markdown, from templates/model_card.md.j2; data: its section on photographs and terms, Markdown too."""
    return write_beside(path, template("model_card.md.j2").render(name=name, data=data.strip(), **measured))


def template(name: str) -> jinja2.Template:
    """A Markdown template of this package; whatever it names and isn't given is an error."""
    loader = jinja2.FileSystemLoader(TEMPLATES)
    return jinja2.Environment(loader=loader, undefined=jinja2.StrictUndefined, keep_trailing_newline=True).get_template(
        name
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Publish and measure what the command line names; a network of the same name is replaced when all is done."""
    parser = argparse.ArgumentParser(prog="gccpm card", description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", help="of a LIP recipe")
    parser.add_argument("--name", required=True, help="by which load_network finds it")
    for option in ("photos", "rendered", "scenes"):
        parser.add_argument(f"--{option}", required=True, metavar="FOLDER")
    parser.add_argument("--data", required=True, type=Path, metavar="FILE", help="Markdown on the photographs and terms")
    parser.add_argument("--terms", default="research use, as the photographs")
    parser.add_argument("--published", default="", metavar="CHECKPOINT")
    parser.add_argument("--lip", default="", metavar="FOLDER", help="LIP's own people, none of them trained on")
    parser.add_argument("--sure-peak", type=float, default=UNSURE, metavar="P", help="as coco_card.calibrate finds it")
    parser.add_argument("--folder", type=Path, default=SHIPPED)
    options = parser.parse_args(arguments)
    data = options.data.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        file = Path(folder) / f"{options.name}.safetensors"
        publish(options.checkpoint, file, options.terms, options.sure_peak)
        folders = options.photos, options.rendered, options.scenes, options.published, options.lip
        measured = measure(file, options.checkpoint, *folders)
        card = write_card(file.with_suffix(".md"), options.name, data, measured)
        for written in (file, card):
            print(written.replace(options.folder / written.name))


if __name__ == "__main__":
    main()
