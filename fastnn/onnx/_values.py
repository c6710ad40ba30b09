"""What flows through a graph: a Tensor for float32 and float64, an ndarray for every other type, a list for a sequence.

Integers, bools, halves, eight-bit floats and text have no kernels: what computes with them runs in NumPy on the host,
and an operator of floats given halves computes in float32 and rounds once, at its end."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any

import numpy as np

from .._ops import Tensor
from .._tape import is_grad_enabled

MOST_BYTES = 1 << 40  # an array beyond has no place in any machine that this package is for
FOLD_BYTES = 1 << 22  # what a constant may grow to while a file is read

_limit = ContextVar("largest array in bytes", default=MOST_BYTES)

FLOATS = (np.dtype(np.float32).num, np.dtype(np.float64).num)


def array(value: Any) -> Any:
    """The ndarray of a value (None stays None)."""
    return value.data if isinstance(value, Tensor) else value


def value(data: Any) -> Any:
    """An array as it flows: a Tensor where its type has kernels."""
    if isinstance(data, Tensor):
        return data
    data = np.asarray(data)
    return Tensor(data) if data.dtype.num in FLOATS else data


def numbers(data: Any) -> list[int]:
    """The integers of a shape, of axes, of pads."""
    return [int(n) for n in np.ravel(array(data)).tolist()]


def recorded(data: Any) -> bool:
    """Whether what is done with a value now goes on the tape."""
    return isinstance(data, Tensor) and data.requires_grad and is_grad_enabled()


def scalar(data: Any, default: Any = None) -> Any:
    """The number that an optional input of one element holds."""
    if data is None:
        return default
    data = np.asarray(array(data))
    if data.size != 1:
        raise ValueError(f"one number expected, got shape {data.shape}")
    return data.reshape(-1)[0].item()


def is_half(data: Any) -> bool:
    """Whether it is an array of 16-bit floats."""
    return isinstance(data, np.ndarray) and data.dtype.itemsize == 2 and data.dtype.name in ("float16", "bfloat16")


def widened(function: Callable) -> Callable:
    """A function of Tensors that takes 16-bit floats too: computed in float32, rounded once to their type."""

    @wraps(function)
    def run(*args: Any, **attributes: Any) -> Any:
        first = args[0] if args else None
        if isinstance(first, Tensor) or not any(is_half(a) for a in args):
            return function(*args, **attributes)
        dtype = next(a.dtype for a in args if is_half(a))
        out = function(*(Tensor(a.astype(np.float32)) if is_half(a) else a for a in args), **attributes)
        if isinstance(out, tuple):
            return tuple(narrowed(o, dtype) for o in out)
        return narrowed(out, dtype)

    return run


def narrowed(out: Any, dtype: np.dtype) -> Any:
    """A result in the type of the inputs."""
    return out.data.astype(dtype) if isinstance(out, Tensor) and out.data.dtype == np.float32 else out


def check_size(function: str, shape: Any, itemsize: int = 4) -> tuple[int, ...]:
    """`shape` as a tuple, refused if no memory can hold it."""
    shape = tuple(int(n) for n in shape)
    total = itemsize
    for n in shape:
        if n < 0:
            raise ValueError(f"{function}: a shape of {shape}; sizes must not be negative")
        total *= n
    if total > _limit.get():
        raise TooLarge(f"{function}: an output of shape {shape} is too large")
    return shape


class TooLarge(ValueError):
    """An array that no memory holds, or that is not to be made now."""


@contextmanager
def sizes_below(limit: int) -> Iterator[None]:
    """Within it `check_size` refuses arrays of more bytes."""
    token = _limit.set(limit)
    try:
        yield
    finally:
        _limit.reset(token)
