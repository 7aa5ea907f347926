"""Verifying: what of a report can be recomputed cheaply, and what differs (`gccpm verify reports/sample`).

    for check in verify("reports/sample"):
        print(check.line())

Nothing runs again: files are compared with the manifest, the pages' own numbers with the index's cards and metrics.json,
data and weights with what was recorded, scores with those of the predictions that 04 left. What isn't there (data, runs) is
said not to be checked. Code and packages that moved on since are named too, and are no difference: a report's numbers are
those of the commit that it names. A report made from files that no commit holds differs.
"""

import json
import math
import platform
import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gccpm_lib import provenance
from gccpm_lib.datasets import coco, lip
from gccpm_lib.datasets.corrections import split_names
from gccpm_lib.datasets.lip import find_path
from gccpm_lib.datasets.records import DataError
from gccpm_lib.evaluation import pckh
from gccpm_lib.files import read_manifest, sha256
from gccpm_lib.report.notebook import project_root
from gccpm_lib.report.results import page_record
from gccpm_lib.report.site import comparable

SAME, DIFFERS, UNKNOWN, MOVED = "same", "differs", "not checked", "moved on"
WHOLE_PIXELS = 0.5  # points by which a score of LIP's whole-pixel file may differ from that of the exact joints
CODE = ("*.py", "*.ipynb", "*.safetensors")  # below the package and the notebooks: what makes numbers
RECORD = re.compile(r'<script[^>]* id="record"[^>]*>(.*?)</script>', re.DOTALL)


@dataclass(frozen=True)
class Check:
    """One thing that was compared."""

    what: str
    state: str  # SAME, DIFFERS, UNKNOWN or MOVED
    detail: str = ""

    def line(self) -> str:
        return f"{self.state:>11}  {self.what}" + (f": {self.detail}" if self.detail else "")


def verify(report: str | Path) -> list[Check]:
    """Everything that can be checked about a report's folder. ValueError where it is none."""
    folder = Path(report)
    summary = read_summary(folder)
    pages = summary["notebooks"]
    checks = [*check_files(folder), *check_numbers(folder, pages), *check_code(summary), *check_versions(summary)]
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
    """The numbers that the pages say they show, the cards of the index and of the site, and metrics.json: all the same."""
    headlines = {name: page["headline"] for name, page in pages.items()}
    told = {"index.html": (read_record(folder / "index.html"), headlines)}
    told |= {
        f"{name}.html": (read_record(folder / f"{name}.html"), page_record(name, page)) for name, page in pages.items()
    }
    site = read_record(folder.parent / "index.html")
    if isinstance(site, dict) and folder.name in site:
        told["../index.html"] = (site[folder.name], {name: numbers for name, numbers in headlines.items() if numbers})
    if all((folder / file).is_file() and said is None for file, (said, _) in told.items() if ".." not in file):
        yield Check(
            "numbers", UNKNOWN, "the pages are from before pages told their numbers"
        )  # the manifest vouches for them
        return
    problems = [f"{file}: {_what_differs(*pair)}" for file, pair in told.items() if pair[0] != pair[1]]
    problems += [f"{name}: {page['status']}" for name, page in pages.items() if page.get("status", "done") != "done"]
    yield from (Check("numbers", DIFFERS, problem) for problem in problems)
    if not problems:
        yield Check("numbers", SAME, f"of {len(pages)} pages, their cards and metrics.json")


def read_record(page: Path) -> dict | None:
    """What a page says of its numbers in its element "record"; None where it is missing or says nothing."""
    found = RECORD.search(page.read_text(encoding="utf-8")) if page.is_file() else None
    try:
        return json.loads(found[1]) if found else None
    except ValueError:
        return None


def _what_differs(said: dict | None, recorded: dict) -> str:
    if said is None:
        return "missing, or without the numbers that it shows; gccpm publish writes it again"
    return "; ".join(list(_differences(said, recorded))[:3]) + " in metrics.json"


def check_code(summary: dict) -> Iterator[Check]:
    """Library and notebooks against the commits that the pages name."""
    pages = [page.get("provenance") or summary["provenance"] for page in summary["notebooks"].values()]
    if any(page.get("uncommitted_changes") for page in pages):
        yield Check("code", DIFFERS, "made with uncommitted changes: no commit holds what made it; make it again")
    commits = dict.fromkeys(commit for page in pages for commit in _as_list(page.get("commit")))
    yield from map(_commit_check, commits or ["unknown"])


def _as_list(value) -> list:
    return value if isinstance(value, list) else [value] if value else []


def _commit_check(commit: str) -> Check:
    places = [f":(glob){folder}/**/{kind}" for folder in ("gccpm_lib", "notebooks") for kind in CODE]
    command = ["git", "diff", "--name-only", commit, "--", *places]
    result = subprocess.run(command, cwd=project_root(), capture_output=True, text=True)
    if commit == "unknown" or result.returncode:
        return Check("code", UNKNOWN, f"commit {commit[:10]} isn't in this repository")
    changed = result.stdout.split()
    if changed:
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        return Check("code", MOVED, f"{len(changed)} files since {commit[:10]}: {', '.join(changed[:3])}{more}")
    return Check("code", SAME, f"as in commit {commit[:10]}")


def check_versions(summary: dict) -> Iterator[Check]:
    """Python and packages that are installed now against those recorded."""
    recorded, differing = summary["provenance"], []
    for package in ("python", *provenance.PACKAGES):
        if package not in recorded:
            continue
        now = platform.python_version() if package == "python" else provenance.version(package)
        if recorded[package] != now:
            differing.append(f"{package} was {recorded[package]}, is {now}")
    yield from (Check("versions", MOVED, problem) for problem in differing)
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
    is_lip = file.suffix == ".csv"
    main, allowed, evaluate = ("Avg.", WHOLE_PIXELS, pckh.evaluate_lip) if is_lip else ("AP", 0.01, pckh.evaluate_coco)
    try:
        with tempfile.TemporaryDirectory() as part:
            now = evaluate(_truth_file(folder, val_labels, is_lip, Path(part)), file)
    except DataError as error:
        return Check(what, UNKNOWN, str(error))
    same = math.isclose(now[main], recorded[main], abs_tol=allowed)
    return Check(what, SAME if same else DIFFERS, f"{main} recorded {recorded[main]:.2f}, from {file.name} {now[main]:.2f}")


def _truth_file(folder: Path, val_labels: str, is_lip: bool, part: Path) -> Path:
    """The validation labels' file; with corrections on top of it a corrected one, written into the folder `part`."""
    if not split_names(val_labels)[1]:
        return find_path(folder, "lip_val_set.csv") if is_lip else coco.labels_file(folder, "val", val_labels)
    if is_lip:
        persons = lip.read_lip(folder, "val", labels=val_labels)
        text = "".join(lip.annotation_row(person.name, person.keypoints) for person in persons)
    else:
        text = json.dumps(coco.read_truth(folder, "val", val_labels))
    truth = part / "truth"
    truth.write_text(text, encoding="utf-8")
    return truth


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
