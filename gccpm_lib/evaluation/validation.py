"""Scoring: one face for both data sets' metrics, PCKh for LIP and average precision for COCO.

validation = read_validation("data/coco", COCO_CORRECTED)
found = PosePredictor(network, COCO_CORRECTED).predict_persons(validation.subjects)
scores(validation, found)  # {"AP": ..., ...} in percent
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gccpm_lib import geometry
from gccpm_lib.datasets import coco, layouts, lip
from gccpm_lib.datasets.records import DataError, Person, Skip, picture_sizes, readable
from gccpm_lib.evaluation import average_precision, bootstrap
from gccpm_lib.evaluation import pckh as evaluation
from gccpm_lib.heatmaps import decode
from gccpm_lib.loading import make_targets
from gccpm_lib.prediction.predictor import person_score
from gccpm_lib.recipes import Recipe
from gccpm_lib.skeletons import Skeleton

FEW_PERSONS = 1000
MAIN_SCORES = {"letterbox": "Avg.", "box": "AP"}  # by the recipe's crop: the score that counts


@dataclass(frozen=True, eq=False)
class Validation:
    """Whom a network is scored on."""

    skeleton: Skeleton
    persons: Sequence[Person]  # the labelled persons
    subjects: Sequence[Person]  # whose poses are predicted: the same, or the boxes that a detector found
    truth: dict | None  # the content of a COCO label file, crowds included; None: LIP
    boxes_name: str = ""  # the detector's file

    @property
    def main_score(self) -> str:
        """The score that counts: PCKh's average, or average precision."""
        return MAIN_SCORES["letterbox" if self.truth is None else "box"]

    @property
    def metric(self) -> str:
        """Its full name."""
        return "PCKh@0.5 Avg." if self.truth is None else "AP"

    @property
    def box_source(self) -> str:
        """Where the boxes come from, to be named beside every AP."""
        if self.truth is None:
            return "whole pictures"
        return f"boxes of {self.boxes_name}" if self.boxes_name else "ground-truth boxes"

    def headline(self, scores: dict[str, float]) -> str:
        """The main score in words, single scale and without flip, with the source of the boxes."""
        source = "" if self.truth is None else f" ({self.box_source}, no flip)"
        return f"{self.metric} {scores[self.main_score]:.1f}{source}"


def read_validation(
    dataset_folder: str | Path,
    recipe: Recipe,
    split: str = "val",
    labels: str = "",
    boxes_path: str | Path = "",
    num_persons: int | None = None,
    min_box_score: float = 0.0,
    skipped: list[Skip] | None = None,
) -> Validation:
    """The first num_persons of a split (COCO: and whoever else is in their pictures); None: all.

    labels: COCO's label file, "" the official name. boxes_path: a detector's COCO results file, of which boxes of at least
    min_box_score are taken; "": the labelled boxes. Raises DataError where there is no such box, where nobody can be
    scored, and for labels and pictures that can't be read; with a list of skipped ones, these are added to it, and neither
    predicted nor scored.
    """
    persons = layouts.read_persons(dataset_folder, split, recipe, labels, skipped)
    if recipe.crop == "letterbox":
        persons = persons[:num_persons]
        persons = persons if skipped is None else readable(persons, skipped)
        if not np.isfinite(layouts.body_sizes(persons, recipe)).any():
            raise DataError(
                f"{dataset_folder}: none of the {len(persons):,} {split} persons has head top and neck labelled, so PCKh "
                "can't be computed; label them, or validate nobody (num_val_persons 0)"
            )
        return Validation(recipe.skeleton, persons, persons, None)
    subjects = persons
    if boxes_path:
        subjects = coco.read_detections(boxes_path, dataset_folder, split, labels, min_box_score, skipped)
    chosen = None
    if num_persons is not None:
        chosen = {person.image_id for person in persons[:num_persons]}
        persons = [person for person in persons if person.image_id in chosen]
        subjects = [box for box in subjects if box.image_id in chosen] if boxes_path else persons
    if not subjects:
        raise DataError(f"{boxes_path}: no box in the chosen pictures; detect in these, or raise num_val_persons")
    truth = coco.read_truth(dataset_folder, split, labels, chosen, skipped)
    if skipped is not None:
        persons, subjects, truth = _readable_alone(persons, subjects, truth, skipped)
    return Validation(recipe.skeleton, persons, subjects, truth, Path(boxes_path).name if boxes_path else "")


def _readable_alone(persons: list[Person], subjects: list[Person], truth: dict, skipped: list[Skip]):
    """The same without pictures that can't be read and without persons that either of the readers left out."""
    read = {person.annotation_id for person in persons}
    lost = {a["id"] for a in truth["annotations"] if a["num_keypoints"] and not a["iscrowd"]} - read
    seen = readable([*persons, *subjects], skipped)
    bad = {person.image_id for person in [*persons, *subjects]} - {person.image_id for person in seen}
    truth = {
        **truth,
        "images": [image for image in truth["images"] if image["id"] not in bad],
        "annotations": [a for a in truth["annotations"] if a["image_id"] not in bad and a["id"] not in lost],
    }
    scored = {None, *(a["id"] for a in truth["annotations"])}
    chosen = [[p for p in some if p.image_id not in bad and p.annotation_id in scored] for some in (persons, subjects)]
    return *chosen, truth


def some_images(validation: Validation, count: int) -> tuple[Validation, np.ndarray]:
    """So many images in which persons are labelled and predicted, evenly spread, alone; and the rows of their subjects."""
    predicted = {subject.image_path for subject in validation.subjects}
    images = list(dict.fromkeys(person.image_path for person in validation.persons if person.image_path in predicted))
    chosen = {images[i] for i in np.linspace(0, len(images) - 1, min(count, len(images))).astype(int)}
    rows = np.flatnonzero([subject.image_path in chosen for subject in validation.subjects])
    persons, subjects = ([p for p in some if p.image_path in chosen] for some in (validation.persons, validation.subjects))
    truth, ids = validation.truth, {person.image_id for person in persons}
    if truth is not None:
        annotations = [annotation for annotation in truth["annotations"] if annotation["image_id"] in ids]
        truth = {**truth, "images": [i for i in truth["images"] if i["id"] in ids], "annotations": annotations}
    return replace(validation, persons=persons, subjects=subjects, truth=truth), rows


def scores(validation: Validation, found: np.ndarray) -> dict[str, float]:
    """Predictions (M, K, 3) of the subjects -> the paper's PCKh columns or COCO's ten scores, in percent."""
    if validation.truth is None:
        return evaluation.pckh(distances(validation.persons, found))
    return average_precision.scores(_matches(validation, found))


def ceiling(validation: Validation, recipe: Recipe) -> float:
    """AP of a perfect network: the COCO targets of the labelled persons themselves, decoded."""
    found = []
    for person, (width, height) in zip(validation.persons, picture_sizes(validation.persons).tolist(), strict=True):
        affine = geometry.box_to_affine(person.box, (height, width), recipe.input_size)
        targets, _ = make_targets(geometry.apply(affine, person.keypoints), recipe.input_size, recipe)
        in_crop = decode(targets, recipe.decoder, sigma=recipe.sigma)
        found.append(geometry.apply(geometry.invert(affine), in_crop))
    return scores(validation, np.stack(found))["AP"]


def caveats(validation: Validation) -> list[str]:
    """What a reader of the scores has to know: few persons, persons who can't be scored, areas made up from boxes, boxes
    that nobody had to find."""
    count, found = len(validation.persons), []
    if count < FEW_PERSONS:
        found.append(f"only {count:,} persons: look at the intervals before you compare with anything")
    if validation.truth is None:
        truth = np.stack([person.keypoints for person in validation.persons])
        unscored = int(np.isnan(distances(validation.persons, truth)).all(axis=1).sum())
        return found + ([f"{unscored:,} of them without head top or neck, which aren't scored"] if unscored else [])
    if flat := sum(person.area == 0 for person in validation.persons):
        found.append(f"{flat:,} of the {count:,} areas are 0: these persons count as missed")
    ratios = [round(p.area / (p.box[2] * p.box[3]), 3) for p in validation.persons if min(p.box[2:]) > 0]
    ratio, times = Counter(ratios).most_common(1)[0] if ratios else (0, 0)
    if times >= max(5, count / 20):
        found.append(f"{times} of the {count:,} areas are {ratio:g} x the box, not measured: AP is approximate")
    if not validation.boxes_name:
        found.append("ground-truth boxes: a detector's mistakes would come on top")
    return found


def intervals(validation: Validation, found: np.ndarray, seed: int = 0) -> dict[str, tuple[float, float]]:
    """95 % bootstrap interval of every score: images are drawn, each with all its persons."""
    if validation.truth is None:
        images = bootstrap.images_of(validation.persons)
        return evaluation.pckh_intervals(distances(validation.persons, found), seed=seed, images=images)
    return average_precision.intervals(_matches(validation, found), seed=seed)


def gain(validation: Validation, found: np.ndarray, baseline: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """Difference of the main score to other predictions of the same subjects, with its 95 % interval: (gain, low, high)."""
    if validation.truth is None:
        both = (distances(validation.persons, poses) for poses in (found, baseline))
        return evaluation.paired_interval(*both, seed=seed, images=bootstrap.images_of(validation.persons))
    return average_precision.paired_interval(_matches(validation, found), _matches(validation, baseline), seed=seed)


def curves(validation: Validation, found: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray], str, str]:
    """x, named series and labels for `drawing.curves`: PCKh over the threshold (LIP), precision over recall (COCO)."""
    if validation.truth is not None:
        recalls, precisions = average_precision.precision_curves(_matches(validation, found))
        series = {f"OKS {threshold:g}": precision for threshold, precision in precisions.items()}
        return 100 * recalls, series, "recall (%)", "precision (%)"
    thresholds = np.linspace(0, 1, 41)
    by_joint = distances(validation.persons, found)
    columns = {"all": "Avg.", **{name: name for name in ("Head", "Wri.", "Hip", "Ank.")}}
    series = {name: evaluation.pckh_curve(by_joint, thresholds, column) for name, column in columns.items()}
    return thresholds, series, "threshold (head sizes)", "joints within (%)"


def results(validation: Validation, found: np.ndarray) -> list[dict]:
    """Predictions as rows of a COCO results file; a person's score is that of its joints times that of its box."""
    return coco.result_rows(validation.subjects, found, person_scores(validation, found))


def person_scores(validation: Validation, found: np.ndarray) -> list[float]:
    """One score per subject: the published rule over its joints' peaks, times the box's own."""
    return [
        person_score(keypoints) * subject.box_score for keypoints, subject in zip(found, validation.subjects, strict=True)
    ]


def by_person(validation: Validation, found: np.ndarray) -> np.ndarray:
    """Predictions (M, K, 3) of the subjects -> (N, K, 3) of the labelled persons.

    With a detector's boxes, persons to whom no pose comes near (OKS 0.1) are nan.
    """
    if not validation.boxes_name:
        return found
    persons, subjects = validation.persons, validation.subjects
    rows = average_precision.match_persons(
        np.stack([person.keypoints for person in persons]),
        np.array([person.area for person in persons]),
        np.array([person.image_id for person in persons]),
        found,
        np.array([subject.image_id for subject in subjects]),
        np.array(person_scores(validation, found)),
        validation.skeleton.sigmas,
    )
    matched = np.asarray(found)[rows].copy()
    matched[rows < 0] = np.nan
    return matched


def write_predictions(path: Path, validation: Validation, found: np.ndarray) -> Path:
    """The data set's own form: LIP's csv of whole pixels, or COCO's results JSON; the suffix is added to the path."""
    if validation.truth is None:
        names = [person.name for person in validation.persons]
        return lip.write_predictions(path.with_name(path.name + ".csv"), names, found)
    file, subjects = path.with_name(path.name + ".json"), validation.subjects
    return coco.write_results(file, subjects, found, person_scores(validation, found))


def distances(persons: Sequence[Person], found: np.ndarray) -> np.ndarray:
    """Distances (N, 16) in head sizes of predictions (N, 16, 3) of LIP persons; nan where a joint isn't scored."""
    return evaluation.normalised_distances(np.stack([person.keypoints for person in persons]), found)


def _matches(validation: Validation, found: np.ndarray) -> average_precision.Matches:
    return average_precision.match(validation.truth, results(validation, found), validation.skeleton.sigmas)
