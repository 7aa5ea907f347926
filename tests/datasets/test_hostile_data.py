"""Hostile data: whatever is done to labels and pictures, a clean error comes out or the data are usable; nothing else."""

import copy
import io
import json
import shutil
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import write_coco, write_lip
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from gccpm_lib.datasets import layouts
from gccpm_lib.datasets.records import BadSamples, DataError, read_image
from gccpm_lib.evaluation.validation import read_validation
from gccpm_lib.loading import TrainingSet, epoch_batches
from gccpm_lib.recipes import COCO_CORRECTED, COCO_MODERN, LIP_CORRECTED, LIP_MODERN, LIP_PUBLISHED

LIP_RECIPES = [replace(recipe, input_size=(32, 32)) for recipe in (LIP_PUBLISHED, LIP_CORRECTED, LIP_MODERN)]
COCO_RECIPES = [replace(recipe, input_size=(32, 32)) for recipe in (COCO_CORRECTED, COCO_MODERN)]
CELLS = [
    "", " ", "nan", "NaN", "inf", "-inf", "1e400", "-1", "-0.0", "1e30", "99999999999999999999", "0x1F", "1_0", "١٢", "abc",
    "\0", "'5'", '"5"', "true", "1,2", "../../etc/passwd", "/etc/passwd", "a/b.jpg", "..", "é.jpg", "<b>.jpg", "=1+1",
]  # fmt: skip
VALUES = [
    None, True, False, 0, -1, 1.5, 10**30, -(10**400), float("nan"), float("inf"), 1e308, "", "1", "../../etc/passwd",
    "/etc/passwd", "C:\\x", "a\0b", "é", [], {}, [[]], [None], ["1", 2], {"id": 1}, [1, 2, 3], [0] * 51, [1e30] * 4,
    [5, 5, 0, 0], [5, 5, -3, 4], [float("nan")] * 4,
]  # fmt: skip
QUICK = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


def use_all(folder: Path, recipe) -> None:
    """The whole way from the files to training samples and to whom is scored; by default and with skips."""
    for on_bad_sample in ("error", "skip"):
        try:
            own = layouts.with_skeleton(recipe, folder)
            persons = layouts.read_persons(folder, "train", own, bad=BadSamples(on_bad_sample))
            samples = TrainingSet(persons, own, 0, on_bad_sample)
            for key in epoch_batches(len(persons), 0, own, 0)[0]:
                samples[key]
            read_validation(folder, own, bad=BadSamples(on_bad_sample))
        except ValueError as error:  # DataError among them
            assert str(folder) in str(error) or "flip" in str(error), error  # the message says where
            assert len(str(error)) < 1000


@pytest.fixture(scope="module")
def lip_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile") / "lip"
    write_lip(folder, (("train", 2), ("val", 2)))
    return folder


@pytest.fixture(scope="module")
def coco_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile") / "coco"
    write_coco(folder)
    return folder


def lip_labels(folder: Path, split: str) -> Path:
    return next(folder.rglob(f"lip_{split}_set.csv"))


@QUICK
@given(data=st.data(), split=st.sampled_from(["train", "val"]), recipe=st.sampled_from(LIP_RECIPES))
def test_lip_rows(lip_folder, data, split, recipe):
    file = lip_labels(lip_folder, split)
    original = file.read_bytes()
    rows = [line.split(",") for line in original.decode().splitlines()]
    for _ in range(data.draw(st.integers(1, 3))):
        row = data.draw(st.sampled_from(rows))
        place = data.draw(st.integers(0, len(row) - 1)) if row else 0
        match data.draw(st.sampled_from(["replace", "drop", "double", "swap", "row twice", "row gone"])):
            case "replace" if row:
                row[place] = data.draw(st.sampled_from(CELLS) | st.text(max_size=8))
            case "drop" if row:
                del row[place]
            case "double" if row:
                row.insert(place, row[place])
            case "swap" if row:
                row[0], row[place] = row[place], row[0]
            case "row twice":
                rows.append(list(row))
            case "row gone" if len(rows) > 1:
                rows.remove(row)
    try:
        file.write_bytes("\n".join(",".join(row) for row in rows).encode("utf-8", "surrogatepass"))
        use_all(lip_folder, recipe)
    finally:
        file.write_bytes(original)


def byte_changes(data, original: bytes) -> bytes:
    """The same file in another encoding or line ending, cut off, empty, or with some bytes changed."""
    kind = data.draw(st.sampled_from(["bytes", "cut", "empty", "utf-16", "bom", "crlf", "latin", "noise"]))
    if kind == "bytes":
        changed = bytearray(original)
        for _ in range(data.draw(st.integers(1, 6))):
            changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
        return bytes(changed)
    if kind == "cut":
        return original[: data.draw(st.integers(0, len(original)))]
    if kind == "noise":
        return data.draw(st.binary(max_size=200))
    others = {
        "empty": b"", "utf-16": original.decode().encode("utf-16"), "bom": b"\xef\xbb\xbf" + original,
        "crlf": original.replace(b"\n", b"\r\n"), "latin": original + b"\xe9",
    }  # fmt: skip
    return others[kind]


@QUICK
@given(data=st.data(), kind=st.sampled_from(["lip", "coco"]), split=st.sampled_from(["train", "val"]))
def test_bytes_of_label_files(lip_folder, coco_folder, data, kind, split):
    folder, recipe = (lip_folder, LIP_RECIPES[2]) if kind == "lip" else (coco_folder, COCO_RECIPES[1])
    file = lip_labels(folder, split) if kind == "lip" else folder / f"annotations/person_keypoints_{split}2017.json"
    original = file.read_bytes()
    try:
        file.write_bytes(byte_changes(data, original))
        use_all(folder, recipe)
    finally:
        file.write_bytes(original)


def places_in(value, path=()) -> list[tuple]:
    """Every place of a nested value, as the keys that lead there."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [p for key, item in items for p in [(*path, key), *places_in(item, (*path, key))]]


@settings(QUICK, max_examples=300)
@given(data=st.data(), split=st.sampled_from(["train", "val"]), recipe=st.sampled_from(COCO_RECIPES))
def test_coco_records(coco_folder, data, split, recipe):
    file = coco_folder / f"annotations/person_keypoints_{split}2017.json"
    original = file.read_bytes()
    content = json.loads(original)
    for _ in range(data.draw(st.integers(1, 2))):
        places = places_in(content)
        if not places:
            break
        short = [place for place in places if len(place) <= 3]  # the structure, not only the many coordinates
        *path, key = data.draw(st.sampled_from(short if data.draw(st.booleans()) and short else places))
        parent = content
        for step in path:
            parent = parent[step]
        match data.draw(st.sampled_from(["replace", "drop", "double"])):
            case "replace":
                parent[key] = copy.deepcopy(data.draw(st.sampled_from(VALUES)))
            case "drop":
                del parent[key]
            case "double" if isinstance(parent, list):
                parent.append(copy.deepcopy(parent[key]))
    try:
        file.write_text(json.dumps(content))
        use_all(coco_folder, recipe)
    finally:
        file.write_bytes(original)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 50_000, "1e999999", '"\\ud800"', "NaN", "{}", "[]", "null"])
def test_json_that_no_one_wrote_by_hand(coco_folder, tmp_path, text):
    shutil.copytree(coco_folder, tmp_path / "coco")
    (tmp_path / "coco/annotations/person_keypoints_train2017.json").write_text(text)
    with pytest.raises(DataError, match="person_keypoints_train2017"):
        layouts.read_persons(tmp_path / "coco", "train", COCO_RECIPES[0])


# pictures


def encoded(suffix: str, mode: str = "RGB", size=(20, 30), **options) -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (size[1], size[0]), dtype=np.uint8)
    Image.fromarray(noise).convert(mode).save(buffer, suffix, **options)
    return buffer.getvalue()


def huge_png() -> bytes:
    """A PNG of a hundred bytes that claims 60,000 x 60,000 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")


def huge_jpeg() -> bytes:
    data = bytearray(encoded("jpeg"))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", 60_000, 60_000)
    return bytes(data)


ODD = {
    "grey": encoded("jpeg", "L"), "cmyk": encoded("jpeg", "CMYK"), "alpha": encoded("png", "RGBA"),
    "palette": encoded("png", "P"), "16 bit": encoded("png", "I;16"), "1 bit": encoded("png", "1"),
    "gif": encoded("gif", "P"), "bmp": encoded("bmp"), "webp": encoded("webp"), "tiff": encoded("tiff"),
    "1x1": encoded("png", size=(1, 1)), "1xN": encoded("jpeg", size=(1, 300)), "Nx1": encoded("png", size=(300, 1)),
    "progressive": encoded("jpeg", progressive=True),
}  # fmt: skip


@pytest.mark.parametrize("kind", ODD)
def test_odd_pictures_are_read_or_refused_and_make_samples(lip_folder, tmp_path, kind):
    folder = tmp_path / "lip"
    shutil.copytree(lip_folder, folder)
    for picture in (folder / "TrainVal_images/train_images").iterdir():
        picture.write_bytes(ODD[kind])  # under a name that ends in .jpg
    try:
        image = read_image(picture)
    except DataError as error:
        assert kind == "gif" and picture.name in str(error)
    else:
        assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    for recipe in LIP_RECIPES:
        use_all(folder, recipe)


@pytest.mark.parametrize("data", [huge_png(), huge_jpeg()], ids=["png", "jpeg"])
def test_pictures_that_claim_to_be_huge_are_refused(tmp_path, data):
    (tmp_path / "bomb.jpg").write_bytes(data)
    with pytest.raises(DataError, match=r"bomb\.jpg"):
        read_image(tmp_path / "bomb.jpg")


@QUICK
@given(data=st.data(), kind=st.sampled_from(["jpeg", "png", "webp", "bmp", "tiff", "gif"]))
def test_bytes_of_pictures(tmp_path, data, kind):
    original = bytearray(encoded(kind, "P" if kind == "gif" else "RGB"))
    for _ in range(data.draw(st.integers(0, 5))):
        original[data.draw(st.integers(0, len(original) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "p.jpg").write_bytes(original[: data.draw(st.integers(0, len(original)))])
    try:
        image = read_image(tmp_path / "p.jpg")
        assert image.dtype == np.uint8 and image.shape[2] == 3 and min(image.shape) > 0
    except DataError as error:
        assert "p.jpg" in str(error)


@pytest.mark.parametrize("orientation", range(10))
def test_every_orientation_tag_is_read(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "p.jpg").write_bytes(encoded("jpeg", exif=exif))
    shape = read_image(tmp_path / "p.jpg").shape
    assert shape == ((20, 30, 3) if 5 <= orientation <= 8 else (30, 20, 3))
    assert cv2.imread(str(tmp_path / "p.jpg")).shape == shape
