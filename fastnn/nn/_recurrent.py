"""Recurrent layers over whole sequences: RNN, GRU, LSTM."""

import math
from typing import Any

import numpy as np

from .. import _ops, _ops_recurrent, init
from .._checks import flag, integer, probability
from .._ops import Tensor
from ._module import Module
from ._parameter import fresh
from .utils.rnn import PackedSequence, checked_lengths, checked_packed, gathered, orders, packing, padded

GATES = {"rnn_tanh": 1, "rnn_relu": 1, "gru": 3, "lstm": 4}


def nonlinear(function: str, nonlinearity: str) -> str:
    """Return the op's name of a plain RNN's cell."""
    if nonlinearity not in ("tanh", "relu"):
        raise ValueError(f"{function}: nonlinearity must be 'tanh' or 'relu', got {nonlinearity!r}")
    return f"rnn_{nonlinearity}"


class Recurrent(Module):
    """What RNN, GRU and LSTM share: parameters, layers on top of each other, directions, lengths.

    States are written as one tensor here or, for an LSTM, as a pair of them.
    """

    def __init__(
        self,
        cell: str,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        proj_size: int = 0,
        dtype: Any = np.float32,
    ) -> None:
        name = type(self).__name__
        self._cell = cell
        self.input_size = integer(name, "input_size", input_size)
        self.hidden_size = integer(name, "hidden_size", hidden_size)
        self.num_layers = integer(name, "num_layers", num_layers)
        self.bias = flag(name, "bias", bias)
        self.batch_first = flag(name, "batch_first", batch_first)
        self.dropout = probability(name, "dropout", dropout)
        self.bidirectional = flag(name, "bidirectional", bidirectional)
        self.proj_size = integer(name, "proj_size", proj_size, 0)
        if self.proj_size >= self.hidden_size:
            raise ValueError(f"{name}: proj_size must be smaller than hidden_size {hidden_size}, got {proj_size}")
        self._names = [self._make_layer(layer, dtype) for layer in range(self.num_layers)]
        self.reset_parameters()

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def _outputs(self) -> int:
        return self.proj_size or self.hidden_size

    def _make_layer(self, layer: int, dtype: Any) -> list[str | None]:
        """Make one layer's parameters; return their names as the op wants them, five a direction."""
        rows = GATES[self._cell] * self.hidden_size
        inputs = self.input_size if layer == 0 else self._directions * self._outputs
        shapes: dict[str, tuple[int, ...] | None] = {
            "weight_ih": (rows, inputs),
            "weight_hh": (rows, self._outputs),
            "bias_ih": (rows,) if self.bias else None,
            "bias_hh": (rows,) if self.bias else None,
            "weight_hr": (self.proj_size, self.hidden_size) if self.proj_size else None,
        }
        names: list[str | None] = []
        for suffix in ("", "_reverse")[: self._directions]:
            for kind, shape in shapes.items():
                if shape is not None:
                    setattr(self, f"{kind}_l{layer}{suffix}", fresh(shape, dtype))
                names.append(None if shape is None else f"{kind}_l{layer}{suffix}")
        return names

    def reset_parameters(self) -> None:
        """Draw all parameters anew from U(-k, k) with k = 1 / sqrt(hidden_size)."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def flatten_parameters(self) -> None:
        """Do nothing; PyTorch's layers have it."""

    def forward(self, input, hx=None, lengths=None):
        """Run over whole sequences: `(output, state)`.

        input is (T, B, input_size), with `batch_first` (B, T, input_size), (T, input_size) for one sequence without a
        batch, or a PackedSequence. `hx` is the initial state, zeros by default. `lengths`, one integer from 0 to T for
        each sequence in any order, says how much of each is there; output is 0 behind.
        """
        if isinstance(input, PackedSequence):
            return self._packed(input, hx, lengths)
        name = type(self).__name__
        x = _ops.as_tensor(input)
        if x.ndim not in (2, 3):
            wanted = "(B, T, input_size)" if self.batch_first else "(T, B, input_size)"
            raise ValueError(f"{name}: input is {x.shape}; expected {wanted} or (T, input_size)")
        if x.shape[-1] != self.input_size:
            raise ValueError(f"{name}: input is {x.shape}; expected input_size = {self.input_size}, its last dimension")
        if x.ndim == 2:
            if lengths is not None:
                raise ValueError(f"{name}: lengths are for a batch of sequences, and input is {x.shape}")
            y, state = self._layers(_ops.unsqueeze(x, 1), self._split(self._batched(hx), 1), None)
            return _ops.squeeze(y, 1), self._joined([tuple(_ops.squeeze(s, 1) for s in self._tuple(state))])
        if lengths is not None:
            return self._of_lengths(x, hx, lengths)
        if not self.batch_first:
            return self._layers(x, self._split(hx, x.shape[1]), None)
        y, state = self._layers(_ops.transpose(x, 0, 1), self._split(hx, x.shape[0]), None)
        return _ops.transpose(y, 0, 1), state

    def step(self, x, state=None):
        """Run one frame: x (B, input_size) or (input_size,) and the state before give (output, the state after).

        A sequence fed frame by frame gives the same bits as all at once. The state is what `forward` takes and returns
        (None: zeros): tensors that nothing changes, so that keeping one is a copy.

        Raises
        ------
        RuntimeError
            If the layer is bidirectional: its second direction begins at the end.
        """
        name = type(self).__name__
        if self.bidirectional:
            raise RuntimeError(f"{name}.step: a bidirectional layer needs the whole sequence")
        x = _ops.as_tensor(x)
        if x.ndim not in (1, 2) or x.shape[-1] != self.input_size:
            raise ValueError(f"{name}.step: x is {x.shape}; expected (B, {self.input_size}) or ({self.input_size},)")
        if x.ndim == 1:
            y, state = self.step(_ops.unsqueeze(x, 0), self._batched(state))
            return _ops.squeeze(y, 0), self._joined([tuple(_ops.squeeze(s, 1) for s in self._tuple(state))])
        y, state = self._layers(_ops.unsqueeze(x, 0), self._split(state, x.shape[0]), None)
        return _ops.squeeze(y, 0), state

    # ----- states: a tuple of one tensor or two inside -----

    def _tuple(self, state: Any) -> tuple:
        return state if self._cell == "lstm" else (state,)

    def _joined(self, states: list[tuple]) -> Any:
        """The layers' states as the caller gets them."""
        whole = states[0] if len(states) == 1 else tuple(_ops.cat(list(s), 0) for s in zip(*states, strict=True))
        return whole if self._cell == "lstm" else whole[0]

    def _checked(self, hx: Any) -> tuple | None:
        name = type(self).__name__
        if hx is None:
            return None
        if self._cell == "lstm":
            if not isinstance(hx, tuple | list) or len(hx) != 2:
                what = f"{len(hx)} of them" if isinstance(hx, tuple | list) else type(hx).__name__
                raise TypeError(f"{name}: the state must be a pair (h_0, c_0), got {what}")
            if any(s is None for s in hx):
                raise TypeError(f"{name}: the state must be a pair (h_0, c_0) of tensors, or None, got None in it")
        elif isinstance(hx, tuple | list):
            raise TypeError(f"{name}: the state must be a tensor, got {type(hx).__name__}")
        return tuple(_ops.as_tensor(s) for s in self._tuple(hx))

    def _batched(self, hx: Any) -> Any:
        """The state of one sequence (layers, size) as that of a batch of one."""
        states = self._checked(hx)
        if states is None:
            return None
        layers = self.num_layers * self._directions
        for s, size in zip(states, (self._outputs, self.hidden_size), strict=False):
            if s.shape != (layers, size):
                raise ValueError(
                    f"{type(self).__name__}: the state is {s.shape}; expected {(layers, size)}, as input has no batch"
                )
        return self._joined([tuple(_ops.unsqueeze(s, 1) for s in states)])

    def _split(self, hx: Any, batch: int) -> list[tuple]:
        """Each layer's (h_0, c_0), None for zeros."""
        states = self._checked(hx)
        if states is None:
            return [(None, None)] * self.num_layers
        count = self.num_layers * self._directions
        for s, size in zip(states, (self._outputs, self.hidden_size), strict=False):
            if s.shape != (count, batch, size):
                raise ValueError(f"{type(self).__name__}: the state is {s.shape}; expected {(count, batch, size)}")
        if self.num_layers == 1:
            return [(*states, None)[:2]]
        d = self._directions
        return [(*(s[d * i : d * (i + 1)] for s in states), None)[:2] for i in range(self.num_layers)]

    # ----- the work -----

    def _layers(self, x: Tensor, states: list[tuple], batch_sizes: tuple | None) -> tuple:
        name, own = type(self).__name__, self.__dict__
        ends = []
        for layer, names in enumerate(self._names):
            if layer and self.dropout and self.training:
                x = _ops.dropout(x, self.dropout, True)
            try:
                weights = [None if n is None else own[n] for n in names]
            except KeyError:  # one is made of others, as by spectral_norm
                weights = [None if n is None else getattr(self, n) for n in names]
            h0, c0 = states[layer]
            x, h, c = _ops_recurrent.recurrent(name, self._cell, x, h0, c0, weights, batch_sizes)
            ends.append((h,) if c is None else (h, c))
        return x, self._joined(ends)

    def _packed(self, sequence: PackedSequence, hx: Any, lengths: Any) -> tuple:
        name = type(self).__name__
        if lengths is not None:
            raise ValueError(f"{name}: a PackedSequence has lengths of its own")
        sizes, batch = checked_packed(name, sequence)
        both = orders(name, sequence, batch)
        if both:
            hx = self._reordered(hx, both[0], batch)
        y, state = self._layers(sequence.data, self._split(hx, batch), (sizes, batch))
        if both:
            state = self._reordered(state, both[1], batch)
        return PackedSequence(y, *sequence[1:]), state

    def _of_lengths(self, x: Tensor, hx: Any, lengths: Any) -> tuple:
        batch, steps = x.shape[:2] if self.batch_first else (x.shape[1], x.shape[0])
        array = checked_lengths(type(self).__name__, lengths, batch, steps, 0)
        if (array == steps).all():  # one sequence, or all as long: the same bits, and nothing to be gathered, for 40 us
            return self.forward(x, hx)
        plan = packing(array, steps, self.batch_first)
        states = self._split(self._reordered(hx, plan.order, batch), batch)
        y, state = self._layers(gathered(x, plan), states, (plan.batch_sizes, batch))
        return padded(y, plan, steps, self.batch_first), self._reordered(state, plan.back, batch)

    def _reordered(self, hx: Any, order: np.ndarray, batch: int) -> Any:
        """The state with its sequences in another order."""
        states = self._checked(hx)
        if states is None or (np.diff(order) == 1).all():
            return hx
        for s in states:
            if s.ndim != 3 or s.shape[1] != batch or len(order) != batch:
                raise ValueError(
                    f"{type(self).__name__}: the state is {s.shape}; expected {batch} sequences in dimension 1"
                )
        return self._joined([tuple(_ops.index_select(s, 1, order) for s in states)])

    def extra_repr(self) -> str:
        text = f"input_size={self.input_size}, hidden_size={self.hidden_size}"
        standard = {
            "num_layers": 1,
            "bias": True,
            "batch_first": False,
            "dropout": 0.0,
            "bidirectional": False,
            "proj_size": 0,
        }
        for name, value in standard.items():
            if getattr(self, name) != value:
                text += f", {name}={getattr(self, name)}"
        return text


class RNN(Recurrent):
    """Layers of h_t = f(weight_ih x_t + bias_ih + weight_hh h_{t-1} + bias_hh), f tanh or relu (Elman, 1990).

    Parameters
    ----------
    input_size, hidden_size : int
        Sizes of x_t and h_t.
    num_layers : int
        Layers on top of each other: each reads the outputs of the one below.
    nonlinearity : {"tanh", "relu"}
    bias : bool
    batch_first : bool
        Input and output are (B, T, ...) instead of (T, B, ...). States are not.
    dropout : float
        While training, the probability of dropping an output between two layers.
    bidirectional : bool
        A second set of weights reads the sequences from the end; its outputs stand behind the first's.
    dtype : dtype
        float32 or float64.

    Attributes
    ----------
    weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0, weight_ih_l0_reverse, weight_ih_l1, ... : Parameter
        (hidden_size, inputs of the layer), (hidden_size, hidden_size), (hidden_size,), (hidden_size,). Drawn from
        U(-k, k) with k = 1 / sqrt(hidden_size), as in PyTorch.

    Notes
    -----
    `layer(input, h_0, lengths)` gives `(output, h_n)`: output (T, B, D * hidden_size), h_n (num_layers * D, B,
    hidden_size), D = 2 if bidirectional. See `forward` for sequences of different lengths and without a batch, and
    `step` for one frame at a time. Every row is summed in one order: neither the batch around a sequence, nor how many
    frames come at once, nor the number of threads changes a bit.

    Raises
    ------
    ValueError, TypeError
        For sizes and states that do not fit, and another nonlinearity.

    References
    ----------
    Elman, "Finding structure in time", Cognitive Science 14, 1990.

    Examples
    --------
    >>> import fastnn as fnn
    >>> layer = fnn.nn.RNN(3, 5)
    >>> output, h_n = layer(fnn.zeros(7, 2, 3))
    >>> output.shape, h_n.shape
    ((7, 2, 5), (1, 2, 5))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        dtype=np.float32,
    ) -> None:
        self.nonlinearity = nonlinearity
        cell = nonlinear("RNN", nonlinearity)
        super().__init__(
            cell, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, dtype=dtype
        )

    def extra_repr(self) -> str:
        return super().extra_repr() + (", nonlinearity=relu" if self.nonlinearity == "relu" else "")


class GRU(Recurrent):
    """Gated recurrent units (Cho et al., 2014), in the form that PyTorch has: the reset gate after the product.

    .. math::
        r, z &= \\sigma(W_{ir, iz} x + b_{ir, iz} + W_{hr, hz} h + b_{hr, hz}) \\\\
        n &= \\tanh(W_{in} x + b_{in} + r (W_{hn} h + b_{hn})) \\\\
        h' &= (1 - z) n + z h

    Parameters, Attributes, Notes and Raises are those of `RNN`, without a nonlinearity; weights hold r, z, n, one below
    the other: (3 * hidden_size, ...).

    References
    ----------
    Cho et al., "Learning phrase representations using RNN encoder-decoder for statistical machine translation", 2014.

    Examples
    --------
    >>> import fastnn as fnn
    >>> layer = fnn.nn.GRU(3, 5, bidirectional=True, batch_first=True)
    >>> output, h_n = layer(fnn.zeros(2, 7, 3), lengths=[7, 4])
    >>> output.shape, h_n.shape
    ((2, 7, 10), (2, 2, 5))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        dtype=np.float32,
    ) -> None:
        super().__init__(
            "gru", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, dtype=dtype
        )


class LSTM(Recurrent):
    """Long short-term memory (Hochreiter and Schmidhuber, 1997), with forget gates (Gers et al., 1999).

    .. math::
        i, f, o &= \\sigma(W x + b_i + U h + b_h), \\quad g = \\tanh(\\dots) \\\\
        c' &= f c + i g \\\\
        h' &= o \\tanh(c')

    Parameters, Attributes, Notes and Raises are those of `RNN`, without a nonlinearity; weights hold i, f, g, o, one
    below the other: (4 * hidden_size, ...). The state is a pair `(h, c)`.

    Parameters
    ----------
    proj_size : int
        If not 0, h' is weight_hr (proj_size, hidden_size) times what stands above: outputs and h are proj_size wide, c
        is not (Sak et al., 2014).

    References
    ----------
    Hochreiter and Schmidhuber, "Long short-term memory", Neural Computation 9, 1997.
    Sak, Senior and Beaufays, "Long short-term memory based recurrent neural network architectures", 2014.

    Examples
    --------
    >>> import fastnn as fnn
    >>> layer = fnn.nn.LSTM(3, 5)
    >>> output, (h_n, c_n) = layer(fnn.zeros(7, 2, 3))
    >>> output.shape, h_n.shape, c_n.shape
    ((7, 2, 5), (1, 2, 5), (1, 2, 5))
    >>> frame, state = layer.step(fnn.zeros(2, 3))
    >>> frame, state = layer.step(fnn.zeros(2, 3), state)
    >>> frame.shape
    (2, 5)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        *,
        dtype=np.float32,
    ) -> None:
        super().__init__(
            "lstm", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size, dtype
        )
