"""What a notebook that teaches calls beside `notebook`: its first screen, the answer to an exercise, texts by data set."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from gccpm_lib.report.checks import EXPLORED
from gccpm_lib.report.notebook import checkpoint_of, made_for_report, project_root, resolve, run_folder


def first_screen(page_name: str, experiment_name: str = "sample") -> None:
    """Below a notebook's title, by hand: how long Run All takes here, and what came out last time.

    A published page has its own run's answer there, see `notebook.record_metrics`.
    """
    if made_for_report():
        return
    from IPython.display import Image, Markdown, display

    root = project_root()
    answer, picture = last_answer(root, page_name, experiment_name)
    display(Markdown(f"{told_time(root, page_name, experiment_name)} {answer}"))
    if picture:
        display(Image(data=picture.read_bytes(), format="png", width=600, alt="The picture of the last result"))


def told_time(root: Path, page_name: str, experiment_name: str) -> str:
    """How long the notebook took when it was last run by `gccpm reproduce` here, else where the report was made."""
    executed = root / "runs" / experiment_name / "notebooks" / f"{page_name}.ipynb"
    seconds, where = _read(executed).get("metadata", {}).get("papermill", {}).get("duration"), "as last time here"
    if seconds is None:
        report = _read(root / "reports" / experiment_name / "metrics.json")
        page = report.get("notebooks", {}).get(page_name, {})
        seconds, made = page.get("wall_time_s"), page.get("provenance", {})
        where = f"measured on {made.get('cpu_count', '?')} cores of {made.get('cpu', 'another machine')}"
    if seconds is None:
        return "How long *Run All* takes here isn't known yet."
    length = f"{seconds / 60:.0f} minutes" if seconds >= 90 else f"{10 * max(1, round(seconds / 10))} seconds"
    return f"*Run All* takes about **{length}**, {where}."


def last_answer(root: Path, page_name: str, experiment_name: str) -> tuple[str, Path | None]:
    """The sentence that the last run recorded, with where from, and its picture; a note and None without one."""
    for where, folder, content in _records(root, page_name, experiment_name):
        if answer := content.get("answer"):
            picture = folder / "figures" / f"{answer['picture']}.png"
            return f"The answer {where}: {answer['text']}", picture if picture.is_file() else None
    return "There is no answer from an earlier run.", None


def _records(root: Path, page_name: str, experiment_name: str) -> Iterator[tuple[str, Path, dict]]:
    """Where a page's numbers may lie, what is made here before what was published: words, folder, content."""
    for part, where in ((f"{EXPLORED}/{experiment_name}", "of your last run"), (experiment_name, "of the last run")):
        folder = root / "runs" / part
        yield where, folder, _read(folder / "metrics" / f"{page_name}.json")
    folder = root / "reports" / experiment_name
    yield "in the published report", folder, _read(folder / "metrics.json").get("notebooks", {}).get(page_name, {})


def _read(file: Path) -> dict:
    """A JSON file's content, {} where there is none that can be read: a first screen is no place for an error."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def folded(summary: str, text: str):
    """Markdown that opens on a click, such as the answer to an exercise; for display as a cell's last expression."""
    from IPython.display import Markdown

    return Markdown(f"<details><summary>{summary}</summary>\n\n{text}\n\n</details>")


def training_run(names: Mapping[str, object], recipe: str, beginning: str = ""):
    """A training notebook's globals() -> its `training.Run`, paths resolved, its output in the page's own folder.

    recipe: where the parameter is None. beginning: the page whose network is the start where checkpoint_path is empty and
    from_mobilenet is False.
    """
    from gccpm_lib import checkpoints
    from gccpm_lib.training.run import from_parameters

    given = names["checkpoint_path"]
    start = resolve(checkpoints.find_checkpoint(given)) if given else ""
    if not given and beginning and names["from_mobilenet"] is False:
        start = checkpoint_of(names["experiment_name"], beginning)
    return from_parameters(
        names,
        recipe=names["recipe"] or recipe,
        checkpoint_path=str(start),
        dataset_folder=str(resolve(names["dataset_folder"])),
        output_folder=str(run_folder(names["experiment_name"]) / names["page_name"]),
    )
