"""Validation: whom a network is scored on, with one face for both data sets: PCKh for LIP, average precision for COCO.

    validation = read_validation("data/coco", COCO_CORRECTED)
    found = PosePredictor(network, COCO_CORRECTED).predict_persons(validation.subjects)
    validation.scores(found)  # {"AP": ..., ...} in percent

Predictions, here called found, are (M, K, 3): x, y in image pixels and score, of the M subjects.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from gccpm_lib import geometry
from gccpm_lib.datasets import coco, layouts, lip
from gccpm_lib.datasets.records import RAISE, BadSamples, DataError, Person, picture_sizes, readable
from gccpm_lib.evaluation import average_precision, bootstrap, pckh
from gccpm_lib.heatmaps import decode
from gccpm_lib.loading import make_targets
from gccpm_lib.prediction.predictor import person_score
from gccpm_lib.recipes import Recipe
from gccpm_lib.skeletons import Skeleton

FEW_PERSONS = 1000


@dataclass(frozen=True, eq=False)
class LipValidation:
    """Persons who each have a picture of their own, scored by PCKh."""

    skeleton: Skeleton
    persons: Sequence[Person]  # the labelled persons
    main_score: ClassVar[str] = "Avg."  # the score that counts: PCKh's average
    metric: ClassVar[str] = "PCKh@0.5 Avg."  # its full name
    box_source: ClassVar[str] = "whole pictures"
    truth: ClassVar[None] = None  # what COCO's scores need beside the persons

    @property
    def subjects(self) -> Sequence[Person]:
        """Whose poses are predicted."""
        return self.persons

    def headline(self, scores: dict[str, float]) -> str:
        """The main score in words, single scale and without flip."""
        return f"{self.metric} {scores[self.main_score]:.1f}"

    def scores(self, found: np.ndarray) -> dict[str, float]:
        """The paper's PCKh columns in percent."""
        return pckh.pckh(distances(self.persons, found))

    def intervals(self, found: np.ndarray, seed: int = 0) -> dict[str, tuple[float, float]]:
        """95 % bootstrap interval of every score: images are drawn, each with all its persons."""
        images = bootstrap.images_of(self.persons)
        return pckh.pckh_intervals(distances(self.persons, found), seed=seed, images=images)

    def gain(self, found: np.ndarray, baseline: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
        """Difference of the main score to another prediction, with its 95 % interval: (gain, low, high)."""
        both = (distances(self.persons, poses) for poses in (found, baseline))
        return pckh.paired_interval(*both, seed=seed, images=bootstrap.images_of(self.persons))

    def curves(self, found: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray], str, str]:
        """x, named series and labels for `drawing.curves`: PCKh over the threshold."""
        thresholds, by_joint = np.linspace(0, 1, 41), distances(self.persons, found)
        columns = {"all": "Avg.", **{name: name for name in ("Head", "Wri.", "Hip", "Ank.")}}
        series = {name: pckh.pckh_curve(by_joint, thresholds, column) for name, column in columns.items()}
        return thresholds, series, "threshold (head sizes)", "joints within (%)"

    def caveats(self) -> list[str]:
        """What a reader of the scores has to know: few persons, persons who can't be scored."""
        truth = np.stack([person.keypoints for person in self.persons])
        unscored = int(np.isnan(distances(self.persons, truth)).all(axis=1).sum())
        found = [f"{unscored:,} of them without head top or neck, which aren't scored"] if unscored else []
        return _few(self.persons) + found

    def of_images(self, paths: Collection[Path]) -> "LipValidation":
        """The same in these images alone."""
        return replace(self, persons=[person for person in self.persons if person.image_path in paths])

    def by_person(self, found: np.ndarray) -> np.ndarray:
        """Predictions (N, K, 3) of the labelled persons."""
        return found

    def write_predictions(self, path: Path, found: np.ndarray) -> Path:
        """LIP's csv of whole pixels; its suffix is added to the path."""
        names = [person.name for person in self.persons]
        return lip.write_predictions(path.with_name(path.name + ".csv"), names, found)


@dataclass(frozen=True, eq=False)
class CocoValidation:
    """Persons in boxes, scored by average precision."""

    skeleton: Skeleton
    persons: Sequence[Person]  # the labelled persons
    subjects: Sequence[Person]  # whose poses are predicted: the same, or the boxes that a detector found
    truth: dict  # the content of a COCO label file, crowds included
    boxes_name: str = ""  # the detector's file
    main_score: ClassVar[str] = "AP"  # the score that counts
    metric: ClassVar[str] = "AP"  # its full name

    @property
    def box_source(self) -> str:
        """Where the boxes come from, to be named beside every AP."""
        return f"boxes of {self.boxes_name}" if self.boxes_name else "ground-truth boxes"

    def headline(self, scores: dict[str, float]) -> str:
        """The main score in words, single scale and without flip, with the source of the boxes."""
        return f"{self.metric} {scores[self.main_score]:.1f} ({self.box_source}, no flip)"

    def scores(self, found: np.ndarray) -> dict[str, float]:
        """COCO's ten scores in percent."""
        return average_precision.scores(self.matches(found))

    def intervals(self, found: np.ndarray, seed: int = 0) -> dict[str, tuple[float, float]]:
        """95 % bootstrap interval of every score: images are drawn, each with all its persons."""
        return average_precision.intervals(self.matches(found), seed=seed)

    def gain(self, found: np.ndarray, baseline: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
        """Difference of the main score to another prediction of the subjects, with its 95 % interval: (gain, low, high)."""
        return average_precision.paired_interval(self.matches(found), self.matches(baseline), seed=seed)

    def curves(self, found: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray], str, str]:
        """x, named series and labels for `drawing.curves`: precision over recall."""
        recalls, precisions = average_precision.precision_curves(self.matches(found))
        series = {f"OKS {threshold:g}": precision for threshold, precision in precisions.items()}
        return 100 * recalls, series, "recall (%)", "precision (%)"

    def caveats(self) -> list[str]:
        """What a reader of the scores has to know: few persons, areas made up from boxes, boxes that nobody had to find."""
        count, found = len(self.persons), _few(self.persons)
        if flat := sum(person.area == 0 for person in self.persons):
            found.append(f"{flat:,} of the {count:,} areas are 0: these persons count as missed")
        ratios = [round(p.area / (p.box[2] * p.box[3]), 3) for p in self.persons if min(p.box[2:]) > 0]
        ratio, times = Counter(ratios).most_common(1)[0] if ratios else (0, 0)
        if times >= max(5, count / 20):
            found.append(f"{times} of the {count:,} areas are {ratio:g} x the box, not measured: AP is approximate")
        if not self.boxes_name:
            found.append("ground-truth boxes: a detector's mistakes would come on top")
        return found

    def of_images(self, paths: Collection[Path]) -> "CocoValidation":
        """The same in these images alone."""
        persons, subjects = ([p for p in some if p.image_path in paths] for some in (self.persons, self.subjects))
        return replace(
            self, persons=persons, subjects=subjects, truth=_of_images(self.truth, {p.image_id for p in persons})
        )

    def by_person(self, found: np.ndarray) -> np.ndarray:
        """Predictions (M, K, 3) of the subjects -> (N, K, 3) of the labelled persons.

        With a detector's boxes, persons to whom no pose comes near (OKS 0.1) are nan.
        """
        if not self.boxes_name:
            return found
        rows = average_precision.match_persons(
            np.stack([person.keypoints for person in self.persons]),
            np.array([person.area for person in self.persons]),
            np.array([person.image_id for person in self.persons]),
            found,
            np.array([subject.image_id for subject in self.subjects]),
            np.array(self.person_scores(found)),
            self.skeleton.sigmas,
        )
        matched = np.asarray(found)[rows].copy()
        matched[rows < 0] = np.nan
        return matched

    def write_predictions(self, path: Path, found: np.ndarray) -> Path:
        """COCO's results JSON; its suffix is added to the path."""
        file = path.with_name(path.name + ".json")
        return coco.write_results(file, self.subjects, found, self.person_scores(found))

    def person_scores(self, found: np.ndarray) -> list[float]:
        """One score per subject: the published rule over its joints' peaks, times the box's own."""
        return [person_score(own) * subject.box_score for own, subject in zip(found, self.subjects, strict=True)]

    def matches(self, found: np.ndarray) -> average_precision.Matches:
        """The predictions matched to the labelled persons; a person's score is that of its joints times that of its box."""
        results = coco.result_rows(self.subjects, found, self.person_scores(found))
        return average_precision.match(self.truth, results, self.skeleton.sigmas)

    def ceiling(self, recipe: Recipe) -> float:
        """AP of a perfect network: the recipe's targets of the labelled persons themselves, decoded."""
        found = []
        for person, (width, height) in zip(self.persons, picture_sizes(self.persons).tolist(), strict=True):
            affine = geometry.box_to_affine(person.box, (height, width), recipe.input_size)
            targets, _ = make_targets(geometry.apply(affine, person.keypoints), recipe.input_size, recipe)
            in_crop = decode(targets, recipe.decoder, sigma=recipe.sigma)
            found.append(geometry.apply(geometry.invert(affine), in_crop))
        return self.scores(np.stack(found))["AP"]


Validation = LipValidation | CocoValidation


def kind_of(recipe: Recipe) -> type[Validation]:
    """How the recipe's networks are validated."""
    return LipValidation if recipe.crop == "letterbox" else CocoValidation


def read_validation(
    dataset_folder: str | Path,
    recipe: Recipe,
    split: str = "val",
    labels: str = "",
    boxes_path: str | Path = "",
    num_persons: int | None = None,
    min_box_score: float = 0.0,
    bad: BadSamples = RAISE,
) -> Validation:
    """The first num_persons of a split (COCO: and whoever else is in their pictures); None: all.

    labels: COCO's label file, "" the official name. boxes_path: a detector's COCO results file, of which boxes of at least
    min_box_score are taken; "": the labelled boxes. Raises DataError where there is no such box, where nobody can be
    scored, and for labels and pictures that can't be read; where bad ones are skipped, they are neither predicted nor
    scored.
    """
    persons = layouts.read_persons(dataset_folder, split, recipe, labels, bad)
    if kind_of(recipe) is LipValidation:
        return _read_lip(dataset_folder, recipe, split, persons[:num_persons], bad)
    subjects = persons
    if boxes_path:
        subjects = coco.read_detections(boxes_path, dataset_folder, split, labels, min_box_score, bad)
    chosen = None
    if num_persons is not None:
        chosen = {person.image_id for person in persons[:num_persons]}
        persons = [person for person in persons if person.image_id in chosen]
        subjects = [box for box in subjects if box.image_id in chosen] if boxes_path else persons
    if not subjects:
        raise DataError(f"{boxes_path}: no box in the chosen pictures; detect in these, or raise num_val_persons")
    truth = coco.read_truth(dataset_folder, split, labels, chosen, bad)
    if bad.skip:
        persons, subjects, truth = _readable_alone(persons, subjects, truth, bad)
    return CocoValidation(recipe.skeleton, persons, subjects, truth, Path(boxes_path).name if boxes_path else "")


def _read_lip(dataset_folder, recipe: Recipe, split: str, persons: list[Person], bad) -> LipValidation:
    persons = readable(persons, bad)
    if not np.isfinite(layouts.body_sizes(persons, recipe)).any():
        raise DataError(
            f"{dataset_folder}: none of the {len(persons):,} {split} persons has head top and neck labelled, so PCKh "
            "can't be computed; label them, or validate nobody (num_val_persons 0)"
        )
    return LipValidation(recipe.skeleton, persons)


def _readable_alone(persons: list[Person], subjects: list[Person], truth: dict, bad: BadSamples):
    """The same without pictures that can't be read and without persons that either of the readers left out."""
    read = {person.annotation_id for person in persons}
    lost = {a["id"] for a in truth["annotations"] if a["num_keypoints"] and not a["iscrowd"]} - read
    seen = readable([*persons, *subjects], bad)
    bad = {person.image_id for person in [*persons, *subjects]} - {person.image_id for person in seen}
    truth = _of_images(truth, {image["id"] for image in truth["images"]} - bad)
    truth["annotations"] = [annotation for annotation in truth["annotations"] if annotation["id"] not in lost]
    scored = {None, *(a["id"] for a in truth["annotations"])}
    chosen = [[p for p in some if p.image_id not in bad and p.annotation_id in scored] for some in (persons, subjects)]
    return *chosen, truth


def _of_images(truth: dict, image_ids: Collection[int]) -> dict:
    annotations = [annotation for annotation in truth["annotations"] if annotation["image_id"] in image_ids]
    return {**truth, "images": [i for i in truth["images"] if i["id"] in image_ids], "annotations": annotations}


def some_images(validation: Validation, count: int) -> tuple[Validation, np.ndarray]:
    """So many images in which persons are labelled and predicted, evenly spread, alone; and the rows of their subjects."""
    predicted = {subject.image_path for subject in validation.subjects}
    images = list(dict.fromkeys(person.image_path for person in validation.persons if person.image_path in predicted))
    chosen = {images[i] for i in np.linspace(0, len(images) - 1, min(count, len(images))).astype(int)}
    return validation.of_images(chosen), np.flatnonzero([own.image_path in chosen for own in validation.subjects])


def distances(persons: Sequence[Person], found: np.ndarray) -> np.ndarray:
    """Distances (N, 16) in head sizes of predictions (N, 16, 3) of LIP persons; nan where a joint isn't scored."""
    return pckh.normalised_distances(np.stack([person.keypoints for person in persons]), found)


def _few(persons: Sequence[Person]) -> list[str]:
    few = len(persons) < FEW_PERSONS
    return [f"only {len(persons):,} persons: look at the intervals before you compare with anything"] if few else []
