"""Layers that tell positions apart: sinusoids that are added, rotations of queries and keys."""

from .. import _ops
from .._checks import integer
from ._dropout import Dropout
from ._module import Module
from ._position_tables import rotary_embedding, sinusoidal_positions


class SinusoidalPositionalEncoding(Module):
    """Adds `functional.sinusoidal_positions` to its input.

    Parameters
    ----------
    d_model : int
        Size of a position's vector.
    dropout : float
        Of the sum, while training.
    batch_first : bool
        (B, T, E) instead of (T, B, E).

    Notes
    -----
    There is no longest sequence: the table grows as it is needed.

    Raises
    ------
    ValueError, TypeError
        For a `d_model` below one; when called, if x is not (..., d_model) of floats, or `offset` is negative.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.SinusoidalPositionalEncoding(4, batch_first=True)(fnn.zeros(1, 2, 4))[0, 0].tolist()
    [0.0, 1.0, 0.0, 1.0]
    """

    def __init__(self, d_model: int, dropout: float = 0.0, batch_first: bool = False) -> None:
        self.d_model = integer("SinusoidalPositionalEncoding", "d_model", d_model)
        self.dropout = Dropout(dropout)
        self.batch_first = bool(batch_first)
        self._table = _ops.empty(0, self.d_model)

    def forward(self, x, offset: int = 0):
        """x: (B, T, E), or (T, B, E) -> the same shape; `offset` is the position of the first."""
        x = _ops.as_tensor(x)
        shape = x.shape
        if len(shape) < 2 or shape[-1] != self.d_model:
            raise ValueError(f"SinusoidalPositionalEncoding: x is {shape}; expected (..., {self.d_model})")
        if x.dtype.kind != "f":
            raise ValueError(f"SinusoidalPositionalEncoding: x is of {x.dtype}; expected floats")
        offset = integer("SinusoidalPositionalEncoding", "offset", offset, 0)
        second = self.batch_first or len(shape) == 2
        end = offset + (shape[-2] if second else shape[-3])
        table = self._table  # which another thread may replace
        if end > len(table) or table.dtype != x.dtype:
            size = max(end, 2 * len(table)) if end > len(table) else len(table)
            self._table = table = sinusoidal_positions(size, self.d_model, dtype=x.dtype)
        rows = table[offset:end]
        return self.dropout(x + (rows if second else rows[:, None]))

    def extra_repr(self) -> str:
        return str(self.d_model)


class RotaryEmbedding(Module):
    """`functional.rotary_embedding` as a layer, for queries and keys (..., T, D).

    Parameters
    ----------
    base : float
        The slowest pair turns by about 1 / base a position.
    interleaved : bool
        Whether pairs are neighbours.

    Raises
    ------
    ValueError
        If `base` is not above 0; when called, as `functional.rotary_embedding`.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.RotaryEmbedding()(fnn.ones(1, 2, 4)).shape
    (1, 2, 4)
    """

    def __init__(self, base: float = 10000.0, interleaved: bool = False) -> None:
        if not base > 0:
            raise ValueError(f"RotaryEmbedding: base must be above 0, got {base}")
        self.base = float(base)
        self.interleaved = bool(interleaved)

    def forward(self, x, offset: int = 0):
        """x: (..., T, D) -> the same shape; `offset` is the position of the first."""
        return rotary_embedding(x, offset, self.base, self.interleaved)

    def extra_repr(self) -> str:
        return f"base={self.base}" + (", interleaved=True" if self.interleaved else "")
