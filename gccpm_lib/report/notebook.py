"""What a notebook calls: where its files go, and how it records numbers and shows figures."""

import io
import json
import math
from collections.abc import Mapping
from pathlib import Path

from gccpm_lib import provenance
from gccpm_lib.files import write_beside

PACKAGE = Path(__file__).resolve().parents[1]
FIGURE_LIMIT_BYTES = 300_000


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
