"""Weight files: what a checkpoint file holds, without running any of it, and the networks that ship with the package.

A file from elsewhere may lie. Pickles are read by PyTorch's `weights_only` reader, which knows tensors, numbers and texts
alone; what a file says about itself is checked here; what it says about sizes is held against its own bytes.
"""

import contextlib
import json
import re
import zipfile
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from gccpm_lib.files import write_beside
from gccpm_lib.skeletons import Skeleton

SHIPPED = Path(__file__).parent / "weights"
SHIPPED_BACKBONE = SHIPPED / "mobilenet_v1_imagenet_half.safetensors"
SHIPPED_NETWORK = "gccpm-2stage-lip"  # what predicts where nobody names a network
SAID = (
    "shape",
    "recipe",
    "input_size",
    "sigma",
    "sure_peak",
    "skeleton",
    "about",
)  # what our files say about their network
MAX_INPUT = 8192  # pixels on a side
MAX_HEADER = 4_000_000  # bytes; fifty stages need one


def shipped_networks() -> list[str]:
    """Names of the trained networks in gccpm_lib/weights: the folder is the list."""
    return sorted(path.stem for path in SHIPPED.glob("*.safetensors") if path.name != SHIPPED_BACKBONE.name)


def find_checkpoint(path: str | Path) -> Path:
    """A path as it is; a bare name, such as "gccpm-2stage-leeds", is that of a network that ships with the package.

    Raises FileNotFoundError that lists the names there are.
    """
    name, path = str(path), Path(path)
    if name != path.name or path.suffix.lower() in (".safetensors", ".pt", ".pth", ".tar", ".onnx", ".xml"):
        return path
    if (SHIPPED / f"{name}.safetensors").is_file():
        return SHIPPED / f"{name}.safetensors"
    if path.suffix or path.exists():
        return path
    known = ", ".join(shipped_networks()) or "none yet"
    raise FileNotFoundError(f"{name}: checkpoint missing, and no network of this name ships; those that do: {known}")


def read_checkpoint(path: str | Path) -> dict:
    """Whatever a .pt, .pth, .tar or .safetensors file holds, on the CPU. Plain tensors, numbers and texts only.

    path may be the name of a network that ships, see `find_checkpoint`. A .safetensors file of this library gives the same
    keys as our .pt files. Raises FileNotFoundError, or ValueError for a file that is cut off, would run code or says
    nonsense.
    """
    path = find_checkpoint(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: checkpoint missing; train one with 02 or 03, or correct checkpoint_path")
    try:
        content = _read_safetensors(path) if path.suffix.lower() == ".safetensors" else _read_pickle(path)
    except Exception as error:  # pickle, zip, torch and safetensors have an error class each
        raise ValueError(
            f"{path}: not a checkpoint of tensors, or cut off; nothing in it was run ({_reason(path, error)})"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: holds a {type(content).__name__}, not a checkpoint; give a file with a state_dict")
    for key in SAID:
        if key in content and not _makes_sense(key, content[key]):
            raise ValueError(f"{path}: its {key} makes no sense ({printable(content[key])}); don't use this file")
    return content


def printable(text, most: int = 300) -> str:
    """For messages: a text from a file in one line, without codes that a terminal would obey, cut where it never ends."""
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in re.sub(r"\x1b\[[\d;]*m", "", str(text)[: 2 * most]))
    return text if len(text) <= most else f"{text[:most]} ..."


def _reason(path: Path, error: Exception) -> str:
    """What a file that can't be read as tensors holds, or else what its reader says of it."""
    with open(path, "rb") as file:
        start = file.read(200)
    text = " ".join(re.sub(r"\x1b\[[\d;]*m", "", str(error)).split())
    if start.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS; fetch the file itself with git lfs pull"
    if start.lstrip()[:1] == b"<":
        return "it is a web page or XML; download the file itself"
    if "TorchScript" in text:
        return "it is a TorchScript program; save the network's state_dict() instead"
    if named := re.findall(r"GLOBAL (\S+)", text):
        with contextlib.suppress(Exception):  # not a zip file: the first class alone is known
            named = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        allowed = {f"{item.__module__}.{item.__name__}" for item in _numpy_scalars() if not isinstance(item, tuple)}
        classes = ", ".join(sorted({*map(printable, named)} - allowed))
        return f"it holds objects of {classes}; save the network's state_dict() without them"
    return printable(text.rpartition("WeightsUnpickler error: ")[2].partition(" Check the documentation")[0])


def _read_pickle(path: Path) -> dict:
    with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(path) as file:
        # torch.save doesn't compress, so the parts of a whole file are never larger than it
        if sum(part.file_size for part in file.infolist()) > path.stat().st_size:
            raise ValueError("its parts unpack to more than the file")
        if damaged := file.testzip():  # PyTorch's reader doesn't look at the checksums that its writer leaves
            raise ValueError(
                f"{printable(damaged)} in it has another checksum than when it was written; copy the file again"
            )
    with torch.serialization.safe_globals(_numpy_scalars()):
        return torch.load(path, map_location="cpu", weights_only=True)


def _numpy_scalars() -> list:
    """The few numpy globals that checkpoints of old PyTorch carry among their counters."""
    dtypes = [type(np.dtype(t)) for t in (np.float64, np.float32, np.int64, np.int32, np.bool_)]
    scalar = np.float64(0).__reduce__()[0]
    return [np.dtype, scalar, (scalar, "numpy.core.multiarray.scalar"), *dtypes]


def _read_safetensors(path: Path) -> dict:
    """Bare tensors by key or, where the metadata says something about the network, {"network": tensors, "shape": ...}."""
    _check_header(path)
    with safe_open(path, framework="pt") as file:
        said = {key: text for key, text in (file.metadata() or {}).items() if key in SAID}
        tensors = {key: file.get_tensor(key) for key in file.keys()}
    return {"network": tensors, **{key: json.loads(text) for key, text in said.items()}} if said else tensors


def _check_header(path: Path) -> None:
    """ValueError for a header larger than any such network has, which would take minutes, or that names a tensor twice."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if MAX_HEADER < length <= path.stat().st_size:
            raise ValueError(f"its header has {length:,} bytes")
        if length <= MAX_HEADER:  # one that leads behind the file's end is for safe_open to refuse
            json.loads(file.read(length) or "{}", object_pairs_hook=_once)


def _once(pairs: list[tuple[str, object]]) -> dict:
    if len(once := dict(pairs)) < len(pairs):
        raise ValueError("a name comes twice in its header")
    return once


def _makes_sense(key: str, value) -> bool:
    """Whether a file may say this about its network: right types, and numbers that a network can have."""
    if key == "recipe":
        return isinstance(value, str)
    if key in ("sigma", "sure_peak"):
        return type(value) in (int, float) and 0 < value < 1e3
    if key == "input_size":
        return _whole_numbers(value, MAX_INPUT) and len(value) == 2
    if key == "shape":
        return isinstance(value, dict) and _is_context(value.get("context")) and isinstance(value.get("upsampling"), str)
    if key == "skeleton":
        with contextlib.suppress(ValueError):
            return bool(Skeleton.from_dict(value).joints)
        return False
    return True


def _is_context(value) -> bool:
    """A block's name, or name and source text of somebody's own."""
    own = isinstance(value, dict) and set(value) == {"name", "source"} and all(isinstance(v, str) for v in value.values())
    return own or isinstance(value, str)


def _whole_numbers(values, limit: int) -> bool:
    return isinstance(values, list | tuple) and all(type(value) is int and 0 < value <= limit for value in values)


def check_size(path: str | Path, weights: dict[str, Tensor]) -> None:
    """ValueError for weights that can't be in their file: one number shown as a million, or no numbers at all."""
    for key, value in weights.items():
        if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized or value.is_complex():
            raise ValueError(f"{path}: {key} is not a plain tensor; don't use this file")
    claimed, there = (
        sum(value.numel() * value.element_size() for value in weights.values()),
        find_checkpoint(path).stat().st_size,
    )
    if claimed > there:
        raise ValueError(f"{path}: weights of {claimed:,} bytes in a file of {there:,}; don't use this file")


def write_safetensors(path: str | Path, weights: dict[str, Tensor], said: dict) -> Path:
    """Weights and what is said about them (keys of SAID, values for JSON) -> file, written beside and renamed.

    Raises ValueError for a weight that isn't finite.
    """
    wrong = next((key for key, value in weights.items() if not torch.isfinite(value).all()), None)
    if wrong is not None:
        raise ValueError(f"{path}: {wrong} is nan, infinite or too large for half precision; nothing was written")
    assert said.keys() <= set(SAID), f"unknown keys {sorted(said.keys() - set(SAID))}"
    plain = {key: value.detach().cpu().contiguous() for key, value in weights.items()}
    metadata = {"format": "pt", **{key: json.dumps(value) for key, value in said.items()}}
    return write_beside(Path(path), save(plain, metadata))


def half_precision(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Numbers with a fraction as float16; counters stay. What is too large becomes infinite."""
    return {key: value.half() if value.is_floating_point() else value for key, value in weights.items()}
