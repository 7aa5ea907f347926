"""Several data sets pooled into one in LIP's layout: a picture per person, in whatever picture it stood before.

    pool_lip("data/photographs_lip", [Source("data/coco", repeat=8), Source("data/lip", layout="lip")], val="data/lip")

LIP's own persons are linked. Persons with a box are cut out of their pictures, as LIP's were out of COCO's, each time with
other margins. A joint keeps its place by its name; what LIP derives from others is derived, the rest is missing.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from gccpm_lib.datasets import lip
from gccpm_lib.datasets.coco_pool import Source, read_source
from gccpm_lib.datasets.records import Person, read_person_image
from gccpm_lib.files import link, new_folder, write_beside
from gccpm_lib.skeletons import LIP, MISSING

MARGINS = (0.0, 0.25)  # of the box's width or height, drawn for each of its edges
LARGEST = 400  # pixels: a larger cut-out is shrunk, networks see less of it anyway
# pelvis and spine lie between the hips and the shoulders, as in photographs put into LIP's layout
DERIVED = {"pelvis": ("r_hip", "l_hip"), "spine": ("r_shoulder", "l_shoulder")}


def pool_lip(root: str | Path, sources: Sequence[Source], val: str | Path, seed: int = 0) -> Path:
    """Write a folder in LIP's layout with the training persons of all the sources and the validation split of `val`.

    Keypoints are LIP's 16, in pixels of the person's own picture. Raises FileExistsError where root exists, DataError for a
    source that can't be read.
    """
    rng, rows = np.random.default_rng(seed), []
    with new_folder(Path(root)) as part:
        pictures, annotations = part / "TrainVal_images" / "train_images", part / "TrainVal_pose_annotations"
        for folder in (pictures, annotations):
            folder.mkdir(parents=True)
        for number, source in enumerate(sources):
            for person in read_source(source, LIP):
                for turn in range(source.repeat):
                    stem = pictures / f"{number}_{len(rows)}_{turn}"
                    name, keypoints = _add_picture(rng, person, source.layout, stem)
                    rows.append(lip.annotation_row(name, with_derived(keypoints)))
        write_beside(annotations / "lip_train_set.csv", "".join(rows))
        link(lip.find_path(val, "val_images").resolve(), part / "TrainVal_images" / "val_images")
        link(lip.find_path(val, "lip_val_set.csv").resolve(), annotations / "lip_val_set.csv")
    return Path(root)


def _add_picture(rng: np.random.Generator, person: Person, layout: str, stem: Path) -> tuple[str, np.ndarray]:
    """Link a LIP person's picture, or cut one out of COCO's: its name and the keypoints (16, 3) in it."""
    if layout == "lip":
        path = stem.with_name(stem.name + person.image_path.suffix)
        link(person.image_path.resolve(), path)
        return path.name, person.keypoints
    path = stem.with_name(stem.name + ".jpg")
    picture, keypoints = cut_out(rng, read_person_image(person), person)
    cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, 95])
    return path.name, keypoints


def cut_out(rng: np.random.Generator, image: np.ndarray, person: Person) -> tuple[np.ndarray, np.ndarray]:
    """Picture (H, W, 3) -> the part of it in the person's box and a margin, and the keypoints (K, 3) in it."""
    x, y, w, h = person.box
    left, top, right, bottom = rng.uniform(*MARGINS, 4)
    x1, y1 = max(0, round(x - left * w)), max(0, round(y - top * h))
    x2, y2 = min(image.shape[1], round(x + w + right * w)), min(image.shape[0], round(y + h + bottom * h))
    view, factor = image[y1:y2, x1:x2], min(1.0, LARGEST / max(x2 - x1, y2 - y1))
    keypoints = person.keypoints.astype(np.float64) - (x1, y1, 0)
    if factor < 1:
        view = cv2.resize(view, [max(1, round(side * factor)) for side in view.shape[1::-1]], interpolation=cv2.INTER_AREA)
        keypoints[:, :2] = (keypoints[:, :2] + 0.5) * factor - 0.5
    return view, keypoints


def with_derived(keypoints: np.ndarray) -> np.ndarray:
    """Keypoints (16, 3) with the joints of DERIVED where they are missing and both that they lie between are there."""
    keypoints = keypoints.copy()
    for name, ends in DERIVED.items():
        joint, pair = LIP.joints.index(name), keypoints[[LIP.joints.index(end) for end in ends]]
        if keypoints[joint, 2] == MISSING and (pair[:, 2] > 0).all():
            keypoints[joint] = (*pair[:, :2].mean(axis=0), pair[:, 2].min())
    return keypoints
