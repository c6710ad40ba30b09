"""The optimizers' kernels: one step for a list of parameters in one call."""

from collections.abc import Sequence
from operator import index

import numpy as np
import numpy.typing as npt

from fastnn import _kernels

Floats = npt.NDArray[np.floating]
Arrays = Sequence[Floats]


def _step(function: str, step: int) -> int:
    if not 1 <= index(step) < 2**63:
        raise ValueError(f"{function}: step is {step}; the first is 1")
    return index(step)


def sgd(
    params: Arrays,
    grads: Arrays,
    m: Arrays | None = None,
    *,
    step: int,
    lr: float,
    momentum: float = 0.0,
    dampening: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    grad_scale: float = 1.0,
    zero_grad: bool = False,
) -> None:
    """One step of stochastic gradient descent for all parameters, in place, as PyTorch computes it.

    ``g = grad_scale * grad + weight_decay * p``; ``m = momentum * m + (1 - dampening) * g`` (``m = g`` in step 1);
    ``p -= lr * (g + momentum * m if nesterov else m)``, and ``p -= lr * g`` without `m`.

    Parameters
    ----------
    params, grads, m : list of ndarray
        Equally long lists of equal shapes, C-contiguous and writeable; no two arrays share memory.
    step : int
        1, 2, ...
    zero_grad : bool
        Set the gradients to zero in the same pass.

    Raises
    ------
    TypeError
        For anything but lists of NumPy arrays of float32 or float64, all of one type.
    ValueError
        Where shapes differ, arrays overlap or cannot be written; nothing has been changed then.

    Examples
    --------
    >>> p = np.array([1.0, 2.0])
    >>> sgd([p], [np.array([1.0, -1.0])], step=1, lr=0.5)
    >>> p
    array([0.5, 2.5])
    """
    _kernels.sgd(
        params,
        grads,
        m,
        step=_step("sgd", step),
        lr=lr,
        momentum=momentum,
        dampening=dampening,
        nesterov=nesterov,
        weight_decay=weight_decay,
        grad_scale=grad_scale,
        zero_grad=zero_grad,
    )


def adam(
    params: Arrays,
    grads: Arrays,
    m: Arrays,
    v: Arrays,
    most: Arrays | None = None,
    *,
    step: int,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    grad_scale: float = 1.0,
    zero_grad: bool = False,
) -> None:
    """One step of Adam [1]_, or of AdamW [2]_ with `decoupled`, for all parameters, in place, as PyTorch computes it.

    ``m = lerp(m, g, 1 - beta1)``, ``v = beta2 * v + (1 - beta2) * g * g``,
    ``p -= lr / (1 - beta1**step) * m / (sqrt(v) / sqrt(1 - beta2**step) + eps)``. AMSGrad [3]_ where `most` is given:
    ``most = max(most, v)`` stands in place of v in the last of them. Arguments and errors as `sgd`.

    References
    ----------
    .. [1] Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015.
    .. [2] Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019.
    .. [3] Reddi, Kale and Kumar, "On the convergence of Adam and beyond", ICLR 2018.

    Examples
    --------
    >>> p, m, v = np.array([1.0]), np.zeros(1), np.zeros(1)
    >>> adam([p], [np.array([3.0])], [m], [v], step=1, lr=0.1)
    >>> p.round(6)
    array([0.9])
    """
    _kernels.adam(
        params,
        grads,
        m,
        v,
        most,
        step=_step("adam", step),
        lr=lr,
        beta1=beta1,
        beta2=beta2,
        eps=eps,
        weight_decay=weight_decay,
        decoupled=decoupled,
        grad_scale=grad_scale,
        zero_grad=zero_grad,
    )


def rmsprop(
    params: Arrays,
    grads: Arrays,
    v: Arrays,
    m: Arrays | None = None,
    mean: Arrays | None = None,
    *,
    step: int,
    lr: float,
    alpha: float = 0.99,
    eps: float = 1e-8,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    grad_scale: float = 1.0,
    zero_grad: bool = False,
) -> None:
    """One step of RMSprop [1]_ for all parameters, in place, as PyTorch computes it; centred where `mean` is given.

    ``v = alpha * v + (1 - alpha) * g * g``, ``d = g / (sqrt(v - mean**2) + eps)``, ``m = momentum * m + d``,
    ``p -= lr * m`` (d without `m`). Arguments and errors as `sgd`.

    References
    ----------
    .. [1] Tieleman and Hinton, "Lecture 6.5 - RMSprop", Coursera, 2012.

    Examples
    --------
    >>> p, v = np.array([1.0]), np.zeros(1)
    >>> rmsprop([p], [np.array([3.0])], [v], step=1, lr=0.1, alpha=0.0)
    >>> p.round(6)
    array([0.9])
    """
    _kernels.rmsprop(
        params,
        grads,
        v,
        m,
        mean,
        step=_step("rmsprop", step),
        lr=lr,
        alpha=alpha,
        eps=eps,
        momentum=momentum,
        weight_decay=weight_decay,
        grad_scale=grad_scale,
        zero_grad=zero_grad,
    )
