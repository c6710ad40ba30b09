"""Parameter, and what may be loaded into one."""

from typing import Any

import numpy as np

from .._ops import Tensor


class Parameter(Tensor):
    """A Tensor that a module owns and an optimizer moves.

    Parameters
    ----------
    data : Tensor or array_like
        The values; a Tensor or ndarray is wrapped without a copy.
    requires_grad : bool
        Whether gradients are wanted for it.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.Parameter(fnn.zeros(2)).requires_grad
    True
    """

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        super().__init__(data, requires_grad=requires_grad)


def fitting(value: Any, tensor: Tensor) -> tuple[np.ndarray | None, str]:
    """Return `value` as an array that can be copied into `tensor`, and what is wrong with it ("" if nothing)."""
    try:
        array = value.data if isinstance(value, Tensor) else np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        return None, f"not an array ({error})"
    target = tensor.data
    if array.dtype.kind not in "fiub" or not np.can_cast(array.dtype, target.dtype, "same_kind"):
        return None, f"dtype {target.dtype} expected, got {array.dtype}"
    if array.shape != target.shape:
        return None, f"shape {target.shape} expected, got {array.shape}"
    if not target.flags.writeable:
        return None, "its memory is read-only"
    return array.astype(target.dtype, copy=False), ""
