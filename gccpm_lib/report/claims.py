"""The claims of the paper, one by one: reports/claims.yaml and the reports' metrics -> reports/claims.html.

A verdict is computed: the interval of our number (or the number, where it has none) lies on the side that the claim
expects, on the other side, or contains the limit. A difference of which its page compared many is judged as the page did,
by its p-value after Holm's correction and its seeds. Nothing is typed but the claims and how they are tested.
"""

import json
import operator
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import jinja2
import torch

from gccpm_lib.files import write_beside
from gccpm_lib.network import GCCPM, count_macs, count_parameters
from gccpm_lib.report import pages
from gccpm_lib.report.profiles import parse_yaml
from gccpm_lib.training.estimates import COCO_RUN, LIP_RUN, PEAKS, share_of_peak, short

REPRODUCED, CONTRADICTED, PARTLY, NOT_RUN = "reproduced", "contradicted", "partly", "not yet run"
OPEN = "not resolved"  # the interval contains what is expected
COMPARISONS = {">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt, "==": operator.eq}
WORDS = {">=": "at least", ">": "above", "<=": "at most", "<": "below", "==": "exactly"}
TRAININGS = {run.name: run for run in (LIP_RUN, COCO_RUN)}
COUNTED_SIZE = (256, 256)


@dataclass(frozen=True)
class Number:
    """A number of ours beside what the claim expects; low and high are its 95 % interval, or the number itself."""

    what: str
    value: float
    low: float
    high: float
    unit: str
    expect: str
    machine: str = ""
    link: str = ""
    p: float | None = None  # of no difference, corrected for all that the page compared
    told: str = ""  # the page's own verdict: better, worse or not resolved

    def verdict(self) -> str:
        """Where the interval lies: on the claim's side, on the other one, or on both; or what the page's verdict says."""
        if self.told and self.expect == "> 0":
            return {"better": REPRODUCED, "worse": CONTRADICTED}.get(self.told, OPEN)
        sign, _, limit = self.expect.partition(" ")
        digits = len(limit.partition(".")[2])
        low, high = (round(bound, digits) if sign == "==" else bound for bound in (self.low, self.high))
        holds = [COMPARISONS[sign](bound, float(limit)) for bound in (low, high)]
        return REPRODUCED if all(holds) else OPEN if any(holds) else CONTRADICTED

    def expected(self) -> str:
        """What the claim expects, in words: "at least 20"."""
        sign, _, limit = self.expect.partition(" ")
        return f"{WORDS[sign]} {limit}"

    def text(self) -> str:
        """The number with its unit and interval, as precise as the claim, else to a tenth."""
        sign, _, limit = self.expect.partition(" ")
        digits = len(limit.partition(".")[2]) if sign == "==" else 1
        signed = "+" if self.unit == "points" else ""
        value = f"{self.value:{signed}.{digits}f} {self.unit}".strip()
        whole = value if self.low == self.high else f"{value} ({self.low:.{digits}f} to {self.high:.{digits}f})"
        if self.p is not None:
            whole += f", p {self.p:.3f} after Holm" if self.p >= 0.001 else ", p below 0.001 after Holm"
        return whole.replace("-", "\N{MINUS SIGN}")


def publish_claims(reports: Path) -> Path | None:
    """Write claims.html beside claims.yaml; None where there is no claims.yaml. ValueError names a wrong entry."""
    if not (reports / "claims.yaml").is_file():
        return None
    return write_beside(reports / "claims.html", claims_page(reports))


def claims_page(reports: Path) -> str:
    """The page's HTML."""
    file = reports / "claims.yaml"
    content = parse_yaml(file.read_text(encoding="utf-8"), str(file))
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(pages.TEMPLATES), autoescape=True)
    return environment.get_template("claims.html.j2").render(
        claims=[judged(claim, reports) for claim in content["claims"]],
        checklist=content.get("checklist", []),
        style=pages.style_sheet(),
        icon=pages.icon(),
    )


def judged(claim: Mapping, reports: Path) -> dict:
    """A claim with its numbers, its verdict and what a test of it would take."""
    numbers = [*_measured(claim, reports), *_counted(claim)]
    return {**claim, "numbers": numbers, "verdict": verdict(claim, numbers), "needs": needs(claim)}


def verdict(claim: Mapping, numbers: list[Number]) -> str:
    """One word for all numbers of a claim; where the experiment differs from the claim's own, "partly" at the most."""
    found = {number.verdict() for number in numbers}
    if not found:
        return NOT_RUN
    if found == {REPRODUCED}:
        return PARTLY if claim.get("differs") else REPRODUCED
    if found == {CONTRADICTED}:
        return CONTRADICTED
    return PARTLY if REPRODUCED in found else OPEN


def needs(claim: Mapping) -> str:
    """What the full training of a claim would take, as `gccpm estimate` says it; "" where none is needed."""
    if "training" not in claim:
        return ""
    run = TRAININGS[claim["training"]]
    hours = {card: run.operations / (share_of_peak() * PEAKS[card] * 1e12) / 3600 for card in ("P100", "RTX 4090")}
    return "estimated training: " + ", ".join(f"{short(value)} hours on one {card}" for card, value in hours.items())


def _measured(claim: Mapping, reports: Path) -> Iterator[Number]:
    for entry in claim.get("measured", ()):
        file = reports / entry["report"] / "metrics.json"
        if not file.is_file():
            continue  # a report that isn't there proves nothing
        summary = json.loads(file.read_text(encoding="utf-8"))
        page = summary["notebooks"].get(entry["page"], {"metrics": {}})
        found = value_at(page["metrics"], entry["path"], f"claims.yaml: {entry['what']}")
        value, low, high, unit = _as(entry["as"], found)
        judged = found if isinstance(found, Mapping) and "verdict" in found else {}
        link = f"{entry['report']}/{entry['page']}.html"
        expected, machine = entry["expect"], _machine(summary, page)
        yield Number(
            entry["what"], value, low, high, unit, expected, machine, link, judged.get("p"), judged.get("verdict", "")
        )


def _machine(summary: Mapping, page: Mapping) -> str:
    """Processor and, where the page tells them, threads."""
    cpu = summary["provenance"].get("cpu", "")
    cpu, threads = cpu if isinstance(cpu, str) else ", ".join(cpu), page.get("provenance", {}).get("threads")
    return f"{cpu}, {threads} thread{'s' * (threads != 1)}" if threads else cpu


def _as(kind: str, found) -> tuple[float, float, float, str]:
    """A found metric as (value, low, high, unit)."""
    if kind == "points":
        value, low, high = (found[key] for key in ("gain", "low", "high")) if isinstance(found, Mapping) else found
        return value, low, high, "points"
    if kind == "frames_per_s":
        value, low, high = (1000 / found[key] for key in ("ms", "upper quartile", "lower quartile"))
        return value, low, high, "frames/s"
    if kind == "percent":
        return found, found, found, "%"
    raise ValueError(f"claims.yaml: as: {kind!r} is not known; known: points, frames_per_s, percent")


def value_at(metrics, path: list, where: str):
    """The metric at a path of keys; a mapping in it picks the entry of a list (or of lists in it) that has its values."""
    for step in path:
        if isinstance(step, Mapping):
            fitting = [entry for entry in _entries(metrics) if step.items() <= entry.items()]
            if len(fitting) != 1:
                raise ValueError(f"{where}: {len(fitting)} entries have {dict(step)}; one was expected")
            metrics = fitting[0]
        elif isinstance(metrics, Mapping) and step in metrics:
            metrics = metrics[step]
        else:
            raise ValueError(f"{where}: no {step!r} in the metrics; known: {', '.join(map(str, metrics))[:200]}")
    return metrics


def _entries(found) -> Iterator[Mapping]:
    if isinstance(found, Mapping):
        yield found
    elif isinstance(found, list):
        for entry in found:
            yield from _entries(entry)


def _counted(claim: Mapping) -> Iterator[Number]:
    for entry in claim.get("counted", ()):
        with torch.device("meta"):
            network = GCCPM(num_refinement_stages=entry["num_refinement_stages"])
        numbers = {"parameters": count_parameters(network) / 1e6, "gmac": count_macs(network, COUNTED_SIZE) / 1e9}
        value = numbers[entry["number"]]
        yield Number(entry["what"], value, value, value, "", entry["expect"], "counted when this page was made")
