"""The inspector's script and style, what it calls its data, and a page of its own."""

import base64
import hashlib
import html
import json
from collections.abc import Mapping
from pathlib import Path

INSPECTOR_TYPE = "application/vnd.gccpm.inspector+json"  # media type of what a displayed inspector leaves in a notebook
STILL = "inspector_still"  # marks, in the picture's metadata, the output that stands in for one
PARTS = ("inspector_sources", "inspector_drawing", "inspector_stage", "inspector_controls", "inspector_strip")
PARTS += ("inspector_editor", "inspector_video", "inspector")  # in this order one module
SOURCES = Path(__file__).resolve().parent


def module_text() -> str:
    """The inspector's JavaScript as one ES module: an anywidget; in a report startReports() has to follow."""
    return "\n".join((SOURCES / f"{name}.js").read_text(encoding="utf-8") for name in PARTS)


def style_text() -> str:
    """The inspector's CSS."""
    return (SOURCES / "inspector.css").read_text(encoding="utf-8")


def script_data(content: Mapping) -> str:
    """JSON text to stand inside a script element: without "<" nothing in it can end the element or begin a comment."""
    return json.dumps(content).replace("<", "\\u003c")


def script_hash(script: str) -> str:
    """What a page's content security policy calls a script; no others may run."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def page_html(title: str, data: Mapping) -> str:
    """A page of an inspector alone, which loads nothing from elsewhere. data: as `inspector_data.report_data` gives it."""
    module = module_text() + "\nstartReports();\n"
    title = html.escape(title.encode(errors="replace").decode())
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; \
script-src '{script_hash(module)}'; base-uri 'none'; form-action 'none'">
<title>{title}</title>
<style>:root {{ color-scheme: light dark; --quiet: light-dark(#555, #bbb); }}
body {{ margin: 0 auto; max-width: 76rem; padding: .5rem; }}
h1 {{ font: 600 1.25rem system-ui, sans-serif; overflow-wrap: anywhere; }} {style_text()}</style>
</head>
<body>
<h1>{title}</h1>
<div class="inspector"><script type="application/json">{script_data(data)}</script>
<noscript><p>This page needs JavaScript.</p></noscript></div>
<script type="module">{module}</script>
</body>
</html>
"""
