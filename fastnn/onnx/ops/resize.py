"""Resize and Upsample. What fastnn's `interpolate` knows, it does; else each axis is a matrix of weights.

y = W x along the axis, W (out, in): one 1 a row for "nearest", two numbers for "linear", four for "cubic"
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ... import _ops
from ..._ops import Tensor
from ..._ops_images import interpolate
from .._registry import op
from .._values import array, check_size, numbers, value


@dataclass(frozen=True)
class Sampling:
    """How an axis is sampled: the attributes of Resize."""

    mode: str = "nearest"
    where: str = "half_pixel"
    nearest: str = "round_prefer_floor"
    cubic: float = -0.75
    antialias: bool = False
    exclude: bool = False
    extrapolation: float = 0.0


def _coordinates(n: int, out: int, scale: float, roi: tuple[float, float], where: str) -> np.ndarray:
    """For each output place, where it lies in the input."""
    x = np.arange(out, dtype=np.float64)
    if where == "asymmetric":
        return x / scale
    if where == "align_corners":
        width = scale * n
        return x * (n - 1) / (width - 1) if width != 1 else np.zeros(out)
    if where == "tf_crop_and_resize":
        start, end = roi
        if out == 1:
            return np.full(1, 0.5 * (start + end) * (n - 1))
        return start * (n - 1) + x * (end - start) * (n - 1) / (out - 1)
    centred = (x + 0.5) / scale - 0.5
    if where == "pytorch_half_pixel":
        return centred if out > 1 else np.zeros(out)
    if where == "half_pixel_symmetric":
        return n / 2 * (1 - out / (scale * n)) + centred
    if where != "half_pixel":
        raise ValueError(f"Resize: unknown coordinate_transformation_mode {where!r}")
    return centred


def _nearest(at: np.ndarray, how: str) -> np.ndarray:
    if how == "floor":
        return np.floor(at)
    if how == "ceil":
        return np.ceil(at)
    return np.ceil(at - 0.5) if how == "round_prefer_floor" else np.floor(at + 0.5)


def _cubic(d: np.ndarray, a: float) -> np.ndarray:
    d = np.abs(d)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0))


def _weights(n: int, at: np.ndarray, scale: float, how: Sampling) -> np.ndarray:
    """(out, in): a row's weights add up to 1; beyond an end the end's pixel stands."""
    shrink = min(1.0, scale) if how.antialias else 1.0
    reach = math.ceil((1 if how.mode == "linear" else 2) / shrink)
    taps = np.floor(at)[:, None] + np.arange(-reach, reach + 2)
    d = (taps - at[:, None]) * shrink
    w = np.maximum(0, 1 - np.abs(d)) if how.mode == "linear" else _cubic(d, how.cubic)
    if how.exclude:
        w = np.where((taps >= 0) & (taps < n), w, 0)
    w = w / w.sum(1, keepdims=True)
    matrix = np.zeros((len(at), n))
    np.add.at(matrix, (np.arange(len(at))[:, None], np.clip(taps, 0, n - 1).astype(np.int64)), w)
    return matrix


def _along(x: Any, axis: int, out: int, scale: float, roi: tuple[float, float], how: Sampling) -> Any:
    """x with one axis resampled."""
    n = x.shape[axis]
    at = _coordinates(n, out, scale, roi, how.where)
    if how.mode == "nearest":
        # As float32, in which scales are given: 8 divided by 1.6 is 5 there, and a little less in float64.
        index = np.clip(_nearest(at.astype(np.float32), how.nearest), 0, n - 1).astype(np.int64)
        return _ops.index_select(x, axis, index) if isinstance(x, Tensor) else np.take(x, index, axis)
    w = _weights(n, at, scale, how)
    if not isinstance(x, Tensor):
        return np.moveaxis(np.tensordot(w, x.astype(np.float64), (1, axis)), 0, axis)
    moved = _ops.transpose(x, axis, -1)
    return _ops.transpose(_ops.matmul(moved, Tensor(w.T.astype(x.dtype))), axis, -1)


def _scaled(n: int, scale: float) -> int:
    """A size times a float32 scale, rounded as float32: ten times 0.7 is 7, though that scale is a little less."""
    return math.floor(np.float32(n) * np.float32(scale))


def _policy(x: Any, sizes: list[int], axes: list[int], policy: str) -> tuple[list[int], list[float]]:
    """Output sizes and scales from wanted sizes."""
    scales = [s / x.shape[a] for s, a in zip(sizes, axes)]
    if policy == "stretch":
        return sizes, scales
    scale = min(scales) if policy == "not_larger" else max(scales)
    return [math.floor(scale * x.shape[a] + 0.5) for a in axes], [scale] * len(axes)


def _interpolated(x: Any, axes: Sequence[int], sizes: list[int], scales: list[float], how: Sampling) -> Any:
    """By fastnn's kernel, None where it samples otherwise."""
    if not isinstance(x, Tensor) or x.ndim != 4 or list(axes) != [2, 3] or how.antialias or how.exclude:
        return None
    if any(s != n * scale for s, n, scale in zip(sizes, x.shape[2:], scales)):
        return None
    if how.mode == "nearest" and how.where == "asymmetric" and how.nearest == "floor":
        return interpolate(x, tuple(sizes), mode="nearest")
    if how.mode == "linear" and (how.where == "half_pixel" or (how.where == "pytorch_half_pixel" and min(sizes) > 1)):
        return interpolate(x, tuple(sizes), mode="bilinear", align_corners=False)
    if how.mode == "linear" and how.where == "align_corners" and min(sizes) > 1:
        return interpolate(x, tuple(sizes), mode="bilinear", align_corners=True)
    return None


def _resized(
    x: Any, axes: list[int], sizes: list[int], scales: list[float], roi: list[float] | None, how: Sampling
) -> Any:
    full = list(x.shape)
    for a, s in zip(axes, sizes, strict=True):
        full[a] = s
    check_size("Resize", full)
    moving = [i for i, a in enumerate(axes) if sizes[i] != x.shape[a] or scales[i] != 1 or roi is not None]
    quick = None
    if roi is None:
        quick = _interpolated(
            x, [axes[i] for i in moving], [sizes[i] for i in moving], [scales[i] for i in moving], how
        )
    if quick is not None:
        return quick
    y = x
    outside = np.zeros([1] * x.ndim, bool)
    for i in moving:
        part = (0.0, 1.0) if roi is None else (roi[i], roi[i + len(axes)])
        y = _along(y, axes[i], sizes[i], scales[i], part, how)
        if roi is not None:
            at = _coordinates(x.shape[axes[i]], sizes[i], scales[i], part, how.where)
            beyond = (at < 0) | (at > x.shape[axes[i]] - 1)
            outside = outside | beyond.reshape([-1 if a == axes[i] else 1 for a in range(x.ndim)])
    if outside.any():
        fill = np.full((), how.extrapolation, array(y).dtype)
        y = _ops.where(outside, Tensor(fill), y) if isinstance(y, Tensor) else np.where(outside, fill, y)
    return y if isinstance(y, Tensor) or y.dtype == x.dtype else _rounded(y, x.dtype)


def _rounded(y: np.ndarray, dtype: np.dtype) -> Any:
    if dtype.kind in "iu":
        y = np.clip(np.rint(y), np.iinfo(dtype).min, np.iinfo(dtype).max)
    return value(y.astype(dtype))


@op("Resize", since=11, half=True, control=(1, 2, 3))
def resize(
    x: Any,
    roi: Any = None,
    scales: Any = None,
    sizes: Any = None,
    *,
    antialias: int = 0,
    axes: list[int] | None = None,
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
    keep_aspect_ratio_policy: str = "stretch",
    mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
) -> Any:
    """Other sizes of some axes, by scales or as given."""
    how = Sampling(
        mode,
        coordinate_transformation_mode,
        nearest_mode,
        cubic_coeff_a,
        bool(antialias),
        bool(exclude_outside),
        extrapolation_value,
    )
    over = [a % x.ndim for a in axes] if axes is not None else list(range(x.ndim))
    if sizes is not None and sizes.size:
        wanted, by = _policy(x, numbers(sizes), over, keep_aspect_ratio_policy)
    elif scales is not None and scales.size:
        by = [float(s) for s in np.ravel(array(scales))]
        wanted = [_scaled(x.shape[a], s) for a, s in zip(over, by, strict=True)]
    else:
        raise ValueError("Resize: neither scales nor sizes are given")
    crop = coordinate_transformation_mode == "tf_crop_and_resize"
    return _resized(x, over, wanted, by, [float(r) for r in np.ravel(array(roi))] if crop else None, how)


def _old(x: Any, scales: Sequence[float], mode: str) -> Any:
    sizes = [_scaled(n, s) for n, s in zip(x.shape, scales, strict=True)]
    for nearest in ("floor", "ceil"):  # what grows takes the pixel before, what shrinks the one behind
        some = [i for i, s in enumerate(scales) if (s < 1) == (nearest == "ceil")]
        how = Sampling("linear" if mode.endswith("linear") else mode, "asymmetric", nearest)
        x = _resized(x, some, [sizes[i] for i in some], [float(scales[i]) for i in some], None, how)
    return x


@op("Resize", until=10, half=True, control=(1,))
@op("Upsample", since=9, half=True, control=(1,))
def old_resize(x: Any, scales: Any, *, mode: str = "nearest") -> Any:
    """Other sizes by scales; places are divided by them."""
    return _old(x, np.ravel(array(scales)).tolist(), mode)


@op("Upsample", since=7, until=8, half=True)
def older_upsample(x: Any, *, scales: list[float], mode: str = "nearest") -> Any:
    """Larger images."""
    return _old(x, scales, mode)


@op("Upsample", until=6, half=True)
def oldest_upsample(x: Any, *, height_scale: float, width_scale: float, mode: str = "nearest") -> Any:
    """Larger images."""
    return _old(x, [1, 1, height_scale, width_scale], mode)
