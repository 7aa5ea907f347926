"""What a report knows of each page: read from the executed notebook of its last good run, and from nowhere else.

Where no run of this project has succeeded yet, what the report's metrics.json already holds is kept: a page is never
replaced by a worse one.
"""

import base64
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from nbconvert.filters import strip_ansi

from gccpm_lib.files import write_beside
from gccpm_lib.report import pages
from gccpm_lib.report.pages import record_of
from gccpm_lib.report.profiles import Profile, read_notebook, run_files, source_notebook

STATUS_WORDS = {
    "done": "done",
    "earlier": "from an earlier run",
    "failed since": "from an earlier run, the last one failed",
    "failed": "failed",
    "not run": "not run",
}
GOOD = ("done", "earlier", "failed since")  # the page shows results
PAPER = "https://arxiv.org/abs/1906.04104"
NOT_RUN = "It has not run yet, or a notebook that it needs failed."


def read_published(root: Path, source: Path) -> dict:
    """A notebook as it is published: paths in its outputs are relative to the project, for readers elsewhere."""
    text = json.dumps(read_notebook(source), ensure_ascii=False)
    text = text.replace(f"{root}/", "")
    return json.loads(text.replace(f"{Path.home()}/", "~/") if Path.home().name else text)


def page_record(name: str, entry: Mapping) -> dict:
    """What a page says of its numbers in a form that `gccpm verify` can hold against the cards and metrics.json."""
    metrics = json.dumps(entry.get("metrics", {}), sort_keys=True)
    return {"page": name, "headline": entry.get("headline", {}), "metrics": hashlib.sha256(metrics.encode()).hexdigest()}


def title_of(notebook: Mapping, profile: Profile, name: str) -> str:
    """The notebook's first heading, with the page's label where one notebook makes several pages."""
    title, label = pages.introduction(notebook)[0] or name, profile.labels[name]
    return f"{title} ({label})" if label else title


def failure_of(notebook: Mapping) -> str:
    """One line of what went wrong, without a terminal's colours."""
    return strip_ansi(notebook["metadata"].get("failure", ""))


def links(root: Path, profile: Profile, name: str, folder: Path) -> dict[str, str]:
    """Where a page leads besides its neighbours: its notebook, the paper, the cards of the networks, the log."""
    places = {
        "notebook": source_notebook(root, profile, name),
        "cards of the networks that ship": root / "gccpm_lib" / "weights" / "README.md",
        "log of experiments": root / "reports" / "EXPERIMENTS.md",
    }
    found = {what: Path(os.path.relpath(path, folder)).as_posix() for what, path in places.items() if path.is_file()}
    return {**found, "paper": PAPER}


def earlier_entries(folder: Path) -> dict[str, dict]:
    """The pages of the report that lies in the folder, as its metrics.json has them; {} where there is none."""
    try:
        return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["notebooks"]
    except (OSError, ValueError, KeyError):
        return {}


def is_kept(entry: Mapping | None, page: Path) -> bool:
    """Whether a page that was published earlier holds results and is still there."""
    return entry is not None and entry.get("status") in GOOD and page.is_file()


def read_entries(root: Path, profile: Profile, folder: Path) -> list[dict]:
    """What the index page says about each page, in the profile's order; folder: the report's."""
    earlier, entries = earlier_entries(folder), []
    statuses: dict[str, str] = {}
    for name in profile.notebooks:
        entry = _entry(root, profile, name, folder, earlier.get(name))
        if entry["status"] == "done" and any(statuses[other] != "done" for other in profile.needs[name]):
            entry["status"] = "earlier"
        statuses[name] = entry["status"]
        entries.append(entry)
    return entries


def _entry(root: Path, profile: Profile, name: str, folder: Path, earlier: dict | None) -> dict:
    good, failed = run_files(root, profile, name)
    failure = failure_of(read_notebook(failed)) if failed.is_file() else ""
    if not good.is_file() and is_kept(earlier, folder / f"{name}.html"):
        blank = _described(read_notebook(source_notebook(root, profile, name)), profile, name)
        kept = {key: value for key, value in earlier.items() if value is not None}
        return {**blank, **kept, "status": "failed since" if failure else "earlier", "failure": failure, "fresh": False}
    if good.is_file():
        status = "failed since" if failure else "done"
        source = good
    else:
        status = "failed" if failure else "not run"
        source = failed if failure else source_notebook(root, profile, name)
    notebook = read_published(root, source)
    record = record_of(notebook) if good.is_file() else {}
    entry = _described(notebook, profile, name)
    entry["parameters"] = {row["name"]: row["value"] for row in pages.parameter_rows(notebook, str(source))}
    entry["wall_time_s"] = notebook["metadata"].get("papermill", {}).get("duration")
    entry |= {key: record[key] for key in ("headline", "metrics", "about", "answer", "provenance") if key in record}
    if good.is_file():
        entry["figures"] = _write_figures(notebook, folder / "figures")
    return {**entry, "status": status, "failure": failure, "fresh": True}


def _described(notebook: Mapping, profile: Profile, name: str) -> dict:
    """What is said of a page whatever became of it, and empty places for the rest."""
    heading, question = pages.introduction(notebook)
    empty = {key: {} for key in ("headline", "metrics", "about", "answer", "provenance", "parameters")}
    return {
        "name": name,
        "title": title_of(notebook, profile, name),
        "heading": heading or name,
        "label": profile.labels[name],
        "question": question,
        "wall_time_s": None,
        "figures": [],
        **empty,
    }


def _write_figures(notebook: Mapping, target: Path) -> list[dict]:
    """The figures that an executed notebook shows -> PNG files; name, caption and size of each, in their order."""
    figures = {}
    for cell in notebook["cells"]:
        for output in cell.get("outputs", ()):
            about = output.get("metadata", {}).get("image/png", {})
            name = Path(str(about.get("figure", ""))).name
            if name and "image/png" in output.get("data", {}):
                path = write_beside(target / f"{name}.png", base64.b64decode("".join(output["data"]["image/png"])))
                width, height = pages.picture_size(path)
                caption = about.get("caption") or name.replace("_", " ")
                figures[name] = {"file": path.name, "caption": caption, "width": width, "height": height}
    return list(figures.values())
