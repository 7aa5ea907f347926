"""Data sets: what lies on disk -> Person records."""

from gccpm_lib.datasets.records import DataError, Person

__all__ = ["DataError", "Person"]
