"""Checkpoints: load and save networks, read published files, start from MobileNet.

A published file may be bare, wrapped in {"state_dict": ...} and prefixed with "module."; it doesn't say how its context
blocks resize. Our own files do: {"network": tensors, "shape": how to build it, ...}. Everything is read with
`weights_only=True`, so that no file can execute code.
"""

import contextlib
import hashlib
import os
import re
import shutil
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from gccpm_lib.network import GCCPM
from gccpm_lib.recipes import Recipe, get_recipe
from gccpm_lib.skeletons import Skeleton

SHIPPED_BACKBONE = Path(__file__).parent / "weights" / "mobilenet_v1_imagenet_half.safetensors"


def read_checkpoint(path: str | Path) -> dict:
    """Whatever a .pt, .pth, .tar or .safetensors file holds, on the CPU. Plain tensors, numbers and texts only.

    Raises FileNotFoundError, or ValueError for a file that is cut off or would run code.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: checkpoint missing; train one with 02 or 03, or correct checkpoint_path")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with torch.serialization.safe_globals(_numpy_scalars()):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip, torch and safetensors have an error class each
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path}: not a checkpoint of tensors, or cut off; nothing in it was run ({reason})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: holds a {type(content).__name__}, not a checkpoint; give a file with a state_dict")
    return content


def previous_of(path: Path) -> Path:
    """Where the checkpoint before the last is kept."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def _numpy_scalars() -> list:
    """The few numpy globals that checkpoints of old PyTorch carry among their counters."""
    dtypes = [type(np.dtype(t)) for t in (np.float64, np.float32, np.int64, np.int32, np.bool_)]
    scalar = np.float64(0).__reduce__()[0]
    return [np.dtype, scalar, (scalar, "numpy.core.multiarray.scalar"), *dtypes]


def network_weights(checkpoint: dict) -> dict[str, Tensor]:
    """The weights in any of the known wrappings, without a "module." prefix."""
    for key in ("network", "state_dict"):
        if isinstance(checkpoint.get(key), dict):
            checkpoint = checkpoint[key]
            break
    weights = {key: value for key, value in checkpoint.items() if isinstance(value, Tensor)}
    return {re.sub(r"^module\.", "", key): value for key, value in weights.items()}


def weights_hash(weights: dict[str, Tensor]) -> str:
    """Hash of names and values."""
    digest = hashlib.sha256()
    for name, value in sorted(weights.items()):
        digest.update(name.encode() + value.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def shape_of(weights: dict[str, Tensor]) -> dict[str, int]:
    """Depth, number of heatmaps and of channels, read from key names and shapes."""
    try:
        num_heatmaps = len(weights["initial_stage.heatmaps.1.0.bias"])
        num_channels = len(weights["cpm.1.0.bias"])
    except KeyError as error:
        raise ValueError(f"no key {error}: this is not a GCCPM network (its keys begin {list(weights)[:3]})") from error
    stages = {int(m.group(1)) for key in weights if (m := re.match(r"refinement_stages\.(\d+)\.", key))}
    if stages != set(range(len(stages))):
        raise ValueError(f"refinement stages {sorted(stages)} in the file: some are missing")
    return dict(num_heatmaps=num_heatmaps, num_refinement_stages=len(stages), num_channels=num_channels)


def load_network(path: str | Path, upsampling: str | None = None) -> GCCPM:
    """Checkpoint file -> network in eval mode; depth, heatmaps and channels are read from the file.

    upsampling: "bilinear" (LIP) or "nearest" (COCO), for published files, which don't say; None there means bilinear
    and warns. Our own files say it themselves; another value given then is an error, as is any key that doesn't fit.
    """
    checkpoint = read_checkpoint(path)
    weights = network_weights(checkpoint)
    shape = checkpoint.get("shape")
    if shape is None:
        shape = _published_shape(path, weights, upsampling)
    elif upsampling not in (None, shape["upsampling"]):
        raise ValueError(f"{path}: trained with upsampling {shape['upsampling']!r}, asked for {upsampling!r}")
    network = GCCPM(**shape)
    load_weights(network, weights, path)
    return network.eval()


def _published_shape(path, weights: dict[str, Tensor], upsampling: str | None) -> dict:
    if upsampling is None:
        warnings.warn(
            f"{path} doesn't say how its context blocks resize; taking upsampling='bilinear' (LIP). "
            "Give upsampling='nearest' for a published COCO file.",
            stacklevel=3,
        )
    try:
        return dict(shape_of(weights), upsampling=upsampling or "bilinear")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def recipe_of(path: str | Path, name: str = "", input_size: Sequence[int] | None = None) -> Recipe:
    """The recipe to predict with: as our own checkpoint says, else by name; input_size (height, width) overrides.

    Raises ValueError for a published file without a name: it doesn't say how it was trained.
    """
    checkpoint = read_checkpoint(path)
    if not (name or checkpoint.get("recipe")):
        raise ValueError(f"{path} doesn't say its recipe; give one, such as recipe='lip-published'")
    return recipe_in(checkpoint, name, input_size)


def recipe_in(checkpoint: dict, name: str = "", input_size: Sequence[int] | None = None) -> Recipe:
    """`recipe_of` for a checkpoint that is read already: our own hold the recipe's name, input size, sigma, skeleton."""
    recipe = get_recipe(name or checkpoint["recipe"])
    size = input_size or checkpoint.get("input_size")
    recipe = replace(recipe, sigma=checkpoint["sigma"]) if "sigma" in checkpoint and not name else recipe
    if "skeleton" in checkpoint:
        recipe = replace(recipe, skeleton=Skeleton.from_dict(checkpoint["skeleton"]))
    return replace(recipe, input_size=tuple(size)) if size else recipe


def load_weights(network: nn.Module, weights: dict[str, Tensor], source="weights") -> None:
    """Copy weights into a network; ValueError naming every key that is missing, left over or of another shape.

    `num_batches_tracked`, which files of PyTorch before 0.4.1 lack, may be absent: evaluation doesn't use it.
    """
    own = network.state_dict()
    missing = [key for key in own if key not in weights and not key.endswith("num_batches_tracked")]
    left_over = [key for key in weights if key not in own]
    shapes = [
        f"{key} {tuple(weights[key].shape)} against {tuple(own[key].shape)}"
        for key in own
        if key in weights and weights[key].shape != own[key].shape
    ]
    problems = [
        f"{title} ({len(keys)}): {', '.join(keys[:4])}{' ...' if len(keys) > 4 else ''}"
        for title, keys in (("missing", missing), ("left over", left_over), ("of another shape", shapes))
        if keys
    ]
    if problems:
        raise ValueError(f"{source}: does not fit this network (another depth or skeleton?); {'; '.join(problems)}")
    network.load_state_dict({**own, **weights})


def load_backbone(network: GCCPM, path: str | Path | None = None, recipe: Recipe | None = None) -> None:
    """Start `network.model` from MobileNet v1 trained on ImageNet; every other layer keeps its initial values.

    path None: the weights shipped with this package (trained on RGB, x / 127.5 - 1), adapted to the recipe's channel
    order, mean and std; without a recipe they stay as they were trained. path: the README's MobileNet file
    (`mobilenet_sgd_68.848.pth.tar`), loaded as it is.
    """
    weights = {
        key: value.float() if value.is_floating_point() else value
        for key, value in network_weights(read_checkpoint(path or SHIPPED_BACKBONE)).items()
    }
    if any(key.startswith("initial_stage.") for key in weights):
        raise ValueError(f"{path}: holds a whole network, not only a MobileNet; give from_mobilenet=False to start from it")
    own = {f"model.{key}" for key in network.model.state_dict()}
    weights = {key.removeprefix("model."): value for key, value in weights.items() if key in own}
    load_weights(network.model, weights, path or SHIPPED_BACKBONE)
    if path is None and recipe is not None:
        adapt_input(network.model[0], recipe, replace(recipe, channels="rgb", mean=(127.5,) * 3, std=(127.5,) * 3))


def adapt_input(first: nn.Sequential, recipe: Recipe, trained: Recipe) -> None:
    """Make the first layer (convolution, batch normalisation) see recipe's pixels as it saw those of the recipe `trained`.

    With x = std y + mean in both, the trained input is a y + b, a = std / trained std, b = (mean - trained mean) / trained
    std, channel by channel: a goes into the weights, b's share of the output into the running mean.
    """
    convolution, norm = first[0], first[1]
    turned = recipe.channels != trained.channels
    std, mean = torch.tensor(recipe.std), torch.tensor(recipe.mean)
    old_std, old_mean = (torch.tensor(v[::-1] if turned else v) for v in (trained.std, trained.mean))
    with torch.no_grad():
        weight = convolution.weight.flip(1) if turned else convolution.weight.clone()
        norm.running_mean -= (weight.sum((2, 3)) * ((mean - old_mean) / old_std)).sum(1)
        convolution.weight.copy_(weight * (std / old_std)[None, :, None, None])


def save_checkpoint(path: str | Path, checkpoint: dict) -> None:
    """Write beside, then rename: whatever interrupts the writing, the old file stays whole. The one before is kept.

    A damaged file at path is not kept: it would take the place of the whole one before it. OSError where the disk is full.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    try:
        with open(beside, "wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
    except (OSError, RuntimeError) as error:
        beside.unlink(missing_ok=True)
        raise OSError(f"{path}: could not be written ({error}); the checkpoint before is untouched") from error
    if zipfile.is_zipfile(path):  # whole: the table of contents stands at the end
        previous = previous_of(path)
        previous.unlink(missing_ok=True)
        try:
            os.link(path, previous)
        except OSError:  # a file system without hard links
            shutil.copyfile(path, previous)
    os.replace(beside, path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder, renamed ones too, survive a power failure, where the file system can."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems refuse
            os.fsync(handle)
    finally:
        os.close(handle)
