"""The house: data flows one way, and so do the imports. Each room stands above all that it may import."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "gccpm_lib"
# From the bottom up: a module or room may import what stands on an earlier floor, or its own room.
FLOORS = (
    ("skeletons", "geometry", "files", "extras", "timing", "progress", "provenance", "devices"),
    ("recipes",),
    ("network", "weight_files", "heatmaps"),
    ("checkpoints",),
    ("datasets",),
    ("rendering", "augment"),
    ("loading",),
    ("prediction",),
    ("evaluation",),
    ("training",),
    ("show",),
    ("export",),
    ("ablation",),
    ("cli",),
    ("report",),
    ("tools",),
    ("__main__",),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def imported(path: Path):
    """(line, module) of each import of this library in a file, those inside functions included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names if alias.name.split(".")[0] == "gccpm_lib")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "gccpm_lib":
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def module_of(name: str) -> str:
    """The file's module that a dotted name of an import stands for: gccpm_lib.a.b.f -> a.b."""
    parts = name.split(".")[1:]
    while parts and not any(PACKAGE.joinpath(*parts).with_suffix(ending).exists() for ending in (".py", "")):
        parts.pop()
    return ".".join(parts)


FILES = sorted(PACKAGE.rglob("*.py"))
IMPORTS = {path: [(line, module_of(name)) for line, name in imported(path)] for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_arrow_runs_upwards(path):
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    wrong = [
        f"{path.relative_to(PACKAGE.parent)}:{line} imports {module}"
        for line, module in IMPORTS[path]
        if module and module.split(".")[0] != room and FLOOR[module.split(".")[0]] >= FLOOR.get(room, -1)
    ]
    assert not wrong, "\n".join(wrong)


def test_every_file_has_its_floor():
    rooms = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in FILES} - {"__init__"}
    assert rooms == set(FLOOR)


def test_no_two_modules_need_each_other():
    name = {path: ".".join(path.relative_to(PACKAGE).with_suffix("").parts) for path in FILES}
    needs = {name[path]: {module for _, module in found if module} for path, found in IMPORTS.items()}
    while free := [module for module, others in needs.items() if not (others & needs.keys()) - {module}]:
        for module in free:
            del needs[module]
    assert not needs, f"in a circle: {sorted(needs)}"


@pytest.mark.parametrize(
    ("low", "high"),
    [("export.engines", "training"), ("report.pages", "evaluation"), ("heatmaps", "network")],
)
def test_who_does_not_need_whom(low, high):
    """Inference doesn't import the trainer, a page not the metrics, the targets' formula not the network."""
    name = {path: ".".join(path.relative_to(PACKAGE).with_suffix("").parts) for path in FILES}
    needs = {name[path].removesuffix(".__init__"): {m for _, m in found if m} for path, found in IMPORTS.items()}
    reached, waiting = set(), [low]
    while waiting:
        module = waiting.pop()
        reached.add(module)
        waiting += [other for other in needs.get(module, ()) if other not in reached]
    assert not [module for module in reached if module.split(".")[0] == high]
