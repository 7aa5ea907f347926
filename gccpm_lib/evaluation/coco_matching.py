"""COCO keypoint evaluation: result rows are checked and matched to labelled persons by pycocotools.

A detection and a labelled person are alike by their object keypoint similarity (OKS): the mean over the labelled joints of
exp(-d^2 / (2 area (2 sigma)^2)), d in pixels and the person's area in square pixels. Detections take persons in order of
falling score at ten OKS thresholds, 0.5 to 0.95, 20 an image at most (cocodataset.org/#keypoints-eval).
"""

import contextlib
import io
from collections import Counter
from dataclasses import dataclass

import numpy as np

from gccpm_lib.datasets.coco_labels import check_areas, person_category, person_numbers
from gccpm_lib.datasets.picture_names import ImageNames
from gccpm_lib.datasets.records import DataError

ALL, MEDIUM, LARGE = range(3)  # area ranges: every person, 32^2 to 96^2 and 96^2 square pixels or more


@dataclass(frozen=True, eq=False)
class Matches:
    """Detections (D, the best 20 of every image) matched to the persons of I images, in COCO's three area ranges."""

    image_ids: np.ndarray  # (I,) rising
    images: np.ndarray  # (D,) each detection's index into image_ids; detections are in order of falling score
    rows: np.ndarray  # (D,) each detection's index into the results
    scores: np.ndarray  # (D,)
    matched: np.ndarray  # (3, 10, D) bool: has a person, by area range and threshold
    ignored: np.ndarray  # (3, 10, D) bool: counts neither as right nor as wrong (crowds, other sizes)
    persons: np.ndarray  # (3, I) persons that count, by area range


def match(truth: dict, results: list[dict], sigmas=None, names=("truth", "results")) -> Matches:
    """Match results to persons with pycocotools. truth is the content of a COCO file, results are COCO's result rows.

    Neither is modified. sigmas are the K OKS constants (COCO's 17 by default); K can be any number. Crowds and persons
    without a labelled joint count neither way; joints are counted by their labels, whatever num_keypoints says. A row is
    of the image that has its file_name where both have one, else its image_id. names are those of the files, for messages.
    Raises DataError for a wrong structure, naming the annotation id or the row (counted from 1): missing keys, numbers or
    area, other than K keypoints; and where every area is 0.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval, Params

    category = labelled_category(truth, names[0])
    sigmas = Params("keypoints").kpt_oks_sigmas if sigmas is None else _numbers(sigmas, None, f"{names[0]}: sigmas")
    if not len(sigmas) or not (sigmas > 0).all():
        raise DataError(f"{names[0]}: sigmas {sigmas.tolist()} must be above 0, one for every joint; correct them")
    annotations = _annotations(truth, category["id"], len(sigmas), names[0])
    persons = person_numbers(category["id"], [item["id"] for item in truth["categories"]])
    images = ImageNames({image["id"]: image for image in truth["images"]})
    rows = _rows(results, images, persons, len(sigmas), names)
    file = COCO()
    file.dataset = {"images": truth["images"], "categories": [category], "annotations": annotations}
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints every step
        file.createIndex()
        evaluation = COCOeval(file, file.loadRes(rows), "keypoints")
        evaluation.params.kpt_oks_sigmas = sigmas
        evaluation.evaluate()
    return _collect(evaluation)


def labelled_category(truth: dict, name="truth") -> dict:
    """The persons' category, see `person_category`; DataError for a content that isn't a COCO annotation file's."""
    for key in ("images", "annotations", "categories"):
        items = truth.get(key) if isinstance(truth, dict) else None
        if not isinstance(items, list) or not all(isinstance(item, dict) and "id" in item for item in items):
            raise DataError(f"{name}: no list {key!r} of records with an id; give a COCO annotation file")
    category = person_category(name, truth)
    if category is None:
        raise DataError(f"{name}: 0 categories could be the person's; add it, with its id")
    return category


def _annotations(truth: dict, category_id: int, num_joints: int, name: str) -> list[dict]:
    """Copies of the persons' annotations for pycocotools, which writes into what it gets."""
    images, seen, copies = {image["id"] for image in truth["images"]}, set(), []
    if len(images) < len(truth["images"]):
        twice = Counter(image["id"] for image in truth["images"]).most_common(1)[0][0]
        raise DataError(f"{name}, image {twice}: id comes twice; remove or renumber one of them")
    for annotation in truth["annotations"]:
        where = f"{name}, annotation {annotation['id']}"
        if annotation["id"] in seen:
            raise DataError(f"{where}: id comes twice; remove or renumber one of them")
        seen.add(annotation["id"])
        if annotation.get("category_id", category_id) != category_id:
            continue
        _require(annotation, ("image_id",), where)
        if annotation["image_id"] not in images:
            raise DataError(f"{where}: image_id {annotation['image_id']} is not in images; add it, or remove this")
        keypoints = annotation.get("keypoints") or [0] * (3 * num_joints)  # a person of whom only the box is known
        labels = _numbers(keypoints, 3 * num_joints, f"{where}: keypoints")
        if annotation.get("area") is None:
            raise DataError(f"{where}: no area, which the keypoint similarity needs; add it in square pixels")
        labelled = int((labels[2::3] > 0).sum())
        if labelled == 0:  # then the box alone says which detections to ignore
            _require(annotation, ("bbox",), where)
        copies.append(
            {
                "id": len(copies) + 1,  # renumbered: pycocotools takes a person of id 0 for no match
                "image_id": annotation["image_id"],
                "category_id": category_id,
                "keypoints": labels,
                "num_keypoints": labelled,
                "iscrowd": int(annotation.get("iscrowd") or 0),
                "area": float(_numbers([annotation["area"]], 1, f"{where}: area")[0]),
                "bbox": _numbers(annotation.get("bbox", [0] * 4), 4, f"{where}: bbox"),
            }
        )
    check_areas(name, copies)
    return copies


def _rows(results: list[dict], images: ImageNames, category_ids: list, num_joints: int, names) -> list[dict]:
    """Copies of the result rows for pycocotools. Each may have any of the category ids and gets the first one."""
    if not isinstance(results, list) or not results:
        raise DataError(f"{names[1]}: no list of results inside; predict the pictures of {names[0]} first")
    keys = ["image_id", "category_id", "keypoints", "score"]
    if isinstance(results[0], dict) and results[0].get("bbox"):
        keys.append("bbox")  # the size of a detection is then its box's, else its keypoints' extent: pycocotools' rule
    copies = []
    for number, row in enumerate(results, 1):
        where = f"{names[1]}, row {number}"
        named = isinstance(row, dict) and "file_name" in row
        _require(row, keys[1:] if named else keys, where)
        copy = {key: row.get(key) for key in keys}
        copy["image_id"] = images.id_of(row)
        if copy["image_id"] is None:
            raise DataError(f"{where}: {images.strange(row)} is not in {names[0]}; evaluate against its own truth")
        if row["category_id"] not in category_ids:
            raise DataError(
                f"{where}: category_id {row['category_id']} isn't {category_ids[0]}, the person; remove the row"
            )
        copy["category_id"] = category_ids[0]
        copy["keypoints"] = _numbers(row["keypoints"], 3 * num_joints, f"{where}: keypoints")
        copy["score"] = float(_numbers([row["score"]], 1, f"{where}: score")[0])
        if "bbox" in keys:
            copy["bbox"] = _numbers(row["bbox"], 4, f"{where}: bbox").tolist()
        copies.append(copy)
    return copies


def _require(record: dict, keys, where: str) -> None:
    missing = [key for key in keys if not isinstance(record, dict) or key not in record]
    if missing:
        raise DataError(f"{where}: no {missing[0]}; write it again with {', '.join(keys)}")


def _numbers(values, count: int | None, where: str) -> np.ndarray:
    """A flat list of so many finite numbers (None: any) as float64."""
    try:
        array = np.asarray(values)
    except ValueError:  # lists of unequal length
        array = np.array(None)
    if array.dtype.kind not in "iuf" or array.ndim != 1:
        raise DataError(f"{where}: not a flat list of numbers; write it again")
    if count not in (None, len(array)):
        raise DataError(f"{where}: {len(array)} numbers instead of {count}; write it again, or give other sigmas")
    if not np.isfinite(array).all():
        raise DataError(f"{where}: nan or infinity; write finite numbers")
    return array.astype(np.float64)


def _collect(evaluation) -> Matches:
    """pycocotools' records, one for each area range and image -> arrays. An image with nothing in it has no record."""
    image_ids = evaluation.params.imgIds
    blocks = [evaluation.evalImgs[k * len(image_ids) : (k + 1) * len(image_ids)] for k in range(3)]
    filled = [[record for record in block if record is not None] for block in blocks]
    counts = [0 if record is None else len(record["dtIds"]) for record in blocks[ALL]]
    scores = np.concatenate([record["dtScores"] for record in filled[ALL]])
    order = np.argsort(-scores, kind="mergesort")  # pycocotools' order of equal scores

    def flags(key):
        return np.stack([np.concatenate([record[key] for record in block], axis=1)[:, order] > 0 for block in filled])

    return Matches(
        image_ids=np.array(image_ids),
        images=np.repeat(np.arange(len(image_ids)), counts)[order],
        rows=np.concatenate([record["dtIds"] for record in filled[ALL]])[order].astype(int) - 1,
        scores=scores[order],
        matched=flags("dtMatches"),
        ignored=flags("dtIgnore"),
        persons=np.array([[0 if r is None else np.count_nonzero(r["gtIgnore"] == 0) for r in block] for block in blocks]),
    )
