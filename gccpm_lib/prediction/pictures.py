"""Pictures of persons, read batch by batch, by processes of their own where asked for."""

from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import DataLoader, Dataset

from gccpm_lib import geometry
from gccpm_lib.datasets.records import Person, blamed_on, read_person_image
from gccpm_lib.loading import raised, worker_options


def read_pictures(persons: Sequence[Person]) -> list[np.ndarray]:
    """Each person's picture, read once for all of its persons; DataError naming a person whose box has no area in it."""
    images: dict = {}
    for person in persons:
        if person.image_path not in images:
            images[person.image_path] = read_person_image(person)
        if person.box is not None:
            with blamed_on(person):
                geometry.grow_box(person.box, images[person.image_path].shape[:2])
    return [images[person.image_path] for person in persons]


def in_batches(
    persons: Sequence[Person], batch_size: int, num_workers: int = 0
) -> Iterator[tuple[Sequence[Person], list[np.ndarray]]]:
    """Batches of persons and their pictures; num_workers 0 reads in this process. Errors as `read_pictures`."""
    batches = [persons[start : start + batch_size] for start in range(0, len(persons), batch_size)]
    loader = DataLoader(_Batches(batches), batch_size=None, collate_fn=_as_read, **worker_options(num_workers))
    return zip(batches, raised(loader), strict=True)


class _Batches(Dataset):
    """The pictures of each batch, or the error in their place: raised in a loader process, it would be a traceback."""

    def __init__(self, batches: list[Sequence[Person]]):
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: int) -> list[np.ndarray] | Exception:
        try:
            return read_pictures(self.batches[number])
        except (ValueError, OSError) as error:
            return error


def _as_read(images: list[np.ndarray] | Exception) -> list[np.ndarray] | Exception:
    """The loader would make tensors of arrays."""
    return images
