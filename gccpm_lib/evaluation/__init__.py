"""Evaluation: keypoints -> numbers."""

from gccpm_lib.evaluation.pckh import evaluate_coco, evaluate_lip

__all__ = ["evaluate_coco", "evaluate_lip"]
