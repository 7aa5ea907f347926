"""Engines: a model file of any supported kind -> a PosePredictor."""

from collections.abc import Sequence
from pathlib import Path

from gccpm_lib import checkpoints
from gccpm_lib.prediction import PosePredictor
from gccpm_lib.transfer import map_names


def open_predictor(
    path: str | Path,
    recipe: str = "",
    upsampling: str | None = None,
    input_size: Sequence[int] | None = None,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    device: str = "cpu",
) -> PosePredictor:
    """Model file -> predictor. recipe and upsampling are for published files, which don't say theirs.

    Raises ValueError for a model of other joints than the recipe's.
    """
    network = checkpoints.load_network(path, upsampling)
    chosen, checkpoint = checkpoints.recipe_of(path, recipe, input_size), checkpoints.read_checkpoint(path)
    trained = checkpoints.recipe_in(checkpoint) if checkpoint.get("recipe") else chosen
    if map_names(trained) != map_names(chosen) or len(map_names(chosen)) != network.shape["num_heatmaps"]:
        raise ValueError(
            f"{path}: its maps are not those of recipe {chosen.name}; give the recipe that it was trained with"
        )
    return PosePredictor(network, chosen, scales, flip, device)
