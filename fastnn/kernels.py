"""The raw kernels, NumPy in and NumPy out, and the choice of instruction set.

Every kernel takes float32 or float64 arrays, all of one type, of any strides; a byte-swapped or unaligned array is
copied first, and so is an input that overlaps `out`. Nothing here is differentiated: that is what `fastnn.Tensor` adds.
`use_isa(name)` counts for the whole process, whose kernels it exchanges: call it while no other thread computes.

Element by element, each as ``f(x, out=None)``: ``copy negative abs sign square sqrt reciprocal exp log tanh sigmoid erf
relu relu6 leaky_relu hardswish elu softplus gelu gelu_tanh silu``, as ``f(a, b, out=None)`` with NumPy's broadcasting:
``add subtract multiply divide maximum minimum clamp``, and as ``f(dy, saved, out=None)`` the gradients ``relu_grad`` to
``abs_grad``.

>>> import numpy as np
>>> from fastnn import kernels
>>> x = np.array([-1.0, 0.0, 2.0], np.float32)
>>> kernels.tanh(x).round(3)
array([-0.762,  0.   ,  0.964], dtype=float32)
>>> kernels.leaky_relu(x, 0.1)
array([-0.1,  0. ,  2. ], dtype=float32)
>>> kernels.multiply(x, x[:, None]).shape
(3, 3)
>>> kernels.relu_grad(np.ones_like(x), x)
array([0., 0., 1.], dtype=float32)
"""

from operator import index

import numpy as np
import numpy.typing as npt

from fastnn import _kernels
from fastnn._kernel_attention import attention, attention_backward
from fastnn._kernel_conv import conv2d, conv2d_backward, filter2d
from fastnn._kernel_ctc import ctc, ctc_backward
from fastnn._kernel_norms import (
    batch_norm,
    batch_norm_backward,
    group_norm,
    group_norm_backward,
    layer_norm,
    layer_norm_backward,
    rms_norm,
    rms_norm_backward,
)
from fastnn._kernel_pool import (
    adaptive_avg_pool2d,
    adaptive_avg_pool2d_backward,
    adaptive_max_pool2d,
    adaptive_max_pool2d_backward,
    avg_pool2d,
    avg_pool2d_backward,
    max_pool2d,
    max_pool2d_backward,
    max_pool2d_pick,
    resize,
    resize_backward,
)
from fastnn._kernel_recurrent import gru, gru_backward, lstm, lstm_backward, rnn, rnn_backward
from fastnn._kernel_steps import Floats, adam, rmsprop, sgd
from fastnn._kernels import (
    abs,
    abs_grad,
    add,
    all_isas,
    available_cpus,
    clamp,
    copy,
    divide,
    elu,
    elu_grad,
    empty_cache,
    erf,
    erf_grad,
    exp,
    gelu,
    gelu_grad,
    gelu_tanh,
    gelu_tanh_grad,
    get_num_threads,
    hardswish,
    hardswish_grad,
    isa,
    isas,
    leaky_relu,
    leaky_relu_grad,
    log,
    maximum,
    memory_stats,
    minimum,
    multiply,
    negative,
    reciprocal,
    relu,
    relu6,
    relu6_grad,
    relu_grad,
    set_num_threads,
    sigmoid,
    sigmoid_grad,
    sign,
    silu,
    silu_grad,
    softplus,
    softplus_grad,
    sqrt,
    square,
    subtract,
    tanh,
    tanh_grad,
    use_isa,
)

__all__ = [
    "abs", "abs_grad", "adam", "adaptive_avg_pool2d", "adaptive_avg_pool2d_backward", "adaptive_max_pool2d",
    "adaptive_max_pool2d_backward", "add", "all_isas", "attention", "attention_backward", "available_cpus",
    "avg_pool2d", "avg_pool2d_backward", "batch_norm", "batch_norm_backward", "clamp", "conv2d", "conv2d_backward",
    "copy", "cross_entropy", "cross_entropy_backward", "ctc", "ctc_backward", "divide", "dropout", "dropout_mask",
    "elu", "elu_grad", "empty_cache", "erf", "erf_grad", "exp", "filter2d", "gelu", "gelu_grad", "gelu_tanh",
    "gelu_tanh_grad", "get_num_threads", "group_norm", "group_norm_backward", "gru", "gru_backward", "hardswish",
    "hardswish_grad", "isa", "isas", "layer_norm", "layer_norm_backward", "leaky_relu", "leaky_relu_grad", "log",
    "log_softmax", "log_softmax_backward", "lstm", "lstm_backward", "matmul", "max", "max_pool2d",
    "max_pool2d_backward", "max_pool2d_pick", "maximum", "memory_stats", "min", "minimum", "multiply", "negative",
    "prod", "reciprocal", "relu", "relu6", "relu6_grad", "relu_grad", "resize", "resize_backward", "rms_norm",
    "rms_norm_backward", "rmsprop", "rnn", "rnn_backward", "set_num_threads", "sgd", "sigmoid", "sigmoid_grad", "sign",
    "silu", "silu_grad", "softmax", "softmax_backward", "softplus", "softplus_grad", "sqrt", "square", "subtract",
    "sum", "sum_squares", "tanh", "tanh_grad", "use_isa",
]


def matmul(
    a: Floats,
    b: Floats,
    bias: Floats | None = None,
    activation: str | None = None,
    *,
    alpha: float = 0.01,
    out: Floats | None = None,
    accumulate: bool = False,
) -> Floats:
    """Matrix product, ``activation(a @ b + bias)`` in one pass.

    Parameters
    ----------
    a, b : ndarray
        (..., m, k) and (..., k, n), of any strides: a transposed view costs no copy. Leading dimensions broadcast.
    bias : ndarray, optional
        (n,), added to every row.
    activation : str, optional
        The name of a kernel of one argument, as ``"relu"``.
    alpha : float
        Slope or scale of ``"leaky_relu"`` and ``"elu"``.
    out : ndarray, optional
        (..., m, n), contiguous in its last dimension; written and returned.
    accumulate : bool
        ``out += a @ b``, without bias and activation.

    Returns
    -------
    ndarray
        (..., m, n).

    Raises
    ------
    TypeError
        For anything but NumPy arrays of float32 or float64, all of one type.
    ValueError
        Where shapes do not fit, `out` cannot be written, or `accumulate` stands without `out`.
    MemoryError
        Where there is none for the result or the packed `b`.

    Notes
    -----
    The error of an element is at most ``k * u * (abs(a) @ abs(b))``, u half a unit in the last place. Every element has
    the same bits for every number of threads.

    Examples
    --------
    >>> a = np.arange(6, dtype=np.float32).reshape(2, 3)
    >>> matmul(a, a.T)
    array([[ 5., 14.],
           [14., 50.]], dtype=float32)
    >>> matmul(a, a.T, bias=np.float32([-20, 0]), activation="relu")
    array([[ 0., 14.],
           [ 0., 50.]], dtype=float32)
    """
    return _kernels.matmul(a, b, bias, activation, alpha, out, accumulate)


def sum(x: Floats, axis: int | None = None, *, scale: float = 1.0) -> Floats:
    """Sum over one axis or all, times `scale`: ``scale=1 / n`` gives the mean. Zero where there is nothing to sum.

    `x` is (outer, n, inner) with n at `axis`, the result (outer, inner). The order of summation is fixed by n alone.

    Raises
    ------
    TypeError
        For anything but a NumPy array of float32 or float64.
    ValueError
        Where `x` has no such axis.

    Examples
    --------
    >>> sum(np.array([[1.0, 2.0], [3.0, 4.0]]), axis=0, scale=0.5)
    array([2., 3.])
    """
    return _kernels.sum(x, axis, scale)


def sum_squares(x: Floats, axis: int | None = None, *, scale: float = 1.0) -> Floats:
    """Sum of squares over one axis or all, times `scale`; shapes and errors as `sum`.

    Examples
    --------
    >>> sum_squares(np.array([3.0, 4.0]))
    array(25.)
    """
    return _kernels.sum_squares(x, axis, scale)


def max(x: Floats, axis: int | None = None) -> Floats:
    """Largest element over one axis or all; NaN if there is one, -inf of nothing. Shapes and errors as `sum`.

    Examples
    --------
    >>> max(np.array([[1.0, 5.0], [3.0, 4.0]]), axis=1)
    array([5., 4.])
    """
    return _kernels.max(x, axis, 1.0)


def min(x: Floats, axis: int | None = None) -> Floats:
    """Smallest element over one axis or all; NaN if there is one, inf of nothing. Shapes and errors as `sum`.

    Examples
    --------
    >>> min(np.array([[1.0, 5.0], [3.0, 4.0]]), axis=0)
    array([1., 4.])
    """
    return _kernels.min(x, axis, 1.0)


def prod(x: Floats, axis: int | None = None) -> Floats:
    """Product over one axis or all; one where there is nothing to multiply. Shapes and errors as `sum`.

    Examples
    --------
    >>> prod(np.array([2.0, 3.0, 7.0]))
    array(42.)
    """
    return _kernels.prod(x, axis, 1.0)


def softmax(x: Floats, *, out: Floats | None = None) -> Floats:
    """Softmax over the last axis, ``exp(x - max) / sum(exp(x - max))``. A row of -inf gives NaN, as in PyTorch.

    Parameters
    ----------
    x : ndarray
        (..., cols).
    out : ndarray, optional
        Of the same shape, C-contiguous; written and returned.

    Returns
    -------
    ndarray
        Of the shape of `x`.

    Raises
    ------
    TypeError
        For anything but NumPy arrays of float32 or float64, all of one type.
    ValueError
        Where `x` has no dimension, or `out` cannot be written.

    Examples
    --------
    >>> softmax(np.array([0.0, np.log(3.0)])).round(6)
    array([0.25, 0.75])
    """
    return _kernels.softmax(x, out)


def log_softmax(x: Floats, *, out: Floats | None = None) -> Floats:
    """Logarithm of the softmax over the last axis, ``x - max - log(sum(exp(x - max)))``; otherwise as `softmax`.

    Examples
    --------
    >>> np.exp(log_softmax(np.array([0.0, np.log(3.0)]))).round(6)
    array([0.25, 0.75])
    """
    return _kernels.log_softmax(x, out)


def softmax_backward(dy: Floats, y: Floats, *, out: Floats | None = None) -> Floats:
    """Gradient of `softmax` from its output y: ``dx = y * (dy - sum(dy * y))``; shapes and errors as `softmax`.

    Examples
    --------
    >>> softmax_backward(np.array([1.0, 0.0]), np.array([0.25, 0.75]))
    array([ 0.1875, -0.1875])
    """
    return _kernels.softmax_backward(dy, y, out)


def log_softmax_backward(dy: Floats, y: Floats, *, out: Floats | None = None) -> Floats:
    """Gradient of `log_softmax` from its output y: ``dx = dy - exp(y) * sum(dy)``; shapes and errors as `softmax`.

    Examples
    --------
    >>> log_softmax_backward(np.array([1.0, 0.0]), np.log([0.25, 0.75])).round(6)
    array([ 0.75, -0.75])
    """
    return _kernels.log_softmax_backward(dy, y, out)


def cross_entropy(
    x: Floats,
    target: npt.NDArray[np.integer],
    weight: Floats | None = None,
    *,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> tuple[Floats, Floats]:
    """Softmax and cross-entropy against class indices in one pass.

    With label smoothing s, class weights w and ``t = target[r]``,
    ``loss[r] = (1 - s) * w[t] * (lse - x[t]) + s / cols * sum_c(w[c] * (lse - x[c]))``, 0 where t is `ignore_index`.

    Parameters
    ----------
    x : ndarray
        (rows, cols), unnormalised scores.
    target : ndarray of integers
        (rows,), each in [0, cols) or `ignore_index`.
    weight : ndarray, optional
        (cols,).
    label_smoothing : float
        0 to 1.

    Returns
    -------
    loss, lse : ndarray
        (rows,) each; lse is ``log(sum(exp(x)))`` of a row, for `cross_entropy_backward`.

    Raises
    ------
    TypeError
        For other types than these.
    ValueError
        Where shapes do not fit or a target is out of range.

    Examples
    --------
    >>> loss, lse = cross_entropy(np.zeros((1, 4)), np.array([2]))
    >>> loss.round(6)
    array([1.386294])
    """
    return _kernels.cross_entropy(x, target, weight, ignore_index, label_smoothing)


def cross_entropy_backward(
    dloss: Floats,
    lse: Floats,
    x: Floats,
    target: npt.NDArray[np.integer],
    weight: Floats | None = None,
    *,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> Floats:
    """Gradient of `cross_entropy` with respect to x, (rows, cols).

    `dloss` is (rows,), or () for one value for all rows; `lse` is what the forward returned; the rest and the errors
    are as there.

    Examples
    --------
    >>> x, target = np.zeros((1, 4)), np.array([2])
    >>> loss, lse = cross_entropy(x, target)
    >>> cross_entropy_backward(np.ones(1), lse, x, target).round(6)
    array([[ 0.25,  0.25, -0.75,  0.25]])
    """
    return _kernels.cross_entropy_backward(dloss, lse, x, target, weight, ignore_index, label_smoothing)


def dropout(x: Floats, p: float, seed: int, offset: int = 0, *, out: Floats | None = None) -> Floats:
    """Zero each element with probability `p` and divide the others by ``1 - p``.

    Element i is decided by word ``i % 4`` of Philox-4x32-10 [1]_ at counter ``offset + i // 4`` under `seed`, so the
    same call always draws the same mask, for every thread count and instruction set.

    Parameters
    ----------
    x : ndarray
        Of any shape, counted in C order.
    p : float
        0 to 1.
    seed, offset : int
        0 to 2**64 - 1.
    out : ndarray, optional
        Of the same shape, C-contiguous; written and returned.

    Raises
    ------
    TypeError
        For anything but NumPy arrays of float32 or float64, all of one type.
    ValueError
        For a number outside its range, or where `out` cannot be written.

    References
    ----------
    .. [1] Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.

    Examples
    --------
    >>> dropout(np.ones(8, np.float32), 0.5, seed=1)
    array([2., 2., 2., 2., 2., 2., 0., 2.], dtype=float32)
    """
    return _kernels.dropout(x, p, _word("dropout", "seed", seed), _word("dropout", "offset", offset), out)


def dropout_mask(out: Floats, p: float, seed: int, offset: int = 0) -> Floats:
    """Fill `out` with the mask of `dropout`: 0 or ``1 / (1 - p)``. Arguments and errors as there.

    Examples
    --------
    >>> dropout_mask(np.empty(4), 0.5, seed=2)
    array([0., 0., 2., 0.])
    """
    return _kernels.dropout_mask(out, p, _word("dropout_mask", "seed", seed), _word("dropout_mask", "offset", offset))


def _word(function: str, name: str, value: int) -> int:
    if not 0 <= index(value) < 2**64:
        raise ValueError(f"{function}: {name} is {value}; expected 0 <= {name} < 2**64")
    return index(value)
