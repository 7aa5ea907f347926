"""Profiles: which notebooks run, in which order, with which parameters; read and checked before anything runs.

A profile is a YAML file with the keys title, description, notebooks (name -> parameters, in order) and needs
(name -> the notebooks that must have run before). `gccpm reproduce --profile NAME` reads notebooks/profiles/NAME.yaml.
One notebook can make several pages: a name of its own with the keys notebook (which one) and label (told in the title).
"""

import ast
import difflib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

MOST_VALUES = 10_000  # of a YAML file; a few nested anchors can stand for billions, or for themselves


@dataclass(frozen=True)
class Profile:
    """What one run consists of; notebooks maps each page's name to all parameters that are injected into its notebook."""

    name: str
    title: str
    description: str
    notebooks: dict[str, dict]
    sources: dict[str, str]  # page -> the notebook that makes it
    labels: dict[str, str]  # page -> what sets it apart from the notebook's other pages; "" mostly
    needs: dict[str, tuple[str, ...]]
    cover: str = ""  # the figure that the index page shows on top, by its name


@dataclass(frozen=True)
class Parameter:
    """One assignment of a parameters cell; literal is False where the value is an expression (value is its text)."""

    name: str
    value: object
    literal: bool
    optional: bool  # annotated as X | None
    kinds: tuple[str, ...]  # the annotation's types, list[int] as list; none: the type of the value
    items: tuple[str, ...]  # types of a list's items, int of list[int]; none: any
    help: str


class _PlainYaml(yaml.SafeLoader):
    """YAML 1.2 scalars: 1e-4 is a number, yes/no/on/off and dates are texts (YAML 1.1 reads them the other way)."""

    yaml_implicit_resolvers: dict = {}  # noqa: RUF012 - the library's own class attribute

    def construct_mapping(self, node, deep=False):
        """A key given twice is an error: of two values of a parameter the first would be lost without a word."""
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key.value!r} twice", key.start_mark)
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else id(key))
        return super().construct_mapping(node, deep)


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?(0|[1-9][0-9]*)|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+", "-+.0123456789"),
    ("float", r"[-+]?\.(inf|Inf)|\.(nan|NaN)", "-+."),
    ("merge", r"<<", "<"),
):
    _PlainYaml.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first))


def parse_yaml(text: str, where: str):
    """YAML text -> plain values; ValueError naming `where` when it is not YAML, or when its anchors multiply too much."""
    try:
        content = yaml.load(text, Loader=_PlainYaml)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"{where}: not readable as YAML: {' '.join(str(error).split())}") from error
    rest, count = [content], 0
    while rest:
        value, count = rest.pop(), count + 1
        rest += [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else ()
        if count > MOST_VALUES:
            raise ValueError(f"{where}: more than {MOST_VALUES:,} values, anchors written out; list fewer")
    return content


def parse_setting(text: str) -> tuple[str, str, object]:
    """'02_train.base_lr=1e-4' -> ('02_train', 'base_lr', 0.0001); ValueError when it has another form."""
    key, equals, value = text.partition("=")
    notebook, dot, parameter = key.strip().partition(".")
    if not (equals and dot and notebook and parameter):
        raise ValueError(f"--set {text}: write it as notebook.parameter=value, for example 02_train_lip.base_lr=1e-4")
    return notebook, parameter, parse_yaml(value, f"--set {text}")


def read_profile(root: Path, name_or_path: str, settings: Iterable[str] = ()) -> Profile:
    """A profile's name, or the path of a YAML file anywhere, and --set texts -> the checked Profile.

    Every name and type is held against the parameters cells of notebooks/*.ipynb, since papermill would only warn.
    ValueError names the file, the wrong key and the closest known one.
    """
    path = _profile_path(root, name_or_path)
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text in UTF-8 ({error}); save it so") from error
    if not isinstance(content, dict) or not isinstance(content.get("notebooks"), dict):
        raise ValueError(f"{path}: no 'notebooks' in it; list there each notebook with its parameters")
    for key in content:
        expect_known(key, ("title", "description", "notebooks", "needs", "cover"), str(path), "key")
    chosen = {str(name): dict(given or {}) for name, given in content["notebooks"].items()}
    sources = {name: str(given.pop("notebook", name)) for name, given in chosen.items()}
    labels = {name: str(given.pop("label", "")) for name, given in chosen.items()}
    origins = {}
    for text in settings:
        notebook, parameter, value = parse_setting(text)
        expect_known(notebook, chosen, f"--set {text}", "notebook")
        chosen[notebook][parameter] = value
        origins[notebook, parameter] = f"--set {text}"
    notebooks = {
        name: _checked_parameters(root, path, name, sources[name], given, origins) for name, given in chosen.items()
    }
    needs = _checked_needs(path, content.get("needs") or {}, list(notebooks))
    title, description = str(content.get("title") or path.stem), str(content.get("description") or "")
    cover = str(content.get("cover") or "")
    return Profile(path.stem, title, description.strip(), notebooks, sources, labels, needs, cover)


def _profile_path(root: Path, name_or_path: str) -> Path:
    if name_or_path.endswith((".yaml", ".yml")) or "/" in name_or_path:
        path = Path(name_or_path)
    else:
        path = root / "notebooks" / "profiles" / f"{name_or_path}.yaml"
        known = sorted(file.stem for file in path.parent.glob("*.yaml"))
        if not path.is_file():
            expect_known(name_or_path, known, str(path.parent), "profile")
    if not path.is_file():
        raise ValueError(f"{path}: no such profile file; check the path")
    return path


def _checked_needs(path: Path, needs: Mapping, order: list[str]) -> dict[str, tuple[str, ...]]:
    for name, before in needs.items():
        for notebook in (name, *before):
            expect_known(notebook, order, f"{path}: needs", "notebook")
        late = [other for other in before if order.index(other) >= order.index(name)]
        if late:
            raise ValueError(f"{path}: needs: {name} needs {late[0]}, which comes later; put {late[0]} before it")
    return {name: tuple(needs.get(name, ())) for name in order}


def _checked_parameters(root: Path, path: Path, name: str, source: str, given: dict, origins: dict) -> dict:
    """One page's parameters, types checked; the names of experiment and page added where the notebook declares them.

    So is profile "": what the profile doesn't give is the notebook's default, not another profile's value.
    """
    file = root / "notebooks" / f"{source}.ipynb"
    if not file.is_file():
        expect_known(source, sorted(other.stem for other in file.parent.glob("*.ipynb")), str(path), "notebook")
    known = {parameter.name: parameter for parameter in read_parameters(read_notebook(file), str(file))}
    own = {"experiment_name": path.stem, "page_name": name, "profile": ""}
    checked = {key: value for key, value in own.items() if key in known}
    for key, value in given.items():
        where = origins.get((name, key), f"{path}: {name}")
        if key == "profile":
            raise ValueError(f"{where}: profile is for notebooks opened by hand; run gccpm reproduce --profile {value}")
        expect_known(key, known, where, f"parameter of {name}")
        checked[key] = checked_value(known[key], value, where)
    return checked


def checked_value(parameter: Parameter, value, where: str):
    """The value if its type fits the annotation, or else the default, in the parameters cell (an int is fine for a float).

    A name that ends in _size stands for height and width. ValueError otherwise.
    """
    default = parameter.value
    kinds = parameter.kinds or (() if default is None or default == () or default == [] else (type(default).__name__,))
    if not parameter.literal or not kinds or (value is None and parameter.optional):
        return value
    kind = type(value).__name__
    if kind == "int" and kind not in kinds and "float" in kinds:
        return float(value)
    known = "" if default == value else f" (default {default!r})"
    if kind not in kinds and not (kind in ("list", "tuple") and {"list", "tuple"} & set(kinds)):
        hint = "; write true or false" if kinds == ("bool",) else ""
        raise ValueError(
            f"{where}: {parameter.name} must be {_wanted(parameter, kinds)}{known}, but {value!r} is {kind}{hint}"
        )
    if kind in ("list", "tuple") and not _fits(parameter, value):
        raise ValueError(f"{where}: {parameter.name} must be {_wanted(parameter, kinds)}{known}, but it is {value!r}")
    return value


def _fits(parameter: Parameter, value: list | tuple) -> bool:
    kinds = {type(item).__name__ for item in value}
    allowed = set(parameter.items) | ({"int"} if "float" in parameter.items else set())
    return (not allowed or kinds <= allowed) and (not parameter.name.endswith("_size") or len(value) == 2)


def _wanted(parameter: Parameter, kinds: tuple[str, ...]) -> str:
    if parameter.name.endswith("_size"):
        return "two whole numbers, [height, width]"
    return " or ".join(kinds) + (f" of {' or '.join(parameter.items)}" if parameter.items else "")


def expect_known(name, known: Iterable[str], where: str, what: str) -> None:
    """ValueError that names the closest one where a name isn't known."""
    known = list(known)
    if name in known:
        return
    closest = difflib.get_close_matches(str(name), known, n=1)
    guess = f"; did you mean '{closest[0]}'?" if closest else ";"
    raise ValueError(f"{where}: unknown {what} '{name}'{guess} known: {', '.join(known) or 'none'}")


def read_notebook(path: Path) -> dict:
    """A notebook file -> its JSON with every cell's source as one text; ValueError when it is none."""
    try:
        notebook = json.loads(Path(path).read_text(encoding="utf-8"))
        for cell in notebook["cells"]:
            cell["source"] = "".join(cell["source"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a readable notebook ({error}); restore it from git") from error
    return notebook


def has_tag(cell: Mapping, tag: str) -> bool:
    """True where a notebook's cell carries the tag."""
    return tag in cell.get("metadata", {}).get("tags", ())


def read_parameters(notebook: Mapping, where: str, tag: str = "parameters") -> list[Parameter]:
    """The assignments of the cell with that tag, in order; [] when there is no such cell, ValueError on bad syntax.

    Read as Python, not with papermill.inspect_notebook: that skips a line with a second '=' in its comment.
    """
    cell = next((cell for cell in notebook["cells"] if has_tag(cell, tag)), None)
    if cell is None:
        return []
    try:
        return parameters_in(cell["source"])
    except SyntaxError as error:
        raise ValueError(f"{where}: the {tag} cell is not plain Python ({error}); keep only assignments") from error


def parameters_in(source: str) -> list[Parameter]:
    """The assignments of a cell's text, in order; SyntaxError where it is no Python."""
    return [_parameter(statement, source) for statement in ast.parse(source).body if _is_assignment(statement)]


def read_defaults(root: Path, source: str) -> dict:
    """A notebook's parameters as they stand in it: name -> value."""
    file = root / "notebooks" / f"{source}.ipynb"
    return {parameter.name: parameter.value for parameter in read_parameters(read_notebook(file), str(file))}


def _is_assignment(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.AnnAssign):
        return isinstance(statement.target, ast.Name) and statement.value is not None
    return isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)


def _parameter(statement: ast.Assign | ast.AnnAssign, source: str) -> Parameter:
    target = statement.target if isinstance(statement, ast.AnnAssign) else statement.targets[0]
    annotation = ast.unparse(statement.annotation) if isinstance(statement, ast.AnnAssign) else ""
    try:
        value, literal = ast.literal_eval(statement.value), True
    except ValueError:
        value, literal = ast.unparse(statement.value), False
    members = [member.strip().partition("[")[0] for member in annotation.split("|") if annotation]  # list[int] | None
    kinds = tuple(member for member in members if member != "None")
    inner = re.search(r"(?:list|tuple)\[(\w+)\]", annotation)
    items = (inner[1],) if inner else () if kinds or not isinstance(value, list | tuple) else _kinds_of(value)
    help_text = _comment(statement, source.splitlines())
    return Parameter(target.id, value, literal, "None" in members, kinds, items, help_text)


def _kinds_of(value: list | tuple) -> tuple[str, ...]:
    return tuple(dict.fromkeys(type(item).__name__ for item in value))


def _comment(statement: ast.stmt, lines: list[str]) -> str:
    """The comment behind an assignment, else the one on the line above it."""
    behind = lines[statement.end_lineno - 1].encode()[statement.end_col_offset :].decode().strip()
    above = lines[statement.lineno - 2].strip() if statement.lineno > 1 else ""
    return next((text.lstrip("# ") for text in (behind, above) if text.startswith("#")), "")


def all_parameters(root: Path, profile: Profile, name: str) -> dict[str, object]:
    """Every parameter that a page's notebook runs with: the notebook's defaults, and over them the profile's values."""
    source = source_notebook(root, profile, name)
    defaults = {parameter.name: parameter.value for parameter in read_parameters(read_notebook(source), str(source))}
    return {**defaults, **profile.notebooks[name]}


def notebook_folder(root: Path, profile: Profile) -> Path:
    """Where the executed notebooks of a profile lie."""
    return root / "runs" / profile.name / "notebooks"


def source_notebook(root: Path, profile: Profile, name: str) -> Path:
    """The notebook that makes a page."""
    return root / "notebooks" / f"{profile.sources[name]}.ipynb"


def run_files(root: Path, profile: Profile, name: str) -> tuple[Path, Path]:
    """Where a page's last good run and, only while it is the last one, a failed run lie."""
    folder = notebook_folder(root, profile)
    return folder / f"{name}.ipynb", folder / f"{name}.failed.ipynb"
