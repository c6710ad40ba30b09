"""The kernels of attention."""

import numpy as np
import numpy.typing as npt

from fastnn import _kernels
from fastnn._kernel_steps import Floats

_Mask = Floats | npt.NDArray[np.bool_]


def attention(
    q: Floats,
    k: Floats,
    v: Floats,
    mask: _Mask | None = None,
    *,
    causal: bool = False,
    diagonal: int = 0,
    scale: float | None = None,
    dropout: float = 0.0,
    seed: int = 0,
    offset: int = 0,
) -> tuple[Floats, Floats]:
    """``softmax(scale * q @ k.T + mask) @ v`` without a matrix of all scores.

    Parameters
    ----------
    q : ndarray
        (B, N, T, D). Any strides whose last is 1 are used as they are.
    k, v : ndarray
        (B, M, S, D) and (B, M, S, E); N is a multiple of M, and N / M neighbouring heads share one of k and v.
    mask : ndarray of bool or of q's type, optional
        Broadcasts to (B, N, T, S): True takes part, floats are added.
    causal : bool
        Query i sees keys j <= i + diagonal.
    diagonal : int
        See `causal`.
    scale : float, optional
        ``1 / sqrt(D)`` by default.
    dropout : float
        The share of weights that is dropped. Element (row, j) is number ``row * (S rounded up to 64) + j`` of the mask
        that `dropout_mask` makes of seed and offset, rows counted over B, N and T.
    seed, offset : int
        See `dropout`.

    Returns
    -------
    out, stats : ndarray
        (B, N, T, E) with the memory of (B, T, N, E); and (B, N, T, 2) for `attention_backward`, of each row's scores s
        the peak ``max(s) * log2(e)`` and the sum of ``2 ** (s * log2(e) - peak)``. A row that sees nothing is 0, its
        stats -inf and 0.

    Raises
    ------
    TypeError
        For anything but NumPy arrays of float32 or float64, all of one type.
    ValueError
        Where shapes do not fit.
    MemoryError
        Where there is none for partial results.

    References
    ----------
    Dao, "FlashAttention-2: faster attention with better parallelism and work partitioning", 2023.

    Examples
    --------
    >>> import numpy as np
    >>> v = np.array([[[[1.0], [3.0]]]])
    >>> out, stats = attention(np.zeros((1, 1, 1, 1)), np.ones((1, 1, 2, 1)), v)
    >>> out.ravel(), stats.ravel()
    (array([2.]), array([0., 2.]))
    """
    return _kernels.attention(q, k, v, mask, causal, diagonal, scale, dropout, seed, offset)


def attention_backward(
    dout: Floats,
    q: Floats,
    k: Floats,
    v: Floats,
    out: Floats,
    stats: Floats,
    mask: _Mask | None = None,
    *,
    causal: bool = False,
    diagonal: int = 0,
    scale: float | None = None,
    dropout: float = 0.0,
    seed: int = 0,
    offset: int = 0,
) -> tuple[Floats, Floats, Floats]:
    """Gradients of `attention`: dq, dk and dv from dout, what the forward got, and what it gave.

    Shapes, options and errors as there. The bits are the same for every number of threads.

    Examples
    --------
    >>> import numpy as np
    >>> q, k, v = np.zeros((1, 1, 1, 1)), np.ones((1, 1, 2, 1)), np.array([[[[1.0], [3.0]]]])
    >>> attention_backward(np.ones((1, 1, 1, 1)), q, k, v, *attention(q, k, v))[2].ravel()
    array([0.5, 0.5])
    """
    return _kernels.attention_backward(dout, q, k, v, out, stats, mask, causal, diagonal, scale, dropout, seed, offset)
