"""SGD, Adam, AdamW and RMSprop, each a set of hyperparameters for one kernel, with PyTorch's formulas to the letter."""

from collections.abc import Iterable, Mapping
from typing import Any

from ._optimizer import Optimizer, check_number


class SGD(Optimizer):
    """Gradient descent, with momentum if wanted: `p -= lr * m`, `m = momentum * m + (1 - dampening) * g`.

    Parameters
    ----------
    params : iterable of Tensor or of dict
        What to move, or groups with hyperparameters of their own.
    lr : float
        The learning rate.
    momentum, dampening, weight_decay : float
        As in the formula; `weight_decay * p` is added to the gradient. The first step takes `m = g`.
    nesterov : bool
        Look ahead: `p -= lr * (g + momentum * m)`.
    maximize : bool
        Go up instead of down.

    Raises
    ------
    ValueError, TypeError
        For hyperparameters out of bounds and things that are not leaf Tensors.

    References
    ----------
    Sutskever et al., "On the importance of initialization and momentum in deep learning", 2013.

    Examples
    --------
    >>> import fastnn as fnn
    >>> w = fnn.tensor([1.0], requires_grad=True)
    >>> optimizer = fnn.optim.SGD([w], lr=0.25)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.tolist()
    [0.5]
    """

    _kind = "sgd"
    _names = {"m": "momentum_buffer"}  # noqa: RUF012

    def __init__(
        self,
        params: Iterable,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
            },
        )

    def _check(self, group: Mapping[str, Any]) -> None:
        for key in ("lr", "momentum", "weight_decay"):
            check_number("SGD", key, group[key])
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError("SGD: nesterov needs a momentum and no dampening")

    def _keeps(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        return ("m",) if group["momentum"] else ()

    def _run(self, kernel, step: int, group: Mapping[str, Any]) -> None:
        kernel.step(
            step,
            group["lr"],
            group["momentum"],
            group["dampening"],
            0.0,
            0.0,
            0.0,
            group["weight_decay"],
            -1.0 if group["maximize"] else 1.0,
            group["nesterov"],
        )


class Adam(Optimizer):
    """Steps scaled by running means of the gradient and of its square, both corrected for having started at zero.

    Parameters
    ----------
    params : iterable of Tensor or of dict
        What to move, or groups with hyperparameters of their own.
    lr : float
        The learning rate.
    betas : (float, float)
        Decay of the running means of the gradient and of its square.
    eps : float
        Added to the denominator.
    weight_decay : float
        `weight_decay * p` is added to the gradient.
    amsgrad : bool
        Scale by the greatest running mean of the square so far, so that steps never grow because it shrinks.
    maximize : bool
        Go up instead of down.

    Raises
    ------
    ValueError, TypeError
        For hyperparameters out of bounds and things that are not leaf Tensors.

    References
    ----------
    Kingma, Ba, "Adam: a method for stochastic optimization", 2014; amsgrad: Reddi, Kale, Kumar, "On the convergence of
    Adam and beyond", 2018.

    Examples
    --------
    >>> import fastnn as fnn
    >>> w = fnn.tensor([1.0], requires_grad=True)
    >>> optimizer = fnn.optim.Adam([w], lr=0.5)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> round(w.item(), 4)
    0.5
    """

    _kind = "adam"
    _names = {"m": "exp_avg", "v": "exp_avg_sq", "most": "max_exp_avg_sq"}  # noqa: RUF012
    _decoupled = False

    def __init__(
        self,
        params: Iterable,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "maximize": maximize,
            },
        )

    def _check(self, group: Mapping[str, Any]) -> None:
        name = type(self).__name__
        for key in ("lr", "eps", "weight_decay"):
            check_number(name, key, group[key])
        if not isinstance(group["betas"], tuple | list) or len(group["betas"]) != 2:
            raise TypeError(f"{name}: betas must be a pair of numbers, got {group['betas']!r}")
        for i, beta in enumerate(group["betas"]):
            check_number(name, f"betas[{i}]", beta, below=1.0)

    def _keeps(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        return ("m", "v", "most") if group["amsgrad"] else ("m", "v")

    def _run(self, kernel, step: int, group: Mapping[str, Any]) -> None:
        beta1, beta2 = group["betas"]
        kernel.step(
            step,
            group["lr"],
            0.0,
            0.0,
            beta1,
            beta2,
            group["eps"],
            group["weight_decay"],
            -1.0 if group["maximize"] else 1.0,
            False,
            self._decoupled,
            False,
            group["amsgrad"],
        )


class AdamW(Adam):
    """Adam with the weight decay apart from the gradient: `p *= 1 - lr * weight_decay` before each step.

    Parameters
    ----------
    params, lr, betas, eps, weight_decay, amsgrad, maximize
        As in `Adam`; `weight_decay` is 0.01 by default.

    References
    ----------
    Loshchilov, Hutter, "Decoupled weight decay regularization", 2017.

    Examples
    --------
    >>> import fastnn as fnn
    >>> w = fnn.tensor([1.0], requires_grad=True)
    >>> optimizer = fnn.optim.AdamW([w], lr=0.5, weight_decay=0.2)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> round(w.item(), 4)
    0.4
    """

    _decoupled = True

    def __init__(
        self,
        params: Iterable,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)


class RMSprop(Optimizer):
    """Steps scaled by the root of a running mean of the squared gradient.

    Parameters
    ----------
    params : iterable of Tensor or of dict
        What to move, or groups with hyperparameters of their own.
    lr : float
        The learning rate.
    alpha : float
        Decay of the running mean.
    eps : float
        Added to the denominator.
    weight_decay : float
        `weight_decay * p` is added to the gradient.
    momentum : float
        Momentum of the scaled steps.
    centered : bool
        Scale by an estimate of the variance instead of the second moment.
    maximize : bool
        Go up instead of down.

    Raises
    ------
    ValueError, TypeError
        For hyperparameters out of bounds and things that are not leaf Tensors.

    References
    ----------
    Hinton, "Neural networks for machine learning", lecture 6e, 2012; centered: Graves, arXiv:1308.0850.

    Examples
    --------
    >>> import fastnn as fnn
    >>> w = fnn.tensor([1.0], requires_grad=True)
    >>> optimizer = fnn.optim.RMSprop([w], lr=0.01)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> round(w.item(), 4)
    0.9
    """

    _kind = "rmsprop"
    _names = {"m": "momentum_buffer", "v": "square_avg", "mean": "grad_avg"}  # noqa: RUF012

    def __init__(
        self,
        params: Iterable,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "alpha": alpha,
                "eps": eps,
                "centered": centered,
                "weight_decay": weight_decay,
                "maximize": maximize,
            },
        )

    def _check(self, group: Mapping[str, Any]) -> None:
        for key in ("lr", "alpha", "eps", "weight_decay", "momentum"):
            check_number("RMSprop", key, group[key])

    def _keeps(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        return ("v",) + (("m",) if group["momentum"] else ()) + (("mean",) if group["centered"] else ())

    def _run(self, kernel, step: int, group: Mapping[str, Any]) -> None:
        kernel.step(
            step,
            group["lr"],
            group["momentum"],
            0.0,
            0.0,
            group["alpha"],
            group["eps"],
            group["weight_decay"],
            -1.0 if group["maximize"] else 1.0,
            False,
            False,
            group["centered"],
        )
