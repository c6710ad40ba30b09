"""The recurrent kernels: RNN, GRU and LSTM over whole sequences, forward and backward."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastnn import _kernels
from fastnn._kernel_steps import Floats


class RecurrentForward(NamedTuple):
    """What `rnn`, `gru` and `lstm` return; the last three are None unless `keep` asked for what the backward reads."""

    y: Floats
    h_n: Floats
    c_n: Floats | None
    kept: Floats | None
    c: Floats | None
    hidden: Floats | None


class RecurrentGradients(NamedTuple):
    """What the backward of `rnn`, `gru` and `lstm` returns."""

    x: Floats
    weight_ih: Floats
    weight_hh: Floats
    bias_ih: Floats
    bias_hh: Floats
    weight_hr: Floats | None
    h0: Floats
    c0: Floats | None


_PARAMETERS = """

    Parameters
    ----------
    x : ndarray
        (T, B, I), or (N, I) with `batch_sizes`.
    weight_ih, weight_hh : ndarray
        (D, {gates} * H, I) and (D, {gates} * H, {outputs}): of D = 1 direction, or of two, the second from the end.
    bias_ih, bias_hh : ndarray, optional
        (D, {gates} * H).
    {states}
    batch_sizes : ndarray of int, optional
        How many sequences there are at each step, never growing: x holds these rows, step by step.
    keep : bool
        Keep what the backward reads.

    Returns
    -------
    RecurrentForward
        y (T, B, D * {outputs}) or (N, D * {outputs}), the last states, and what was kept.

    Raises
    ------
    TypeError
        For anything but NumPy arrays of float32 or float64, all of one type.
    ValueError
        Where shapes do not fit.
    MemoryError
        Where there is none.

    Examples
    --------
    >>> import numpy as np
    >>> x, w_ih, w_hh = np.zeros((3, 2, 4)), np.zeros((1, {gates} * 5, 4)), np.zeros((1, {gates} * 5, 5))
    >>> {name}(x, w_ih, w_hh).y.shape
    (3, 2, 5)
    """
_BACKWARD = """

    `forward` is what `{name}` returned with ``keep=True`` for the arguments that follow; dy, dh_n {dc_n}are the
    gradients of its results, None for zeros. Returns RecurrentGradients.

    Examples
    --------
    >>> import numpy as np
    >>> x, w_ih, w_hh = np.ones((3, 2, 4)), np.zeros((1, {gates} * 5, 4)), np.zeros((1, {gates} * 5, 5))
    >>> forward = {name}(x, w_ih, w_hh, keep=True)
    >>> {name}_backward(forward, x, w_ih, w_hh, dy=forward.y).weight_ih.shape
    (1, {wide}, 4)
    """


def _forward(cell: str, x: Floats, weights: tuple, h0: Any, c0: Any, batch_sizes: Any, keep: bool) -> RecurrentForward:
    made: Any = _kernels.recurrent(cell, x, weights, h0, c0, batch_sizes, keep)
    return RecurrentForward(*made)


def _backward(
    cell: str,
    forward: RecurrentForward,
    gradients: tuple,
    x: Floats,
    weights: tuple,
    h0: Any,
    c0: Any,
    batch_sizes: Any,
) -> RecurrentGradients:
    if not isinstance(forward, RecurrentForward):
        name = "rnn" if cell.startswith("rnn") else cell
        raise TypeError(f"{name}_backward: forward must be what {name} returned, got {type(forward).__name__}")
    saved = (forward.y, forward.kept, forward.c, forward.hidden)
    made: Any = _kernels.recurrent_backward(cell, gradients, saved, x, weights, h0, c0, batch_sizes)
    return RecurrentGradients(*made)


def _cell(function: str, nonlinearity: str) -> str:
    if nonlinearity not in ("tanh", "relu"):
        raise ValueError(f"{function}: nonlinearity is {nonlinearity!r}; expected 'tanh' or 'relu'")
    return f"rnn_{nonlinearity}"


def rnn(
    x: Floats,
    weight_ih: Floats,
    weight_hh: Floats,
    bias_ih: Floats | None = None,
    bias_hh: Floats | None = None,
    h0: Floats | None = None,
    *,
    nonlinearity: str = "tanh",
    batch_sizes: npt.NDArray[np.integer] | None = None,
    keep: bool = False,
) -> RecurrentForward:
    weights = (weight_ih, weight_hh, bias_ih, bias_hh, None)
    return _forward(_cell("rnn", nonlinearity), x, weights, h0, None, batch_sizes, keep)


def gru(
    x: Floats,
    weight_ih: Floats,
    weight_hh: Floats,
    bias_ih: Floats | None = None,
    bias_hh: Floats | None = None,
    h0: Floats | None = None,
    *,
    batch_sizes: npt.NDArray[np.integer] | None = None,
    keep: bool = False,
) -> RecurrentForward:
    return _forward("gru", x, (weight_ih, weight_hh, bias_ih, bias_hh, None), h0, None, batch_sizes, keep)


def lstm(
    x: Floats,
    weight_ih: Floats,
    weight_hh: Floats,
    bias_ih: Floats | None = None,
    bias_hh: Floats | None = None,
    h0: Floats | None = None,
    c0: Floats | None = None,
    weight_hr: Floats | None = None,
    *,
    batch_sizes: npt.NDArray[np.integer] | None = None,
    keep: bool = False,
) -> RecurrentForward:
    return _forward("lstm", x, (weight_ih, weight_hh, bias_ih, bias_hh, weight_hr), h0, c0, batch_sizes, keep)


def rnn_backward(
    forward: RecurrentForward,
    x: Floats,
    weight_ih: Floats,
    weight_hh: Floats,
    bias_ih: Floats | None = None,
    bias_hh: Floats | None = None,
    h0: Floats | None = None,
    *,
    dy: Floats | None = None,
    dh_n: Floats | None = None,
    nonlinearity: str = "tanh",
    batch_sizes: npt.NDArray[np.integer] | None = None,
) -> RecurrentGradients:
    weights = (weight_ih, weight_hh, bias_ih, bias_hh, None)
    return _backward(_cell("rnn_backward", nonlinearity), forward, (dy, dh_n, None), x, weights, h0, None, batch_sizes)


def gru_backward(
    forward: RecurrentForward,
    x: Floats,
    weight_ih: Floats,
    weight_hh: Floats,
    bias_ih: Floats | None = None,
    bias_hh: Floats | None = None,
    h0: Floats | None = None,
    *,
    dy: Floats | None = None,
    dh_n: Floats | None = None,
    batch_sizes: npt.NDArray[np.integer] | None = None,
) -> RecurrentGradients:
    weights = (weight_ih, weight_hh, bias_ih, bias_hh, None)
    return _backward("gru", forward, (dy, dh_n, None), x, weights, h0, None, batch_sizes)


def lstm_backward(
    forward: RecurrentForward,
    x: Floats,
    weight_ih: Floats,
    weight_hh: Floats,
    bias_ih: Floats | None = None,
    bias_hh: Floats | None = None,
    h0: Floats | None = None,
    c0: Floats | None = None,
    weight_hr: Floats | None = None,
    *,
    dy: Floats | None = None,
    dh_n: Floats | None = None,
    dc_n: Floats | None = None,
    batch_sizes: npt.NDArray[np.integer] | None = None,
) -> RecurrentGradients:
    weights = (weight_ih, weight_hh, bias_ih, bias_hh, weight_hr)
    return _backward("lstm", forward, (dy, dh_n, dc_n), x, weights, h0, c0, batch_sizes)


_H0 = "h0 : ndarray, optional\n        (D, B, H): the state before, zeros by default."
_LSTM_STATES = """h0, c0 : ndarray, optional
        (D, B, P) and (D, B, H): the state before, zeros by default.
    weight_hr : ndarray, optional
        (D, P, H): a projection; without one P is H."""
for _function, _gates, _wide, _outputs, _states, _what in (
    (rnn, 1, 5, "H", _H0, "A plain recurrent layer, h = tanh or relu of its sums (`nonlinearity`)."),
    (gru, 3, 15, "H", _H0, "Gated recurrent units, the reset gate after the product; rows of the weights are r, z, n."),
    (lstm, 4, 20, "P", _LSTM_STATES, "Long short-term memory; rows of the weights are i, f, g, o."),
):
    _name = _function.__name__
    _function.__doc__ = _what + _PARAMETERS.format(gates=_gates, outputs=_outputs, states=_states, name=_name)
for _gradients, _name, _gates, _wide, _dc_n in (
    (rnn_backward, "rnn", 1, 5, ""), (gru_backward, "gru", 3, 15, ""), (lstm_backward, "lstm", 4, 20, "and dc_n "),
):  # fmt: skip
    _gradients.__doc__ = f"The gradients of `{_name}`." + _BACKWARD.format(
        name=_name, gates=_gates, wide=_wide, dc_n=_dc_n
    )
