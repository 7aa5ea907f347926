"""The runner: brings a profile's notebooks and pages up to date; only what changed runs (`gccpm reproduce`, `publish`).

doit runs a task per notebook, one per page and one for the index page.
"""

import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from doit.control import TaskControl
from doit.dependency import DatabaseException, Dependency, JsonDB
from doit.exceptions import TaskFailed, UnmetDependency
from doit.reporter import ZeroReporter
from doit.runner import Runner
from doit.task import Stream, dict_to_task

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


# ------------------------------------------------------------------------------------------------------------- tasks


class WholeJsonDB(JsonDB):
    """doit's state in a file that stays whole, whatever kills the runner while it is written."""

    def dump(self):
        write_beside(Path(self.name), self.codec.encode(self._db))


class Progress(ZeroReporter):
    """What doit tells while it runs: one line per notebook, and its state saved after every task."""

    def __init__(self, state: Dependency):
        super().__init__(sys.stderr, {})
        self.state = state

    def skip_uptodate(self, task):
        if task.targets and task.targets[0].endswith(".ipynb"):
            print(f"{task.name}: unchanged, kept", flush=True)

    def add_success(self, task):
        self.state.backend.dump()  # else a killed runner would forget the hours of training before

    def add_failure(self, task, fail):
        self.state.backend.dump()
        if isinstance(fail, UnmetDependency):
            print(f"{task.name}: not run, since a notebook that it needs failed", flush=True)
        elif not isinstance(fail, TaskFailed):  # a failed notebook has had its line already
            *_, said = told = fail.get_msg().strip().splitlines()
            told = [said] if re.match(r"\w*Error: \[Errno", said) else told  # a full disk is nobody's mistake: no traceback
            print(f"{task.name}: " + "\n".join(told), file=sys.stderr, flush=True)


def run_all(root: Path, profile: Profile) -> bool:
    """Bring every notebook and page up to date; True when something failed (the rest was done all the same)."""
    file = root / "runs" / profile.name / ".doit.json"
    try:
        state = Dependency(WholeJsonDB, str(file))
    except DatabaseException as error:
        raise ValueError(f"{file}: not readable; remove it, and everything runs again ({error})") from error
    control = TaskControl([dict_to_task(task) for task in definitions(root, profile)])
    control.process(None)
    runner = Runner(state, Progress(state), continue_=True, stream=Stream(2))
    return runner.run_all(control.task_dispatcher()) != 0


def definitions(root: Path, profile: Profile) -> list[dict]:
    """doit's task dictionaries in the order in which they run: each notebook with its page, then the index page."""
    pages = [(_notebook_task(root, profile, name), _page_task(root, profile, name)) for name in profile.notebooks]
    return [task for pair in pages for task in pair] + [_index_task(root, profile)]


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


def _notebook_task(root: Path, profile: Profile, name: str) -> dict:
    folder, source = notebook_folder(root, profile), source_notebook(root, profile, name)
    return {
        "name": name,
        "actions": [(_run, [root, profile, name])],
        "file_dep": [str(folder / f"{other}.ipynb") for other in profile.needs[name]],
        "targets": [str(folder / f"{name}.ipynb")],
        "uptodate": [_unchanged(lambda: notebook_inputs(root, source), profile.notebooks[name])],
    }


def _run(root: Path, profile: Profile, name: str) -> TaskFailed | None:
    problem = run_notebook(root, profile, name)
    return TaskFailed(problem) if problem else None


def _page_task(root: Path, profile: Profile, name: str) -> dict:
    settings = [list(profile.notebooks), profile.labels]
    folder = report_folder(root, profile)
    return {
        "name": f"{name}.html",
        "actions": [(_publish, ["publish_page", root, profile, name, folder])],
        "targets": [str(folder / f"{name}.html")],
        "uptodate": [_unchanged(lambda: [*run_files(root, profile, name), *_page_sources()], settings)],
    }


def _index_task(root: Path, profile: Profile) -> dict:
    def inputs() -> list[Path]:
        return [*(path for name in profile.notebooks for path in run_files(root, profile, name)), *_page_sources()]

    settings = [profile.title, profile.description, profile.needs, profile.labels]
    folder = report_folder(root, profile)
    return {
        "name": "index.html",
        "actions": [(_publish, ["publish_index", root, profile, folder])],
        "targets": [str(folder / "index.html"), str(folder / "metrics.json"), str(folder / "manifest.json")],
        "uptodate": [_unchanged(inputs, settings)],
    }


def _publish(function: str, *arguments) -> None:
    from gccpm_lib.report import index  # seconds of imports, needed only when a page changes

    getattr(index, function)(*arguments)


def _page_sources() -> list[Path]:
    templates = sorted(Path(__file__).with_name("templates").iterdir())
    return [*(Path(__file__).with_name(name) for name in PAGE_FILES), *templates]


def _unchanged(inputs: Callable[[], list], settings: object) -> Callable:
    """A check for doit that inputs and settings are as they were before the last success.

    Not doit's own file_dep: that looks at files after a task, so an edit during hours of training would go unseen.
    """

    def check(task, values) -> bool:
        found = digest(inputs(), settings)
        task.value_savers.append(lambda: {"digest": found})
        return values.get("digest") == found

    return check
