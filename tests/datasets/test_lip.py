"""The LIP reader: what is read, and what each broken input is told."""

import numpy as np
import pandas as pd
import pytest
from conftest import csv_row, person, write_lip

from gccpm_lib.datasets import lip, records
from gccpm_lib.datasets.records import BadSamples, DataError, read_image

REAL_START = "100034_483681.jpg,153,351,0,122,284,0,nan,nan,nan,152,198,0"


def rows_of(*starts: str) -> str:
    """Annotation rows that begin so and go on with visible joints at (5, 6)."""
    return "".join(start + ",5,6,0" * (16 - start.count(",") // 3) + "\n" for start in starts)


def annotations(tmp_path, text: str):
    path = tmp_path / "lip_val_set.csv"
    path.write_text(text)
    return path


def test_persons_are_read_in_file_order_with_their_labels(tmp_path):
    written = write_lip(tmp_path)
    for split, count in (("train", 6), ("val", 3)):
        persons = lip.read_lip(tmp_path, split)
        assert [p.name for p in persons] == list(written[split]) and len(persons) == count
        for found, keypoints in zip(persons, written[split].values(), strict=True):
            np.testing.assert_array_equal(found.keypoints, keypoints)
            assert found.keypoints.dtype == np.float32 and found.box is None
            assert read_image(found.image_path).ndim == 3


def test_flags_become_labels(tmp_path):
    names, keypoints = lip.read_annotations(
        annotations(tmp_path, rows_of("a.jpg,1,2,0,3,4,1,nan,nan,nan,-3,4,0,3,-4,1,0,0,0"))
    )
    assert names == ["a.jpg"]
    np.testing.assert_array_equal(
        keypoints[0, :6], [[1, 2, 2], [3, 4, 1], [0, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 2]]
    )  # visible, occluded, missing, negative x, negative y, the first pixel


def test_a_real_row_is_read(tmp_path):
    _, keypoints = lip.read_annotations(annotations(tmp_path, rows_of(REAL_START)))
    np.testing.assert_array_equal(keypoints[0, :4], [[153, 351, 2], [122, 284, 2], [0, 0, 0], [152, 198, 2]])


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_both_line_endings_and_fractions_are_read(tmp_path, ending):
    path = tmp_path / "a.csv"
    path.write_bytes(rows_of("a.jpg,1.5,2e1,0", "b.jpg,NaN,nan,nan").replace("\n", ending).encode())
    names, keypoints = lip.read_annotations(path)
    assert names == ["a.jpg", "b.jpg"] and keypoints[0, 0].tolist() == [1.5, 20, 2] and keypoints[1, 0, 2] == 0


def test_names_that_look_like_numbers_or_nan_stay_names(tmp_path):
    names, _ = lip.read_annotations(annotations(tmp_path, rows_of("007,1,2,0", "nan,1,2,0", "None,1,2,0")))
    assert names == ["007", "nan", "None"]


def test_nested_folders_are_found(tmp_path):
    written = write_lip(tmp_path / "flat")
    (tmp_path / "nested" / "TrainVal_images").mkdir(parents=True)
    (tmp_path / "flat" / "TrainVal_images").rename(tmp_path / "nested" / "TrainVal_images" / "TrainVal_images")
    (tmp_path / "flat" / "TrainVal_pose_annotations").rename(tmp_path / "nested" / "TrainVal_pose_annotations")
    persons = lip.read_lip(tmp_path / "nested", "val")
    assert [p.name for p in persons] == list(written["val"]) and all(p.image_path.is_file() for p in persons)


def test_test_pictures_come_in_the_order_of_their_list(tmp_path):
    assert lip.read_test_images(tmp_path) == []
    folder = tmp_path / "Testing_images" / "Testing_images"
    (folder / "testing_images").mkdir(parents=True)
    (folder / "test_id.txt").write_text("100_7\n100_3\n\n")
    assert lip.read_test_images(tmp_path) == [folder / "testing_images" / name for name in ("100_7.jpg", "100_3.jpg")]


def test_test_list_with_a_path_in_it_is_refused(tmp_path):
    (tmp_path / "testing_images").mkdir()
    (tmp_path / "test_id.txt").write_text("a\n../../b\n")
    with pytest.raises(DataError, match=r"test_id\.txt, row 2: .*bare file name"):
        lip.read_test_images(tmp_path)


# what is wrong is named, with its file, row and remedy


def test_unknown_split_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"split 'test'.*train.*val"):
        lip.read_lip(tmp_path, "test")


def test_missing_folders_are_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere: folder missing; unpack LIP there or correct dataset_folder"):
        lip.read_lip(tmp_path / "nowhere", "val")
    with pytest.raises(DataError, match=r"no val_images inside.*unpack"):
        lip.read_lip(tmp_path, "val")
    (tmp_path / "val_images").mkdir()
    with pytest.raises(DataError, match=r"no lip_val_set\.csv inside.*unpack"):
        lip.read_lip(tmp_path, "val")


GOOD = "a.jpg,1,2,0"
BROKEN = {
    "empty": ("", r"empty; unpack it again"),
    "too few columns": (rows_of(GOOD) + "b.jpg,1,2,0\n", r"row 2: 4 columns instead of 49; correct or remove"),
    "too many columns": (rows_of(GOOD).rstrip() + ",1\n", r"row 1: 50 columns instead of 49"),
    "a blank line": (rows_of(GOOD) + "\n" + rows_of("b.jpg"), r"row 2: 1 columns instead of 49"),
    "a cut off last line": (rows_of(GOOD, "b.jpg")[:-20], r"row 2: \d+ columns instead of 49"),
    "a word in a cell": (
        rows_of(GOOD, "b.jpg,1,2,0,x7,2,0"),
        r"row 2, column 5: 'x7' is not a number; write a number or nan",
    ),
    "an empty cell": (rows_of(GOOD, "b.jpg,,2,0"), r"row 2, column 2: '' is not a number"),
    "infinity": (rows_of(GOOD, "b.jpg,inf,2,0"), r"row 2: a coordinate of inf; correct or remove"),
    "minus infinity": (rows_of("b.jpg,1,-inf,0"), r"row 1: a coordinate of -inf"),
    "a number too large": (rows_of("b.jpg,1e999,2,0"), r"row 1: a coordinate of inf"),
    "a whole number too large": (rows_of(GOOD, "b.jpg," + 30 * "9" + ",2,0"), r"row 2: a coordinate of 1e\+30"),
    "too large beside a word": (rows_of("b.jpg," + 30 * "9" + ",2,0", "c.jpg,x,2,0"), r"row 1: a coordinate of 1e\+30"),
    "a path": (rows_of(GOOD, "../b.jpg,1,2,0"), r"row 2: '\.\./b\.jpg' must be a bare file name; remove the path"),
    "an absolute path": (rows_of("/etc/passwd,1,2,0"), r"row 1: .*bare file name"),
    "a Windows path": (rows_of("c:\\b.jpg,1,2,0"), r"row 1: .*bare file name"),
    "a folder": (rows_of("..,1,2,0"), r"row 1: .*bare file name"),
    "no name": (rows_of(",1,2,0"), r"row 1: '' must be a bare file name"),
    "a name twice": (rows_of(GOOD, "b.jpg", GOOD), r"row 3: a\.jpg comes twice; remove one of the rows"),
}


@pytest.mark.parametrize("problem", BROKEN)
def test_broken_annotations_are_refused_by_file_row_and_remedy(tmp_path, problem):
    text, message = BROKEN[problem]
    with pytest.raises(DataError, match=r"lip_val_set\.csv(:|,) " + message):
        lip.read_annotations(annotations(tmp_path, text))


@pytest.mark.parametrize("start", ['"a.jpg,1,2,0', 'a".jpg,1,2,0'], ids=["first", "inside"])
def test_quotation_marks_in_names_dont_swallow_rows(tmp_path, start):
    path = annotations(tmp_path, rows_of(start, "b.jpg,1,2,0"))
    try:
        assert len(lip.read_annotations(path)[0]) == 2
    except DataError as error:
        assert "row 1" in str(error)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00\x81", None], ids=["binary", "folder"])
def test_a_file_that_is_no_text_is_refused_by_name(tmp_path, content):
    path = tmp_path / "lip_val_set.csv"
    path.write_bytes(content) if content else path.mkdir()
    with pytest.raises(DataError, match=r"lip_val_set\.csv: not a readable text file"):
        lip.read_annotations(path)


def test_a_test_list_that_is_no_text_is_refused_by_name(tmp_path):
    (tmp_path / "testing_images").mkdir()
    (tmp_path / "test_id.txt").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(DataError, match=r"test_id\.txt: not a readable text file"):
        lip.read_test_images(tmp_path)


# predictions


def test_predictions_are_written_as_integers_without_flags_and_read_back(tmp_path):
    keypoints = np.random.default_rng(0).uniform(0, 300, (2, 16, 3))
    path = lip.write_predictions(tmp_path / "new" / "found.csv", ["a.jpg", "b.jpg"], keypoints)
    first = path.read_text().splitlines()[0].split(",")
    assert first == ["a.jpg", *(str(round(v)) for v in keypoints[0, :, :2].ravel())] and len(first) == 33
    names, found = lip.read_predictions(path)
    assert names == ["a.jpg", "b.jpg"] and [p.name for p in path.parent.iterdir()] == ["found.csv"]
    np.testing.assert_array_equal(found, np.rint(keypoints[:, :, :2]))


def test_predictions_may_say_nan_and_negatives(tmp_path):
    path = tmp_path / "found.csv"
    path.write_text("a.jpg,nan,nan,89,-9" + ",1" * 28 + "\n")
    _, found = lip.read_predictions(path)
    assert np.isnan(found[0, 0]).all() and found[0, 1].tolist() == [89, -9]


def test_annotations_given_as_predictions_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"row 1: 49 columns instead of 33"):
        lip.read_predictions(annotations(tmp_path, rows_of(GOOD)))


# labels that look wrong


def test_sizes_are_width_and_height(tmp_path):
    write_lip(tmp_path)
    persons = lip.read_lip(tmp_path, "train")
    expected = [read_image(p.image_path).shape[1::-1] for p in persons]
    np.testing.assert_array_equal(records.picture_sizes(persons), expected)
    assert records.picture_sizes([]).shape == (0, 2)


def test_sizes_are_those_of_the_upright_picture(tmp_path):
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: a quarter turn
    Image.new("RGB", (40, 20), (200, 10, 10)).save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").shape[:2] == (40, 20)
    assert records.picture_sizes([person(np.zeros((16, 3)), path=tmp_path / "a.jpg")]).tolist() == [[20, 40]]


def test_sizes_of_a_missing_or_unreadable_picture_name_it(tmp_path):
    (tmp_path / "b.jpg").write_text("no picture")
    for name in ("a.jpg", "b.jpg"):
        with pytest.raises(DataError, match=rf"{name}: (picture missing|not a readable picture)"):
            records.picture_sizes([person(np.zeros((16, 3)), path=tmp_path / name)])


def good_keypoints() -> np.ndarray:
    return np.array([(10 + 3 * j, 20 + 2 * j, 2) for j in range(16)], np.float32)


def test_good_labels_have_no_problem():
    table = lip.label_problems([person(good_keypoints())], np.array([[100, 100]]))
    assert isinstance(table, pd.DataFrame) and table.empty and list(table.columns) == ["row", "name", "joint", "problem"]


@pytest.mark.parametrize(
    "x, y, found", [(-26, 50, True), (-24, 50, False), (126, 50, True), (50, 999, True), (124, 50, False)]
)
def test_a_joint_far_outside_is_found(x, y, found):
    keypoints = good_keypoints()
    keypoints[4, :2] = x, y
    table = lip.label_problems([person(good_keypoints()), person(keypoints, path="b.jpg")], np.array([[100, 100]] * 2))
    expected = [[2, "b.jpg", "l_knee", "far outside the picture"]] if found else []
    assert table.to_numpy().tolist() == expected


def test_a_pair_on_one_pixel_and_a_missing_head_are_found():
    keypoints = good_keypoints()
    keypoints[5] = keypoints[0]
    keypoints[9, 2] = 0
    problems = lip.label_problems([person(keypoints)], np.array([[100, 100]]))
    assert problems["joint"].tolist() == ["r_ankle", "head_top"]
    assert "same pixel as l_ankle" in problems["problem"][0] and "not scored" in problems["problem"][1]


def test_a_joint_in_the_corner_is_told():
    keypoints = good_keypoints()
    keypoints[3] = (0, 0, 2)
    table = lip.label_problems([person(keypoints)], np.array([[100, 100]]))
    assert table[["joint", "problem"]].values.tolist() == [["l_hip", "at 0, 0: a missing joint is nan"]]


def test_flags_of_another_data_set_are_told(tmp_path):
    with pytest.warns(UserWarning, match=r"2 flags are neither 0 .*, the first 2 of a\.jpg, r_knee; read as visible"):
        _, keypoints = lip.read_annotations(annotations(tmp_path, rows_of("a.jpg,1,2,0,3,4,2,nan,nan,2,5,6,-1")))
    assert keypoints[0, :4, 2].tolist() == [2, 2, 0, 2]


def test_missing_pictures_are_told_before_anything_is_trained(tmp_path):
    write_lip(tmp_path)
    folder = next(tmp_path.rglob("train_images"))
    (folder / "101_1.jpg").rename(folder / "101_1.JPG")
    (folder / "103_3.jpg").unlink()
    told = r"lip_train_set\.csv, row 2: no picture .*101_1\.jpg \('101_1\.JPG' is there: it differs in case\) and 1 more;"
    with pytest.raises(DataError, match=told):
        lip.read_lip(tmp_path, "train")
    bad = BadSamples("skip")
    assert len(lip.read_lip(tmp_path, "train", bad)) == 4
    assert [skip.name for skip in bad.skipped] == ["101_1.jpg", "103_3.jpg"]


def test_missing_joints_are_no_problem_wherever_they_are():
    keypoints = good_keypoints()
    keypoints[[0, 5]] = (-999, -999, 0)
    assert lip.label_problems([person(keypoints)], np.array([[100, 100]])).empty


def test_the_shared_row_writer_writes_what_the_format_says():
    row = csv_row("a.jpg", [(1, 2, 2), (3, 4, 1), (0, 0, 0)])
    assert row == "a.jpg,1,2,0,3,4,1,nan,nan,nan\n"


def test_names_that_no_file_can_have_are_told_by_their_beginning(tmp_path):
    write_lip(tmp_path)
    labels = tmp_path / "TrainVal_pose_annotations" / "lip_train_set.csv"
    labels.write_text(labels.read_text() + "x" * 10_000_000 + ".jpg" + ",1,1,0" * 16 + "\n")
    with pytest.raises(DataError) as error:
        lip.read_lip(tmp_path, "train")
    assert str(error.value).endswith(f"row 7: a name of 10,000,004 characters that begins '{'x' * 40}'; correct it")
    assert len(str(error.value)) < 400
