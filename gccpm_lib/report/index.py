"""The report of a profile: a page per executed notebook, the index page, metrics.json (`gccpm publish`)."""

import json
from collections.abc import Mapping
from pathlib import Path

import jinja2

from gccpm_lib.files import locked, write_beside, write_manifest
from gccpm_lib.report import pages, site
from gccpm_lib.report.profiles import Profile, read_notebook, run_files, source_notebook
from gccpm_lib.report.results import (
    NOT_RUN,
    STATUS_WORDS,
    earlier_entries,
    failure_of,
    is_kept,
    links,
    page_record,
    read_entries,
    read_published,
    record_of,
    title_of,
)
from gccpm_lib.report.sanitise import markdown_html


def publish_page(root: Path, profile: Profile, name: str, folder: Path) -> None:
    """Write <folder>/<name>.html from the last good run; a later one that failed goes to <name>.failed.html beside it.

    Where nothing good has run here, a page that was published earlier stays; where there is none, the failed run is
    shown, or a note that there was none.
    """
    good, failed = run_files(root, profile, name)
    page, beside = folder / f"{name}.html", folder / f"{name}.failed.html"
    kept = not good.is_file() and is_kept(earlier_entries(folder).get(name), page)
    if good.is_file():
        notice = f"{name}.failed.html" if failed.is_file() else ""
        write_beside(page, _page(root, profile, name, folder, read_published(root, good), "done", notice))
    elif not kept:
        write_beside(page, _page_without_results(root, profile, name, folder, failed))
    if failed.is_file() and (good.is_file() or kept):
        write_beside(beside, _page_without_results(root, profile, name, folder, failed))
    else:
        beside.unlink(missing_ok=True)


def _page_without_results(root: Path, profile: Profile, name: str, folder: Path, failed: Path) -> str:
    """The page of a failed run, or of a notebook that hasn't run."""
    if failed.is_file():
        return _page(root, profile, name, folder, read_published(root, failed), "failed")
    notebook = read_published(root, source_notebook(root, profile, name))
    notebook["cells"] = [cell for cell in notebook["cells"] if cell["cell_type"] == "markdown"][:1]
    return _page(root, profile, name, folder, notebook, "not run")


def _page(root: Path, profile: Profile, name: str, folder: Path, notebook: dict, status: str, notice: str = "") -> str:
    order = reading_order(profile)
    place = order.index(name)
    record = record_of(notebook) if status == "done" else {}
    about = {
        "title": title_of(notebook, profile, name),
        "report": profile.title,
        "failure": {"failed": failure_of(notebook), "not run": NOT_RUN}.get(status, ""),
        "status": status,
        "failed_page": notice,
        "facts": _told(record.get("about", {})),
        "answer": record.get("answer", {}),
        "links": links(root, profile, name, folder),
        "record": page_record(name, record),
        "previous": _neighbour(root, profile, order[place - 1]) if place > 0 else None,
        "next": _neighbour(root, profile, order[place + 1]) if place + 1 < len(order) else None,
    }
    return pages.page_html(notebook, name, about)


def _told(about: Mapping) -> dict[str, str]:
    """Facts of a page's heading, Markdown -> harmless HTML without the paragraph around it."""
    return {key: markdown_html(text).strip().removeprefix("<p>").removesuffix("</p>") for key, text in about.items()}


def publish_index(root: Path, profile: Profile, folder: Path) -> Path:
    """Write <folder>/index.html, metrics.json, figures/ and manifest.json; the index page's path."""
    order = reading_order(profile)
    entries = sorted(read_entries(root, profile, folder), key=lambda entry: order.index(entry["name"]))
    _remove_old_figures(folder / "figures", entries)
    figures = [figure for entry in entries for figure in entry["figures"]]
    cover = next((figure for figure in figures if figure["file"] == f"{profile.cover}.png"), None)
    summary = _summary(profile, entries) | {"cover": cover}
    history = site.remember(folder, summary)
    write_beside(folder / "metrics.json", json.dumps(summary, indent=1) + "\n")
    for entry in entries:
        entry["status_words"] = STATUS_WORDS[entry["status"]]
        entry["facts"] = _told(entry["about"])
        entry["finding"] = markdown_html(entry["answer"].get("text", ""))
        entry["moves"] = {label: site.move(history, entry["name"], label) for label in entry["headline"]}
    script = pages.template_text("page.js")
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(pages.TEMPLATES), autoescape=True)
    environment.filters.update(
        number=headline_number, duration=_duration, change=lambda by: site.signed(by, headline_number)
    )
    page = environment.get_template("index.html.j2").render(
        title=profile.title,
        description=markdown_html(profile.description),
        entries=entries,
        groups=_groups(profile, entries),
        cover=cover,
        facts=_facts(summary, entries),
        style=pages.style_sheet(),
        icon=pages.icon(),
        script=script,
        script_hash=pages.script_hash(script),
        record=pages.script_data({entry["name"]: entry["headline"] for entry in entries}),
    )
    if folder.parent == root / "reports":
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


def _neighbour(root: Path, profile: Profile, name: str) -> dict:
    good, _ = run_files(root, profile, name)
    notebook = read_notebook(good if good.is_file() else source_notebook(root, profile, name))
    return {"name": name, "title": title_of(notebook, profile, name)}


def _summary(profile: Profile, entries: list[dict]) -> dict:
    """The content of metrics.json; everything that differs between two equal runs is a date or ends in _s."""
    provenance: dict[str, list] = {}
    for entry in entries:
        for key, value in entry["provenance"].items():
            known = provenance.setdefault(key, [])
            if value is not None and value not in known:
                known.append(value)
    dates = provenance.pop("date", [])
    kept = (
        "title",
        "headline",
        "metrics",
        "parameters",
        "status",
        "wall_time_s",
        "about",
        "answer",
        "provenance",
        "figures",
    )
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


def _remove_old_figures(target: Path, entries: list[dict]) -> None:
    """Pictures that a page which was made anew no longer has go; those of a page that stays, stay."""
    shown = {figure["file"] for entry in entries for figure in entry["figures"]}
    names = [entry["name"] for entry in entries]
    fresh = {entry["name"] for entry in entries if entry["fresh"] and entry["figures"]}
    for path in target.glob("*.png"):
        owners = [name for name in names if path.name.startswith(f"{name}_")]
        if path.name not in shown and (not owners or max(owners, key=len) in fresh):
            path.unlink()


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
