"""Ablation: what notebook 05 compares."""
