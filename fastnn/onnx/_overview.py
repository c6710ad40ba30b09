"""An ONNX graph as people look at it: the nodes that data pass through, with shapes, parameters and work.

Left out is what computes shapes (all that depends on the inputs by their Shape alone) and what prepares weights.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeGuard

from .._extras import require


@dataclass
class Step:
    """A node: what it is, which steps it reads, what it gives, and what it costs (None: not known)."""

    kind: str
    name: str
    inputs: list[str]  # names of values: outputs of other steps, or inputs of the graph
    outputs: list[str]
    shape: tuple[int | str, ...] | None
    parameters: int
    flops: int | None


@dataclass
class Overview:
    """The steps of a graph in order, its inputs and outputs with their shapes."""

    steps: list[Step]
    inputs: dict[str, tuple[int | str, ...]]
    outputs: dict[str, tuple[int | str, ...] | None]
    symbols: list[str]  # names of dynamic sizes
    parameters: int
    nbytes: int


def overview(model: Any, sizes: Mapping[str, int] | None = None) -> Overview:
    """Look through a ModelProto; work is counted with the dynamic sizes given, 1 for those that are not."""
    onnx = require("onnx", "onnx", "overview")
    shown = _shapes(onnx, model)
    initial = {t.name: t for t in model.graph.initializer}
    inputs = {x.name: _shape(x) or () for x in model.graph.input if x.name not in initial}
    symbols = list(dict.fromkeys(n for shape in inputs.values() for n in shape if isinstance(n, str)))
    fixed = _shapes(onnx, _fixed(model, {name: 1 for name in symbols} | dict(sizes or {})))
    fixed |= {name: tuple(t.dims) for name, t in initial.items()}
    steps = _steps(model, inputs, shown, fixed, initial)
    return Overview(
        steps,
        inputs,
        {x.name: shown.get(x.name) for x in model.graph.output},
        symbols,
        sum(math.prod(t.dims) for t in initial.values()),
        sum(t.ByteSize() for t in initial.values()),
    )


def _shape(value: Any) -> tuple[int | str, ...] | None:
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return tuple(d.dim_value if d.HasField("dim_value") else _symbol(d.dim_param) for d in tensor.shape.dim)


def _symbol(name: str) -> str:
    """The name of a dynamic size; inference makes up names that say nothing."""
    return "?" if not name or name.startswith("unk__") else name


def _shapes(onnx: Any, model: Any) -> dict[str, tuple[int | str, ...]]:
    """Shapes of all values, as far as they can be inferred."""
    with suppress(Exception):  # its C++ throws many; the shapes that the file names remain
        model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    graph = model.graph
    found = {x.name: _shape(x) for x in (*graph.input, *graph.output, *graph.value_info)}
    return {name: shape for name, shape in found.items() if shape is not None}


def _fixed(model: Any, sizes: Mapping[str, int]) -> Any:
    """A copy with numbers in the place of symbols."""
    copy = type(model)()
    copy.CopyFrom(model)
    for value in (*copy.graph.input, *copy.graph.value_info, *copy.graph.output):
        for d in value.type.tensor_type.shape.dim:
            if d.dim_param in sizes:
                d.dim_value = sizes[d.dim_param]
    return copy


def _steps(model: Any, inputs: Mapping, shown: Mapping, fixed: Mapping, initial: Mapping) -> list[Step]:
    data = set(inputs)
    weights: dict[str, set[str]] = {name: {name} for name in initial}  # value -> the initialisers that made it
    counted: set[str] = set()
    steps = []
    for node in model.graph.node:
        read = [x for x in node.input if x]
        if not any(node.output):
            continue
        if node.op_type == "Shape" or not data.intersection(read):
            own = set().union(*(weights.get(x, set()) for x in read), set())
            weights.update(dict.fromkeys(node.output, own))
            continue
        data.update(x for x in node.output if x)
        used = set().union(*(weights.get(x, set()) for x in read)) - counted
        counted |= used
        steps.append(
            Step(
                node.op_type,
                node.name or node.output[0],
                [x for x in read if x in data],
                [x for x in node.output if x],
                shown.get(node.output[0]),
                sum(math.prod(initial[x].dims) for x in used),
                _flops(node, fixed),
            )
        )
    return steps


def _known(shape: Sequence | None) -> TypeGuard[Sequence[int]]:
    return shape is not None and all(isinstance(n, int) for n in shape)


def _flops(node: Any, shapes: Mapping[str, Sequence]) -> int | None:
    """Operations of a product; 0 for all else."""
    kind = node.op_type
    if kind not in ("Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN"):
        return 0
    read = [*node.input, "", "", ""]  # of a damaged node, too
    x, w, y = (shapes.get(name) for name in (read[0], read[1], node.output[0]))
    if kind in ("LSTM", "GRU", "RNN"):
        r = shapes.get(read[2])
        return 2 * math.prod(x[:2]) * (math.prod(w) + math.prod(r)) if _known(x) and _known(w) and _known(r) else None
    if kind in ("Conv", "ConvTranspose"):
        places = x if kind == "ConvTranspose" else y
        return 2 * math.prod(places) * math.prod(w[1:]) if _known(places) and _known(w) else None
    if not (_known(x) and x and _known(y)):
        return None
    transposed = kind == "Gemm" and any(a.name == "transA" and a.i for a in node.attribute)
    return 2 * math.prod(y) * (x[0] if transposed else x[-1])
