"""Parameter."""

from typing import Any

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
