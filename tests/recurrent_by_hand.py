"""Recurrent layers step by step in float64 NumPy: what the tests of the op and of the layers compare with."""

import numpy as np

import fastnn as fnn
from fastnn import nn

CELLS = ["rnn_tanh", "rnn_relu", "lstm", "gru"]
GATES = {"rnn_tanh": 1, "rnn_relu": 1, "lstm": 4, "gru": 3}
LAYERS = {"rnn_tanh": nn.RNN, "rnn_relu": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def one_step(cell, x, h, c, weights):
    """The definition, in float64."""
    w_ih, w_hh, b_ih, b_hh, w_hr = weights
    a = x @ w_ih.T + (0 if b_ih is None else b_ih)
    b = h @ w_hh.T + (0 if b_hh is None else b_hh)
    if cell == "lstm":
        i, f, g, o = np.split(a + b, 4, 1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        return h if w_hr is None else h @ w_hr.T, c
    if cell == "gru":
        (xr, xz, xn), (hr, hz, hn) = np.split(a, 3, 1), np.split(b, 3, 1)
        n, z = np.tanh(xn + sigmoid(xr + hr) * hn), sigmoid(xz + hz)
        return (1 - z) * n + z * h, c
    return np.tanh(a + b) if cell == "rnn_tanh" else np.maximum(a + b, 0), c


def layer_by_hand(cell, x, h0, c0, weights, lengths=None):
    """y, h_n, c_n of one layer; weights five a direction."""
    steps, batch = x.shape[:2]
    lengths = np.full(batch, steps) if lengths is None else np.asarray(lengths)
    h_n, c_n, ys = [], [], []
    for d in range(len(weights) // 5):
        h, c = h0[d].copy(), None if c0 is None else c0[d].copy()
        y = np.zeros((steps, batch, h.shape[1]))
        for t in reversed(range(steps)) if d else range(steps):
            there = t < lengths
            new_h, new_c = one_step(cell, x[t], h, c, weights[5 * d : 5 * d + 5])
            h = np.where(there[:, None], new_h, h)
            c = c if c is None else np.where(there[:, None], new_c, c)
            y[t] = np.where(there[:, None], h, 0)
        ys.append(y)
        h_n.append(h)
        c_n.append(c)
    return np.concatenate(ys, 2), np.stack(h_n), None if c0 is None else np.stack(c_n)


def problem(cell, size, directions=1, bias=True, proj=0, seed=0):
    """x, h0, c0 and weights in float64; float32 can hold them."""
    steps, batch, inputs, units = size
    rng, rows, outputs = np.random.default_rng(seed), GATES[cell] * units, proj or units
    draw = lambda *shape: rng.normal(0, 1, shape).astype(np.float32).astype(np.float64)  # noqa: E731
    weights = []
    for _ in range(directions):
        scale = (units + inputs) ** -0.5
        weights += [
            (draw(rows, inputs) * scale).astype(np.float32).astype(np.float64),
            (draw(rows, outputs) * scale).astype(np.float32).astype(np.float64),
            draw(rows) if bias else None,
            draw(rows) if bias else None,
            draw(proj, units) if proj else None,
        ]
    c0 = draw(directions, batch, units) if cell == "lstm" else None
    return draw(steps, batch, inputs), draw(directions, batch, outputs), c0, weights


def tensors(values, dtype, grad=False):
    return [None if v is None else fnn.tensor(v.astype(dtype), requires_grad=grad) for v in values]


def near(got, want, dtype, factor=300.0):
    scale = max(1.0, float(np.abs(want).max(initial=0)))
    np.testing.assert_allclose(np.asarray(got.data), want, rtol=0, atol=factor * np.finfo(dtype).eps * scale)


def make(cell, *sizes, **options):
    if cell == "rnn_relu":
        options["nonlinearity"] = "relu"
    return LAYERS[cell](*sizes, **options)


def flat(state):
    return state if isinstance(state, tuple) else (state,)
