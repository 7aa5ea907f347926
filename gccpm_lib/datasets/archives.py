"""Archives: unpack what a data set's authors packed, nested archives too, and never outside the folder."""

import gzip
import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from gccpm_lib.datasets.records import DataError

ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz")
MAX_DEPTH = 4  # archives in archives; LIP's and COCO's have at most two


def unpack_all(folder: str | Path) -> Iterator[Path]:
    """Unpack every archive in a folder beside itself, then those inside; yields each one when it is done.

    A file `<archive>.unpacked` marks what is done, so that a second call does nothing. Raises DataError for an archive
    that is cut off or has a member that points outside.
    """
    waiting = [(path, 1) for path in sorted(Path(folder).rglob("*")) if path.name.lower().endswith(ENDINGS)]
    while waiting:
        archive, depth = waiting.pop(0)
        if depth > MAX_DEPTH:
            raise DataError(f"{archive}: the {depth}th archive inside one another; don't use it")
        mark = archive.with_name(archive.name + ".unpacked")
        if mark.exists():
            continue
        members = _unpack(archive)
        mark.touch()
        waiting += [(archive.parent / name, depth + 1) for name in members if name.lower().endswith(ENDINGS)]
        yield archive


def _unpack(archive: Path) -> list[str]:
    """Unpack into a folder beside the archive, then move what isn't there yet: files that are there stay as they are."""
    part = archive.with_name(archive.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        members = _unpack_into(part, archive)
        for path in sorted(path for path in part.rglob("*") if not path.is_dir() or path.is_symlink()):
            target = archive.parent / path.relative_to(part)
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                path.rename(target)
        return members
    except (FileExistsError, NotADirectoryError) as error:
        raise DataError(f"{archive}: {error.filename} is a file, but a folder has to be there; move it away") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _unpack_into(part: Path, archive: Path) -> list[str]:
    try:
        if archive.name.lower().endswith(".zip"):
            with zipfile.ZipFile(archive) as file:
                members = file.namelist()
                _check_members(archive, members, sum(member.file_size for member in file.infolist()))
                file.extractall(part)
        else:
            _check_whole(archive)
            with tarfile.open(archive) as file:
                members = file.getnames()
                link = next((member.name for member in file if not (member.isfile() or member.isdir())), None)
                if link is not None:  # data sets have none; Python's own filter has let some through
                    raise DataError(f"{archive}: member {link!r} is a link or a device; don't use this archive")
                _check_members(archive, members, sum(member.size for member in file.getmembers()))
                file.extractall(part, filter="data")
    except tarfile.FilterError as error:
        raise DataError(f"{archive}: {error}; don't use this archive") from error
    except OSError as error:
        if error.errno is not None:  # the system's own trouble: disk full, no permission
            raise DataError(
                f"{archive}: can't be unpacked here ({error.strerror}); make room or change permissions"
            ) from error
        raise DataError(f"{archive}: archive cut off or damaged ({error}); download it again") from error
    except DataError:
        raise
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, RuntimeError, ValueError) as error:
        raise DataError(f"{archive}: archive cut off or damaged ({error}); download it again") from error
    return members


def _check_whole(archive: Path) -> None:
    """Read a compressed tar to its end, where the checksum is: tarfile stops quietly at a damaged header."""
    if archive.name.lower().endswith("gz"):
        with gzip.open(archive) as file:
            while file.read(1 << 20):
                pass


def _check_members(archive: Path, members: list[str], size: int) -> None:
    """DataError for a member that points outside, and for content that the disk can't take."""
    root = archive.parent.resolve()
    for name in members:
        if "\0" in name or not (root / name).resolve().is_relative_to(root):
            raise DataError(f"{archive}: member {name!r} points outside its folder; don't use this archive")
    free = shutil.disk_usage(root).free
    if size > free:
        raise DataError(
            f"{archive}: unpacks to {size / 1e9:.1f} GB, but {free / 1e9:.1f} GB are free; make room or distrust it"
        )
