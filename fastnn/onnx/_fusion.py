"""Nodes that fastnn does in one pass. Each pass looks for its pattern where the values between have one reader.

Gemm or MatMul with a constant, Add of one    Linear, its weight (out, in)
Conv, Add                                     the sum in the convolution's epilogue
Conv or Linear, activation (ReLU6 is Clip)    in the product's epilogue
Conv, Relu, MaxPool 2 x 2                     in the convolution
x Sigmoid(x); x (1 + Erf(x / sqrt 2)) / 2     Swish; Gelu
Transpose of leading axes, Linear             Linear, Transpose: a view, where a product would need a copy
RNN, GRU, LSTM with constant weights          fastnn's order of gates

Norms are in `_fusion_norms`, attention in `_fusion_attention`, recurrent cells in `_fusion_cells`, inputs that need
not be inputs in `_fusion_arguments`.
"""

import math

import numpy as np

from ._fusion_arguments import bind_axes, bind_bounds, skip_expansions
from ._fusion_attention import join_projections, make_attention
from ._fusion_cells import make_cells
from ._fusion_norms import fold_norms, join_residuals, make_norms
from ._graph import Graph, Node
from ._links import Links, constant, each, new_weight, number
from ._values import array, value


def fuse(graph: Graph) -> None:
    """All passes, in an order in which each finds what those before have made."""
    skip_identities(graph)
    bind_bounds(graph)
    for one in (fold_norms, make_norms, make_linear, make_cells, make_swish, make_gelu):
        one(graph)
    for one in (add_in_convolutions, fuse_activations, fuse_pools, turn_behind):
        one(graph)
    for one in (make_attention, join_projections, join_residuals, prepare_recurrent):
        one(graph)
    for one in (bind_axes, skip_expansions):
        one(graph)


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


def make_linear(graph: Graph) -> None:
    """Products with a constant matrix, and the bias behind."""
    links = Links(graph)
    made = dict(graph.turned)  # the names of transposed weights
    for other, name in made.items():  # whose readers will read the weight itself
        links.counts[name] = links.counts.get(name, 0) + links.counts.get(other, 0)
    for node in each(links, "MatMul", "Gemm"):
        w = constant(graph, node, 1)
        if w is None or w.ndim != 2 or not w.size:
            continue
        if node.op == "Gemm" and not _plain_gemm(graph, node, w):
            continue
        turned = node.op == "Gemm" and bool(node.attributes.get("transB"))
        name = node.inputs[1]
        if not turned:
            if name not in made:
                made[name] = new_weight(graph, name, w.T, links.counts[name] == 1)
            name = made[name]
        node.inputs = [node.inputs[0], name, *node.inputs[2:]]
        node.op, node.domain, node.attributes, node.version = "Linear", "fastnn", {}, 1
        if len(node.inputs) > 2 and node.inputs[2]:
            _flat_bias(graph, node, links)
    links = Links(graph)
    for node in each(links, "Add"):
        for i in (0, 1):
            linear = links.before(node.inputs[i], "Linear")
            b = constant(graph, node, 1 - i)
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
    bias, outs = constant(graph, node, 2), w.shape[0 if a.get("transB") else 1]
    return a.get("beta", 1.0) == 1.0 and bias is not None and bias.shape in ((outs,), (1, outs))


def _flat_bias(graph: Graph, node: Node, links: Links) -> None:
    name = node.inputs[2]
    b = graph.constants[name]
    if b.ndim != 1:
        node.inputs[2] = new_weight(graph, name, b.reshape(-1), links.counts[name] == 1)


def make_swish(graph: Graph) -> None:
    """x Sigmoid(x), where the sigmoid has no other reader."""
    links = Links(graph)
    for node in each(links, "Mul"):
        for i in (0, 1):
            gate = links.before(node.inputs[i], "Sigmoid")
            if gate is not None and gate.inputs[0] == node.inputs[1 - i]:
                links.counts[gate.inputs[0]] -= 1
                node.op, node.version, node.inputs, node.attributes = "Swish", 24, [gate.inputs[0]], {}
                links.drop(gate)
                break
    links.finish()


def make_gelu(graph: Graph) -> None:
    """x (1 + Erf(x / sqrt 2)) / 2, its factors in any order."""
    links = Links(graph)
    for node in each(links, "Mul"):
        found = _gelu(graph, links, node)
        if found is not None:
            x, inner = found
            node.op, node.version, node.inputs, node.attributes = "Gelu", 20, [x], {}
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
    halves = [f for f in factors if number(graph, f) == 0.5]
    sums = [(f, links.before(f, "Add")) for f in factors]
    adds = [(f, n) for f, n in sums if n is not None]
    rest = [f for f in factors if f not in halves and f not in [a for a, _ in adds]]
    if len(halves) != 1 or len(adds) != 1 or len(rest) != 1:
        return None
    add = adds[0][1]
    ones = [i for i in (0, 1) if number(graph, add.inputs[i]) == 1]
    erf = links.before(add.inputs[1 - ones[0]], "Erf") if ones else None
    scaled = None if erf is None else links.before(erf.inputs[0], "Div", "Mul")
    if erf is None or scaled is None or scaled.inputs[0] != rest[0]:
        return None
    given = number(graph, scaled.inputs[1])
    root = math.sqrt(2) if scaled.op == "Div" else math.sqrt(0.5)
    if given is None or abs(given - root) > 1e-6:
        return None
    return rest[0], [*inner, add, erf, scaled]


def add_in_convolutions(graph: Graph) -> None:
    """What is added to a convolution of images: its fourth input."""
    links = Links(graph)
    for node in each(links, "Add"):
        for i in (0, 1):
            conv = links.before(node.inputs[i], "Conv")
            w = None if conv is None else constant(graph, conv, 1)
            if conv is None or w is None or w.ndim != 4 or len(conv.inputs) > 3:
                continue
            node.inputs = [*conv.inputs, *[""] * (3 - len(conv.inputs)), node.inputs[1 - i]]
            node.op, node.version, node.attributes = conv.op, conv.version, conv.attributes
            links.drop(conv)
            break
    links.finish()


_ACTIVATIONS = {
    "Relu": "relu",
    "Tanh": "tanh",
    "Sigmoid": "sigmoid",
    "Gelu": "gelu",
    "Swish": "silu",
    "HardSwish": "hardswish",
    "Clip": "relu6",
}


def _limits(node: Node) -> bool:
    """Whether a Clip is ReLU6."""
    return len(node.inputs) == 1 and (node.attributes.get("min"), node.attributes.get("max")) == (0, 6)


def fuse_activations(graph: Graph) -> None:
    """An activation behind a product; ReLU behind a norm."""
    links = Links(graph)
    for node in each(links, *_ACTIVATIONS):
        name = _ACTIVATIONS[node.op]
        if node.attributes.get("approximate", "none") != "none" or node.attributes.get("alpha", 1.0) != 1.0:
            continue
        if node.op == "Clip" and not _limits(node):
            continue
        more = ["BatchNormalization"] if name == "relu" else []
        source = links.before(node.inputs[0], "Conv", "ConvTranspose", "Linear", *more)
        if source is None or "activation" in source.attributes or source.attributes.get("training_mode"):
            continue
        source.attributes["activation"] = name
        source.outputs = node.outputs
        links.drop(node)
    links.finish()


def fuse_pools(graph: Graph) -> None:
    """A MaxPool of whole windows of 2 x 2 behind a convolution with ReLU or nothing."""
    links = Links(graph)
    for node in each(links, "MaxPool"):
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


def turn_behind(graph: Graph) -> None:
    """Leading axes that are exchanged before a product, exchanged behind it: the product reads memory in its order."""
    links = Links(graph)
    nodes = []
    for node in graph.nodes:
        nodes.append(node)
        turn = links.makers.get(node.inputs[0]) if node.op == "Linear" and node.domain == "fastnn" else None
        perm = turn.attributes.get("perm") if turn is not None and turn.op == "Transpose" else None
        if turn is None or turn.domain or not perm or perm[-1] != len(perm) - 1:
            continue
        made = f"{node.outputs[0]}.turned"
        nodes.append(Node("Transpose", [made], node.outputs, {"perm": perm}, "", turn.version, turn.name))
        links.counts[node.inputs[0]] -= 1
        if not links.counts[node.inputs[0]]:
            links.drop(turn)
        node.inputs, node.outputs = [turn.inputs[0], *node.inputs[1:]], [made]
    graph.nodes = nodes
    links.finish()


def prepare_recurrent(graph: Graph) -> None:
    """Layers with constant weights: these in fastnn's order and shapes, one set for each direction."""
    from .ops.recurrent import layer_weights, usual

    links = Links(graph)
    for node in each(links, "LSTM", "GRU", "RNN"):
        w, r = constant(graph, node, 1), constant(graph, node, 2)
        given = [*node.inputs, *[""] * (8 - len(node.inputs))]
        b = constant(graph, node, 3) if given[3] else None
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
            names.append("" if weight is None else new_weight(graph, name, array(weight), False))
        node.inputs = [given[0], given[5], given[6], *names]
        attributes = {"kind": node.op, "cell": cell, "direction": node.attributes.get("direction", "forward")}
        node.attributes = {**attributes, "layout": node.attributes.get("layout", 0)}
        node.op, node.domain, node.version = "Recurrent", "fastnn", 1
