"""The record that every data set is read into, and the error that every reader raises."""

import contextlib
import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from gccpm_lib.skeletons import Skeleton

ORIENTATION = 0x0112  # EXIF tag


class DataError(ValueError):
    """Something on disk is not as it should be; the message names the file, the row or key, and the remedy."""


@dataclass(frozen=True)
class Skip:
    """A row or picture that on_bad_sample="skip" left out, and why."""

    name: str
    reason: str


@contextlib.contextmanager
def noted(skipped: list[Skip] | None, name: str) -> Iterator[None]:
    """A DataError in here is noted in the list; without a list it is raised."""
    try:
        yield
    except DataError as error:
        if skipped is None:
            raise
        skipped.append(Skip(name, str(error)))


@dataclass(frozen=True, eq=False)
class Person:
    """One person of one picture.

    box is x, y, width, height in image pixels, or None where the whole picture is the person (LIP).
    keypoints is (K, 3) float32: x, y in image pixels (pixel centres at integers), label 0 missing, 1 occluded, 2 visible.
    The further fields are known in COCO's layout only; area is in square pixels.
    """

    image_path: Path
    keypoints: np.ndarray
    box: tuple[float, float, float, float] | None = None
    image_id: int | None = None
    annotation_id: int | None = None
    area: float | None = None
    box_score: float = 1.0  # a detector's; 1 for a labelled box
    picture_size: tuple[int, int] | None = None  # width, height as the label file has them

    @property
    def name(self) -> str:
        return self.image_path.name


@contextlib.contextmanager
def blamed_on(person: Person) -> Iterator[None]:
    """A ValueError in here becomes a DataError that names the person's picture and annotation."""
    try:
        yield
    except DataError:
        raise
    except ValueError as error:
        annotation = "" if person.annotation_id is None else f", annotation {person.annotation_id}"
        raise DataError(f"{person.image_path}{annotation}: {error}; correct or remove this person's row") from error


def read_person_image(person: Person) -> np.ndarray:
    """A person's picture, see `read_image`, in the frame in which its labels are given.

    Where the label file tells the size, the picture is turned by its EXIF tag only if that gives this size. DataError where
    neither way does.
    """
    image = read_image(person.image_path)
    if person.picture_size in (None, image.shape[1::-1]):
        return image
    unturned = cv2.imread(str(person.image_path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if unturned is not None and unturned.shape[1::-1] == person.picture_size:
        return unturned
    (width, height), (w, h) = person.picture_size, image.shape[1::-1]
    raise DataError(
        f"{person.image_path}, image {person.image_id}: {w} x {h} pixels, but {width} x {height} in the label file; "
        "use the pictures that were labelled"
    )


def readable(persons: Sequence[Person], skipped: list[Skip]) -> list[Person]:
    """The persons whose pictures can be read; the others are added to skipped, once for each picture."""
    good: dict[Path, bool] = {}
    for person in persons:
        if person.image_path not in good:
            good[person.image_path] = False
            with noted(skipped, person.name):
                read_person_image(person)
                good[person.image_path] = True
    return [person for person in persons if good[person.image_path]]


def read_image(path: str | Path) -> np.ndarray:
    """Picture file -> (H, W, 3) uint8 BGR, turned upright by its EXIF tag; DataError when missing or unreadable."""
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: picture missing; unpack the archive that holds it, or remove its row") from error
    if _is_cut_off(data):
        raise DataError(f"{path}: picture truncated ({len(data)} bytes); unpack it again")
    _check_claim(path, data)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    except cv2.error as error:  # a header that claims more pixels than OpenCV reads
        raise DataError(f"{path}: not a readable picture ({error.err or error}); unpack it again") from error
    if image is None:
        raise DataError(f"{path}: not a readable picture ({len(data)} bytes); unpack it again")
    return image


def _check_claim(path: Path, data: bytes) -> None:
    """DataError for a picture whose header claims more pixels than Pillow's limit: a few bytes could fill the memory."""
    try:
        Image.open(io.BytesIO(data)).close()
    except Image.DecompressionBombError as error:
        raise DataError(f"{path}: {error}; don't use this picture") from error
    except Exception:  # damaged in one of many ways, or not of Pillow's formats: OpenCV decides
        return


def _is_cut_off(data: bytes) -> bool:
    """True for a JPEG without an end marker behind its last scan, and for a PNG without its end chunk.

    OpenCV decodes a truncated JPEG to a half grey picture with no error, so the bytes have to be asked.
    """
    if data.startswith(b"\xff\xd8"):
        return data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")
    return data.startswith(b"\x89PNG") and b"IEND" not in data[-64:]


def picture_sizes(persons: Sequence[Person]) -> np.ndarray:
    """(N, 2) width, height of every person's picture, from the files' headers; DataError for one missing or unreadable."""
    sizes = {}
    for path in {person.image_path for person in persons}:
        try:
            with Image.open(path) as image:
                turned = image.getexif().get(ORIENTATION, 1) >= 5  # width and height change places
                sizes[path] = image.size[:: -1 if turned else 1]
        except Image.DecompressionBombError as error:
            raise DataError(f"{path}: {error}; don't use this picture") from error
        except Exception as error:  # Pillow's readers fail in many ways on damaged files
            raise DataError(f"{path}: picture missing or unreadable; unpack its archive again") from error
    return np.array([sizes[person.image_path] for person in persons]).reshape(-1, 2)


def fingerprint(persons: Sequence[Person], skeleton: Skeleton) -> str:
    """Hash of the skeleton and of the persons' picture names, boxes and keypoints, in order: wherever the files lie."""
    digest = hashlib.sha256(json.dumps(skeleton.as_dict()).encode())
    for person in persons:
        digest.update(f"{person.name} {person.box}".encode() + person.keypoints.tobytes())
    return digest.hexdigest()
