"""COCO scores against pycocotools on random data, also with images counted several times; curves and matching by hand."""

import contextlib
import copy
import io
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gccpm_lib.datasets.records import DataError
from gccpm_lib.evaluation.average_precision import (
    COCO_SCORES,
    intervals,
    match,
    match_persons,
    paired_interval,
    person_oks,
    precision_curves,
    scores,
)
from gccpm_lib.skeletons import COCO

few = settings(max_examples=25, deadline=None)
PERSON = {"id": 1, "name": "person"}


def pycocotools_stats(truth, results, sigmas=None) -> list[float]:
    """The ten numbers of pycocotools itself, 0 to 1 or -1."""
    from pycocotools.coco import COCO as CocoFile
    from pycocotools.cocoeval import COCOeval

    file = CocoFile()
    file.dataset = copy.deepcopy(truth)
    with contextlib.redirect_stdout(io.StringIO()):
        file.createIndex()
        evaluation = COCOeval(file, file.loadRes(copy.deepcopy(results)), "keypoints")
        if sigmas is not None:
            evaluation.params.kpt_oks_sigmas = np.array(sigmas)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats.tolist()


def percent(stats) -> dict[str, float]:
    return {name: 100 * v if v >= 0 else math.nan for name, v in zip(COCO_SCORES, stats, strict=True)}


def random_content(seed, num_images=12, sigmas=COCO.sigmas, decimals=9, bbox=False) -> tuple[dict, list[dict]]:
    """Truth and results: crowds, persons without joints, all sizes, good, bad and surplus detections."""
    rng, K = np.random.default_rng(seed), len(sigmas)
    annotations, results = [], []
    image_ids = rng.permutation(np.arange(1, 3 * num_images))[:num_images].tolist()
    for image_id in image_ids:
        for _ in range(rng.integers(0, 4)):
            area = float(rng.choice([500, 2000, 9000, 20000, 40000]) * rng.uniform(0.7, 1.3))
            points = np.column_stack([rng.uniform(0, 400, (K, 2)), rng.integers(0, 3, K)])
            points[:, 2] *= rng.random() > 0.1
            labelled, crowd = int((points[:, 2] > 0).sum()), int(rng.random() < 0.1)
            row = {"id": len(annotations) + 1, "image_id": image_id, "category_id": 1, "area": area, "iscrowd": crowd}
            row |= {"keypoints": points.ravel().tolist(), "num_keypoints": labelled, "bbox": [50.0, 60.0, 300.0, 200.0]}
            annotations.append(row)
            for _ in range(rng.integers(0, 3)):
                spread = np.sqrt(area) * 2 * np.array(sigmas)[:, None] * rng.choice([0.2, 0.7, 2])
                found = points.copy()
                found[:, :2] += rng.normal(0, 1, (K, 2)) * spread
                row = {"image_id": image_id, "category_id": 1, "keypoints": found.ravel().tolist()}
                row["score"] = round(float(rng.random()), decimals)
                results.append(row | ({"bbox": [0, 0, *rng.uniform(20, 200, 2).tolist()]} if bbox else {}))
    images = [{"id": image_id} for image_id in image_ids]
    return {"images": images, "annotations": annotations, "categories": [PERSON]}, results


def one_joint_content(persons, detections, area=10000.0) -> tuple[dict, list[dict]]:
    """Persons (image, x) and detections (image, x, score) of a single joint with sigma 0.05: OKS 0.5 at 11.8 pixels."""
    annotations = [
        {"id": n + 1, "image_id": i, "category_id": 1, "keypoints": [x, 0, 2], "area": area, "bbox": [0, 0, 9, 9]}
        for n, (i, x) in enumerate(persons)
    ]
    results = [{"image_id": i, "category_id": 1, "keypoints": [x, 0, 1], "score": s} for i, x, s in detections]
    images = [{"id": i} for i in sorted({i for i, *_ in [*persons, *detections]})]
    return {"images": images, "annotations": annotations, "categories": [PERSON]}, results


def one_joint_matches(persons, detections, **more):
    return match(*one_joint_content(persons, detections, **more), sigmas=[0.05])


# the scores are pycocotools' own


@few
@given(st.integers(0, 10**6), st.sampled_from([1, 9]), st.booleans())
def test_scores_are_those_of_pycocotools(seed, decimals, bbox):
    truth, results = random_content(seed, decimals=decimals, bbox=bbox)  # one decimal: many equal scores
    if results:
        assert scores(match(truth, results)) == pytest.approx(
            percent(pycocotools_stats(truth, results)), abs=1e-9, nan_ok=True
        )


@few
@given(st.integers(0, 10**6), st.integers(1, 30))
def test_scores_are_those_of_pycocotools_for_any_number_of_joints(seed, num_joints):
    sigmas = np.random.default_rng(seed).uniform(0.02, 0.12, num_joints).tolist()
    truth, results = random_content(seed, sigmas=sigmas)
    if results:
        expected = percent(pycocotools_stats(truth, results, sigmas))
        assert scores(match(truth, results, sigmas)) == pytest.approx(expected, abs=1e-9, nan_ok=True)


def test_random_content_is_worth_comparing():
    values = scores(match(*random_content(0, num_images=40)))
    assert 5 < values["AP75"] < values["AP50"] < 95 and 5 < values["APM"] != values["APL"] > 5


@few
@given(st.integers(0, 10**6))
def test_weights_count_an_image_as_often_as_copies_of_it(seed):
    truth, results = random_content(seed)
    weights = np.random.default_rng(seed).integers(0, 4, len(truth["images"]))
    matches = match(truth, results)
    times = dict(zip(matches.image_ids.tolist(), weights.tolist(), strict=True))

    def copies(rows, key):  # copies of an image have neighbouring ids, so that equal scores stay together
        return [row | {key: 100 * row[key] + n} for row in rows for n in range(times[row[key]])]

    many = {"images": copies(truth["images"], "id"), "categories": [PERSON]}
    many["annotations"] = [a | {"id": n} for n, a in enumerate(copies(truth["annotations"], "image_id"), 1)]
    many_results = copies(results, "image_id")
    if many_results:
        expected = percent(pycocotools_stats(many, many_results))
        assert scores(matches, weights) == pytest.approx(expected, abs=1e-9, nan_ok=True)


def test_truth_and_results_stay_as_they_were():
    truth, results = random_content(3)
    before = copy.deepcopy((truth, results))
    match(truth, results)
    assert (truth, results) == before


def test_a_size_without_persons_is_nan():
    values = scores(one_joint_matches([(1, 50)], [(1, 50, 0.9)], area=5000.0))
    assert values["APM"] == values["AP"] == pytest.approx(100) and math.isnan(values["APL"]) and math.isnan(values["ARL"])


def test_twenty_detections_of_an_image_count_and_no_more():
    wrong = [(1, 5000 + n, 0.9) for n in range(20)]
    assert scores(one_joint_matches([(1, 50)], [*wrong[1:], (1, 50, 0.1)]))["AR"] == 100
    assert scores(one_joint_matches([(1, 50)], [*wrong, (1, 50, 0.1)]))["AR"] == 0


def test_missing_entries_get_their_defaults():
    truth, results = random_content(5)
    expected = percent(pycocotools_stats(truth, results))
    bare = copy.deepcopy(truth)
    for annotation in bare["annotations"]:
        del annotation["num_keypoints"]
        if not annotation["iscrowd"]:
            del annotation["iscrowd"]
    assert scores(match(bare, results)) == pytest.approx(expected, abs=1e-9, nan_ok=True)


def test_a_person_without_keypoints_and_a_crowd_count_neither_way():
    truth, results = one_joint_content([(1, 50), (1, 900), (1, 2000)], [(1, 50, 0.5), (1, 900, 0.9), (1, 4, 0.8)])
    truth["annotations"][1]["iscrowd"] = 1
    truth["annotations"][2] |= {"keypoints": [0, 0, 0], "bbox": [0, 0, 9, 9]}  # its box takes in the third detection
    assert scores(match(truth, results, [0.05]))["AP"] == pytest.approx(100)


def test_a_person_of_id_0_is_a_person():
    truth, results = one_joint_content([(1, 50)], [(1, 50, 0.5)])
    truth["annotations"][0]["id"] = 0
    assert scores(match(truth, results, [0.05]))["AP"] == pytest.approx(100)


def test_annotations_of_other_categories_are_left_out():
    truth, results = one_joint_content([(1, 50)], [(1, 50, 0.5)])
    truth["categories"] = [{"id": 7, "name": "dog"}, PERSON]
    truth["annotations"].append({"id": 2, "image_id": 1, "category_id": 7})
    assert scores(match(truth, results, [0.05]))["AP"] == pytest.approx(100)


def test_rows_of_matches_lead_back_to_the_results():
    truth, results = random_content(8)
    matches = match(truth, results)
    assert sorted(matches.rows.tolist()) == list(range(len(results))) and (np.diff(matches.scores) <= 0).all()
    for image, row, score in zip(matches.images, matches.rows, matches.scores, strict=True):
        assert results[row]["image_id"] == matches.image_ids[image] and results[row]["score"] == score


# what is wrong is named


def damaged(truth=None, result=None, category=None):
    """One person and one detection with these entries changed; None as a value removes the entry."""
    content, results = one_joint_content([(4, 50)], [(4, 50, 0.9)])
    for record, changes in (
        (content["annotations"][0], truth),
        (results[0], result),
        (content["categories"][0], category),
    ):
        record.update(changes or {})
    content["annotations"] = [{k: v for k, v in content["annotations"][0].items() if v is not None}]
    return content, [{k: v for k, v in results[0].items() if v is not None}]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"truth": {"area": None}}, r"truth, annotation 1: no area.*; add it"),
        ({"truth": {"area": "big"}}, r"truth, annotation 1: area: not a flat list of numbers"),
        ({"truth": {"keypoints": None, "bbox": None}}, r"truth, annotation 1: no bbox"),
        ({"truth": {"area": 0}}, r"truth: the areas of all 1 labelled persons are 0, so nothing can be scored; add them"),
        ({"truth": {"keypoints": [1, 2, 2] * 2}}, r"annotation 1: keypoints: 6 numbers instead of 3"),
        ({"truth": {"keypoints": [1, 2, math.nan]}}, r"annotation 1: keypoints: nan or infinity"),
        ({"truth": {"keypoints": [0, 0, 0], "bbox": None}}, r"annotation 1: no bbox"),
        ({"result": {"score": None}}, r"results, row 1: no score"),
        ({"result": {"score": math.inf}}, r"results, row 1: score: nan or infinity"),
        ({"result": {"score": "0.9"}}, r"results, row 1: score: not a flat list of numbers"),
        ({"result": {"keypoints": [1, 2]}}, r"results, row 1: keypoints: 2 numbers instead of 3"),
        ({"result": {"keypoints": [[1, 2], [1]]}}, r"results, row 1: keypoints: not a flat list"),
        ({"result": {"keypoints": [math.nan, 2, 1]}}, r"results, row 1: keypoints: nan or infinity"),
        ({"result": {"image_id": 5}}, r"results, row 1: image_id 5 is not in truth; evaluate"),
        ({"result": {"image_id": [4]}}, r"results, row 1: image_id \[4\] is not in truth"),
        ({"result": {"category_id": 2}}, r"results, row 1: category_id 2 isn't 1"),
    ],
)
def test_what_is_wrong_is_named(changes, message):
    with pytest.raises(DataError, match=message):
        match(*damaged(**changes), sigmas=[0.05])


def test_rows_are_matched_by_file_name_whatever_their_numbers():
    """Perfect poses whose image ids were counted anew score fully; by their ids alone each is another picture's."""
    truth, results = one_joint_content([(1, 50), (2, 90), (3, 10)], [(3, 50, 0.9), (1, 90, 0.9), (2, 10, 0.9)])
    assert scores(match(truth, results, [0.05]))["AR"] == 0
    names = {1: "a.jpg", 2: "folder/b.jpg", 3: "c.jpg"}
    truth["images"] = [{**image, "file_name": names[image["id"]]} for image in truth["images"]]
    named = [{**row, "file_name": name} for row, name in zip(results, ("a.jpg", "b.jpg", "c.jpg"), strict=True)]
    assert scores(match(truth, named, [0.05]))["AR"] == 100
    without = [{key: value for key, value in row.items() if key != "image_id"} for row in named]
    assert scores(match(truth, without, [0.05]))["AR"] == 100
    with pytest.raises(
        DataError, match=r"row 1: file_name 'A.jpg' \('a.jpg' is there: it differs in case\) is not in truth"
    ):
        match(truth, [{**named[0], "file_name": "A.jpg"}], [0.05])


def test_of_pictures_of_one_name_the_number_or_the_folder_decides():
    truth, results = one_joint_content([(1, 50), (2, 90)], [(2, 90, 0.9)])
    truth["images"] = [{**image, "file_name": f"{image['id']}/a.jpg"} for image in truth["images"]]
    (row,) = results
    for said in ({**row, "file_name": "a.jpg"}, {**row, "image_id": "x", "file_name": "2/a.jpg"}):
        assert scores(match(truth, [said], [0.05]))["AR"] == 50
    with pytest.raises(DataError, match=r"row 1: file_name 'a\.jpg', which several images have, is not in truth"):
        match(truth, [{**row, "image_id": "x", "file_name": "a.jpg"}], [0.05])


def test_joints_are_counted_by_their_labels():
    truth, results = one_joint_content([(1, 50), (2, 90)], [(1, 50, 0.9)])
    expected = scores(match(truth, results, [0.05]))
    assert expected["AR"] == 50
    truth["annotations"] = [{**a, "num_keypoints": n} for a, n in zip(truth["annotations"], (0, 3), strict=True)]
    assert scores(match(truth, results, [0.05])) == pytest.approx(expected, nan_ok=True)
    for empty in ([], None, [0, 0, 0]):
        truth["annotations"][1]["keypoints"] = empty
        assert scores(match(truth, results, [0.05]))["AR"] == 100


def test_a_later_row_is_named_by_its_number():
    truth, results = one_joint_content([(1, 50)], [(1, 50, 0.9), (1, 60, 0.8)])
    del results[1]["score"]
    with pytest.raises(DataError, match=r"found\.json, row 2: no score"):
        match(truth, results, [0.05], names=("truth.json", "found.json"))
    results[0]["bbox"] = [0, 0, 1, 1]
    results[1]["score"] = 0.5
    with pytest.raises(DataError, match="row 2: no bbox"):
        match(truth, results, [0.05])


@pytest.mark.parametrize("sigmas", [[], [0.0], [-0.1], ["a"]])
def test_sigmas_must_be_positive_numbers(sigmas):
    with pytest.raises(DataError, match="sigmas"):
        match(*one_joint_content([(1, 50)], [(1, 50, 0.9)]), sigmas=sigmas)


@pytest.mark.parametrize("truth", [[], {}, {"images": [], "annotations": 3}, {"images": [{}]}])
def test_what_isnt_a_coco_file_is_refused(truth):
    with pytest.raises(DataError, match="COCO annotation file"):
        match(truth, [{}])


def test_categories_must_have_one_person():
    truth, results = one_joint_content([(1, 50)], [(1, 50, 0.9)])
    truth["categories"] = [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]
    with pytest.raises(DataError, match="2 categories could"):
        match(truth, results, [0.05])
    truth["categories"] = []
    with pytest.raises(DataError, match="0 categories could"):
        match(truth, results, [0.05])


# intervals


def half_found(count=400, share=0.3, seed=0):
    """One person an image; a share of them is found exactly, the others have no detection near."""
    hits = np.random.default_rng(seed).random(count) < share
    return one_joint_matches([(n, 50) for n in range(count)], [(n, 50 if hit else 9000, 0.9) for n, hit in enumerate(hits)])


def test_intervals_draw_images_and_have_the_binomial_width():
    low, high = intervals(half_found(), repeats=400)["AR50"]
    assert high - low == pytest.approx(2 * 1.96 * 100 * math.sqrt(0.3 * 0.7 / 400), rel=0.15)


def test_persons_of_one_image_are_drawn_together():
    """Twice the persons in the same images don't make the interval narrower."""
    persons = [(n, x) for n in range(200) for x in (50, 500)]
    detections = [(n, x if n % 2 else 9000, 0.9) for n, x in persons]
    low, high = intervals(one_joint_matches(persons, detections), repeats=400)["AR"]
    assert high - low == pytest.approx(2 * 1.96 * 100 * math.sqrt(0.25 / 200), rel=0.15)


def test_intervals_contain_the_scores_and_narrow_with_the_level():
    matches = match(*random_content(1, num_images=60))
    values, wide, narrow = scores(matches), intervals(matches, 200), intervals(matches, 200, level=0.5)
    assert list(wide) == list(COCO_SCORES)
    for name in COCO_SCORES:
        assert wide[name][0] <= narrow[name][0] < narrow[name][1] <= wide[name][1]
        assert wide[name][0] < values[name] < wide[name][1]


def test_intervals_come_out_the_same_for_the_same_seed():
    matches = match(*random_content(2))
    assert intervals(matches, 50) == intervals(matches, 50) != intervals(matches, 50, seed=1)


def test_draws_without_a_person_of_a_size_are_left_out():
    truth, results = one_joint_content([(1, 50), (2, 50)], [(1, 50, 0.9), (2, 50, 0.8)])
    truth["annotations"][1]["area"] = 2000.0  # image 1 has the only large person, image 2 the only medium one
    drawn = intervals(match(truth, results, [0.05]), repeats=40)
    assert drawn["APL"] == drawn["APM"] == pytest.approx((100, 100))
    truth["annotations"][1]["area"] = 10000.0
    assert all(math.isnan(v) for v in intervals(match(truth, results, [0.05]), repeats=40)["APM"])


def test_paired_interval_is_the_difference_of_the_scores():
    truth, results = random_content(4, num_images=25)
    worse = [row | {"keypoints": [v + 8 for v in row["keypoints"]]} for row in results]
    matches, baseline = match(truth, results), match(truth, worse)
    for name in ("AP", "ARL"):
        difference, low, high = paired_interval(matches, baseline, name, repeats=100)
        assert difference == pytest.approx(scores(matches)[name] - scores(baseline)[name]) and low < difference < high
    assert paired_interval(matches, matches, repeats=20) == (0, 0, 0)
    separate = intervals(matches, 200)["AP"]
    _, low, high = paired_interval(matches, baseline, repeats=200)
    assert high - low < separate[1] - separate[0]


def test_paired_interval_needs_the_same_images():
    with pytest.raises(ValueError, match="same images"):
        paired_interval(half_found(3), half_found(4))


# curves


def test_precision_curve_by_hand():
    matches = one_joint_matches([(1, 50), (2, 50)], [(1, 50, 0.9), (2, 900, 0.8), (2, 50, 0.7)])
    recalls, curves = precision_curves(matches)
    assert recalls.shape == (101,) and list(curves) == [0.5, 0.75, 0.9]
    for curve in curves.values():  # right, wrong, right: 1 of 1 up to recall 0.5, then 2 of 3
        np.testing.assert_allclose(curve, np.where(recalls <= 0.5, 100, 200 / 3), rtol=1e-12)


def test_precision_curve_is_0_beyond_the_final_recall_and_knows_the_threshold():
    distance = 100 * 0.1 * math.sqrt(-2 * math.log(0.8))  # OKS 0.8: found at 0.75, not at 0.9
    matches = one_joint_matches([(1, 50), (2, 50)], [(1, 50, 0.9), (2, 50 + distance, 0.8)])
    recalls, curves = precision_curves(matches)
    np.testing.assert_allclose(curves[0.75], 100)
    np.testing.assert_allclose(curves[0.9], np.where(recalls <= 0.5, 100, 0))


def test_curves_average_to_the_scores():
    matches = match(*random_content(6, num_images=30))
    _, curves = precision_curves(matches, (0.5, 0.75))
    assert curves[0.5].mean() == pytest.approx(scores(matches)["AP50"])
    assert curves[0.75].mean() == pytest.approx(scores(matches)["AP75"])
    with pytest.raises(ValueError, match=r"threshold 0\.52"):
        precision_curves(matches, (0.52,))


# similarity and matching of detector's boxes


def test_oks_by_hand():
    truth = np.zeros((4, 2, 3))
    truth[:, :, 2] = [[2, 1], [2, 0], [0, 0], [2, 2]]
    found = np.zeros((4, 2, 2))
    areas, sigmas = np.array([100.0, 400.0, 100.0, 100.0]), [0.05, 0.1]
    found[0, 1, 0] = 10 * 0.2 * math.sqrt(2 * math.log(2))  # similarity 1/2 of the second joint
    found[1] = [[4, 0], [999, 999]]  # d^2 = 16 against 2 * 400 * 0.01; the second joint isn't labelled
    found[3, 0] = np.nan  # counts as infinitely far
    oks = person_oks(truth, found, areas, sigmas)
    np.testing.assert_allclose(oks, [0.75, math.exp(-2), np.nan, 0.5], rtol=1e-12)


def test_oks_is_that_of_pycocotools():
    from pycocotools.coco import COCO as CocoFile
    from pycocotools.cocoeval import COCOeval

    truth, results = random_content(7, num_images=6)
    file = CocoFile()
    file.dataset = truth
    with contextlib.redirect_stdout(io.StringIO()):
        file.createIndex()
        evaluation = COCOeval(file, file.loadRes(copy.deepcopy(results)), "keypoints")
        evaluation.evaluate()
    compared = 0
    for image in truth["images"]:
        labelled = [a for a in truth["annotations"] if a["image_id"] == image["id"]]
        guesses = sorted((r for r in results if r["image_id"] == image["id"]), key=lambda row: -row["score"])
        for i, guess in enumerate(guesses):
            for j, label in enumerate(labelled):
                if label["num_keypoints"]:
                    points = [np.reshape(row["keypoints"], (1, 17, 3)) for row in (label, guess)]
                    expected = evaluation.ious[image["id"], 1][i, j]
                    assert person_oks(*points, [label["area"]], COCO.sigmas)[0] == pytest.approx(expected, rel=1e-9)
                    compared += 1
    assert compared


def matched(truth_x, found_x, found_scores, truth_images=None, found_images=None) -> list[int]:
    """Single joints on a line, sigma 0.05 and area 10000: OKS 0.1 at 21.5 pixels."""
    truth = np.array([[[x, 0, 2]] for x in truth_x], float)
    found = np.array([[[x, 0]] for x in found_x], float).reshape(-1, 1, 2)
    images = [1] * len(truth_x) if truth_images is None else truth_images
    found_images = [1] * len(found_x) if found_images is None else found_images
    return match_persons(truth, [10000.0] * len(truth), images, found, found_images, found_scores, [0.05]).tolist()


def test_the_higher_score_chooses_first():
    assert matched([0, 10], [4, 1], [0.9, 0.5]) == [0, 1]
    assert matched([0, 10], [6, 9], [0.9, 0.5]) == [1, 0]  # the second is closer to 10, but comes later
    assert matched([0, 10], [6, 9], [0.5, 0.9]) == [0, 1]


def test_a_person_is_found_once_and_only_near_by():
    assert matched([0], [1, 0], [0.9, 0.5]) == [0]
    assert matched([0, 500], [21], [0.5]) == [0, -1]
    assert matched([0], [22], [0.5]) == [-1]
    assert matched([0, 1], [], []) == [-1, -1]


def test_predictions_stay_in_their_image():
    assert matched([0, 0], [0, 0], [0.5, 0.6], truth_images=[7, 8], found_images=[8, 9]) == [-1, 0]


def test_a_person_without_labels_is_never_found():
    truth = np.zeros((2, 1, 3))
    truth[1, 0, 2] = 2
    assert match_persons(truth, [9.0, 9.0], [1, 1], np.zeros((2, 1, 2)), [1, 1], [1, 1], [0.05]).tolist() == [-1, 0]


@few
@given(st.integers(0, 10**6))
def test_matching_is_the_rule_written_as_loops(seed):
    rng = np.random.default_rng(seed)
    truth_x, found_x = rng.uniform(0, 150, 8), rng.uniform(0, 150, 9)
    images, found_images, order = rng.integers(0, 3, 8), rng.integers(0, 3, 9), rng.permutation(9)
    expected = [-1] * 8
    for f in sorted(range(9), key=lambda f: -order[f]):
        free = [n for n in range(8) if images[n] == found_images[f] and expected[n] < 0]
        best = min(free, key=lambda n: abs(truth_x[n] - found_x[f]), default=None)
        if best is not None and math.exp(-((truth_x[best] - found_x[f]) ** 2) / 200) >= 0.1:
            expected[best] = f
    assert matched(truth_x, found_x, order.astype(float), images, found_images) == expected
