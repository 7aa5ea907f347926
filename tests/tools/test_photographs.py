"""Networks of different joints on the same photographs: names, edges, limb joints and peaks worked out by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import lively_network

from gccpm_lib import checkpoints
from gccpm_lib.datasets.records import Person
from gccpm_lib.evaluation import average_precision
from gccpm_lib.recipes import COCO_PHOTOGRAPHS, LIP_MODERN
from gccpm_lib.rendering.rendered import render_coco, render_lip
from gccpm_lib.skeletons import COCO, LIP
from gccpm_lib.tools import photographs


def test_joints_go_over_by_name_and_others_are_nan():
    found = np.arange(16 * 3, dtype=float).reshape(1, 16, 3)
    moved = photographs.by_name(found, LIP, COCO)
    assert np.isnan(moved[0, :5]).all()  # nose, eyes, ears
    np.testing.assert_array_equal(moved[0, COCO.joints.index("left_wrist")], found[0, LIP.joints.index("l_wrist")])
    back = photographs.by_name(moved, COCO, LIP)
    assert sorted(np.flatnonzero(np.isnan(back[0, :, 0]))) == [6, 7, 8, 9]  # pelvis, spine, neck, head top


@pytest.mark.parametrize(
    "box, cut", [((10, 10, 50, 60), False), ((3, 10, 50, 60), True), ((10, 10, 87, 60), True), ((10, 36, 50, 60), False)]
)
def test_a_box_within_three_pixels_of_the_edge_is_cut(box, cut):
    person = Person(Path("a.jpg"), np.zeros((17, 3)), box, picture_size=(100, 100))
    assert photographs.reaches_edge(person) is cut


def test_a_perfect_answer_has_limb_ap_100_whatever_the_face():
    truth_row = np.array([(10 + 5 * j, 20 + 3 * j, 2) for j in range(17)], float)
    annotation = {
        "id": 1, "image_id": 7, "category_id": 1, "iscrowd": 0, "area": 5000.0, "bbox": [10, 20, 80, 80],
        "keypoints": truth_row.ravel().tolist(), "num_keypoints": 17,
    }  # fmt: skip
    truth = {"images": [{"id": 7}], "annotations": [annotation], "categories": [{"id": 1, "name": "person"}]}
    person = Person(Path("a.jpg"), truth_row, (10, 20, 80, 80), image_id=7)
    answer = truth_row[None].copy()
    answer[:, :5] = np.nan
    for shift, ap in ((0, 100), (500, 0)):
        matches = photographs.limbs_alone(truth, answer + np.array([shift, 0, 0]), [person])
        assert average_precision.scores(matches)["AP"] == pytest.approx(ap)


def test_networks_of_both_skeletons_are_measured_in_one_run(tmp_path, capsys):
    render_coco(tmp_path / "coco", num_train_images=1, num_val_images=2, seed=3, num_workers=0)
    render_lip(tmp_path / "lip", num_train=1, num_val=2, seed=3, num_workers=0)
    for recipe in (replace(LIP_MODERN, input_size=(64, 64)), replace(COCO_PHOTOGRAPHS, input_size=(64, 48))):
        checkpoints.save_network(tmp_path / f"{recipe.crop}.safetensors", lively_network(1), recipe)
    names = [str(tmp_path / f"{crop}.safetensors") for crop in ("letterbox", "box")]
    photographs.main([*names, "--scenes", str(tmp_path / "coco"), "--photos", str(tmp_path / "lip")])
    told = capsys.readouterr().out
    assert (
        told.count("limb joints, all") == 2 and told.count("AP, 17 joints") == 1 and told.count("AP, 12 limb joints") == 2
    )
    assert told.count("last against first") == 3
