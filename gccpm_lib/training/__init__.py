"""Training: batches -> weights."""

from gccpm_lib.training.loop import train
from gccpm_lib.training.objective import parameter_groups, stage_losses
from gccpm_lib.training.run import Run

__all__ = ["Run", "parameter_groups", "stage_losses", "train"]
