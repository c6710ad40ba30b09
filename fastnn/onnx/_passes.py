"""What is done to a graph once, before it is compiled: constants computed, then nodes fused."""

from typing import Any

import numpy as np

from ._fusion import fuse
from ._graph import Graph, Node
from ._plan import compiled
from ._registry import RANDOM
from ._values import FOLD_BYTES, TooLarge, array, sizes_below, value


def optimised(graph: Graph) -> Graph:
    """The graph after all passes; its subgraphs too, whose constants are theirs and not the module's Parameters."""
    for node in graph.nodes:
        for name, attribute in node.attributes.items():
            if isinstance(attribute, Graph):
                node.attributes[name] = optimised(attribute)
    fold_constants(graph)
    fuse(graph)
    return graph


def fold_constants(graph: Graph) -> None:
    """Compute what depends on constants alone. Nothing is folded that could grow far beyond what the file holds."""
    left = []
    most = max(FOLD_BYTES, sum(data.nbytes for data in graph.constants.values()))
    with sizes_below(FOLD_BYTES):
        for node in graph.nodes:
            results = _folded(graph, node, most)
            if results is None:
                left.append(node)
                continue
            weight = any(name in graph.weights for name in node.inputs)
            if node.op == "Transpose" and weight and results[0].ndim == 2 and node.attributes.get("perm") != [0, 1]:
                graph.turned[node.outputs[0]] = node.inputs[0]
            for name, result in zip(node.outputs, results, strict=False):
                if name:
                    graph.constants[name] = np.array(result)  # not a view: each Parameter has memory of its own
                    if weight and result.dtype.kind == "f":
                        graph.weights.add(name)
    graph.nodes = left


def _folded(graph: Graph, node: Node, most: int) -> list[np.ndarray] | None:
    """A node's outputs as arrays, None where they are not constant or a Concat would have more bytes than `most`."""
    if node.op == "Constant" and not node.domain:
        return [constant(node)]
    if (node.domain, node.op) in RANDOM or node.captured or not node.inputs:
        return None
    if any(name and name not in graph.constants for name in node.inputs):
        return None
    if any(isinstance(a, Graph) for a in node.attributes.values()):
        return None
    inputs = [graph.constants[name] if name else None for name in node.inputs]
    if sum(i.nbytes for i in inputs if i is not None) > most if node.op == "Concat" else not _small(inputs):
        return None
    try:
        out: Any = compiled(node)(*(None if i is None else value(i) for i in inputs))
    except TooLarge:
        return None
    outs = [array(o) for o in (out if isinstance(out, tuple) else (out,))]
    return outs if all(isinstance(o, np.ndarray) for o in outs) else None


def _small(inputs: list) -> bool:
    """Whether inputs that broadcast or multiply cannot make much more of themselves."""
    total = 1
    many = 0
    for i in inputs:
        if i is not None and i.size > 1:
            total *= i.size
            many += 1
    return many < 2 or total <= 1 << 24


def constant(node: Node) -> np.ndarray:
    """The value of a Constant node."""
    for name, given in node.attributes.items():
        if name == "value":
            return given
        if name in ("value_float", "value_floats"):
            return np.array(given, np.float32)
        if name in ("value_int", "value_ints"):
            return np.array(given, np.int64)
        if name in ("value_string", "value_strings"):
            return np.array(given, object)
    raise ValueError("Constant: it has no value")
