"""The runner: brings a profile's notebooks and pages up to date; only what changed runs (`gccpm reproduce`, `publish`).

doit runs a task per notebook, one per page and one for the index page.
"""

import hashlib
import json
import os
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

from gccpm_lib.files import locked, write_beside
from gccpm_lib.report.notebook import project_root
from gccpm_lib.report.profiles import (
    Profile,
    experiment_folder,
    has_tag,
    notebook_folder,
    read_notebook,
    read_profile,
    source_notebook,
)

PAGE_FILES = ("sanitise.py", "pages.py", "index.py", "site.py")
# Only the runner itself uses these files, so an edit of one must not train again.
RUNNER_FILES = ("__main__.py", "runner.py", *PAGE_FILES)


def reproduce(name_or_path: str = "sample", settings: Iterable[str] = ()) -> int:
    """Run a profile's changed notebooks and publish its pages; 0, or 1 when a notebook failed.

    ValueError before anything runs when the profile or a --set text is wrong; FolderBusy while another one runs.
    """
    root = project_root()
    profile = read_profile(root, name_or_path, settings)
    with locked(root / "runs" / profile.name):
        failed = run_all(root, profile)
    print(f"Report: {root / 'reports' / profile.name / 'index.html'}", flush=True)
    return int(failed)


def publish(name_or_path: str = "sample", settings: Iterable[str] = ()) -> int:
    """Write a profile's pages again from what was last run; ValueError when nothing was."""
    from gccpm_lib.report import index

    root = project_root()
    profile = read_profile(root, name_or_path, settings)
    if not any(notebook_folder(root, profile).glob("*.ipynb")):
        raise ValueError(f"profile {profile.name}: nothing has run yet; run gccpm reproduce --profile {name_or_path}")
    with locked(root / "runs" / profile.name):
        for name in profile.notebooks:
            index.publish_page(root, profile, name)
        index.publish_index(root, profile)
    print(f"Report: {root / 'reports' / profile.name / 'index.html'}", flush=True)
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
    _ensure_metrics(experiment_folder(root, profile, name) / "metrics" / f"{name}.json", started)
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
    options = {"kernel_name": "python3", "language": "python", "progress_bar": False, "stdout_file": sys.stdout}
    options["extra_arguments"] = ["--IPKernelApp.log_level=50"]  # no warning per kernel that it listens on TCP
    try:
        papermill.execute_notebook(source, target, parameters, cwd=root, **options)
    except papermill.PapermillExecutionError as error:
        return f"cell {error.exec_count}: {error.ename}: {' '.join(str(error.evalue).split())}"
    except Exception as error:  # a dead kernel or a full disk: a failed notebook too
        hint = "; most often the memory was too small" if type(error).__name__ == "DeadKernelError" else ""
        return f"{type(error).__name__}: {' '.join(str(error).split())}{hint}"
    return None


def _keep_failed(part: Path, failed: Path, problem: str) -> None:
    notebook = read_notebook(part)
    notebook["metadata"]["failure"] = problem
    notebook["cells"] = [cell for cell in notebook["cells"] if not has_tag(cell, "papermill-error-cell-tag")]
    write_beside(failed, json.dumps(notebook, indent=1))
    if part.parent == failed.parent:
        part.unlink()


def _ensure_metrics(path: Path, started: float) -> None:
    """A notebook that recorded nothing gets an empty record, lest an earlier run's numbers pass for this one's."""
    if path.is_file() and path.stat().st_mtime >= started - 1:
        return
    print(f"{path.stem}: recorded no metrics; end it with record_metrics(...)", file=sys.stderr, flush=True)
    write_beside(path, json.dumps({"headline": {}, "metrics": {}, "provenance": {}}) + "\n")


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
            print(f"{task.name}: {fail.get_msg()}", file=sys.stderr, flush=True)


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
    cells = read_notebook(source)["cells"]
    texts = [f"{cell['cell_type']}\0{cell['source']}\0{cell['metadata'].get('tags', [])}" for cell in cells]
    library = [path for path in (root / "gccpm_lib").rglob("*.py") if path.name not in RUNNER_FILES]
    return [*texts, *sorted(library), *sorted((root / "gccpm_lib" / "weights").glob("*.safetensors"))]


def _notebook_task(root: Path, profile: Profile, name: str) -> dict:
    folder, source = notebook_folder(root, profile), source_notebook(root, profile, name)
    metrics = experiment_folder(root, profile, name) / "metrics" / f"{name}.json"
    return {
        "name": name,
        "actions": [(_run, [root, profile, name])],
        "file_dep": [str(folder / f"{other}.ipynb") for other in profile.needs[name]],
        "targets": [str(folder / f"{name}.ipynb"), str(metrics)],
        "uptodate": [_unchanged(lambda: notebook_inputs(root, source), profile.notebooks[name])],
    }


def _run(root: Path, profile: Profile, name: str) -> TaskFailed | None:
    problem = run_notebook(root, profile, name)
    return TaskFailed(problem) if problem else None


def _page_task(root: Path, profile: Profile, name: str) -> dict:
    settings = [list(profile.notebooks), profile.labels]
    return {
        "name": f"{name}.html",
        "actions": [(_publish, ["publish_page", root, profile, name])],
        "targets": [str(root / "reports" / profile.name / f"{name}.html")],
        "uptodate": [_unchanged(lambda: [*_executed(root, profile, name), *_page_sources()], settings)],
    }


def _index_task(root: Path, profile: Profile) -> dict:
    def inputs() -> list[Path]:
        notebooks = [path for name in profile.notebooks for path in _executed(root, profile, name)]
        folders = sorted({experiment_folder(root, profile, name) for name in profile.notebooks})
        results = [path for folder in folders for kind in ("metrics", "figures") for path in folder.glob(f"{kind}/*.*")]
        return [*notebooks, *sorted(results), *_page_sources()]

    settings = [profile.title, profile.description, profile.needs, profile.labels]
    folder = root / "reports" / profile.name
    return {
        "name": "index.html",
        "actions": [(_publish, ["publish_index", root, profile])],
        "targets": [str(folder / "index.html"), str(folder / "metrics.json")],
        "uptodate": [_unchanged(inputs, settings)],
    }


def _publish(function: str, *arguments) -> None:
    from gccpm_lib.report import index  # seconds of imports, needed only when a page changes

    getattr(index, function)(*arguments)


def _executed(root: Path, profile: Profile, name: str) -> list[Path]:
    folder = notebook_folder(root, profile)
    return [folder / f"{name}.ipynb", folder / f"{name}.failed.ipynb"]


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
