"""Convolutions. Images stay channels-last in memory between nodes; volumes are sums of convolutions of their slices."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import _ops
from ..._ops import Tensor
from ..._ops_images import conv1d, conv2d, conv_transpose1d, conv_transpose2d
from .._registry import op
from .._values import array, check_size, numbers, value


def same_pads(
    sizes: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int], upper: bool
) -> list[tuple[int, int]]:
    """(before, after) for each axis, so that the output is ceil(size / stride)."""
    pairs = []
    for n, k, s, d in zip(sizes, kernel, strides, dilations):
        total = max(0, (-(-n // s) - 1) * s + d * (k - 1) + 1 - n)
        small = total // 2
        pairs.append((small, total - small) if upper else (total - small, small))
    return pairs


def window(
    function: str,
    spatial: int,
    strides: Sequence[int] | None,
    dilations: Sequence[int] | None,
    pads: Sequence[int] | None,
) -> tuple[tuple[int, ...], tuple[int, ...], list[tuple[int, int]]]:
    """Strides, dilations and (before, after) for each spatial axis, with their defaults."""
    by = tuple(strides or [1] * spatial)
    apart = tuple(dilations or [1] * spatial)
    around = list(pads or [0] * (2 * spatial))
    if len(by) != spatial or len(apart) != spatial or len(around) != 2 * spatial:
        raise ValueError(f"{function}: strides {by}, dilations {apart}, pads {around} for {spatial} axes")
    return by, apart, list(zip(around[:spatial], around[spatial:]))


@op("Conv", half=True)
def conv(
    x: Any,
    w: Any,
    b: Any = None,
    residual: Any = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: list[int] | None = None,
    group: int = 1,
    kernel_shape: list[int] | None = None,
    pads: list[int] | None = None,
    strides: list[int] | None = None,
    activation: str | None = None,
    max_pool: bool = False,
) -> Any:
    """Convolution of (N, C, ...) with (F, C / group, ...); of images also what a fused Add adds."""
    spatial = x.ndim - 2
    by, apart, around = window("Conv", spatial, strides, dilations, pads)
    if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        around = same_pads(x.shape[2:], w.shape[2:], by, apart, auto_pad == "SAME_UPPER")
    if spatial == 2:
        how = {"activation": activation, "max_pool": max_pool, "residual": residual}
        return conv2d(x, w, b, by, around, apart, group, **how)
    if spatial == 1:
        return conv1d(x, w, b, by[0], around[0], apart[0], group, activation=activation)
    return activated(_conv_nd(x, w, b, by, around, apart, group), activation)


def activated(y: Any, activation: str | None) -> Any:
    """y after an activation that no kernel applies on its way."""
    return y if activation is None else getattr(_ops, activation)(y)


def _conv_nd(x: Tensor, w: Tensor, b: Any, by: Sequence[int], around: Any, apart: Sequence[int], group: int) -> Tensor:
    """Three spatial axes and more: the first one's taps are two-dimensional convolutions, added up."""
    x = _ops.pad(x, [*_none(x.ndim - 3), *around[0]]) if any(around[0]) else x
    reach = apart[0] * (w.shape[2] - 1)
    steps = (x.shape[2] - reach - 1) // by[0] + 1
    if steps < 1:
        raise ValueError(f"Conv: the kernel {w.shape[2:]} reaches beyond the input {x.shape[2:]}")
    total: Any = None
    for tap in range(w.shape[2]):
        start = tap * apart[0]
        part = x[:, :, start : start + (steps - 1) * by[0] + 1 : by[0]]
        out = _slices(part, w[:, :, tap], by[1:], around[1:], apart[1:], group)
        total = out if total is None else total + out
    return total if b is None else total + b.reshape(-1, *[1] * (x.ndim - 2))


def _none(axes: int) -> list[int]:
    return [0] * (2 * axes)


def _slices(x: Tensor, w: Tensor, by: Any, around: Any, apart: Any, group: int) -> Tensor:
    """Every slice of the first spatial axis convolved by itself: slices join the batch."""
    n, c, t = x.shape[:3]
    flat = _ops.permute(x, (0, 2, 1, *range(3, x.ndim))).reshape(n * t, c, *x.shape[3:])
    if flat.ndim == 4:
        y = conv2d(flat, w, None, by, around, apart, group)
    else:
        y = _conv_nd(flat, w, None, by, around, apart, group)
    y = y.reshape(n, t, *y.shape[1:])
    return _ops.permute(y, (0, 2, 1, *range(3, y.ndim)))


@op("ConvTranspose", half=True)
def conv_transpose(
    x: Any,
    w: Any,
    b: Any = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: list[int] | None = None,
    group: int = 1,
    kernel_shape: list[int] | None = None,
    output_padding: list[int] | None = None,
    output_shape: list[int] | None = None,
    pads: list[int] | None = None,
    strides: list[int] | None = None,
    activation: str | None = None,
) -> Any:
    """Transposed convolution of (N, C, ...) with (C, F / group, ...)."""
    spatial = x.ndim - 2
    by, apart, around = window("ConvTranspose", spatial, strides, dilations, pads)
    more = list(output_padding or [0] * spatial)
    if output_shape or auto_pad.startswith("SAME"):
        full = [s * (n - 1) + m + d * (k - 1) + 1 for n, s, m, d, k in zip(x.shape[2:], by, more, apart, w.shape[2:])]
        wanted = output_shape[-spatial:] if output_shape else [n * s for n, s in zip(x.shape[2:], by)]
        cut = [f - o for f, o in zip(full, wanted)]
        upper = auto_pad == "SAME_UPPER"
        around = [(c // 2, c - c // 2) if upper else (c - c // 2, c // 2) for c in cut]
        if not auto_pad.startswith("SAME"):  # a wanted size beyond the full one is zeros behind
            around = [(0, c) if c < 0 else pair for c, pair in zip(cut, around)]
    if spatial == 2 and all(p >= 0 for pair in around for p in pair) and not any(more):
        return conv_transpose2d(x, w, b, by, around, 0, group, apart, activation=activation)
    if spatial == 1 and all(p >= 0 for p in around[0]) and not more[0]:
        return conv_transpose1d(x, w, b, by[0], around[0], 0, group, apart[0], activation=activation)
    y = _transposed(x, w, by, apart, group)
    pads_after = [(-before, m - after) for (before, after), m in zip(around, more)]
    y = _ops.pad(y, [n for pair in reversed(pads_after) for n in pair])
    return activated(y if b is None else y + b.reshape(-1, *[1] * spatial), activation)


def _transposed(x: Tensor, w: Tensor, by: Sequence[int], apart: Sequence[int], group: int) -> Tensor:
    """Without padding. Three axes and more: each tap of the first paints its slices, as `_conv_nd` reads them."""
    if x.ndim == 4:
        return conv_transpose2d(x, w, None, tuple(by), 0, 0, group, tuple(apart))
    if x.ndim == 3:
        return conv_transpose1d(x, w, None, by[0], 0, 0, group, apart[0])
    n, c, t = x.shape[:3]
    flat = _ops.permute(x, (0, 2, 1, *range(3, x.ndim))).reshape(n * t, c, *x.shape[3:])
    length = (t - 1) * by[0] + apart[0] * (w.shape[2] - 1) + 1
    total: Any = None
    for tap in range(w.shape[2]):
        y = _transposed(flat, w[:, :, tap], by[1:], apart[1:], group)
        y = _ops.permute(y.reshape(n, t, *y.shape[1:]), (0, 2, 1, *range(3, y.ndim + 1)))
        y = _spread(y, by[0], tap * apart[0], length)
        total = y if total is None else total + y
    return total


def _spread(y: Tensor, step: int, start: int, length: int) -> Tensor:
    """y's third axis with step - 1 zeros between its elements, from `start` on in `length` places."""
    rest = y.ndim - 3
    if step > 1:
        y = _ops.pad(_ops.unsqueeze(y, 3), [*_none(rest), 0, step - 1])
        y = y.reshape(*y.shape[:2], y.shape[2] * step, *y.shape[4:])[:, :, : 1 - step]
    return _ops.pad(y, [*_none(rest), start, length - start - y.shape[2]])


@op("CausalConvWithState", half=True)
def causal_conv(x: Any, w: Any, b: Any = None, past: Any = None, *, activation: str = "none") -> Any:
    """A depthwise convolution of what was, and the last k - 1 steps for the next call."""
    k = w.shape[2]
    whole = _ops.pad(x, [k - 1, 0]) if past is None else _ops.cat([past, x], 2)
    y = conv1d(whole, w, b, groups=w.shape[0], activation="silu" if activation in ("silu", "swish") else None)
    return y, whole[:, :, whole.shape[2] - (k - 1) :]


@op("Col2Im", half=True)
def col2im(
    x: Any,
    image_shape: Any,
    block_shape: Any,
    *,
    dilations: list[int] | None = None,
    pads: list[int] | None = None,
    strides: list[int] | None = None,
) -> Any:
    """Blocks (N, C k..., L) added into images where they overlap."""
    data, sizes, block = array(x), numbers(image_shape), numbers(block_shape)
    by, apart, around = window("Col2Im", len(sizes), strides, dilations, pads)
    padded = [n + b + e for n, (b, e) in zip(sizes, around)]
    counts = [(n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(padded, block, by, apart)]
    channels = data.shape[1] // math.prod(block)
    check_size("Col2Im", (data.shape[0], channels, *padded), 8)
    out = np.zeros((data.shape[0], channels, *padded), data.dtype)
    blocks = data.reshape(data.shape[0], channels, *block, *counts)
    for tap in np.ndindex(*block):
        key: Any = tuple(slice(t * d, t * d + (m - 1) * s + 1, s) for t, d, s, m in zip(tap, apart, by, counts))
        out[(..., *key)] += blocks[(slice(None), slice(None), *tap)]
    inner: Any = tuple(slice(b, b + n) for n, (b, _) in zip(sizes, around))
    return value(np.ascontiguousarray(out[(..., *inner)]))
