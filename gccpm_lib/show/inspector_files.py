"""The inspector's script and style, and what it calls its data: all that a published page needs of it."""

from pathlib import Path

INSPECTOR_TYPE = "application/vnd.gccpm.inspector+json"  # media type of what a displayed inspector leaves in a notebook
SOURCES = Path(__file__).resolve().parent


def module_text() -> str:
    """The inspector's JavaScript as one ES module: an anywidget; in a report startReports() has to follow."""
    names = ("inspector_sources.js", "inspector_stage.js", "inspector.js")
    return "\n".join((SOURCES / name).read_text(encoding="utf-8") for name in names)


def style_text() -> str:
    """The inspector's CSS."""
    return (SOURCES / "inspector.css").read_text(encoding="utf-8")
