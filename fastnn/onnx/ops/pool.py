"""Pools. One and two axes by the kernels; others, and what the kernels do not know, over NumPy's windows."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import _ops
from ..._ops import Tensor
from ..._ops_images import adaptive_avg_pool2d, avg_pool2d, max_pool2d
from .._registry import op
from .._values import array, recorded, value
from .conv import same_pads, window

Pairs = list[tuple[int, int]]


def geometry(
    function: str,
    shape: Sequence[int],
    kernel: Sequence[int],
    strides: Any,
    dilations: Any,
    pads: Any,
    auto_pad: str,
    ceil: int,
) -> tuple[tuple[int, ...], tuple[int, ...], Pairs, list[int]]:
    """Strides, dilations, pads, and how many windows there are along each axis of an input of this shape."""
    by, apart, around = window(function, len(shape) - 2, strides, dilations, pads)
    if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        around = same_pads(shape[2:], kernel, by, apart, auto_pad == "SAME_UPPER")
    counts = []
    for n, k, s, d, (before, after) in zip(shape[2:], kernel, by, apart, around):
        room = n + before + after - d * (k - 1) - 1
        count = (-(-room // s) if ceil else room // s) + 1
        if ceil and (count - 1) * s >= n + before:  # a window must not begin behind the image
            count -= 1
        if count < 1:
            raise ValueError(f"{function}: a window of {list(kernel)} does not fit an input of {tuple(shape)}")
        counts.append(count)
    return by, apart, around, counts


def even(around: Pairs, kernel: Sequence[int]) -> bool:
    """Whether a kernel takes these pads: the same before and after, at most half a window."""
    return all(b == e and 0 <= b <= k // 2 for (b, e), k in zip(around, kernel))


@op("MaxPool", half=True)
def max_pool(
    x: Any,
    *,
    kernel_shape: list[int],
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: list[int] | None = None,
    pads: list[int] | None = None,
    strides: list[int] | None = None,
    storage_order: int = 0,
    outputs: int = 1,
) -> Any:
    """The greatest of each window, and where it stood."""
    by, apart, around, counts = geometry(
        "MaxPool", x.shape, kernel_shape, strides, dilations, pads, auto_pad, ceil_mode
    )
    if outputs == 1 and isinstance(x, Tensor) and x.ndim == 4 and even(around, kernel_shape):
        padding = tuple(b for b, _ in around)
        return max_pool2d(x, tuple(kernel_shape), by, padding, apart, bool(ceil_mode))
    if outputs == 1 and isinstance(x, Tensor) and x.ndim == 3:
        wide = max_pool(
            _ops.unsqueeze(x, 2),
            kernel_shape=[1, *kernel_shape],
            pads=[0, around[0][0], 0, around[0][1]],
            strides=[1, *by],
            dilations=[1, *apart],
            ceil_mode=ceil_mode,
        )
        return _ops.squeeze(wide, 2)
    return _max_windows(x, kernel_shape, by, apart, around, counts, storage_order, outputs)


def _max_windows(x: Any, kernel: Any, by: Any, apart: Any, around: Pairs, counts: Any, order: int, outputs: int) -> Any:
    """Any number of axes: the kernel's taps one after another."""
    data = array(x)
    if outputs == 1 and isinstance(x, Tensor):
        padded = _ops.pad(x, _flat(_room(x, kernel, by, apart, around, counts)), value=-math.inf)
        taps = [padded[key] for key in _taps(kernel, by, apart, counts)]
        best: Any = taps[0]
        for tap in taps[1:]:
            best = _ops.maximum(best, tap)
        return best
    if recorded(x):  # the values once more, as above
        _, where = _max_windows(x.detach(), kernel, by, apart, around, counts, order, outputs)
        return _max_windows(x, kernel, by, apart, around, counts, order, 1), where
    low = -np.inf if data.dtype.kind == "f" else np.iinfo(data.dtype).min
    index = np.arange(math.prod(data.shape)).reshape(data.shape)
    if order:  # column-major within an image
        within = np.arange(math.prod(data.shape[2:])).reshape(data.shape[2:], order="F")
        index = np.arange(math.prod(data.shape[:2])).reshape(*data.shape[:2], *[1] * len(kernel)) * within.size + within
    pairs = [(0, 0), (0, 0), *_room(x, kernel, by, apart, around, counts)]
    values, places = np.pad(data, pairs, constant_values=low), np.pad(index, pairs, constant_values=-1)
    out = where = None
    for key in _taps(kernel, by, apart, counts):
        v, p = values[key], places[key]
        if out is None or where is None:
            out, where = v.copy(), p.copy()
        else:
            better = (v > out) | ((where < 0) & (p >= 0))
            out, where = np.where(better, v, out), np.where(better, p, where)
    return (value(out), where) if outputs > 1 else value(out)


def _room(x: Any, kernel: Any, by: Any, apart: Any, around: Pairs, counts: Any) -> Pairs:
    """The pads, with what the last window needs behind."""
    last = [(m - 1) * s + d * (k - 1) + 1 for m, s, d, k in zip(counts, by, apart, kernel)]
    return [(b, max(e, need - n - b)) for n, (b, e), need in zip(x.shape[2:], around, last)]


def _flat(pairs: Pairs) -> list[int]:
    return [n for pair in reversed(pairs) for n in pair]


def _taps(kernel: Any, by: Any, apart: Any, counts: Any) -> list[tuple]:
    """For each place in a window, where its values stand in the padded image."""
    keys = []
    for tap in np.ndindex(*kernel):
        bounds = zip(tap, by, apart, counts)
        keys.append((slice(None), slice(None), *(slice(t * d, t * d + (m - 1) * s + 1, s) for t, s, d, m in bounds)))
    return keys


@op("AveragePool", half=True)
def average_pool(
    x: Any,
    *,
    kernel_shape: list[int],
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
    dilations: list[int] | None = None,
    pads: list[int] | None = None,
    strides: list[int] | None = None,
) -> Any:
    """The mean of each window, of the image's pixels alone or with those of the pads."""
    by, apart, around, counts = geometry(
        "AveragePool", x.shape, kernel_shape, strides, dilations, pads, auto_pad, ceil_mode
    )
    if x.ndim == 4 and max(apart) == 1 and even(around, kernel_shape):
        padding = tuple(b for b, _ in around)
        return avg_pool2d(x, tuple(kernel_shape), by, padding, bool(ceil_mode), bool(count_include_pad))
    total = _sums(x, kernel_shape, by, apart, around, counts)
    ones = np.ones((1, 1, *x.shape[2:]), x.dtype)
    if count_include_pad:
        ones = np.pad(ones, [(0, 0), (0, 0), *around], constant_values=1)
        around = [(0, 0)] * len(kernel_shape)
    inside = _sums(Tensor(ones), kernel_shape, by, apart, around, counts)
    return total / inside


def _sums(x: Tensor, kernel: Any, by: Any, apart: Any, around: Pairs, counts: Any) -> Any:
    padded = _ops.pad(x, _flat(_room(x, kernel, by, apart, around, counts)))
    total: Any = None
    for key in _taps(kernel, by, apart, counts):
        total = padded[key] if total is None else total + padded[key]
    return total


@op("LpPool", half=True)
def lp_pool(
    x: Any,
    *,
    kernel_shape: list[int],
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: list[int] | None = None,
    p: float = 2,
    pads: list[int] | None = None,
    strides: list[int] | None = None,
) -> Any:
    """The p-norm of each window."""
    by, apart, around, counts = geometry("LpPool", x.shape, kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
    powers = x * x if p == 2 else _ops.pow(_ops.abs(x), p)
    return _ops.pow(_sums(powers, kernel_shape, by, apart, around, counts), 1 / p)


def _spatial(x: Any) -> list[int]:
    return list(range(2, x.ndim))


@op("GlobalAveragePool", half=True)
def global_average_pool(x: Any) -> Any:
    """The mean of each channel."""
    if x.ndim == 4:
        return adaptive_avg_pool2d(x, 1)
    return _ops.mean(x, _spatial(x), True)


@op("GlobalMaxPool", half=True)
def global_max_pool(x: Any) -> Any:
    """The greatest of each channel."""
    return _ops.amax(x, _spatial(x), True)


@op("GlobalLpPool", half=True)
def global_lp_pool(x: Any, *, p: float = 2) -> Any:
    """The p-norm of each channel."""
    return _ops.pow(_ops.sum(_ops.pow(_ops.abs(x), p), _spatial(x), True), 1 / p)


@op("MaxUnpool", half=True)
def max_unpool(
    x: Any,
    index: Any,
    output_shape: Any = None,
    *,
    kernel_shape: list[int],
    pads: list[int] | None = None,
    strides: list[int] | None = None,
) -> Any:
    """What a MaxPool took, back where it stood; 0 elsewhere."""
    by, _, around = window("MaxUnpool", x.ndim - 2, strides, None, pads)
    sizes = [(n - 1) * s + k - b - e for n, s, k, (b, e) in zip(x.shape[2:], by, kernel_shape, around)]
    plain = (*x.shape[:2], *sizes)
    out = np.zeros(math.prod(plain), x.dtype)
    out[np.ravel(index)] = array(x).ravel()
    made = out.reshape(plain)
    if output_shape is None:
        return value(made)
    grown = np.zeros([int(n) for n in np.ravel(output_shape)], x.dtype)
    grown[tuple(slice(0, n) for n in plain)] = made
    return value(grown)
