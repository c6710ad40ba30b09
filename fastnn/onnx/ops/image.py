"""Sampling of images at places that are computed: GridSample, AffineGrid, DeformConv, RoiAlign, NonMaxSuppression.

A place has 2 (linear) or 4 (cubic) neighbours along each axis; their values are gathered, and weighed by ops, so that
gradients reach the image and the places.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import _ops
from ..._ops import Tensor
from .._registry import op
from .._values import array, check_size, numbers, scalar
from .conv import window


def _reflected(x: Any, low: float, high: float) -> Any:
    """Coordinates folded back at the borders: x = sign x + shift with numbers that depend on where x lies."""
    span = high - low
    if span <= 0:
        return x * 0
    data = array(x)
    turn = np.floor((data - low) / span)
    odd = turn % 2 == 1
    sign = np.where(odd, -1.0, 1.0).astype(data.dtype)
    shift = np.where(odd, low + high + turn * span, -turn * span).astype(data.dtype)
    return x * Tensor(sign) + Tensor(shift) if isinstance(x, Tensor) else x * sign + shift


def _gathered(flat: Tensor, index: np.ndarray) -> Tensor:
    """flat (N, C, size) at index (N, P): (N, C, P)."""
    n, c, _ = flat.shape
    return _ops.gather(flat, 2, np.broadcast_to(index[:, None], (n, c, index.shape[1])))


def sampled(x: Tensor, places: list[Any], mode: str, padding: str, bounds: Sequence[tuple[float, float]]) -> Tensor:
    """x (N, C, d1, ...) at places (N, P), one array for each spatial axis: (N, C, P)."""
    sizes = x.shape[2:]
    if mode == "cubic":
        return _neighbours(x, places, sizes, 4, padding, bounds)
    if padding == "border":
        places = [_ops.clamp(p, 0.0, float(n - 1)) for p, n in zip(places, sizes)]
    elif padding == "reflection":
        places = [_ops.clamp(_reflected(p, *b), 0.0, float(n - 1)) for p, b, n in zip(places, bounds, sizes)]
    if mode == "nearest":
        places = [Tensor(np.rint(p.data)) for p in places]
        return _neighbours(x, places, sizes, 1, "zeros", bounds)
    return _neighbours(x, places, sizes, 2, "zeros", bounds)


def _neighbours(x: Tensor, places: list[Any], sizes: Sequence[int], count: int, padding: str, bounds: Any) -> Tensor:
    flat = x.reshape(*x.shape[:2], math.prod(sizes))
    axes = [_axis(p, n, count, padding, b) for p, n, b in zip(places, sizes, bounds)]
    total: Any = None
    for taps in itertools.product(*axes):
        index: Any = 0
        weight: Any = None
        inside: Any = True
        for (at, good, w), n in zip(taps, sizes):
            index = index * n + at
            inside = inside & good
            weight = w if weight is None else w if w is None else weight * w
        part = _gathered(flat, index)
        factor = Tensor(inside.astype(x.dtype)) if weight is None else weight * Tensor(inside.astype(x.dtype))
        part = part * _ops.unsqueeze(factor, 1)
        total = part if total is None else total + part
    return total


def _axis(place: Any, n: int, count: int, padding: str, bounds: tuple[float, float]) -> list[tuple]:
    """For each neighbour along an axis: where it stands, whether that is inside, its weight (None: 1)."""
    base = np.floor(place.data)
    if count == 1:
        return [_tap(base, n, padding, bounds, None)]
    f = place - Tensor(base)
    if count == 2:
        return [_tap(base, n, padding, bounds, 1 - f), _tap(base + 1, n, padding, bounds, f)]
    a = -0.75
    d = [f + 1, f, 1 - f, 2 - f]
    near = [((x * (a + 2)) - (a + 3)) * x * x + 1 for x in d]
    far = [((x * a - 5 * a) * x + 8 * a) * x - 4 * a for x in d]
    weights = [far[0], near[1], near[2], far[3]]
    return [_tap(base + i - 1, n, padding, bounds, w) for i, w in enumerate(weights)]


def _tap(at: np.ndarray, n: int, padding: str, bounds: tuple[float, float], weight: Any) -> tuple:
    if padding == "reflection":
        at = _reflected(at, *bounds)
    inside = (at >= 0) & (at <= n - 1) if padding == "zeros" else np.ones(at.shape, bool)
    safe = np.nan_to_num(at, nan=0.0, posinf=0.0, neginf=0.0)
    return np.clip(safe, 0, n - 1).astype(np.int64), inside, weight


@op("GridSample", half=True)
def grid_sample(x: Any, grid: Any, *, align_corners: int = 0, mode: str = "linear", padding_mode: str = "zeros") -> Any:
    """x at the places of a grid, whose coordinates go from -1 to 1, the last axis first."""
    mode = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)
    sizes = x.shape[2:]
    n, p = grid.shape[0], math.prod(grid.shape[1:-1])
    flat = grid.reshape(n, p, len(sizes))
    places, bounds = [], []
    for i, size in enumerate(sizes):
        g = flat[:, :, len(sizes) - 1 - i]
        places.append((g + 1) * ((size - 1) / 2) if align_corners else (g + 1) * (size / 2) - 0.5)
        bounds.append((0.0, size - 1.0) if align_corners else (-0.5, size - 0.5))
    y = sampled(x, places, mode, padding_mode, bounds)
    return y.reshape(*x.shape[:2], *grid.shape[1:-1])


@op("AffineGrid", half=True)
def affine_grid(theta: Any, size: Any, *, align_corners: int = 0) -> Any:
    """The grid for GridSample of affine maps (N, r, r + 1)."""
    sizes = numbers(size)[2:]
    check_size("AffineGrid", (theta.shape[0], *sizes, len(sizes)))
    steps = []
    for n in sizes:
        places = np.arange(n)
        steps.append(-1 + 2 * places / max(n - 1, 1) if align_corners else (2 * places + 1) / n - 1)
    axes = np.meshgrid(*steps, indexing="ij")[::-1]
    points = np.stack([*axes, np.ones(sizes)], -1).reshape(-1, len(sizes) + 1)
    grid = _ops.matmul(Tensor(points.astype(theta.dtype)), _ops.transpose(theta, 1, 2))
    return grid.reshape(theta.shape[0], *sizes, len(sizes))


@op("DeformConv", half=True)
def deform_conv(
    x: Any,
    w: Any,
    offset: Any,
    b: Any = None,
    mask: Any = None,
    *,
    dilations: list[int] | None = None,
    group: int = 1,
    kernel_shape: list[int] | None = None,
    offset_group: int = 1,
    pads: list[int] | None = None,
    strides: list[int] | None = None,
) -> Any:
    """A convolution whose taps stand where `offset` moves them: sampled, then one product."""
    if x.ndim != 4:
        raise NotImplementedError("DeformConv: images of two axes only")
    by, apart, around = window("DeformConv", 2, strides, dilations, pads)
    (n, c), (kh, kw), (oh, ow) = x.shape[:2], w.shape[2:], offset.shape[2:]
    moved = offset.reshape(n, offset_group, kh * kw, 2, oh * ow)
    weights = None if mask is None else mask.reshape(n, offset_group, kh * kw, oh * ow)
    columns = []
    each = c // offset_group
    starts = [np.arange(o) * s - p for o, s, (p, _) in zip((oh, ow), by, around)]
    rows, cols = (g.reshape(-1) for g in np.meshgrid(*starts, indexing="ij"))
    for g in range(offset_group):
        part = x[:, g * each : (g + 1) * each]
        for t, (i, j) in enumerate(np.ndindex(kh, kw)):
            up = moved[:, g, t, 0] + Tensor((rows + i * apart[0]).astype(x.dtype))
            left = moved[:, g, t, 1] + Tensor((cols + j * apart[1]).astype(x.dtype))
            got = sampled(part, [up, left], "linear", "zeros", [(0, 0), (0, 0)])
            columns.append(got if weights is None else got * weights[:, g, t : t + 1])
    taken = _ops.stack(columns, 1).reshape(n, offset_group, kh * kw, each, oh * ow)
    taken = _ops.permute(taken, (0, 1, 3, 2, 4)).reshape(n, group, (c // group) * kh * kw, oh * ow)
    y = _ops.matmul(w.reshape(group, w.shape[0] // group, (c // group) * kh * kw), taken)
    y = y.reshape(n, w.shape[0], oh, ow)
    return y if b is None else y + b.reshape(-1, 1, 1)


@op("RoiAlign", since=16, half=True)
def roi_align(
    x: Any,
    rois: Any,
    batch: Any,
    *,
    coordinate_transformation_mode: str = "half_pixel",
    mode: str = "avg",
    output_height: int = 1,
    output_width: int = 1,
    sampling_ratio: int = 0,
    spatial_scale: float = 1.0,
) -> Any:
    """Boxes of images, each sampled into bins of one size."""
    half = coordinate_transformation_mode == "half_pixel"
    check_size("RoiAlign", (rois.shape[0], x.shape[1], output_height, output_width))
    outs = []
    for box, image in zip(array(rois).tolist(), numbers(batch), strict=True):
        x1, y1, x2, y2 = (v * spatial_scale - (0.5 if half else 0.0) for v in box)
        sizes = [y2 - y1, x2 - x1] if half else [max(y2 - y1, 1.0), max(x2 - x1, 1.0)]
        bins = (output_height, output_width)
        counts = [sampling_ratio or max(1, math.ceil(s / o)) for s, o in zip(sizes, bins)]
        axes = []
        for start, s, o, k in zip((y1, x1), sizes, bins, counts):
            axes.append(start + (np.arange(o * k) + 0.5) * s / (o * k))
        outs.append(_pooled(x[image : image + 1], axes, bins, counts, mode))
    return _ops.cat(outs, 0) if outs else x[:0, :, :1, :1]


def _pooled(image: Tensor, axes: list[np.ndarray], bins: tuple[int, int], counts: list[int], mode: str) -> Tensor:
    """One box (1, C, bins): samples beyond a pixel outside are 0, others stay within the image."""
    ys, xs = (g.reshape(1, -1) for g in np.meshgrid(*axes, indexing="ij"))
    h, w = image.shape[2:]
    inside = (ys >= -1) & (ys <= h) & (xs >= -1) & (xs <= w)
    places = [Tensor(np.clip(p, 0, n - 1).astype(image.dtype)) for p, n in zip((ys, xs), (h, w))]
    shape = (1, image.shape[1], bins[0], counts[0], bins[1], counts[1])
    if mode == "avg":
        got = sampled(image, places, "linear", "zeros", [(0, 0), (0, 0)]) * Tensor(inside[:, None].astype(image.dtype))
        return _ops.mean(got.reshape(shape), [3, 5])
    flat = image.reshape(*image.shape[:2], h * w)  # "max" is of the weighed corners, each by itself
    sides = [_axis(p, n, 2, "zeros", (0, 0)) for p, n in zip(places, (h, w))]
    best: Any = None
    for (iy, gy, wy), (ix, gx, wx) in itertools.product(*sides):
        factor = wy * wx * Tensor((inside & gy & gx).astype(image.dtype))
        part = _gathered(flat, iy * w + ix) * _ops.unsqueeze(factor, 1)
        best = part if best is None else _ops.maximum(best, part)
    return _ops.amax(best.reshape(shape), [3, 5])


@op("RoiAlign", until=15, half=True)
def old_roi_align(
    x: Any,
    rois: Any,
    batch: Any,
    *,
    mode: str = "avg",
    output_height: int = 1,
    output_width: int = 1,
    sampling_ratio: int = 0,
    spatial_scale: float = 1.0,
) -> Any:
    """Boxes of images, without the half pixel."""
    how: dict[str, Any] = {"mode": mode, "output_height": output_height, "output_width": output_width}
    how |= {"sampling_ratio": sampling_ratio, "spatial_scale": spatial_scale}
    return roi_align(x, rois, batch, coordinate_transformation_mode="output_half_pixel", **how)


@op("NonMaxSuppression", control=(2, 3, 4))
def non_max_suppression(
    boxes: Any, scores: Any, most: Any = None, iou: Any = None, least: Any = None, *, center_point_box: int = 0
) -> Any:
    """Of boxes that overlap the one with the highest score: rows of (image, class, box)."""
    limit = int(scalar(most, 0))
    overlap = float(scalar(iou, 0.0))
    floor = None if least is None else float(scalar(least))
    corners = _corners(array(boxes), center_point_box)
    found = []
    for image, kind in np.ndindex(*scores.shape[:2]):
        row = array(scores)[image, kind]
        order = np.argsort(-row, kind="stable")
        order = order if floor is None else order[row[order] > floor]
        kept: list[int] = []
        for i in order.tolist():
            if len(kept) == limit:
                break
            if not kept or (_overlaps(corners[image, i], corners[image, kept]) <= overlap).all():
                kept.append(i)
        found += [(image, kind, i) for i in kept]
    return np.array(found, np.int64).reshape(-1, 3)


def _corners(boxes: np.ndarray, centred: int) -> np.ndarray:
    """(..., 4) as low and high corners."""
    if centred:
        centre, size = boxes[..., :2], boxes[..., 2:]
        return np.concatenate([centre - size / 2, centre + size / 2], -1)
    a, b = boxes[..., :2], boxes[..., 2:]
    return np.concatenate([np.minimum(a, b), np.maximum(a, b)], -1)


def _overlaps(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of one box with others."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    common = np.where((sides > 0).all(1), sides.prod(1), 0)
    areas = (others[:, 2:] - others[:, :2]).prod(1) + (box[2:] - box[:2]).prod()
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(common > 0, common / (areas - common), 0)
