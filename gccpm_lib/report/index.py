"""The report of a profile: a page per executed notebook, the index page, metrics.json (`gccpm publish`)."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import jinja2
from nbconvert.filters import strip_ansi

from gccpm_lib.files import locked, write_beside, write_manifest
from gccpm_lib.report import pages, site
from gccpm_lib.report.profiles import Profile, experiment_folder, notebook_folder, read_notebook, source_notebook
from gccpm_lib.report.sanitise import markdown_html

STATUS_WORDS = {"done": "done", "failed": "failed", "earlier": "from an earlier run", "not run": "not run"}


def publish_page(root: Path, profile: Profile, name: str) -> Path:
    """Write reports/<profile>/<name>.html: the last run, also a failed one, or a note that there was none."""
    source, status = last_run(root, profile, name)
    notebook = _readable(root, source)
    failure = _failure(notebook, status)
    if status == "not run":
        notebook["cells"] = [cell for cell in notebook["cells"] if cell["cell_type"] == "markdown"][:1]
        failure = "It has not run yet, or a notebook that it needs failed."
    order = reading_order(profile)
    place = order.index(name)
    about = {
        "title": _title(notebook, profile, name),
        "report": profile.title,
        "failure": failure,
        "status": status,
        "previous": _neighbour(root, profile, order[place - 1]) if place > 0 else None,
        "next": _neighbour(root, profile, order[place + 1]) if place + 1 < len(order) else None,
    }
    page = pages.page_html(notebook, str(source), about)
    return write_beside(root / "reports" / profile.name / f"{name}.html", page)


def _failure(notebook: Mapping, status: str) -> str:
    """One line of what went wrong, without a terminal's colours."""
    return strip_ansi(notebook["metadata"].get("failure", "")) if status == "failed" else ""


def _readable(root: Path, source: Path) -> dict:
    """A notebook as it is published: paths in its outputs are relative to the project, for readers elsewhere."""
    text = json.dumps(read_notebook(source), ensure_ascii=False)
    text = text.replace(f"{root}/", "")
    return json.loads(text.replace(f"{Path.home()}/", "~/") if Path.home().name else text)


def last_run(root: Path, profile: Profile, name: str) -> tuple[Path, str]:
    """The notebook file that the page of `name` shows, and its status: 'done', 'failed' or 'not run'."""
    folder = notebook_folder(root, profile)
    for ending, status in ((".failed.ipynb", "failed"), (".ipynb", "done")):
        if (folder / f"{name}{ending}").is_file():
            return folder / f"{name}{ending}", status
    return source_notebook(root, profile, name), "not run"


def publish_index(root: Path, profile: Profile) -> Path:
    """Write reports/<profile>/index.html, metrics.json, figures/ and manifest.json; the index page's path."""
    folder = root / "reports" / profile.name
    entries = _entries(root, profile)
    figures = _copied_figures(root, profile, folder / "figures")
    cover = next((figure for figure in figures if figure["file"] == f"{profile.cover}.png"), None)
    summary = _summary(profile, entries) | {"cover": cover}
    history = site.remember(folder, summary)
    write_beside(folder / "metrics.json", json.dumps(summary, indent=1) + "\n")
    script = pages.template_text("page.js")
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(pages.TEMPLATES), autoescape=True)
    environment.filters.update(
        number=headline_number, duration=_duration, change=lambda by: site.signed(by, headline_number)
    )
    for entry in entries:
        entry["moves"] = {label: site.move(history, entry["name"], label) for label in entry["headline"]}
    page = environment.get_template("index.html.j2").render(
        title=profile.title,
        description=markdown_html(profile.description),
        entries=entries,
        groups=_groups(profile, entries),
        cover=cover,
        figures=_by_page(figures, entries),
        facts=_facts(summary, entries),
        style=pages.style_sheet(),
        icon=pages.icon(),
        script=script,
        script_hash=pages.script_hash(script),
    )
    with locked(root / "reports", ".site.lock", wait=True):  # two profiles may end at once
        site.publish_site(root / "reports", headline_number)
    index = write_beside(folder / "index.html", page)
    write_manifest(folder)  # last: it vouches for everything before
    return index


def reading_order(profile: Profile) -> list[str]:
    """The pages as they are read: those of one notebook follow each other, wherever they ran."""
    notebooks = list(dict.fromkeys(profile.sources.values()))
    return sorted(profile.notebooks, key=lambda name: notebooks.index(profile.sources[name]))


def _groups(profile: Profile, entries: list[dict]) -> list[dict]:
    """The pages by their notebook: {title, question, pages}."""
    groups: dict[str, dict] = {}
    for entry in entries:
        heading = {"title": entry["heading"], "question": entry["question"], "pages": []}
        groups.setdefault(profile.sources[entry["name"]], heading)["pages"].append(entry)
    return list(groups.values())


def _by_page(figures: list[dict], entries: list[dict]) -> list[tuple[dict | None, list[dict]]]:
    """Figures by the page that drew them, which their names begin with; (None, figures) for any others, last."""
    found: dict[str, list[dict]] = {entry["name"]: [] for entry in entries}
    others = []
    for figure in figures:
        owners = [name for name in found if figure["file"].startswith(f"{name}_")]
        (found[max(owners, key=len)] if owners else others).append(figure)
    shown = [(entry, found[entry["name"]]) for entry in entries] + [(None, others)]
    return [(entry, some) for entry, some in shown if some]


def _title(notebook: Mapping, profile: Profile, name: str) -> str:
    """The notebook's first heading, with the page's label where one notebook makes several pages."""
    title, label = pages.introduction(notebook)[0] or name, profile.labels[name]
    return f"{title} ({label})" if label else title


def _neighbour(root: Path, profile: Profile, name: str) -> dict:
    return {"name": name, "title": _title(read_notebook(last_run(root, profile, name)[0]), profile, name)}


def _entries(root: Path, profile: Profile) -> list[dict]:
    """What the index page says about each page, as they are read."""
    entries, statuses = [], {}
    for name in profile.notebooks:
        source, status = last_run(root, profile, name)
        if status == "done" and any(statuses[other] != "done" for other in profile.needs[name]):
            status = "earlier"
        statuses[name] = status
        notebook = _readable(root, source)
        heading, question = pages.introduction(notebook)
        recorded = _recorded(root, profile, name) if status in ("done", "earlier") else {}
        entries.append(
            {
                "name": name,
                "title": _title(notebook, profile, name),
                "heading": heading or name,
                "label": profile.labels[name],
                "question": question,
                "status": status,
                "status_words": STATUS_WORDS[status],
                "failure": _failure(notebook, status),
                "headline": recorded.get("headline", {}),
                "metrics": recorded.get("metrics", {}),
                "provenance": recorded.get("provenance", {}),
                "parameters": {row["name"]: row["value"] for row in pages.parameter_rows(notebook, str(source))},
                "wall_time_s": notebook["metadata"].get("papermill", {}).get("duration"),
            }
        )
    order = reading_order(profile)
    return sorted(entries, key=lambda entry: order.index(entry["name"]))


def _recorded(root: Path, profile: Profile, name: str) -> dict:
    file = experiment_folder(root, profile, name) / "metrics" / f"{name}.json"
    if not file.is_file():
        return {}
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file}: not readable ({error}); remove it and run gccpm reproduce again") from error


def _summary(profile: Profile, entries: list[dict]) -> dict:
    """The content of metrics.json; everything that differs between two equal runs is a date or ends in _s."""
    provenance: dict[str, list] = {}
    for entry in entries:
        for key, value in entry["provenance"].items():
            known = provenance.setdefault(key, [])
            if value is not None and value not in known:
                known.append(value)
    dates = provenance.pop("date", [])
    kept = ("title", "headline", "metrics", "parameters", "status", "wall_time_s")
    return {
        "profile": profile.name,
        "title": profile.title,
        "description": profile.description,
        "date": max(dates, default=None),
        "notebooks": {entry["name"]: {key: entry[key] for key in kept} for entry in entries},
        "provenance": {key: values[0] if len(values) == 1 else values for key, values in provenance.items() if values},
    }


def _facts(summary: dict, entries: list[dict]) -> list[tuple[str, str]]:
    """The rows of the index page's table of where the numbers come from; rows without a value are left out."""
    provenance = dict(summary["provenance"])
    changes = provenance.pop("uncommitted_changes", None)
    if changes not in (False, None, "unknown"):
        provenance["commit"] = f"{_listed(provenance.get('commit'))}, with uncommitted changes"
    hashes = [entry["metrics"].get("data_hash") for entry in entries]
    seeds = [entry["parameters"].get("seed") for entry in entries]
    times = [entry["wall_time_s"] for entry in entries if entry["wall_time_s"]]
    rows = {
        "profile": summary["profile"],
        "commit": provenance.pop("commit", None),
        "date": (summary["date"] or "").replace("T", " ").replace("+00:00", " UTC"),
        "wall time": _duration(sum(times)) if times else "",
        "seed": sorted({seed for seed in seeds if seed is not None}),
        "data hash": list(dict.fromkeys(value for value in hashes if value)),
        **{key.replace("_", " "): value for key, value in provenance.items()},
    }
    return [(key, _listed(value)) for key, value in rows.items() if value not in (None, "", [])]


def _listed(value) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _copied_figures(root: Path, profile: Profile, target: Path) -> list[dict]:
    """Copy the saved figures of the profile's run folders; name and caption of each. Figures gone there go here.

    Notebook by notebook, each in the order in which it drew them: that is how they tell their story.
    """
    folders = dict.fromkeys(experiment_folder(root, profile, name) for name in profile.notebooks)
    made = sorted(
        (p for f in folders for p in (f / "figures").glob("*.png")), key=lambda p: (p.stem[:2], p.stat().st_mtime)
    )
    sources = {path.name: path for path in made}
    for path in target.glob("*.png"):
        if path.name not in sources:
            path.unlink()
    figures = []
    for name, path in sources.items():
        target.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target / f"{name}.part")
        (target / f"{name}.part").replace(target / name)
        note = path.with_suffix(".txt")
        caption = note.read_text(encoding="utf-8").strip() if note.is_file() else ""
        width, height = pages.picture_size(path)
        caption = caption or path.stem.replace("_", " ")
        figures.append({"file": name, "caption": caption, "width": width, "height": height})
    return figures


def headline_number(value) -> str:
    """A headline number as it is read: four digits that count, thousands apart, a dash for nothing."""
    if value is None:
        return "–"
    if isinstance(value, bool | str):
        return str(value)
    if abs(value) >= 10_000:
        return f"{value:,.0f}".replace(",", "\u202f")
    if isinstance(value, int):
        return str(value)
    return f"{value:.4g}" if abs(value) < 1 else f"{value:.2f}".rstrip("0").rstrip(".")


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"
