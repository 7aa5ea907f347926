"""Loading: person records -> batches of augmented crops with their targets.

A sample depends on (seed, epoch, index) alone and a batch on its position alone, so neither the number of worker
processes nor an interruption changes what the network sees.
"""

import functools
import multiprocessing
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from gccpm_lib.augment import augmented_crop
from gccpm_lib.datasets.records import Person, Skip, blamed_on, noted, read_person_image
from gccpm_lib.heatmaps import coco_targets, lip_targets
from gccpm_lib.recipes import STRIDE, Recipe
from gccpm_lib.skeletons import MISSING, OUTSIDE


@dataclass(frozen=True)
class Key:
    """Which sample: its epoch, the index of its person, and the crop's size (height, width)."""

    epoch: int
    index: int
    size: tuple[int, int]


class Batch(NamedTuple):
    """Samples of one size, and what was left out of them."""

    tensors: list[
        Tensor
    ]  # pictures (N, h, w, 3) uint8 BGR, targets (N, H, h/8, w/8), weights (N, H), channel orders (N, 3)
    count: int  # samples that count: N, or 0 where the one that is there is only a place holder
    skipped: list[Skip]


class TrainingSet(Dataset):
    """Samples by key: picture (h, w, 3) uint8 BGR, targets (H, h/8, w/8), weights (H,), channel order (3,).

    A sample that can't be made raises DataError, or with on_bad_sample="skip" is a Skip.
    """

    def __init__(self, persons: Sequence[Person], recipe: Recipe, seed: int, on_bad_sample: str = "error"):
        self.persons, self.recipe, self.seed, self.on_bad_sample = persons, recipe, seed, on_bad_sample

    def __len__(self) -> int:
        return len(self.persons)

    def __getitem__(self, key: Key) -> tuple[np.ndarray, ...] | Skip:
        skipped = [] if self.on_bad_sample == "skip" else None
        with noted(skipped, self.persons[key.index].name):
            return self.sample(key)
        return skipped[0]

    def sample(self, key: Key) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The sample of a key; DataError where it can't be made."""
        person = self.persons[key.index]
        rng = np.random.default_rng([self.seed, key.epoch, key.index])
        image = read_person_image(person)
        with blamed_on(person):
            crop, keypoints, order = augmented_crop(rng, image, person, self.recipe, key.size)
        targets, weights = make_targets(keypoints, key.size, self.recipe)
        return crop, targets, weights, order


def collate(samples: Sequence, recipe: Recipe) -> Batch:
    """The batch of those samples that aren't skips; without any, of a black picture that doesn't count.

    The place holder is for several processes, all of which have to take part in every step.
    """
    skipped = [sample for sample in samples if isinstance(sample, Skip)]
    good = [sample for sample in samples if not isinstance(sample, Skip)]
    return Batch(default_collate(good or [_black_sample(recipe)]), len(good), skipped)


def _black_sample(recipe: Recipe) -> tuple[np.ndarray, ...]:
    height, width = recipe.input_size
    targets = np.zeros((recipe.num_heatmaps, height // STRIDE, width // STRIDE), np.float32)
    return np.zeros((height, width, 3), np.uint8), targets, targets[:, 0, 0], np.arange(3)


def make_targets(keypoints: np.ndarray, size: tuple[int, int], recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints (K, 3) in crop pixels -> targets (H, h, w) and weights (H,) float32 by the recipe's formula.

    A weight is 0 where the joint isn't labelled (and, "coco", where it lies too far outside); the background has 1, and so
    has a joint marked as OUTSIDE, whose map is empty.
    """
    if recipe.targets == "coco":
        targets, weights = coco_targets(keypoints, size, sigma=recipe.sigma, whole_cells=recipe.whole_cells)
        weights[keypoints[:, 2] == OUTSIDE] = 1
        return targets, weights
    weights = np.ones(recipe.num_heatmaps, np.float32)
    weights[: len(keypoints)] = keypoints[:, 2] != MISSING
    return lip_targets(keypoints, size, sigma=recipe.sigma), weights


def crop_size(recipe: Recipe, progress: float) -> tuple[int, int]:
    """Crop (height, width) after this part (0..1) of the training, a multiple of 32 pixels."""
    factor = next((factor for until, factor in recipe.progressive if progress < until), 1.0)
    return tuple(32 * max(1, round(side * factor / 32)) for side in recipe.input_size) if factor != 1 else recipe.input_size


def epoch_batches(num_persons: int, epoch: int, recipe: Recipe, seed: int) -> list[list[Key]]:
    """The batches of one epoch, every person once, in an order drawn from (seed, epoch); the last one may be smaller."""
    order = np.random.default_rng([seed, epoch]).permutation(num_persons)
    starts = range(0, num_persons, recipe.batch_size)
    progress = [(epoch + start / num_persons) / recipe.num_epochs for start in starts]
    sizes = [crop_size(recipe, part) for part in progress]
    return [
        [Key(epoch, int(index), size) for index in order[start : start + recipe.batch_size]]
        for start, size in zip(starts, sizes, strict=True)
    ]


def samples_per_second(persons: Sequence[Person], recipe: Recipe, seed: int, count: int = 200) -> float:
    """How fast this one process makes samples of the first epoch."""
    samples = TrainingSet(persons, recipe, seed)
    keys = [key for batch in epoch_batches(len(persons), 0, recipe, seed) for key in batch][:count]
    samples[keys[0]]  # the first picture warms up
    started = time.perf_counter()
    for key in keys:
        samples[key]
    return len(keys) / (time.perf_counter() - started)


def make_loader(training_set: TrainingSet, batches: list[list[Key]], num_workers: int) -> DataLoader:
    """Loader over given batches; num_workers 0 loads in this process.

    The workers stay: to send a data set's records to each of them takes seconds. Other batches are given to the same
    loader by `give_batches`.
    """
    return DataLoader(
        training_set,
        batch_sampler=list(batches),
        collate_fn=functools.partial(collate, recipe=training_set.recipe),
        num_workers=num_workers,
        worker_init_fn=_quiet_worker,
        pin_memory=torch.cuda.is_available(),
        multiprocessing_context=_clean_processes() if num_workers else None,
        persistent_workers=num_workers > 0,
    )


def give_batches(loader: DataLoader, batches: list[list[Key]]) -> DataLoader:
    """The same loader, over these batches from its next iteration on."""
    loader.batch_sampler[:] = batches
    return loader


def _clean_processes() -> multiprocessing.context.BaseContext:
    """OpenCV and OpenMP threads don't survive a fork: workers are forked from a process that has only imported this.

    Windows can't fork; there every worker starts anew.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def _quiet_worker(worker: int) -> None:
    """One thread each, and interrupts are for the process that trains."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
