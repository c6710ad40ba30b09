"""Reductions: sums and their kin over axes, arguments of extremes, running sums."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ... import _ops
from ..._ops import Tensor
from .._registry import op
from .._values import array, is_half, numbers, scalar, value


def _reduction(name: str, kernel: Callable, numpy: Callable | None = None, axes_input: int = 18) -> None:
    """A reduction whose axes are an input from opset `axes_input` on, an attribute before."""

    def compute(x: Any, axes: list[int], keepdims: int) -> Any:
        if not isinstance(x, Tensor):
            if numpy is None or is_half(x):
                out = kernel(Tensor(x.astype(np.float32 if is_half(x) else np.float64)), axes, bool(keepdims))
                return out.data.astype(x.dtype)
            return np.asarray(numpy(x, axis=tuple(axes), keepdims=bool(keepdims))).astype(x.dtype)
        return kernel(x, axes, bool(keepdims))

    def new(x: Any, axes: Any = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Any:
        over = [] if axes is None else numbers(axes)
        if not over and noop_with_empty_axes:
            return compute(x, [], keepdims) if name in _POINTWISE else x
        return compute(x, over or list(range(x.ndim)), keepdims)

    def old(x: Any, *, axes: list[int] | None = None, keepdims: int = 1) -> Any:
        return compute(x, list(range(x.ndim)) if axes is None else axes, keepdims)

    op(name, since=axes_input)(new)
    op(name, until=axes_input - 1)(old)


_POINTWISE = ("ReduceSumSquare", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp")


def _extreme(kernel: Callable, empty: float) -> Callable:
    """A greatest or least; of no elements it is infinite."""

    def run(x: Any, axes: list[int], keep: bool) -> Any:
        if all(x.shape[a] for a in axes):
            return kernel(x, axes, keep)
        sizes = [1 if i in {a % x.ndim for a in axes} else n for i, n in enumerate(x.shape)]
        out = _ops.full(sizes, empty, x.dtype)
        return out if keep else out.reshape([n for i, n in enumerate(sizes) if i not in {a % x.ndim for a in axes}])

    return run


def _sum(x: Any, axes: list[int], keep: bool) -> Any:
    return _ops.sum(x, axes, keep) if axes else x


def _prod(x: Any, axes: list[int], keep: bool) -> Any:
    return _ops.prod(x, axes, keep)


def _log_sum_exp(x: Any, axes: list[int], keep: bool) -> Any:
    if all(x.shape[a] for a in axes):
        return _ops.logsumexp(x, axes, keep) if axes else x
    return _ops.log(_ops.sum(_ops.exp(x), axes, keep))


def _numpy_extreme(function: Callable, greatest: bool) -> Callable:
    def run(x: Any, axis: tuple, keepdims: bool) -> Any:
        if x.dtype == bool:
            return (np.any if greatest else np.all)(x, axis=axis, keepdims=keepdims)
        info = np.iinfo(x.dtype)
        return function(x, axis=axis, keepdims=keepdims, initial=info.min if greatest else info.max)

    return run


_reduction("ReduceSum", _sum, np.sum, 13)
_reduction("ReduceMean", lambda x, axes, keep: _ops.mean(x, axes, keep))
_reduction("ReduceMax", _extreme(_ops.amax, -np.inf), _numpy_extreme(np.max, True))
_reduction("ReduceMin", _extreme(_ops.amin, np.inf), _numpy_extreme(np.min, False))
_reduction("ReduceProd", _prod, np.prod)
_reduction("ReduceL1", lambda x, axes, keep: _sum(_ops.abs(x), axes, keep), lambda x, **how: np.sum(np.abs(x), **how))
_reduction("ReduceL2", lambda x, axes, keep: _ops.norm(x, 2, axes, keep) if axes else _ops.abs(x))
_reduction("ReduceSumSquare", lambda x, axes, keep: _sum(x * x, axes, keep), lambda x, **how: np.sum(x * x, **how))
_reduction("ReduceLogSum", lambda x, axes, keep: _ops.log(_sum(x, axes, keep)))
_reduction("ReduceLogSumExp", _log_sum_exp)


def _argument(name: str, function: Callable) -> None:
    def run(x: Any, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Any:
        data = array(x)
        if select_last_index:
            data = np.flip(data, axis)
        found = function(data, axis, None, keepdims=bool(keepdims))
        return np.asarray(data.shape[axis] - 1 - found if select_last_index else found, np.int64)

    op(name)(run)


_argument("ArgMax", np.ndarray.argmax)  # the functions of these names take twice as long
_argument("ArgMin", np.ndarray.argmin)


@op("CumSum")
def cumsum(x: Any, axis: Any, *, exclusive: int = 0, reverse: int = 0) -> Any:
    """Running sums along an axis; `exclusive`: without the element itself; `reverse`: from the end."""
    over = int(scalar(axis)) % x.ndim
    if isinstance(x, Tensor):
        y = _ops.flip(x, over) if reverse else x
        if exclusive and x.shape[over]:  # moved on by one place: taken off again, an element leaves its rounding behind
            y = _ops.pad(y, [*[0] * (2 * (x.ndim - 1 - over)), 1, -1])
        y = _ops.cumsum(y, over)
        return _ops.flip(y, over) if reverse else y
    return _accumulated(x, over, np.add, 0, exclusive, reverse)


@op("CumProd")
def cumprod(x: Any, axis: Any, *, exclusive: int = 0, reverse: int = 0) -> Any:
    """Running products along an axis; `exclusive`: without the element itself; `reverse`: from the end."""
    return value(_accumulated(array(x), int(scalar(axis)) % x.ndim, np.multiply, 1, exclusive, reverse))


def _accumulated(x: np.ndarray, axis: int, ufunc: Any, neutral: int, exclusive: int, reverse: int) -> np.ndarray:
    y = np.flip(x, axis) if reverse else x
    if exclusive and x.shape[axis]:
        sizes = [1 if i == axis else n for i, n in enumerate(x.shape)]
        y = np.concatenate([np.full(sizes, neutral, x.dtype), np.delete(y, -1, axis)], axis)
    y = ufunc.accumulate(y, axis, dtype=x.dtype)
    return np.flip(y, axis) if reverse else y
