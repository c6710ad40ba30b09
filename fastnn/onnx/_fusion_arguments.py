"""Inputs that are known when a file is read, or that broadcasting makes needless.

Clip's constant bounds, a reduction's constant axes    attributes, as older opsets have them
Expand (x, Shape y), an operator with y                the operator with x: it broadcasts by itself
"""

from ._graph import Graph
from ._links import Links
from ._registry import control_inputs
from ._values import array, numbers

_AXES_SINCE = {"ReduceSum": 13, **{f"Reduce{kind}": 18 for kind in ("Mean", "Max", "Min", "L1", "L2", "SumSquare")}}
_BROADCASTING = ("Add", "Sub", "Mul", "Div")


def bind_bounds(graph: Graph) -> None:
    """Constant bounds of Clip as attributes, but of weights that others read as such: these may be trained."""
    trained = {name for node in graph.nodes for i, name in enumerate(node.inputs) if i not in control_inputs(node)}
    trained.update(name for node in graph.nodes for name in node.captured)
    for node in graph.nodes:
        given = {key: name for key, name in zip(("min", "max"), node.inputs[1:]) if name}
        bounds = {key: graph.constants.get(name) for key, name in given.items()}
        if node.op != "Clip" or node.domain or node.version < 6:
            continue
        if any(b is None or b.size != 1 or b.dtype.kind not in "iuf" for b in bounds.values()):
            continue
        if any(name in graph.weights and name in trained for name in given.values()):
            continue
        node.attributes = {**node.attributes, **{key: array(b).item() for key, b in bounds.items()}}
        node.inputs = node.inputs[:1]


def bind_axes(graph: Graph) -> None:
    """Constant axes of reductions as attributes."""
    for node in graph.nodes:
        since = _AXES_SINCE.get(node.op)
        if since is None or node.domain or node.version < since or len(node.inputs) < 2:
            continue
        axes = numbers(graph.constants.get(node.inputs[1], []))
        if axes:
            node.attributes = {"axes": axes, "keepdims": node.attributes.get("keepdims", 1)}
            node.inputs, node.version = node.inputs[:1], since - 1


def skip_expansions(graph: Graph) -> None:
    """An Expand to the shape of what all its readers compute with."""
    links = Links(graph)
    for node in graph.nodes:
        shape = links.makers.get(node.inputs[1]) if node.op == "Expand" and not node.domain else None
        if shape is None or shape.op != "Shape" or shape.domain or shape.attributes:
            continue
        made, like = node.outputs[0], shape.inputs[0]
        readers = [n for n in graph.nodes if made in n.inputs]
        if len(readers) == links.counts.get(made) and all(
            n.op in _BROADCASTING and not n.domain and n.version >= 7 and like in n.inputs for n in readers
        ):
            for reader in readers:
                reader.inputs = [node.inputs[0] if name == made else name for name in reader.inputs]
            links.drop(node)
            links.counts[node.inputs[1]] -= 1
            if not links.counts[node.inputs[1]]:
                links.drop(shape)
    links.finish()
