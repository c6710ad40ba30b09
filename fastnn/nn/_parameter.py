"""Parameter."""

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


def fresh(shape: int | tuple[int, ...], dtype: Any, value: float | None = None) -> Parameter:
    """A Parameter of this shape, float32 where `dtype` is None: full of `value`, or of what was in the memory.

    Of NumPy's own memory: an op would be a constant in a graph that is exported while a layer is made.
    """
    dtype = np.float32 if dtype is None else dtype
    return Parameter(np.empty(shape, dtype) if value is None else np.full(shape, value, dtype))
