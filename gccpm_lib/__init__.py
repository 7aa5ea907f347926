"""Reproducible research workbook for Global Context for Convolutional Pose Machines (arXiv 1906.04104)."""

__version__ = "0.1.0"
