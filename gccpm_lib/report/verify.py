"""Verifying: what of a report can be recomputed cheaply, and what differs (`gccpm verify reports/sample`).

    for check in verify("reports/sample"):
        print(check.line())

Nothing runs again: files are compared with the manifest, numbers with the pages, versions, code, data and weights with what
was recorded, scores with those of the predictions that 04 left. What isn't there (data, runs) is said not to be checked.
"""

import html
import importlib.metadata
import json
import math
import platform
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gccpm_lib import provenance
from gccpm_lib.datasets import coco
from gccpm_lib.datasets.lip import find
from gccpm_lib.evaluation import pckh as evaluation
from gccpm_lib.files import read_manifest, sha256
from gccpm_lib.report.index import headline_number
from gccpm_lib.report.notebook import project_root

SAME, DIFFERS, UNKNOWN = "same", "differs", "not checked"
WHOLE_PIXELS = 0.5  # points by which a score of LIP's whole-pixel file may differ from that of the exact joints
# Names of what two equal runs don't share: seconds, speeds, ratios of seconds, and what the machine made of its precision.
MACHINE = re.compile(r"(_s|_ms|/s)$|^(ms|lower quartile|upper quartile)$|times faster|^engines?$")
CODE = ("gccpm_lib", "notebooks", "requirements.txt")


@dataclass(frozen=True)
class Check:
    """One thing that was compared."""

    what: str
    state: str  # SAME, DIFFERS or UNKNOWN
    detail: str = ""

    def line(self) -> str:
        return f"{self.state:>11}  {self.what}" + (f": {self.detail}" if self.detail else "")


def verify(report: str | Path) -> list[Check]:
    """Everything that can be checked about a report's folder. ValueError where it is none."""
    folder = Path(report)
    summary = read_summary(folder)
    pages = summary["notebooks"]
    checks = [*check_files(folder), *check_numbers(folder, pages), check_code(summary), *check_versions(summary)]
    for name, page in pages.items():
        checks += [*check_data(name, page), *check_weights(name, page), *check_scores(name, page)]
    return checks


def read_summary(folder: Path) -> dict:
    """A report's metrics.json; ValueError where there is none, or none that can be read."""
    file = folder / "metrics.json"
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{file}: not a readable report ({error}); give a folder such as reports/sample") from error


def check_files(folder: Path) -> Iterator[Check]:
    """Every file of the report against the manifest that was written with it."""
    try:
        manifest = read_manifest(folder)
    except FileNotFoundError:
        yield Check("files", UNKNOWN, "the report has no manifest.json; gccpm publish writes it")
        return
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {"manifest.json"}
    changed = [name for name, digest in manifest.items() if name in there and sha256(folder / name) != digest]
    problems = [f"{name} has been changed since" for name in changed]
    problems += [f"{name} is missing" for name in sorted(manifest.keys() - there)]
    problems += [f"{name} was not published with it" for name in sorted(there - manifest.keys())]
    yield from (Check("files", DIFFERS, problem) for problem in problems)
    if not problems:
        yield Check("files", SAME, f"{len(manifest)} as they were published")


def check_numbers(folder: Path, pages: dict) -> Iterator[Check]:
    """The headline numbers of metrics.json stand on the index page, beside their names."""
    file = folder / "index.html"
    text = html.unescape(re.sub(r"<[^>]*>", " ", file.read_text(encoding="utf-8"))) if file.is_file() else ""
    text = " ".join(text.split())
    missing = [
        f"{name}: {label} {number} is not on index.html"
        for name, page in pages.items()
        for label, value in page["headline"].items()
        if not re.search(f"{(number := headline_number(value))!s}\\D".replace(".", r"\."), text) or label not in text
    ]
    missing += [f"{name}.html is missing" for name in pages if not (folder / f"{name}.html").is_file()]
    yield from (Check("headline numbers", DIFFERS, problem) for problem in missing)
    if not missing:
        count = sum(len(page["headline"]) for page in pages.values())
        yield Check("headline numbers", SAME, f"{count} on the index page, a page for each of {len(pages)} notebooks")


def check_code(summary: dict) -> Check:
    """Library and notebooks against the commit that the report names."""
    recorded = summary["provenance"]
    commits = recorded.get("commit")
    if not isinstance(commits, str) or commits == "unknown":
        return Check("code", UNKNOWN, f"the report names {'no commit' if not commits else 'several commits'}")
    if recorded.get("uncommitted_changes"):
        return Check("code", DIFFERS, f"made from {commits[:10]} with uncommitted changes")
    command = ["git", "diff", "--name-only", commits, "--", *CODE]
    result = subprocess.run(command, cwd=project_root(), capture_output=True, text=True)
    if result.returncode:
        return Check("code", UNKNOWN, f"commit {commits[:10]} isn't in this repository")
    changed = result.stdout.split()
    if changed:
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        return Check("code", DIFFERS, f"{len(changed)} files since {commits[:10]}: {', '.join(changed[:3])}{more}")
    return Check("code", SAME, f"as in commit {commits[:10]}")


def check_versions(summary: dict) -> Iterator[Check]:
    """Python and packages that are installed now against those recorded."""
    recorded, differing = summary["provenance"], []
    for package in ("python", *provenance.PACKAGES):
        if package not in recorded:
            continue
        now = platform.python_version() if package == "python" else importlib.metadata.version(package)
        if recorded[package] != now:
            differing.append(f"{package} was {recorded[package]}, is {now}")
    yield from (Check("versions", DIFFERS, problem) for problem in differing)
    if not differing:
        yield Check("versions", SAME, f"Python and {len(provenance.PACKAGES)} packages")


def check_data(name: str, page: dict) -> Iterator[Check]:
    """The data folder's hash."""
    recorded, place = page["metrics"].get("data_hash"), page["parameters"].get("dataset_folder")
    if not recorded or not place:
        return
    folder = project_root() / place
    if not folder.is_dir():
        yield Check(f"{name}: data", UNKNOWN, f"{place} isn't here")
        return
    now = provenance.data_hash(folder)
    yield Check(f"{name}: data", SAME if now == recorded else DIFFERS, f"{place}, recorded {recorded}, now {now}")


def check_weights(name: str, page: dict) -> Iterator[Check]:
    """The trained weights' hash."""
    recorded = page["metrics"].get("weights_hash")
    if not recorded:
        return
    from gccpm_lib.checkpoints import network_weights, read_checkpoint, weights_hash

    parameters = page["parameters"]
    place = Path("runs") / parameters["experiment_name"] / parameters["page_name"] / "checkpoint.pt"
    if not (project_root() / place).is_file():
        yield Check(f"{name}: weights", UNKNOWN, f"{place} isn't here")
        return
    now = weights_hash(network_weights(read_checkpoint(project_root() / place)))
    yield Check(f"{name}: weights", SAME if now == recorded else DIFFERS, f"{place}, recorded {recorded}, now {now}")


def check_scores(name: str, page: dict) -> Iterator[Check]:
    """The scores of the prediction files that 04 left, computed again."""
    metrics, parameters = page["metrics"], page["parameters"]
    for setting, place in metrics.get("predictions", {}).items():
        file, what = project_root() / place, f"{name}: score, {setting}"
        folder = project_root() / parameters["dataset_folder"]
        if not file.is_file() or not folder.is_dir():
            yield Check(what, UNKNOWN, f"{place if not file.is_file() else parameters['dataset_folder']} isn't here")
        elif parameters.get("num_val_persons") or metrics.get("skipped") or parameters.get("boxes_path"):
            yield Check(what, UNKNOWN, "not all labelled persons were predicted")
        else:
            yield _score_check(what, metrics["scores"][setting], file, folder, parameters.get("val_labels", ""))


def _score_check(what: str, recorded: dict, file: Path, folder: Path, val_labels: str) -> Check:
    if file.suffix == ".csv":
        main, allowed, now = "Avg.", WHOLE_PIXELS, evaluation.evaluate_lip(find(folder, "lip_val_set.csv"), file)
    else:
        main, allowed = "AP", 0.01
        now = evaluation.evaluate_coco(coco.labels_file(folder, "val", val_labels), file)
    same = math.isclose(now[main], recorded[main], abs_tol=allowed)
    return Check(what, SAME if same else DIFFERS, f"{main} recorded {recorded[main]:.2f}, from {file.name} {now[main]:.2f}")


def comparable(value, name: str = ""):
    """A report's numbers without what differs from run to run or from machine to machine by its name."""
    if isinstance(value, dict):
        return {key: comparable(item, key) for key, item in value.items() if not MACHINE.search(key)}
    return [comparable(item) for item in value] if isinstance(value, list) else value


def compare(report: str | Path, other: str | Path) -> list[Check]:
    """Two reports' numbers, apart from times and speeds: one check per notebook."""
    first, second = (read_summary(Path(folder))["notebooks"] for folder in (report, other))
    checks = []
    for name in first | second:
        pair = [comparable(found.get(name, {})) for found in (first, second)]
        different = list(_differences(*pair))
        more = f" and {len(different) - 3} more" if len(different) > 3 else ""
        detail = "; ".join(different[:3]) + more
        checks.append(Check(name, DIFFERS, detail) if different else Check(name, SAME, "every number"))
    return checks


def _differences(a, b, place: str = "") -> Iterator[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        for key in a | b:
            yield from _differences(a.get(key), b.get(key), f"{place}.{key}".lstrip("."))
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for index, pair in enumerate(zip(a, b, strict=True)):
            yield from _differences(*pair, f"{place}[{index}]")
    elif a != b:
        yield f"{place}: {str(a)[:40]} against {str(b)[:40]}"
