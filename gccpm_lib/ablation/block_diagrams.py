"""Diagrams of the context blocks, drawn from the code: a block is traced, so the picture can't differ from what runs.

Boxes stand at the resolution that they put out (the top row is the block's own), arrows are the maps handed on.
"""

import inspect
import operator
import textwrap
from collections import defaultdict
from collections.abc import Sequence

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from gccpm_lib.network import Context, RefinementBlock, context_name, make_context

FACES = {
    "in": "#FFFFFF",
    "convolution": "#CFE3F2",
    "resize": "#F6E3C5",
    "pool": "#E2D5EC",
    "join": "#D9EFE3",
    "out": "#FFFFFF",
}


class _LayersWhole(fx.Tracer):
    """Traces a block without looking into its layers: one box each."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return isinstance(module, RefinementBlock) or (isinstance(module, nn.Sequential) and _is_chain(module))


def _is_chain(module: nn.Sequential) -> bool:
    return not any(isinstance(child, RefinementBlock) for child in module)


def trace(context: Context, channels: int, cells: int = 32) -> list[dict]:
    """The steps of a block on a map of so many channels and cells, in order of computation.

    Each: name, kind, text, shape (channels, height, width) of what it puts out, and inputs (names of earlier steps).
    """
    block = nn.Sequential(make_context(context, channels, "bilinear")).eval()
    graph = fx.GraphModule(block, _LayersWhole().trace(block))
    ShapeProp(graph).propagate(torch.zeros(1, channels, cells, cells))
    modules, steps = dict(block.named_modules()), []
    for node in graph.graph.nodes:
        shape = getattr(node.meta.get("tensor_meta"), "shape", None)
        if shape is None:  # a size that is asked for, not a map
            continue
        known = {step["name"] for step in steps}
        inputs = [n.name for n in node.all_input_nodes if n.name in known]
        kind, text = _what(node, modules)
        if kind == "resize":
            inputs = inputs[:1]
        steps.append({"name": node.name, "kind": kind, "text": text, "shape": tuple(shape[1:]), "inputs": inputs})
    return steps


def _what(node: fx.Node, modules: dict[str, nn.Module]) -> tuple[str, str]:
    """Kind and text of a traced step."""
    if node.op == "placeholder":
        return "in", "features\nand heatmaps"
    if node.op == "output":
        return "out", "to the stage's\nrefinement blocks"
    if node.op == "call_module":
        return "convolution", _layers_text(modules[node.target])
    if node.target is torch.cat:
        return "join", "concatenate"
    if "adaptive_avg_pool" in node.target.__name__:
        return "pool", "average pooling"
    if node.target in (operator.add, torch.add):
        return "join", "add"
    return "resize", f"resize,\n{node.kwargs.get('mode', 'bilinear')}"


def _layers_text(module: nn.Module) -> str:
    """The convolutions of a layer, one line each."""
    if isinstance(module, nn.Identity):
        return "nothing"
    if isinstance(module, RefinementBlock):
        return "refinement block\n" + _layers_text(nn.Sequential(module.initial, module.trunk))
    lines = []
    for convolution in (m for m in module.modules() if isinstance(m, nn.Conv2d)):
        extra = f", stride {convolution.stride[0]}" if convolution.stride[0] > 1 else ""
        extra += f", dilation {convolution.dilation[0]}" if convolution.dilation[0] > 1 else ""
        lines.append(f"{convolution.kernel_size[0]}x{convolution.kernel_size[1]}{extra}")
    return "\n".join(lines)


def forward_text(context: Context, channels: int = 16) -> str:
    """The few lines in which a block computes, as they stand in the code; of a chain those of its first link."""
    block = make_context(context, channels, "bilinear")
    links = len(block) if isinstance(block, nn.Sequential) else 1
    source = textwrap.dedent(inspect.getsource(type(block[0] if links > 1 else block).forward))
    return f"# {links} of these in a row\n{source}" if links > 1 else source


def draw(contexts: Sequence[Context], channels: int, cells: int = 32) -> Figure:
    """Blocks below each other as boxes and arrows, from left to right; channels and cells of every map in its box."""
    traced = {context: trace(context, channels, cells) for context in contexts}
    placed = {context: _places(steps) for context, steps in traced.items()}
    columns, rows = ({c: 1 + max(place[i] for place in places.values()) for c, places in placed.items()} for i in (0, 1))
    width, heights = max(columns.values()), [rows[context] + 0.35 for context in contexts]
    figure = Figure(figsize=(1.3 * width, 0.72 * sum(heights)), layout="constrained")
    axes = figure.subplots(len(traced), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axis, (context, steps) in zip(axes, traced.items(), strict=True):
        axis.set(xlim=(-0.55, width - 0.45), ylim=(rows[context] - 0.45, -0.8))
        axis.set_title(f"{context_name(context)}, {channels} channels", fontsize=9, loc="left")
        axis.set_axis_off()
        _draw_steps(axis, steps, placed[context])
    return figure


def _draw_steps(axis: Axes, steps: list[dict], places: dict[str, tuple[int, int]]) -> None:
    boxes = {}
    for step in steps:
        x, y = places[step["name"]]
        depth, height, width = step["shape"]
        box = axis.text(
            x, y, f"{step['text']}\n{depth} x {height} x {width}", ha="center", va="center", fontsize=7, zorder=2,
            bbox=dict(boxstyle="round,pad=0.35", fc=FACES[step["kind"]], ec="#555555", lw=0.8),
        )  # fmt: skip
        boxes[step["name"]] = box.get_bbox_patch()
        for source in step["inputs"]:
            start = places[source]
            bow = -0.55 / (x - start[0]) if start[1] == y and x - start[0] > 1 else 0  # over the boxes between
            arrow = dict(arrowstyle="-|>", color="#555555", lw=0.9, connectionstyle=f"arc3,rad={bow}")
            ends = dict(patchA=boxes[source], patchB=boxes[step["name"]], shrinkA=1, shrinkB=1)
            axis.annotate("", (x, y), start, zorder=1, arrowprops={**arrow, **ends})


def _places(steps: list[dict]) -> dict[str, tuple[int, int]]:
    """Column: how many steps lie before. Row: the resolution, from fine to coarse.

    A map that is resized stays in its row, and parallel steps of one resolution stand below each other.
    """
    column: dict[str, int] = {}
    level: dict[str, int] = {}
    for step in steps:
        name, inputs = step["name"], step["inputs"]
        column[name] = max((column[i] + 1 for i in inputs), default=0)
        level[name] = level[inputs[0]] if step["kind"] == "resize" else step["shape"][1]
    rows: dict[tuple[int, int], list[str]] = defaultdict(list)
    for name in column:
        rows[level[name], column[name]].append(name)
    places, top = {}, 0
    for height in sorted(set(level.values()), reverse=True):
        parallel = {x: names for (here, x), names in rows.items() if here == height}
        places |= {name: (x, top + i) for x, names in parallel.items() for i, name in enumerate(names)}
        top += max(map(len, parallel.values()))
    return places
