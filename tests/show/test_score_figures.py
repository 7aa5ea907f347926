"""Figures of a score: circles as wide as the tolerance, and the line of the file's threshold."""

import cv2
import numpy as np
import pandas as pd
from conftest import noise_picture
from matplotlib.patches import Circle

from gccpm_lib.datasets.records import Person
from gccpm_lib.show import score_figures
from gccpm_lib.skeletons import COCO, LIP


def test_a_circle_is_half_a_head_and_names_are_of_joints_outside(tmp_path):
    cv2.imwrite(str(tmp_path / "a.jpg"), noise_picture(60, 480))
    keypoints = np.array([(30 * k, 40, 2) for k in range(16)], np.float32)
    keypoints[9, :2], keypoints[3, 2] = keypoints[8, :2] - (0, 20), 0  # a head of 20 pixels; no left hip
    pose = keypoints + (0, 4, 0)
    pose[10, 0] += 11
    (axis,) = score_figures.tolerance_circles(Person(tmp_path / "a.jpg", keypoints), pose, LIP).axes
    circles = [patch for patch in axis.patches if isinstance(patch, Circle)]
    assert len(circles) == 15 and {circle.radius for circle in circles} == {10.0}
    assert [text.get_text() for text in axis.texts] == ["r_wrist"]


def test_an_ear_s_circle_is_as_wide_as_coco_s_sigma_says(tmp_path):
    cv2.imwrite(str(tmp_path / "a.jpg"), noise_picture(60, 100))
    keypoints = np.zeros((17, 3), np.float32)
    keypoints[3] = 50, 30, 2
    person = Person(tmp_path / "a.jpg", keypoints, (0, 0, 100, 60), 1, 1, 400.0)
    (axis,) = score_figures.tolerance_circles(person, keypoints, COCO).axes
    (circle,) = axis.patches
    assert np.isclose(circle.radius, 20 * 2 * 0.035 * np.sqrt(2 * np.log(2))) and not axis.texts


def test_the_file_s_threshold_is_drawn():
    table = pd.DataFrame({"joints": [5, 5], "score": [0.2, 0.8], "found (%)": [40, 90], "low": [30, 80], "high": [50, 95]})
    (axis,) = score_figures.reliability_diagram(table, 0.35).axes
    assert [0.35, 0.35] in [list(line.get_xdata()) for line in axis.lines]
    assert "0.35" in axis.get_legend().get_texts()[0].get_text()
