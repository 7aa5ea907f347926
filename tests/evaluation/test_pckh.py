"""PCKh by hand, by loops and at full size; files matched by name; intervals; COCO's files."""

import json
import math

import numpy as np
import pytest
from conftest import csv_row
from hypothesis import given, settings
from hypothesis import strategies as st

from gccpm_lib.datasets.records import DataError
from gccpm_lib.evaluation.average_precision import intervals
from gccpm_lib.evaluation.pckh import (
    PAIRS,
    evaluate_coco,
    evaluate_lip,
    joint_pckh,
    match_coco,
    normalised_distances,
    paired_interval,
    pckh,
    pckh_curve,
    pckh_intervals,
)
from gccpm_lib.skeletons import COCO, LIP

few = settings(max_examples=30, deadline=None)
COLUMNS = ["Head", "Sho.", "Elb.", "Wri.", "Hip", "Knee", "Ank.", "U.Body", "Avg."]


def people(count: int, seed=0, missing=0.1, integers=True) -> tuple[np.ndarray, np.ndarray]:
    """Truth (N, 16, 3) and predictions (N, 16, 2) near it, some beyond half a head."""
    rng = np.random.default_rng(seed)
    truth = np.concatenate([rng.integers(0, 200, (count, 16, 2)), rng.integers(1, 3, (count, 16, 1))], axis=2).astype(float)
    truth[rng.random((count, 16)) < missing] = 0
    found = truth[:, :, :2] + rng.normal(0, 40, (count, 16, 2))
    return truth, np.rint(found) if integers else found


def write_truth(path, truth, names) -> None:
    path.write_text("".join(csv_row(name, points) for name, points in zip(names, truth, strict=True)))


def write_found(path, found, names) -> None:
    def text(v):
        return "nan" if math.isnan(v) else str(int(v))

    rows = [",".join([name, *[text(v) for v in points.ravel()]]) for name, points in zip(names, found, strict=True)]
    path.write_text("\n".join(rows) + "\n")


def pckh_by_loops(truth, found) -> dict[str, float]:
    """The specification's rule, joint by joint."""
    hits, counts = [0] * 16, [0] * 16
    for points, guesses in zip(truth.tolist(), found.tolist(), strict=True):
        if points[8][2] == 0 or points[9][2] == 0:
            continue
        head = math.dist(points[8][:2], points[9][:2])
        if head == 0:
            continue
        for j in range(16):
            if points[j][2] == 0:
                continue
            guess = [-1 if math.isnan(v) else v for v in guesses[j][:2]]
            guess = [1 if v < 0 else v for v in guess]
            counts[j] += 1
            hits[j] += math.dist(points[j][:2], guess) / head <= 0.5

    def pooled(*joints):
        return 100 * sum(hits[j] for j in joints) / sum(counts[j] for j in joints)

    def mean(a, b):
        return (pooled(a) + pooled(b)) / 2

    return {
        "Head": mean(8, 9),
        "Sho.": mean(12, 13),
        "Elb.": mean(11, 14),
        "Wri.": mean(10, 15),
        "Hip": mean(2, 3),
        "Knee": mean(1, 4),
        "Ank.": mean(0, 5),
        "U.Body": pooled(*range(8, 16)),
        "Avg.": pooled(*range(6), *range(8, 16)),
    }


@few
@given(st.integers(0, 10**6))
def test_pckh_is_the_published_rule(seed):
    truth, found = people(12, seed)
    found[np.random.default_rng(seed).random(found.shape) < 0.05] = np.nan
    scores = pckh(normalised_distances(truth, found))
    assert list(scores) == COLUMNS and scores == pytest.approx(pckh_by_loops(truth, found))


def standing_person() -> np.ndarray:
    """A person with a head of 20 pixels and every joint at (100, 100) but the head top."""
    truth = np.tile([100.0, 100, 2], (1, 16, 1))
    truth[0, 9] = (100, 80, 2)
    return truth


def test_a_joint_half_a_head_away_counts_and_one_further_away_not():
    truth, found = standing_person(), standing_person()
    found[0, 0, 0] += 10
    found[0, 5, 0] += 10.001
    scores = pckh(normalised_distances(truth, found))
    assert scores["Ank."] == 50 and scores["Avg."] == pytest.approx(100 * 13 / 14) and scores["U.Body"] == 100


def test_missing_and_negative_predictions_count_as_one_each_on_its_own():
    truth = standing_person()
    truth[0, 0], truth[0, 5] = (1, 1, 2), (89, 1, 2)
    found = truth[:, :, :2].copy()
    found[0, 0], found[0, 5] = (np.nan, np.nan), (89, -9)
    distances = normalised_distances(truth, found)
    assert distances[0, 0] == 0 and distances[0, 5] == 0
    found[0, 10] = (np.nan, 100)  # counts as (1, 100)
    assert normalised_distances(truth, found)[0, 10] == pytest.approx(99 / 20)


def test_zero_is_a_coordinate_and_not_missing():
    truth = standing_person()
    truth[0, 0] = (0, 0, 1)
    found = truth[:, :, :2].copy()
    assert normalised_distances(truth, found)[0, 0] == 0


@pytest.mark.parametrize("joint", [8, 9])
def test_a_person_without_head_or_neck_isnt_scored(joint):
    truth = np.concatenate([standing_person()] * 2)
    truth[1, joint, 2] = 0
    distances = normalised_distances(truth, truth)
    assert np.isnan(distances[1]).all() and not np.isnan(distances[0]).any()


def test_a_person_with_a_head_of_no_size_isnt_scored():
    truth = standing_person()
    truth[0, 9, :2] = truth[0, 8, :2]
    assert np.isnan(normalised_distances(truth, truth)).all()


def test_occluded_joints_count_and_missing_ones_not():
    truth = standing_person()
    truth[0, 0, 2], truth[0, 1, 2] = 1, 0
    distances = normalised_distances(truth, truth)
    assert distances[0, 0] == 0 and np.isnan(distances[0, 1])


def test_pair_columns_are_means_of_percentages_and_the_last_two_are_pooled():
    distances = np.full((4, 16), np.nan)
    for first, second in PAIRS.values():
        distances[:, first] = 0  # 100 % of four
        distances[:2, second] = [0.5, 0.51]  # 50 % of two
    distances[:, 8] = [0, 0, 0, 1]  # 75 % of four
    distances[:2, 5], distances[2:, 5] = 9, 9  # 0 % of four
    scores = pckh(distances)
    assert scores["Head"] == 62.5 and scores["Ank."] == 50
    assert all(scores[name] == 75 for name in ("Sho.", "Elb.", "Wri.", "Hip", "Knee"))
    assert scores["U.Body"] == pytest.approx(100 * (3 + 1 + 3 * (4 + 1)) / 24)
    assert scores["Avg."] == pytest.approx(100 * (19 + 2 * (4 + 1) + 4 + 0) / 44)


def test_pelvis_and_spine_are_in_no_column():
    distances = np.zeros((3, 16))
    distances[:, 6:8] = 9
    assert set(pckh(distances).values()) == {100.0}


def test_a_column_without_an_instance_is_nan():
    distances = np.zeros((2, 16))
    distances[:, [0, 5]] = np.nan
    scores = pckh(distances)
    assert math.isnan(scores["Ank."]) and scores["Avg."] == 100
    distances[:, 0] = 0  # the other ankle is still never scored
    assert math.isnan(pckh(distances)["Ank."]) and np.isnan(pckh_intervals(distances)["Ank."]).all()


@few
@given(st.integers(0, 10**6), st.floats(0.1, 5), st.floats(0, 300), st.floats(0, 300))
def test_pckh_doesnt_change_when_the_picture_is_moved_or_grown(seed, factor, dx, dy):
    truth, found = people(6, seed, integers=False)
    found = np.maximum(found, 0)
    moved = truth.copy()
    moved[:, :, :2] = truth[:, :, :2] * factor + (dx, dy)
    distances = normalised_distances(moved, found * factor + (dx, dy))
    np.testing.assert_allclose(distances, normalised_distances(truth, found), rtol=1e-6, atol=1e-9)


@few
@given(st.integers(0, 10**6))
def test_pckh_doesnt_change_with_the_order_of_persons_or_a_mirrored_pair(seed):
    truth, found = people(8, seed)
    scores = pckh(normalised_distances(truth, found))
    order = np.random.default_rng(seed).permutation(8)
    assert pckh(normalised_distances(truth[order], found[order])) == pytest.approx(scores, nan_ok=True)
    flipped = pckh(normalised_distances(truth[:, LIP.flip_order], found[:, LIP.flip_order]))
    assert flipped == pytest.approx(scores, nan_ok=True)


# files


def test_rows_are_matched_by_file_name_in_any_order(tmp_path):
    truth, found = people(9)
    names = [f"{i}_0.jpg" for i in range(9)]
    write_truth(tmp_path / "truth.csv", truth, names)
    order = np.random.default_rng(1).permutation(9)
    write_found(tmp_path / "found.csv", found[order], [names[i] for i in order])
    scores = evaluate_lip(tmp_path / "truth.csv", tmp_path / "found.csv")
    assert list(scores) == COLUMNS and scores == pytest.approx(pckh_by_loops(truth, found))


def test_rows_of_other_pictures_are_left_out(tmp_path):
    truth, found = people(4)
    write_truth(tmp_path / "truth.csv", truth[:3], "abc")
    write_found(tmp_path / "found.csv", found[::-1], "dcba")
    scores = evaluate_lip(tmp_path / "truth.csv", tmp_path / "found.csv")
    assert scores == pytest.approx(pckh_by_loops(truth[:3], found[:3]), nan_ok=True)


def test_a_picture_without_a_prediction_is_named(tmp_path):
    truth, found = people(3)
    write_truth(tmp_path / "truth.csv", truth, ["a.jpg", "b.jpg", "c.jpg"])
    write_found(tmp_path / "found.csv", found[:1], ["b.jpg"])
    with pytest.raises(DataError, match=r"found\.csv: no row for a\.jpg and 1 more of .*truth\.csv"):
        evaluate_lip(tmp_path / "truth.csv", tmp_path / "found.csv")


def test_nan_and_negatives_in_files_count_as_published(tmp_path):
    truth = standing_person()
    truth[0, 0], truth[0, 5] = (1, 1, 2), (89, 1, 2)
    found = truth[:, :, :2].copy()
    found[0, 0], found[0, 5] = (np.nan, np.nan), (89, -9)
    write_truth(tmp_path / "truth.csv", truth, ["a.jpg"])
    write_found(tmp_path / "found.csv", found, ["a.jpg"])
    assert evaluate_lip(tmp_path / "truth.csv", tmp_path / "found.csv")["Ank."] == 100


def test_ten_thousand_persons_and_more_are_all_scored(tmp_path):
    count = 10_050
    truth = np.tile(standing_person(), (count, 1, 1))
    found = truth[:, :, :2].copy()
    found[10_000:, 0, 0] += 50  # the rows that the published scoring cuts off
    names = [f"{i}.jpg" for i in range(count)]
    write_truth(tmp_path / "truth.csv", truth, names)
    write_found(tmp_path / "found.csv", found, names)
    scores = evaluate_lip(tmp_path / "truth.csv", tmp_path / "found.csv")
    assert scores["Ank."] == pytest.approx(100 * (2 * count - 50) / (2 * count), abs=1e-9)


# curves and intervals


def test_joint_pckh_pools_the_joints_asked_for():
    distances = np.full((2, 16), np.nan)
    distances[0, 0], distances[1, [0, 5]] = 0.2, (0.7, 0.5)
    assert joint_pckh(distances, (0, 5)) == pytest.approx(200 / 3)
    assert joint_pckh(distances, (0, 5), threshold=0.1) == 0
    assert math.isnan(joint_pckh(distances, (1,)))


def test_curve_rises_and_agrees_with_the_scores():
    distances = normalised_distances(*people(40))
    curve = pckh_curve(distances, np.array([0, 0.25, 0.5, 1, 100]))
    assert (np.diff(curve) >= 0).all() and curve[-1] == 100
    assert curve[2] == pytest.approx(pckh(distances)["Avg."])
    (wrists,) = pckh_curve(distances, [0.5], "Wri.")
    assert wrists == pckh(distances)["Wri."]


@few
@given(st.integers(0, 10**6))
def test_intervals_contain_the_score_and_narrow_with_the_level(seed):
    distances = normalised_distances(*people(60, seed))
    scores, wide = pckh(distances), pckh_intervals(distances, repeats=200)
    narrow = pckh_intervals(distances, repeats=200, level=0.5)
    for name in COLUMNS:
        assert wide[name][0] <= narrow[name][0] <= narrow[name][1] <= wide[name][1]
        assert wide[name][0] - 1e-9 <= scores[name] <= wide[name][1] + 1e-9


def test_intervals_draw_persons_and_have_the_binomial_width():
    rng = np.random.default_rng(0)
    distances = np.repeat((rng.random((400, 1)) < 0.3).astype(float), 16, axis=1)  # all joints of a person alike
    low, high = pckh_intervals(distances)["Avg."]
    assert high - low == pytest.approx(2 * 1.96 * 100 * math.sqrt(0.3 * 0.7 / 400), rel=0.12)


def test_intervals_come_out_the_same_for_the_same_seed():
    distances = normalised_distances(*people(30))
    assert pckh_intervals(distances, repeats=50) == pckh_intervals(distances, repeats=50)
    assert pckh_intervals(distances, repeats=50) != pckh_intervals(distances, repeats=50, seed=1)


def test_paired_interval_is_the_difference_of_the_scores():
    truth, found = people(80)
    distances, baseline = (normalised_distances(truth, f) for f in (found, people(80, seed=1)[1]))
    difference, low, high = paired_interval(distances, baseline)
    assert difference == pytest.approx(pckh(distances)["Avg."] - pckh(baseline)["Avg."])
    assert low < difference < high
    assert paired_interval(baseline, baseline) == (0, 0, 0)


def test_paired_interval_is_narrower_than_the_unpaired_ones():
    rng = np.random.default_rng(0)
    baseline = np.repeat(rng.random((300, 1)), 16, axis=1)
    _, low, high = paired_interval(baseline - 0.02, baseline)
    one = pckh_intervals(baseline)["Avg."]
    assert 0 <= low and high - low < 0.5 * (one[1] - one[0])


# COCO's files


def coco_truth(tmp_path):
    """A truth of one large person with 17 joints; its path and keypoints."""
    keypoints = [float(v) for k in range(17) for v in (20 + 5 * k, 30 + 7 * k, 2)]
    person = {"id": 1, "image_id": 7, "category_id": 1, "iscrowd": 0, "bbox": [10, 20, 120, 150], "area": 12000.0}
    truth = {
        "images": [{"id": 7, "file_name": "7.jpg", "height": 200, "width": 200}],
        "annotations": [person | {"keypoints": keypoints, "num_keypoints": 17}],
        "categories": [{"id": 1, "name": "person"}],
    }
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(truth))
    return path, keypoints


def coco_results(tmp_path, keypoints, **changes):
    path = tmp_path / "results.json"
    path.write_text(json.dumps([{"image_id": 7, "category_id": 1, "keypoints": keypoints, "score": 1.0} | changes]))
    return path


def changed(path, **changes):
    """The truth file with entries of its first annotation or category changed; None removes one."""
    truth = json.loads(path.read_text())
    for key, value in changes.items():
        record = truth["categories"][0] if key in ("keypoints", "sigmas", "keypoint_sigmas") else truth["annotations"][0]
        record.pop(key, None)
        record |= {} if value is None else {key: value}
    path.write_text(json.dumps(truth))
    return path


def test_coco_ap_is_full_for_the_truth_itself_and_none_far_away(tmp_path):
    path, keypoints = coco_truth(tmp_path)
    for shift, expected in ((0.0, 100.0), (90.0, 0.0)):
        scores = evaluate_coco(path, coco_results(tmp_path, [v + shift for v in keypoints]))
        assert list(scores) == ["AP", "AP50", "AP75", "APM", "APL", "AR", "AR50", "AR75", "ARM", "ARL"]
        assert scores["AP"] == pytest.approx(expected) and scores["AR"] == pytest.approx(expected)
        assert np.isnan(scores["APM"]) and scores["APL"] == pytest.approx(expected)  # the person is a large one


def test_matches_of_files_serve_intervals(tmp_path):
    path, keypoints = coco_truth(tmp_path)
    matches = match_coco(path, coco_results(tmp_path, keypoints))
    assert matches.persons.tolist() == [[1], [0], [1]] and intervals(matches, 20)["AP"] == pytest.approx((100, 100))


def recall(path, results, sigmas=None) -> float:
    return evaluate_coco(path, results, sigmas)["AR"]


def test_coco_sigmas_come_from_the_argument_the_category_or_the_names(tmp_path):
    path, keypoints = coco_truth(tmp_path)
    shift = 0.06 * math.sqrt(12000) * math.sqrt(-2 * math.log(0.88))  # OKS 0.88 where every sigma is 0.03
    results = coco_results(tmp_path, [v + shift * (n % 3 == 0) for n, v in enumerate(keypoints)])
    of_coco = recall(path, results)
    assert of_coco != 80 and recall(path, results, COCO.sigmas) == of_coco
    assert recall(path, results, [0.03] * 17) == 80
    assert recall(changed(path, sigmas=[0.03] * 17), results) == 80
    assert recall(changed(path, keypoints=list(COCO.joints)), results) == 80
    assert recall(changed(path, sigmas=None), results) == of_coco
    assert recall(changed(path, keypoint_sigmas=[0.03] * 17), results) == 80


def test_coco_sigmas_of_other_joints_come_by_name(tmp_path):
    path, keypoints = coco_truth(tmp_path)
    path = changed(path, keypoints=["r_hip", "l_hip", "nose"])
    truth = json.loads(path.read_text())
    truth["annotations"][0]["keypoints"] = keypoints[:9]
    path.write_text(json.dumps(truth))
    for joint, sigma in enumerate((0.107, 0.107, 0.026)):
        found = keypoints[:9]
        found[3 * joint] += math.sqrt(12000) * 2 * sigma * math.sqrt(-2 * math.log(0.5))  # OKS (0.5 + 1 + 1) / 3
        assert recall(path, coco_results(tmp_path, found)) == pytest.approx(70)  # 0.5 to 0.8


def test_coco_persons_of_another_category_number_are_found_by_our_results(tmp_path):
    path, keypoints = coco_truth(tmp_path)
    path.write_text(
        path.read_text().replace('"category_id": 1', '"category_id": 3').replace('{"id": 1, "name"', '{"id": 3, "name"')
    )
    assert (
        recall(path, coco_results(tmp_path, keypoints))
        == recall(path, coco_results(tmp_path, keypoints, category_id=3))
        == 100
    )
    with pytest.raises(DataError, match=r"results\.json, row 1: category_id 2 isn't 3"):
        recall(path, coco_results(tmp_path, keypoints, category_id=2))


def test_coco_results_of_a_strange_picture_are_refused_by_id(tmp_path):
    path, keypoints = coco_truth(tmp_path)
    with pytest.raises(DataError, match=r"results\.json, row 1: image_id 8 is not in .*truth\.json; evaluate"):
        evaluate_coco(path, coco_results(tmp_path, keypoints, image_id=8))


@pytest.mark.parametrize(
    "text, message",
    [
        ("[{", "not a readable JSON file"),
        ("\x00", "not a readable JSON file"),
        ("[" * 100_000, "not a readable JSON file"),
        ("[]", "no list of results inside; predict"),
        ("{}", "no list of results inside"),
        ("[3]", "row 1: no image_id"),
        ('[{"image_id": 7}]', "row 1: no category_id; write it again with image_id, category_id, keypoints, score"),
        (
            '[{"image_id": 7, "category_id": 1, "keypoints": [1, 2, 3], "score": 1}]',
            "row 1: keypoints: 3 numbers instead of 51",
        ),
        ('[{"image_id": 7, "category_id": 1, "keypoints": [NaN], "score": NaN}]', "row 1: keypoints"),
    ],
)
def test_broken_coco_results_are_refused_by_file_and_row(tmp_path, text, message):
    path, _ = coco_truth(tmp_path)
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(DataError, match=rf"results\.json(:|,) {message}"):
        evaluate_coco(path, tmp_path / "results.json")


def test_broken_coco_truth_is_refused_by_file_and_annotation(tmp_path):
    path, keypoints = coco_truth(tmp_path)
    results = coco_results(tmp_path, keypoints)
    with pytest.raises(DataError, match=r"truth\.json, annotation 1: no area"):
        evaluate_coco(changed(path, area=None), results)
    with pytest.raises(DataError, match=r"results\.json: no list 'images' .*; give a COCO annotation file"):
        evaluate_coco(results, results)
    path.write_text(path.read_text()[:-9])
    with pytest.raises(DataError, match=r"truth\.json: not a readable JSON file"):
        evaluate_coco(path, results)
    with pytest.raises(DataError, match=r"nowhere\.json: not a readable JSON file"):
        evaluate_coco(tmp_path / "nowhere.json", results)
