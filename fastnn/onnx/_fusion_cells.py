"""Cells of GRU, LSTM and RNN, which exporters write out gate by gate, as one call for each step.

The formulas are PyTorch's, behind products with constant weights whose pieces a Split makes; what is added or
multiplied may stand in either order.
"""

from collections.abc import Iterator
from itertools import permutations
from typing import Any

import numpy as np

from ._graph import Graph, Node
from ._links import Links, each

Formula = Any  # the name of a value, or an operator and the formulas of its inputs
Found = dict[str, str]  # a formula's names: the graph's


def _gates(count: int, product: str) -> list[Formula]:
    return [("Split", i, count, product) for i in range(count)]


(_XR, _XZ, _XN), (_HR, _HZ, _HN) = _gates(3, "W x"), _gates(3, "U h")
_I, _F, _G, _O = _gates(4, "W x + U h")

GRU: dict[str, Formula] = {
    "y": ("Add", ("Mul", ("Sub", "h", "n"), ("Sigmoid", ("Add", _XZ, _HZ))), "n"),
    "n": ("Tanh", ("Add", _XN, ("Mul", ("Sigmoid", ("Add", _XR, _HR)), _HN))),
}
LSTM: dict[str, Formula] = {
    "y": ("Mul", ("Sigmoid", _O), ("Tanh", "c'")),
    "c'": ("Add", ("Mul", ("Sigmoid", _F), "c"), ("Mul", ("Sigmoid", _I), ("Tanh", _G))),
    "W x + U h": ("Add", "W x", "U h"),
}
RNN: dict[str, Formula] = {"y": ("Add", "W x", "U h")}  # behind a Tanh or Relu

CELLS = {"Add": ("gru", 3, GRU), "Mul": ("lstm", 4, LSTM), "Tanh": ("rnn_tanh", 1, RNN), "Relu": ("rnn_relu", 1, RNN)}


def make_cells(graph: Graph) -> None:
    """All kinds, wherever nothing else reads what stands between."""
    links = Links(graph)
    for node in each(links, *CELLS):
        kind, gates, formulas = CELLS[node.op]
        start = {"y": node.inputs[0] if formulas is RNN else node.outputs[0]}
        for found in _all_matches(graph, links, formulas, start):
            found = {**found, "y": node.outputs[0]}
            if _fits(graph, links, found, gates) and _take(links, found, kind):
                break
    links.finish()


def _all_matches(graph: Graph, links: Links, formulas: dict[str, Formula], start: Found) -> list[Found]:
    matches = [start]
    for name, formula in formulas.items():
        matches = [more for found in matches for more in _matches(graph, links, formula, found[name], found)]
    return matches


def _matches(graph: Graph, links: Links, formula: Formula, value: str, found: Found) -> Iterator[Found]:
    """Yield what the names of a formula stand for, all ways in which `value` is such a one."""
    if isinstance(formula, str):
        if found.get(formula, value) == value:
            yield {**found, formula: value}
        return
    op, *inputs = formula
    node = links.makers.get(value)
    if node is None or node.op != op or node.domain or id(node) in links.gone:
        return
    if op == "Split":
        which, count, product = inputs
        if _equal_pieces(graph, node, count) and node.outputs[which] == value:
            yield from _matches(graph, links, product, node.inputs[0], found)
        return
    for order in permutations(inputs) if op in ("Add", "Mul") else (inputs,):
        ways = [found]
        for inner, name in zip(order, node.inputs, strict=True):
            ways = [more for way in ways for more in _matches(graph, links, inner, name, way)]
        yield from ways


def _equal_pieces(graph: Graph, split: Node, count: int) -> bool:
    """Whether a Split makes so many equal pieces of rows, as far as can be said without their shape."""
    sizes = split.attributes.get("split")
    if len(split.inputs) > 1 and split.inputs[1]:
        sizes = graph.constants.get(split.inputs[1], np.arange(2))
    equal = sizes is None or len(set(np.ravel(sizes).tolist())) == 1
    return equal and len(split.outputs) == count and split.attributes.get("axis", 0) in (1, -1)


def _fits(graph: Graph, links: Links, found: Found, gates: int) -> bool:
    """Whether W x and U h are plain products, U (gates H, H) and W (gates H, I), and U's h the one of the formula."""
    products = [links.before(found[name], "Linear") for name in ("W x", "U h")]
    w, u = (None if p is None else graph.constants[p.inputs[1]].shape for p in products)
    if products[0] is None or products[1] is None or any(p.attributes for p in products if p):
        return False
    h = products[1].inputs[0]
    return w is not None and u is not None and w[0] == u[0] == gates * u[1] and found.get("h", h) == h


def _take(links: Links, found: Found, kind: str) -> bool:
    """Let one node be the cell, unless somebody reads what is no more; the last that it needs is before c' or y."""
    x, h = (links.makers[found[name]] for name in ("W x", "U h"))
    outputs = [found[name] for name in ("y", "c'") if name in found]
    leaves = {x.inputs[0], h.inputs[0], found.get("c", "")}
    inner = _between(links, outputs, leaves)
    reads = [name for node in inner for name in node.inputs]
    made = [name for node in inner for name in node.outputs if name and name not in outputs]
    if any(links.counts.get(name, 0) != reads.count(name) for name in made):
        return False
    axes = {node.attributes.get("axis", 0) for node in inner if node.op == "Split"} or {-1}
    if len(axes) > 1:
        return False
    node = links.makers[outputs[-1]]
    links.drop(*(n for n in inner if n is not node))
    biases = [product.inputs[2] if len(product.inputs) > 2 else "" for product in (x, h)]
    node.inputs = [x.inputs[0], h.inputs[0], found.get("c", ""), x.inputs[1], h.inputs[1], *biases]
    node.op, node.domain, node.version = "Cell", "fastnn", 1
    node.outputs, node.attributes = outputs, {"kind": kind, "axis": axes.pop()}
    return True


def _between(links: Links, outputs: list[str], leaves: set[str]) -> list[Node]:
    """The nodes that make the outputs of the leaves and of constants."""
    todo, seen = list(outputs), {}
    while todo:
        node = links.makers.get(todo.pop())
        if node is not None and id(node) not in seen:
            seen[id(node)] = node
            todo += [name for name in node.inputs if name not in leaves]
    return list(seen.values())
