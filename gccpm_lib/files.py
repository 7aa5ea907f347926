"""Files: written whole or not at all, and folders held against others."""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import filelock


class FolderBusy(RuntimeError):
    """Another process holds this folder."""


@contextlib.contextmanager
def locked(folder: Path, lock: str = ".lock", wait: bool = False) -> Iterator[None]:
    """Hold a folder against other processes by a file in it. A killed process holds nothing.

    FolderBusy when another process has it; with wait, that one's end is waited for.
    """
    folder.mkdir(parents=True, exist_ok=True)
    held = filelock.FileLock(folder / lock)
    try:
        held.acquire(timeout=-1 if wait else 0)
    except filelock.Timeout as error:
        raise FolderBusy(f"{folder / lock}: another gccpm is running there; wait for it or end it") from error
    try:
        yield
    finally:
        held.release()


def write_beside(path: Path, content: str | bytes) -> Path:
    """Write to a .part file beside the path, then rename: whatever interrupts it, an old file stays whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError:  # a full disk
        part.unlink(missing_ok=True)
        raise
    return part.replace(path)


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """An empty folder to fill, beside the path, which gets the path's name at the end. FileExistsError where it exists."""
    if path.exists():
        raise FileExistsError(f"{path}: exists already; remove it or give another folder")
    part = path.with_name(path.name + ".part")
    shutil.rmtree(part, ignore_errors=True)  # of a writing that was interrupted
    part.mkdir(parents=True)
    yield part
    part.rename(path)


def link(target: Path, place: Path) -> None:
    """Show at `place` the file or folder that lies at `target`: by a symbolic link, where the system allows that.

    Else (Windows, without the right for it) a folder's files are linked one by one; across disks they are copied.
    """
    try:
        place.symlink_to(target, target_is_directory=target.is_dir())
    except (OSError, NotImplementedError):
        if target.is_dir():
            shutil.copytree(target, place, copy_function=_hard_link)
        else:
            _hard_link(target, place)


def _hard_link(target, place) -> None:
    try:
        os.link(target, place)
    except (OSError, AttributeError):  # another disk, or a file system without hard links
        shutil.copyfile(target, place)


def sha256(path: Path) -> str:
    """Hash of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(folder: Path) -> Path:
    """The hash of every file of a folder -> manifest.json in it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json")
    hashes = {path.relative_to(folder).as_posix(): sha256(path) for path in files}
    return write_beside(folder / "manifest.json", json.dumps(hashes, indent=1) + "\n")


def read_manifest(folder: Path) -> dict[str, str]:
    """Relative file name -> hash; FileNotFoundError where no manifest was written."""
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
