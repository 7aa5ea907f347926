"""Data sets: what lies on disk -> Person records."""

from gccpm_lib.datasets.layouts import read_persons
from gccpm_lib.datasets.lip_from_coco import lip_from_coco
from gccpm_lib.datasets.records import DataError, Person

__all__ = ["DataError", "Person", "lip_from_coco", "read_persons"]
