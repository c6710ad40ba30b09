"""Reductions, products, order and sets under the standard's names."""

import builtins
import math
from typing import Any, NamedTuple

import numpy as np

from .. import _ops
from .._ops import Tensor, as_tensor
from ._dtypes import int64, result_type, uint64
from ._make import ones, zeros


def _summand(x: Tensor, dtype: Any) -> Tensor:
    """Return x in the dtype to add it up in: sums of unsigned integers are uint64, of bool int64, a count."""
    if dtype is not None:
        return x.to(dtype)
    return x.to(uint64) if x.dtype.kind == "u" else x.to(int64) if x.dtype.kind in "ib" else x


def sum(x: Tensor, /, *, axis: Any = None, dtype: Any = None, keepdims: builtins.bool = False) -> Tensor:
    """Return the sum over `axis`, all axes by default."""
    x = _summand(x, dtype)
    if x.dtype.kind == "f":
        return _ops.sum(x, axis, keepdims)
    return as_tensor(np.sum(x.data, axis=axis, keepdims=keepdims, dtype=x.dtype))


def prod(x: Tensor, /, *, axis: Any = None, dtype: Any = None, keepdims: builtins.bool = False) -> Tensor:
    """Return the product over `axis`, all axes by default."""
    x = _summand(x, dtype)
    if x.dtype.kind == "f":
        return _ops.prod(x, axis, keepdims)
    return as_tensor(np.prod(x.data, axis=axis, keepdims=keepdims, dtype=x.dtype))


def mean(x: Tensor, /, *, axis: Any = None, keepdims: builtins.bool = False) -> Tensor:
    """Return the mean over `axis`, all axes by default."""
    return _ops.mean(x, axis, keepdims)


def var(x: Tensor, /, *, axis: Any = None, correction: float = 0.0, keepdims: builtins.bool = False) -> Tensor:
    """Return the variance over `axis`, with n - correction in the denominator."""
    return _ops.var(x, axis, correction, keepdims)


def std(x: Tensor, /, *, axis: Any = None, correction: float = 0.0, keepdims: builtins.bool = False) -> Tensor:
    """Return the root of `var`."""
    return _ops.std(x, axis, correction, keepdims)


def max(x: Tensor, /, *, axis: Any = None, keepdims: builtins.bool = False) -> Tensor:
    """Return the largest value over `axis`."""
    return _ops.amax(x, axis, keepdims)


def min(x: Tensor, /, *, axis: Any = None, keepdims: builtins.bool = False) -> Tensor:
    """Return the smallest value over `axis`."""
    return _ops.amin(x, axis, keepdims)


def all(x: Tensor, /, *, axis: Any = None, keepdims: builtins.bool = False) -> Tensor:
    """Whether all elements over `axis` are true."""
    return _ops.all(x, axis, keepdims)


def any(x: Tensor, /, *, axis: Any = None, keepdims: builtins.bool = False) -> Tensor:
    """Whether any element over `axis` is true."""
    return _ops.any(x, axis, keepdims)


def argmax(x: Tensor, /, *, axis: int | None = None, keepdims: builtins.bool = False) -> Tensor:
    """Return the position of the first largest value along `axis`."""
    return _ops.argmax(x, axis, keepdims)


def argmin(x: Tensor, /, *, axis: int | None = None, keepdims: builtins.bool = False) -> Tensor:
    """Return the position of the first smallest value along `axis`."""
    return _ops.argmin(x, axis, keepdims)


def count_nonzero(x: Tensor, /, *, axis: Any = None, keepdims: builtins.bool = False) -> Tensor:
    """Return how many elements over `axis` are not zero."""
    return as_tensor(np.asarray(np.count_nonzero(x.data, axis=axis, keepdims=keepdims)))


def cumulative_sum(
    x: Tensor, /, *, axis: int | None = None, dtype: Any = None, include_initial: builtins.bool = False
) -> Tensor:
    """Return the running sum along `axis`, from the first element or (`include_initial`) from zero."""
    x = _summand(x, dtype)
    axis = only_axis("cumulative_sum", x, axis)
    total = _ops.cumsum(x, axis) if x.dtype.kind == "f" else as_tensor(np.cumsum(x.data, axis, x.dtype))
    return _after(total, zeros, axis) if include_initial else total


def cumulative_prod(
    x: Tensor, /, *, axis: int | None = None, dtype: Any = None, include_initial: builtins.bool = False
) -> Tensor:
    """Return the running product along `axis`, from the first element or (`include_initial`) from one; no gradient."""
    x = _summand(x, dtype)
    axis = only_axis("cumulative_prod", x, axis)
    total: Any = np.cumprod(x, axis, x.dtype)  # of x, not of its data: it refuses to lose a gradient
    return _after(total, ones, axis) if include_initial else total


def only_axis(name: str, x: Tensor, axis: int | None) -> int:
    if axis is None and x.ndim != 1:
        raise ValueError(f"{name}: axis must be given for {x.ndim} dimensions")
    return 0 if axis is None else axis


def _after(x: Tensor, first: Any, axis: int) -> Tensor:
    """Return x with one more slice in front along an axis."""
    shape = list(x.shape)
    shape[axis] = 1
    return _ops.cat([first(tuple(shape), dtype=x.dtype), x], axis)


def diff(x: Tensor, /, *, axis: int = -1, n: int = 1, prepend: Any = None, append: Any = None) -> Tensor:
    """Return the n-th differences of neighbours along `axis`."""
    x = _ops.cat([part for part in (prepend, x, append) if part is not None], axis)
    front = (slice(None),) * (axis % x.ndim)
    for _ in range(n):
        x = x[(*front, slice(1, None))] - x[(*front, slice(None, -1))]
    return x


# ----- order, search, sets -----


def sort(x: Tensor, /, *, axis: int = -1, descending: builtins.bool = False, stable: builtins.bool = True) -> Tensor:
    """Return the values in order along `axis`."""
    return _ops.sort(x, axis, descending)


def argsort(x: Tensor, /, *, axis: int = -1, descending: builtins.bool = False, stable: builtins.bool = True) -> Tensor:
    """Return the positions that sort x along `axis`."""
    return _ops.argsort(x, axis, descending)


def nonzero(x: Tensor, /) -> tuple[Tensor, ...]:
    """Return the positions of what is not zero, one Tensor per axis."""
    return tuple(as_tensor(where) for where in np.nonzero(x.data))


def searchsorted(x1: Tensor, x2: Tensor, /, *, side: Any = "left", sorter: Tensor | None = None) -> Tensor:
    """Return where the values x2 would go into the sorted x1."""
    order = None if sorter is None else sorter.data
    return as_tensor(np.asarray(np.searchsorted(x1.data, x2.data, side, order)))


class UniqueAll(NamedTuple):
    """What `unique_all` returns."""

    values: Tensor
    indices: Tensor
    inverse_indices: Tensor
    counts: Tensor


class UniqueCounts(NamedTuple):
    """What `unique_counts` returns."""

    values: Tensor
    counts: Tensor


class UniqueInverse(NamedTuple):
    """What `unique_inverse` returns."""

    values: Tensor
    inverse_indices: Tensor


def unique_all(x: Tensor, /) -> UniqueAll:
    """Return the values of x without repetitions, where each first stands, where elements went, how often each came."""
    values, indices, inverse, counts = _unique(x, True, True, True)
    return UniqueAll(values, indices, inverse.reshape(x.shape), counts)


def unique_counts(x: Tensor, /) -> UniqueCounts:
    """Return the values of x without repetitions and how often each came."""
    return UniqueCounts(*_unique(x, False, False, True))


def unique_inverse(x: Tensor, /) -> UniqueInverse:
    """Return the values of x without repetitions and where each element of x went."""
    values, inverse = _unique(x, False, True, False)
    return UniqueInverse(values, inverse.reshape(x.shape))


def unique_values(x: Tensor, /) -> Tensor:
    """Return the values of x without repetitions."""
    return _unique(x, False, False, False)


def _unique(x: Any, index: builtins.bool, inverse: builtins.bool, counts: builtins.bool) -> Any:
    """Return what NumPy does of x itself, not of its data: it refuses to lose a gradient."""
    return np.unique(x, index, inverse, counts, equal_nan=False)  # type: ignore[call-overload]


# ----- products -----


def vecdot(x1: Tensor, x2: Tensor, /, *, axis: int = -1) -> Tensor:
    """Return the scalar products of vectors along an axis; the other axes broadcast."""
    return sum(_ops.mul(x1, x2), axis=axis, dtype=result_type(x1, x2))


def tensordot(x1: Tensor, x2: Tensor, /, *, axes: Any = 2) -> Tensor:
    """Return the products summed over the last axes of x1 and the first of x2, or over named ones."""
    if isinstance(axes, int):
        axes = range(x1.ndim - axes, x1.ndim), range(axes)
    over1, over2 = ([d % x.ndim for d in which] for x, which in zip((x1, x2), axes))
    free1 = [d for d in range(x1.ndim) if d not in over1]
    free2 = [d for d in range(x2.ndim) if d not in over2]
    size = math.prod(x1.shape[d] for d in over1)
    rows = _ops.permute(x1, (*free1, *over1)).reshape(math.prod(x1.shape[d] for d in free1), size)
    columns = _ops.permute(x2, (*over2, *free2)).reshape(size, math.prod(x2.shape[d] for d in free2))
    return _ops.matmul(rows, columns).reshape(*(x1.shape[d] for d in free1), *(x2.shape[d] for d in free2))
