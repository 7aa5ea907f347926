"""Correct crowd-sourced training labels where a trained network contradicts them: right for left, and joints astray.

    python -m gccpm_lib.training.label_cleaning CHECKPOINT data/leeds_lip data/leeds_lip_cleaned

writes a data set in LIP's layout: pictures and validation labels are links to the first one's, training labels are
corrected; cleaned.json counts the changes. Notebook 02's clean_labels_with does it before a training. Most of a
noisy training set is right, and a network learns what most labels say. The idea, and the photographs with such labels,
are Johnson and Everingham's ("Learning Effective Human Pose Estimation from Inaccurate Annotation", CVPR 2011).
"""

import argparse
import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from gccpm_lib import checkpoints
from gccpm_lib.datasets import corrections, lip
from gccpm_lib.datasets.records import Person, fingerprint
from gccpm_lib.evaluation.pckh import HEAD_TOP, NECK
from gccpm_lib.files import link, new_folder, write_beside
from gccpm_lib.prediction.predictor import PosePredictor
from gccpm_lib.skeletons import LIP, MISSING
from gccpm_lib.training.run import Run

ARMS, LEGS = (10, 11, 12, 13, 14, 15), (0, 1, 2, 3, 4, 5)  # joints of LIP that are exchanged together
HEAD_SHARE = 0.19  # head size over the larger extent of the labelled joints: the median of Leeds Sports Pose Extended
LEAST_LABELS = 8  # whoever has fewer is left as labelled: the extent says too little
SWAP_GAIN = 0.3  # head sizes that the joints of a swapped group come nearer in the mean
COUNTS = "cleaned.json"
FAR, SURE = 2.0, 0.5  # head sizes from a peak of at least this height: such a label is dropped
MOST = 2.0  # head sizes that a joint counts at most in such a mean
RULE = (HEAD_SHARE, LEAST_LABELS, SWAP_GAIN, FAR, SURE, MOST)


def cleaned(
    keypoints: np.ndarray, found: np.ndarray, by_hand: np.ndarray | None = None
) -> tuple[np.ndarray, dict[str, int]]:
    """Labels and predictions (N, 16, 3) -> corrected labels, and how many persons' and joints' labels changed.

    Arms, or legs, change their sides where their joints then lie nearer to the prediction by SWAP_GAIN head sizes in the
    mean, each distance counted up to MOST. A joint that is still FAR from a sure prediction is taken for not labelled.
    by_hand (N, 16) bool: joints that people corrected stay as they are, and so do the arms or legs that they belong to.
    """
    corrected = keypoints.copy()
    kept = np.zeros(keypoints.shape[:2], bool) if by_hand is None else by_hand.copy()
    swapped = {}
    for name, group in (("arms", list(ARMS)), ("legs", list(LEGS))):
        kept[:, group] = kept[:, group].any(axis=1, keepdims=True)
        swapped[name] = _swap(corrected, found, group, ~kept[:, group[0]])
    astray = (_distances(corrected, found) > FAR) & (found[:, :, 2] >= SURE) & ~kept
    corrected[astray] = MISSING
    return corrected, {**swapped, "joints": int(astray.sum())}


def changes(persons: Sequence[Person], corrected: np.ndarray) -> pd.DataFrame:
    """What cleaning changed in these persons' labels, as `inspect` takes what is suspicious: row, name, joint, problem.

    corrected (N, 16, 3) as `cleaned` gives it, or as the cleaned data set is read; rows count from 1.
    """
    rows = []
    for row, (person, now) in enumerate(zip(persons, corrected, strict=True), 1):
        expected, turned = person.keypoints.copy(), person.keypoints[LIP.flip_order]
        for name, group in (("arms", list(ARMS)), ("legs", list(LEGS))):
            kept = now[group, 2] > 0
            if (now[group] != expected[group])[kept].any() and (now[group] == turned[group])[kept].all():
                expected[group] = turned[group]
                rows.append((row, person.name, "", f"right and left {name} were exchanged by a network"))
        gone = np.flatnonzero((expected[:, 2] > 0) & (now[:, 2] == 0))
        rows += [(row, person.name, LIP.joints[joint], "far from where a network is sure of it") for joint in gone]
    return pd.DataFrame(rows, columns=["row", "name", "joint", "problem"])


def _swap(keypoints: np.ndarray, found: np.ndarray, group: list[int], may: np.ndarray) -> int:
    """Exchange right and left of these joints where that is nearer and may (N,) allows it; for how many persons it did.

    Changes keypoints.
    """
    turned = keypoints[:, LIP.flip_order][:, group]
    whole = keypoints.copy()
    whole[:, group] = turned
    before, after = (_mean(np.minimum(_distances(some, found)[:, group], MOST)) for some in (keypoints, whole))
    nearer = may & (after < before - SWAP_GAIN)
    keypoints[nearer] = whole[nearer]
    return int(nearer.sum())


def _mean(distances: np.ndarray) -> np.ndarray:
    """Mean over the labelled joints, nan without one."""
    known = ~np.isnan(distances)
    with np.errstate(invalid="ignore"):
        return np.where(known, distances, 0).sum(axis=1) / known.sum(axis=1)


def _distances(keypoints: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Distances (N, 16) in head sizes, nan where a joint isn't labelled or its person has fewer than LEAST_LABELS.

    A head size is HEAD_SHARE of the extent, or |head top - neck| where that is larger.
    """
    labelled = keypoints[:, :, 2] > 0
    labelled &= labelled.sum(axis=1, keepdims=True) >= LEAST_LABELS
    points = np.where(labelled[:, :, None], keypoints[:, :, :2], np.nan).astype(np.float64)
    extents = [np.ptp(own[known], axis=0).max() if known.any() else 0 for own, known in zip(points, labelled, strict=True)]
    heads = np.nan_to_num(np.linalg.norm(points[:, HEAD_TOP] - points[:, NECK], axis=1))
    sizes = np.maximum(np.maximum(HEAD_SHARE * np.array(extents), heads), 1)
    return np.linalg.norm(found[:, :, :2] - points, axis=2) / sizes[:, None]


def cleaned_run(run: Run, checkpoint: str | Path, folder: str | Path) -> Run:
    """The same training on labels that `cleaned_once` cleans, with its corrections by hand in them."""
    data = cleaned_once(checkpoint, run.dataset_folder, folder, run.device, run.train_labels)
    _, csv = corrections.split_names(run.val_labels)
    val_labels = str(corrections.find_corrections(run.dataset_folder, csv)) if csv else run.val_labels
    return dataclasses.replace(run, dataset_folder=str(data), train_labels="", val_labels=val_labels)


def cleaned_once(
    checkpoint: str | Path, source: str | Path, folder: str | Path, device: str = "auto", train_labels: str = ""
) -> Path:
    """The data set <folder>/<source>_cleaned_<hash of network, labels and rule>, written if it isn't there yet.

    train_labels: a csv of corrections by hand, which go before the network's.
    """
    weights = checkpoints.network_weights(checkpoints.read_checkpoint(checkpoint))
    persons, by_hand = _read(source, train_labels)
    key = checkpoints.weights_hash(weights) + fingerprint(persons, LIP) + str(RULE)
    key += str(np.argwhere(by_hand).tolist()) if by_hand.any() else ""
    target = Path(folder) / f"{Path(source).name}_cleaned_{hashlib.sha256(key.encode()).hexdigest()[:8]}"
    if not target.exists():
        write_cleaned(checkpoint, source, target, device, train_labels)
    return target


def _read(source: str | Path, train_labels: str) -> tuple[list[Person], np.ndarray]:
    """The training persons with these corrections on top, and (N, 16) bool: which joints were corrected by hand."""
    persons = lip.read_lip(source, "train", labels=train_labels)
    by_hand = np.zeros((len(persons), LIP.num_joints), bool)
    _, csv = corrections.split_names(train_labels)
    found = corrections.read_corrections(corrections.find_corrections(source, csv)) if csv else []
    for row, mended in corrections.by_person(persons, found, csv).items():
        by_hand[row, [corrections.joint_index(own.joint, LIP.joints) for own in mended]] = True
    return persons, by_hand


def write_cleaned(
    checkpoint: str | Path, source: str | Path, target: str | Path, device: str = "auto", train_labels: str = ""
) -> dict[str, int]:
    """Predict the training persons with flip and write the cleaned data set, whole or not at all; the counts.

    Raises FileExistsError where the target exists, and ValueError for a network of other joints, before it predicts.
    """
    target = Path(target)
    if target.exists():
        raise FileExistsError(f"{target}: exists already; remove it or give another folder")
    network, recipe = checkpoints.load_network(checkpoint), checkpoints.recipe_of(checkpoint)
    if recipe.skeleton.joints != LIP.joints:
        raise ValueError(
            f"{checkpoint}: finds the joints of {recipe.skeleton.name}; labels in LIP's layout need a LIP network"
        )
    persons, by_hand = _read(source, train_labels)
    found = PosePredictor(network, recipe, flip=True, device=device).predict_persons(persons)
    corrected, counts = cleaned(np.stack([person.keypoints for person in persons]), found, by_hand)
    counts["persons"] = len(persons)
    write_labels(source, target, [person.name for person in persons], corrected, counts)
    return counts


def write_labels(
    source: str | Path, target: Path, names: Sequence[str], keypoints: np.ndarray, counts: dict[str, int]
) -> None:
    """A new data set: links to the source's pictures and validation labels; these training labels (N, 16, 3); counts."""
    source = Path(source).resolve()
    with new_folder(target) as part:
        images, annotations = part / "TrainVal_images", part / "TrainVal_pose_annotations"
        for folder in (images, annotations):
            folder.mkdir()
        for folder in ("train_images", "val_images"):
            link(lip.find_path(source, folder), images / folder)
        link(lip.find_path(source, "lip_val_set.csv"), annotations / "lip_val_set.csv")
        write_beside(annotations / "lip_train_set.csv", "".join(map(lip.annotation_row, names, keypoints)))
        write_beside(part / COUNTS, json.dumps(counts, indent=1))


def counts_of(folder: str | Path) -> dict[str, int] | None:
    """What cleaning changed: {"persons", "arms", "legs", "joints"}; None for a data set as it was labelled."""
    file = Path(folder) / COUNTS
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None


def main(arguments: Sequence[str] | None = None) -> None:
    """Clean what the command line names."""
    parser = argparse.ArgumentParser(prog="gccpm_lib.training.label_cleaning", description=__doc__.splitlines()[0])
    for name in ("checkpoint", "source", "target"):
        parser.add_argument(name)
    options = parser.parse_args(arguments)
    print(write_cleaned(options.checkpoint, options.source, options.target))


if __name__ == "__main__":
    main()
