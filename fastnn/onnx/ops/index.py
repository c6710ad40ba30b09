"""Operators that pick, scatter, sort and count."""

from typing import Any

import numpy as np

from ... import _ops
from ..._ops import Tensor
from ..._ops_embedding import embedding
from .. import _values
from .._registry import op
from .._values import array, check_size, numbers, recorded, scalar, value


@op("Gather")
def gather(x: Any, index: Any, *, axis: int = 0) -> Any:
    """Slices of x along an axis, by numbers that may count from the end."""
    axis %= max(x.ndim, 1)
    if not isinstance(x, Tensor):
        return np.asarray(np.take(x, index, axis))
    n = x.shape[axis]
    if index.ndim == 0:
        return x[(slice(None),) * axis + (int(index),)]
    if axis == 0 and x.ndim == 2:
        try:
            return embedding(index, x)
        except IndexError:
            if index.min(initial=0) >= 0 or index.min(initial=0) < -n:
                raise
            return embedding(np.where(index < 0, index + n, index), x)
    if index.size and not (-n <= index.min() and index.max() < n):
        raise IndexError(f"Gather: an index is out of range for axis {axis} of size {n}")
    out = _ops.index_select(x, axis, np.where(index < 0, index + n, index).reshape(-1))
    return out.reshape(*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])


@op("GatherElements")
def gather_elements(x: Any, index: Any, *, axis: int = 0) -> Any:
    """One element of x for each number of `index`, along an axis."""
    index = np.where(index < 0, index + x.shape[axis], index)
    if isinstance(x, Tensor):
        return _ops.gather(x, axis, index)
    common = tuple(slice(n) for n in index.shape)  # index may be smaller on every axis; NumPy wants the others alike
    axis %= x.ndim
    return np.take_along_axis(x[(*common[:axis], slice(None), *common[axis + 1 :])], index, axis)


@op("GatherND")
def gather_nd(x: Any, index: Any, *, batch_dims: int = 0) -> Any:
    """x at the places that the last axis of `index` names, behind `batch_dims` common axes."""
    places = tuple(np.moveaxis(index, -1, 0))
    if batch_dims:
        common = np.ogrid[tuple(slice(n) for n in index.shape[:batch_dims])]
        more = index.ndim - 1 - batch_dims
        places = tuple(g.reshape(*g.shape, *[1] * more) for g in common) + places
    return x[places] if isinstance(x, Tensor) else np.asarray(x[places])


_REDUCE: dict[str, Any] = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}


@op("ScatterElements", "Scatter")
def scatter_elements(x: Any, index: Any, updates: Any, *, axis: int = 0, reduction: str = "none") -> Any:
    """x with elements replaced by, or combined with, those of `updates`."""
    axis %= x.ndim
    index = np.where(index < 0, index + x.shape[axis], index)
    if isinstance(x, Tensor) and reduction == "add":
        return _ops.scatter_add(x, axis, index, updates)
    places = list(np.ogrid[tuple(slice(n) for n in index.shape)])
    places[axis] = index
    return _put(x, tuple(places), updates, reduction)


@op("ScatterND")
def scatter_nd(x: Any, index: Any, updates: Any, *, reduction: str = "none") -> Any:
    """x with slices replaced by, or combined with, those of `updates`, at the places the last axis of `index` names."""
    return _put(x, tuple(np.moveaxis(index, -1, 0)), updates, reduction)


def _put(x: Any, places: tuple, updates: Any, reduction: str) -> Any:
    if reduction in ("none", "add") and (recorded(x) or recorded(updates)):
        return _put_recorded(x, places, updates, reduction == "add")
    out = array(x).copy()
    if reduction == "none":
        out[places] = array(updates)
    elif reduction in _REDUCE:
        _REDUCE[reduction].at(out, places, array(updates))
    else:
        raise ValueError(f"Scatter: unknown reduction {reduction!r}")
    return value(out)


def _put_recorded(x: Tensor, places: tuple, updates: Tensor, add: bool) -> Tensor:
    """The same by operations that gradients pass through, on both laid out flat."""
    at = np.arange(x.size).reshape(x.shape)[places]  # where in x each of the updates goes
    if not at.size:
        return x
    flat, new = x.reshape(-1), _ops.broadcast_to(updates, at.shape).reshape(-1)
    if add:
        return _ops.scatter_add(flat, 0, at.reshape(-1), new).reshape(x.shape)
    which = np.full(x.size, -1)  # for each of x's places the update that it gets, the last of several
    which[at.reshape(-1)] = np.arange(at.size)
    return _ops.where(which >= 0, _ops.index_select(new, 0, np.maximum(which, 0)), flat).reshape(x.shape)


@op("TensorScatter")
def tensor_scatter(past: Any, update: Any, start: Any = None, *, mode: str = "linear", axis: int = -2) -> Any:
    """A cache with an update written into each sample from its own place on."""
    axis %= past.ndim
    out = np.moveaxis(array(past), axis, 1).copy()
    new = np.moveaxis(array(update), axis, 1)
    n, most = new.shape[1], out.shape[1]
    begin = np.zeros(len(out), np.int64) if start is None else np.asarray(start)
    steps = begin[:, None] + np.arange(n)
    if mode == "circular":
        steps %= most
    elif steps.size and (steps.min() < 0 or steps.max() >= most):
        raise IndexError(f"TensorScatter: {n} steps from {begin.tolist()} on do not fit {most}")
    out[np.arange(len(out))[:, None], steps] = new
    return value(np.moveaxis(out, 1, axis))


@op("ArrayFeatureExtractor", domain="ai.onnx.ml")
def array_feature_extractor(x: Any, index: Any) -> Any:
    """Elements of the last axis."""
    out = x[..., np.ravel(index)]
    return value(out.reshape(1, -1) if out.ndim == 1 else out)


@op("OneHot", control=(1, 2))
def one_hot(index: Any, depth: Any, values: Any, *, axis: int = -1) -> Any:
    """`values[1]` where an axis of `depth` equals the index, `values[0]` elsewhere."""
    index = array(index).astype(np.int64)
    n = int(scalar(depth))
    ndim = index.ndim + 1
    axis = axis % ndim
    check_size("OneHot", (*index.shape, n), 8)
    index = np.where(index < 0, index + n, index)
    hot = np.expand_dims(index, axis) == np.arange(n).reshape([-1 if i == axis else 1 for i in range(ndim)])
    off, on = array(values)
    return value(np.where(hot, on, off).astype(array(values).dtype))


@op("TopK", since=10)
def top_k(x: Any, k: Any, *, axis: int = -1, largest: int = 1, sorted: int = 1) -> Any:
    """The k greatest (or least) along an axis and where they stand; of equals the first comes first."""
    data = array(x)
    axis %= data.ndim
    count = int(scalar(k))
    if not 0 <= count <= data.shape[axis]:
        raise ValueError(f"TopK: {count} of {data.shape[axis]}")
    keys = data
    if largest:  # a stable sort of what is turned over, so that equals keep their order
        keys = ~data if data.dtype.kind in "iub" else -data
    order = np.argsort(keys, axis, kind="stable")
    where = np.take(order, np.arange(count), axis)
    return (_ops.gather(x, axis, where) if isinstance(x, Tensor) else np.take_along_axis(x, where, axis)), where


@op("TopK", until=9)
def old_top_k(x: Any, *, k: int, axis: int = -1) -> Any:
    """The k greatest along an axis and where they stand."""
    return top_k(x, np.array(k), axis=axis)


@op("NonZero")
def non_zero(x: Any) -> Any:
    """Where x is not zero: a row for each axis."""
    found = np.nonzero(np.atleast_1d(array(x)))
    return np.array(found, np.int64).reshape(max(x.ndim, 1), -1)


@op("Compress")
def compress(x: Any, condition: Any, *, axis: int | None = None) -> Any:
    """Slices along an axis (of all elements in a row, by default) where the condition holds."""
    where = np.flatnonzero(condition)
    if isinstance(x, Tensor):
        return _ops.index_select(x.reshape(-1) if axis is None else x, axis or 0, where)
    return np.take(x, where, axis)


@op("Unique")
def unique(x: Any, *, axis: int | None = None, sorted: int = 1) -> Any:
    """Each value once, where it first stands, which it is for each element, how often it is there."""
    data = array(x)
    found, first, inverse, counts = np.unique(data, True, True, True, axis)
    inverse = inverse.reshape(-1)
    if not sorted:
        order = np.argsort(first, kind="stable")
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        found, first, inverse, counts = np.take(found, order, axis or 0), first[order], rank[inverse], counts[order]
    return value(found), first.astype(np.int64), inverse.astype(np.int64), counts.astype(np.int64)


@op("EyeLike")
def eye_like(x: Any, *, dtype: int | None = None, k: int = 0) -> Any:
    """Ones on a diagonal of a matrix of x's shape."""
    from .cast import numpy_type

    rows, columns = x.shape
    return value(np.eye(rows, columns, k, array(x).dtype if dtype is None else numpy_type(dtype)))


@op("ConstantOfShape")
def constant_of_shape(shape: Any, *, value: np.ndarray | None = None) -> Any:
    """One value (0.0 by default) in a shape."""
    fill = np.zeros(1, np.float32) if value is None else value
    sizes = check_size("ConstantOfShape", numbers(shape), fill.dtype.itemsize)
    return _values.value(np.full(sizes, fill.reshape(()), fill.dtype))


@op("Range")
def range_(start: Any, limit: Any, delta: Any) -> Any:
    """From start by delta to before the limit."""
    first, last, step = (array(v).reshape(()) for v in (start, limit, delta))
    if step == 0:
        raise ValueError("Range: a step of 0")
    check_size("Range", [max(0, int(np.ceil((float(last) - float(first)) / float(step))))], 8)
    count = max(0, int(np.ceil((last - first) / step)))
    return value((first + np.arange(count) * step).astype(first.dtype))
