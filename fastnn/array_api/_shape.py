"""Shape, joining and picking under the standard's names."""

import builtins
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _ops
from .._ops import Tensor
from ._reduce import only_axis


def reshape(x: Tensor, /, shape: Any, *, copy: builtins.bool | None = None) -> Tensor:
    """Return x in another shape, a view where that is possible; `copy` True: never, False: an error where it is not."""
    made = _ops.reshape(x.clone() if copy else x, shape)
    if copy is False and x.size and not np.may_share_memory(made.data, x.data):
        raise ValueError(f"reshape: {x.shape} to {made.shape} needs a copy")
    return made


def permute_dims(x: Tensor, /, axes: tuple[int, ...]) -> Tensor:
    """Return x with its axes in another order, a view."""
    return _ops.permute(x, axes)


def matrix_transpose(x: Tensor, /) -> Tensor:
    """Return x with its last two axes swapped, a view."""
    return x.mT


def moveaxis(x: Tensor, source: Any, destination: Any, /) -> Tensor:
    """Return x with some axes moved elsewhere, a view."""
    moved: Any = np.moveaxis  # the op of fastnn: Tensors tell NumPy
    return moved(x, source, destination)


def expand_dims(x: Tensor, /, axis: int = 0) -> Tensor:
    """Return x with a new axis of size 1."""
    return _ops.unsqueeze(x, axis)


def squeeze(x: Tensor, /, axis: Any) -> Tensor:
    """Return x without axes of size 1; those named must be of size 1."""
    axes = axis if isinstance(axis, tuple) else (axis,)
    if any_longer := [d for d in axes if x.shape[d] != 1]:
        raise ValueError(f"squeeze: axes {any_longer} of shape {x.shape} are not of size 1")
    return _ops.squeeze(x, axes)


def flip(x: Tensor, /, *, axis: Any = None) -> Tensor:
    """Return x backwards along `axis`, all axes by default."""
    return _ops.flip(x, tuple(range(x.ndim)) if axis is None else axis)


def roll(x: Tensor, /, shift: Any, *, axis: Any = None) -> Tensor:
    """Return x shifted along `axis`, what falls off coming back at the other end."""
    if axis is not None and isinstance(axis, tuple) and isinstance(shift, int):
        shift = (shift,) * len(axis)
    return _ops.roll(x, shift, axis)


def broadcast_to(x: Tensor, /, shape: tuple[int, ...]) -> Tensor:
    """Return x repeated to a shape, a view."""
    return _ops.broadcast_to(x, shape)


def broadcast_shapes(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape that shapes broadcast to."""
    return np.broadcast_shapes(*shapes)


def broadcast_arrays(*arrays: Tensor) -> list[Tensor]:
    """Return the Tensors broadcast to one shape."""
    shape = np.broadcast_shapes(*(x.shape for x in arrays))
    return [_ops.broadcast_to(x, shape) for x in arrays]


def concat(arrays: Sequence[Tensor], /, *, axis: int | None = 0) -> Tensor:
    """Return the Tensors joined along an axis, flattened first if it is None."""
    return _ops.cat([x.reshape(-1) for x in arrays] if axis is None else arrays, 0 if axis is None else axis)


def stack(arrays: Sequence[Tensor], /, *, axis: int = 0) -> Tensor:
    """Return the Tensors joined along a new axis."""
    return _ops.stack(arrays, axis)


def unstack(x: Tensor, /, *, axis: int = 0) -> tuple[Tensor, ...]:
    """Return the slices of x along an axis, views."""
    return _ops.unbind(x, axis)


def take(x: Tensor, indices: Tensor, /, *, axis: int | None = None) -> Tensor:
    """Return the slices of x along an axis that 1-D indices name."""
    return _ops.index_select(x, only_axis("take", x, axis), indices)


def take_along_axis(x: Tensor, indices: Tensor, /, *, axis: int = -1) -> Tensor:
    """Return elements picked along one axis; the other axes broadcast."""
    axis %= x.ndim
    others = np.broadcast_shapes(*((*t.shape[:axis], 1, *t.shape[axis + 1 :]) for t in (x, indices)))

    def fitted(t: Tensor) -> Tensor:
        return _ops.broadcast_to(t, (*others[:axis], t.shape[axis], *others[axis + 1 :]))

    return _ops.gather(fitted(x), axis, fitted(indices))


def repeat(x: Tensor, repeats: Any, /, *, axis: int | None = None) -> Tensor:
    """Return x with each element (each slice along `axis`) repeated."""
    if axis is None:
        x, axis = x.reshape(-1), 0
    counts = repeats.data if isinstance(repeats, Tensor) else repeats
    return _ops.index_select(x, axis, np.repeat(np.arange(x.shape[axis]), counts))


def tile(x: Tensor, repetitions: tuple[int, ...], /) -> Tensor:
    """Return copies of x side by side, so many along each axis."""
    times = (1,) * (x.ndim - len(repetitions)) + tuple(repetitions)
    x = x.reshape((1,) * (len(times) - x.ndim) + x.shape)
    for axis, n in enumerate(times):
        if n != 1:
            x = _ops.index_select(x, axis, np.tile(np.arange(x.shape[axis]), n))
    return x
