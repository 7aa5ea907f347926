"""Checks before anything runs: a notebook's parameters, and the folders, checkpoints and devices that they name."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from gccpm_lib.report.profiles import Parameter, Profile, checked_value, expect_known, parameters_in, read_defaults

EXPLORED = "explore"  # folder under runs/ for what is run by hand
RENDERED = ("data/rendered_lip", "data/rendered_coco")  # folders into which people are rendered unasked
RENDERING, TRAINING = ("01_data_prep", "03_train_coco"), ("02_train_lip", "03_train_coco")  # notebooks that do
FROM_LIP = ("03_train_coco", "04_evaluation", "05_global_context_ablation", "06_export")  # from 02's network by default


class ParameterError(ValueError):
    """A wrong parameter of a notebook. JupyterLab shows its one line, without the way there."""

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]


def may_render(folder: Path, dataset_folder: str, render_if_missing: bool | None = None) -> bool:
    """Whether people are rendered into a folder: where they were before, or into a new one that has a default name.

    So a mistyped dataset_folder is an error, and not a new data set. render_if_missing: True for any new folder, False
    never.
    """
    if render_if_missing is False:
        return False
    if folder.exists():
        return (folder / "rendered.json").exists()
    return bool(render_if_missing) or dataset_folder in RENDERED


def check_profile(root: Path, profile: Profile) -> None:
    """Hold every notebook of a profile against this machine. ValueError that names all that is missing, in one line."""
    made: set[Path] = set()
    found: list[str] = []
    for name, given in profile.notebooks.items():
        source = profile.sources[name]
        values = read_defaults(root, source) | given
        found += [f"{name}: {problem}" for problem in problems(root, source, values, made)]
        made |= outputs(root, source, values)
    if found:
        raise ValueError(f"profile {profile.name}: " + "; ".join(dict.fromkeys(found)))


def check_by_hand(root: Path, names: Mapping) -> None:
    """The same for the notebook that is run by hand, types and names included; ParameterError in one line.

    names: its globals(). The cells that were run tell which of them are parameters: each is declared with its type.
    """
    try:
        for parameter in declared(names["In"]):
            checked_value(parameter, names[parameter.name], "parameters")
        found = list(problems(root, names["page_name"], names, set()))
    except ValueError as error:
        raise ParameterError(str(error)) from None
    if found:
        raise ParameterError("; ".join(found))


def declared(cells: list[str]) -> list[Parameter]:
    """The parameters of the cell that was run last of those that declare some; ValueError for a name without a type.

    What papermill injects stands in a cell of its own behind it, without types, and may only name what is declared.
    """
    known: list[Parameter] = []
    for cell in cells:
        found = _assigned(cell)
        if any(parameter.name == "experiment_name" and parameter.kinds for parameter in found):
            known = [parameter for parameter in found if parameter.kinds]
        elif not cell.startswith("# Parameters"):
            continue
        for parameter in found:
            expect_known(parameter.name, [other.name for other in known], "parameters", "parameter")
    return known


def _assigned(cell: str) -> list[Parameter]:
    try:
        return parameters_in(cell)
    except SyntaxError:  # a magic command
        return []


def problems(root: Path, source: str, values: Mapping, made: set[Path]) -> Iterator[str]:
    """What a notebook's values name and this machine hasn't; made: what notebooks before it will have left."""
    place = values.get("dataset_folder")
    if place and not _is_there(root / Path(place).expanduser(), made) and not _makes_data(root, source, values):
        default = "; run 01_data_prep first" if place in RENDERED else "; put the data set there or correct the path"
        yield f"dataset_folder {place} doesn't exist{default}"
    for key in ("coco_folder", "labels_folder", "picture_folder", "own_folder"):
        if values.get(key) and not _is_there(root / Path(values[key]).expanduser(), made):
            yield f"{key} {values[key]} doesn't exist; correct the path"
    for key in ("checkpoint_path", "clean_labels_with", "beside", "boxes_path"):
        if values.get(key) and (problem := _file_problem(root, values[key], made)):
            yield f"{key} {problem}"
    from_network = values.get("from_mobilenet", False) is False  # None: from MobileNet, without a checkpoint_path
    if source in FROM_LIP and not values.get("checkpoint_path") and from_network:
        path = root / "runs" / values["experiment_name"] / "02_train_lip" / "checkpoint.pt"
        by_hand = path.parents[2] / EXPLORED / path.relative_to(path.parents[2])
        if not by_hand.is_file() and not _is_there(path, made):
            yield f"{path.relative_to(root)} doesn't exist; run 02_train_lip first, or give checkpoint_path"
    if problem := device_problem(values.get("device", "cpu")):
        yield problem
    if values.get("recipe"):
        from gccpm_lib.recipes import get_recipe

        get_recipe(values["recipe"])


def outputs(root: Path, source: str, values: Mapping) -> set[Path]:
    """What other notebooks need of those that a notebook leaves behind."""
    found = {root / values["dataset_folder"]} if _makes_data(root, source, values) else set()
    if source in TRAINING:
        found.add(root / "runs" / values["experiment_name"] / values["page_name"] / "checkpoint.pt")
    return found


def device_problem(device: str) -> str:
    """What keeps this machine from computing on a device, "" where nothing does."""
    kind = str(device).partition(":")[0]
    if kind in ("auto", "cpu"):
        return ""
    import torch

    there = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
    if kind not in there:
        return f"device {device!r} is none; write cpu, cuda or mps"
    return "" if there[kind]() else f"device {device}: PyTorch finds none on this machine; write cpu"


def _makes_data(root: Path, source: str, values: Mapping) -> bool:
    """Whether a notebook makes its data set: rendered people, or LIP's pictures cut from COCO's."""
    place = values.get("dataset_folder") or ""
    renders = source in RENDERING and may_render(root / place, place, values.get("render_if_missing"))
    return renders or bool(values.get("coco_folder"))


def _file_problem(root: Path, place: str, made: set[Path]) -> str:
    from gccpm_lib.weight_files import find_checkpoint

    try:
        path = root / Path(find_checkpoint(place)).expanduser()
    except FileNotFoundError as error:
        return str(error)
    return "" if _is_there(path, made) else f"{place} doesn't exist; correct the path"


def _is_there(path: Path, made: set[Path]) -> bool:
    return path.exists() or path in made
