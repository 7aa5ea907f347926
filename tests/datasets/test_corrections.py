"""Corrections: a csv on top of label files, which never change; lines of other labels and stale ones are refused."""

import csv
import json

import numpy as np
import pytest
from conftest import write_coco, write_lip

from gccpm_lib.datasets import corrections, layouts
from gccpm_lib.datasets.coco import read_coco, read_truth
from gccpm_lib.datasets.corrections import Correction, corrections_file, corrections_table, split_names, write_corrections
from gccpm_lib.datasets.lip import read_lip
from gccpm_lib.datasets.records import BadSamples, DataError
from gccpm_lib.files import sha256
from gccpm_lib.recipes import COCO_MODERN, LIP_MODERN
from gccpm_lib.skeletons import COCO, LIP
from gccpm_lib.training.loop import read_training
from gccpm_lib.training.run import Run

WRIST = LIP.joints.index("r_wrist")
AT = "2026-11-26T00:12:00Z"


def line(person, joint="", now=(0.0, 0.0, 0), was=(0.0, 0.0, 0), row=1, by="anna") -> Correction:
    return Correction(row, person.name, person.annotation_id, joint, now, was, by, AT)


def as_point(point) -> tuple[float, float, int]:
    return float(point[0]), float(point[1]), int(point[2])


def test_lip_takes_corrections_on_top_of_a_file_that_stays(tmp_path):
    folder = tmp_path / "lip"
    write_lip(folder)
    original, file = read_lip(folder, "train"), next(folder.rglob("lip_train_set.csv"))
    before, was = sha256(file), as_point(original[1].keypoints[WRIST])
    path = corrections_file(folder, "train")
    assert path == tmp_path / "lip_train_corrections.csv"
    changes = [line(original[1], "r_wrist", (12.25, 7.5, 1), was, 2), line(original[3], row=4)]
    write_corrections(path, changes)
    assert corrections.read_corrections(path) == changes
    persons = read_lip(folder, "train", labels=path.name)
    assert [p.name for p in persons] == [p.name for i, p in enumerate(original) if i != 3]
    assert persons[1].keypoints[WRIST].tolist() == [12.25, 7.5, 1]
    np.testing.assert_array_equal(np.delete(persons[1].keypoints, WRIST, 0), np.delete(original[1].keypoints, WRIST, 0))
    assert sha256(file) == before
    run = Run(str(folder), str(tmp_path / "out"), train_labels=path.name)
    np.testing.assert_array_equal(read_training(run)[1][1].keypoints, persons[1].keypoints)
    assert len(read_training(run)[1]) == 5


def test_coco_takes_corrections_alone_and_with_a_label_file_for_training_and_truth(tmp_path):
    folder = tmp_path / "coco"
    write_coco(folder)
    original, joint = read_coco(folder, "train"), COCO.joints.index("nose")
    was = as_point(original[2].keypoints[joint])
    changes = [line(original[2], "nose", (30.5, 20.0, 2), was, 3), line(original[0])]
    path = write_corrections(corrections_file(folder, "train"), changes)
    (folder / "mine.json").write_bytes((folder / "annotations" / "person_keypoints_train2017.json").read_bytes())
    for labels in (path.name, str(path), f"mine.json + {path.name}"):
        persons = layouts.read_persons(folder, "train", COCO_MODERN, labels)
        assert [p.annotation_id for p in persons] == [p.annotation_id for p in original[1:]]
        assert persons[1].keypoints[joint].tolist() == [30.5, 20, 2]
        assert layouts.with_skeleton(COCO_MODERN, folder, labels).skeleton == COCO
    truth = {a["id"]: a for a in read_truth(folder, "train", path.name)["annotations"]}
    assert truth[original[2].annotation_id]["keypoints"][3 * joint : 3 * joint + 3] == [30.5, 20, 2]
    rejected = truth[original[0].annotation_id]
    assert rejected["num_keypoints"] == 0 and set(rejected["keypoints"]) == {0}
    untouched = {a["id"]: a for a in read_truth(folder, "train")["annotations"]}
    assert truth[original[1].annotation_id] == untouched[original[1].annotation_id]


def test_whoever_loses_the_last_label_is_left_out_of_coco(tmp_path):
    write_coco(tmp_path / "coco")
    person = read_coco(tmp_path / "coco", "val")[0]
    gone = [
        line(person, name, (0.0, 0.0, 0), as_point(p))
        for name, p in zip(COCO.joints, person.keypoints, strict=True)
        if p[2]
    ]
    path = write_corrections(tmp_path / "gone.csv", gone)
    assert len(read_coco(tmp_path / "coco", "val", str(path))) == 3


def test_joints_are_known_however_a_file_writes_them(tmp_path):
    names = [name.replace("_", " ").title() for name in COCO.joints]
    write_coco(tmp_path / "coco", names)
    person = read_coco(tmp_path / "coco", "val")[0]
    was = as_point(person.keypoints[5])
    path = write_corrections(tmp_path / "c.csv", [line(person, "left_shoulder", (1.0, 2.0, 2), was)])
    assert read_coco(tmp_path / "coco", "val", str(path))[0].keypoints[5].tolist() == [1, 2, 2]
    assert read_truth(tmp_path / "coco", "val", str(path))["annotations"][0]["keypoints"][15:18] == [1, 2, 2]


def test_what_is_corrected_already_stays_and_a_label_that_changed_since_is_told(tmp_path):
    write_lip(tmp_path / "lip")
    person = read_lip(tmp_path / "lip", "val")[0]
    now = as_point(person.keypoints[8])
    path = write_corrections(tmp_path / "c.csv", [line(person, "neck", now, (3.0, 3.0, 2))])
    np.testing.assert_array_equal(read_lip(tmp_path / "lip", "val", labels=str(path))[0].keypoints, person.keypoints)
    write_corrections(path, [line(person, "neck", (9.0, 9.0, 2), (3.0, 3.0, 2))])
    with pytest.raises(DataError, match=r"c\.csv, 100_0\.jpg, neck: the label has changed since it was corrected"):
        read_lip(tmp_path / "lip", "val", labels=str(path))


def test_lines_of_other_labels_are_refused_or_noted(tmp_path):
    write_lip(tmp_path / "lip", (("train", 6), ("val", 3)))
    person = read_lip(tmp_path / "lip", "train")[5]
    path = write_corrections(tmp_path / "c.csv", [line(person)])
    with pytest.raises(DataError, match=r"105_5\.jpg isn't among these 3 persons; name the corrections of this split"):
        read_lip(tmp_path / "lip", "val", labels=str(path))
    bad = BadSamples("skip")
    assert len(read_lip(tmp_path / "lip", "val", bad, str(path))) == 3 and bad.skipped[0].name == "105_5.jpg"
    write_corrections(path, [line(person, "tail", (1.0, 1.0, 2))])
    with pytest.raises(DataError, match="tail: no such joint, there are r_ankle"):
        read_lip(tmp_path / "lip", "train", labels=str(path))


def test_persons_that_nothing_tells_apart_are_refused(tmp_path):
    write_coco(tmp_path / "coco")
    labels = tmp_path / "coco" / "annotations" / "person_keypoints_val2017.json"
    rows = [{**a, "image_path": f"{a['image_id']:012d}.jpg"} for a in json.loads(labels.read_text())["annotations"]]
    (tmp_path / "coco" / "converted.json").write_text(json.dumps({"annotations": rows}))
    person = read_coco(tmp_path / "coco", "val", "converted.json")[0]
    path = write_corrections(tmp_path / "c.csv", [line(person)])
    with pytest.raises(DataError, match="is 2 persons without ids; use the official labels"):
        read_coco(tmp_path / "coco", "val", f"converted.json + {path}")


def test_labels_and_corrections_are_named_together():
    assert split_names("") == ("", "") and split_names("mine.json") == ("mine.json", "")
    assert split_names("c.csv") == ("", "c.csv") and split_names("mine.json + c.CSV") == ("mine.json", "c.CSV")
    for wrong in ("a.json + b.json", "a.json + b.csv + c.csv"):
        with pytest.raises(DataError, match="give a label file, a csv of corrections, or both"):
            split_names(wrong)


def test_names_that_readers_cannot_take_are_told(tmp_path):
    write_lip(tmp_path / "lip")
    with pytest.raises(DataError, match=r"LIP's label file is lip_val_set\.csv; only a csv of corrections"):
        read_lip(tmp_path / "lip", "val", labels="mine.json")
    with pytest.raises(DataError, match=r"nowhere\.csv: no such corrections, neither in lip/"):
        layouts.read_persons(tmp_path / "lip", "val", LIP_MODERN, "nowhere.csv")


HEAD = ",".join(corrections.COLUMNS)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no list of corrections"),
        ("row,name\n1,a\n", "no list of corrections"),
        (f"{HEAD}\n1,a.jpg,,neck,1,2,seen,1,1,visible,b,t\n", "line 1: not a correction .label 'seen'"),
        (f"{HEAD}\n1,a.jpg,,neck,nan,2,visible,1,1,visible,b,t\n", "line 1: not a correction .a coordinate"),
        (f"{HEAD}\n1,a.jpg,,neck,1\n", "line 1: 5 cells instead of 12"),
        (f"{HEAD}\n1,a.jpg,,,1,2,visible,1,1,visible,b,t\n", "line 1: not a correction .no joint"),
        (f"{HEAD}\n" + 2 * "1,a.jpg,,neck,1,2,visible,1,1,visible,b,t\n", "neck of a.jpg comes twice"),
        ("\x00\xff", "no list of corrections"),
    ],
)
def test_another_or_a_damaged_csv_is_told_by_line(tmp_path, text, problem):
    (tmp_path / "c.csv").write_text(text)
    with pytest.raises(DataError, match=problem):
        corrections.read_corrections(tmp_path / "c.csv")


def test_hostile_names_come_back_and_are_no_formulas(tmp_path):
    own = [Correction(1, '=1+1,"x"\n.jpg', 7, "neck", (1.5, 2.0, 1), (0.0, 0.0, 0), "@sum(a1)", AT)]
    path = write_corrections(tmp_path / "c.csv", own)
    assert corrections.read_corrections(path) == own
    cells = list(csv.reader(path.open(newline="")))[1]
    assert cells[1].startswith("'=") and cells[10] == "'@sum(a1)" and cells[7:10] == ["", "", "missing"]
    assert not path.with_name("c.csv.part").exists()


def test_the_table_says_what_was_corrected_by_whom(tmp_path):
    assert corrections_table(tmp_path / "lip", ["train", "val"]).empty
    a, b, none = (1.0, 2.0, 2), (4.0, 6.0, 1), (0.0, 0.0, 0)
    lines = [
        Correction(2, "b.jpg", 5, "neck", b, a, "ben", AT),
        Correction(1, "a.jpg", None, "", none, none, "anna", AT),
    ]
    write_corrections(corrections_file(tmp_path / "lip", "val"), lines)
    table = corrections_table(tmp_path / "lip", ["train", "val"])
    assert table.values.tolist()[1] == ["val", 2, "b.jpg, annotation 5", "neck", "visible", "occluded", 5.0, "ben", AT]
    assert table.loc[0, ["name", "joint", "now", "by"]].tolist() == ["a.jpg", "whole person", "rejected", "anna"]
