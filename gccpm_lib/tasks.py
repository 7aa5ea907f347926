"""The task graph of a profile, run by doit: a task per notebook, one per page, one for the index page."""

import hashlib
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from doit.control import TaskControl
from doit.dependency import DatabaseException, Dependency, JsonDB
from doit.exceptions import TaskFailed, UnmetDependency
from doit.reporter import ZeroReporter
from doit.runner import Runner
from doit.task import Stream, dict_to_task

from gccpm_lib import workbook
from gccpm_lib.files import write_beside
from gccpm_lib.profiles import Profile, read_notebook

PAGE_FILES = ("markdown.py", "pages.py", "publishing.py", "site.py")
# Only the runner itself uses these files, so an edit of one must not train again.
RUNNER_FILES = ("__main__.py", "tasks.py", *PAGE_FILES)


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
    folder, source = workbook.notebook_folder(root, profile), workbook.source_notebook(root, profile, name)
    metrics = workbook.experiment_folder(root, profile, name) / "metrics" / f"{name}.json"
    return {
        "name": name,
        "actions": [(_run, [root, profile, name])],
        "file_dep": [str(folder / f"{other}.ipynb") for other in profile.needs[name]],
        "targets": [str(folder / f"{name}.ipynb"), str(metrics)],
        "uptodate": [_unchanged(lambda: notebook_inputs(root, source), profile.notebooks[name])],
    }


def _run(root: Path, profile: Profile, name: str) -> TaskFailed | None:
    problem = workbook.run_notebook(root, profile, name)
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
        folders = sorted({workbook.experiment_folder(root, profile, name) for name in profile.notebooks})
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
    from gccpm_lib import publishing  # seconds of imports, needed only when a page changes

    getattr(publishing, function)(*arguments)


def _executed(root: Path, profile: Profile, name: str) -> list[Path]:
    folder = workbook.notebook_folder(root, profile)
    return [folder / f"{name}.ipynb", folder / f"{name}.failed.ipynb"]


def _page_sources() -> list[Path]:
    templates = sorted((workbook.PACKAGE / "templates").iterdir())
    return [*(workbook.PACKAGE / name for name in PAGE_FILES), *templates]


def _unchanged(inputs: Callable[[], list], settings: object) -> Callable:
    """A check for doit that inputs and settings are as they were before the last success.

    Not doit's own file_dep: that looks at files after a task, so an edit during hours of training would go unseen.
    """

    def check(task, values) -> bool:
        found = digest(inputs(), settings)
        task.value_savers.append(lambda: {"digest": found})
        return values.get("digest") == found

    return check
