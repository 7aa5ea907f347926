"""Where every single joint goes wrong, in one unit and one vocabulary for both data sets.

The unit is the tolerance: 1 is the distance up to which a joint counts as found. For LIP that is half a head size, as in
PCKh@0.5; for COCO the distance at which the keypoint similarity exp(-d^2 / (2 area (2 sigma)^2)) falls to 0.5. An error of
e tolerances has the similarity exp(-e^2 ln 2) in both. The kinds of errors are those of Ronchi and Perona, "Benchmarking
and Error Diagnosis in Multi-Instance Pose Estimation" (ICCV 2017).
"""

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import pandas as pd

from gccpm_lib.datasets.records import DataError, Person
from gccpm_lib.evaluation.pckh import HEAD_TOP, NECK, normalised_distances
from gccpm_lib.skeletons import LIP, SHARED_LIMBS, Skeleton

KINDS = ("good", "jitter", "inversion", "swap", "miss", "undetected")  # names of the codes
GOOD, JITTER, INVERSION, SWAP, MISS, UNDETECTED = range(6)
NOT_SCORED = -1
DIRECTIONS = {"upright": 45, "leaning or lying": 135, "upside down": 180}  # degrees from upright, up to and including
GOOD_LIMIT = math.sqrt(-math.log2(0.85))  # the error, in tolerances, at which the similarity is 0.85: about 0.48


def tolerances(persons: Sequence[Person], skeleton: Skeleton) -> np.ndarray:
    """Tolerance of every joint in pixels, (N, K) float64, nan where the joint isn't labelled or can't be scored.

    COCO (a skeleton with sigmas, persons with a box and an area): sqrt(area) 2 sigma sqrt(2 ln 2). LIP (persons without
    a box): half of |head top - neck|; a person without one can't be scored. DataError for a person without area and for
    joints that have neither sigmas nor a head size.
    """
    truth = _keypoints(persons, skeleton)
    if _has_areas(persons, skeleton):
        areas = np.array([_area(person) for person in persons])
        sizes = np.sqrt(areas)[:, None] * 2 * np.array(skeleton.sigmas) * math.sqrt(2 * math.log(2))
    else:
        ends = truth[:, HEAD_TOP], truth[:, NECK]
        head = np.where((ends[0][:, 2] > 0) & (ends[1][:, 2] > 0), np.linalg.norm((ends[0] - ends[1])[:, :2], axis=1), 0)
        sizes = np.repeat(head[:, None] / 2, skeleton.num_joints, axis=1)
    return np.where((truth[:, :, 2] > 0) & (sizes > 0), sizes, np.nan)


def errors(persons: Sequence[Person], found: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Distance of every predicted joint in tolerances, (N, K) float64, nan where the joint isn't scored.

    found (N, K, >=2): x, y in image pixels; nan (a person that wasn't detected) is infinitely far. For LIP a negative
    coordinate counts as 1, as the published scoring does. DataError as `tolerances`.
    """
    truth, found = _keypoints(persons, skeleton), np.asarray(found, np.float64)[:, :, :2]
    if _has_areas(persons, skeleton):
        distances = np.linalg.norm(found - truth[:, :, :2], axis=2) / tolerances(persons, skeleton)
    else:
        distances = normalised_distances(truth, found) / 0.5
    return np.where(np.isnan(found).any(axis=2) & ~np.isnan(tolerances(persons, skeleton)), np.inf, distances)


def kinds(persons: Sequence[Person], found: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """What became of every joint, (N, K) int8: a code of KINDS or NOT_SCORED. found as in `errors`.

    good: similarity of 0.85 or more to its own label; jitter: 0.5 or more. Otherwise, with 0.5 or more, inversion: to the
    label of its flip partner; swap: to the label of this joint or its flip partner on another person of the same picture,
    in that person's tolerance. The closer one decides where both apply, inversion where they are equal. Otherwise miss.
    undetected: the prediction is nan.
    """
    found = np.asarray(found, np.float64)
    own = errors(persons, found, skeleton)
    inversion = np.nan_to_num(_partner_errors(persons, found, skeleton), nan=np.inf)
    swap = _swap_errors(persons, found, skeleton)
    choices = [
        (np.isnan(own), NOT_SCORED),
        (np.isnan(found[:, :, :2]).any(axis=2), UNDETECTED),
        (own <= GOOD_LIMIT, GOOD),
        (own <= 1, JITTER),
        ((inversion <= 1) & (inversion <= swap), INVERSION),
        (swap <= 1, SWAP),
    ]
    return np.select(*map(list, zip(*choices, strict=True)), default=MISS).astype(np.int8)


def kind_shares(kinds: np.ndarray, skeleton: Skeleton) -> pd.DataFrame:
    """Percent of the scored instances by kind: a row per joint and a pooled row "all"; nan for a joint without one.

    Columns good, jitter, inversion, swap, miss, and undetected where there is any.
    """
    count = len(KINDS) if (kinds == UNDETECTED).any() else UNDETECTED
    totals = np.stack([(kinds == code).sum(axis=0) for code in range(count)], axis=1)  # (K, count)
    totals = np.vstack([totals, totals.sum(axis=0)])
    with np.errstate(invalid="ignore"):
        shares = 100 * totals / totals.sum(axis=1, keepdims=True)
    return pd.DataFrame(shares, index=[*skeleton.joints, "all"], columns=list(KINDS[:count]))


def found_percent(errors: np.ndarray) -> np.ndarray:
    """Errors (N, K) in tolerances -> (K,) percent of the scored instances within 1, nan for a joint without one."""
    with np.errstate(invalid="ignore"):
        return 100 * (errors <= 1).sum(axis=0) / (~np.isnan(errors)).sum(axis=0)


def by_joint(errors: np.ndarray, skeleton: Skeleton) -> pd.DataFrame:
    """A row per joint: percent found, median error, and the error that nine of ten instances keep within, in tolerances."""
    known = [column[~np.isnan(column)] for column in errors.T]
    return pd.DataFrame(
        {
            "found (%)": found_percent(errors),
            "median error": [np.median(column) if len(column) else np.nan for column in known],
            "90 % within": [np.quantile(column, 0.9, method="lower") if len(column) else np.nan for column in known],
        },
        index=skeleton.joints,
    )


def trunk_angles(persons: Sequence[Person], skeleton: Skeleton) -> np.ndarray:
    """How far each trunk, from between the hips to between the shoulders, is turned from upright: (N,) degrees 0..180.

    nan where one of the four joints isn't labelled, or where the two ends lie on one spot.
    """
    truth = _keypoints(persons, skeleton)
    shoulders, hips = ([skeleton.find(side, limb) for side in ("right", "left")] for limb in ("shoulder", "hip"))
    if None in (*shoulders, *hips):
        return np.full(len(truth), np.nan)
    x, y = (truth[:, shoulders, :2].mean(axis=1) - truth[:, hips, :2].mean(axis=1)).T
    known = (truth[:, shoulders + hips, 2] > 0).all(axis=1) & (np.hypot(x, y) > 0)
    return np.where(known, np.degrees(np.abs(np.arctan2(x, -y))), np.nan)


def by_direction(persons: Sequence[Person], errors: np.ndarray, skeleton: Skeleton) -> pd.DataFrame:
    """Persons and percent found of the limb joints by direction of the trunk (`DIRECTIONS`), and where it isn't known."""
    angles, rows, least = trunk_angles(persons, skeleton), {}, -1
    for name, most in DIRECTIONS.items():
        chosen = (angles > least) & (angles <= most)
        rows[name], least = (int(chosen.sum()), limb_score(errors[chosen], skeleton)), most
    unknown = np.isnan(angles)
    rows["not known"] = int(unknown.sum()), limb_score(errors[unknown], skeleton)
    return pd.DataFrame.from_dict(rows, orient="index", columns=["persons", "limb joints found (%)"])


def limb_score(errors: np.ndarray, skeleton: Skeleton) -> float:
    """Percent found of the joints that data sets share, pooled: shoulders, elbows, wrists, hips, knees and ankles."""
    joints = [skeleton.find(side, limb) for limb in SHARED_LIMBS for side in ("right", "left")]
    shared = errors[:, [joint for joint in joints if joint is not None]]
    scored = ~np.isnan(shared)
    return float(100 * (shared[scored] <= 1).mean()) if scored.any() else float("nan")


def _partner_errors(persons: Sequence[Person], found: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Errors against the label of each joint's flip partner; nan where that isn't labelled.

    Joints without a partner are compared with themselves, which changes nothing: whoever is within 1 there is found.
    """
    order = skeleton.flip_order
    return errors(persons, found[:, order], skeleton)[:, order]


def _swap_errors(persons: Sequence[Person], found: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Smallest error (N, K) against another person of the same picture, this joint's or its flip partner's label."""
    groups = defaultdict(list)
    for row, person in enumerate(persons):
        if person.box is not None:  # without one the whole picture is the person, and there is nobody else
            groups[person.image_path].append(row)
    pairs = [(a, b) for rows in groups.values() for a in rows for b in rows if a != b]
    nearest = np.full(found.shape[:2], np.inf)
    if pairs:
        own, other = np.array(pairs).T
        others = [persons[row] for row in other]
        for measure in (errors, _partner_errors):
            np.minimum.at(nearest, own, np.nan_to_num(measure(others, found[own], skeleton), nan=np.inf))
    return nearest


def _keypoints(persons: Sequence[Person], skeleton: Skeleton) -> np.ndarray:
    return np.array([person.keypoints for person in persons], np.float64).reshape(-1, skeleton.num_joints, 3)


def _has_areas(persons: Sequence[Person], skeleton: Skeleton) -> bool:
    """True where areas and sigmas set the tolerance (COCO), False where head sizes do (LIP)."""
    if skeleton.sigmas and all(person.box is not None for person in persons):
        return True
    if skeleton.joints != LIP.joints:
        raise DataError(f"{skeleton.name}: joints without sigmas or persons without boxes; add them to the annotation file")
    return False


def _area(person: Person) -> float:
    if person.area is None:
        raise DataError(f"{person.image_path}, annotation {person.annotation_id}: no area; add it in square pixels")
    return person.area
