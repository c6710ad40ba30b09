"""One step of a GRU, LSTM or RNN, as the passes put it together."""

from typing import Any

from ... import _ops
from ..._ops_recurrent import cell as one_step
from ..._ops_recurrent import frozen_cell
from .._registry import op


@op("Cell", domain="fastnn")
def cell(x: Any, h: Any, c: Any, w: Any, u: Any, b: Any = None, d: Any = None, *, kind: str, axis: int) -> Any:
    """x (B, I), h and c (B, H) -> h', of an LSTM (h', c')."""
    out = frozen_cell(kind, x, h if c is None else (h, c), w, u, b, d)
    if out is not None:
        return out
    if x.ndim != 2 or h.ndim != 2 or x.shape[0] != h.shape[0] or (c is not None and c.shape != h.shape):
        return _written_out(kind, axis, c, _ops.linear(x, w, b), _ops.linear(h, u, d), h)
    out, c = one_step("Cell", kind, x, h, c, (w, u, b, d, None))
    return out if c is None else (out, c)


def _written_out(kind: str, axis: int, c: Any, wx: Any, uh: Any, h: Any) -> Any:
    """As the file has it: more axes than two, one state for all of x, one x for all states."""
    if kind == "gru":
        (xr, xz, xn), (hr, hz, hn) = (_ops.chunk(p, 3, axis) for p in (wx, uh))
        n = _ops.tanh(xn + _ops.sigmoid(xr + hr) * hn)
        return n + _ops.sigmoid(xz + hz) * (h - n)
    if kind == "lstm":
        i, f, g, o = _ops.chunk(wx + uh, 4, axis)
        c = _ops.sigmoid(f) * c + _ops.sigmoid(i) * _ops.tanh(g)
        return _ops.sigmoid(o) * _ops.tanh(c), c
    return (_ops.tanh if kind == "rnn_tanh" else _ops.relu)(wx + uh)
