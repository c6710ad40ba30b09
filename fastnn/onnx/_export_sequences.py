"""Writers of recurrent layers and of attention."""

from typing import Any

import numpy as np

from ._export_elementwise import operand
from ._export_errors import ExportError
from ._export_graph import Graph, Value
from ._export_shapes import counted, piece
from ._export_sizes import Dim, Size
from ._export_table import writes

# The order of the gates in a node, by their numbers in PyTorch's order (i f g o; r z n).
_GATES = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2), "rnn_tanh": (0,), "rnn_relu": (0,)}
_NODES = {"lstm": "LSTM", "gru": "GRU", "rnn_tanh": "RNN", "rnn_relu": "RNN"}


def _reordered(g: Graph, cell: str, weight: Any) -> Value:
    """The rows of a weight or a bias with the gates in the node's order; runtimes do this once, when they load."""
    order = _GATES[cell]
    if len(order) == 1:
        return weight
    hidden = weight.shape[0] // len(order)
    rows = np.concatenate([np.arange(gate * hidden, (gate + 1) * hidden) for gate in order])
    return g.Gather(weight, rows, axis=0)


def _directions(g: Graph, parts: list[Value]) -> str:
    """One tensor for each direction, stacked."""
    stacked = [g.Unsqueeze(part, g.ints([0])) for part in parts]
    return stacked[0] if len(stacked) == 1 else g.Concat(*stacked, axis=0)


def recurrent_node(
    g: Graph, cell: str, x: Value, h0: Any, c0: Any, weights: Any, lengths: Value = None
) -> tuple[str, str, str | None]:
    """A layer: x (T, B, I) -> (T, B, D * H), (D, B, H) and, of an LSTM, (D, B, H)."""
    sets = [weights[i : i + 5] for i in range(0, len(weights), 5)]
    if sets[0][4] is not None:
        return _projected(g, x, h0, c0, sets, lengths)
    w, r = (_directions(g, [_reordered(g, cell, s[i]) for s in sets]) for i in (0, 1))
    bias = None
    if sets[0][2] is not None:
        both = [g.Concat(*(_reordered(g, cell, b) for b in s[2:4]), axis=0) for s in sets]
        bias = _directions(g, both)
    options: dict[str, Any] = {"hidden_size": sets[0][1].shape[1]}
    if len(sets) == 2:
        options["direction"] = "bidirectional"
    if cell == "gru":
        options["linear_before_reset"] = 1
    if cell == "rnn_relu":
        options["activations"] = ["Relu"] * len(sets)
    states = (h0, c0) if cell == "lstm" else (h0,)
    outputs = 3 if cell == "lstm" else 2
    y, h, *c = getattr(g, _NODES[cell])(x, w, r, bias, lengths, *states, outputs=outputs, **options)
    return _side_by_side(g, y, len(sets)), h, c[0] if c else None


def _side_by_side(g: Graph, y: str, directions: int) -> str:
    """(T, D, B, H) -> (T, B, D * H)."""
    if directions == 1:
        return g.Squeeze(y, g.ints([1]))
    return g.Reshape(g.Transpose(y, perm=[0, 2, 1, 3]), g.ints([0, 0, -1]))


def _projected(g: Graph, x: Value, h0: Any, c0: Any, sets: list, lengths: Value) -> tuple[str, str, str]:
    """An LSTM with a projection, for which there is no node: a Scan over its steps."""
    if lengths is not None:
        raise ExportError("an LSTM with proj_size and lengths cannot be exported")
    ends = []
    for d, parts in enumerate(sets):
        states = [None if s is None else g.Gather(s, g.constant(d, np.int64), axis=0) for s in (h0, c0)]
        ends.append(_scanned(g, x, states, parts, reverse=d == 1))
    y = ends[0][2] if len(ends) == 1 else g.Concat(*(e[2] for e in ends), axis=2)
    return y, _directions(g, [e[0] for e in ends]), _directions(g, [e[1] for e in ends])


def _scanned(g: Graph, x: Value, states: list, parts: list, reverse: bool) -> tuple[str, str, str]:
    """One direction: the input's product for all steps at once, the rest step by step."""
    w_ih, w_hh, b_ih, b_hh, w_hr = parts
    hidden, dtype = w_hr.shape[1], w_hr.dtype
    inputs = g.MatMul(x, g.Transpose(w_ih, perm=[1, 0]))
    if b_ih is not None:
        inputs = g.Add(inputs, g.Add(b_ih, b_hh))
    batch = g.Shape(inputs, start=1, end=2)
    first = []
    for state, width in zip(states, (w_hr.shape[0], hidden), strict=True):
        zeros = g.Expand(g.scalar(0, dtype), g.Concat(batch, g.ints([width]), axis=0))
        first.append(zeros if state is None else state)
    body = _step(g, g.Transpose(w_hh, perm=[1, 0]), g.Transpose(w_hr, perm=[1, 0]), dtype)
    if reverse:
        inputs = piece(g, inputs, 0, None, None, -1)
    h, c, y = g.Scan(*first, inputs, body=body, num_scan_inputs=1, outputs=3)
    return h, c, piece(g, y, 0, None, None, -1) if reverse else y


def _step(g: Graph, w_hh: str, w_hr: str, dtype: Any) -> Any:
    """The body of the Scan: (h, c, W x + b) -> (h', c', h'). It reads the weights from the graph around it."""
    helper = g.onnx.helper
    node = helper.make_node
    prefix = f"{w_hh}/step/"
    nodes = [
        node("MatMul", [f"{prefix}h", w_hh], [f"{prefix}hu"]),
        node("Add", [f"{prefix}hu", f"{prefix}x"], [f"{prefix}gates"]),
        node("Split", [f"{prefix}gates"], [f"{prefix}{k}0" for k in "ifgo"], axis=-1, num_outputs=4),
        *(node("Sigmoid", [f"{prefix}{k}0"], [f"{prefix}{k}"]) for k in "ifo"),
        node("Tanh", [f"{prefix}g0"], [f"{prefix}g"]),
        node("Mul", [f"{prefix}f", f"{prefix}c"], [f"{prefix}kept"]),
        node("Mul", [f"{prefix}i", f"{prefix}g"], [f"{prefix}new"]),
        node("Add", [f"{prefix}kept", f"{prefix}new"], [f"{prefix}c_next"]),
        node("Tanh", [f"{prefix}c_next"], [f"{prefix}bent"]),
        node("Mul", [f"{prefix}o", f"{prefix}bent"], [f"{prefix}out"]),
        node("MatMul", [f"{prefix}out", w_hr], [f"{prefix}h_next"]),
        node("Identity", [f"{prefix}h_next"], [f"{prefix}y"]),
    ]
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))

    def values(*names: str) -> list:
        return [helper.make_tensor_value_info(prefix + name, kind, [None, None]) for name in names]

    return helper.make_graph(nodes, "step", values("h", "c", "x"), values("h_next", "c_next", "y"))


@writes("recurrent")
def _recurrent(
    g: Graph, name: str, cell: str, x: Any, h0: Any, c0: Any, weights: Any, batch_sizes: Any = None
) -> tuple:
    if batch_sizes is not None:
        raise ExportError("a PackedSequence cannot be exported; pass the padded sequences and lengths=")
    return recurrent_node(g, cell, x, h0, c0, weights)


@writes("cell")
def _cell(g: Graph, name: str, cell: str, x: Any, h0: Any, c0: Any, weights: Any) -> tuple:
    """One step: a layer over a sequence of one."""
    zero = g.ints([0])
    x, h0, c0 = (None if t is None else g.Unsqueeze(t, zero) for t in (x, h0, c0))
    _, h, c = recurrent_node(g, cell, x, h0, c0, weights)
    return g.Squeeze(h, zero), None if c is None else g.Squeeze(c, zero)


@writes("recurrent_of_lengths")
def _recurrent_of_lengths(
    g: Graph, name: str, cell: str, x: Any, h0: Any, c0: Any, weights: Any, lengths: Any
) -> tuple:
    return recurrent_node(g, cell, x, h0, c0, weights, operand(g, lengths, np.int32))


# ----- attention -----


def seen_keys(g: Graph, queries: Size, keys: Size, diagonal: int) -> str:
    """(queries, keys), True where query i sees key j: j <= i + diagonal."""
    if not isinstance(queries, Dim) and not isinstance(keys, Dim):
        return g.constant(np.tri(queries, keys, diagonal, dtype=bool))
    rows = g.Unsqueeze(counted(g, 0, queries), g.ints([1]))
    if diagonal:
        rows = g.Add(rows, g.constant(diagonal, np.int64))
    return g.LessOrEqual(g.Unsqueeze(counted(g, 0, keys), g.ints([0])), rows)


def _weights(g: Graph, q: Value, k: Value, like: Any, scale: float, mask: Any, seen: str | None) -> str:
    """softmax(scale q k^T + mask); a query that sees nothing weighs nothing."""
    dtype, axes = like.dtype, 4 if like.ndim == 5 else like.ndim
    keys = g.Transpose(k, perm=[*range(axes - 2), axes - 1, axes - 2])
    scores = g.MatMul(g.Mul(q, g.scalar(scale, dtype)), keys)
    least = g.scalar(np.finfo(dtype).min, dtype)
    visible: str | None = None
    if mask is not None and mask.dtype != np.bool_:
        added = operand(g, mask, dtype)
        scores = g.Max(g.Add(scores, added), least)  # not -inf: a row of them has no softmax
        visible = g.Greater(added, least)
    elif mask is not None:
        visible = g.value(mask)
    if seen is not None:
        visible = seen if visible is None else g.And(visible, seen)
    if visible is None:
        return g.Softmax(scores, axis=-1)
    weights = g.Softmax(g.Where(visible, scores, least), axis=-1)
    return weights if mask is None else g.Where(visible, weights, g.scalar(0, dtype))


@writes("causal_mask")
def _causal_mask(g: Graph, queries: Size, keys: Size) -> str:
    return seen_keys(g, queries, keys, 0)


@writes("attention_weights")
def _attention_weights(g: Graph, layer: Any, q: Any, k: Any, mask: Any, is_causal: bool) -> str:
    seen = seen_keys(g, q.shape[2], k.shape[2], 0) if is_causal else None
    return _weights(g, q, k, q, layer.head_dim**-0.5, mask, seen)


@writes("attend")
def _attend(
    g: Graph,
    query: Any,
    key: Any,
    value: Any,
    mask: Any = None,
    scale: float | None = None,
    dropout: float = 0.0,
    causal: bool = False,
    diagonal: int = 0,
) -> str:
    if dropout:
        raise ExportError("attention with dropout cannot be exported: a graph draws no random numbers")
    q, k, v = query, key, value
    length = query.shape[1] if key is None else query.shape[-2]
    if key is None:  # one (B, T, 3, N, D) of all three
        q, k, v = (g.Squeeze(t, g.ints([2])) for t in g.Split(query, g.ints([1, 1, 1]), axis=2, outputs=3))
        q, k, v = (g.Transpose(t, perm=[0, 2, 1, 3]) for t in (q, k, v))
    seen = seen_keys(g, length, length if key is None else key.shape[-2], diagonal) if causal else None
    if mask is not None and not hasattr(mask, "dtype"):
        mask = np.asarray(mask)
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    weights = _weights(g, q, k, query, scale, mask, seen)
    return g.MatMul(weights, v)


@writes("scaled_dot_product_attention")
def _attention(
    g: Graph,
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> str:
    heads, shared = query.shape[-3] if query.ndim > 2 else 1, key.shape[-3] if key.ndim > 2 else 1
    if not enable_gqa or heads == shared:
        return _attend(g, query, key, value, attn_mask, scale, dropout_p, is_causal)
    seen = seen_keys(g, query.shape[-2], key.shape[-2], 0) if is_causal else None
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    keys, values = (_repeated(g, x, heads // shared) for x in (key, value))
    return g.MatMul(_weights(g, query, keys, query, scale, attn_mask, seen), values)


def _repeated(g: Graph, x: Any, times: int) -> str:
    """(B, n, T, D) with each head `times` times in a row."""
    spread = g.Expand(g.Unsqueeze(x, g.ints([2])), g.ints([1, 1, times, 1, 1]))
    return g.Reshape(spread, g.ints([0, x.shape[1] * times, -1, x.shape[3]]))
