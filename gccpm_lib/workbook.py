"""The workbook's runner: a task per notebook, a task per page; only what changed runs (`gccpm reproduce`).

Notebooks use `run_folder`, `resolve`, `record_metrics`, `save_figure` and `show_figure` from here.
"""

import io
import json
import math
import os
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from gccpm_lib import provenance
from gccpm_lib.files import locked, write_beside
from gccpm_lib.profiles import Profile, has_tag, read_notebook, read_profile

PACKAGE = Path(__file__).resolve().parent
FIGURE_LIMIT_BYTES = 300_000


# ---------------------------------------------------------------------------------------------- for notebooks


def project_root() -> Path:
    """The folder that has notebooks/ and pyproject.toml: upward from here, else from this file; ValueError if none."""
    here = Path.cwd()
    for folder in (here, *here.parents, *PACKAGE.parents):
        if (folder / "notebooks").is_dir() and (folder / "pyproject.toml").is_file():
            return folder
    raise ValueError(f"{here}: no project folder (notebooks/ beside pyproject.toml) here or above; change into it")


def resolve(path: str | Path) -> Path:
    """An absolute path stays; a relative one is taken from the project root, wherever the notebook was started."""
    return project_root() / Path(path).expanduser()


def run_folder(experiment_name: str) -> Path:
    """The folder of one experiment's working files, runs/<experiment_name>; made if missing."""
    folder = project_root() / "runs" / experiment_name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def record_metrics(run_folder: str | Path, notebook: str, headline: Mapping, metrics: Mapping) -> None:
    """A notebook's numbers -> <run_folder>/metrics/<notebook>.json, with where they come from.

    headline: label -> number, in the order of the index page's cards; metrics: nested dicts and lists of numbers,
    texts, NumPy values (NaN is written as null). Name times so that they end in "_s". ValueError on other types.
    """
    content = {
        "headline": _plain(headline, "headline"),
        "metrics": _plain(metrics, "metrics"),
        "provenance": provenance.describe(project_root()),
    }
    write_beside(Path(run_folder) / "metrics" / f"{notebook}.json", json.dumps(content, indent=1) + "\n")


def save_figure(figure, run_folder: str | Path, name: str, caption: str = "") -> Path:
    """A Matplotlib figure -> <run_folder>/figures/<name>.png of at most 300 kB; the index page shows it."""
    path = Path(run_folder) / "figures" / f"{name}.png"
    for dots_per_inch in (130, 100, 80, 60, 45):
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=dots_per_inch, bbox_inches="tight", facecolor="white")
        picture = _fewer_colours(buffer.getvalue())
        if len(picture) <= FIGURE_LIMIT_BYTES:
            break
    write_beside(path.with_suffix(".txt"), caption)
    return write_beside(path, picture)


def show_figure(figure, run_folder: str | Path, name: str, caption: str = "") -> None:
    """Save a Matplotlib figure as `save_figure` does, show it with its caption in the notebook, and close it."""
    from IPython.display import Image, display
    from matplotlib import pyplot

    path = save_figure(figure, run_folder, name, caption)
    pyplot.close(figure)
    display(Image(data=path.read_bytes(), format="png", alt=caption or name, metadata={"caption": caption}))


def _fewer_colours(picture: bytes) -> bytes:
    """A PNG over the limit, reduced to 256 colours; a smaller one as it is."""
    if len(picture) <= FIGURE_LIMIT_BYTES:
        return picture
    from PIL import Image

    buffer = io.BytesIO()
    Image.open(io.BytesIO(picture)).convert("RGB").quantize(256).save(buffer, "png", optimize=True)
    return buffer.getvalue()


def _plain(value, key: str):
    """Nested values as JSON has them; NaN and infinity become None."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item, f"{key}.{name}") for name, item in value.items()}
    if hasattr(value, "tolist"):  # NumPy scalars and arrays, tensors
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(item, f"{key}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, Path):
        return str(value)
    raise ValueError(f"record_metrics: {key} is {type(value).__name__}; give numbers, texts, lists or dicts")


# ------------------------------------------------------------------------------------------------- for the runner


def notebook_folder(root: Path, profile: Profile) -> Path:
    """Where the executed notebooks of a profile lie."""
    return root / "runs" / profile.name / "notebooks"


def source_notebook(root: Path, profile: Profile, name: str) -> Path:
    """The notebook that makes a page."""
    return root / "notebooks" / f"{profile.sources[name]}.ipynb"


def experiment_folder(root: Path, profile: Profile, name: str) -> Path:
    """The run folder that one notebook writes to."""
    return root / "runs" / str(profile.notebooks[name].get("experiment_name", profile.name))


def reproduce(name_or_path: str = "sample", settings: Iterable[str] = ()) -> int:
    """Run a profile's changed notebooks and publish its pages; 0, or 1 when a notebook failed.

    ValueError before anything runs when the profile or a --set text is wrong; FolderBusy while another one runs.
    """
    root = project_root()
    profile = read_profile(root, name_or_path, settings)
    with locked(root / "runs" / profile.name):
        from gccpm_lib import tasks

        failed = tasks.run_all(root, profile)
    print(f"Report: {root / 'reports' / profile.name / 'index.html'}", flush=True)
    return int(failed)


def publish(name_or_path: str = "sample", settings: Iterable[str] = ()) -> int:
    """Write a profile's pages again from what was last run; ValueError when nothing was."""
    from gccpm_lib import publishing

    root = project_root()
    profile = read_profile(root, name_or_path, settings)
    if not any(notebook_folder(root, profile).glob("*.ipynb")):
        raise ValueError(f"profile {profile.name}: nothing has run yet; run gccpm reproduce --profile {name_or_path}")
    with locked(root / "runs" / profile.name):
        for name in profile.notebooks:
            publishing.publish_page(root, profile, name)
        publishing.publish_index(root, profile)
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
