"""PosePredictor: pictures (and boxes) -> keypoints in picture pixels.

    predictor = PosePredictor(load_network("checkpoint.pt"), LIP_CORRECTED, scales=(0.75, 1.0, 1.25), flip=True)
    keypoints = predictor.predict(cv2.imread("person.jpg"))  # (1, 16, 3): x, y, score

Coordinates are x right, y down, pixel centres at integers; pictures are (H, W, 3) uint8 BGR.
"""

import functools
from collections.abc import Callable, Iterable, Sequence

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from gccpm_lib import geometry
from gccpm_lib.datasets.records import Person, read_person_image
from gccpm_lib.devices import autocast, choose
from gccpm_lib.heatmaps import decode
from gccpm_lib.prediction.peak_search import Term, enlarged_mean, fast_peaks, limited, published_peaks
from gccpm_lib.prediction.pictures import in_batches, read_pictures
from gccpm_lib.progress import tqdm
from gccpm_lib.recipes import STRIDE, Recipe
from gccpm_lib.skeletons import UNSURE

SHARED_BATCH = 16  # persons of several pictures at most in one batch
MOST_CHANNELS = 128  # that cv2.warpAffine takes


def normalise(pictures: Tensor, recipe: Recipe, orders: Tensor | None = None) -> Tensor:
    """Pictures (N, H, W, 3) uint8 BGR -> (N, 3, H, W) float32 as the recipe's network takes it, channels last.

    orders (N, 3), if given, takes each picture's channels in that order after the normalisation (channel shuffle).
    """
    x = pictures.flip(3) if recipe.channels == "rgb" else pictures
    x = (x.float() - on_device(recipe.mean, x.device)) / on_device(recipe.std, x.device)
    if orders is not None:
        x = x.gather(3, orders[:, None, None, :].expand_as(x))
    return x.permute(0, 3, 1, 2)


@functools.lru_cache(maxsize=64)
def on_device(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Constants of a recipe, brought to a device once: to bring them anew for every batch would wait for it."""
    with torch.inference_mode(False):  # so that a training may use them too
        return torch.tensor(values, device=device)


def person_crops(persons: Sequence[Person], recipe: Recipe, size: tuple[int, int] | None = None) -> np.ndarray:
    """Persons -> crops (N, H, W, 3) uint8 BGR of the recipe's size, or another, as it cuts them without augmentation."""
    size, crops = size or recipe.input_size, []
    for person in persons:
        image = read_person_image(person)
        if recipe.crop == "box":
            affine = geometry.box_to_affine(person.box, image.shape[:2], size)
        else:
            affine = geometry.letterbox_to_affine(image.shape[:2], size)
        crops.append(geometry.warp(image, affine, size, recipe.padding))
    return np.stack(crops)


class PosePredictor:
    """Network and recipe, ready to predict.

    scales: input sizes relative to the recipe's, their maps are averaged; (0.75, 1.0, 1.25) is the published multi-scale.
    flip: average with the mirrored picture's maps. device: "cpu", "cuda", "mps" or "auto", to which the network is moved.
    precision: of a PyTorch network, see `devices.autocast`.
    stage: whose maps are read, 0 the initial stage, -1 the last. network: the PyTorch network, or an exported one
    (engines.py). peak_search "published": LIP's maps are enlarged as published, to the same peaks (peak_search.py).
    """

    def __init__(
        self,
        network: nn.Module | Callable,
        recipe: Recipe,
        scales=(1.0,),
        flip: bool = False,
        device="auto",
        stage: int = -1,
        peak_search: str = "fast",
        precision: str = "float32",
    ):
        if peak_search not in ("fast", "published"):
            raise ValueError(f"peak_search {peak_search!r} is not known; known: 'fast', 'published'")
        if isinstance(network, nn.Module):
            device = choose(device)
            network = network.to(device, memory_format=torch.channels_last).eval()
        self.network, self.recipe, self.scales, self.flip = network, recipe, tuple(scales), flip
        self.device, self.stage, self.peak_search, self.precision = device, stage, peak_search, precision

    def predict(self, image: np.ndarray, boxes: Sequence | None = None) -> np.ndarray:
        """Picture and boxes (N, 4) x, y, w, h -> (N, K, 3) float64: x, y in picture pixels, score (the joint's peak).

        boxes None: the whole picture is one person. With a LIP recipe each box is cut out and treated as a picture.
        Raises ValueError for a picture of another form and for a box without area inside the picture.
        """
        return self.predict_many([image], [boxes])[0]

    def predict_many(
        self, images: Sequence[np.ndarray], boxes: Sequence[Sequence | None] | None = None
    ) -> list[np.ndarray]:
        """Pictures and each one's boxes -> each one's keypoints (N, K, 3), the same that `predict` gives.

        Persons of all pictures share batches of at most 16, so that many pictures take less time than one by one.
        """
        boxes = [None] * len(images) if boxes is None else boxes
        for image in images:
            _check_picture(image)
        wholes = [[(0, 0, image.shape[1], image.shape[0])] for image in images]
        chosen = [whole if own is None else own for whole, own in zip(wholes, boxes, strict=True)]
        persons = [(image, box) for image, own in zip(images, chosen, strict=True) for box in own]
        found = [self._predict_crops(persons[i : i + SHARED_BATCH]) for i in range(0, len(persons), SHARED_BATCH)]
        together = np.concatenate([np.zeros((0, self.recipe.skeleton.num_joints, 3)), *found])
        return np.split(together, np.cumsum([len(own) for own in chosen], dtype=int))[:-1]

    def _predict_crops(self, persons: list[tuple[np.ndarray, Sequence]]) -> np.ndarray:
        if self.recipe.crop == "box":
            return self._predict_boxes(persons)
        corners = [_pixels_of(box, image) for image, box in persons]
        crops = [image[y1:y2, x1:x2] for (image, _), (x1, y1, x2, y2) in zip(persons, corners, strict=True)]
        found = self._predict_pictures(crops)
        found[:, :, :2] += np.array(corners)[:, None, :2]
        return found

    def predict_persons(self, persons: Sequence[Person], batch_size: int = 16, num_workers: int = 0) -> np.ndarray:
        """Person records -> (N, K, 3) in their order; pictures are read one batch at a time, by num_workers processes."""
        found = [np.zeros((0, self.recipe.skeleton.num_joints, 3))]
        with tqdm(total=len(persons), desc="predict", unit="person", leave=False) as bar:
            for batch, images in in_batches(persons, batch_size, num_workers):
                found.append(self._predict_read(batch, images))
                bar.update(len(batch))
        return np.concatenate(found)

    def heatmaps(self, person: Person) -> tuple[np.ndarray, np.ndarray]:
        """One person -> the maps (K, h, w) float32 that its joints are read from, and the (2, 3) cell -> picture.

        Maps of a whole picture (LIP), which are as large as it, are shrunk to cells of about a stride.
        """
        if self.recipe.crop == "box":
            maps, affines = self._box_maps([(read_pictures([person])[0], person.box)])
            return maps[0], geometry.compose(np.diag([STRIDE, STRIDE, 1.0])[:2], geometry.invert(affines[0]))
        image = read_person_image(person)
        height, width = image.shape[:2]
        maps = enlarged_mean(self.picture_terms([image])[0], limited((height, width)))
        factor = max(self.recipe.input_size) / STRIDE / max(height, width)
        w, h = max(1, round(width * factor)), max(1, round(height * factor))
        small = np.stack([cv2.resize(maps[:, :, k], (w, h), interpolation=cv2.INTER_AREA) for k in range(maps.shape[2])])
        across, down = width / w, height / h
        return small, np.array([[across, 0, across / 2 - 0.5], [0, down, down / 2 - 0.5]])

    def predict_batch(self, persons: Sequence[Person]) -> np.ndarray:
        """Person records -> (N, K, 3), all in one batch."""
        return self._predict_read(persons, read_pictures(persons))

    def _predict_read(self, persons: Sequence[Person], images: list[np.ndarray]) -> np.ndarray:
        if self.recipe.crop == "box":
            return self._predict_boxes([(image, person.box) for image, person in zip(images, persons, strict=True)])
        return self._predict_pictures(images)

    # whole pictures: letterbox, maps resized to the picture, argmax (LIP)

    def _predict_pictures(self, images: list[np.ndarray]) -> np.ndarray:
        peaks = published_peaks if self.peak_search == "published" else fast_peaks
        return np.stack([peaks(t, image.shape[:2]) for t, image in zip(self.picture_terms(images), images, strict=True)])

    def picture_terms(self, images: list[np.ndarray]) -> list[list[Term]]:
        """Of each picture (LIP): the maps of all scales and of its mirror image, and where the picture lies in them."""
        terms = self._terms(images, mirrored=False)
        if self.flip:
            turned = self._terms([np.ascontiguousarray(image[:, ::-1]) for image in images], mirrored=True)
            terms = [one + other for one, other in zip(terms, turned, strict=True)]
        return terms

    def _terms(self, images: list[np.ndarray], mirrored: bool) -> list[list[Term]]:
        terms = [[] for _ in images]
        order = self.recipe.skeleton.flip_order if mirrored else slice(None)
        for scale in self.scales:
            side = scale * max(self.recipe.input_size)
            squares, windows = zip(*[_pad_to_square(image, side, self.recipe.padding) for image in images], strict=True)
            for i, maps in enumerate(self._network_maps(squares)):
                terms[i].append(Term(np.ascontiguousarray(maps[:, :, order]), windows[i], mirrored))
        return terms

    def _network_maps(self, pictures: Sequence[np.ndarray]) -> Iterable[np.ndarray]:
        """Last stage's joint maps (h, w, K) float32 of each picture; pictures of one size share a batch."""
        if len({picture.shape for picture in pictures}) > 1:
            return [maps for picture in pictures for maps in self._network_maps([picture])]
        return self.maps(np.stack(pictures))[:, : self.recipe.skeleton.num_joints].transpose(0, 2, 3, 1)

    def maps(self, pictures: np.ndarray) -> np.ndarray:
        """Crops (N, H, W, 3) uint8 BGR -> the stage's maps (N, num_heatmaps, h, w) float32, the background's too."""
        if not isinstance(self.network, nn.Module):
            return self.network(pictures, self.stage)
        with torch.inference_mode(), autocast(self.precision, self.device):
            batch = torch.from_numpy(pictures).to(self.device)
            return self.network(normalise(batch, self.recipe))[self.stage].float().cpu().numpy()

    # boxes: one affine crop each, peak of the cells (COCO)

    def _predict_boxes(self, pictures_and_boxes: list[tuple[np.ndarray, Sequence]]) -> np.ndarray:
        return self._decoded(*self._box_maps(pictures_and_boxes), self.recipe.decoder)

    def _box_maps(self, pictures_and_boxes: list[tuple[np.ndarray, Sequence]]) -> tuple[np.ndarray, list[np.ndarray]]:
        """Maps (N, K, h, w) of the boxes' crops, and the picture -> crop affines."""
        size = self.recipe.input_size
        affines = [geometry.box_to_affine(box, image.shape[:2], size) for image, box in pictures_and_boxes]
        images = [image for image, _ in pictures_and_boxes]
        maps = self._crop_maps(images, affines)
        if self.flip:
            # Mirrored so that cell k of one is cell w - 1 - k of the other: cells stand for pixels 0, 8, ..., not 3.5, ...
            mirror = geometry.mirror(size[1] - STRIDE + 1)
            mirrored = self._crop_maps(images, [geometry.compose(affine, mirror) for affine in affines])
            maps = (maps + mirrored[:, self.recipe.skeleton.flip_order, :, ::-1]) / 2
        return maps, affines

    def _decoded(self, maps: np.ndarray, affines: list[np.ndarray], decoder: str) -> np.ndarray:
        found = [decode(m, decoder, sigma=self.recipe.sigma) for m in maps]
        return np.stack([geometry.apply(geometry.invert(a), f) for a, f in zip(affines, found, strict=True)])

    def _crop_maps(self, images: list[np.ndarray], affines: list[np.ndarray]) -> np.ndarray:
        """Maps (N, K, h, w) float32 of the crops, averaged over the scales at the size of scale 1."""
        height, width = self.recipe.input_size
        total = 0.0
        for scale in self.scales:
            output = (round(height * scale), round(width * scale))
            crops = [
                geometry.warp(
                    image, geometry.compose(affine, np.diag([scale, scale, 1.0])[:2]), output, self.recipe.padding
                )
                for image, affine in zip(images, affines, strict=True)
            ]
            cells, size = np.diag([scale, scale, 1.0])[:2], (width // STRIDE, height // STRIDE)
            # Cells stand for pixels 0, 8, ..., so cell k of scale 1 lies at cell k s of the scaled maps.
            maps = [_warped(m, cells, size) if scale != 1 else m for m in self._network_maps(crops)]
            total = total + np.stack(maps).transpose(0, 3, 1, 2)
        return total / len(self.scales)


def _warped(maps: np.ndarray, inverse: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Maps (H, W, K) -> (h, w, K) float32, bilinear: each value from where inverse (2, 3) leads; size is width, height."""
    flags, (width, height) = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, size
    parts = [
        cv2.warpAffine(maps[:, :, k : k + MOST_CHANNELS], inverse, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        for k in range(0, maps.shape[2], MOST_CHANNELS)
    ]
    return np.concatenate([part.reshape(height, width, -1) for part in parts], axis=2)  # of one map OpenCV drops the axis


def _check_picture(image: np.ndarray) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise ValueError(f"picture must be (H, W, 3) uint8 BGR, is {image.shape} {image.dtype}")


def person_score(keypoints: np.ndarray) -> float:
    """Score of one person (K, 3), the published COCO rule: mean of the peaks above 0.2 (UNSURE), or of all when none is."""
    scores = keypoints[:, 2]
    return float(scores[scores > UNSURE].mean() if (scores > UNSURE).any() else scores.mean())


def _pixels_of(box, image: np.ndarray) -> tuple[int, int, int, int]:
    """Box (x, y, w, h) -> first and last + 1 pixel columns and rows that it covers inside the picture."""
    if not np.isfinite(box).all():
        raise ValueError(f"box {tuple(box)} is not four finite numbers")
    x, y, w, h = box
    x1, y1 = max(0, round(x)), max(0, round(y))
    x2, y2 = min(image.shape[1], round(x + w)), min(image.shape[0], round(y + h))
    if x2 <= x1 or y2 <= y1:
        raise ValueError(f"box {tuple(box)} has no area inside a picture of {image.shape[1]}x{image.shape[0]} pixels")
    return x1, y1, x2, y2


def _pad_to_square(image: np.ndarray, side: float, padding: int) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """Resize the longer side to `side` and pad to a square; also where the picture lies in it: left, top, width, height."""
    factor = side / max(image.shape[:2])
    if min(image.shape[:2]) * factor < 1:  # a sliver would vanish: its short side gets one pixel
        size = [max(1, round(factor * extent)) for extent in image.shape[1::-1]]
        resized = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    else:
        resized = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR)
    height, width = resized.shape[:2]
    longer = max(height, width)
    left, top = (longer - width) // 2, (longer - height) // 2
    square = np.full((longer, longer, 3), padding, np.uint8)
    square[top : top + height, left : left + width] = resized
    return square, (left, top, width, height)
