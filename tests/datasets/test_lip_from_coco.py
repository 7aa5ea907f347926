"""LIP's pictures cut from COCO's: the rule by hand, a generated COCO whose LIP is known, real persons, bad input."""

import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from conftest import csv_row, lip_rows, write_coco

from gccpm_lib.__main__ import main
from gccpm_lib.datasets import DataError, lip, lip_from_coco
from gccpm_lib.datasets.lip_origin import IN_COCO, IN_LIP, crop_of_box, distances, joints_outside
from gccpm_lib.datasets.records import read_image
from gccpm_lib.skeletons import COCO, LIP

MODULE = importlib.import_module("gccpm_lib.datasets.lip_from_coco")  # the package has the function under this name
REAL = Path(__file__).parents[2] / "../shared/data/lip_real"
LEFT, TOP, WIDTH, HEIGHT = 4, 4, 51, 81  # conftest's box (5, 5, 50, 80): columns 5 to 55, rows 5 to 85, both ends included


@pytest.mark.parametrize(
    ("start", "extent", "side", "first", "pixels"),
    [
        (53.77, 123.20, 640, 54, 124),  # LIP's real picture 114317_456748: 124 columns, 54 to 177
        (0.46, 116.11, 640, 1, 117),  # 313434_204398: rounds to 0, which is before the first column
        (151.00, 252.00, 640, 151, 253),  # 447689_524975
        (-3.2, 10, 640, 1, 7),  # left of the picture: columns 1 to round(6.8)
        (600.2, 60, 640, 600, 41),  # right of it: 600 to 640
        (2.5, 1, 640, 3, 2),  # halves away from zero: 3 to 4, where "to even" gives 2 to 4
        (-1.5, 2, 640, 1, 1),  # columns 1 to round(0.5) = 1
        (640.4, 9, 640, 640, 1),  # the last column
        (10, 0, 640, 10, 1),  # no extent is one pixel
    ],
)
def test_the_rule_along_each_side_by_hand(start, extent, side, first, pixels):
    expected = (first - 1, first - 1 + pixels)
    left, top, right, bottom = crop_of_box((start, 7, extent, 11), (side, 48))
    assert (left, right) == expected and (top, bottom) == (6, 18)
    left, top, right, bottom = crop_of_box((7, start, 11, extent), (48, side))
    assert (top, bottom) == expected and (left, right) == (6, 18)


BELOW_HALF = 0.49999999999999994  # the last number before a half: rounds to 0, though with 0.5 added it is 1


@pytest.mark.parametrize(
    "box",
    [(-20, 5, 10, 10), (5, -20, 10, 10), (641, 5, 9, 9), (5, 481, 9, 9), (9, 9, -4, 9), (BELOW_HALF, 9, 0, 9)],
)
def test_a_box_without_a_pixel_in_its_picture_has_no_crop(box):
    with pytest.raises(ValueError, match=r"no pixel inside its picture of 640x480"):
        crop_of_box(box, (640, 480))


def test_the_distance_is_the_median_over_the_joints_that_both_label():
    ours, theirs = np.zeros((16, 3)), np.zeros((17, 3))
    ours[IN_LIP[:4]] = [[10, 10, 2], [20, 10, 1], [30, 10, 2], [40, 10, 2]]  # right, left shoulder; right, left elbow
    theirs[IN_COCO[:4]] = [[10, 13, 2], [20, 14, 1], [30, 15, 2], [0, 0, 0]]  # 3, 4 and 5 px below
    joints, distance, mirrored = distances(ours, theirs)
    assert (joints, distance) == (3, 4.0)
    # mirrored: right shoulder (20,10)-(10,13), left (10,10)-(20,14), right elbow (40,10)-(30,15)
    assert mirrored == pytest.approx(np.median([109, 116, 125]) ** 0.5)
    assert distances(ours * 0, theirs)[0] == 0 and np.isnan(distances(ours * 0, theirs)[1])
    assert [LIP.joints[i].split("_")[1] for i in IN_LIP] == [COCO.joints[i].split("_")[1] for i in IN_COCO]


def test_joints_outside_are_counted_from_the_last_pixel_on():
    points = np.zeros((16, 3))
    points[:4] = [[9, 19, 2], [10, 5, 2], [5, 22, 2], [50, 50, 0]]  # in the corner, right by 1, below by 3, missing
    assert joints_outside(points, (10, 20)) == 2 and joints_outside(points, (10, 20), margin=0.1) == 1


def change(path: Path, edit) -> None:
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def csv_rows(labels: Path) -> list[str]:
    return [csv_row(name, keypoints) for name, keypoints in lip_rows(labels).items()]


@pytest.fixture
def folders(tmp_path):
    """COCO with 12 + 4 persons, and LIP's csv files: val has 2 persons of each COCO split, in no order of ids."""
    coco, labels = tmp_path / "coco", tmp_path / "labels"
    write_coco(coco, counts=(("train", 6), ("val", 2)))
    train, val = (csv_rows(coco / f"annotations/person_keypoints_{split}2017.json") for split in ("train", "val"))
    labels.mkdir()
    (labels / "lip_train_set.csv").write_text("".join(train[:-2] + val[2:]))
    (labels / "lip_val_set.csv").write_text("".join([val[1], train[-1], val[0], train[-2]]))
    return coco, labels, tmp_path / "lip"


def own_cut(coco: Path, name: str) -> np.ndarray:
    image_id, annotation_id = map(int, name.removesuffix(".jpg").split("_"))
    picture = cv2.imread(str(next(coco.glob(f"*/*{image_id:012d}.jpg"))))
    left = LEFT + 57 * (annotation_id % 10)  # conftest's second box begins at x = 62
    return picture[TOP : TOP + HEIGHT, left : left + WIDTH]


def pictures(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.jpg")}


def test_lip_is_made_in_its_layout_and_its_labels_lie_on_coco_s(folders):
    coco, labels, home = folders
    rebuilt = lip_from_coco(coco, home, labels, lossless=True)
    for split, count in (("train", 12), ("val", 4)):
        persons = lip.read_lip(home, split)
        assert len(persons) == count
        for person in persons:
            np.testing.assert_array_equal(read_image(person.image_path), own_cut(coco, person.name))
        name = f"lip_{split}_set.csv"
        assert (home / "TrainVal_pose_annotations" / name).read_bytes() == (labels / name).read_bytes()
    table = rebuilt.table
    assert table["made"].all() and (table["problem"] == "").all() and (table["odd"] == "").all()
    assert (table["distance"] == 0).all() and table["joints"].between(11, 12).all()
    beyond = (rebuilt.lip_keypoints[:, :, :2] > [WIDTH - 1, HEIGHT - 1]).any(axis=2)  # on the box's far edge
    assert table["outside"].tolist() == beyond.sum(axis=1).tolist() and beyond.any()
    both = (rebuilt.coco_keypoints[:, IN_COCO, 2] > 0) & (rebuilt.lip_keypoints[:, IN_LIP, 2] > 0)
    np.testing.assert_array_equal(rebuilt.coco_keypoints[:, IN_COCO][both], rebuilt.lip_keypoints[:, IN_LIP][both])
    assert rebuilt.summary() == [
        "train: 12 of 12 persons are there (LIP in full has 30,462)",
        "val: 4 of 4 persons are there (LIP in full has 10,000)",
        "LIP's joints lie 0.0 px from COCO's (median, 16 persons), 0.0 % of the root of the crop's area",
    ]
    listed = pd.read_csv(home / "lip_from_coco.csv")
    assert listed["name"].tolist() == table["name"].tolist() and set(listed["width"]) == {WIDTH}


def test_jpeg_changes_less_than_anybody_sees(folders):
    coco, labels, home = folders
    lip_from_coco(coco, home, labels)
    for person in lip.read_lip(home, "val"):
        assert person.image_path.read_bytes().startswith(b"\xff\xd8")
        off = np.abs(read_image(person.image_path).astype(int) - own_cut(coco, person.name))
        assert off.mean() < 1 and off.max() <= 8


@pytest.mark.parametrize("lossless", [False, True])
def test_grey_pictures_stay_grey(folders, lossless):
    coco, labels, home = folders
    path = coco / "val2017" / f"{101:012d}.jpg"
    cv2.imwrite(str(path), cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))
    lip_from_coco(coco, home, labels, lossless=lossless)
    written = home / "TrainVal_images/val_images/101_1010.jpg"
    assert cv2.imread(str(written), cv2.IMREAD_UNCHANGED).ndim == 2
    assert np.abs(read_image(written).astype(int) - own_cut(coco, written.name)).max() <= (0 if lossless else 8)


def test_names_and_folders_of_2014_and_nested_ones_do_as_well(folders, tmp_path):
    coco, labels, home = folders
    lip_from_coco(coco, home, labels)
    old = tmp_path / "coco2014" / "unpacked"
    for split in ("train", "val"):
        (coco / f"{split}2017").rename(coco / f"{split}2014")
        for path in (coco / f"{split}2014").iterdir():
            path.rename(path.with_name(f"COCO_{split}2014_{path.name}"))
        labels_file = coco / f"annotations/person_keypoints_{split}2017.json"
        labels_file.rename(labels_file.with_name(f"person_keypoints_{split}2014.json"))
    old.parent.mkdir()
    coco.rename(old)
    lip_from_coco(old.parent, tmp_path / "again", labels)
    assert pictures(tmp_path / "again") == pictures(home) and len(pictures(home)) == 16


def test_labels_of_one_year_go_with_pictures_of_the_other(folders):
    """Ids are the same; most of 2014's validation pictures are in train2017."""
    coco, labels, home = folders
    for path in (coco / "annotations").iterdir():
        path.rename(path.with_name(path.name.replace("2017", "2014")))
    path = coco / "val2017" / f"{101:012d}.jpg"
    path.rename(coco / "train2017" / path.name)
    assert lip_from_coco(coco, home, labels).table["made"].all()


def test_lists_of_ids_give_pictures_without_labels(folders):
    coco, labels, home = folders
    (labels / "lip_train_set.csv").unlink()
    names = [row.partition(".")[0] for row in (labels / "lip_val_set.csv").read_text().splitlines()]
    (labels / "lip_val_set.csv").unlink()
    (labels / "val_id.txt").write_text("\n".join(names) + "\n")
    rebuilt = lip_from_coco(coco, home, labels)
    assert len(pictures(home)) == 4 and not list(home.rglob("lip_val_set.csv"))
    assert (rebuilt.table["joints"] == 0).all() and len(rebuilt.summary()) == 1


EDITS = {
    "COCO has no such annotation": lambda a: a.update(id=9999),
    "annotation of another picture": lambda a: a.update(image_id=102),
    "a crowd, no person": lambda a: a.update(iscrowd=1),
    "box that is no box": lambda a: a.update(bbox=[500, 5, 50, 80]),
}


@pytest.mark.parametrize("kind", EDITS)
def test_a_person_is_never_cut_from_a_wrong_box(folders, kind, capsys):
    coco, labels, home = folders
    change(coco / "annotations/person_keypoints_val2017.json", lambda c: EDITS[kind](c["annotations"][0]))  # 101_1010
    assert main(["lip-from-coco", "--coco", str(coco), "--labels", str(labels), "--output", str(home)]) == 1
    assert f"  could not be made, {kind}: 1\n" in capsys.readouterr().out
    assert [person.name for person in lip.read_lip(home, "val")] == ["101_1011.jpg", "6_61.jpg", "6_60.jpg"]
    listed = pd.read_csv(home / "lip_from_coco.csv").set_index("name")
    assert listed.loc["101_1010.jpg", "problem"].startswith(f"{kind}: ") and listed["made"].sum() == 15


@pytest.mark.parametrize("data", [None, b"", "cut off", "small"])
def test_pictures_that_lack_or_are_damaged_or_resized_are_told(folders, data):
    coco, labels, home = folders
    path = coco / "val2017" / f"{101:012d}.jpg"
    if data == "small":
        cv2.imwrite(str(path), cv2.imread(str(path))[::2, ::2])
    elif data is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:1500] if data == "cut off" else data)
    table = lip_from_coco(coco, home, labels).table.set_index("name")
    assert table.index[~table["made"]].tolist() == ["101_1011.jpg", "101_1010.jpg"]
    reason = "no picture in the COCO folder" if data is None else "COCO picture unreadable: "
    assert table.loc["101_1010.jpg", "problem"].startswith(reason)


def rewrite(path: Path, edit) -> None:
    """Change each row's joints, (16, 3) x, y, label, by edit(row number, joints)."""
    names, keypoints = lip.read_annotations(path)
    path.write_text("".join(csv_row(n, edit(i, k)) for i, (n, k) in enumerate(zip(names, keypoints, strict=True))))


def test_odd_persons_are_made_and_named(folders):
    coco, labels, home = folders
    changes = [
        lambda k: k[LIP.flip_order],
        lambda k: k + [12, 0, 0] * np.where(k[:, :1] > WIDTH / 2, -1, 1),  # towards the middle, so that none is outside
        lambda k: k * [1, 2, 1],
        lambda k: k,
    ]
    rewrite(labels / "lip_val_set.csv", lambda i, k: changes[i](k))
    rebuilt = lip_from_coco(coco, home, labels)
    rows = rebuilt.table[rebuilt.table["split"] == "val"]
    assert rows["made"].all()
    assert rows["odd"].tolist() == [
        "right and left changed places",
        "far from COCO's joints",  # 12 of the 64 px that the crop's area has as its root
        "joints far outside the crop",
        "",
    ]
    assert rows["distance"].iloc[1] == 12 and rows["relative"].iloc[1] == pytest.approx(12 / (WIDTH * HEIGHT) ** 0.5)
    assert "  odd, far from COCO's joints: 1" in rebuilt.summary()
    assert rebuilt.table.loc[rebuilt.strangest(3), "odd"].ne("").all() and len(rebuilt.strangest(99)) == 16
    assert rebuilt.told()["first"].tolist() == rows["name"].tolist()[:3]
    sizes = rebuilt.by_size()  # all crops are 51x81
    assert sizes.index.astype(str).tolist() == ["(0.0, 100.0]"] and sizes["persons"].tolist() == [16]
    assert sizes["distance"].item() == 0 and sizes["nine_of_ten_within"].item() == rebuilt.table["distance"].quantile(0.9)


def many(coco: Path, labels: Path) -> list[str]:
    """24 persons in a val csv, none in train; returns its rows."""
    (labels / "lip_train_set.csv").unlink()
    for split in ("train", "val"):
        (coco / f"annotations/person_keypoints_{split}2017.json").unlink()
        for path in (coco / f"{split}2017").iterdir():
            path.unlink()
        (coco / f"{split}2017").rmdir()
    (coco / "annotations").rmdir()
    write_coco(coco, counts=(("train", 12), ("val", 1)))
    rows = csv_rows(coco / "annotations/person_keypoints_train2017.json")
    (labels / "lip_val_set.csv").write_text("".join(rows))
    return rows


@pytest.mark.parametrize("convention", ["in the whole picture", "names shuffled", "another order of joints"])
def test_a_csv_of_another_convention_is_refused_before_anything_is_written(folders, convention):
    coco, labels, home = folders
    path, rows = labels / "lip_val_set.csv", many(*folders[:2])
    if convention == "names shuffled":
        names = [row.split(",")[0] for row in rows]
        path.write_text("".join(f"{n},{r.partition(',')[2]}" for n, r in zip(names[5:] + names[:5], rows, strict=True)))
    else:
        order = np.roll(np.arange(16), 5) if convention == "another order of joints" else np.arange(16)
        shift = [200, 100, 0] if convention == "in the whole picture" else [0, 0, 0]
        rewrite(path, lambda _, k: (k + shift * (k[:, 2:] > 0))[order])
    with pytest.raises(DataError, match=r"lip_val_set.csv: joints lie \d+ px \(median\) from COCO's"):
        lip_from_coco(coco, home, labels)
    assert not home.exists()


def test_the_order_of_rows_means_nothing(folders, tmp_path):
    coco, labels, home = folders
    rows = many(coco, labels)
    lip_from_coco(coco, home, labels)
    shuffled = np.random.default_rng(0).permutation(rows).tolist()
    (labels / "lip_val_set.csv").write_text("".join(shuffled))
    lip_from_coco(coco, tmp_path / "shuffled", labels)
    assert pictures(home) == pictures(tmp_path / "shuffled")
    assert (tmp_path / "shuffled/TrainVal_pose_annotations/lip_val_set.csv").read_text() == "".join(shuffled)


def without(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


BAD = {
    "no train2017": (lambda c, l: without(c / "train2017"), r"no folder train2017, and 12 persons need it"),
    "no val labels": (
        lambda c, l: (c / "annotations/person_keypoints_val2017.json").unlink(),
        r"no annotations/person_keypoints_val2017.json, and 4 persons are in no other",
    ),
    "no labels": (lambda c, l: without(c / "annotations"), r"no annotations/person_keypoints_train2017.json inside"),
    "no csv": (lambda c, l: without(l), r"labels: folder missing; put LIP's"),
    "truncated": (
        lambda c, l: (l / "lip_val_set.csv").write_text((l / "lip_val_set.csv").read_text()[:-30]),
        r"lip_val_set.csv, row 4: \d+ columns instead of 49",
    ),
    "other names": (
        lambda c, l: (l / "lip_val_set.csv").write_text((l / "lip_val_set.csv").read_text().replace("6_61.jpg", "me.jpg")),
        r"lip_val_set.csv, row 2: 'me.jpg' is not <image>_<annotation>.jpg, the ids of a COCO person; ",
    ),
    "converted labels": (
        lambda c, l: change(
            c / "annotations/person_keypoints_val2017.json",
            lambda j: (j.pop("images"), [a.update(image_path="a.jpg") for a in j["annotations"]]),
        ),
        r"person_keypoints_val2017.json: converted labels have no annotation ids; give COCO's official file",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_told_in_one_line_and_the_same_command_goes_on(folders, kind, capsys):
    coco, labels, home = folders
    kept = {path: path.read_bytes() for folder in (coco, labels) for path in folder.rglob("*") if path.is_file()}
    breaks, message = BAD[kind]
    breaks(coco, labels)
    command = ["lip-from-coco", "--coco", str(coco), "--labels", str(labels), "--output", str(home)]
    assert main(command) == 2
    told = capsys.readouterr().err
    assert len(told.strip().splitlines()) == 1
    with pytest.raises(DataError, match=message):
        lip_from_coco(coco, home, labels)
    assert not pictures(home.parent / "lip")
    for path, data in kept.items():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    assert main(command) == 0 and len(pictures(home)) == 16


def test_partial_makes_what_there_is_and_a_later_call_the_rest(folders, tmp_path):
    coco, labels, home = folders
    (coco / "train2017").rename(tmp_path / "later")
    table = lip_from_coco(coco, home, labels, partial=True).table
    assert table["made"].sum() == 4 and set(table.loc[~table["made"], "problem"]) == {"no picture in the COCO folder"}
    (tmp_path / "later").rename(coco / "train2017")
    assert lip_from_coco(coco, home, labels).table["made"].all()
    assert [len(lip.read_lip(home, split)) for split in ("train", "val")] == [12, 4]


def test_rows_without_a_picture_are_set_aside_and_come_back(folders):
    """Labels in LIP's own folder, as the notebook has them."""
    coco, labels, home = folders
    labels.rename(home)
    given = (home / "lip_val_set.csv").read_text()
    path = coco / "val2017" / f"{101:012d}.jpg"
    picture = path.read_bytes()
    path.unlink()
    lip_from_coco(coco, home)
    assert [person.name for person in lip.read_lip(home, "val")] == ["6_61.jpg", "6_60.jpg"]
    assert (home / "lip_val_set_given.csv").read_text() == given
    path.write_bytes(picture)
    assert lip_from_coco(coco, home).table["made"].all()
    assert (home / "lip_val_set.csv").read_text() == given


def test_a_csv_with_other_rows_isn_t_written_over(folders):
    coco, labels, home = folders
    own = home / "TrainVal_pose_annotations" / "lip_val_set.csv"
    own.parent.mkdir(parents=True)
    own.write_text(csv_row("1_1.jpg", np.ones((16, 3))))
    before = own.read_bytes()
    with pytest.raises(DataError, match=r"has other rows than .*; move it away"):
        lip_from_coco(coco, home, labels)
    assert own.read_bytes() == before


def test_a_picture_of_another_size_is_kept_and_told(folders):
    coco, labels, home = folders
    mine = home / "TrainVal_images/val_images/101_1010.jpg"
    mine.parent.mkdir(parents=True)
    cv2.imwrite(str(mine), np.zeros((HEIGHT, WIDTH - 1, 3), np.uint8))
    before = mine.read_bytes()
    table = lip_from_coco(coco, home, labels).table.set_index("name")
    assert table["made"].sum() == 15 and mine.read_bytes() == before
    assert table.loc["101_1010.jpg", "problem"].endswith("101_1010.jpg is 50x81, COCO's box 51x81; remove it")


def test_what_is_there_is_not_read_again(folders, monkeypatch):
    coco, labels, home = folders
    lip_from_coco(coco, home, labels)
    (home / "TrainVal_images/val_images/101_1010.jpg").unlink()
    (home / "TrainVal_images/val_images/101_1011.jpg").write_bytes(b"\xff\xd8 damaged")
    read, original = [], MODULE.read_person_image
    monkeypatch.setattr(MODULE, "read_person_image", lambda person: read.append(person.name) or original(person))
    assert lip_from_coco(coco, home, labels).table["made"].all()
    assert read == [f"{101:012d}.jpg"]  # once for its two persons


def test_a_full_disk_loses_nothing_and_the_same_call_goes_on(folders, tmp_path, monkeypatch):
    coco, labels, home = folders
    lip_from_coco(coco, tmp_path / "whole", labels)
    original, written = MODULE.write_beside, []

    def write(path, content):
        if len(written) == 5:
            raise OSError(28, "No space left on device")
        written.append(path)
        return original(path, content)

    monkeypatch.setattr(MODULE, "write_beside", write)
    with pytest.raises(DataError, match=r"\.jpg: not written \(No space left on device\); .*same command goes on"):
        lip_from_coco(coco, home, labels)
    assert len(pictures(home)) == 5 and not list(home.rglob("*.part"))
    monkeypatch.undo()
    lip_from_coco(coco, home, labels)
    assert pictures(home) == pictures(tmp_path / "whole")


def test_killed_in_the_middle_it_goes_on_and_ends_the_same(folders, tmp_path):
    coco, labels, home = folders
    lip_from_coco(coco, tmp_path / "whole", labels)
    child = (
        "import importlib, sys, time\n"
        "module = importlib.import_module('gccpm_lib.datasets.lip_from_coco')\n"
        "original = module.write_beside\n"
        "module.write_beside = lambda *given: (time.sleep(0.1), original(*given))\n"
        "module.lip_from_coco(*sys.argv[1:])\n"
    )
    environment = {**os.environ, "TQDM_DISABLE": "1"}
    with subprocess.Popen([sys.executable, "-c", child, coco, home, labels], env=environment) as process:
        deadline = time.monotonic() + 60
        while len(pictures(home)) < 3 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        process.kill()
    assert 3 <= len(pictures(home)) < 16 and not list(home.rglob("*.csv"))
    lip_from_coco(coco, home, labels)
    assert pictures(home) == pictures(tmp_path / "whole")


@pytest.mark.skipif(not REAL.is_dir(), reason="the real persons aren't part of the project")
def test_real_persons_end_to_end(tmp_path):
    """LIP's own labels fall on COCO's for all 38; 36_453991's box is (167.58, 162.89, 310.61, 465.19) of 481x640."""
    rebuilt = lip_from_coco(REAL / "coco", tmp_path / "lip", REAL, lossless=True)
    table = rebuilt.table.set_index("name")
    assert len(table) == 38 and table["made"].all() and (table["odd"] == "").all() and (table["outside"] == 0).all()
    assert table["relative"].max() < 0.06 and 6 < table["distance"].median() < 9
    picture = cv2.imread(str(REAL / "coco/train2017/000000000036.jpg"))
    cut = read_image(tmp_path / "lip/TrainVal_images/val_images/36_453991.jpg")
    np.testing.assert_array_equal(cut, picture[162:628, 167:478])  # columns 168 to 478, rows 163 to 628
    assert len(lip.read_lip(tmp_path / "lip", "val")) == 38
