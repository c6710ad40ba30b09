"""Making Tensors under the standard's names."""

import builtins
from typing import Any

import numpy as np

from .. import _ops
from .._ops import Tensor, as_tensor
from ._dtypes import check_device, float32


def asarray(obj: Any, /, *, dtype: Any = None, device: str | None = None, copy: builtins.bool | None = None) -> Tensor:
    """Return obj as a Tensor, sharing memory where that is possible unless `copy` says True; False raises otherwise."""
    check_device("asarray", device)
    if copy:
        return as_tensor(obj, dtype).clone() if isinstance(obj, Tensor) else _ops.tensor(obj, dtype)
    made = as_tensor(obj, dtype)
    if (
        copy is False
        and made.size
        and not (isinstance(obj, Tensor | np.ndarray) and np.may_share_memory(made.data, np.asarray(obj)))
    ):
        raise ValueError(f"asarray: {type(obj).__name__} as {made.dtype} needs a copy")
    return made


def empty(shape: Any, *, dtype: Any = None, device: str | None = None) -> Tensor:
    """Return a Tensor whose values do not matter."""
    check_device("empty", device)
    return _ops.empty(shape, dtype=dtype)


def zeros(shape: Any, *, dtype: Any = None, device: str | None = None) -> Tensor:
    """Return zeros."""
    check_device("zeros", device)
    return _ops.zeros(shape, dtype=dtype)


def ones(shape: Any, *, dtype: Any = None, device: str | None = None) -> Tensor:
    """Return ones."""
    check_device("ones", device)
    return _ops.ones(shape, dtype=dtype)


def full(shape: Any, fill_value: Any, *, dtype: Any = None, device: str | None = None) -> Tensor:
    """Return one value everywhere."""
    check_device("full", device)
    return _ops.full(shape, fill_value, dtype=dtype)


def empty_like(x: Tensor, /, *, dtype: Any = None, device: str | None = None) -> Tensor:
    """Return a Tensor of x's shape whose values do not matter."""
    return zeros_like(x, dtype=dtype, device=device)


def zeros_like(x: Tensor, /, *, dtype: Any = None, device: str | None = None) -> Tensor:
    """Return zeros of x's shape."""
    check_device("zeros_like", device)
    return _ops.zeros_like(x, dtype)


def ones_like(x: Tensor, /, *, dtype: Any = None, device: str | None = None) -> Tensor:
    """Return ones of x's shape."""
    check_device("ones_like", device)
    return _ops.ones_like(x, dtype)


def full_like(x: Tensor, /, fill_value: Any, *, dtype: Any = None, device: str | None = None) -> Tensor:
    """Return one value in x's shape."""
    check_device("full_like", device)
    return _ops.full_like(x, fill_value, dtype)


def arange(start: Any, /, stop: Any = None, step: Any = 1, *, dtype: Any = None, device: str | None = None) -> Tensor:
    """Return numbers from start (0 if only one is given) up to, not including, stop."""
    check_device("arange", device)
    return _ops.arange(start, stop, step, dtype)


def linspace(
    start: Any,
    stop: Any,
    /,
    num: int,
    *,
    dtype: Any = None,
    device: str | None = None,
    endpoint: builtins.bool = True,
) -> Tensor:
    """Return `num` numbers evenly spaced from start to stop."""
    check_device("linspace", device)
    return as_tensor(np.linspace(start, stop, num, endpoint), float32 if dtype is None else dtype)


def eye(
    n_rows: int, n_cols: int | None = None, /, *, k: int = 0, dtype: Any = None, device: str | None = None
) -> Tensor:
    """Return ones on the k-th diagonal and zeros elsewhere."""
    check_device("eye", device)
    return as_tensor(np.eye(n_rows, n_cols, k, float32 if dtype is None else dtype))


def tril(x: Tensor, /, *, k: int = 0) -> Tensor:
    """Return x with zeros above the k-th diagonal."""
    return _ops.tril(x, k)


def triu(x: Tensor, /, *, k: int = 0) -> Tensor:
    """Return x with zeros below the k-th diagonal."""
    return _ops.triu(x, k)


def meshgrid(*arrays: Tensor, indexing: str = "xy") -> list[Tensor]:
    """Return the coordinates of a grid, one Tensor per axis."""
    return list(np.meshgrid(*arrays, indexing=indexing))  # type: ignore  # of Tensors, it refuses to lose a gradient
