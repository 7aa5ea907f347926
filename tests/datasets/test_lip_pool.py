"""Pooled LIP data: people of COCO's pictures get pictures of their own, in which their joints are where they were."""

import json

import numpy as np
import pytest
from conftest import person, write_coco, write_lip

from gccpm_lib.datasets.coco import read_coco
from gccpm_lib.datasets.coco_pool import Source
from gccpm_lib.datasets.lip import read_annotations, read_lip
from gccpm_lib.datasets.lip_pool import cut_out, pool_lip, with_derived
from gccpm_lib.datasets.records import read_person_image
from gccpm_lib.skeletons import COCO, LIP, split_side


def test_persons_are_cut_out_as_often_as_asked_and_lips_own_are_linked(tmp_path):
    write_coco(tmp_path / "coco")
    write_lip(tmp_path / "lip")
    sources = [Source(tmp_path / "coco", repeat=2), Source(tmp_path / "lip", layout="lip", num_persons=3)]
    root = pool_lip(tmp_path / "pool", sources, val=tmp_path / "lip")
    persons, coco, own = read_lip(root, "train"), read_coco(tmp_path / "coco", "train"), read_lip(tmp_path / "lip", "train")
    assert len(persons) == 2 * len(coco) + 3
    for there, here in zip(persons[2 * len(coco) :], own, strict=False):
        assert there.image_path.samefile(here.image_path)
        labelled = here.keypoints[:, 2] > 0
        np.testing.assert_allclose(there.keypoints[labelled], here.keypoints[labelled], atol=0.01)
    assert [p.keypoints.tolist() for p in read_lip(root, "val")] == [
        p.keypoints.tolist() for p in read_lip(tmp_path / "lip", "val")
    ]
    for index, here in enumerate(coco):
        one, other = persons[2 * index : 2 * index + 2]
        assert read_person_image(one).shape != read_person_image(other).shape  # other margins
        by_name = dict(zip(map(split_side, COCO.joints), here.keypoints, strict=True))
        for joint, found in zip(LIP.joints, one.keypoints, strict=True):
            if (given := by_name.get(split_side(joint))) is not None:
                assert (found[2] > 0) == (given[2] > 0)
        assert (one.keypoints[[8, 9], 2] == 0).all()  # COCO has no neck and no head top
    with pytest.raises(FileExistsError, match="exists already"):
        pool_lip(tmp_path / "pool", sources, val=tmp_path / "lip")


@pytest.mark.parametrize("side", [100, 900])  # the second is shrunk
def test_joints_stay_on_what_the_picture_shows_there(side):
    image = np.zeros((side, 2 * side, 3), np.uint8)
    x, y = int(0.9 * side), int(0.4 * side)
    image[y - side // 50 : y + side // 50 + 1, x - side // 50 : x + side // 50 + 1] = 255
    who = person(np.array([(x, y, 2)] * 16, float), (0.5 * side, 0.2 * side, 0.7 * side, 0.5 * side))
    for seed in range(5):
        view, keypoints = cut_out(np.random.default_rng(seed), image, who)
        assert max(view.shape) <= 400 and 0.5 * side * min(1, 400 / side) <= view.shape[0]
        rows, columns = np.nonzero(view[:, :, 0] > 127)
        np.testing.assert_allclose(keypoints[0, :2], (columns.mean(), rows.mean()), atol=0.6)


def test_pelvis_and_spine_lie_between_hips_and_shoulders():
    keypoints = np.zeros((16, 3))
    keypoints[[2, 3]] = (10, 40, 2), (20, 42, 1)
    keypoints[12] = (8, 10, 2)
    derived = with_derived(keypoints)
    assert derived[6].tolist() == [15, 41, 1] and (derived[7] == 0).all()
    keypoints[6] = (1, 2, 2)
    assert with_derived(keypoints)[6].tolist() == [1, 2, 2]


def test_what_is_written_is_read_again(tmp_path):
    write_coco(tmp_path / "coco")
    write_lip(tmp_path / "lip")
    root = pool_lip(tmp_path / "pool", [Source(tmp_path / "coco")], val=tmp_path / "lip")
    names, keypoints = read_annotations(root / "TrainVal_pose_annotations" / "lip_train_set.csv")
    labels = json.loads((tmp_path / "coco" / "annotations" / "person_keypoints_train2017.json").read_text())
    given = np.array([a["keypoints"] for a in labels["annotations"]]).reshape(-1, 17, 3)
    right_knee = given[:, COCO.joints.index("right_knee")]
    assert len(names) == len(given) and keypoints[:, 1, 2].tolist() == right_knee[:, 2].tolist()
