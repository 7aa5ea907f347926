"""Files: written whole or not at all."""

from pathlib import Path


def write_beside(path: Path, content: str | bytes) -> Path:
    """Write to a .part file beside the path, then rename: whatever interrupts it, an old file stays whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_bytes(content.encode() if isinstance(content, str) else content)
    return part.replace(path)
