"""Checkpoints: load and save networks, read published files, start from MobileNet.

A published file may be bare, wrapped in {"state_dict": ...} or {"model": ...} and prefixed with "module.", "_orig_mod." or
an object's name; it doesn't say how its context blocks resize. Our own files do: {"network": tensors, "shape": how to build
it, ...}, as .pt or, to be published, as .safetensors. No file can execute code (weight_files.py).
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

import torch
from torch import Tensor, nn

from gccpm_lib.network import GCCPM, Context, context_name, told_context
from gccpm_lib.recipes import Recipe, get_recipe
from gccpm_lib.skeletons import Skeleton
from gccpm_lib.weight_files import (
    SHIPPED_BACKBONE,
    check_size,
    find_checkpoint,
    half_precision,
    printable,
    read_checkpoint,
    write_safetensors,
)

__all__ = [
    "adapt_input",
    "find_checkpoint",
    "load_backbone",
    "load_network",
    "load_weights",
    "network_weights",
    "previous_of",
    "read_checkpoint",
    "recipe_in",
    "recipe_of",
    "save_checkpoint",
    "save_network",
    "shape_of",
    "weights_hash",
]  # fmt: skip

WRAPS = ("network", "state_dict", "model", "net")  # keys under which checkpoints hold their weights
HEAD, STEM = "initial_stage.heatmaps.1.0.bias", "model.0.0.weight"  # a layer of every network, and of every backbone
# More than any network of this kind has: a file that says more is refused before anything is built.
LIMITS = {"num_heatmaps": 1000, "num_refinement_stages": 50, "num_channels": 2048}


def previous_of(path: Path) -> Path:
    """Where the checkpoint before the last is kept."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def network_weights(checkpoint: dict) -> dict[str, Tensor]:
    """The weights in any of the known wrappings, without the prefixes that trainers and compilers add."""
    for _ in range(3):  # {"model": {"state_dict": ...}}
        inner = next((checkpoint[key] for key in WRAPS if isinstance(checkpoint.get(key), dict)), None)
        checkpoint = checkpoint if inner is None else inner
    weights = {key: value for key, value in checkpoint.items() if isinstance(value, Tensor) and isinstance(key, str)}
    weights = {re.sub(r"^((module|_orig_mod)\.)+", "", key): value for key, value in weights.items()}
    # What else stands before the layers' names is the name of a whole object, as Lightning's "model."
    outer = next((key.removesuffix(own) for own in (HEAD, STEM) for key in weights if key.endswith("." + own)), "")
    named = {key.removeprefix(outer): value for key, value in weights.items()}
    return {re.sub(r"^((module|_orig_mod)\.)+", "", key): value for key, value in named.items()}


def weights_hash(weights: dict[str, Tensor]) -> str:
    """Hash of names and values."""
    digest = hashlib.sha256()
    for name, value in sorted(weights.items()):
        digest.update(name.encode() + value.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def shape_of(weights: dict[str, Tensor]) -> dict[str, int]:
    """Depth, number of heatmaps and of channels, read from key names and shapes."""
    try:
        num_heatmaps = weights[HEAD].numel()
        num_channels = weights["cpm.1.0.bias"].numel()
    except KeyError as error:
        raise ValueError(f"no key {error}: this is not a GCCPM network ({_summary(weights)})") from error
    stages = {int(m.group(1)) for key in weights if (m := re.match(r"refinement_stages\.(\d+)\.", key))}
    if stages != set(range(len(stages))):
        raise ValueError(f"refinement stages {sorted(stages)[:20]} in the file: some are missing")
    shape = dict(num_heatmaps=num_heatmaps, num_refinement_stages=len(stages), num_channels=num_channels)
    least = dict(num_heatmaps=1, num_refinement_stages=0, num_channels=1)
    absurd = [f"{name} {value}" for name, value in shape.items() if not least[name] <= value <= LIMITS[name]]
    if absurd:
        raise ValueError(f"{', '.join(absurd)}: no such network has so many; don't use this file")
    return shape


def _summary(weights: dict[str, Tensor]) -> str:
    """What is in a file of other weights: how many, and the first of their names."""
    if not weights:
        return f"it has no tensor at its top or under {', '.join(WRAPS)}"
    first = ", ".join(printable(key) for key in [*weights][:3])
    return f"its {len(weights)} tensors begin {first}"


def load_network(path: str | Path, upsampling: str | None = None, context: Context | None = None) -> GCCPM:
    """Checkpoint file, or name of a network that ships -> network in eval mode, float32; its shape is read from the file.

    upsampling: "bilinear" (LIP) or "nearest" (COCO), for published files, which don't say; None there means bilinear
    and warns. Our own files say it themselves; another value given then is an error, as is any key that doesn't fit.
    context: the function of a block of one's own, for a file that was trained with one; see `_context_in`.
    """
    checkpoint = read_checkpoint(path)
    weights = network_weights(checkpoint)
    check_size(path, weights)
    shape = _shape_in(path, checkpoint.get("shape"), weights, upsampling, context)
    try:
        with torch.device("meta"):  # takes no memory, so that a file that lies costs none
            check_fit(GCCPM(**shape), weights, path)
    except ValueError as error:
        raise error if str(path) in str(error) else ValueError(f"{path}: {error}") from error
    network = GCCPM(**shape)
    load_weights(network, weights, path)
    return network.eval()


def _shape_in(path, said: dict | None, weights: dict[str, Tensor], upsampling: str | None, context: Context | None) -> dict:
    """How to build the network: sizes as the tensors have them, the rest as the file or the caller says."""
    try:
        sizes = shape_of(weights)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if said is None:
        if upsampling is None:
            warnings.warn(
                f"{path} doesn't say how its context blocks resize; taking upsampling='bilinear' (LIP). "
                "Give upsampling='nearest' for a published COCO file.",
                stacklevel=3,
            )
        return dict(sizes, upsampling=upsampling or "bilinear", context=context or "ushape")
    if upsampling not in (None, said["upsampling"]):
        raise ValueError(f"{path}: trained with upsampling {said['upsampling']!r}, asked for {upsampling!r}")
    differing = [f"{name} {str(said.get(name))[:20]}, not {size}" for name, size in sizes.items() if said.get(name) != size]
    if differing:
        raise ValueError(f"{path}: says {'; '.join(differing)} as its weights have; don't use this file")
    return dict(sizes, context=_context_in(path, said["context"], context), upsampling=said["upsampling"])


def _context_in(path, said: str | dict[str, str], given: Context | None) -> Context:
    """The block to build. A file's source text is never executed: whoever has a block of their own gives its function."""
    if isinstance(said, dict) and not callable(given):
        raise ValueError(
            f"{path}: trained with a context block of one's own, {printable(said['name'])}; give it again: "
            f"load_network(..., context={printable(said['name'])}). "
            "Its source text is in the file for people to read; it isn't executed"
        )
    name = said if isinstance(said, str) else said["name"]
    if given is not None and context_name(given) != name:
        raise ValueError(f"{path}: trained with context {printable(name)}, asked for {context_name(given)}")
    return said if given is None else given


def told_shape(network: GCCPM) -> dict:
    """How to build the network again, as a file says it."""
    return {**network.shape, "context": told_context(network.shape["context"])}


def recipe_of(path: str | Path, name: str = "", input_size: Sequence[int] | None = None) -> Recipe:
    """The recipe to predict with: as our own checkpoint says, else by name; input_size (height, width) overrides.

    Raises ValueError for a published file without a name: it doesn't say how it was trained.
    """
    checkpoint = read_checkpoint(path)
    if not (name or checkpoint.get("recipe")):
        raise ValueError(f"{path} doesn't say its recipe; give one, such as recipe='lip-published'")
    return recipe_in(checkpoint, name, input_size)


def told_data(path: str | Path) -> str:
    """What a network was trained on, for the Markdown of a page: our own checkpoint's data set, else what its file says."""
    saved = read_checkpoint(path)
    if run := saved.get("run"):
        splits = "both splits: **no measure of new people**" if run["train_and_val"] else "its train split"
        return f"`{run['dataset_folder']}`, {splits}"
    return saved.get("about", {}).get("trained_on", "what the file doesn't say")


def recipe_in(checkpoint: dict, name: str = "", input_size: Sequence[int] | None = None) -> Recipe:
    """`recipe_of` for a checkpoint that is read already: our own hold its name and what a network has of its own."""
    recipe = get_recipe(name or checkpoint["recipe"])
    size = input_size or checkpoint.get("input_size")
    own = {key: checkpoint[key] for key in ("sigma", "sure_peak") if key in checkpoint and not name}
    recipe = replace(recipe, **own)
    if "skeleton" in checkpoint:
        recipe = replace(recipe, skeleton=Skeleton.from_dict(checkpoint["skeleton"]))
    return replace(recipe, input_size=tuple(size)) if size else recipe


def load_weights(network: nn.Module, weights: dict[str, Tensor], source="weights") -> None:
    """Copy weights into a network; ValueError naming every key that is missing, left over or of another shape.

    `num_batches_tracked`, which files of PyTorch before 0.4.1 lack, may be absent: evaluation doesn't use it.
    """
    check_fit(network, weights, source)
    network.load_state_dict({**network.state_dict(), **weights})


def check_fit(network: nn.Module, weights: dict[str, Tensor], source="weights") -> None:
    """The ValueError of `load_weights`, without copying anything."""
    own = network.state_dict()
    missing = [key for key in own if key not in weights and not key.endswith("num_batches_tracked")]
    left_over = [printable(key) for key in weights if key not in own]
    shapes = [
        f"{printable(key)} {tuple(weights[key].shape)} against {tuple(own[key].shape)}"
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


def save_network(path: str | Path, network: GCCPM, recipe: Recipe, half: bool = False, about: dict | None = None) -> Path:
    """Network -> .safetensors file that can be published, and from which alone it predicts: weights, shape and recipe.

    half: float16, half the size; it is read as float32. about: origin, licence, scores and the like, for JSON. Raises
    ValueError for another suffix and for weights that aren't finite.
    """
    if Path(path).suffix != ".safetensors":
        raise ValueError(f"{path}: networks are published as .safetensors; change the suffix")
    weights = half_precision(network.state_dict()) if half else network.state_dict()
    said = {"shape": told_shape(network), **described(recipe), "about": about or {}}
    return write_safetensors(path, weights, said)


def described(recipe: Recipe) -> dict:
    """What a file says of its recipe: all that predicting takes, in plain JSON; `recipe_in` reads it."""
    return {
        "recipe": recipe.name,
        "sigma": recipe.sigma,
        "sure_peak": recipe.sure_peak,
        "input_size": list(recipe.input_size),
        "skeleton": recipe.skeleton.as_dict(),
    }


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
        free = shutil.disk_usage(path.parent).free  # with what was written so far: PyTorch's error doesn't say why
        reason = f"it stopped with {free:,} bytes free on the disk" if isinstance(error, RuntimeError) else error
        beside.unlink(missing_ok=True)
        raise OSError(f"{path}: could not be written ({reason}); the checkpoint before is untouched") from error
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
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows opens no folders
        return
    try:
        with contextlib.suppress(OSError):  # some network file systems refuse
            os.fsync(handle)
    finally:
        os.close(handle)
