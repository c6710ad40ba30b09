"""RNN, GRU and LSTM. The usual ones are one call of fastnn's kernel; what it does not know goes step by step in ops.

ONNX       W (D, gates H, I), gates i o f c / z r h;  B (D, 2 gates H);  Y (T, D, B, H)
fastnn     weight_ih (gates H, I), gates i f g o / r z n; bias_ih, bias_hh; y (T, B, D H)
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ... import _ops
from ..._ops_recurrent import recurrent
from .._registry import op

ORDER = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}  # fastnn's gates in ONNX's weights
USUAL = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}


def reordered(kind: str, weight: Any) -> Any:
    """Rows of gates (..., gates H, n) in fastnn's order."""
    order = ORDER[kind]
    if len(order) == 1:
        return weight
    h = weight.shape[0] // len(order)
    return _ops.cat([weight[g * h : (g + 1) * h] for g in order], 0)


def layer_weights(kind: str, w: Any, r: Any, b: Any) -> list[Any]:
    """Five weights for each direction, as fastnn's kernel takes them."""
    made: list[Any] = []
    for d in range(w.shape[0]):
        half = len(ORDER[kind]) * r.shape[2]
        biases = [None, None] if b is None else [reordered(kind, b[d, :half]), reordered(kind, b[d, half:])]
        made += [reordered(kind, w[d]), reordered(kind, r[d]), *biases, None]
    return made


def _layer(
    kind: str, cell: str, x: Any, weights: Sequence[Any], h0: Any, c0: Any, direction: str, layout: int, outputs: int
) -> Any:
    """One call of the kernel, between ONNX's layouts of sequences and states."""
    x = _ops.transpose(x, 0, 1) if layout else x
    if layout:
        h0, c0 = (None if s is None else _ops.transpose(s, 0, 1) for s in (h0, c0))
    x = _ops.flip(x, 0) if direction == "reverse" else x
    ran: Any = recurrent(kind, cell, x, h0, c0, weights)
    y, h, c = ran
    directions = len(weights) // 5
    y = y.reshape(*y.shape[:2], directions, y.shape[2] // directions)
    y = _ops.flip(y, 0) if direction == "reverse" else y
    y = _ops.permute(y, (1, 0, 2, 3) if layout else (0, 2, 1, 3))
    h, c = (s if s is None or not layout else _ops.transpose(s, 0, 1) for s in (h, c))
    return (y, h, c)[:outputs] if outputs > 1 else y


@op("Recurrent", domain="fastnn")
def prepared(
    x: Any, h0: Any, c0: Any, *weights: Any, kind: str, cell: str, direction: str, layout: int, outputs: int
) -> Any:
    """What the passes make of a layer with constant weights."""
    return _layer(kind, cell, x, weights, h0, c0, direction, layout, outputs)


def usual(kind: str, attributes: dict[str, Any]) -> str | None:
    """The kernel's cell for a node's attributes; None if it has none."""
    directions = 2 if attributes.get("direction") == "bidirectional" else 1
    names = attributes.get("activations") or USUAL[kind] * directions
    names = [n.capitalize() for n in names]
    if attributes.get("clip") or attributes.get("input_forget"):
        return None
    if attributes.get("activation_alpha") or attributes.get("activation_beta"):
        return None
    if kind == "RNN" and names in (["Tanh"] * directions, ["Relu"] * directions):
        return f"rnn_{names[0].lower()}"
    if names != USUAL[kind] * directions or (kind == "GRU" and not attributes.get("linear_before_reset")):
        return None
    return kind.lower()


def _run(kind: str, x: Any, w: Any, r: Any, b: Any, lengths: Any, h0: Any, c0: Any, p: Any, how: dict) -> Any:
    outputs, layout = how.pop("outputs"), how.pop("layout", 0)
    direction = how.get("direction", "forward")
    hidden, steps = how.pop("hidden_size", None), x.shape[1 if layout else 0]
    if w.ndim != 3 or r.ndim != 3 or (hidden is not None and r.shape[2] != hidden):
        raise ValueError(f"{kind}: weights {w.shape} and {r.shape} do not fit hidden_size {hidden}")
    cell = usual(kind, how)
    ragged = lengths is not None and bool((np.asarray(lengths) != steps).any())
    if cell is not None and p is None and not ragged:
        return _layer(kind, cell, x, layer_weights(kind, w, r, b), h0, c0, direction, layout, outputs)
    if layout:
        x = _ops.transpose(x, 0, 1)
        h0, c0 = (None if s is None else _ops.transpose(s, 0, 1) for s in (h0, c0))
    ends = []
    for d in range(w.shape[0]):
        weights = [w[d], r[d], None if b is None else b[d], None if p is None else p[d]]
        states = [None if s is None else s[d] for s in (h0, c0)]
        back = direction == "reverse" or d == 1
        ends.append(_direction(kind, x, weights, states, lengths, back, _activations(kind, how, d), how))
    joined: Any = (None if e[0] is None else _ops.stack(e, 1 if i == 0 else 0) for i, e in enumerate(zip(*ends)))
    y, h, c = joined
    if layout:
        y = _ops.permute(y, (2, 0, 1, 3))
        h, c = (None if s is None else _ops.transpose(s, 0, 1) for s in (h, c))
    return (y, h, c)[:outputs] if outputs > 1 else y


def _direction(
    kind: str, x: Any, weights: list, states: list, lengths: Any, back: bool, acts: list[Callable], how: dict
) -> Any:
    """One direction step by step: y (T, B, H) and the last states. Sequences that are over keep their state."""
    w, r, b, p = weights
    hidden, batch = r.shape[1], x.shape[1]
    h, c = (_ops.zeros(batch, hidden, dtype=x.dtype) if s is None else s for s in states)
    c = c if kind == "LSTM" else None
    bias = None if b is None else (b[: b.shape[0] // 2], b[b.shape[0] // 2 :])
    step = {"LSTM": _lstm, "GRU": _gru, "RNN": _rnn}[kind]
    outputs: list[Any] = []
    for t in range(x.shape[0] - 1, -1, -1) if back else range(x.shape[0]):
        new, state = step(x[t], h, c, w, r, bias, p, acts, how)
        out = new
        if lengths is not None:
            on = (np.asarray(lengths) > t)[:, None]
            out = _ops.where(on, new, _ops.zeros_like(new))
            new = _ops.where(on, new, h)
            state = None if c is None else _ops.where(on, state, c)
        h, c = new, state
        outputs.append(out)
    if not outputs:
        return _ops.zeros(0, batch, hidden, dtype=x.dtype), h, c
    return _ops.stack(outputs[::-1] if back else outputs, 0), h, c


def _pieces(z: Any, count: int) -> list[Any]:
    h = z.shape[1] // count
    return [z[:, i * h : (i + 1) * h] for i in range(count)]


def _clipped(z: Any, how: dict) -> Any:
    clip = how.get("clip")
    return _ops.clamp(z, -clip, clip) if clip else z


def _lstm(x: Any, h: Any, c: Any, w: Any, r: Any, b: Any, p: Any, acts: list[Callable], how: dict) -> Any:
    f, g, last = acts
    z = _ops.linear(x, w, b and b[0]) + _ops.linear(h, r, b and b[1])
    i, o, forget, new = _pieces(z, 4)
    n = h.shape[1]
    if p is not None:
        i, forget = i + p[:n] * c, forget + p[2 * n :] * c
    i = f(_clipped(i, how))
    keep = 1 - i if how.get("input_forget") else f(_clipped(forget, how))
    c = keep * c + i * g(_clipped(new, how))
    if p is not None:
        o = o + p[n : 2 * n] * c
    return f(_clipped(o, how)) * last(c), c


def _gru(x: Any, h: Any, c: Any, w: Any, r: Any, b: Any, p: Any, acts: list[Callable], how: dict) -> Any:
    f, g = acts[:2]
    n = h.shape[1]
    az, ar, ah = _pieces(_ops.linear(x, w, b and b[0]), 3)
    bz, br = _pieces(_ops.linear(h, r[: 2 * n], b and b[1][: 2 * n]), 2)
    z, reset = f(_clipped(az + bz, how)), f(_clipped(ar + br, how))
    if how.get("linear_before_reset"):
        inner = reset * _ops.linear(h, r[2 * n :], b and b[1][2 * n :])
    else:
        inner = _ops.linear(reset * h, r[2 * n :], b and b[1][2 * n :])
    new = g(_clipped(ah + inner, how))
    return new + z * (h - new), None


def _rnn(x: Any, h: Any, c: Any, w: Any, r: Any, b: Any, p: Any, acts: list[Callable], how: dict) -> Any:
    return acts[0](_clipped(_ops.linear(x, w, b and b[0]) + _ops.linear(h, r, b and b[1]), how)), None


_FUNCTIONS: dict[str, tuple[float, float, Callable]] = {
    "sigmoid": (0, 0, lambda x, a, b: _ops.sigmoid(x)),
    "tanh": (0, 0, lambda x, a, b: _ops.tanh(x)),
    "relu": (0, 0, lambda x, a, b: _ops.relu(x)),
    "affine": (1, 0, lambda x, a, b: x * a + b),
    "leakyrelu": (0.01, 0, lambda x, a, b: _ops.leaky_relu(x, a)),
    "thresholdedrelu": (1, 0, lambda x, a, b: _ops.where(x.data > a, x, _ops.zeros_like(x))),
    "scaledtanh": (1, 1, lambda x, a, b: _ops.tanh(x * b) * a),
    "hardsigmoid": (0.2, 0.5, lambda x, a, b: _ops.clamp(x * a + b, 0.0, 1.0)),
    "elu": (1, 0, lambda x, a, b: _ops.elu(x, a)),
    "softsign": (0, 0, lambda x, a, b: x / (_ops.abs(x) + 1)),
    "softplus": (0, 0, lambda x, a, b: _ops.softplus(x)),
}
_TAKES = {"affine": 2, "leakyrelu": 1, "thresholdedrelu": 1, "scaledtanh": 2, "hardsigmoid": 2, "elu": 1}


def _activations(kind: str, how: dict, direction: int) -> list[Callable]:
    """One direction's activation functions; alphas and betas are dealt to those that take them, in order."""
    count = len(USUAL[kind])
    directions = 2 if how.get("direction") == "bidirectional" else 1
    names = [n.lower() for n in how.get("activations") or USUAL[kind] * directions]
    alphas, betas = iter(how.get("activation_alpha") or ()), iter(how.get("activation_beta") or ())
    made = []
    for name in names:
        if name not in _FUNCTIONS:
            raise ValueError(f"{kind}: unknown activation {name!r}")
        alpha, beta, function = _FUNCTIONS[name]
        takes = _TAKES.get(name, 0)
        alpha = next(alphas, alpha) if takes else alpha
        beta = next(betas, beta) if takes > 1 else beta
        made.append(lambda x, f=function, a=alpha, b=beta: f(x, a, b))
    return made[direction * count : (direction + 1) * count]


@op("LSTM", half=True)
def lstm(
    x: Any,
    w: Any,
    r: Any,
    b: Any = None,
    lengths: Any = None,
    h0: Any = None,
    c0: Any = None,
    p: Any = None,
    *,
    activation_alpha: list[float] | None = None,
    activation_beta: list[float] | None = None,
    activations: list[str] | None = None,
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int | None = None,
    input_forget: int = 0,
    layout: int = 0,
    output_sequence: int = 1,
    outputs: int = 1,
) -> Any:
    """Long short-term memory."""
    how = {k: v for k, v in locals().items() if k in _HOW}
    return _run("LSTM", x, w, r, b, lengths, h0, c0, p, how)


@op("GRU", half=True)
def gru(
    x: Any,
    w: Any,
    r: Any,
    b: Any = None,
    lengths: Any = None,
    h0: Any = None,
    *,
    activation_alpha: list[float] | None = None,
    activation_beta: list[float] | None = None,
    activations: list[str] | None = None,
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int | None = None,
    layout: int = 0,
    linear_before_reset: int = 0,
    output_sequence: int = 1,
    outputs: int = 1,
) -> Any:
    """Gated recurrent units."""
    how = {k: v for k, v in locals().items() if k in _HOW}
    return _run("GRU", x, w, r, b, lengths, h0, None, None, how)


@op("RNN", half=True)
def rnn(
    x: Any,
    w: Any,
    r: Any,
    b: Any = None,
    lengths: Any = None,
    h0: Any = None,
    *,
    activation_alpha: list[float] | None = None,
    activation_beta: list[float] | None = None,
    activations: list[str] | None = None,
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int | None = None,
    layout: int = 0,
    output_sequence: int = 1,
    outputs: int = 1,
) -> Any:
    """Plain recurrence."""
    how = {k: v for k, v in locals().items() if k in _HOW}
    return _run("RNN", x, w, r, b, lengths, h0, None, None, how)


_HOW = (
    "activation_alpha",
    "activation_beta",
    "activations",
    "clip",
    "direction",
    "hidden_size",
    "input_forget",
    "layout",
    "linear_before_reset",
    "outputs",
)
