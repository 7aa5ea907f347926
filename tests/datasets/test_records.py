"""Pictures from disk: read, or refused with their name and a remedy."""

import io
import os
import struct
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import noise_picture, person
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gccpm_lib.datasets.records import DataError, picture_sizes, read_image, read_person_image, unsure_frames


def size_of(path) -> list[int]:
    return picture_sizes([person(np.zeros((16, 3)), path=path)])[0].tolist()


def jpeg(picture: np.ndarray, *options) -> bytes:
    return cv2.imencode(".jpg", picture, list(options))[1].tobytes()


def test_a_picture_is_read_as_bgr(tmp_path):
    picture = np.zeros((20, 30, 3), np.uint8)
    picture[:] = (250, 120, 10)  # blue, green, red
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), picture)
    np.testing.assert_array_equal(read_image(str(tmp_path / "a.png")), picture)


@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 4)], ids=["grey", "with alpha"])
def test_grey_and_alpha_pictures_become_three_channels(tmp_path, shape):
    cv2.imwrite(str(tmp_path / "a.png"), np.full(shape, 77, np.uint8))
    image = read_image(tmp_path / "a.png")
    assert image.shape == (9, 7, 3) and image.dtype == np.uint8 and (image == 77).all()


def test_a_turned_picture_is_set_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned clockwise: the left edge as stored is the top
    stored = np.zeros((16, 48, 3), np.uint8)
    stored[:, :16] = 255
    Image.fromarray(stored).save(tmp_path / "a.jpg", exif=exif, quality=95)
    image = read_image(tmp_path / "a.jpg")
    assert image.shape == (48, 16, 3) and image[:12].mean() > 240 and image[20:].mean() < 15


UPRIGHT, STORED = (16, 48), (48, 16)  # width, height


@pytest.mark.parametrize(
    "claimed, extent, read, unsure",
    [
        (STORED, (40, 10), STORED, False),  # labels fit one frame alone, with or without the file's word
        (STORED, (10, 40), UPRIGHT, False),
        (UPRIGHT, (40, 10), STORED, False),
        (None, (40, 10), STORED, False),
        (None, (10, 40), UPRIGHT, False),
        (UPRIGHT, (10, 10), UPRIGHT, False),  # labels fit both: the file's word counts
        (STORED, (10, 10), STORED, True),
        (None, (10, 10), UPRIGHT, True),
        (STORED, (40, 40), STORED, False),  # labels fit neither
    ],
)
def test_a_turned_picture_is_read_in_the_frame_of_its_labels(tmp_path, claimed, extent, read, unsure):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((16, 48, 3), np.uint8)).save(tmp_path / "a.jpg", exif=exif)
    someone = replace(person([(*extent, 2), (0, 0, 0)], path=tmp_path / "a.jpg"), picture_size=claimed)
    for who in (someone, replace(someone, keypoints=np.zeros((2, 3)), label_extent=extent)):
        assert read_person_image(who).shape[1::-1] == tuple(picture_sizes([who])[0]) == read
        assert unsure_frames([who]).tolist() == [unsure]


def test_without_a_tag_labels_outside_change_nothing(tmp_path):
    Image.fromarray(np.zeros((16, 48, 3), np.uint8)).save(tmp_path / "a.jpg")
    someone = person([(10, 40, 2)], path=tmp_path / "a.jpg")
    for claimed in (None, STORED):
        who = replace(someone, picture_size=claimed)
        assert read_person_image(who).shape == (16, 48, 3) and tuple(picture_sizes([who])[0]) == STORED
        assert not unsure_frames([who]).any()
    with pytest.raises(DataError, match=r"a\.jpg, image None: 48 x 16 pixels, but 16 x 48 in the label file"):
        picture_sizes([replace(someone, picture_size=UPRIGHT)])


def test_a_missing_picture_is_named_with_a_remedy(tmp_path):
    with pytest.raises(DataError, match=r"a\.jpg: picture missing; unpack the archive that holds it, or remove its row"):
        read_image(tmp_path / "a.jpg")


@settings(max_examples=30, deadline=None)
@given(st.floats(0.0, 0.99), st.sampled_from(["baseline", "progressive", "with a thumbnail", "png"]))
def test_a_cut_off_picture_is_refused(tmp_path_factory, part, kind):
    picture = noise_picture(60, 50)
    data = {
        "baseline": lambda: jpeg(picture),
        "progressive": lambda: jpeg(picture, cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        "with a thumbnail": lambda: with_thumbnail(jpeg(picture), jpeg(picture[:8, :8])),
        "png": lambda: cv2.imencode(".png", picture)[1].tobytes(),
    }[kind]()
    path = tmp_path_factory.mktemp("cut") / "a.jpg"
    path.write_bytes(data)
    assert read_image(path).shape == picture.shape
    path.write_bytes(data[: int(part * len(data))])
    with pytest.raises(
        DataError, match=r"a\.jpg: (picture truncated|not a readable picture) \(\d+ bytes\); unpack it again"
    ):
        read_image(path)


def with_thumbnail(data: bytes, thumbnail: bytes) -> bytes:
    """A JPEG with another one inside its first application segment, as cameras write it."""
    segment = b"Exif\0\0" + thumbnail
    return data[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + data[2:]


@pytest.mark.parametrize("content", [b"", b"no picture at all", b"\xff\xd8\xff"])
def test_what_is_no_picture_is_refused(tmp_path, content):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.jpg: not a readable picture"):
        read_image(tmp_path / "a.jpg")


TRAILERS = {
    "zeros": b"\0" * 5000,
    "a scan's marker": b"more \xff\xda of something" * 3,
    "a second picture's half": jpeg(noise_picture(40, 30))[:-300],
    "random bytes": np.random.default_rng(0).bytes(200_000),
}


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize("trailer", TRAILERS.values(), ids=TRAILERS)
def test_a_whole_picture_is_read_whatever_lies_behind_it(tmp_path, suffix, trailer):
    """As motion photos, panoramas and padded files have it."""
    data = cv2.imencode(suffix, noise_picture(20, 30))[1].tobytes()
    (tmp_path / "a").write_bytes(data)
    (tmp_path / "b").write_bytes(data + trailer)
    np.testing.assert_array_equal(read_image(tmp_path / "b"), read_image(tmp_path / "a"))


def test_a_jpeg_without_its_end_marker_is_read_where_its_pixels_are_whole(tmp_path):
    read = 0
    for seed in range(8):  # the last pixels may be in the bytes behind which the decoder misses the marker
        path, data = tmp_path / f"{seed}.jpg", jpeg(noise_picture(24, 32, seed))
        path.write_bytes(data[:-2] + b"\0" * 64)
        read += np.array_equal(read_image(path), cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))
    assert read == 8


@pytest.mark.parametrize(
    "name, content, told",
    [
        ("IMG_1.HEIC", b"\0\0\0\x18ftypheic" + b"\0" * 200, "HEIC, a format that isn't read here; save it as JPEG or PNG"),
        ("renamed.jpg", b"\0\0\0\x18ftypheic" + b"\0" * 200, "HEIC, a format"),
        ("a.jxl", b"\xff\x0a" + b"\0" * 50, "JPEG XL, a format"),
        ("a.NEF", b"II*\0" + b"\0" * 50, "a camera's raw file, a format"),
        ("a.jpg", b"%PDF-1.7" + b"\0" * 50, "a PDF, a format"),
        ("a.jpg", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer"),
    ],
)
def test_a_format_that_cannot_be_read_is_named(tmp_path, name, content, told):
    (tmp_path / name).write_bytes(content)
    for read in (read_image, size_of):
        with pytest.raises(DataError, match=f"{name}: {told}"):
            read(tmp_path / name)


def test_a_float_tiff_is_named_by_its_pixels(tmp_path):
    Image.new("F", (30, 20), 0.5).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=r"a\.tif: TIFF with pixels of type F, which isn't read here"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_sizes_are_those_of_the_pictures_that_are_read(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(noise_picture(16, 48)).save(tmp_path / f"a{suffix}", exif=exif)
    height, width = read_image(tmp_path / f"a{suffix}").shape[:2]
    assert size_of(tmp_path / f"a{suffix}") == [width, height] == ([16, 48] if orientation > 4 else [48, 16])


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_what_is_no_file_is_refused_at_once(tmp_path, make):
    make(tmp_path / "a.jpg")
    for read in (read_image, size_of):
        with pytest.raises(DataError, match=r"a\.jpg: is a folder, pipe or device"):
            read(tmp_path / "a.jpg")


def test_a_damaged_picture_is_told_by_us_alone(tmp_path, capfd):
    (tmp_path / "a.png").write_bytes(cv2.imencode(".png", noise_picture(20, 30))[1].tobytes()[:500])
    with pytest.raises(DataError, match="truncated"):
        read_image(tmp_path / "a.png")
    assert capfd.readouterr() == ("", "")


def test_other_formats_are_read_in_memory_alone(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(noise_picture(20, 30)).save(buffer, "bmp")
    (tmp_path / "a.bmp").write_bytes(buffer.getvalue())
    assert read_image(tmp_path / "a.bmp").shape == (20, 30, 3)


def test_a_persons_name_is_its_file_name_and_the_record_is_fixed():
    record = person(np.zeros((16, 3)), path="folder/100_1.jpg")
    assert record.name == "100_1.jpg" and record.box is None
    with pytest.raises(AttributeError):
        record.box = (0, 0, 1, 1)


def test_a_few_bytes_that_claim_to_be_a_huge_picture_are_refused_before_they_fill_the_memory(tmp_path):
    data = jpeg(noise_picture(16, 16))
    at = data.index(b"\xff\xc0") + 5  # height and width in the frame's header
    (tmp_path / "a.jpg").write_bytes(data[:at] + struct.pack(">HH", 30000, 30000) + data[at + 4 :])
    for read in (read_image, size_of):
        with pytest.raises(DataError, match=r"a\.jpg: .*900000000 pixels"):
            read(tmp_path / "a.jpg")
