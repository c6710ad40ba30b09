"""Norms: folded into a convolution, made of what an exporter wrote out, and together with the sum before them.

Conv or ConvTranspose, BatchNormalization                the norm goes into weight and bias
Sub, Pow, ReduceMean, Add, Sqrt, Div, Mul, Add           LayerNormalization
Pow, ReduceMean, Add, Sqrt, Div, Mul                     RMSNormalization
Add, LayerNormalization                                  AddLayerNorm: both results in one pass
"""

import numpy as np

from ._graph import Graph, Node
from ._links import Links, constant, each, new_weight, number
from ._values import numbers


def fold_norms(graph: Graph) -> None:
    """w' = w s, b' = (b - mean) s + shift with s = scale / sqrt(var + eps), in float64."""
    links = Links(graph)
    for norm in each(links, "BatchNormalization"):
        conv = links.before(norm.inputs[0], "Conv", "ConvTranspose")
        parts = [constant(graph, norm, i) for i in range(1, 5)]
        if conv is None or any(p is None for p in parts) or norm.attributes.get("training_mode"):
            continue
        w, b = constant(graph, conv, 1), constant(graph, conv, 2)
        has_bias = len(conv.inputs) > 2 and bool(conv.inputs[2])
        if w is None or (b is None and has_bias) or len(norm.outputs) != 1 or norm.attributes.get("spatial", 1) != 1:
            continue
        scale, shift, mean, var = (np.asarray(p, np.float64) for p in parts)
        factor = scale / np.sqrt(var + norm.attributes.get("epsilon", 1e-5))
        weight = (w * _for_filters(conv, w, factor)).astype(w.dtype)
        bias = (((0 if b is None else b) - mean) * factor + shift).astype(w.dtype)
        name = conv.inputs[1]
        bias_name = conv.inputs[2] if has_bias else f"{name.removesuffix('weight')}bias"
        conv.inputs = [
            conv.inputs[0],
            new_weight(graph, name, weight, links.counts[name] == 1),
            new_weight(graph, bias_name, bias, has_bias and links.counts[bias_name] == 1),
        ]
        conv.outputs = norm.outputs
        links.drop(norm)
    links.finish()


def _for_filters(conv: Node, w: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """One factor for each filter of (F, C, ...), or of a transposed (C, F / groups, ...), whose rows of a group go to
    filters of its own."""
    ones = [1] * (w.ndim - 2)
    if conv.op == "Conv":
        return factor.reshape(-1, 1, *ones)
    groups = conv.attributes.get("group", 1)
    return np.repeat(factor.reshape(groups, -1), w.shape[0] // groups, axis=0).reshape(w.shape[0], -1, *ones)


def make_norms(graph: Graph) -> None:
    """(x - mean) / sqrt(mean((x - mean)^2) + eps) w + b, or x / sqrt(mean(x^2) + eps) w, over the last axes."""
    links = Links(graph)
    readers = {name: node for node in graph.nodes for name in node.inputs}
    for node in each(links, "Div", "Mul"):
        found = _normalised(graph, links, node)
        scaled = readers.get(node.outputs[0])
        if found is None or scaled is None or scaled.op != "Mul" or links.before(node.outputs[0], node.op) is None:
            continue
        x, axes, eps, centred, inner = found
        scale = _other(scaled, node.outputs[0])
        if scale not in graph.constants or graph.constants[scale].ndim != len(axes):
            continue
        inputs, inner, last = [x, scale], [*inner, node], scaled
        if centred:
            shifted = readers.get(scaled.outputs[0])
            if shifted is not None and shifted.op == "Add" and links.before(scaled.outputs[0], "Mul") is not None:
                bias = _other(shifted, scaled.outputs[0])
                if bias in graph.constants and graph.constants[bias].shape == graph.constants[scale].shape:
                    inputs, inner, last = [*inputs, bias], [*inner, scaled], shifted
        last.op, last.version = ("LayerNormalization", 17) if centred else ("RMSNormalization", 23)
        last.inputs, last.attributes = inputs, {"axis": axes[0], "epsilon": eps}
        links.drop(*inner)
    links.finish()


def _other(node: Node, name: str) -> str:
    """The second of two inputs, in either order."""
    return node.inputs[1] if node.inputs[0] == name else node.inputs[0]


def _normalised(graph: Graph, links: Links, last: Node) -> tuple[str, list[int], float, bool, list[Node]] | None:
    """What a quotient normalises, over which axes, with which epsilon, whether its mean is taken off; nodes between."""
    for i in (0, 1) if last.op == "Mul" else (1,):
        root, inner = _root(graph, links, last.inputs[i], last.op == "Mul")
        total = None if root is None else links.before(root, "Add")
        eps = None if total is None else _epsilon(graph, total)
        mean = None if total is None or eps is None else links.before(_other(total, eps[0]), "ReduceMean")
        square = None if mean is None else links.before(mean.inputs[0], "Pow", "Mul")
        if total is None or eps is None or mean is None or square is None or not _squares(graph, square):
            continue
        axes, above = _last_axes(graph, mean), last.inputs[1 - i]
        if not axes:
            continue
        inner = [*inner, total, mean, square]
        x, off = _centred(graph, links, above, axes, 1 + (2 if square.op == "Mul" else 1), square.inputs[0])
        if x is not None:
            return x, axes, eps[1], True, [*inner, *off]
        if square.inputs[0] == above:
            return above, axes, eps[1], False, inner
    return None


def _root(graph: Graph, links: Links, name: str, inverse: bool) -> tuple[str | None, list[Node]]:
    """What stands under the root that divides: Sqrt, or with `inverse` 1 / Sqrt and its kin."""
    inner: list[Node] = []
    if inverse:
        over = links.before(name, "Reciprocal", "Div")
        if over is None or (over.op == "Div" and number(graph, over.inputs[0]) != 1):
            return None, []
        inner, name = [over], over.inputs[-1]
    root = links.before(name, "Sqrt")
    return (None, []) if root is None else (root.inputs[0], [*inner, root])


def _epsilon(graph: Graph, total: Node) -> tuple[str, float] | None:
    """The name and value of a sum's constant."""
    for name in total.inputs:
        eps = number(graph, name)
        if eps is not None:
            return name, eps
    return None


def _squares(graph: Graph, node: Node) -> bool:
    return node.inputs[0] == node.inputs[1] if node.op == "Mul" else number(graph, node.inputs[1]) == 2


def _last_axes(graph: Graph, mean: Node) -> list[int]:
    """The axes of a ReduceMean if they are the last ones, counted from the end, and stay as axes of size 1."""
    given = mean.attributes.get("axes")
    if len(mean.inputs) > 1 and mean.inputs[1] in graph.constants:
        given = numbers(graph.constants[mean.inputs[1]])
    if not given or not mean.attributes.get("keepdims", 1):
        return []
    axes = sorted(given)
    return axes if axes == list(range(-len(axes), 0)) else []


def _centred(
    graph: Graph, links: Links, name: str, axes: list[int], readers: int, squared: str
) -> tuple[str | None, list[Node]]:
    """x and the nodes of x - mean(x), which `readers` read; an exporter may have written it twice."""
    found: list[Node] = []
    sources, means = set(), set()
    for made in {name: None, squared: None}:
        sub = links.makers.get(made)
        mean = links.makers.get(sub.inputs[1]) if sub is not None and sub.op == "Sub" else None
        if sub is None or mean is None or mean.op != "ReduceMean" or mean.inputs[0] != sub.inputs[0]:
            return None, []
        if _last_axes(graph, mean) != axes:
            return None, []
        found += [sub, mean]
        sources.add(sub.inputs[0])
        means.add(mean.outputs[0])
        readers -= links.counts[made]
    if readers or len(sources) > 1 or sum(links.counts[m] for m in means) != len(found) // 2:
        return None, []
    return sources.pop(), found


def join_residuals(graph: Graph) -> None:
    """The sum before a norm of the last axis, which may have other readers, and the norm."""
    links = Links(graph)
    for norm in each(links, "LayerNormalization"):
        add = links.makers.get(norm.inputs[0])
        fixed = all(name in graph.constants for name in norm.inputs[1:] if name)
        if add is None or add.op != "Add" or add.domain or not fixed or len(norm.outputs) != 1:
            continue
        if norm.attributes.get("axis", -1) != -1 or any(name in graph.constants for name in add.inputs):
            continue
        add.op, add.domain, add.version = "AddLayerNorm", "fastnn", 1
        add.inputs, add.outputs = [*add.inputs, *norm.inputs[1:]], [*norm.outputs, *add.outputs]
        add.attributes = {"epsilon": norm.attributes.get("epsilon", 1e-5)}
        links.drop(norm)
    links.finish()
