"""Video containers: whether a file was cut off, by the lengths that it states itself."""

import struct
from pathlib import Path
from typing import BinaryIO

# Boxes of the outermost level of MP4 and MOV; behind them may lie anything
_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"moof", b"mfra", b"sidx", b"styp", b"uuid", b"meta")
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"  # Matroska and WebM


def is_cut_off(path: str | Path) -> bool:
    """True where a part of an AVI, MP4, MOV, Matroska or WebM file goes on behind the file's last byte.

    Other formats state no lengths, nor do recordings that nobody ended: False.
    """
    size = Path(path).stat().st_size
    with open(path, "rb") as file:
        head = file.read(8)
        parts = _riff if head[:4] == b"RIFF" else _ebml if head[:4] == _EBML else _boxes
        file.seek(0)
        end = parts(file, size)
    return end > size + 1  # AVI's parts end at even bytes, and the last one's padding is often left out


def _riff(file: BinaryIO, size: int) -> int:
    """Where the last RIFF part ends; a large AVI has several."""
    end = 0
    while end < size:
        file.seek(end)
        head = file.read(8)
        if len(head) < 8 or head[:4] != b"RIFF":
            break
        end += 8 + int.from_bytes(head[4:], "little")
    return end


def _boxes(file: BinaryIO, size: int) -> int:
    """Where the last known box of the outermost level ends (ISO 14496-12)."""
    end = 0
    while end < size:
        file.seek(end)
        head = file.read(16)
        if len(head) < 8 or head[4:8] not in _BOXES:
            break
        length = struct.unpack(">I", head[:4])[0]
        if length == 1 and len(head) == 16:
            length = struct.unpack(">Q", head[8:])[0]
        if length < 8:  # 0: until the file's end
            break
        end += length
    return end


def _ebml(file: BinaryIO, size: int) -> int:
    """Where the segment ends; 0 where it doesn't tell."""
    file.seek(4)
    length = _length(file)
    file.seek(length or 0, 1)
    if file.read(4) != _SEGMENT:
        return 0
    length = _length(file)
    return file.tell() + length if length is not None else 0


def _length(file: BinaryIO) -> int | None:
    """A length as EBML writes it: the leading zeros of the first byte count the bytes that follow. None: unknown."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    extra = 8 - first[0].bit_length()
    value = int.from_bytes(bytes([first[0] & ((1 << (7 - extra)) - 1)]) + file.read(extra), "big")
    return None if value == (1 << 7 * (extra + 1)) - 1 else value
