"""A recurrent layer step by step in ops: the fused op is held to it, and a recorded backward goes through it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import _ops
from ._ops import Tensor
from ._tape import grad

WEIGHTS = 5
RNN_TANH, RNN_RELU, LSTM, GRU = range(4)


def _cell(cell: int, x: Tensor, h: Tensor, c: Any, weights: Sequence[Any]) -> tuple[Tensor, Any]:
    """One step of one direction."""
    w_ih, w_hh, b_ih, b_hh, w_hr = weights
    a, b = _ops.linear(x, w_ih, b_ih), _ops.linear(h, w_hh, b_hh)
    if cell == LSTM:
        i, f, g, o = _ops.split(a + b, a.shape[1] // 4, 1)
        c = _ops.sigmoid(f) * c + _ops.sigmoid(i) * _ops.tanh(g)
        h = _ops.sigmoid(o) * _ops.tanh(c)
        return (h if w_hr is None else _ops.linear(h, w_hr)), c
    if cell == GRU:
        (xr, xz, xn), (hr, hz, hn) = _ops.split(a, h.shape[1], 1), _ops.split(b, h.shape[1], 1)
        n = _ops.tanh(xn + _ops.sigmoid(xr + hr) * hn)
        return n + _ops.sigmoid(xz + hz) * (h - n), None
    return (_ops.tanh(a + b) if cell == RNN_TANH else _ops.relu(a + b)), None


def _direction(cell: int, x: Tensor, start: np.ndarray, h: Tensor, c: Any, weights: Sequence[Any], back: bool) -> Any:
    """All steps of one direction: y (N, P), h_n, c_n. Sequences that are over, or have not begun, keep their state."""
    steps = list(zip(start[:-1].tolist(), start[1:].tolist(), strict=True))
    outputs = []
    for begin, end in reversed(steps) if back else steps:
        n = end - begin
        out, state = _cell(cell, x[begin:end], h[:n], None if c is None else c[:n], weights)
        h = _ops.cat([out, h[n:]], 0)
        c = None if c is None else _ops.cat([state, c[n:]], 0)
        outputs.append(out)
    if not outputs:
        return _ops.reshape(h[:0], (0, h.shape[1])), h, c
    return _ops.cat(outputs[::-1] if back else outputs, 0), h, c


def unfused(cell: int, inputs: Sequence[Any], start: np.ndarray) -> tuple[Tensor, Any, Any]:
    """What the op computes of its inputs (x, h0, c0, five weights a direction): y, h_n, c_n."""
    x, h0, c0, *weights = inputs
    if h0.ndim == 2:  # a cell: y is its state
        y, _, c_n = unfused(cell, (x, h0[None], None if c0 is None else c0[None], *weights), start)
        return y, None, None if c_n is None else c_n[0]
    rows = _ops.reshape(x, (int(start[-1]), x.shape[-1]))
    ends = [
        _direction(
            cell, rows, start, h0[d], None if c0 is None else c0[d], weights[WEIGHTS * d : WEIGHTS * (d + 1)], d > 0
        )
        for d in range(len(weights) // WEIGHTS)
    ]
    y = _ops.cat([e[0] for e in ends], 1)
    c_n = None if c0 is None else _ops.stack([e[2] for e in ends], 0)
    return _ops.reshape(y, (*x.shape[:-1], y.shape[1])), _ops.stack([e[1] for e in ends], 0), c_n


def gradients(
    cell: int, inputs: Sequence[Any], start: np.ndarray, outer: Sequence[Any], wanted: Sequence[bool]
) -> tuple:
    """The gradients of the wanted inputs as functions of all of them and of `outer`, those of y, h_n and c_n."""
    # Nodes of their own stand between inputs and steps: a pass of the tape may be running through the inputs' nodes.
    near = [_ops.reshape(t, t.shape) if w else t for t, w in zip(inputs, wanted, strict=True)]
    outputs = unfused(cell, near, start)
    pairs = [(o, g) for o, g in zip(outputs, outer, strict=True) if g is not None and o is not None and o.requires_grad]
    targets = [t for t, w in zip(near, wanted, strict=True) if w]
    found = iter(grad([o for o, _ in pairs], targets, [g for _, g in pairs], create_graph=True, allow_unused=True))
    return tuple(next(found) if w else None for w in wanted)
