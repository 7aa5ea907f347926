"""Networks side by side on the same photographs, whatever joints they have: by the limb joints that all of them share.

    python -m gccpm_lib.tools.photographs gccpm-2stage-leeds runs/coco_model/03_train_coco_192/checkpoint.pt \\
        --scenes data/coco_small --photos data/leeds_lip

Scenes: COCO's validation persons in their labelled boxes, found where the keypoint similarity is 0.5 or more; whole bodies
apart from those that reach the edge of their picture. Photos: LIP's validation persons, found within half a head size.
Everything with flip. The last network is compared with the first.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import nn

from gccpm_lib import checkpoints
from gccpm_lib.datasets import coco, lip
from gccpm_lib.datasets.records import Person, picture_sizes
from gccpm_lib.evaluation import average_precision, joint_errors, pckh
from gccpm_lib.evaluation.validation import distances
from gccpm_lib.prediction.predictor import PosePredictor, person_score
from gccpm_lib.recipes import Recipe
from gccpm_lib.skeletons import COCO, LIP, SHARED_LIMBS, Skeleton, split_side
from gccpm_lib.tools.model_card import BOX_MARGIN, by_peak, in_box, pooled

EDGE = 3  # pixels from the picture's edge up to which a box counts as cut off by it
LIMBS = tuple(COCO.find(side, limb) for limb in SHARED_LIMBS for side in ("right", "left"))
PEAKS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)


def by_name(found: np.ndarray, source: Skeleton, target: Skeleton) -> np.ndarray:
    """Keypoints (N, K, 3) of one skeleton under another's names, nan for joints that it lacks."""
    joints = [source.find(*split_side(name)) for name in target.joints]
    missing = np.full((len(found), 3), np.nan)
    return np.stack([missing if joint is None else found[:, joint] for joint in joints], axis=1)


def scene_joints(network: nn.Module, recipe: Recipe, persons: Sequence[Person]) -> np.ndarray:
    """COCO persons in their labelled boxes -> (N, 17, 3) under COCO's names, with flip; nan for joints it lacks."""
    predictor = PosePredictor(network, recipe, flip=True)
    if recipe.crop == "letterbox":
        return np.stack([in_box(predictor, person) for person in persons])
    return by_name(predictor.predict_persons(persons), recipe.skeleton, COCO)


def photo_joints(network: nn.Module, recipe: Recipe, persons: Sequence[Person]) -> np.ndarray:
    """LIP persons -> (N, 16, 3) under LIP's names, with flip; nan for joints it lacks.

    A network for boxes gets the box that its margin makes the whole picture.
    """
    if recipe.crop == "box":
        inner = [(size * (1 - 1 / BOX_MARGIN) / 2, size / BOX_MARGIN) for size in picture_sizes(persons)]
        persons = [replace(p, box=(*corner, *side)) for p, (corner, side) in zip(persons, inner, strict=True)]
    found = PosePredictor(network, recipe, flip=True).predict_persons(persons)
    return by_name(found, recipe.skeleton, LIP)


def reaches_edge(person: Person) -> bool:
    """Whether a person's box comes within EDGE pixels of the edge of the picture: the frame cuts the body."""
    (x, y, w, h), (width, height) = person.box, person.picture_size
    return min(x, y, width - x - w, height - y - h) <= EDGE


def limbs_alone(truth: dict, found: np.ndarray, persons: Sequence[Person]) -> average_precision.Matches:
    """Matches by the 12 limb joints: labels of the others are taken away, predictions (N, 17, 3) of them don't count."""
    annotations = []
    for annotation in truth["annotations"]:
        points = np.array(annotation["keypoints"], float).reshape(-1, 3)
        points[[j for j in range(len(points)) if j not in LIMBS]] = 0
        count = int((points[:, 2] > 0).sum())
        annotations.append({**annotation, "keypoints": points.ravel().tolist(), "num_keypoints": count})
    scores = [person_score(keypoints[list(LIMBS)]) for keypoints in found]
    rows = coco.result_rows(persons, np.nan_to_num(found), scores)
    return average_precision.match({**truth, "annotations": annotations}, rows, COCO.sigmas)


def measure(
    network: nn.Module, recipe: Recipe, scenes: str | Path, photos: str | Path = "", num_photos: int | None = None
) -> dict:
    """Predictions of one network and its scores: limb joints of scenes and photos, AP by the official rule and by limbs.

    num_photos: the first so many photos, None: all.
    """
    persons, truth = coco.read_coco(scenes, "val"), coco.read_truth(scenes, "val")
    found = scene_joints(network, recipe, persons)
    errors = joint_errors.errors(persons, found, COCO)
    cut = np.array([reaches_edge(person) for person in persons])
    groups, limbs = {"all": np.ones(len(persons), bool), "whole": ~cut, "cut": cut}, {"limbs": LIMBS}
    measured = {
        "limbs": {
            name: (int(chosen.sum()), pooled(errors[chosen] / 2, limbs).loc["limbs"])
            for name, chosen in groups.items()
            if chosen.any()
        },
        "found": found,
        "errors": errors,
        "limb_matches": limbs_alone(truth, found, persons),
        "calibration": by_peak(errors[:, list(LIMBS)], found[:, list(LIMBS)], *PEAKS),
    }
    if not np.isnan(found).any():
        rows = coco.result_rows(persons, found, list(map(person_score, found)))
        measured["matches"] = average_precision.match(truth, rows, COCO.sigmas)
    if photos:
        people = lip.read_lip(photos, "val")[:num_photos]
        measured["photos"] = distances(people, photo_joints(network, recipe, people))
    return measured


def lines(name: str, measured: dict) -> list[str]:
    """What `measure` found, in words; intervals are 95 %, over persons, for AP over pictures."""
    told = [f"{name}"]
    for group, (count, row) in measured["limbs"].items():
        told.append(f"  limb joints, {group} ({count} persons): {row.found:.1f} ({row.low:.1f} to {row.high:.1f})")
    for key, label in (("matches", "17 joints"), ("limb_matches", "12 limb joints")):
        if key in measured:
            score = average_precision.scores(measured[key])
            low, high = average_precision.intervals(measured[key])["AP"]
            told.append(
                f"  AP, {label}, ground-truth boxes, flip: {score['AP']:.1f} ({low:.1f} to {high:.1f}), "
                f"AP50 {score['AP50']:.1f}, AP75 {score['AP75']:.1f}, AR {score['AR']:.1f}"
            )
    if "photos" in measured:
        row = pooled(measured["photos"], {"limbs": pckh.LIMB_JOINTS}).loc["limbs"]
        told.append(f"  PCKh@0.5 of the limb joints, photos: {row.found:.1f} ({row.low:.1f} to {row.high:.1f})")
    return [*told, measured["calibration"].round(1).to_string()]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the networks that the command line names, in one run."""
    parser = argparse.ArgumentParser(prog="gccpm_lib.tools.photographs", description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="+", help="shipped names or checkpoints")
    parser.add_argument("--scenes", required=True, metavar="FOLDER")
    parser.add_argument("--photos", default="", metavar="FOLDER")
    parser.add_argument("--num-photos", type=int, metavar="N", help="the first N photos; all by default")
    options = parser.parse_args(arguments)
    measured = []
    for name in options.networks:
        network, recipe = checkpoints.load_network(name), checkpoints.recipe_of(name)
        measured.append(measure(network, recipe, options.scenes, options.photos, options.num_photos))
        print("\n".join(lines(name, measured[-1])), flush=True)
    first, last = measured[0], measured[-1]
    if len(measured) > 1:
        gain = pckh.paired_interval(last["errors"] / 2, first["errors"] / 2, LIMBS)
        print("last against first, limb joints of scenes: {:+.1f} ({:+.1f} to {:+.1f})".format(*gain))
        gain = average_precision.paired_interval(last["limb_matches"], first["limb_matches"])
        print("last against first, AP of 12 limb joints: {:+.1f} ({:+.1f} to {:+.1f})".format(*gain))
    if len(measured) > 1 and options.photos:
        gain = pckh.paired_interval(last["photos"], first["photos"], pckh.LIMB_JOINTS)
        print("last against first, limb joints of photos: {:+.1f} ({:+.1f} to {:+.1f})".format(*gain))


if __name__ == "__main__":
    main()
