"""Labels of other tools, on files as these tools write them, read back by the reader of COCO's format."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import noise_picture

from gccpm_lib.datasets import coco
from gccpm_lib.datasets.other_tools import from_cvat, from_label_studio, from_labelme, from_yolo_pose
from gccpm_lib.datasets.records import DataError

JOINTS = ["left_eye", "right_eye", "nose"]


@pytest.fixture
def target(tmp_path) -> Path:
    """A COCO folder with one picture of 200 x 100 pixels, and where its label file goes."""
    images = tmp_path / "mine" / "train2017"
    images.mkdir(parents=True)
    cv2.imwrite(str(images / "dog.jpg"), noise_picture(100, 200))
    return tmp_path / "mine" / "annotations" / "person_keypoints_train2017.json"


def read_back(target: Path) -> list[np.ndarray]:
    folder = target.parents[1]
    skeleton = coco.read_skeleton(target)
    return [person.keypoints for person in coco.read_coco(folder, "train", skeleton=skeleton)]


def cvat(folder: Path, **changes) -> Path:
    """As CVAT 2 writes "COCO Keypoints 1.0"."""
    skeleton_label = {"id": 1, "name": "dog", "supercategory": "", "keypoints": JOINTS, "skeleton": [[3, 1], [3, 2]]}
    shape = {
        "id": 1, "image_id": 1, "category_id": 1, "segmentation": [], "area": 0.0, "iscrowd": 0,
        "bbox": [0.0, 0.0, 0.0, 0.0],
        "attributes": {"occluded": False, "keyframe": False}, "num_keypoints": 2,
        "keypoints": [50.5, 20.0, 2, 70.0, 20.0, 1, 0.0, 0.0, 0],
    }  # fmt: skip
    image = {
        "id": 1, "width": 200, "height": 100, "file_name": "dog.jpg", "license": 0, "flickr_url": "", "coco_url": "",
        "date_captured": 0,
    }  # fmt: skip
    content = {"licenses": [], "info": {}, "categories": [skeleton_label], "images": [image], "annotations": [shape]}
    path = folder / "person_keypoints_default.json"
    path.write_text(json.dumps(content | changes))
    return path


def test_cvat(tmp_path, target):
    written = from_cvat(cvat(tmp_path), target)
    assert (written.num_images, written.num_persons) == (1, 1)
    np.testing.assert_array_equal(read_back(target)[0], [[50.5, 20, 2], [70, 20, 1], [0, 0, 0]])
    assert coco.read_skeleton(target).limbs == ((2, 0), (2, 1))
    # extents of 19.5 x 0 pixels: 1.25 times 19.5, at least 16
    box = json.loads(target.read_text())["annotations"][0]["bbox"]
    assert box == pytest.approx([60.25 - 12.19, 12, 24.38, 16], abs=0.02)
    assert any("weren't drawn" in line for line in written.assumed)


def label_studio(folder: Path, result: list[dict]) -> Path:
    answer = {"id": 7, "completed_by": 1, "result": result, "was_cancelled": False, "ground_truth": False}
    task = {"id": 3, "annotations": [answer], "file_upload": "1a2b3c4d-dog.jpg", "predictions": [], "project": 1}
    path = folder / "project-1.json"
    path.write_text(json.dumps([{**task, "data": {"img": "/data/upload/1/1a2b3c4d-dog.jpg"}}]))
    return path


def keypoint(name: str, x: float, y: float, **more) -> dict:
    value = {"x": x, "y": y, "width": 0.5, "keypointlabels": [name]}
    size = {"original_width": 200, "original_height": 100, "image_rotation": 0}
    return {**size, "value": value, "id": name, "from_name": "kp", "to_name": "img", "type": "keypointlabels", **more}


def rectangle(key: str, x: float, y: float, width: float, height: float) -> dict:
    value = {"x": x, "y": y, "width": width, "height": height, "rotation": 0, "rectanglelabels": ["dog"]}
    size = {"original_width": 200, "original_height": 100, "image_rotation": 0}
    return {**size, "value": value, "id": key, "from_name": "box", "to_name": "img", "type": "rectanglelabels"}


def test_label_studio_with_one_person(tmp_path, target):
    export = label_studio(tmp_path, [keypoint("nose", 25, 30), keypoint("left_eye", 20, 20)])
    written = from_label_studio(export, target, JOINTS)
    np.testing.assert_allclose(read_back(target)[0], [[40, 20, 2], [0, 0, 0], [50, 30, 2]])  # percent of 200 x 100
    assert any("without a rectangle" in line for line in written.assumed)


def test_label_studio_with_two_persons(tmp_path, target):
    result = [
        rectangle("a", 0, 0, 50, 100), rectangle("b", 40, 0, 60, 100), keypoint("nose", 10, 10), keypoint("nose", 90, 10),
        keypoint("left_eye", 45, 50, parentID="b"),
    ]  # fmt: skip
    from_label_studio(label_studio(tmp_path, result), target, JOINTS)
    first, second = read_back(target)
    np.testing.assert_allclose(first, [[0, 0, 0], [0, 0, 0], [20, 10, 2]])
    np.testing.assert_allclose(second, [[90, 50, 2], [0, 0, 0], [180, 10, 2]])
    assert json.loads(target.read_text())["annotations"][1]["bbox"] == [80, 0, 120, 100]


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (
            [rectangle("a", 0, 0, 50, 50), rectangle("b", 40, 0, 60, 50), keypoint("nose", 45, 10)],
            "nose: lies in 2 rectangles",
        ),
        ([rectangle("a", 0, 0, 10, 10), keypoint("nose", 45, 10)], "nose: lies in 0 rectangles"),
        ([keypoint("nose", 45, 10), keypoint("nose", 5, 10)], "task 3: nose is there twice"),
        ([keypoint("tail", 45, 10)], "joint 'tail' isn't in the order"),
        ([], "nobody has a joint"),
    ],
)
def test_label_studio_whose_joint_it_is_must_be_clear(tmp_path, target, result, message):
    with pytest.raises(DataError, match=message):
        from_label_studio(label_studio(tmp_path, result), target, JOINTS)
    assert not target.exists()


def yolo(folder: Path, line: str, layout="train/{}", **about) -> Path:
    """As Roboflow writes "YOLOv8 pose", or, with another layout, as the trainer's own data sets lie."""
    for kind in ("images", "labels"):
        (folder / layout.format(kind)).mkdir(parents=True)
    shutil.copy(folder / "mine" / "train2017" / "dog.jpg", folder / layout.format("images") / "dog.jpg")
    (folder / layout.format("labels") / "dog.txt").write_text(line + "\n")
    content = {"train": "../train/images", "nc": 1, "names": ["dog"], "kpt_shape": [3, 3], "flip_idx": [1, 0, 2], **about}
    (folder / "data.yaml").write_text(json.dumps(content))  # JSON is YAML too
    return folder


@pytest.mark.parametrize("layout", ["train/{}", "{}/train"])
def test_yolo_pose(tmp_path, target, layout):
    folder = yolo(tmp_path, "0 0.5 0.5 0.4 0.6 0.25 0.2 2 0.35 0.2 1 0 0 0", layout)
    from_yolo_pose(folder, target, joints=JOINTS)
    np.testing.assert_allclose(read_back(target)[0], [[50, 20, 2], [70, 20, 1], [0, 0, 0]])
    assert coco.read_skeleton(target).flip_pairs == ((0, 1),)
    assert json.loads(target.read_text())["annotations"][0]["bbox"] == pytest.approx([60, 20, 80, 60])


def test_yolo_pose_without_visibilities_and_names(tmp_path, target):
    written = from_yolo_pose(yolo(tmp_path, "0 .5 .5 .4 .6 .25 .2 .35 .2 0 0", kpt_shape=[3, 2]), target)
    np.testing.assert_allclose(read_back(target)[0], [[50, 20, 2], [70, 20, 2], [0, 0, 0]])
    assert coco.read_skeleton(target).joints == ("joint_0", "joint_1", "joint_2")
    assert len(written.assumed) == 3


def test_yolo_pose_names_the_line(tmp_path, target):
    with pytest.raises(DataError, match=r"dog.txt:1: 7 numbers for 3 joints"):
        from_yolo_pose(yolo(tmp_path, "0 .5 .5 .4 .6 .25 .2"), target)
    with pytest.raises(DataError, match="2 names were given"):
        from_yolo_pose(tmp_path, target, joints=JOINTS[:2])


def labelme(folder: Path, shapes: list[dict]) -> Path:
    content = {"version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": "..\\mine\\dog.jpg", "imageData": None}
    (folder / "dog.json").write_text(json.dumps({**content, "imageHeight": 100, "imageWidth": 200}))
    return folder


def shape(label: str, points: list, kind="point", group=None, **flags) -> dict:
    common = {"label": label, "points": points, "shape_type": kind, "group_id": group, "flags": flags}
    return {**common, "description": "", "mask": None}


def test_labelme(tmp_path, target):
    (tmp_path / "lm").mkdir()
    shapes = [
        shape("nose", [[50, 30]], group=1), shape("dog", [[80, 90], [20, 10]], "rectangle", 1),
        shape("nose", [[150, 30]], group=2, hidden=True), shape("leash", [[0, 0], [9, 9]], "line"),
    ]  # fmt: skip
    written = from_labelme(labelme(tmp_path / "lm", shapes), target, JOINTS)
    first, second = read_back(target)
    np.testing.assert_allclose(first, [[0, 0, 0], [0, 0, 0], [50, 30, 2]])
    np.testing.assert_allclose(second, [[0, 0, 0], [0, 0, 0], [150, 30, 1]])
    assert json.loads(target.read_text())["annotations"][0]["bbox"] == [20, 10, 60, 80]
    assert any("'line'" in line for line in written.assumed)
    with pytest.raises(DataError, match=r"dog.json: nose twice in group None"):
        from_labelme(labelme(tmp_path / "lm", [shape("nose", [[1, 1]]), shape("nose", [[2, 2]])]), target)


@pytest.mark.parametrize("read", [from_cvat, from_label_studio])
def test_files_that_are_none_are_named(tmp_path, target, read):
    with pytest.raises(DataError, match=r"gone\.json: not a readable JSON file"):
        read(tmp_path / "gone.json", target)
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(DataError, match=r"bad\.json: not a readable JSON file"):
        read(tmp_path / "bad.json", target)
    with pytest.raises(DataError, match="not CVAT's COCO Keypoints"):
        from_cvat(cvat(tmp_path, categories=[]), target)
