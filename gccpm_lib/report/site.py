"""The site: reports/index.html compares the profiles, and history.json beside each report tells how its numbers moved.

A report's headline numbers, times and speeds aside, are remembered whenever they differ from those before, so that a number
that got worse shows.
"""

import json
import re
from pathlib import Path

import jinja2

from gccpm_lib.files import write_beside
from gccpm_lib.report import pages
from gccpm_lib.report.claims import publish_claims
from gccpm_lib.report.guide import publish_guide

HISTORY = "history.json"
# Names of what two equal runs don't share: seconds, speeds, ratios of seconds, and what the machine made of its precision.
MACHINE = re.compile(r"(_s|_ms|/s)$|^(ms|lower quartile|upper quartile)$|times faster|^engines?$")
SHOWN_MOVES = 5  # values of a number's past on the page


def remember(folder: Path, summary: dict) -> list[dict]:
    """Add a report's headline numbers to its history.json if they are new; returns the history, oldest first.

    summary: the content of metrics.json. An entry: date, commit, headline (page -> label -> number).
    """
    history = read_history(folder)
    headline = {name: kept for name, found in _headlines(summary["notebooks"]).items() if (kept := comparable(found))}
    if headline and (not history or history[-1]["headline"] != headline):
        history.append({"date": summary["date"], "commit": summary["provenance"].get("commit"), "headline": headline})
        write_beside(folder / HISTORY, json.dumps(history, indent=1) + "\n")
    return history


def _headlines(notebooks: dict) -> dict[str, dict]:
    """The headline numbers of the pages that have any."""
    return {name: entry["headline"] for name, entry in notebooks.items() if entry["headline"]}


def comparable(value):
    """A report's numbers without what differs from run to run or from machine to machine by its name."""
    if isinstance(value, dict):
        return {key: comparable(item) for key, item in value.items() if not MACHINE.search(key)}
    return [comparable(item) for item in value] if isinstance(value, list) else value


def read_history(folder: Path) -> list[dict]:
    """The remembered headline numbers of a report, [] where there are none; ValueError for a damaged file."""
    file = folder / HISTORY
    if not file.is_file():
        return []
    try:
        return comparable(json.loads(file.read_text(encoding="utf-8")))  # older versions remembered times too
    except ValueError as error:
        raise ValueError(f"{file}: not readable ({error}); restore it from git or remove it") from error


def past(history: list[dict], page: str, label: str) -> list[tuple[str, float]]:
    """(day, value) of a headline number whenever it changed, oldest first, the present one last."""
    values: list[tuple[str, float]] = []
    for entry in history:
        value = entry["headline"].get(page, {}).get(label)
        if value is not None and (not values or values[-1][1] != value):
            values.append(((entry["date"] or "")[:10], value))
    return values[-SHOWN_MOVES:]


def move(history: list[dict], page: str, label: str) -> dict | None:
    """How a headline number last moved: by (number), before, day of the value before; None where it hasn't."""
    values = past(history, page, label)
    if len(values) < 2 or not all(isinstance(value, int | float) for _, value in values[-2:]):
        return None
    (day, before), (_, now) = values[-2:]
    return {"by": now - before, "before": before, "day": day}


def publish_site(reports: Path, number) -> Path:
    """Write reports/index.html from every report's metrics.json and history.json; number formats a headline number."""
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(pages.TEMPLATES), autoescape=True)
    environment.filters.update(number=number, change=lambda by: signed(by, number))
    found = _reports(reports)
    page = environment.get_template("site.html.j2").render(
        reports=found,
        claims=publish_claims(reports),
        guide=publish_guide(reports.parent),
        groups=_compared(found),
        style=pages.style_sheet(),
        icon=pages.icon(),
        record=pages.script_data({report["folder"]: _headlines(report["notebooks"]) for report in found}),
    )
    return write_beside(reports / "index.html", page)


def signed(by: float, number) -> str:
    """A change with its sign, as `number` writes it."""
    return f"{'+' if by > 0 else '−'}{number(abs(by))}"


def _reports(reports: Path) -> list[dict]:
    """What the site says about every report, the most recent first."""
    found = []
    for file in reports.glob("*/metrics.json"):
        summary, history = json.loads(file.read_text(encoding="utf-8")), read_history(file.parent)
        provenance = summary["provenance"]
        found.append(
            {
                "folder": file.parent.name,
                "title": summary.get("title") or file.parent.name,
                "description": summary.get("description", ""),
                "date": (summary["date"] or "")[:10],
                "commit": ", ".join(commit[:10] for commit in _all(provenance.get("commit"))),
                "cpu": ", ".join(_all(provenance.get("cpu"))),
                "cover": summary.get("cover"),
                "notebooks": summary["notebooks"],
                "history": history,
            }
        )
    return sorted(found, key=lambda report: (report["date"], report["folder"]), reverse=True)


def _all(value: str | list[str] | None) -> list[str]:
    """A fact on which the report's pages agree is one text, else a list."""
    return [value] if isinstance(value, str) else value or []


def _compared(reports: list[dict]) -> list[dict]:
    """Pages by name, and of each the headline numbers: {page, title, rows}; a row has a cell (or None) for every report."""
    groups = []
    for page in sorted({name for report in reports for name in report["notebooks"]}):
        entries = [report["notebooks"].get(page, {"headline": {}}) for report in reports]
        labels = dict.fromkeys(label for entry in entries for label in entry["headline"])
        rows = [{"label": label, "cells": [_cell(report, page, label) for report in reports]} for label in labels]
        titles = [entry["title"] for entry in entries if entry.get("title")]
        groups += [{"page": page, "title": titles[0] if titles else page, "rows": rows}] if rows else []
    return groups


def _cell(report: dict, page: str, label: str) -> dict | None:
    """One headline number of one report, and how it moved; None where the report has no such number."""
    headline = report["notebooks"].get(page, {"headline": {}})["headline"]
    if label not in headline:
        return None
    history = report["history"]
    moved = {"move": move(history, page, label), "past": past(history, page, label)[:-1]}
    return {"folder": report["folder"], "value": headline[label], **moved}
