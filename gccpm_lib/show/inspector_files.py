"""The inspector's script and style, and what it calls its data: all that a published page needs of it."""

from pathlib import Path

INSPECTOR_TYPE = "application/vnd.gccpm.inspector+json"  # media type of what a displayed inspector leaves in a notebook
STILL = "inspector_still"  # marks, in the picture's metadata, the output that stands in for one
PARTS = ("inspector_sources", "inspector_drawing", "inspector_stage", "inspector_controls", "inspector_strip")
PARTS += ("inspector_editor", "inspector")  # in this order one module
SOURCES = Path(__file__).resolve().parent


def module_text() -> str:
    """The inspector's JavaScript as one ES module: an anywidget; in a report startReports() has to follow."""
    return "\n".join((SOURCES / f"{name}.js").read_text(encoding="utf-8") for name in PARTS)


def style_text() -> str:
    """The inspector's CSS."""
    return (SOURCES / "inspector.css").read_text(encoding="utf-8")
