"""Transfer: start the network of one data set from a network trained on another.

Maps go over by the joints' names (LIP's l_shoulder is COCO's left_shoulder), the first layer is adapted to the other pixel
values, and everything that belongs to no joint is taken as it is. So twelve of COCO's seventeen maps come from a network
trained on LIP, and fine-tuning teaches the rest, and the half cell by which the two formulas place a joint differently.
"""

import re
from pathlib import Path

from torch import Tensor

from gccpm_lib import checkpoints
from gccpm_lib.network import GCCPM
from gccpm_lib.recipes import Recipe, map_names

# Layers of a refinement stage whose inputs begin with the features and the maps, by context block.
MAP_READERS = {
    "ushape": r"trunk\.0\.(encoder1|decoder1)\.0\.0\.weight",
    "ppm": r"trunk\.0\.(branches\.\d+|fuse\.0)\.0\.weight",
    "aspp": r"trunk\.0\.(point|branches\.\d+|mean)\.0\.weight",
    "matched": r"trunk\.0\.0\.initial\.0\.weight",
    "none": r"trunk\.1\.initial\.0\.weight",
}


NOTHING = r"(?!)"  # matches no key


def start_from(network: GCCPM, path: str | Path, recipe: Recipe, say=print, fresh_refinement: bool = False) -> None:
    """Put the weights of a checkpoint of a whole network into a network that is to be trained by recipe.

    A published file, or one trained with the same joints and pixel values, is loaded as it is; any other one of this
    library is carried over by the names of the joints, and what was carried is said. fresh_refinement: the refinement
    stages keep their initial values, so that depth and context block may differ. ValueError for another depth otherwise.
    """
    checkpoint = checkpoints.read_checkpoint(path)
    weights = checkpoints.network_weights(checkpoint)
    if fresh_refinement:
        stages = "refinement_stages."
        weights = {key: value for key, value in weights.items() if not key.startswith(stages)}
        weights |= {key: value for key, value in network.state_dict().items() if key.startswith(stages)}
    source = checkpoints.recipe_in(checkpoint) if checkpoint.get("recipe") else recipe
    if source is recipe:
        say(f"{path}: doesn't say what it was trained for; its maps are taken as those of {recipe.name}")
    if (map_names(source), pixel_values(source)) != (map_names(recipe), pixel_values(recipe)):
        weights = carried_over(network, weights, source, recipe)
        taken = [name for name in map_names(recipe) if name in map_names(source)]
        say(f"{path}: from {source.name}, {len(taken)} of {recipe.num_heatmaps} maps carried over by name")
    checkpoints.load_weights(network, weights, path)
    if pixel_values(source) != pixel_values(recipe):
        checkpoints.adapt_input(network.model[0], recipe, source)


def pixel_values(recipe: Recipe) -> tuple:
    """What the first layer sees: channel order, mean and std."""
    return recipe.channels, recipe.mean, recipe.std


def carried_over(network: GCCPM, weights: dict[str, Tensor], source: Recipe, target: Recipe) -> dict[str, Tensor]:
    """Weights trained with source's maps -> all weights of a network with target's maps.

    A map without a counterpart starts as the network was initialised, and refinement doesn't read it at first. With another
    number of maps the context blocks have another width and start anew.
    """
    names = map_names(source)
    pairs = [(there, names.index(name)) for there, name in enumerate(map_names(target)) if name in names]
    readers = MAP_READERS.get(network.shape["context"], NOTHING)  # a block of one's own starts anew
    new = {}
    for key, own in network.state_dict().items():
        given = weights.get(key)
        if given is None:
            new[key] = own
        elif "heatmaps.1." in key:
            new[key] = _rows(own, given, pairs)
        elif re.search(readers + "$", key):
            new[key] = _columns(own, given, pairs, network.shape)
        else:
            new[key] = given if given.shape == own.shape else own
    missing = [key for key in new if key not in weights and not key.endswith("num_batches_tracked")]
    left_over = [key for key in weights if key not in new]
    if missing or left_over:
        raise ValueError(
            f"weights of another depth: {len(missing)} keys missing, {len(left_over)} left over (first: "
            f"{(missing + left_over)[0]}); set num_refinement_stages to the checkpoint's"
        )
    return new


def _rows(own: Tensor, given: Tensor, pairs: list[tuple[int, int]]) -> Tensor:
    """The last layer of a stage has one row per map."""
    new = own.clone()
    for there, here in pairs:
        new[there] = given[here]
    return new


def _columns(own: Tensor, given: Tensor, pairs: list[tuple[int, int]], shape: dict) -> Tensor:
    """The layers that read cat[features, maps, ...] have one column per map behind those of the features."""
    if own.shape != given.shape:
        return own
    new, first = given.clone(), shape["num_channels"]
    new[:, first : first + shape["num_heatmaps"]] = 0
    for there, here in pairs:
        new[:, first + there] = given[:, first + here]
    return new
