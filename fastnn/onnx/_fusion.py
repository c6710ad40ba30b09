"""Nodes that fastnn does in one pass. Each pass looks for its pattern where the values between have one reader.

Conv, BatchNormalization                      the norm goes into weight and bias
Gemm or MatMul with a constant, Add of one    Linear, its weight (out, in)
Conv or Linear, activation                    in the product's epilogue
Conv, Relu, MaxPool 2 x 2                     in the convolution
x Sigmoid(x); x (1 + Erf(x / sqrt 2)) / 2     Swish; Gelu
MatMul, Softmax, MatMul                       attention, without the matrix of scores
RNN, GRU, LSTM with constant weights          fastnn's order of gates
"""

import math
from collections.abc import Iterator

import numpy as np

from ._graph import Graph, Node
from ._values import FLOATS, array, value


class Links:
    """Who makes and who reads each value of a graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.makers = graph.makers()
        self.counts = graph.readers()
        self.gone: set[int] = set()

    def before(self, name: str, *ops: str) -> Node | None:
        """The node of one of these operators that makes a value nobody else reads."""
        node = self.makers.get(name)
        if node is None or node.op not in ops or node.domain not in ("", "fastnn") or id(node) in self.gone:
            return None
        return node if self.counts.get(name) == 1 and sum(bool(o) for o in node.outputs) == 1 else None

    def drop(self, *nodes: Node) -> None:
        """Forget nodes that another has taken in."""
        self.gone.update(id(n) for n in nodes)

    def finish(self) -> None:
        """Take the forgotten nodes out of the graph."""
        self.graph.nodes = [n for n in self.graph.nodes if id(n) not in self.gone]


def fuse(graph: Graph) -> None:
    """All passes, in an order in which each finds what those before have made."""
    for one in (skip_identities, fold_norms, make_linear, make_swish, make_gelu, fuse_activations, fuse_pools):
        one(graph)
    make_attention(graph)
    prepare_recurrent(graph)


def new_weight(graph: Graph, name: str, data: np.ndarray, alone: bool) -> str:
    """Put a weight among the constants: under `name` if that is free or its one reader is served, else a new one."""
    while not alone and name in graph.constants:
        name += "_"
    graph.constants[name] = np.ascontiguousarray(data)
    graph.weights.add(name)
    return name


def _constant(graph: Graph, node: Node, i: int) -> np.ndarray | None:
    name = node.inputs[i] if i < len(node.inputs) else ""
    data = graph.constants.get(name)
    return data if data is not None and data.dtype.num in FLOATS else None


def _each(links: Links, *ops: str) -> Iterator[Node]:
    for node in list(links.graph.nodes):
        if node.op in ops and node.domain in ("", "fastnn") and id(node) not in links.gone:
            yield node


# ----- passes -----


def skip_identities(graph: Graph) -> None:
    """Identity, and Dropout that drops nothing: their readers read what they read."""
    links, outputs = Links(graph), set(graph.outputs)
    names: dict[str, str] = {}
    for node in graph.nodes:
        node.inputs = [names.get(name, name) for name in node.inputs]
        idle = node.op == "Identity" or (
            node.op == "Dropout" and len(node.outputs) == 1 and (len(node.inputs) < 3 or not node.inputs[2])
        )
        inner = any(isinstance(a, Graph) for n in graph.nodes for a in n.attributes.values())  # they go by outer names
        if idle and not node.domain and node.outputs[0] not in outputs and not inner:
            names[node.outputs[0]] = node.inputs[0]
            links.drop(node)
    links.finish()


def fold_norms(graph: Graph) -> None:
    """w' = w s, b' = (b - mean) s + shift with s = scale / sqrt(var + eps), in float64."""
    links = Links(graph)
    for norm in _each(links, "BatchNormalization"):
        conv = links.before(norm.inputs[0], "Conv")
        parts = [_constant(graph, norm, i) for i in range(1, 5)]
        if conv is None or any(p is None for p in parts) or norm.attributes.get("training_mode"):
            continue
        w, b = _constant(graph, conv, 1), _constant(graph, conv, 2)
        has_bias = len(conv.inputs) > 2 and bool(conv.inputs[2])
        if w is None or (b is None and has_bias) or len(norm.outputs) != 1 or norm.attributes.get("spatial", 1) != 1:
            continue
        scale, shift, mean, var = (np.asarray(p, np.float64) for p in parts)
        factor = scale / np.sqrt(var + norm.attributes.get("epsilon", 1e-5))
        weight = (w * factor.reshape(-1, *[1] * (w.ndim - 1))).astype(w.dtype)
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


def make_linear(graph: Graph) -> None:
    """Products with a constant matrix, and the bias behind."""
    links = Links(graph)
    for node in _each(links, "MatMul", "Gemm"):
        w = _constant(graph, node, 1)
        if w is None or w.ndim != 2 or not w.size:
            continue
        if node.op == "Gemm" and not _plain_gemm(graph, node, w):
            continue
        turned = node.op == "Gemm" and bool(node.attributes.get("transB"))
        name = node.inputs[1]
        if not turned:
            name = new_weight(graph, name, w.T, links.counts[name] == 1)
        node.inputs = [node.inputs[0], name, *node.inputs[2:]]
        node.op, node.domain, node.attributes, node.version = "Linear", "fastnn", {}, 1
        if len(node.inputs) > 2 and node.inputs[2]:
            _flat_bias(graph, node, links)
    links = Links(graph)
    for node in _each(links, "Add"):
        for i in (0, 1):
            linear = links.before(node.inputs[i], "Linear")
            b = _constant(graph, node, 1 - i)
            if linear is None or b is None or len(linear.inputs) > 2:
                continue
            if b.ndim == 1 and b.shape[0] == graph.constants[linear.inputs[1]].shape[0]:
                linear.inputs = [*linear.inputs, node.inputs[1 - i]]
                linear.outputs = node.outputs
                links.drop(node)
                break
    links.finish()


def _plain_gemm(graph: Graph, node: Node, w: np.ndarray) -> bool:
    """Whether a Gemm is a dense layer: no factors, and a bias for each output or none."""
    a = node.attributes
    if a.get("alpha", 1.0) != 1.0 or a.get("transA", 0):
        return False
    if len(node.inputs) < 3 or not node.inputs[2]:
        return True
    bias, outs = _constant(graph, node, 2), w.shape[0 if a.get("transB") else 1]
    return a.get("beta", 1.0) == 1.0 and bias is not None and bias.shape in ((outs,), (1, outs))


def _flat_bias(graph: Graph, node: Node, links: Links) -> None:
    name = node.inputs[2]
    b = graph.constants[name]
    if b.ndim != 1:
        node.inputs[2] = new_weight(graph, name, b.reshape(-1), links.counts[name] == 1)


def make_swish(graph: Graph) -> None:
    """x Sigmoid(x), where the sigmoid has no other reader."""
    links = Links(graph)
    for node in _each(links, "Mul"):
        for i in (0, 1):
            gate = links.before(node.inputs[i], "Sigmoid")
            if gate is not None and gate.inputs[0] == node.inputs[1 - i]:
                links.counts[gate.inputs[0]] -= 1
                node.op, node.version, node.inputs = "Swish", 24, [gate.inputs[0]]
                links.drop(gate)
                break
    links.finish()


def make_gelu(graph: Graph) -> None:
    """x (1 + Erf(x / sqrt 2)) / 2, its factors in any order."""
    links = Links(graph)
    for node in _each(links, "Mul"):
        found = _gelu(graph, links, node)
        if found is not None:
            x, inner = found
            node.op, node.version, node.inputs = "Gelu", 20, [x]
            links.drop(*inner)
    links.finish()


def _gelu(graph: Graph, links: Links, last: Node) -> tuple[str, list[Node]] | None:
    """The input of a GELU that ends at `last`, and the nodes between."""
    factors: list[str] = []
    inner: list[Node] = []
    todo = list(last.inputs)
    while todo:
        name = todo.pop()
        product = links.before(name, "Mul")
        if product is not None and len(inner) < 2:
            inner.append(product)
            todo += product.inputs
        else:
            factors.append(name)
    halves = [f for f in factors if _number(graph, f) == 0.5]
    sums = [(f, links.before(f, "Add")) for f in factors]
    adds = [(f, n) for f, n in sums if n is not None]
    rest = [f for f in factors if f not in halves and f not in [a for a, _ in adds]]
    if len(halves) != 1 or len(adds) != 1 or len(rest) != 1:
        return None
    add = adds[0][1]
    ones = [i for i in (0, 1) if _number(graph, add.inputs[i]) == 1]
    erf = links.before(add.inputs[1 - ones[0]], "Erf") if ones else None
    scaled = None if erf is None else links.before(erf.inputs[0], "Div", "Mul")
    if erf is None or scaled is None or scaled.inputs[0] != rest[0]:
        return None
    number = _number(graph, scaled.inputs[1])
    root = math.sqrt(2) if scaled.op == "Div" else math.sqrt(0.5)
    if number is None or abs(number - root) > 1e-3:
        return None
    return rest[0], [*inner, add, erf, scaled]


def _number(graph: Graph, name: str) -> float | None:
    data = graph.constants.get(name)
    return float(data.reshape(())) if data is not None and data.size == 1 and data.dtype.kind == "f" else None


_ACTIVATIONS = {"Relu": "relu", "Tanh": "tanh", "Sigmoid": "sigmoid", "Gelu": "gelu", "Swish": "silu"}


def fuse_activations(graph: Graph) -> None:
    """An activation behind a product; ReLU behind a norm."""
    links = Links(graph)
    for node in _each(links, *_ACTIVATIONS):
        name = _ACTIVATIONS[node.op]
        if node.attributes.get("approximate", "none") != "none" or node.attributes.get("alpha", 1.0) != 1.0:
            continue
        source = links.before(node.inputs[0], "Conv", "Linear", *(["BatchNormalization"] if name == "relu" else []))
        if source is None or "activation" in source.attributes or source.attributes.get("training_mode"):
            continue
        source.attributes["activation"] = name
        source.outputs = node.outputs
        links.drop(node)
    links.finish()


def fuse_pools(graph: Graph) -> None:
    """A MaxPool of whole windows of 2 x 2 behind a convolution with ReLU or nothing."""
    links = Links(graph)
    for node in _each(links, "MaxPool"):
        conv = links.before(node.inputs[0], "Conv")
        a = node.attributes
        plain = not any(a.get("pads") or ()) and max(a.get("dilations") or [1]) == 1 and not a.get("ceil_mode")
        halves = a.get("kernel_shape") == [2, 2] and a.get("strides") == [2, 2] and len(node.outputs) == 1
        if conv is None or not plain or not halves or a.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
            continue
        if conv.attributes.get("activation") in (None, "relu"):
            conv.attributes["max_pool"] = True
            conv.outputs = node.outputs
            links.drop(node)
    links.finish()


def make_attention(graph: Graph) -> None:
    """softmax(a b + mask) v for the products a b of scaled queries and transposed keys."""
    links = Links(graph)
    for last in _each(links, "MatMul"):
        soft = links.before(last.inputs[0], "Softmax")
        if soft is None or soft.attributes.get("axis", -1 if soft.version >= 13 else 1) != -1:
            continue
        source, mask, inner = soft.inputs[0], "", [soft]
        add = links.before(source, "Add")
        if add is not None:
            which = 0 if links.before(add.inputs[0], "MatMul", "Mul", "Div") else 1
            source, mask = add.inputs[which], add.inputs[1 - which]
            inner.append(add)
        source, factor, steps = _unscaled(links, source)
        product = links.before(source, "MatMul")
        if product is None:
            continue
        q, q_factor, q_steps = _unscaled(links, product.inputs[0])
        k, k_factor, k_steps = _unscaled(links, product.inputs[1])
        turn = links.before(k, "Transpose")
        keys = turn is not None and turn.attributes.get("perm") in ([0, 1, 3, 2], [0, 2, 1])
        if keys and turn is not None:
            k = turn.inputs[0]
            k_steps = [*k_steps, turn]
        last.inputs = [q, k, last.inputs[1], mask, factor, q_factor, k_factor]
        divides = [bool(s) and s[0].op == "Div" for s in (steps, q_steps, k_steps)]
        last.op, last.domain, last.version = "Sdpa", "fastnn", 1
        last.attributes = {"turned": int(not keys), "divides": [int(d) for d in divides]}
        links.drop(*inner, *steps, product, *q_steps, *k_steps)
    links.finish()


def _unscaled(links: Links, name: str) -> tuple[str, str, list[Node]]:
    """What stands before a product with (or a division by) something that may be a number; that; the node."""
    node = links.before(name, "Mul", "Div")
    return (node.inputs[0], node.inputs[1], [node]) if node is not None else (name, "", [])


def prepare_recurrent(graph: Graph) -> None:
    """Layers with constant weights: these in fastnn's order and shapes, one set for each direction."""
    from .ops.recurrent import layer_weights, usual

    links = Links(graph)
    for node in _each(links, "LSTM", "GRU", "RNN"):
        w, r = _constant(graph, node, 1), _constant(graph, node, 2)
        given = [*node.inputs, *[""] * (8 - len(node.inputs))]
        b = _constant(graph, node, 3) if given[3] else None
        cell = usual(node.op, node.attributes)
        if w is None or r is None or (b is None and given[3]) or cell is None or given[4] or given[7]:
            continue
        if w.ndim != 3 or r.ndim != 3 or node.attributes.get("hidden_size", r.shape[2]) != r.shape[2]:
            continue
        weights = layer_weights(node.op, *(None if a is None else value(a) for a in (w, r, b)))
        names = []
        for i, weight in enumerate(weights):
            kind = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "")[i % 5]
            name = f"{given[1]}.{kind}{'_reverse' if i >= 5 else ''}"
            names.append("" if weight is None else new_weight(graph, name, array(weight).copy(), False))
        node.inputs = [given[0], given[5], given[6], *names]
        attributes = {"kind": node.op, "cell": cell, "direction": node.attributes.get("direction", "forward")}
        node.attributes = {**attributes, "layout": node.attributes.get("layout", 0)}
        node.op, node.domain, node.version = "Recurrent", "fastnn", 1
