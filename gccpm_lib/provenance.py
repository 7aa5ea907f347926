"""Where numbers come from: versions, machine, commit and a hash of the data; recorded next to every result."""

import ast
import datetime
import functools
import hashlib
import inspect
import json
import linecache
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

PACKAGES = ("torch", "torchvision", "numpy", "opencv-python", "papermill", "pycocotools", "onnxruntime", "openvino", "nncf")
CONTENT_SUFFIXES = (".csv", ".json", ".txt")


def describe(root: Path) -> dict:
    """The running process's provenance, {name: text, number, bool or None}; date is UTC to the second.

    gpu (the machine's; what was computed on is a run's or notebook's parameter `device`) and threads are known only where
    torch has been imported: call it from the notebook that did the work.
    """
    torch = sys.modules.get("torch")
    gpu = torch.cuda.get_device_name() if torch is not None and torch.cuda.is_available() else None
    return {
        "commit": _git(root, "rev-parse", "HEAD") or "unknown",
        "uncommitted_changes": _has_changes(root),
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
        "platform": platform.platform(),
        "cpu": _cpu_name(),
        "cpu_count": os.cpu_count(),
        "threads": torch.get_num_threads() if torch is not None else None,
        "gpu": gpu,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


@functools.cache
def of_process() -> dict:
    """The same for this library's own folder, found out once: what every checkpoint carries."""
    return describe(Path(__file__).resolve().parents[1])


def told_function(function: Callable) -> dict[str, str]:
    """What a file says of a function or class of one's own: its name and source text, to be read by people alone.

    The text is "" for what was typed into a console.
    """
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):
        source = _class_in_cell(function)
    return {"name": function.__name__, "source": source}


def _class_in_cell(cls: type) -> str:
    """Source text of a notebook's class: before Python 3.13 `inspect` doesn't find it, but its methods know their cell."""
    codes = [method.__code__ for method in vars(cls).values() if inspect.isfunction(method)]
    lines = linecache.getlines(codes[0].co_filename) if codes else []
    for node in ast.walk(ast.parse("".join(lines))):
        inside = isinstance(node, ast.ClassDef) and node.lineno <= codes[0].co_firstlineno <= node.end_lineno
        if inside and node.name == cls.__name__:
            return "".join(lines[node.lineno - 1 : node.end_lineno])
    return ""


def data_hash(folder: str | Path) -> str:
    """Folder -> 16 hex digits over all relative file names and sizes, and the content of its csv, json and txt files.

    Pictures count by name and size only, so that a whole data set takes seconds. Linked folders count as if they were
    there. ValueError when there is no folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder to hash; prepare the data set first")
    total = hashlib.sha256()
    for path in sorted(_files(folder)):
        total.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
        if path.suffix.lower() in CONTENT_SUFFIXES:
            total.update(path.read_bytes())
    return total.hexdigest()[:16]


def _files(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """All files under a folder, through links too, unless one leads back to a folder above it."""
    inside = (*above, folder.resolve())
    for path in folder.iterdir():
        if path.is_file():
            yield path
        elif path.is_dir() and path.resolve() not in inside:
            yield from _files(path, inside)


def _git(root: Path, *arguments: str) -> str | None:
    try:
        result = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.rstrip() if result.returncode == 0 else None


def is_tracked(path: Path) -> bool:
    """Whether a file is there and git has it."""
    return path.is_file() and _git(path.parent, "ls-files", "--error-unmatch", path.name) is not None


def _has_changes(root: Path) -> bool | str:
    """Whether files differ from the commit. Reports are left out, since a run itself rewrites them, and so is what a
    notebook that somebody worked in shows: its cells count."""
    status = _git(root, "status", "--porcelain", "-z", "--", ".", ":(exclude)reports")
    if status is None:
        return "unknown"
    changed = [line for line in status.split("\0") if line]
    return any(not (line[3:].endswith(".ipynb") and _same_cells(root, line[3:])) for line in changed)


def _same_cells(root: Path, place: str) -> bool:
    """Whether a notebook's cells are those of the commit; place: relative to the repository."""
    top, committed = _git(root, "rev-parse", "--show-toplevel"), _git(root, "show", f"HEAD:{place}")
    try:
        return sources(json.loads((Path(top) / place).read_text(encoding="utf-8"))) == sources(json.loads(committed))
    except (OSError, TypeError, ValueError, KeyError):  # new, gone, or no notebook
        return False


def sources(notebook: dict) -> list[tuple]:
    """What of a notebook's JSON decides what it does: kind, text and tags of every cell."""
    return [(c["cell_type"], "".join(c["source"]), tuple(c["metadata"].get("tags", ()))) for c in notebook["cells"]]


def version(package: str) -> str | None:
    """An installed package's version, None where it isn't installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
