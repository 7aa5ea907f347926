"""An executed notebook -> one self-contained HTML page (through nbconvert), with nothing in it that loads from afar."""

import base64
import io
import itertools
import json
import re
from collections.abc import Mapping
from pathlib import Path

import nbformat
from bs4 import BeautifulSoup
from nbconvert import HTMLExporter
from PIL import Image
from pygments.formatters import HtmlFormatter
from traitlets.config import Config

from gccpm_lib.report.notebook import RECORD_TYPE
from gccpm_lib.report.profiles import has_tag, read_parameters
from gccpm_lib.report.sanitise import harmless, markdown_html
from gccpm_lib.show import inspector_files
from gccpm_lib.show.inspector_files import INSPECTOR_TYPE, STILL, script_data, script_hash

TEMPLATES = Path(__file__).resolve().parent / "templates"
PICTURE_LIMIT_BYTES = 300_000
PICTURES_LIMIT_BYTES = 2_000_000  # all of a page together, before base64 adds a third
# Cells: their values stand in the table of parameters; Colab alone needs it; the page has its own first screen.
UNSHOWN = ("injected-parameters", "launch", "first-screen")
LAYOUTS = ("lip", "coco")  # tags of cells about data in one layout alone; see `notebook.record_metrics`
ANSWER_LIMIT_BYTES = 80_000  # the picture under the title: it stands in the page once more
STILL_LIMIT_BYTES = 60_000  # the picture in an inspector's place, for browsers without JavaScript
FEW_COLOURS = 4096  # a chart has fewer, a photo has more
LAUNCH_LINKS_NOWHERE = r"^\[!\[.*OWNER/REPOSITORY.*$"  # badges, as long as the repository has no public address
NO_PICTURES = "*No pictures are shown here: this data set's may not be published, or it has none of this kind.*"
SHOWN_TYPES = (
    *(INSPECTOR_TYPE, "text/html", "text/markdown", "image/svg+xml"),
    *("image/webp", "image/png", "image/jpeg", "text/latex", "text/plain"),
)
NOTHING_TOLD = {"facts": {}, "links": {}, "failed_page": "", "record": None}


def record_of(notebook: Mapping) -> dict:
    """What a notebook recorded last: headline, metrics, about, layout, provenance; {} where it recorded nothing."""
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", ())]
    found = [output["data"][RECORD_TYPE] for output in outputs if RECORD_TYPE in output.get("data", {})]
    return {**found[-1], "headline": dict(found[-1].get("headline", {}))} if found else {}


def introduction(notebook: Mapping) -> tuple[str, str]:
    """A notebook's first heading and first paragraph, as plain text ('' where there is none)."""
    texts = (cell["source"] for cell in notebook["cells"] if cell["cell_type"] == "markdown")
    soup = BeautifulSoup(markdown_html("\n\n".join(list(texts)[:2])), "html.parser")
    for link in soup.select("a.anchor-link"):
        link.decompose()
    return tuple(found.get_text(" ", strip=True) if (found := soup.find(tag)) else "" for tag in ("h1", "p"))


def parameter_rows(notebook: Mapping, where: str) -> list[dict]:
    """The effective parameters of an executed notebook: name, value, default (None when it was kept) and help."""
    injected = {item.name: item.value for item in read_parameters(notebook, where, "injected-parameters")}
    rows = []
    for item in read_parameters(notebook, where):
        value = injected.get(item.name, item.value)
        changed = item.name in injected and value != item.value
        rows.append({"name": item.name, "value": value, "default": repr(item.value) if changed else "", "help": item.help})
    return rows


def page_html(notebook: Mapping, where: str, about: Mapping) -> str:
    """An executed notebook (its JSON) -> the page.

    about: title (of the page), report (title of the whole), previous and next ({name, title} or None), failure, status,
    failed_page (of a later run), facts (word -> HTML) and links (word -> address) of its heading, answer (text and name of
    a picture, see `notebook.record_metrics`) and record (what `gccpm verify` reads).
    """
    picture = _answer_picture(notebook, about.get("answer", {}).get("picture", ""))
    notebook = prepared(notebook, where)
    inspected = any(
        INSPECTOR_TYPE in output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", ())
    )
    module = inspector_files.module_text() + "\nstartReports();\n" if inspected else ""
    scripts = {"script": template_text("page.js"), "inspector": module}
    style = style_sheet() + (inspector_files.style_text() if inspected else "")
    hashes = [script_hash(script) for script in scripts.values() if script]
    resources = {
        "about": {"facts": {}, "links": {}, "failed_page": "", "record": None, "answer": {}, **about},
        "answer_picture": picture,
        "style": style,
        "icon": icon(),
        **scripts,
        "script_hashes": hashes,
    }
    exporter = HTMLExporter(
        template_name="classic",
        template_file=str(TEMPLATES / "report.html.j2"),
        config=Config({"NbConvertBase": {"display_data_priority": list(SHOWN_TYPES)}}),
    )
    exporter.register_filter("markdown_html", markdown_html)
    exporter.register_filter("harmless", harmless)
    exporter.register_filter("represent", repr)
    exporter.register_filter("script_data", script_data)
    page, _ = exporter.from_notebook_node(notebook, resources)
    return _with_contents(page)


def style_sheet() -> str:
    """The pages' CSS with the colours of the code for light and for dark."""
    light, dark = (
        HtmlFormatter(style=name, nobackground=True).get_style_defs(".highlight") for name in ("default", "github-dark")
    )
    return f"{light}\n@media screen and (prefers-color-scheme: dark) {{\n{dark}\n}}\n{template_text('page.css')}"


def icon() -> str:
    """The pages' icon as a data URI."""
    return "data:image/svg+xml;base64," + base64.b64encode(template_text("icon.svg").encode()).decode()


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height of a picture file in pixels."""
    with Image.open(path) as image:
        return image.size


def template_text(name: str) -> str:
    """A file of the templates folder as text."""
    return (TEMPLATES / name).read_text(encoding="utf-8")


def prepared(notebook: Mapping, where: str) -> nbformat.NotebookNode:
    """A copy with what the page shows: no progress bars, parameters as rows, small pictures with alt texts."""
    rows = parameter_rows(notebook, where)
    notebook = nbformat.reads(json.dumps(notebook), as_version=4)
    layout = record_of(notebook).get("layout")
    unshown = {*UNSHOWN, *(LAYOUTS if layout else ())} - {layout}
    notebook.cells = [cell for cell in notebook.cells if not any(has_tag(cell, tag) for tag in unshown)]
    notebook.cells = _without_what_shows_nothing(notebook.cells)
    _say_where_pictures_lack(notebook.cells)
    pictures = sum("image/png" in output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", ()))
    limit = min(PICTURE_LIMIT_BYTES, PICTURES_LIMIT_BYTES // max(pictures, 1))
    heading = "Figure"
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = re.sub(LAUNCH_LINKS_NOWHERE, "", cell.source, flags=re.MULTILINE)
            headings = re.findall(r"^#+\s+(.+?)\s*$", cell.source, re.MULTILINE)
            heading = headings[-1] if headings else heading
        elif cell.cell_type == "code":
            cleaned = (_clean_output(output, limit) for output in cell.outputs)
            cell.outputs = _joined([output for output in cleaned if output is not None])
            cell.metadata["alt"] = cell.metadata.get("alt") or heading
            cell.metadata["failed"] = any(output.output_type == "error" for output in cell.outputs)
            if has_tag(cell, "parameters"):
                cell.metadata["rows"] = rows
    return notebook


def _answer_picture(notebook: Mapping, name: str) -> dict | None:
    """A figure of an executed notebook, made small: base64 of its WebP, and its caption; None where there is none."""
    for output in (output for cell in notebook["cells"] for output in cell.get("outputs", ())):
        about = output.get("metadata", {}).get("image/png", {})
        if name and about.get("figure") == name and "image/png" in output.get("data", {}):
            small = _webp(base64.b64decode("".join(output["data"]["image/png"])), ANSWER_LIMIT_BYTES)
            return {"webp": base64.b64encode(small).decode(), "alt": about.get("caption") or name}
    return None


def _without_what_shows_nothing(cells: list) -> list:
    """The cells without each text tagged if-shown, and the code behind it, where that code was run and shows nothing."""
    starts = [i for i, cell in enumerate(cells) if not i or cell.cell_type == "markdown"]
    groups = [cells[start:end] for start, end in itertools.pairwise([*starts, len(cells)])]
    return [cell for group in groups if not _shows_nothing(group) for cell in group]


def _shows_nothing(group: list) -> bool:
    text, *code = group
    return has_tag(text, "if-shown") and all(cell.execution_count is not None and not cell.outputs for cell in code)


def _say_where_pictures_lack(cells: list) -> None:
    """A text tagged about-pictures keeps its heading alone where the cell behind it was run and shows nothing."""
    for cell, following in itertools.pairwise(cells):
        run = following.cell_type == "code" and following.execution_count is not None
        if has_tag(cell, "about-pictures") and run and not following.outputs:
            heading, _, _ = cell.source.partition("\n")
            cell.source = (f"{heading}\n\n" if heading.startswith("#") else "") + NO_PICTURES


def _joined(outputs: list) -> list:
    """Printed lines that follow each other as one block (the stream was cut where something else was hidden)."""
    joined = []
    for output in outputs:
        if joined and output.output_type == "stream" and joined[-1].output_type == "stream":
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


def _clean_output(output: nbformat.NotebookNode, limit: int) -> nbformat.NotebookNode | None:
    """The output as it is shown, None for what is not: error streams, progress bars, records, widgets but inspectors."""
    if output.output_type == "stream":
        output.text = re.sub(r"[^\n]*\r(?!\n)", "", "".join(output.text))  # each \r wrote over the line before it
        return output if output.name == "stdout" and output.text.strip() else None
    data = output.get("data", {})
    if INSPECTOR_TYPE in data:
        output.data = {INSPECTOR_TYPE: data[INSPECTOR_TYPE]}
        return output
    if RECORD_TYPE in data or any("widget-view" in kind for kind in data) or _is_blank("".join(data.get("text/html", "x"))):
        return None
    if "image/png" in data:
        about = output.metadata["image/webp"] = output.metadata.get("image/png", {})
        limit = min(limit, STILL_LIMIT_BYTES) if about.get(STILL) else limit
        data["image/webp"] = base64.b64encode(_webp(base64.b64decode("".join(data.pop("image/png"))), limit)).decode()
    return output


def _is_blank(markup: str) -> bool:
    """Whether HTML shows nothing, as what some progress bars leave behind."""
    return "<img" not in markup and "<svg" not in markup and not BeautifulSoup(markup, "html.parser").get_text(strip=True)


def _webp(picture: bytes, limit: int) -> bytes:
    """A PNG -> the same picture as WebP of at most `limit` bytes: a chart exactly, photos nearly, smaller if need be."""
    image = Image.open(io.BytesIO(picture)).convert("RGBA")
    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    chart = image.getcolors(FEW_COLOURS) is not None
    found = [_encoded(image, quality=90)] + ([_encoded(image, lossless=True)] if chart else [])
    data = min(found, key=len)
    while len(data) > limit and min(image.size) > 64:
        image = image.resize((image.width * 3 // 4, image.height * 3 // 4))
        data = _encoded(image, quality=80)
    return data


def _encoded(image: Image.Image, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "webp", **options)
    return buffer.getvalue()


def _with_contents(page: str) -> str:
    """Fill the page's table of contents from its headings, give each an id, and say below the first what it is about."""
    soup = BeautifulSoup(page, "html.parser")
    if title := soup.select_one("main h1"):
        title.insert_after(*soup.select(".answer, .about"))
    contents, seen = soup.select_one("#contents ol"), set()
    for heading in soup.select("main h2, main h3"):
        anchor = heading.select_one("a.anchor-link")
        text = "".join(part.get_text() for part in heading.children if part is not anchor).strip()
        name = base = re.sub(r"[^\w-]+", "-", heading.get("id") or text).strip("-") or "section"
        while name in seen:
            name = f"{base}-{len(seen)}"
        seen.add(name)
        heading["id"] = name
        if anchor:
            anchor["href"] = f"#{name}"
            anchor["aria-label"] = f"Link to {text}"
        item = soup.new_tag("li", attrs={"class": heading.name})
        link = soup.new_tag("a", href=f"#{name}")
        link.string = text
        item.append(link)
        contents.append(item)
    if not seen:
        soup.select_one("#contents").decompose()
    return str(soup)
