"""Rendered people: the files on disk, their determinism, and joints and labels that mean what they say."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO as CocoFile

from gccpm_lib.datasets.records import DataError
from gccpm_lib.rendering import bodies, outfits, pictures, poses, rendered, scenes
from gccpm_lib.skeletons import LIP, OCCLUDED, VISIBLE

NUM_TRAIN, NUM_VAL = 20, 2  # more than one chunk, so that the order of several processes' results matters
JOINT = {name: i for i, name in enumerate(LIP.joints)}
STANDING = dict(zip(poses.ANGLES, poses.PROTOTYPES["stand"].trunk + 2 * poses.PROTOTYPES["stand"].right, strict=True))
AVERAGE = {"gender": 0.5, "age": 0.7, "muscle": 0.5, "weight": 0.4, "height": 0.5, "proportions": 0.5}


@pytest.fixture(scope="module")
def lip(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "lip"
    return rendered.render_lip(root, NUM_TRAIN, NUM_VAL, num_workers=1, progress=False)


def contents(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def frontal(**angles):
    """An average person who faces the camera, and a picture and keypoints of them."""
    body = bodies.make_bodies([AVERAGE], [STANDING | angles], ["stand"])[0]
    outfit = outfits.draw_outfit(np.random.default_rng(3), 0.0, 0.7)
    camera = scenes.aimed_camera(np.array([0, 0, 0.9]), 4.0, 1.2, 0.0)
    camera = replace(camera, focal=700.0, centre=(200.0, 200.0))
    meshes = scenes.person_meshes(body, outfit, 0)
    light = scenes.draw_light(np.random.default_rng(0))
    layer = scenes.draw_meshes(meshes, camera, (400, 400), light)
    picture = pictures.Picture(layer.colour, layer, np.zeros((400, 400), np.float32))
    return body, picture, camera


def labels_of(body, picture, camera):
    return pictures.label_joints(picture, camera, body.lip, 0, scenes.LIP_TOLERANCES)


def test_layout_and_csv(lip):
    for split, count in (("train", NUM_TRAIN), ("val", NUM_VAL)):
        rows = (lip / f"TrainVal_pose_annotations/lip_{split}_set.csv").read_text().splitlines()
        folder = lip / f"TrainVal_images/{split}_images"
        assert len(rows) == count == len(list(folder.iterdir()))
        for row in rows:
            name, *cells = row.split(",")
            height, width = cv2.imread(str(folder / name)).shape[:2]
            assert len(cells) == 48
            assert 160 <= max(height, width) <= 304
            for x, y, v in zip(cells[::3], cells[1::3], cells[2::3], strict=True):
                missing = (x, y, v) == ("nan", "nan", "nan")
                assert missing or (0 <= int(x) < width and 0 <= int(y) < height and v in "01")


def test_same_bytes_whatever_the_number_of_processes(lip, tmp_path):
    again = rendered.render_lip(tmp_path / "lip", NUM_TRAIN, NUM_VAL, num_workers=2, progress=False)
    assert contents(again) == contents(lip)


def test_longer_set_begins_like_the_shorter_one(lip, tmp_path):
    short = rendered.render_lip(tmp_path / "lip", rendered.CHUNK, 0, num_workers=1, progress=False)
    few, many = contents(short), contents(lip)
    assert all(many[name] == few[name] for name in few if name.endswith(".jpg"))


def test_second_call_does_nothing(lip):
    before = (lip / rendered.MARKER).stat().st_mtime_ns
    rendered.render_lip(lip, NUM_TRAIN, NUM_VAL, progress=False)
    assert (lip / rendered.MARKER).stat().st_mtime_ns == before


def test_other_parameters_and_foreign_files_are_refused(lip, tmp_path):
    with pytest.raises(DataError, match="rendered with"):
        rendered.render_lip(lip, NUM_TRAIN, NUM_VAL, seed=1, progress=False)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("not to be overwritten")
    with pytest.raises(DataError, match="choose another folder"):
        rendered.render_lip(tmp_path / "mine", 1, 1, progress=False)


def test_interrupted_rendering_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(rendered, "_write_lip", interrupt)
    with pytest.raises(KeyboardInterrupt):
        rendered.render_lip(tmp_path / "lip", 1, 0, num_workers=1, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_frontal_person_has_the_right_side_on_the_left():
    body, picture, camera = frontal()
    x, y, labels = labels_of(body, picture, camera).T
    for name in ("ankle", "knee", "hip", "shoulder", "elbow", "wrist"):
        assert x[JOINT[f"r_{name}"]] < x[JOINT[f"l_{name}"]]
    assert (np.diff(y[[JOINT[n] for n in ("head_top", "neck", "spine", "pelvis", "r_knee", "r_ankle")]]) > 0).all()
    assert (labels == VISIBLE).all()
    # skin or cloth under every joint
    assert all(np.isfinite(picture.layer.depth[round(b), round(a)]) for a, b in zip(x, y + 2, strict=True))


def test_head_is_as_tall_as_heads_are():
    body, *_ = frontal()
    assert 0.2 < np.linalg.norm(body.lip[JOINT["head_top"]] - body.lip[JOINT["neck"]]) < 0.3


def test_coco_joints_lie_by_the_lip_joints():
    body, *_ = frontal()
    for lip_name, coco_joint in (("l_shoulder", 5), ("r_elbow", 8), ("l_wrist", 9), ("r_hip", 12), ("l_knee", 13)):
        assert np.linalg.norm(body.lip[JOINT[lip_name]] - body.coco[coco_joint]) < 0.06


def test_hand_behind_the_back_is_occluded():
    body, picture, camera = frontal(r_arm_flex=-32, r_arm_out=4, r_arm_twist=-75, r_elbow=80)
    labels = labels_of(body, picture, camera)[:, 2]
    assert labels[JOINT["r_wrist"]] == OCCLUDED
    assert labels[JOINT["l_wrist"]] == VISIBLE


def test_every_prototype_is_within_the_limits_and_drawn_at_random():
    rng = np.random.default_rng(0)
    for name in poses.PROTOTYPES:
        a, b = poses.draw_pose(rng, name), poses.draw_pose(rng, name)
        angles = np.array([a[key] for key in poses.ANGLES])
        assert a != b
        low, high = (
            np.minimum(poses.LOWEST, np.negative(poses.HIGHEST)),
            np.maximum(poses.HIGHEST, np.negative(poses.LOWEST)),
        )
        assert ((angles >= low) & (angles <= high)).all()  # mirrored trunk angles change sign


def test_coco_layout(tmp_path):
    root = rendered.render_coco(tmp_path / "coco", 3, 1, num_workers=1, progress=False)
    file = CocoFile(str(root / "annotations/person_keypoints_train2017.json"))
    assert len(file.getImgIds()) == 3
    for image in file.loadImgs(file.getImgIds()):
        assert cv2.imread(str(root / "train2017" / image["file_name"])).shape[:2] == (image["height"], image["width"])
    for entry in file.loadAnns(file.getAnnIds()):
        image = file.loadImgs(entry["image_id"])[0]
        x, y, width, height = entry["bbox"]
        keypoints = np.array(entry["keypoints"]).reshape(17, 3)
        assert 0 <= x and x + width <= image["width"] and 0 <= y and y + height <= image["height"]
        assert 0 < entry["area"] <= width * height
        assert entry["num_keypoints"] == (keypoints[:, 2] > 0).sum()
        assert set(keypoints[:, 2]) <= {0, 1, 2}
    assert json.loads((root / rendered.MARKER).read_text())["layout"] == "coco"


def test_most_people_face_the_camera_and_all_views_occur():
    rng = np.random.default_rng(0)
    turns = np.array([pictures.draw_turn(rng) for _ in range(4000)]) % 360
    facing = (turns < 90) | (turns > 270)
    assert 0.75 < facing.mean() < 0.87
    assert (np.histogram(turns, bins=12, range=(0, 360))[0] > 50).all()
