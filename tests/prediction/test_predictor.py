"""PosePredictor against the specification's inference, written out step by step for one picture."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from conftest import lively_network, noise_picture, person
from torch import nn

from gccpm_lib import geometry
from gccpm_lib.heatmaps import decode, peaks
from gccpm_lib.prediction.predictor import PosePredictor, normalise, person_score
from gccpm_lib.recipes import COCO_CORRECTED, COCO_MODERN, COCO_PUBLISHED, LIP_PUBLISHED, RECIPES

LIP_SMALL = replace(LIP_PUBLISHED, input_size=(64, 64))
COCO_SMALL = replace(COCO_PUBLISHED, input_size=(96, 72))
LIP_PAIRS = ((0, 5), (1, 4), (2, 3), (10, 15), (11, 14), (12, 13))


def last_maps(network, x: np.ndarray) -> np.ndarray:
    """Normalised picture (h, w, 3) -> last stage's maps (h/8, w/8, H)."""
    with torch.inference_mode():
        return network(torch.from_numpy(x.transpose(2, 0, 1)[None].astype(np.float32)))[-1][0].numpy().transpose(1, 2, 0)


def lip_maps_by_steps(network, image, base, scales) -> np.ndarray:
    """The specification's LIP inference of one picture without the flip, (H, W, 17)."""
    H, W = image.shape[:2]
    total = np.zeros((H, W, 17), np.float32)
    for s in scales:
        factor = base * s / max(H, W)
        resized = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR)
        h, w = resized.shape[:2]
        side = max(h, w)
        left, top = (side - w) // 2, (side - h) // 2
        padded = cv2.copyMakeBorder(
            resized, top, side - h - top, left, side - w - left, cv2.BORDER_CONSTANT, value=(128, 128, 128)
        )
        maps = last_maps(network, (padded.astype(np.float32) - 128) / 256)
        maps = cv2.resize(np.ascontiguousarray(maps), None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC)
        maps = maps[top : top + h, left : left + w]
        total += cv2.resize(maps, (W, H), interpolation=cv2.INTER_CUBIC)
    return total / len(scales)


def lip_by_steps(network, image, base, scales=(1.0,), flip=False) -> np.ndarray:
    maps = lip_maps_by_steps(network, image, base, scales)
    if flip:
        mirrored = lip_maps_by_steps(network, np.ascontiguousarray(image[:, ::-1]), base, scales)[:, ::-1].copy()
        for a, b in LIP_PAIRS:
            mirrored[:, :, [a, b]] = mirrored[:, :, [b, a]]
        maps = (maps + mirrored) / 2
    found = []
    for joint in range(16):
        row, column = divmod(int(maps[:, :, joint].argmax()), image.shape[1])
        found.append((column, row, maps[row, column, joint]))
    return np.array(found)[None]


@pytest.mark.parametrize("size", [(90, 50), (40, 71), (64, 64), (200, 130)])
@pytest.mark.parametrize(
    "scales, flip", [((1.0,), False), ((0.75, 1.0, 1.25), False), ((1.0,), True), ((0.75, 1.25), True)]
)
def test_lip_inference_is_the_published_one(size, scales, flip):
    network, image = lively_network(0), noise_picture(*size)
    found = PosePredictor(network, LIP_SMALL, scales, flip).predict(image)
    expected = lip_by_steps(network, image, 64, scales, flip)
    assert found.shape == (1, 16, 3) and found.dtype == np.float64
    np.testing.assert_array_equal(found[:, :, :2], expected[:, :, :2])
    np.testing.assert_allclose(found[:, :, 2], expected[:, :, 2], rtol=1e-3)


def test_lip_inference_at_the_published_size_with_everything_on():
    network, image = lively_network(0), noise_picture(310, 170)
    found = PosePredictor(network, LIP_PUBLISHED, (0.75, 1.0, 1.25), flip=True).predict(image)
    expected = lip_by_steps(network, image, 256, (0.75, 1.0, 1.25), flip=True)
    np.testing.assert_array_equal(found[:, :, :2], expected[:, :, :2])


def bright_spot(spot, height, width) -> np.ndarray:
    """A dark picture with a round spot that fades outwards."""
    rows, columns = np.mgrid[:height, :width]
    light = 255 * np.exp(-((columns - spot[0]) ** 2 + (rows - spot[1]) ** 2) / (2 * 12.0**2))
    return np.rint(np.repeat(light[:, :, None], 3, axis=2)).astype(np.uint8)


class Bright(nn.Module):
    """A network whose maps are the brightness of each 8x8 cell (joints), and of the left-out background."""

    def forward(self, x):
        cells = nn.functional.avg_pool2d(x.mean(1, keepdim=True), 8)
        return [torch.zeros_like(cells).expand(-1, 17, -1, -1), cells.expand(-1, 17, -1, -1)]


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("scales", [(1.0,), (0.75, 1.0, 1.25)])
@pytest.mark.parametrize("spot", [(60, 200), (130, 33), (97, 120)])
def test_lip_finds_a_bright_spot_where_it_is(spot, scales, flip):
    found = PosePredictor(Bright(), LIP_PUBLISHED, scales, flip).predict(bright_spot(spot, 240, 160))[0]
    assert abs(found[:, :2] - spot).max() <= 3


@pytest.mark.parametrize("spot", [(60, 200), (130, 33), (97, 120)])
def test_heatmaps_of_a_picture_lie_where_its_joints_do(spot, tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), bright_spot(spot, 240, 160))
    maps, affine = PosePredictor(Bright(), LIP_PUBLISHED, flip=True).heatmaps(
        person(np.zeros((16, 3)), path=tmp_path / "a.png")
    )
    assert maps.shape == (16, 32, 21)  # the longer side has as many cells as the input, 256 / 8
    weights = np.clip(maps[3] - maps[3].max() / 2, 0, None)
    middle = [(weights * cells).sum() / weights.sum() for cells in np.mgrid[:32, :21][::-1]]
    assert abs(geometry.apply(affine, np.array([middle]))[0] - spot).max() <= 2


@pytest.mark.parametrize("flip", [False, True])
def test_heatmaps_of_a_box_are_those_that_are_decoded(tmp_path, flip):
    cv2.imwrite(str(tmp_path / "a.png"), noise_picture(120, 150))
    predictor = PosePredictor(lively_network(0, num_heatmaps=18), replace(COCO_SMALL, decoder="argmax"), flip=flip)
    subject = person(np.zeros((17, 3)), (40, 20, 60, 70), tmp_path / "a.png")
    maps, affine = predictor.heatmaps(subject)
    np.testing.assert_allclose(geometry.apply(affine, peaks(maps)), predictor.predict_persons([subject])[0], atol=1e-9)


def test_boxes_of_a_lip_recipe_are_cut_out_and_treated_as_pictures():
    network, image = lively_network(0), noise_picture(120, 150)
    predictor = PosePredictor(network, LIP_SMALL)
    boxes = [(80, 20, 50, 90), (-10, 5.4, 60, 70), (100, 90, 400, 400)]
    found = predictor.predict(image, boxes)
    corners = [(80, 20, 130, 110), (0, 5, 50, 75), (100, 90, 150, 120)]
    for keypoints, (x1, y1, x2, y2) in zip(found, corners, strict=True):
        expected = lip_by_steps(network, image[y1:y2, x1:x2], 64)[0]
        np.testing.assert_array_equal(keypoints[:, :2], expected[:, :2] + (x1, y1))


@pytest.mark.parametrize("recipe", [LIP_SMALL, COCO_SMALL], ids=lambda r: r.name)
def test_results_come_in_the_order_of_the_boxes(recipe):
    predictor, image = PosePredictor(lively_network(0), recipe), noise_picture(120, 150)
    boxes = np.array([(10, 10, 40, 80), (60, 20, 50, 60), (5, 30, 100, 90)], float)
    found, order = predictor.predict(image, boxes), [2, 0, 1]
    again = predictor.predict(image, boxes[order])
    np.testing.assert_array_equal(again[:, :, :2], found[order][:, :, :2])
    np.testing.assert_allclose(again, found[order], rtol=1e-3)


@pytest.mark.parametrize("recipe", [LIP_SMALL, COCO_SMALL], ids=lambda r: r.name)
@pytest.mark.parametrize("boxes", [[], np.zeros((0, 4))], ids=["list", "array"])
def test_no_boxes_give_no_persons(recipe, boxes):
    found = PosePredictor(Bright(), recipe).predict(noise_picture(20, 30), boxes)
    assert found.shape == (0, recipe.skeleton.num_joints, 3)


@pytest.mark.parametrize(
    "recipe, box",
    [(r, box) for r in (LIP_SMALL, COCO_SMALL) for box in ((200, 0, 10, 10), (5, 5, 0, 0))]
    + [(LIP_SMALL, (0, -50, 30, 40))],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_a_box_outside_the_picture_is_refused(recipe, box):
    with pytest.raises(ValueError, match="no area inside a picture of 30x20"):
        PosePredictor(Bright(), recipe).predict(noise_picture(20, 30), [box])


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((20, 30), np.uint8),
        np.zeros((20, 30, 4), np.uint8),
        np.zeros((20, 30, 3), np.float32),
        np.zeros((20, 30, 3), np.uint16),
        np.zeros((1, 20, 30, 3), np.uint8),
    ],
    ids=["grey", "alpha", "float", "16 bit", "batch"],
)
def test_pictures_of_another_form_are_refused(image):
    with pytest.raises(ValueError, match=r"picture must be \(H, W, 3\) uint8 BGR"):
        PosePredictor(Bright(), LIP_SMALL).predict(image)


def test_a_very_thin_picture_is_predicted():
    assert PosePredictor(Bright(), LIP_SMALL).predict(noise_picture(300, 2)).shape == (1, 16, 3)


def coco_by_steps(network, image, box, size) -> np.ndarray:
    """The specification's COCO inference of one box, step by step."""
    (x, y, w, h), (H, W), (height, width) = box, image.shape[:2], size
    x1, y1 = max(0, x), max(0, y)
    x2, y2 = min(W - 1, x1 + max(0, w - 1)), min(H - 1, y1 + max(0, h - 1))
    w, h = x2 - x1, y2 - y1
    cx, cy = x1 + w / 2, y1 + h / 2
    if w > 0.75 * h:
        h = w / 0.75
    else:
        w = 0.75 * h
    s = width / (1.25 * w)
    affine = np.array([[s, 0, width / 2 - s * cx], [0, s, height / 2 - s * cy]])
    crop = cv2.warpAffine(image, affine, (width, height), flags=cv2.INTER_LINEAR, borderValue=(0, 0, 0))
    rgb = crop[:, :, ::-1].astype(np.float64) / 255
    maps = last_maps(network, (rgb - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225))
    found = []
    for joint in range(17):
        row, column = divmod(int(maps[:, :, joint].argmax()), maps.shape[1])
        found.append(((8 * column - affine[0, 2]) / s, (8 * row - affine[1, 2]) / s, maps[row, column, joint]))
    return np.array(found)


@pytest.mark.parametrize("size", [(96, 72), (384, 288)])
def test_coco_inference_is_the_published_one(size):
    network, image = lively_network(0), noise_picture(130, 170)
    boxes = [(20, 10, 60, 90), (-8, -20, 300, 70), (100.5, 40.25, 200, 200)]
    found = PosePredictor(network, replace(COCO_PUBLISHED, input_size=size)).predict(image, boxes)
    for keypoints, box in zip(found, boxes, strict=True):
        expected = coco_by_steps(network, image, box, size)
        np.testing.assert_allclose(keypoints[:, :2], expected[:, :2], atol=1e-6)
        np.testing.assert_allclose(keypoints[:, 2], expected[:, 2], rtol=1e-3)


def test_coco_without_boxes_takes_the_whole_picture():
    network, image = lively_network(0), noise_picture(100, 80)
    predictor = PosePredictor(network, COCO_SMALL)
    np.testing.assert_array_equal(predictor.predict(image), predictor.predict(image, [(0, 0, 80, 100)]))


class Dots(nn.Module):
    """A network whose maps say how bright the pixel is for which each cell stands: 0, 8, 16, ..."""

    def forward(self, x):
        light = x.mean(1, keepdim=True) - x.mean(1).amin()
        blurred = nn.functional.avg_pool2d(light, 17, stride=1, padding=8)
        return [blurred[:, :, ::8, ::8].expand(-1, 17, -1, -1)]


def bright_spot_found(recipe, spot, **options) -> np.ndarray:
    image = bright_spot(spot, 300, 220)
    return PosePredictor(Dots(), recipe, **options).predict(image, [(10, 10, 200, 280)])[0]


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("spot", [(60, 200), (150, 73), (97, 120)])
def test_coco_finds_a_bright_spot_with_and_without_the_mirrored_picture(spot, flip):
    for recipe, tolerance in ((COCO_PUBLISHED, 5), (COCO_CORRECTED, 4), (replace(COCO_MODERN, sigma=2.0), 1)):
        assert abs(bright_spot_found(recipe, spot, flip=flip)[:, :2] - spot).max() < tolerance


def test_coco_scales_dont_move_the_joints():
    recipe = replace(COCO_MODERN, sigma=2.0)
    spots = [(60, 200), (150, 73), (97, 120), (111, 131), (83, 97)]
    for scale in (0.75, 1.25):
        moved = [
            bright_spot_found(recipe, spot, scales=(scale,))[0, :2] - bright_spot_found(recipe, spot)[0, :2]
            for spot in spots
        ]
        assert abs(np.mean(moved, axis=0)).max() < 0.4


class Copies(nn.Module):
    """Maps of a picture's brightness in every cell, one and the same for every joint."""

    def __init__(self, count: int):
        super().__init__()
        self.count = count

    def forward(self, x):
        return [nn.functional.avg_pool2d(x.mean(1, keepdim=True), 8).repeat(1, self.count, 1, 1)]


@pytest.mark.parametrize("count", [1, 2, 128, 129, 300])
def test_any_number_of_joints_is_found_at_several_scales(count):
    """OpenCV drops the axis of a single map and takes 128 at most."""
    image, options = noise_picture(60, 80), dict(scales=(0.75, 1.0, 1.25), flip=True)
    (expected,) = PosePredictor(Copies(17), COCO_SMALL, **options).predict(image)
    joints = tuple(f"p{number}" for number in range(count))
    recipe = replace(COCO_SMALL, skeleton=replace(COCO_SMALL.skeleton, joints=joints, limbs=(), flip_pairs=(), sigmas=()))
    (found,) = PosePredictor(Copies(count), recipe, **options).predict(image)
    np.testing.assert_allclose(found, expected[:1].repeat(count, axis=0), rtol=1e-6)


def test_flipping_swaps_the_pairs():
    """A network that answers by place (its left half right joints) gives the same maps to both pictures."""

    class LeftJoints(nn.Module):
        def forward(self, x):
            maps = torch.zeros(len(x), 17, x.shape[2] // 8, x.shape[3] // 8)
            for a, b in LIP_PAIRS:
                maps[:, a, 2, 1], maps[:, b, 2, -2] = 1, 1
            return [maps]

    image = noise_picture(64, 64)
    found = PosePredictor(LeftJoints(), LIP_SMALL, flip=True).predict(image)[0]
    np.testing.assert_allclose(found, PosePredictor(LeftJoints(), LIP_SMALL).predict(image)[0], atol=1)


def test_person_score_is_the_mean_of_the_peaks_above_a_fifth():
    def keypoints(*scores):
        return np.array([(0, 0, score) for score in scores])

    assert person_score(keypoints(0.9, 0.5, 0.2, 0.1)) == pytest.approx(0.7)
    assert person_score(keypoints(0.2, 0.1)) == pytest.approx(0.15)


@pytest.mark.parametrize("recipe", [LIP_SMALL, COCO_SMALL], ids=lambda r: r.name)
def test_many_persons_are_predicted_as_one_by_one(recipe, tmp_path):
    predictor, persons, expected = PosePredictor(lively_network(0), recipe), [], []
    for number in range(5):
        image = noise_picture(60 + 10 * (number % 2), 50, seed=number)  # two sizes: batches are of one or of two
        path, box = tmp_path / f"{number}.png", (2, 3, 40, 50) if recipe.crop == "box" else None
        cv2.imwrite(str(path), image)
        persons.append(person(np.zeros((recipe.skeleton.num_joints, 3)), box, path))
        expected.append(predictor.predict(image, [box] if box else None)[0])
    for batch_size in (1, 2, 16):
        found = predictor.predict_persons(persons, batch_size)
        np.testing.assert_array_equal(found[:, :, :2], np.array(expected)[:, :, :2])
        np.testing.assert_allclose(found, expected, rtol=1e-3)
    assert predictor.predict_persons([]).shape == (0, recipe.skeleton.num_joints, 3)


MANY_BOXES = [[(2, 3, 40, 50), (10, 20, 30, 30)], [], None, [(5, 5, 45, 55)] * 20]


@pytest.mark.parametrize("boxes", [None, MANY_BOXES], ids=["whole", "boxes"])
@pytest.mark.parametrize("recipe", [LIP_SMALL, COCO_SMALL], ids=lambda r: r.name)
def test_many_pictures_are_predicted_as_one_by_one(recipe, boxes):
    predictor = PosePredictor(lively_network(0), recipe, flip=True)
    images = [noise_picture(60 + 10 * (number % 2), 50, seed=number) for number in range(4)]
    found = predictor.predict_many(images, boxes)
    for image, own, keypoints in zip(images, boxes or [None] * 4, found, strict=True):
        expected = predictor.predict(image, own)
        assert keypoints.shape == expected.shape
        np.testing.assert_array_equal(keypoints[:, :, :2], expected[:, :, :2])
        np.testing.assert_allclose(keypoints, expected, rtol=1e-3)
    assert predictor.predict_many([]) == []


class Counting(Bright):
    """Remembers how many pictures came in each batch."""

    def __init__(self):
        super().__init__()
        self.batches = []

    def forward(self, x):
        self.batches.append(len(x))
        return super().forward(x)


@pytest.mark.parametrize("recipe", [LIP_SMALL, COCO_SMALL], ids=lambda r: r.name)
def test_persons_of_many_pictures_share_batches(recipe):
    network = Counting()
    PosePredictor(network, recipe).predict_many([np.zeros((50, 40, 3), np.uint8)] * 18)
    assert network.batches == [16, 2]


@pytest.mark.parametrize("recipe", [LIP_SMALL, COCO_SMALL], ids=lambda r: r.name)
def test_boxes_of_one_picture_are_one_batch(recipe):
    network = Counting()
    PosePredictor(network, recipe).predict(np.zeros((50, 40, 3), np.uint8), [(0, 0, 20, 20), (5, 5, 30, 40)])
    assert network.batches == [2]


@pytest.mark.parametrize("recipe", [LIP_SMALL, COCO_SMALL], ids=lambda r: r.name)
def test_many_pictures_refuse_what_one_does(recipe):
    predictor = PosePredictor(Bright(), recipe)
    with pytest.raises(ValueError, match="no area inside a picture of 30x20"):
        predictor.predict_many([noise_picture(20, 30)], [[(200, 0, 10, 10)]])
    with pytest.raises(ValueError, match=r"picture must be \(H, W, 3\) uint8 BGR"):
        predictor.predict_many([noise_picture(20, 30), np.zeros((20, 30), np.uint8)])


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_pixels_are_normalised_as_published(recipe):
    picture = noise_picture(12, 10)
    x = normalise(torch.from_numpy(picture)[None], recipe)[0].permute(1, 2, 0).double().numpy()
    if recipe.channels == "bgr":
        expected = (picture.astype(float) - 128) / 256
    else:
        expected = (picture[:, :, ::-1] / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    np.testing.assert_allclose(x, expected, atol=1e-6)


def test_channels_are_shuffled_after_the_normalisation_per_picture():
    pictures = torch.from_numpy(np.stack([noise_picture(8, 8, seed) for seed in range(3)]))
    orders = torch.tensor([(0, 1, 2), (2, 0, 1), (0, 2, 2)])
    x, shuffled = (normalise(pictures, COCO_PUBLISHED, o) for o in (None, orders))
    for n, order in enumerate(orders.tolist()):
        for channel, source in enumerate(order):
            assert torch.equal(shuffled[n, channel], x[n, source])


def test_the_predictor_puts_the_network_into_evaluation_and_returns_decoded_cells():
    network = lively_network(0).train()
    image = noise_picture(96, 72)
    found = PosePredictor(network, COCO_SMALL).predict(image, [(0, 0, 72, 96)])[0]
    assert not network.training
    affine = geometry.box_to_affine((0, 0, 72, 96), (96, 72), (96, 72))
    cells = geometry.apply(affine, found)[:, :2] / 8
    np.testing.assert_allclose(cells, np.rint(cells), atol=1e-9)
    assert decode(np.ones((1, 2, 2)))[0].tolist() == [0, 0, 1]
