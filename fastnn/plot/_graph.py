"""The graph of an ONNX model: boxes in the order of computation, from the top down, in columns where it is long."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._extras import require
from ._axes import BLUE, GREY, ORANGE, axes

WIDTH, HEIGHT = 1.75, 0.5  # inches that a box and the room around it take
GAP = 0.5  # between columns
INK, PALE = "#4a4f57", "#9aa3b0"
_PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN", "Scan", "Attention", "Einsum")


class _Box:
    """A step of the graph (or an input or output), and where it is drawn."""

    def __init__(self, label: str, shape: Any, colour: str, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        self.label, self.colour = label, colour
        self.shape = "" if shape is None else " x ".join(map(str, shape))
        self.inputs, self.outputs = inputs, outputs
        self.sources: list[_Box] = []
        self.depth, self.x, self.y = 0, 0.0, 0.0
        self.column, self.right = 0, 0.0  # and where its column ends


def graph(model: Any, ax: Any = None) -> Any:
    """Draw the graph of an ONNX model: the nodes that data pass through, with the shapes of what they give.

    Nodes that compute shapes or prepare weights are left out. Products, which do the work, are blue.

    Parameters
    ----------
    model : onnx.ModelProto
        Such as `fastnn.onnx.export` returns.
    ax : matplotlib Axes, optional
        Where to draw; a new figure, large enough for the text, by default.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    MissingExtraError
        Without matplotlib or onnx (a ModuleNotFoundError).
    TypeError
        If `model` is no ModelProto.

    Examples
    --------
    >>> import fastnn as fnn
    >>> model = fnn.onnx.export(fnn.nn.Sequential(fnn.nn.Linear(3, 4), fnn.nn.ReLU()), fnn.zeros(2, 3))
    >>> ax = fnn.plot.graph(model)
    >>> [text.get_text() for text in ax.texts if text.get_text()]
    ['x', '2 x 3', 'Gemm', '2 x 4', 'Relu', '2 x 4', 'output', '2 x 4']
    """
    from ..onnx._overview import overview

    if not isinstance(model, require("onnx", "onnx", "plot.graph").ModelProto):
        raise TypeError(f"plot.graph: model must be an onnx.ModelProto, got {type(model).__name__}")
    boxes = _boxes(overview(model))
    _connect(boxes)
    width, height = _place(boxes)
    if ax is None:
        require("matplotlib", "plot", "plot.graph")
        pyplot = require("matplotlib.pyplot", "plot", "plot.graph")
        ax = pyplot.subplots(figsize=(max(2, width * WIDTH), max(2, height * HEIGHT)))[1]
    ax = axes(ax, "graph")
    lanes: dict[int, int] = {}  # lines that run beside a column, upwards
    for box in boxes:
        for source in box.sources:
            if source.column == box.column:
                _draw_edge(ax, source, box)
            else:
                lanes[source.column] = lane = lanes.get(source.column, -1) + 1
                _draw_way_back(ax, source, box, lane)
    for box in boxes:
        _draw_box(ax, box)
    ax.set(xlim=(-0.6, width - 0.3), ylim=(height - 0.25, -0.75))
    ax.axis("off")
    return ax


def _boxes(found: Any) -> list[_Box]:
    boxes = [_Box(name, shape, ORANGE, [], [name]) for name, shape in found.inputs.items()]
    for step in found.steps:
        colour = BLUE if step.kind in _PRODUCTS else GREY
        boxes.append(_Box(step.kind, step.shape, colour, step.inputs, step.outputs))
    return boxes + [_Box(name, shape, ORANGE, [name], []) for name, shape in found.outputs.items()]


def _connect(boxes: list[_Box]) -> None:
    """Find each box's sources, and how many steps it lies below the inputs."""
    makers: dict[str, _Box] = {}
    for box in boxes:
        box.sources = list(dict.fromkeys(makers[name] for name in box.inputs if name in makers))
        box.depth = 1 + max((source.depth for source in box.sources), default=-1)
        makers.update(dict.fromkeys(box.outputs, box))
    for box in reversed(boxes):  # an input that is first needed late stands close to where it is needed
        if not box.sources:
            readers = [other.depth for other in boxes if box in other.sources]
            box.depth = max(0, min(readers) - 1) if readers else box.depth


def _place(boxes: list[_Box]) -> tuple[float, float]:
    """Give every box a place below its sources; a long graph is cut into columns. Returns the size of the whole."""
    rows: dict[int, list[_Box]] = {}
    for box in boxes:
        rows.setdefault(box.depth, []).append(box)
    length = len(rows)
    per_column = length if length <= 30 else int(np.ceil(length / np.ceil(np.sqrt(length * HEIGHT / (2 * WIDTH)))))
    left = 0.0
    for first in range(0, length, per_column):
        column = [rows[d] for d in sorted(rows)[first : first + per_column]]
        for y, row in enumerate(column):
            _place_row(row, y)
        xs = [box.x for row in column for box in row]
        shift = left - min(xs)
        for row in column:
            for box in row:
                box.x += shift
                box.column, box.right = first, max(xs) + shift + 0.44
        left += max(xs) - min(xs) + 1.0 + GAP
    return left - GAP, float(min(length, per_column))


def _place_row(row: list[_Box], y: int) -> None:
    """Boxes of a row below the middle of their sources, side by side."""
    wanted = {}
    for box in row:
        above = [source.x for source in box.sources if source.depth < box.depth and source.y < y]
        wanted[box] = float(np.mean(above)) if above else 0.0
    row.sort(key=lambda box: wanted[box])
    middle = float(np.mean(list(wanted.values())))
    for i, box in enumerate(row):
        box.x = wanted[box] if len(row) == 1 else middle + (i - (len(row) - 1) / 2)
        box.y = float(y)


def _draw_box(ax: Any, box: _Box) -> None:
    patches = require("matplotlib.patches", "plot", "plot.graph")
    style = "round,pad=0,rounding_size=0.08"
    ax.add_patch(
        patches.FancyBboxPatch(
            (box.x - 0.44, box.y - 0.34), 0.88, 0.68, boxstyle=style, linewidth=0, facecolor=box.colour, zorder=2
        )
    )
    two = bool(box.shape)
    for text, offset, size in ((box.label, -0.14 if two else 0.0, 7), (box.shape, 0.17, 5.5)):
        size = min(size, 9.5 * size / (max(len(text), 1) * 0.5 + 2))
        ax.text(box.x, box.y + offset, text, ha="center", va="center", color="white", fontsize=size, zorder=3)


def _draw_edge(ax: Any, source: _Box, box: _Box) -> None:
    """A line down to the next row; around what lies between on a longer way."""
    start, end = (source.x, source.y + 0.34), (box.x, box.y - 0.34)
    bend = 0.0
    if box.y - source.y > 1 and abs(box.x - source.x) < 0.3:
        start, end = (source.x + 0.44, source.y), (box.x + 0.44, box.y)
        bend = -min(0.35, 0.6 / (box.y - source.y) + 0.1)
    _arrow(ax, start, end, INK, f"arc3,rad={bend}")


def _draw_way_back(ax: Any, source: _Box, box: _Box, lane: int) -> None:
    """From one column to the top of another: between rows and beside the column, where nothing stands."""
    beside = source.right + 0.12 + 0.06 * (lane % 5)
    xs = [source.x, source.x, beside, beside, box.x, box.x]
    ys = [source.y + 0.34, source.y + 0.5, source.y + 0.5, box.y - 0.5, box.y - 0.5, box.y - 0.4]
    ax.plot(xs, ys, color=PALE, linewidth=0.6, zorder=1, solid_joinstyle="round")
    _arrow(ax, (box.x, box.y - 0.5), (box.x, box.y - 0.34), PALE, "arc3")


def _arrow(ax: Any, start: tuple[float, float], end: tuple[float, float], colour: str, style: str) -> None:
    head = {"arrowstyle": "-|>,head_width=0.12,head_length=0.25", "shrinkA": 0, "shrinkB": 0}
    ax.annotate(
        "", end, start, zorder=1, arrowprops={**head, "color": colour, "linewidth": 0.6, "connectionstyle": style}
    )
