"""What a notebook calls: where its files go, and how it records numbers and shows figures.

A report is made from executed notebooks alone: what `record_metrics` and `show_figure` put into them. The files that both
leave in the run folder are for people.
"""

import io
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path

from gccpm_lib import provenance
from gccpm_lib.files import write_beside
from gccpm_lib.report.checks import EXPLORED, check_by_hand
from gccpm_lib.report.profiles import read_profile

PACKAGE = Path(__file__).resolve().parents[1]
FIGURE_LIMIT_BYTES = 300_000
RECORD_TYPE = "application/vnd.gccpm.record+json"  # of the output in which a notebook's numbers lie
REPORT_RUN = "GCCPM_REPORT_RUN"  # set by the runner alone, in the notebooks that it executes


def project_root() -> Path:
    """The folder that has notebooks/ and pyproject.toml: upward from here, else from this file; ValueError if none."""
    here = Path.cwd()
    for folder in (here, *here.parents, *PACKAGE.parents):
        if (folder / "notebooks").is_dir() and (folder / "pyproject.toml").is_file():
            return folder
    raise ValueError(f"{here}: no project folder (notebooks/ beside pyproject.toml) here or above; change into it")


def foreign_library(root: Path) -> str:
    """A line that says so where the library in use isn't this project's own, but another clone's; "" where it is."""
    own = root / "gccpm_lib"
    if own.resolve() == PACKAGE or not (own / "__init__.py").is_file():
        return ""
    return f"the library in use is {PACKAGE}, not {own}; run pip install -e {root} to use this project's own"


def resolve(path: str | Path) -> Path:
    """An absolute path stays; a relative one is taken from the project root, wherever the notebook was started."""
    return project_root() / Path(path).expanduser()


def begin(names: Mapping) -> Path:
    """A notebook's first line: check its parameters, say where its files go and give that folder, see `run_folder`.

    names: the notebook's globals(). Raises checks.ParameterError, shown as one line, for an unknown or mistyped parameter
    and for a folder, a checkpoint or a device that isn't there. What the runner executes it has checked before.
    """
    if not made_for_report():
        if said := foreign_library(project_root()):
            print(said)
        check_by_hand(project_root(), names)
        folder = run_folder(names["experiment_name"]).relative_to(project_root())
        print(f"Run by hand: results go to {folder.as_posix()}; the report is made by gccpm reproduce alone.")
    return run_folder(names["experiment_name"])


def filled(parameters: Mapping[str, object]) -> dict[str, object]:
    """A notebook's globals -> what a profile gives for its parameters that are None; {} where the parameter profile is "".

    For a notebook that is opened by hand. The runner gives all values itself, and "" for the profile, so that no other
    profile's values come in. Prints where the notebook's own value is kept. ValueError where the profile lacks the page.
    """
    name, page = parameters["profile"], parameters["page_name"]
    if not name:
        return {}
    pages = read_profile(project_root(), name).notebooks
    if page not in pages:
        raise ValueError(f"page_name {page!r}: not in profile {name}; known: {', '.join(pages)}; or give profile = ''")
    given = {key: value for key, value in pages[page].items() if key != "profile"}
    for key, value in given.items():
        if parameters[key] not in (None, value):
            print(f"{key} = {parameters[key]!r}, as above; profile {name} has {value!r}")
    return {key: value for key, value in given.items() if parameters[key] is None}


def run_folder(experiment_name: str) -> Path:
    """The folder of one experiment's working files, made if missing.

    runs/<experiment_name> belongs to `gccpm reproduce`; a notebook run by hand gets runs/explore/<experiment_name>.
    ValueError without a name.
    """
    if not experiment_name:
        raise ValueError("experiment_name: name the folder under runs/, or give the parameter profile")
    folder = project_root() / "runs" / ("" if made_for_report() else EXPLORED) / experiment_name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def made_for_report() -> bool:
    """Whether the runner executes this notebook; False when somebody works in it."""
    return bool(os.environ.get(REPORT_RUN))


def checkpoint_of(experiment_name: str, page_name: str) -> Path:
    """Where a training of this experiment left its network: by hand the one made by hand, else the last report's."""
    by_hand = run_folder(experiment_name) / page_name / "checkpoint.pt"
    return by_hand if by_hand.is_file() else project_root() / "runs" / experiment_name / page_name / "checkpoint.pt"


def record_metrics(
    run_folder: str | Path,
    notebook: str,
    headline: Mapping,
    metrics: Mapping,
    about: Mapping[str, str] | None = None,
    answer: str = "",
    picture: str = "",
    layout: str = "",
) -> None:
    """A notebook's numbers, with where they come from -> into the notebook, and <run_folder>/metrics/<notebook>.json.

    headline: label -> number, in the order of the index page's cards; metrics: nested dicts and lists of numbers,
    texts, NumPy values (NaN is written as null). Name times so that they end in "_s". about: what the page's heading says,
    such as {"data": ..., "network": ...}, Markdown. answer: the finding in one sentence with its number, Markdown, and
    picture, the name of a figure shown by `show_figure`: both stand under the title. layout: of the data, "lip" or "coco",
    so that the page leaves out cells that are tagged with the other one. ValueError on other types.
    """
    content = {
        "headline": _plain(headline, "headline"),
        "metrics": _plain(metrics, "metrics"),
        "about": _plain(about or {}, "about"),
        "answer": {"text": answer, "picture": picture} if answer else {},
        "layout": layout,
        "provenance": provenance.describe(project_root()),
    }
    file = Path(run_folder) / "metrics" / f"{notebook}.json"
    write_beside(file, json.dumps(content, indent=1) + "\n")
    if _in_notebook():
        from IPython.display import display

        ordered = {**content, "headline": list(content["headline"].items())}  # a notebook's file sorts keys, pairs stay
        display({RECORD_TYPE: ordered, "text/plain": f"Numbers: {file}"}, raw=True)


def _in_notebook() -> bool:
    """Whether this runs in a notebook's kernel."""
    from IPython import get_ipython

    return get_ipython() is not None


def save_figure(figure, run_folder: str | Path, name: str, caption: str = "") -> Path:
    """A Matplotlib figure -> <run_folder>/figures/<name>.png of at most 300 kB."""
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
    """Save a Matplotlib figure as `save_figure` does, show it with its caption in the notebook, and close it.

    The index page shows what the executed notebook holds.
    """
    from IPython.display import Image, display
    from matplotlib import pyplot

    path = save_figure(figure, run_folder, name, caption)
    pyplot.close(figure)
    about = {"caption": caption, "figure": name}
    display(Image(data=path.read_bytes(), format="png", alt=caption or name, metadata=about))


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
