"""The runner: brings a profile's notebooks and pages up to date; only what changed runs (`gccpm reproduce`, `publish`).

A step per notebook, one per page and one for the index page; a step is done again when the digest of its inputs changed.
"""

import hashlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gccpm_lib import provenance
from gccpm_lib.files import locked, write_beside
from gccpm_lib.report.checks import check_profile
from gccpm_lib.report.notebook import RECORD_TYPE, REPORT_RUN, foreign_library, project_root
from gccpm_lib.report.profiles import (
    Profile,
    has_tag,
    notebook_folder,
    read_notebook,
    read_profile,
    run_files,
    source_notebook,
)

PAGE_FILES = ("sanitise.py", "pages.py", "results.py", "index.py", "site.py")
# No notebook uses these, so an edit of one must not train again.
OUTSIDE_NOTEBOOKS = ("__main__.py", "cli", "tools", "report")


def reproduce(name_or_path: str = "sample", settings: Iterable[str] = ()) -> int:
    """Run a profile's changed notebooks and publish its pages; 0, or 1 when a notebook failed.

    ValueError before anything runs when the profile or a --set text is wrong, or a folder, a checkpoint or a device that
    some notebook asks for isn't there; FolderBusy while another one runs.
    """
    root = project_root()
    profile = read_profile(root, name_or_path, settings)
    check_profile(root, profile)
    if said := foreign_library(root):
        print(said, file=sys.stderr, flush=True)
    with locked(root / "runs" / profile.name):
        failed = run_all(root, profile)
    index, published = report_folder(root, profile) / "index.html", root / "reports" / profile.name
    more = f" ({published} is in git and stays; gccpm publish --profile {name_or_path} puts this one there)"
    print(f"Report: {index}{more if index.parent != published else ''}", flush=True)
    return int(failed)


def report_folder(root: Path, profile: Profile) -> Path:
    """Where a run's report goes: reports/<profile>, or where git holds a published one there, runs/<profile>/report."""
    published = root / "reports" / profile.name
    return root / "runs" / profile.name / "report" if provenance.is_tracked(published / "index.html") else published


def publish(name_or_path: str = "sample", settings: Iterable[str] = ()) -> int:
    """Write a profile's pages to reports/<profile> from what was last run; ValueError when nothing was.

    A page that hasn't run here keeps what was published of it before.
    """
    from gccpm_lib.report import index

    root = project_root()
    profile = read_profile(root, name_or_path, settings)
    if not any(notebook_folder(root, profile).glob("*.ipynb")):
        raise ValueError(f"profile {profile.name}: nothing has run yet; run gccpm reproduce --profile {name_or_path}")
    folder = root / "reports" / profile.name
    with locked(root / "runs" / profile.name):
        for name in profile.notebooks:
            index.publish_page(root, profile, name, folder)
        index.publish_index(root, profile, folder)
    print(f"Report: {folder / 'index.html'}", flush=True)
    return 0


def run_notebook(root: Path, profile: Profile, name: str) -> str | None:
    """Execute one notebook with the project root as its folder; None, or one line of what went wrong.

    The result lies in runs/<profile>/notebooks as <name>.ipynb, or as <name>.failed.ipynb beside an earlier success.
    """
    folder = notebook_folder(root, profile)
    folder.mkdir(parents=True, exist_ok=True)
    done, failed, part = (folder / f"{name}{ending}" for ending in (".ipynb", ".failed.ipynb", ".part.ipynb"))
    part.unlink(missing_ok=True)
    started = time.time()
    print(f"{name}: started {time.strftime('%H:%M:%S')}", flush=True)
    source = source_notebook(root, profile, name)
    problem = _execute(source, part, profile.notebooks[name], root)
    print(f"{name}: {'failed' if problem else 'done'} after {time.time() - started:.1f} s", flush=True)
    if problem:
        _keep_failed(part if part.exists() else source, failed, problem)
        print(f"{name}: {problem}", file=sys.stderr, flush=True)
        return problem
    if not _has_record(part):
        print(f"{name}: recorded no metrics; end it with record_metrics(...)", file=sys.stderr, flush=True)
    part.replace(done)
    failed.unlink(missing_ok=True)
    return None


def _execute(source: Path, target: Path, parameters: dict, root: Path) -> str | None:
    """Run a notebook through papermill in this interpreter's own kernel; None or one line of what went wrong."""
    import logging

    import papermill

    logging.getLogger("papermill").setLevel(logging.ERROR)  # it warns of parameters that it cannot parse
    # This environment's own kernel first: a kernel of the same name in the home folder may be another Python.
    paths = [os.path.join(sys.prefix, "share", "jupyter"), os.environ.get("JUPYTER_PATH", "")]
    os.environ["JUPYTER_PATH"] = os.pathsep.join(path for path in paths if path)
    os.environ["TQDM_DISABLE"] = "1"  # bars are for people who watch; the lines that a notebook prints are kept
    os.environ.pop("MPLBACKEND", None)  # a set back end would keep figures out of the notebook
    os.environ[REPORT_RUN] = source.stem
    options = {"kernel_name": "python3", "language": "python", "progress_bar": False, "stdout_file": sys.stdout}
    options["extra_arguments"] = ["--IPKernelApp.log_level=50"]  # no warning per kernel that it listens on TCP
    try:
        papermill.execute_notebook(source, target, parameters, cwd=root, **options)
    except papermill.PapermillExecutionError as error:
        return f"cell {error.exec_count}: {error.ename}: {' '.join(str(error.evalue).split())}"
    except Exception as error:  # a dead kernel or a full disk: a failed notebook too
        hint = "; most often the memory was too small" if type(error).__name__ == "DeadKernelError" else ""
        return f"{type(error).__name__}: {' '.join(str(error).split())}{hint}"
    finally:
        del os.environ[REPORT_RUN]
    return None


def _keep_failed(part: Path, failed: Path, problem: str) -> None:
    notebook = read_notebook(part)
    notebook["metadata"]["failure"] = problem
    notebook["cells"] = [cell for cell in notebook["cells"] if not has_tag(cell, "papermill-error-cell-tag")]
    write_beside(failed, json.dumps(notebook, indent=1))
    if part.parent == failed.parent:
        part.unlink()


def _has_record(executed: Path) -> bool:
    outputs = [output for cell in read_notebook(executed)["cells"] for output in cell.get("outputs", ())]
    return any(RECORD_TYPE in output.get("data", {}) for output in outputs)


# ------------------------------------------------------------------------------------------------------------- steps


@dataclass(frozen=True)
class Step:
    """Something to bring up to date: a notebook, its page or the index page."""

    name: str
    run: Callable[[], str | None]  # None, or one line of what went wrong, which was printed
    inputs: Callable[[], list[Path | str]]  # the texts and files that the result comes from
    settings: object  # what else it comes from
    results: list[Path]  # files that must be there
    needs: tuple[str, ...] = ()  # steps without which this one can't run
    told: bool = False  # whether a line says that it was kept


def run_all(root: Path, profile: Profile) -> bool:
    """Bring every notebook and page up to date; True when something failed (the rest was done all the same).

    runs/<profile>/.done.json has the digest that each step's inputs had before it ran, so that an edit during hours of
    training isn't taken for done. It is written after every step: a killed runner goes on where it was.
    """
    file = root / "runs" / profile.name / ".done.json"
    done, failed = _read_done(file), set()
    for step in steps(root, profile):
        if failed & set(step.needs):
            failed.add(step.name)
            print(f"{step.name}: not run, since a notebook that it needs failed", flush=True)
            continue
        try:
            found = digest(step.inputs(), step.settings)
            if done.get(step.name) == found and all(path.exists() for path in step.results):
                if step.told:
                    print(f"{step.name}: unchanged, kept", flush=True)
                continue
            if problem := step.run():
                failed.add(step.name)
            done.pop(step.name, None) if problem else done.update({step.name: found})
            write_beside(file, json.dumps(done, indent=1))
        except Exception as error:  # one page that can't be made doesn't keep the others from being made
            failed.add(step.name)
            _tell(step.name, error)
    return bool(failed)


def _tell(name: str, error: Exception) -> None:
    """A full disk is nobody's mistake: one line. All else is told with its traceback."""
    said = f"{type(error).__name__}: {error}" if isinstance(error, OSError) else traceback.format_exc().strip()
    print(f"{name}: {said}", file=sys.stderr, flush=True)


def _read_done(file: Path) -> dict[str, str]:
    if not file.exists():
        return {}
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ValueError(f"{file}: not readable; remove it, and everything runs again ({error})") from error


def steps(root: Path, profile: Profile) -> Iterator[Step]:
    """In the order in which they run: each notebook with its page, then the index page."""
    folder, executed = report_folder(root, profile), notebook_folder(root, profile)
    for name, parameters in profile.notebooks.items():
        needed = [executed / f"{other}.ipynb" for other in profile.needs[name]]
        source = source_notebook(root, profile, name)
        yield Step(
            name,
            run=partial(run_notebook, root, profile, name),
            inputs=partial(_notebook_and_needed, root, source, needed),
            settings=parameters,
            results=[executed / f"{name}.ipynb"],
            needs=tuple(profile.needs[name]),
            told=True,
        )
        yield Step(
            f"{name}.html",
            run=partial(_publish, "publish_page", root, profile, name, folder),
            inputs=partial(_page_inputs, root, profile, [name]),
            settings=[list(profile.notebooks), profile.labels],
            results=[folder / f"{name}.html"],
        )
    yield Step(
        "index.html",
        run=partial(_publish, "publish_index", root, profile, folder),
        inputs=partial(_page_inputs, root, profile, list(profile.notebooks)),
        settings=[profile.title, profile.description, profile.needs, profile.labels],
        results=[folder / file for file in ("index.html", "metrics.json", "manifest.json")],
    )


def digest(inputs: Iterable[Path | str], settings: object = None) -> str:
    """A hash over texts, the content of files (missing ones count as missing) and settings."""
    total = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for item in inputs:
        total.update(f"\0{item}\0".encode())
        if isinstance(item, Path):
            total.update(item.read_bytes() if item.is_file() else b"\0missing")
    return total.hexdigest()


def notebook_inputs(root: Path, source: Path) -> list[Path | str]:
    """What a notebook's result depends on: its cells (not the outputs of working in it by hand), library and weights."""
    texts = ["\0".join(map(str, cell)) for cell in provenance.sources(read_notebook(source))]
    package = root / "gccpm_lib"
    library = [path for path in package.rglob("*.py") if path.relative_to(package).parts[0] not in OUTSIDE_NOTEBOOKS]
    library += [package / "report" / name for name in ("notebook.py", "lesson.py")]
    return [*texts, *sorted(library), *sorted((root / "gccpm_lib" / "weights").glob("*.safetensors"))]


def _notebook_and_needed(root: Path, source: Path, needed: list[Path]) -> list[Path | str]:
    return [*notebook_inputs(root, source), *needed]


def _page_inputs(root: Path, profile: Profile, names: list[str]) -> list[Path]:
    return [*(path for name in names for path in run_files(root, profile, name)), *_page_sources()]


def _page_sources() -> list[Path]:
    """Code and templates that pages are made with."""
    here = Path(__file__).parent
    return [*(here / name for name in PAGE_FILES), *sorted((here / "templates").iterdir())]


def _publish(function: str, *arguments) -> None:
    from gccpm_lib.report import index  # seconds of imports, needed only when a page changes

    getattr(index, function)(*arguments)
