"""Loading: person records -> batches of augmented crops with their targets.

A sample depends on (seed, epoch, index) alone and a batch on its position alone, so neither the number of worker
processes nor an interruption changes what the network sees.
"""

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cloudpickle
import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from gccpm_lib.augment import Augmentation, augmented_crop, own_augmentation
from gccpm_lib.datasets.records import BadSamples, Person, Skip, blamed_on, read_person_image
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

    # pictures (N, h, w, 3) uint8 BGR, targets (N, H, h/8, w/8), weights (N, H), channel orders (N, 3)
    tensors: list[Tensor]
    skipped: list[Skip]

    @property
    def count(self) -> int:
        """N, the number of samples; 0 where none could be read."""
        return len(self.tensors[0])

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the pictures."""
        return tuple(self.tensors[0].shape[1:3])


class TrainingSet(Dataset):
    """Samples by key: picture (h, w, 3) uint8 BGR, targets (H, h/8, w/8), weights (H,), channel order (3,).

    A sample that can't be made raises DataError, or with on_bad_sample="skip" is a Skip. augmentation: a function of
    one's own that changes every crop and its keypoints after the recipe did, see `own_augmentation`.
    """

    def __init__(
        self,
        persons: Sequence[Person],
        recipe: Recipe,
        seed: int,
        on_bad_sample: str = "error",
        augmentation: Augmentation | None = None,
    ):
        self.persons, self.recipe, self.seed, self.on_bad_sample = persons, recipe, seed, on_bad_sample
        self.augmentation = augmentation

    def __getstate__(self) -> dict:
        """For a loader process: what is one's own by its content, as nobody could import it from a notebook's cell."""
        own = cloudpickle.dumps((self.recipe, self.augmentation))
        return vars(self) | {"recipe": None, "augmentation": None, "own": own}

    def __setstate__(self, state: dict) -> None:
        vars(self).update(state)
        self.recipe, self.augmentation = cloudpickle.loads(vars(self).pop("own"))

    def __len__(self) -> int:
        return len(self.persons)

    def __getitem__(self, key: Key) -> tuple[np.ndarray, ...] | Skip:
        bad = BadSamples(self.on_bad_sample)
        with bad.sample(self.persons[key.index].name):
            return self.sample(key)
        return bad.skipped[0]

    def __getitems__(self, keys: Sequence[Key]) -> list[tuple[np.ndarray, ...] | Skip | Exception]:
        """The samples of a batch. An error is one of them: raised in a loader process, it would arrive as its traceback."""
        samples = []
        for key in keys:
            try:
                samples.append(self[key])
            except (ValueError, OSError) as error:
                return [error]
        return samples

    def sample(self, key: Key) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The sample of a key; DataError where it can't be made."""
        person = self.persons[key.index]
        rng = np.random.default_rng([self.seed, key.epoch, key.index])
        image = read_person_image(person)
        with blamed_on(person):
            crop, keypoints, order = augmented_crop(rng, image, person, self.recipe, key.size)
        if self.augmentation:
            crop, keypoints = own_augmentation(self.augmentation, crop, keypoints, rng, self.recipe)
        targets, weights = make_targets(keypoints, key.size, self.recipe)
        return crop, targets, weights, order

    def collate(self, samples: Sequence) -> Batch | Exception:
        """The batch of those samples that aren't skips, none at all where every one is; an error as it is."""
        if samples and isinstance(samples[0], Exception):
            return samples[0]
        skipped = [sample for sample in samples if isinstance(sample, Skip)]
        good = [sample for sample in samples if not isinstance(sample, Skip)]
        return Batch(default_collate(good) if good else no_samples(self.recipe), skipped)


def no_samples(recipe: Recipe) -> list[Tensor]:
    """The tensors of an empty batch, for a process that has nothing to add to a step of several processes."""
    (height, width), maps = recipe.input_size, recipe.num_heatmaps
    pictures = torch.zeros((0, height, width, 3), dtype=torch.uint8)
    targets = torch.zeros(0, maps, height // STRIDE, width // STRIDE)
    return [pictures, targets, torch.zeros(0, maps), torch.zeros((0, 3), dtype=torch.int64)]


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


def make_loader(training_set: TrainingSet, batches: list[list[Key]], num_workers: int, device: str = "cpu") -> DataLoader:
    """Loader over given batches, to be read by `give_batches`; num_workers 0 loads in this process.

    The workers stay: to send a data set's records to each of them takes seconds. Other batches are given to the same
    loader by `give_batches`. For CUDA the batches lie in memory that it copies from without waiting.
    """
    return DataLoader(
        training_set,
        batch_sampler=list(batches),
        collate_fn=training_set.collate,
        pin_memory=torch.device(device).type == "cuda",
        persistent_workers=num_workers > 0,
        **worker_options(num_workers),
    )


def give_batches(loader: DataLoader, batches: list[list[Key]]) -> Iterator[Batch]:
    """The loader's batches for these keys; errors as in `raised`."""
    loader.batch_sampler[:] = batches
    yield from raised(loader)


def raised(loader: DataLoader) -> Iterator:
    """What the loader gives, but an error among it is raised here: in one line, whatever process it happened in."""
    try:
        for batch in loader:
            if isinstance(batch, Exception):
                raise batch
            yield batch
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise OSError(f"{str(error).splitlines()[0]} Memory may be short: lower num_workers or batch_size") from error


def worker_options(num_workers: int) -> dict:
    """A DataLoader's options for loader processes.

    OpenCV and OpenMP threads don't survive a fork: workers are forked from a process that has only imported this.
    """
    if not num_workers:
        return {"num_workers": 0}
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload([__name__])
    return {"num_workers": num_workers, "worker_init_fn": _quiet_worker, "multiprocessing_context": context}


def _quiet_worker(worker: int) -> None:
    """One thread each; when to end is for the process that trains to say: a worker ends with it, even by signal 9."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # not everywhere
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        threading.Thread(target=_end_when_told, daemon=True).start()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def _end_when_told() -> None:
    """A scheduler's SIGTERM reaches every process of a training; a worker minds only that of its own parent."""
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != multiprocessing.parent_process().pid:
        pass
    os._exit(0)


def _end_with_parent() -> None:
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)
