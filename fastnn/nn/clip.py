"""Keeping gradients in bounds between `backward()` and the optimizer's step."""

import math
from collections.abc import Iterable

import numpy as np

from .._ops import Tensor, grad_norm

__all__ = ["clip_grad_norm_", "clip_grad_value_"]


def _listed(function: str, parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    listed = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    for parameter in listed:
        if not isinstance(parameter, Tensor):
            raise TypeError(f"{function}: parameters must be Tensors, got {type(parameter).__name__}")
    return listed


def _to_change(function: str, parameters: list[Tensor]) -> list[np.ndarray]:
    """Return the gradients there are, all of which may be written to."""
    gradients = []
    for i, parameter in enumerate(parameters):
        if parameter.grad is not None:
            gradients.append(parameter.grad.data)
            if not gradients[-1].flags.writeable:
                raise ValueError(
                    f"{function}: the gradient of parameter {i}, {parameter.grad.dtype} {parameter.grad.shape}, is "
                    "read-only; expected one that can be changed in place, such as its clone()"
                )
    return gradients


def _norm(parameters: list[Tensor], norm_type: float) -> float:
    """Return the norm of all gradients taken together."""
    gradients = [parameter.grad.data for parameter in parameters if parameter.grad is not None]
    if norm_type == math.inf:
        return max((float(np.abs(g).max()) for g in gradients if g.size), default=0.0)
    powers = [float((np.abs(g.astype(np.float64)) ** norm_type).sum()) for g in gradients]
    return sum(powers) ** (1.0 / norm_type)


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> float:
    """Scale all gradients by one factor so that their norm, taken over all of them together, is at most `max_norm`.

    Parameters
    ----------
    parameters : Tensor or iterable of Tensor
        Those without a gradient are passed over.
    max_norm : float
        The bound.
    norm_type : float
        The exponent of the norm; `inf` for the largest element.
    error_if_nonfinite : bool
        Raise instead of scaling when the norm is nan or infinite.

    Returns
    -------
    float
        The norm before (PyTorch returns a tensor).

    Raises
    ------
    ValueError
        If a number is not positive, or a gradient that is to be scaled is read-only; none has been scaled then.
    RuntimeError
        If the norm is not finite and `error_if_nonfinite`.

    References
    ----------
    Pascanu, Mikolov, Bengio, "On the difficulty of training recurrent neural networks", 2013.

    Examples
    --------
    >>> import fastnn as fnn
    >>> w = fnn.tensor([3.0, 4.0], requires_grad=True)
    >>> (w * w.detach()).sum().backward()
    >>> fnn.nn.clip_grad_norm_([w], 1.0)
    5.0
    >>> [round(g, 4) for g in w.grad.tolist()]
    [0.6, 0.8]
    """
    if not max_norm > 0 or not norm_type > 0:
        raise ValueError(f"clip_grad_norm_: positive numbers expected, got max_norm={max_norm}, norm_type={norm_type}")
    parameters = _listed("clip_grad_norm_", parameters)
    norm = grad_norm(parameters) if norm_type == 2.0 else _norm(parameters, float(norm_type))
    if error_if_nonfinite and not math.isfinite(norm):
        raise RuntimeError(f"clip_grad_norm_: the norm of the gradients is {norm}")
    factor = max_norm / (norm + 1e-6)  # PyTorch's guard against zero, kept for equal numbers
    if not factor >= 1.0:
        for gradient in _to_change("clip_grad_norm_", parameters):
            gradient *= factor
    return norm


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Cut every element of the gradients at plus and minus `clip_value`.

    Raises
    ------
    ValueError
        If `clip_value` is not positive, or a gradient is read-only; none has been cut then.

    Examples
    --------
    >>> import fastnn as fnn
    >>> w = fnn.tensor([3.0, -4.0], requires_grad=True)
    >>> (w * w.detach()).sum().backward()
    >>> fnn.nn.clip_grad_value_([w], 3.5)
    >>> w.grad.tolist()
    [3.0, -3.5]
    """
    if not clip_value > 0:
        raise ValueError(f"clip_grad_value_: clip_value must be positive, got {clip_value}")
    for gradient in _to_change("clip_grad_value_", _listed("clip_grad_value_", parameters)):
        np.clip(gradient, -clip_value, clip_value, out=gradient)
