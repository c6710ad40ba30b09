"""Operators that move elements about without computing: views where NumPy has views, for every type."""

import math
from typing import Any

import numpy as np

from ... import _ops
from ..._ops import Tensor
from .._registry import op
from .._values import array, check_size, numbers, scalar, value


@op("Identity")
def identity(x: Any) -> Any:
    """x itself."""
    return x


@op("Shape")
def shape(x: Any, *, start: int = 0, end: int | None = None) -> Any:
    """The sizes of the axes from `start` to `end`."""
    return np.array(x.shape[slice(start, end)], np.int64)


@op("Size")
def size(x: Any) -> Any:
    """The number of elements."""
    return np.array(x.size, np.int64)


@op("Reshape", since=5)
def reshape(x: Any, shape: Any, *, allowzero: int = 0) -> Any:
    """The same elements in another shape: -1 is what is left, 0 the size that was there (unless `allowzero`)."""
    sizes = numbers(shape)
    if not allowzero and 0 in sizes:
        if len(sizes) > x.ndim and 0 in sizes[x.ndim :]:
            raise ValueError(f"Reshape: {sizes} copies sizes that {x.shape} does not have")
        sizes = [n if n else x.shape[i] for i, n in enumerate(sizes)]
    if x.size == 0 and -1 in sizes:  # nothing is left, unless there is a 0: then of the sizes that are not 0
        rest = math.prod(n for n in x.shape if n) // math.prod(n for n in sizes if n > 0) if 0 in sizes else 0
        sizes = [rest if n == -1 else n for n in sizes]
    return x.reshape(sizes)


@op("Reshape", until=4)
def old_reshape(x: Any, *, shape: list[int], consumed_inputs: Any = None) -> Any:
    """The same elements in another shape."""
    return reshape(x, shape)


@op("Flatten")
def flatten(x: Any, *, axis: int = 1) -> Any:
    """A matrix: the axes before `axis` in the rows, the rest in the columns."""
    axis += x.ndim if axis < 0 else 0
    if not 0 <= axis <= x.ndim:
        raise ValueError(f"Flatten: axis {axis} of {x.shape}")
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


@op("Squeeze", since=13)
def squeeze(x: Any, axes: Any = None) -> Any:
    """Without axes of size 1."""
    if axes is None:
        return x.squeeze()
    wanted = tuple(_axis("Squeeze", a, x.ndim) for a in numbers(axes))
    if any(x.shape[a] != 1 for a in wanted):
        raise ValueError(f"Squeeze: axes {wanted} of {x.shape} are not all of size 1")
    return x.reshape([n for i, n in enumerate(x.shape) if i not in wanted])


@op("Squeeze", until=12)
def old_squeeze(x: Any, *, axes: list[int] | None = None) -> Any:
    """Without axes of size 1."""
    return squeeze(x, axes)


@op("Unsqueeze", since=13)
def unsqueeze(x: Any, axes: Any) -> Any:
    """With axes of size 1 at the places `axes` of the result."""
    given = numbers(axes)
    ndim = x.ndim + len(given)
    places = {_axis("Unsqueeze", a, ndim) for a in given}
    if len(places) != len(given):
        raise ValueError(f"Unsqueeze: axes {given} name one place twice")
    sizes = iter(x.shape)
    return x.reshape([1 if i in places else next(sizes) for i in range(ndim)])


@op("Unsqueeze", until=12)
def old_unsqueeze(x: Any, *, axes: list[int]) -> Any:
    """With axes of size 1."""
    return unsqueeze(x, axes)


def _axis(function: str, axis: int, ndim: int) -> int:
    if not -ndim <= axis < ndim:
        raise ValueError(f"{function}: axis {axis} of {ndim} dimensions")
    return axis % ndim


@op("Transpose")
def transpose(x: Any, *, perm: list[int] | None = None) -> Any:
    """The axes in another order (reversed by default): a view."""
    order = perm if perm is not None else list(range(x.ndim))[::-1]
    return _ops.permute(x, order) if isinstance(x, Tensor) else x.transpose(order)


@op("Concat", since=4)
def concat(*parts: Any, axis: int) -> Any:
    """Arrays one behind the other along an axis."""
    if any(isinstance(p, Tensor) for p in parts):
        return _ops.cat(parts, axis)
    return np.concatenate(parts, axis)


@op("Concat", until=3)
def old_concat(*parts: Any, axis: int = 1) -> Any:
    """Arrays one behind the other along an axis."""
    return concat(*parts, axis=axis)


@op("Split", since=13)
def split_(x: Any, sizes: Any = None, *, axis: int = 0, num_outputs: int | None = None, outputs: int) -> Any:
    """Pieces along an axis: of given sizes, or equal ones with a shorter one last."""
    total, axis = x.shape[axis], axis % x.ndim
    count = num_outputs or outputs
    step = -(-total // count)
    pieces = numbers(sizes) if sizes is not None else [min(step, max(0, total - i * step)) for i in range(count)]
    if sum(pieces) != total or any(n < 0 for n in pieces):
        raise ValueError(f"Split: pieces of {pieces} do not make {total}")
    ends = np.cumsum(pieces).tolist()
    return tuple(_cut(x, axis, end - n, end) for end, n in zip(ends, pieces, strict=True))


@op("Split", until=12)
def old_split(x: Any, sizes: Any = None, *, axis: int = 0, split: list[int] | None = None, outputs: int) -> Any:
    """Pieces along an axis."""
    return split_(x, sizes if split is None else split, axis=axis, outputs=outputs)


def _cut(x: Any, axis: int, start: int, stop: int) -> Any:
    return x[(*[slice(None)] * axis, slice(start, stop))]


@op("Slice", since=10)
def slice_(x: Any, starts: Any, ends: Any, axes: Any = None, steps: Any = None) -> Any:
    """From start to end by steps, along some axes; bounds beyond an axis stop at its ends."""
    first, last = numbers(starts), numbers(ends)
    over = numbers(axes) if axes is not None else list(range(len(first)))
    by = numbers(steps) if steps is not None else [1] * len(first)
    if not len(first) == len(last) == len(over) == len(by):
        raise ValueError("Slice: starts, ends, axes and steps differ in number")
    key = [slice(None)] * x.ndim
    for a, start, end, step in zip(over, first, last, by):
        a = _axis("Slice", a, x.ndim)
        key[a] = _bounds(start, end, step, x.shape[a])
    return x[tuple(key)]


@op("Slice", until=9)
def old_slice(x: Any, *, starts: list[int], ends: list[int], axes: list[int] | None = None) -> Any:
    """From start to end along some axes."""
    return slice_(x, starts, ends, axes)


def _bounds(start: int, end: int, step: int, n: int) -> slice:
    """The slice as Python writes it; towards the front a start before the first element is the first, an end None."""
    if step > 0:
        return slice(start, end, step)
    if end < 0:
        end += n
    return slice(max(start, -n), None if end < 0 else end, step)


@op("Expand", half=False)
def expand(x: Any, shape: Any) -> Any:
    """Broadcast with a shape: each of both may stretch the other."""
    sizes = check_size("Expand", np.broadcast_shapes(x.shape, tuple(numbers(shape))))
    return _ops.broadcast_to(x, sizes) if isinstance(x, Tensor) else np.broadcast_to(x, sizes).copy()


@op("Tile", since=6)
def tile(x: Any, repeats: Any) -> Any:
    """Repeated so often along each axis."""
    times = numbers(repeats)
    if len(times) != x.ndim:
        raise ValueError(f"Tile: {len(times)} repeats for {x.ndim} axes")
    sizes = check_size("Tile", [n * t for n, t in zip(x.shape, times)])
    if not isinstance(x, Tensor):
        return np.tile(x, times)
    apart = x.reshape([m for n in x.shape for m in (1, n)])
    return _ops.broadcast_to(apart, [m for n, t in zip(x.shape, times) for m in (t, n)]).reshape(sizes)


@op("Pad", since=2, control=(1, 2, 3))
def pad(
    x: Any,
    given: Any = None,
    constant_value: Any = None,
    axes: Any = None,
    *,
    mode: str = "constant",
    pads: list[int] | None = None,
    value: float | None = None,
) -> Any:
    """A border around each axis, of a constant or of what is there; a negative one cuts away."""
    around = numbers(given if pads is None else pads)
    over = [_axis("Pad", a, x.ndim) for a in numbers(axes)] if axes is not None else list(range(x.ndim))
    if len(around) != 2 * len(over):
        raise ValueError(f"Pad: {len(around)} pads for {len(over)} axes")
    pairs = [(0, 0)] * x.ndim
    for i, a in enumerate(over):
        pairs[a] = (around[i], around[i + len(over)])
    check_size("Pad", [max(0, b + n + e) for n, (b, e) in zip(x.shape, pairs)])
    if mode not in _MODES:
        raise ValueError(f"Pad: unknown mode {mode!r}")
    fill = scalar(constant_value, value or 0)
    if not isinstance(x, Tensor):
        return _padded(x, pairs, mode, fill)
    if not _kernel_pads(x, pairs, mode):
        return _picked(x, pairs, mode)
    flat = [n for pair in reversed(pairs) for n in pair]
    return _ops.pad(x, flat, _MODES[mode], fill if mode == "constant" else None)


_MODES = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}


def _kernel_pads(x: Tensor, pairs: list[tuple[int, int]], mode: str) -> bool:
    """Whether the kernel takes these pads: borders of what is there are not wider than that, and none is negative."""
    if mode == "constant":
        return True
    return all(0 <= b < n and 0 <= e < n for n, (b, e) in zip(x.shape, pairs) if (b, e) != (0, 0))


def _picked(x: Tensor, pairs: list[tuple[int, int]], mode: str) -> Tensor:
    """Axis by axis, for each place in the result the one that it comes from."""
    for axis, (b, e) in enumerate(pairs):
        if (b, e) != (0, 0):
            kept = np.arange(max(0, -b), x.shape[axis] - max(0, -e))
            x = _ops.index_select(x, axis, np.pad(kept, (max(0, b), max(0, e)), mode))  # type: ignore[call-overload]
    return x


def _padded(x: np.ndarray, pairs: list[tuple[int, int]], mode: str, fill: Any) -> Any:
    cut = tuple(slice(max(0, -b), n - max(0, -e)) for n, (b, e) in zip(x.shape, pairs))
    grown = [(max(0, b), max(0, e)) for b, e in pairs]
    how: dict[str, Any] = {"constant_values": np.asarray(fill, x.dtype)} if mode == "constant" else {}
    return value(np.pad(x[cut], grown, mode, **how))  # type: ignore[call-overload]


@op("DepthToSpace")
def depth_to_space(x: Any, *, blocksize: int, mode: str = "DCR") -> Any:
    """Channels become pixels: blocks of blocksize x blocksize."""
    n, c, h, w = x.shape
    b = blocksize
    if mode == "DCR":
        apart = _moved(x.reshape(n, b, b, c // (b * b), h, w), (0, 3, 4, 1, 5, 2))
    else:
        apart = _moved(x.reshape(n, c // (b * b), b, b, h, w), (0, 1, 4, 2, 5, 3))
    return apart.reshape(n, c // (b * b), h * b, w * b)


@op("SpaceToDepth")
def space_to_depth(x: Any, *, blocksize: int, mode: str = "DCR") -> Any:
    """Pixels become channels: blocks of blocksize x blocksize."""
    n, c, h, w = x.shape
    b = blocksize
    order = (0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4)
    return _moved(x.reshape(n, c, h // b, b, w // b, b), order).reshape(n, c * b * b, h // b, w // b)


def _moved(x: Any, order: tuple[int, ...]) -> Any:
    return _ops.permute(x, order) if isinstance(x, Tensor) else x.transpose(order)


@op("CenterCropPad")
def center_crop_pad(x: Any, shape: Any, *, axes: list[int] | None = None) -> Any:
    """Cut or padded with zeros to a size, the middle in the middle."""
    sizes = numbers(shape)
    over = [a % x.ndim for a in axes] if axes is not None else list(range(x.ndim))
    key, pads = [slice(None)] * x.ndim, [0] * (2 * x.ndim)
    for a, want in zip(over, sizes, strict=True):
        have = x.shape[a]
        if have > want:
            start = (have - want) // 2
            key[a] = slice(start, start + want)
        else:
            pads[a] = (want - have) // 2
            pads[a + x.ndim] = want - have - pads[a]
    return pad(x[tuple(key)], pads=pads)


@op("Trilu")
def trilu(x: Any, k: Any = None, *, upper: int = 1) -> Any:
    """The upper or lower triangle of the last two axes, 0 elsewhere."""
    diagonal = scalar(k, 0)
    if isinstance(x, Tensor):
        return (_ops.triu if upper else _ops.tril)(x, diagonal)
    return (np.triu if upper else np.tril)(x, diagonal)


@op("ReverseSequence")
def reverse_sequence(x: Any, lengths: Any, *, batch_axis: int = 1, time_axis: int = 0) -> Any:
    """Each sequence's first `length` steps backwards."""
    moved = np.moveaxis(array(x), (batch_axis, time_axis), (0, 1)).copy()
    for row, n in zip(moved, numbers(lengths), strict=True):
        row[:n] = row[:n][::-1].copy()
    return value(np.moveaxis(moved, (0, 1), (batch_axis, time_axis)))
