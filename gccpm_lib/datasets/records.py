"""The record that every data set is read into, and the error that every reader raises."""

import contextlib
import hashlib
import io
import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from gccpm_lib.skeletons import Skeleton

ORIENTATION = 0x0112  # EXIF tag
TURNED_BY_TAG = ("JPEG", "MPO", "PNG", "WEBP")  # formats that OpenCV turns upright by it; Pillow turns TIFFs on opening
# Pictures that people have and OpenCV doesn't read; of raw files it would show the small preview
_RAW = "a camera's raw file"
FOREIGN_PICTURES = {".heic": "HEIC", ".heif": "HEIC", ".jxl": "JPEG XL", ".psd": "a Photoshop file", ".svg": "SVG"}
FOREIGN_PICTURES |= dict.fromkeys((".cr2", ".cr3", ".nef", ".arw", ".dng", ".raf", ".orf", ".rw2"), _RAW)
_FOREIGN_MAGIC = (
    *((4, b"ftyp" + brand, "HEIC") for brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")),
    (4, b"ftypcrx", _RAW),
    (8, b"CR\x02", _RAW),
    (0, b"FUJIFILM", _RAW),
    (0, b"\xff\x0a", "JPEG XL"),
    (4, b"JXL ", "JPEG XL"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"%PDF", "a PDF"),
    (0, b"version https://git-lfs", "a Git LFS pointer instead of its picture (git lfs pull)"),
)


class DataError(ValueError):
    """Something on disk is not as it should be; the message names the file, the row or key, and the remedy."""


@dataclass(frozen=True)
class Skip:
    """A row or picture that on_bad_sample="skip" left out, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class BadSamples:
    """What becomes of rows and pictures that can't be read: "error" raises, "skip" leaves them out and lists them."""

    on_bad_sample: str = "error"
    skipped: list[Skip] = field(default_factory=list)

    @property
    def skip(self) -> bool:
        """Whether they are left out."""
        return self.on_bad_sample == "skip"

    @contextlib.contextmanager
    def sample(self, name: str) -> Iterator[None]:
        """In here the sample of this name is read."""
        try:
            yield
        except DataError as error:
            if not self.skip:
                raise
            self.skipped.append(Skip(name, str(error)))


RAISE = BadSamples()


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
    label_extent: tuple[float, float] | None = None  # largest x, y of all labels of the picture; None: of the keypoints

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
    """A person's picture, see `read_image`, in the frame in which its labels are given, see `frame_of`."""
    image = read_image(person.image_path)
    upright = image.shape[1::-1]
    if person.picture_size in (None, upright) and _within(_extent(person), upright):
        return image
    unturned = cv2.imread(str(person.image_path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    stored = upright if unturned is None else unturned.shape[1::-1]
    return unturned if frame_of(person, upright, stored) == stored != upright else image


def frame_of(person: Person, upright: tuple[int, int], stored: tuple[int, int]) -> tuple[int, int]:
    """Width, height of the frame in which a person's labels are given: the picture turned by its EXIF tag, or as stored.

    Programs disagree about the tag, and a label file's sizes may be of one frame and its labels of the other. The labels
    decide where they fit one frame alone, then the file's size, and without one the picture is turned. DataError for a
    size of neither frame.
    """
    if person.picture_size not in (None, upright, stored):
        (width, height), (w, h) = person.picture_size, upright
        raise DataError(
            f"{person.image_path}, image {person.image_id}: {w} x {h} pixels, but {width} x {height} in the label file; "
            "use the pictures that were labelled"
        )
    fitting = [size for size in (upright, stored) if _within(_extent(person), size)]
    return fitting[0] if len(fitting) == 1 else person.picture_size or upright


def _extent(person: Person) -> tuple[float, float]:
    if person.label_extent is not None:
        return person.label_extent
    labelled = person.keypoints[person.keypoints[:, 2] > 0, :2]
    return tuple(labelled.max(axis=0).tolist()) if len(labelled) else (0.0, 0.0)


def _within(extent: tuple[float, float], size: tuple[int, int]) -> bool:
    return extent[0] <= size[0] and extent[1] <= size[1]


def readable(persons: Sequence[Person], bad: BadSamples) -> list[Person]:
    """The persons whose pictures can be read, each picture listed once; all, unread, where bad ones aren't skipped."""
    if not bad.skip:
        return list(persons)
    good: dict[Path, bool] = {}
    for person in persons:
        if person.image_path not in good:
            good[person.image_path] = False
            with bad.sample(person.name):
                read_person_image(person)
                good[person.image_path] = True
    return [person for person in persons if good[person.image_path]]


@contextlib.contextmanager
def quiet_opencv() -> Iterator[None]:
    """OpenCV's own lines on stderr are left out in here: what went wrong is said once, by us."""
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)


def read_image(path: str | Path) -> np.ndarray:
    """Picture file -> (H, W, 3) uint8 BGR, turned upright by its EXIF tag; of an animated one the first picture.

    Whole is what OpenCV or Pillow decodes to the last pixel, whatever lies behind it. DataError when missing, cut off, of
    another format or larger than Pillow's limit.
    """
    path = Path(path)
    with _named(path):
        _check_claim(path)
        data = path.read_bytes()
    try:
        with quiet_opencv():
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    except cv2.error:  # a header that claims more pixels than OpenCV reads
        image = None
    return _with_pillow(path, data) if image is None else image


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """What the operating system refuses becomes a DataError that names the picture."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"{path}: picture missing; unpack the archive that holds it, or remove its row") from error
    except OSError as error:
        raise DataError(f"{path}: picture can't be read ({error.strerror}); see to its name and permissions") from error


def _check_claim(path: Path) -> None:
    """DataError for what is no picture that can be read, by its first bytes alone: it may be large, or claim to be."""
    if not path.exists():
        raise FileNotFoundError(path)
    if not path.is_file():
        raise DataError(f"{path}: is a folder, pipe or device, not a picture; give a file")
    with open(path, "rb") as file:
        format_name = foreign_format(path, file.read(64))
    if format_name:
        raise DataError(f"{path}: {format_name}, a format that isn't read here; save it as JPEG or PNG")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged tags, and of pictures of half the limit
            Image.open(path).close()
    except Image.DecompressionBombError as error:
        raise DataError(f"{path}: {error}; don't use this picture") from error
    except Exception as error:  # damaged in one of many ways, or not of Pillow's formats: OpenCV decides
        if not cv2.haveImageReader(str(path)):
            raise DataError(f"{path}: not a readable picture ({path.stat().st_size} bytes); unpack it again") from error


def foreign_format(path: Path, head: bytes) -> str:
    """Name of a picture format that OpenCV doesn't read, by a file's first bytes or suffix; "" for others."""
    by_suffix = FOREIGN_PICTURES.get(path.suffix.lower(), "")
    return next((name for start, magic, name in _FOREIGN_MAGIC if head[start:].startswith(magic)), by_suffix)


def _with_pillow(path: Path, data: bytes) -> np.ndarray:
    """The few pictures that OpenCV refuses and Pillow reads, such as turned TIFFs; DataError that says what is wrong."""
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(data)) as image:
            warnings.simplefilter("ignore")
            image.load()
            form = f"{image.format} with pixels of type {image.mode}"
            if image.mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"):
                return np.ascontiguousarray(np.asarray(ImageOps.exif_transpose(image).convert("RGB"))[:, :, ::-1])
    except Image.UnidentifiedImageError as error:
        raise DataError(f"{path}: not a readable picture ({len(data)} bytes); unpack it again") from error
    except Exception as error:  # Pillow's readers fail in many ways on damaged files
        raise DataError(f"{path}: picture truncated ({len(data)} bytes); unpack it again") from error
    raise DataError(f"{path}: {form}, which isn't read here; save it as JPEG or PNG")


def picture_sizes(persons: Sequence[Person]) -> np.ndarray:
    """(N, 2) width, height of every person's picture as it is read, from the files' headers.

    DataError for a picture that is missing or unreadable, or of another size than the label file says.
    """
    headers = {path: _header(path) for path in {person.image_path for person in persons}}
    sizes = [frame_of(person, *_frames(*headers[person.image_path])) for person in persons]
    return np.array(sizes).reshape(-1, 2)


def unsure_frames(persons: Sequence[Person]) -> np.ndarray:
    """(N,) bool: the picture has an EXIF tag that turns it, and nothing says whether the labels were made before or after.

    So it is where the labels fit both frames and the label file tells no size, or that of the picture as stored, which many
    programs write without a look at the tag.
    """
    headers = {path: _header(path) for path in {person.image_path for person in persons}}
    return np.array([_is_unsure(person, *headers[person.image_path]) for person in persons], dtype=bool)


def _is_unsure(person: Person, stored: tuple[int, int], orientation: int) -> bool:
    upright, _ = _frames(stored, orientation)
    fits_both = all(_within(_extent(person), size) for size in (upright, stored))
    return orientation != 1 and fits_both and person.picture_size in (None, stored)


def _frames(stored: tuple[int, int], orientation: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Width, height of a picture turned by its EXIF tag, and as stored."""
    return (stored[::-1] if orientation >= 5 else stored), stored


def _header(path: Path) -> tuple[tuple[int, int], int]:
    """Width and height as stored, and the EXIF tag by which `read_image` turns it: 1 not at all, from 5 on sideways."""
    with _named(path):
        _check_claim(path)
    try:
        with Image.open(path) as image:
            orientation = image.getexif().get(ORIENTATION, 1) if image.format in TURNED_BY_TAG else 1
            return image.size, orientation if orientation in range(1, 9) else 1
    except Exception:  # not of Pillow's formats, or a damaged tag
        height, width = read_image(path).shape[:2]
        return (width, height), 1


def fingerprint(persons: Sequence[Person], skeleton: Skeleton) -> str:
    """Hash of the skeleton and of the persons' picture names, boxes and keypoints, in order: wherever the files lie."""
    digest = hashlib.sha256(json.dumps(skeleton.as_dict()).encode())
    for person in persons:
        digest.update(f"{person.name} {person.box}".encode() + person.keypoints.tobytes())
    return digest.hexdigest()
