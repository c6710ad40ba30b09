"""Attention: two products around a softmax as one node, without the matrix of scores, and its projections as one.

MatMul, Mul or Div, Add or Where, Softmax, MatMul    Sdpa
Linear, Linear, Linear of one input before it        Linear, Split
"""

import numpy as np

from ._graph import Graph, Node
from ._links import Links, each, new_weight, number

HIDDEN = -1e30  # a key with a score so low counts nothing, and what the score was before is lost in its rounding
_MOVING = ("Reshape", "Transpose", "Squeeze", "Unsqueeze")


def make_attention(graph: Graph) -> None:
    """softmax(a b + mask) v for the products a b of scaled queries and transposed keys."""
    links = Links(graph)
    for last in each(links, "MatMul"):
        name, inner = _seeing(graph, links, last.inputs[0])
        soft = links.before(name, "Softmax") if not inner else links.makers.get(name)
        if soft is None or soft.attributes.get("axis", -1 if soft.version >= 13 else 1) != -1:
            continue
        source, mask, masking = _unmasked(graph, links, soft.inputs[0])
        source, factor, steps = _unscaled(graph, links, source)
        product = links.before(source, "MatMul")
        if product is None:
            continue
        if mask is None:
            mask = _as_added(graph, masking[0])
            masking = []
        q, q_factor, q_steps = _unscaled(graph, links, product.inputs[0])
        k, k_factor, k_steps = _unscaled(graph, links, product.inputs[1])
        turn = links.before(k, "Transpose")
        keys = turn is not None and turn.attributes.get("perm") in ([0, 1, 3, 2], [0, 2, 1])
        if keys and turn is not None:
            k = turn.inputs[0]
            k_steps = [*k_steps, turn]
        last.inputs = [q, k, last.inputs[1], mask, factor, q_factor, k_factor]
        divides = [bool(s) and s[0].op == "Div" for s in (steps, q_steps, k_steps)]
        last.op, last.domain, last.version = "Sdpa", "fastnn", 1
        last.attributes = {"turned": int(not keys), "divides": [int(d) for d in divides]}
        links.drop(*inner, soft, *masking, *steps, product, *q_steps, *k_steps)
    links.finish()


def _seeing(graph: Graph, links: Links, name: str) -> tuple[str, list[Node]]:
    """Probabilities before Where(IsNaN(p), 0, p), by which rows that see no key become 0, as they are in fastnn."""
    where = links.before(name, "Where")
    if where is None or number(graph, where.inputs[1]) != 0:
        return name, []
    nans, p = links.before(where.inputs[0], "IsNaN"), where.inputs[2]
    soft = links.makers.get(p)
    if nans is None or nans.inputs[0] != p or soft is None or soft.op != "Softmax" or links.counts[p] != 2:
        return name, []
    return p, [where, nans]


def _unmasked(graph: Graph, links: Links, name: str) -> tuple[str, str | None, list[Node]]:
    """The scores before a mask is added; that, None where it is chosen by Where and "" if there is none; the node."""
    add = links.before(name, "Add")
    if add is not None:
        which = 0 if links.before(add.inputs[0], "MatMul", "Mul", "Div") else 1
        return add.inputs[which], add.inputs[1 - which], [add]
    where = links.before(name, "Where")
    if where is not None:
        for i in (1, 2):
            low = number(graph, where.inputs[i])
            if low is not None and low <= HIDDEN:
                return where.inputs[3 - i], None, [where]
    return name, "", []


def _as_added(graph: Graph, where: Node) -> str:
    """Let a node choose between low and 0 instead of low and the score: the mask to add, made where it stands."""
    i = 1 if number(graph, where.inputs[1]) is not None else 2
    zero = f"{where.outputs[0]}.seen"
    graph.constants[zero] = np.zeros_like(graph.constants[where.inputs[i]])
    where.inputs[3 - i] = zero
    return where.outputs[0]


def _unscaled(graph: Graph, links: Links, name: str) -> tuple[str, str, list[Node]]:
    """What stands before a product with (or a division by) something that may be a number; that; the node."""
    node = links.before(name, "Mul", "Div")
    if node is None:
        return name, "", []
    if node.op == "Mul" and number(graph, node.inputs[0]) is not None:
        return node.inputs[1], node.inputs[0], [node]
    return node.inputs[0], node.inputs[1], [node]


def join_projections(graph: Graph) -> None:
    """Queries, keys and values that are products of one input: one product, cut afterwards, which copies nothing."""
    links = Links(graph)
    places = {id(node): i for i, node in enumerate(graph.nodes)}
    ahead: dict[int, list[Node]] = {}
    for node in each(links, "Sdpa"):
        found: dict[str, list[Node]] = {}
        for name in node.inputs[:3]:
            linear = _projection(links, name)
            if linear is not None:
                found.setdefault(linear.inputs[0], []).append(linear)
        for linears in found.values():
            if len(linears) > 1 and len({len(n.inputs) for n in linears}) == 1 and _alone(graph, links, linears):
                ahead[min(places[id(n)] for n in linears)] = _joined(graph, linears)
                links.drop(*linears)
    graph.nodes = [n for i, node in enumerate(graph.nodes) for n in (*ahead.get(i, ()), node)]
    links.finish()


def _projection(links: Links, name: str) -> Node | None:
    """The Linear without activation from which a value comes by moving elements only."""
    while (node := links.before(name, "Linear", *_MOVING)) is not None:
        if node.op == "Linear":
            return None if node.attributes else node
        name = node.inputs[0]
    return None


def _alone(graph: Graph, links: Links, linears: list[Node]) -> bool:
    """Whether nobody else reads these weights, and they are of one type."""
    names = [name for n in linears for name in n.inputs[1:]]
    types = {graph.constants[name].dtype for name in names}
    return all(links.counts[name] == 1 for name in names) and len(types) == 1


def _joined(graph: Graph, linears: list[Node]) -> list[Node]:
    """One product for several, and the cut that gives each its output back."""
    parts = [
        new_weight(graph, f"{names[0]}_joined", np.concatenate([graph.constants[n] for n in names]), False)
        for names in zip(*(n.inputs[1:] for n in linears), strict=True)
    ]
    first = linears[0]
    made = f"{first.outputs[0]}.joined"
    sizes = f"{made}.sizes"
    graph.constants[sizes] = np.array([graph.constants[n.inputs[1]].shape[0] for n in linears])
    for n in linears:
        for name in n.inputs[1:]:
            graph.weights.discard(name)
            del graph.constants[name]
    linear = Node("Linear", [first.inputs[0], *parts], [made], {}, "fastnn", 1, first.name)
    return [linear, Node("Split", [made, sizes], [n.outputs[0] for n in linears], {"axis": -1}, "", 13, first.name)]
