"""Prediction: network -> keypoints."""

from gccpm_lib.prediction.predictor import PosePredictor

__all__ = ["PosePredictor"]
