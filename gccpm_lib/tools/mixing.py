"""Mean of two networks' weights: what each of them learned, in one network of the same size.

    python -m gccpm_lib.tools.mixing gccpm-2stage-leeds gccpm-2stage-coco mixed.safetensors --share 0.4

A network that learned new people from an old one is often better than both on the way between them (Wortsman et al.,
"Robust fine-tuning of zero-shot models", CVPR 2022). Maps are matched by the names of their joints.
"""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from gccpm_lib import checkpoints
from gccpm_lib.network import GCCPM
from gccpm_lib.recipes import Recipe, map_names
from gccpm_lib.tools.lineage import joined, training_steps
from gccpm_lib.training.transfer import MAP_READERS, carried_over, pixel_values


def mixed(base: str | Path, other: str | Path, share: float) -> tuple[GCCPM, Recipe]:
    """Share (0 to 1) of the other network's weights, the rest the base's: a network with the base's joints, and its recipe.

    A map that the other lacks stays the base's. Raises ValueError for networks of another depth or other pixel values.
    """
    network, recipe = checkpoints.load_network(base), checkpoints.recipe_of(base)
    theirs, their_recipe = checkpoints.load_network(other), checkpoints.recipe_of(other)
    if pixel_values(recipe) != pixel_values(their_recipe):
        raise ValueError(f"{other}: takes other pixel values than {base}; a mean of their first layers means nothing")
    own = network.state_dict()
    given = carried_over(network, theirs.state_dict(), their_recipe, recipe)
    given = {key: _unknown_maps(key, value, own[key], their_recipe, recipe, network.shape) for key, value in given.items()}
    mean = {key: (1 - share) * own[key] + share * given[key] for key in own if own[key].is_floating_point()}
    checkpoints.load_weights(network, own | mean)
    return network, recipe


def _unknown_maps(key: str, given: Tensor, own: Tensor, source: Recipe, target: Recipe, shape: dict) -> Tensor:
    """Weights that read maps, those of the maps that source lacks taken from own."""
    if not re.search(MAP_READERS[shape["context"]] + "$", key):
        return given
    known, first, whole = map_names(source), shape["num_channels"], given.clone()
    for place, name in enumerate(map_names(target)):
        if name not in known:
            whole[:, first + place] = own[:, first + place]
    return whole


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the mean that the command line names; the file says what led to it."""
    parser = argparse.ArgumentParser(prog="gccpm_lib.tools.mixing", description=__doc__.splitlines()[0])
    parser.add_argument("base", help="shipped name or checkpoint, whose joints and recipe the mean has")
    parser.add_argument("other")
    parser.add_argument("target", type=Path, metavar="FILE.safetensors")
    parser.add_argument("--share", type=float, default=0.5, help="of the other; default 0.5")
    options = parser.parse_args(arguments)
    network, recipe = mixed(options.base, options.other, options.share)
    steps = joined(training_steps(options.base), training_steps(options.other), options.share)
    print(checkpoints.save_network(options.target, network, recipe, about={"steps": steps}))


if __name__ == "__main__":
    main()
