"""Writers of convolutions, pools and resizing."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._export_elementwise import activated, reduced
from ._export_errors import ExportError
from ._export_graph import Graph, Value
from ._export_shapes import counted
from ._export_sizes import Dim, Size
from ._export_table import writes


def per_axis(value: Any, axes: int) -> list[int]:
    """One number for all axes, or one for each."""
    return list(value) if isinstance(value, tuple | list) else [value] * axes


def _pads(padding: Any, kernel: Sequence[int], dilation: Sequence[int]) -> list[int]:
    """Befores, then afters."""
    if padding == "valid":
        return [0] * 2 * len(kernel)
    if padding == "same":
        reach = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return [r // 2 for r in reach] + [r - r // 2 for r in reach]
    if len(kernel) == 1 and isinstance(padding, tuple | list) and len(padding) == 2:  # (before, after) of a sequence
        return [int(n) for n in padding]
    sizes = per_axis(padding, len(kernel))
    pairs = [tuple(p) if isinstance(p, tuple | list) else (p, p) for p in sizes]
    return [int(p[0]) for p in pairs] + [int(p[1]) for p in pairs]


def _batched(g: Graph, x: Any, axes: int) -> Value:
    """Images without a batch get one."""
    return x if x.ndim == axes + 2 else g.Unsqueeze(x, g.ints([0]))


def _as_given(g: Graph, y: str, x: Any, axes: int) -> str:
    return y if x.ndim == axes + 2 else g.Squeeze(y, g.ints([0]))


@writes("conv1d", "conv2d")
def _conv(
    g: Graph,
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    activation: str | None = None,
    max_pool: bool = False,
    precision: str | None = None,
    residual: Any = None,
) -> str:
    kernel = list(weight.shape[2:])
    axes, dilations = len(kernel), per_axis(dilation, len(kernel))
    y = g.Conv(
        _batched(g, x, axes),
        weight,
        bias,
        kernel_shape=kernel,
        strides=per_axis(stride, axes),
        pads=_pads(padding, kernel, dilations),
        dilations=dilations,
        group=groups,
    )
    y = activated(g, y if residual is None else g.Add(y, residual), x.dtype, activation)
    return _as_given(g, g.MaxPool(y, kernel_shape=[2, 2], strides=[2, 2]) if max_pool else y, x, axes)


@writes("conv_transpose1d", "conv_transpose2d")
def _conv_transpose(
    g: Graph,
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
    *,
    activation: str | None = None,
    precision: str | None = None,
) -> str:
    kernel = list(weight.shape[2:])
    axes, dilations, strides = len(kernel), per_axis(dilation, len(kernel)), per_axis(stride, len(kernel))
    pads, more, behind = _pads(padding, kernel, dilations), per_axis(output_padding, axes), [0] * axes
    for i in range(axes):
        if more[i] >= strides[i]:  # which runtimes refuse: cut off less, and put behind what is then missing
            taken = min(more[i], pads[axes + i])
            pads[axes + i] -= taken
            more[i], behind[i] = 0, more[i] - taken
    options = {"kernel_shape": kernel, "strides": strides, "pads": pads, "dilations": dilations, "group": groups}
    y = g.ConvTranspose(_batched(g, x, axes), weight, None if any(behind) else bias, output_padding=more, **options)
    if any(behind):
        y = g.Pad(y, g.ints([0] * (axes + 2) + [0, 0, *behind]))
        y = y if bias is None else g.Add(y, g.Reshape(bias, g.ints([-1] + [1] * axes)))
    return activated(g, _as_given(g, y, x, axes), x.dtype, activation)


# ----- pools -----


def _windows(x: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool, axes: int) -> dict:
    """The attributes of a pool.

    Rounding up is written as padding at the end where sizes are known: programs and versions of ONNX differ in whether
    a last window counts that begins in the padding (in PyTorch and here it does not).
    """
    kernel, before = per_axis(kernel_size, axes), per_axis(padding, axes)
    strides = kernel if stride is None else per_axis(stride, axes)
    after, up = list(before), False
    for i, d in enumerate(per_axis(dilation, axes) if ceil_mode else []):
        size, reach = x.shape[x.ndim - axes + i], d * (kernel[i] - 1) + 1
        if not isinstance(size, Dim):
            last = -(-(size + 2 * before[i] - reach) // strides[i]) * strides[i]
            last -= strides[i] if last >= size + before[i] else 0
            after[i] = max(before[i], last + reach - size - before[i])
        elif before[i] + strides[i] > reach:
            raise ExportError("a pool with this padding and ceil_mode cannot be exported for a dynamic size")
        else:
            up = True
    return {"kernel_shape": kernel, "strides": strides, "pads": before + after, "ceil_mode": int(up)}


def _max_pool(axes: int):
    def write(
        g: Graph,
        x: Any,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Any:
        windows = _windows(x, kernel_size, stride, padding, dilation, ceil_mode, axes)
        images = _batched(g, x, axes)
        dilations = per_axis(dilation, axes)
        if max(windows["pads"]) >= min(windows["kernel_shape"]):  # more than a pool may pad by itself
            if return_indices:
                raise ExportError("a dilated pool with return_indices and so much padding cannot be exported")
            before, after = windows["pads"][:axes], windows["pads"][axes:]
            around = g.ints([0, 0, *before, 0, 0, *after])
            images, windows["pads"] = g.Pad(images, around, g.scalar(-np.inf, x)), [0] * 2 * axes
        if not return_indices:
            return _as_given(g, g.MaxPool(images, **windows, dilations=dilations), x, axes)
        y, indices = g.MaxPool(images, **windows, dilations=dilations, outputs=2)
        pixels: Size = 1
        for n in x.shape[-axes:]:
            pixels = pixels * n
        indices = g.Mod(indices, g.size(pixels))  # the node counts through the whole batch
        return _as_given(g, y, x, axes), _as_given(g, indices, x, axes)

    return write


writes("max_pool1d")(_max_pool(1))
writes("max_pool2d")(_max_pool(2))


def _counts(out: Any, x: Any, windows: dict, padding: list[int]) -> np.ndarray:
    """How many pixels, those of the padding included, lie under each window: all but where rounding up went beyond."""
    axes = len(padding)
    total = np.ones((1,) * axes)
    for i, n in enumerate(out):
        size, kernel = x.shape[x.ndim - axes + i], windows["kernel_shape"][i]
        if windows["pads"][axes + i] == padding[i]:
            count = np.full(1, kernel)
        else:
            first = np.arange(n) * windows["strides"][i]
            count = np.minimum(first + kernel, size + 2 * padding[i]) - first
        total = total * count.reshape([-1 if j == i else 1 for j in range(axes)])
    return total


def _avg_pool(axes: int):
    def write(
        g: Graph,
        x: Any,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> str:
        windows = _windows(x, kernel_size, stride, padding, 1, ceil_mode, axes)
        images, own = _batched(g, x, axes), per_axis(padding, axes)
        if divisor_override is None and not (count_include_pad and any(own)):
            return _as_given(g, g.AveragePool(images, **windows), x, axes)
        if windows["ceil_mode"]:
            raise ExportError("an average over padding with ceil_mode cannot be exported for a dynamic size")
        y = g.AveragePool(images, **windows, count_include_pad=1)
        counts = _counts(g.result.shape[-axes:], x, windows, own)
        if divisor_override is not None:
            counts = np.full(1, divisor_override)
        if (counts != np.prod(windows["kernel_shape"])).any():
            y = g.Mul(y, g.constant(np.prod(windows["kernel_shape"]) / counts, x.dtype))
        return _as_given(g, y, x, axes)

    return write


writes("avg_pool1d")(_avg_pool(1))
writes("avg_pool2d")(_avg_pool(2))


def _cover(g: Graph, size: Size, out: int) -> str:
    """(out, size), True where pixel j is in window i of an adaptive pool, [floor(i n / out), ceil((i + 1) n / out))."""
    window = np.arange(out)[:, None]
    if isinstance(size, int):
        pixel = np.arange(size)
        return g.constant((pixel >= window * size // out) & (pixel < -(-(window + 1) * size // out)))
    n, pixels, parts = g.size(size), counted(g, 0, size), g.constant(out, np.int64)
    first = g.Div(g.Mul(g.constant(window), n), parts)
    last = g.Div(g.Add(g.Mul(g.constant(window + 1), n), g.constant(out - 1, np.int64)), parts)
    return g.And(g.GreaterOrEqual(pixels, first), g.Less(pixels, last))


def _adaptive(kind: str, axes: int):
    def write(g: Graph, x: Any, output_size: Any, return_indices: bool = False) -> str:
        if return_indices:
            raise ExportError("adaptive_max_pool with return_indices cannot be exported")
        sizes = per_axis(output_size, axes)
        if all(n == 1 for n in sizes):
            node = {"avg": "GlobalAveragePool", "max": "GlobalMaxPool"}[kind]
            return _as_given(g, getattr(g, node)(_batched(g, x, axes)), x, axes)
        y: Any = x
        for i, n in enumerate(sizes):
            axis = x.ndim - axes + i
            if n is not None:
                if isinstance(n, Dim):
                    raise ExportError("an adaptive pool to a dynamic size cannot be exported")
                y = _covered(g, y, x, axis, _cover(g, x.shape[axis], n), kind)
        return y if isinstance(y, str) else g.Identity(y)

    return write


def _covered(g: Graph, y: Value, x: Any, axis: int, cover: str, kind: str) -> str:
    """One axis of an adaptive pool: a product with the windows' shares, or the largest under each window."""
    if kind == "avg":
        share = g.cast(cover, x.dtype)
        share = g.Div(share, reduced(g, "ReduceSum", share, 1, True))
        if axis == x.ndim - 1:
            return g.MatMul(y, g.Transpose(share, perm=[1, 0]))
        return g.MatMul(share, y)
    last = axis == x.ndim - 1
    spread = g.Unsqueeze(y, g.ints([axis]))  # (..., 1, n) or (..., 1, n, W)
    cover = cover if last else g.Unsqueeze(cover, g.ints([2]))
    under = g.Where(cover, spread, g.scalar(-np.inf, x))
    return reduced(g, "ReduceMax", under, axis + 1, False)


for _kind in ("avg", "max"):
    for _axes in (1, 2):
        writes(f"adaptive_{_kind}_pool{_axes}d")(_adaptive(_kind, _axes))


# ----- other sizes -----


@writes("interpolate")
def _interpolate(
    g: Graph,
    x: Any,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
) -> str:
    axes = x.ndim - 2
    if mode == "area":
        if size is None and any(isinstance(n, Dim) for n in x.shape[2:]):
            raise ExportError('interpolate by "area" with a scale_factor cannot be exported for a dynamic size')
        return _adaptive("avg", axes)(g, x, size if size is not None else list(g.result.shape[2:]))
    if recompute_scale_factor:
        if any(isinstance(n, Dim) for n in x.shape[2:]):
            raise ExportError("interpolate with recompute_scale_factor of a dynamic axis cannot be exported")
        size, scale_factor = list(g.result.shape[2:]), None
    sizes = [None] * axes if size is None else per_axis(size, axes)
    factors = [None] * axes if scale_factor is None else [float(f) for f in per_axis(scale_factor, axes)]
    if mode.startswith("nearest"):
        y: Any = x
        for i, (n, factor) in enumerate(zip(sizes, factors, strict=True)):
            pixels = _pixels(g, x, 2 + i, g.result.shape[2 + i] if n is None else n, factor, mode == "nearest-exact")
            y = g.Gather(y, pixels, axis=2 + i)
        return y
    # An axis that keeps its size is a copy, whatever the factor says.
    moved = [2 + i for i in range(axes) if isinstance(x.shape[2 + i], Dim) or x.shape[2 + i] != g.result.shape[2 + i]]
    how: dict[str, Any] = {"mode": "linear", "axes": moved}
    how["coordinate_transformation_mode"] = "align_corners" if align_corners else "half_pixel"
    if not moved:
        return x
    if size is not None:
        return g.Resize(x, None, None, g.ints([sizes[axis - 2] for axis in moved]), **how)
    wanted = np.array([factors[axis - 2] for axis in moved])
    rounded = wanted.astype(np.float32)  # up: 0.7 as a float is below 0.7, and 10 pixels would become 6
    rounded = np.where(rounded < wanted, np.nextafter(rounded, np.float32(np.inf)), rounded)
    return g.Resize(x, None, g.constant(rounded), **how)


def _pixels(g: Graph, x: Any, axis: int, out: int, factor: float | None, exact: bool) -> str:
    """Which pixels the nearest ones are, by the same arithmetic: a Resize rounds otherwise where two are as near."""
    size, dtype = x.shape[axis], x.dtype
    half = np.asarray(0.5 if exact else 0, dtype)
    if not isinstance(size, Dim):
        if not exact and x.ndim == 4 and out in (size, 2 * size):
            factor = None
        step = dtype.type(1 / factor) if factor else dtype.type(size) / dtype.type(out)
        at = (np.arange(out).astype(dtype) + half) * step
        return g.constant(np.minimum(at.astype(np.int64), size - 1))
    pixels = g.value(size)
    if factor:
        limit = g.cast(g.Mul(g.cast(pixels, np.float64), g.constant(factor)), np.int64)
        steps = g.constant(1 / factor, dtype)
    else:
        limit = g.constant(out, np.int64)
        steps = g.Div(g.cast(pixels, dtype), g.constant(out, dtype))
    numbers = g.cast(g.Range(g.constant(0, np.int64), limit, g.constant(1, np.int64)), dtype)
    places = g.cast(g.Mul(g.Add(numbers, g.constant(half)), steps), np.int64)
    return g.Min(places, g.Sub(pixels, g.constant(1, np.int64)))


@writes("pixel_shuffle")
def _pixel_shuffle(g: Graph, x: Any, upscale_factor: int) -> str:
    if x.ndim == 4:
        return g.DepthToSpace(x, blocksize=upscale_factor, mode="CRD")
    if x.ndim == 3:
        y = g.DepthToSpace(g.Unsqueeze(x, g.ints([0])), blocksize=upscale_factor, mode="CRD")
        return g.Squeeze(y, g.ints([0]))
    raise ExportError("pixel_shuffle is exported for (N, C, H, W) and (C, H, W)")


@writes("pixel_unshuffle")
def _pixel_unshuffle(g: Graph, x: Any, downscale_factor: int) -> str:
    if x.ndim not in (3, 4):
        raise ExportError("pixel_unshuffle is exported for (N, C, H, W) and (C, H, W)")
    r, (c, h, w) = downscale_factor, x.shape[-3:]
    parts = g.Reshape(x, g.ints([-1, c, h // r, r, w // r, r]))
    moved = g.Transpose(parts, perm=[0, 1, 3, 5, 2, 4])
    return g.Reshape(moved, g.ints([*x.shape[:-3], c * r * r, h // r, w // r]))
