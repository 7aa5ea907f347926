"""Files: written whole or not at all, and folders held against others."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path


class FolderBusy(RuntimeError):
    """Another process holds this folder."""


@contextlib.contextmanager
def locked(folder: Path, lock: str = ".lock") -> Iterator[None]:
    """Hold a folder against other processes by a file in it; FolderBusy when one has it. A killed process holds nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / lock, "w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FolderBusy(f"{folder / lock}: another gccpm is running there; wait for it or end it") from error
        yield


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
