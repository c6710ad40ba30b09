"""Positions as numbers: sinusoids to add, angles to turn by."""

import numpy as np

from .. import _ops
from .._checks import integer


def sinusoidal_positions(length: int, dim: int, offset: int = 0, base: float = 10000.0, dtype=np.float32):
    """Sines (even columns) and cosines (odd) of positions offset, offset + 1, ... at `dim / 2` frequencies [1]_.

    Column 2 i turns by ``base ** (-2 i / dim)`` a position.

    Returns
    -------
    Tensor (length, dim)

    Raises
    ------
    ValueError
        If the length is negative, dim less than 1, or base not above 0.
    TypeError
        If offset is no integer, or dtype no type of floats.

    References
    ----------
    .. [1] Vaswani et al., "Attention is all you need", NeurIPS 2017.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.functional.sinusoidal_positions(2, 4)[0].tolist()
    [0.0, 1.0, 0.0, 1.0]
    """
    if length < 0 or dim < 1 or not base > 0:
        raise ValueError(
            f"sinusoidal_positions: length is {length}, dim {dim}, base {base}; expected from 0, from 1, above 0"
        )
    offset, dtype = integer("sinusoidal_positions", "offset", offset, None), np.dtype(dtype)
    if dtype.kind != "f":
        raise TypeError(f"sinusoidal_positions: dtype is {dtype}; expected float32 or float64")
    angle = np.arange(offset, offset + length)[:, None] * base ** (-2.0 * np.arange((dim + 1) // 2) / dim)
    table = np.stack([np.sin(angle), np.cos(angle)], -1).reshape(length, -1)[:, :dim]
    return _ops.as_tensor(table.astype(dtype))


def rotary_embedding(x, offset: int = 0, base: float = 10000.0, interleaved: bool = False):
    """Turn pairs of elements by angles that grow with the position, so that q . k depends on their distance [1]_.

    Parameters
    ----------
    x : Tensor (..., T, D)
        Queries or keys; D is even.
    offset : int
        The position of the first one.
    base : float
        Pair i turns by ``base ** (-2 i / D)`` a position.
    interleaved : bool
        Pairs are neighbours (2 i, 2 i + 1), as published, instead of (i, i + D / 2), as most models have them.

    Returns
    -------
    Tensor (..., T, D)

    Raises
    ------
    ValueError
        If D is odd, or base not above 0.
    TypeError
        If x is not of floats, or offset no integer.

    References
    ----------
    .. [1] Su et al., "RoFormer: enhanced transformer with rotary position embedding", 2021.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.functional.rotary_embedding(fnn.tensor([[1.0, 0.0]])).tolist()
    [[1.0, 0.0]]
    """
    x = _ops.as_tensor(x)
    if x.ndim < 2 or x.shape[-1] % 2:
        raise ValueError(f"rotary_embedding: x is {x.shape}; expected (..., T, D) with an even D")
    if x.dtype.kind != "f":
        raise TypeError(f"rotary_embedding: x is of {x.dtype}; expected floats")
    if not base > 0:
        raise ValueError(f"rotary_embedding: base must be above 0, got {base}")
    length, dim = x.shape[-2:]
    offset = integer("rotary_embedding", "offset", offset, None)
    angle = np.arange(offset, offset + length)[:, None] * base ** (-2.0 * np.arange(dim // 2) / dim)
    cos, sin = (_ops.as_tensor(f(angle).astype(x.dtype)) for f in (np.cos, np.sin))
    if interleaved:
        a, b = x[..., ::2], x[..., 1::2]
        return _ops.stack((a * cos - b * sin, a * sin + b * cos), -1).reshape(x.shape)
    a, b = x[..., : dim // 2], x[..., dim // 2 :]
    return _ops.cat((a * cos - b * sin, a * sin + b * cos), -1)
