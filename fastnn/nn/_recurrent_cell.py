"""Recurrent cells: one step of a layer, with parameters of their own."""

import math
from typing import Any

import numpy as np

from .. import _ops, _ops_recurrent, init
from .._checks import flag, integer
from .._ops import Tensor
from ._module import Module
from ._parameter import fresh
from ._recurrent import GATES, nonlinear

PAIR = (tuple, list)  # `tuple | list` makes a new type at each call


class RecurrentCell(Module):
    """What the three cells share."""

    def __init__(self, cell: str, input_size: int, hidden_size: int, bias: bool, dtype: Any) -> None:
        name = type(self).__name__
        self._cell = cell
        self.input_size = integer(name, "input_size", input_size)
        self.hidden_size = integer(name, "hidden_size", hidden_size)
        rows = GATES[cell] * self.hidden_size
        self.weight_ih = fresh((rows, self.input_size), dtype)
        self.weight_hh = fresh((rows, self.hidden_size), dtype)
        self.bias_ih = fresh(rows, dtype) if flag(name, "bias", bias) else None
        self.bias_hh = fresh(rows, dtype) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all parameters anew from U(-k, k) with k = 1 / sqrt(hidden_size)."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def forward(self, input, hx=None):
        """input (B, input_size) -> the state after; both without B for one.

        hx (B, hidden_size), of an LSTM a pair (h, c) of such, is zeros by default.
        """
        out = _ops_recurrent.frozen_cell(
            self._cell, input, hx, self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh
        )
        return self._checked(input, hx) if out is None else out

    def _checked(self, x: Any, state: Any) -> Any:
        """As `forward`, of everything that a cell takes."""
        raise NotImplementedError

    def _run(self, x: Any, h: Any, c: Any) -> tuple:
        weights = self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh, None
        if type(x) is not Tensor:
            x = _ops.as_tensor(x)
        if x.ndim != 1:
            return _ops_recurrent.cell(type(self).__name__, self._cell, x, h, c, weights)
        given = [None if s is None else _ops.as_tensor(s) for s in (h, c)]
        for state in given:
            if state is not None and state.ndim != 1:
                wanted = f"({self.hidden_size},), as input has no batch"
                raise ValueError(f"{type(self).__name__}: the state is {state.shape}; expected {wanted}")
        h, c = (None if s is None else _ops.unsqueeze(s, 0) for s in given)
        h, c = _ops_recurrent.cell(type(self).__name__, self._cell, _ops.unsqueeze(x, 0), h, c, weights)
        return _ops.squeeze(h, 0), None if c is None else _ops.squeeze(c, 0)

    def extra_repr(self) -> str:
        text = f"input_size={self.input_size}, hidden_size={self.hidden_size}"
        return text if self.bias_ih is not None else f"{text}, bias=False"


class _PlainCell(RecurrentCell):
    """RNN and GRU: the state is one tensor."""

    def _checked(self, x: Any, state: Any) -> Any:
        if isinstance(state, PAIR):
            raise TypeError(f"{type(self).__name__}: the state must be a tensor, got {type(state).__name__}")
        return self._run(x, state, None)[0]

    def step(self, x, state=None):
        """As `forward`, but `(output, state)`, as the layers' `step` has it: both are the state."""
        h = self.forward(x, state)
        return h, h


class RNNCell(_PlainCell):
    """One step of an `RNN`: h' = f(weight_ih x + bias_ih + weight_hh h + bias_hh).

    Parameters
    ----------
    input_size, hidden_size : int
    bias : bool
    nonlinearity : {"tanh", "relu"}
    dtype : dtype
        float32 or float64.

    Attributes
    ----------
    weight_ih, weight_hh, bias_ih, bias_hh : Parameter
        As in `RNN`.

    Raises
    ------
    ValueError, TypeError
        For sizes and states that do not fit, and another nonlinearity.

    Examples
    --------
    >>> import fastnn as fnn
    >>> cell = fnn.nn.RNNCell(3, 5)
    >>> cell(fnn.zeros(2, 3)).shape
    (2, 5)
    """

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh", *, dtype=np.float32
    ) -> None:
        self.nonlinearity = nonlinearity
        super().__init__(nonlinear("RNNCell", nonlinearity), input_size, hidden_size, bias, dtype)

    def extra_repr(self) -> str:
        return super().extra_repr() + (", nonlinearity=relu" if self.nonlinearity == "relu" else "")


class GRUCell(_PlainCell):
    """One step of a `GRU`. Parameters, Attributes and Raises are those of `RNNCell`, without a nonlinearity.

    Examples
    --------
    >>> import fastnn as fnn
    >>> cell = fnn.nn.GRUCell(3, 5)
    >>> h = cell(fnn.zeros(2, 3))
    >>> cell(fnn.zeros(2, 3), h).shape
    (2, 5)
    """

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, *, dtype=np.float32) -> None:
        super().__init__("gru", input_size, hidden_size, bias, dtype)


class LSTMCell(RecurrentCell):
    """One step of an `LSTM`. Parameters, Attributes and Raises are those of `RNNCell`, without a nonlinearity.

    Examples
    --------
    >>> import fastnn as fnn
    >>> cell = fnn.nn.LSTMCell(3, 5)
    >>> h, c = cell(fnn.zeros(2, 3))
    >>> h, c = cell(fnn.zeros(2, 3), (h, c))
    >>> h.shape, c.shape
    ((2, 5), (2, 5))
    """

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, *, dtype=np.float32) -> None:
        super().__init__("lstm", input_size, hidden_size, bias, dtype)

    def _checked(self, x: Any, state: Any) -> Any:
        if state is None:
            return self._run(x, None, None)
        if not isinstance(state, PAIR) or len(state) != 2:
            raise TypeError(f"LSTMCell: the state must be a pair (h, c), got {type(state).__name__}")
        return self._run(x, *state)

    def step(self, x, state=None):
        """As `forward`, but `(output, state)`, as the layers' `step` has it: (h', (h', c'))."""
        state = self.forward(x, state)
        return state[0], state
