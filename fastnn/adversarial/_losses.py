"""What the two networks want, as numbers: three pairs of losses, and two penalties on the discriminator's slope.

    loss              of the discriminator                          of the generator
    non-saturating    softplus(-D(real)) + softplus(D(fake))        softplus(-D(fake))
    hinge             relu(1 - D(real)) + relu(1 + D(fake))         -D(fake)
    wasserstein       D(fake) - D(real)                             -D(fake)

The penalties are made of gradients, and training them takes gradients of gradients.
"""

from collections.abc import Callable
from typing import Any

from .. import _ops, _random
from .._ops import Tensor
from .._tape import grad

LOSSES = ("non-saturating", "hinge", "wasserstein")
_TINY = 1e-12  # under the root: where the gradient vanishes, the norm has no slope


def _check(function: str, kind: str) -> None:
    if kind not in LOSSES:
        raise ValueError(f"{function}: kind must be one of {', '.join(LOSSES)}, got {kind!r}")


def discriminator_loss(real: Any, fake: Any, kind: str = "hinge") -> Tensor:
    """What the discriminator makes small.

    Parameters
    ----------
    real, fake : Tensor
        What it said of real and of generated examples, higher for real; of any shape, also the maps of a patch
        discriminator.
    kind : {"hinge", "non-saturating", "wasserstein"}
        "wasserstein" needs `gradient_penalty` beside it.

    Returns
    -------
    Tensor, shape ()
        The mean over all numbers of `real` plus that over all of `fake`.

    Raises
    ------
    ValueError
        For another word.

    References
    ----------
    Goodfellow and others, "Generative adversarial nets", 2014; Lim, Ye, "Geometric GAN", 2017; Arjovsky, Chintala,
    Bottou, "Wasserstein GAN", 2017.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.adversarial.discriminator_loss(fnn.tensor([2.0, 0.0]), fnn.tensor([-1.0, 0.0])).item()
    1.0
    """
    _check("discriminator_loss", kind)
    if kind == "wasserstein":
        return _ops.mean(fake) - _ops.mean(real)
    if kind == "hinge":
        return _ops.mean(_ops.relu(1 - real)) + _ops.mean(_ops.relu(1 + fake))
    return _ops.mean(_ops.softplus(-real)) + _ops.mean(_ops.softplus(fake))


def generator_loss(fake: Any, kind: str = "hinge") -> Tensor:
    """What the generator makes small: the more real its examples look to the discriminator, the smaller.

    Parameters
    ----------
    fake : Tensor
        What the discriminator said of generated examples.
    kind : {"hinge", "non-saturating", "wasserstein"}

    Returns
    -------
    Tensor, shape ()

    Raises
    ------
    ValueError
        For another word.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.adversarial.generator_loss(fnn.tensor([0.5, 1.5])).item()
    -1.0
    """
    _check("generator_loss", kind)
    if kind == "non-saturating":
        return _ops.mean(_ops.softplus(-fake))
    return -_ops.mean(fake)


def _slopes(discriminator: Callable, x: Tensor, conditions: tuple) -> Tensor:
    """Return the squared norm of the discriminator's gradient at each x: (N,)."""
    x = x.detach().requires_grad_()
    (slope,) = grad([discriminator(x, *conditions).sum()], [x], create_graph=True)
    return _ops.sum(_ops.square(slope), tuple(range(1, slope.ndim)))


def gradient_penalty(discriminator: Callable, real: Tensor, fake: Tensor, *conditions: Any) -> Tensor:
    """How far the discriminator's slope is from one, between real and generated examples.

    ``mean((norm of d D(x) / d x - 1) ** 2)`` at points x drawn evenly from the lines between pairs.

    Parameters
    ----------
    discriminator : callable
        `discriminator(x, *conditions)`, (N, ...); no BatchNorm in it, which would mix the examples.
    real, fake : Tensor, shape (N, ...)
        Equal shapes; their own gradients are not followed.
    *conditions
        What else the discriminator is given.

    Returns
    -------
    Tensor, shape ()
        With a gradient for the discriminator's parameters.

    Raises
    ------
    ValueError
        If the shapes differ.

    References
    ----------
    Gulrajani and others, "Improved training of Wasserstein GANs", 2017.

    Examples
    --------
    >>> import fastnn as fnn
    >>> steep = fnn.nn.Linear(2, 1)
    >>> with fnn.no_grad():
    ...     _ = steep.weight.copy_([[3.0, 4.0]])
    >>> round(fnn.adversarial.gradient_penalty(steep, fnn.zeros(5, 2), fnn.ones(5, 2)).item(), 4)
    16.0
    """
    real, fake = _ops.as_tensor(real).detach(), _ops.as_tensor(fake).detach()
    if real.shape != fake.shape or not real.ndim:
        raise ValueError(f"gradient_penalty: real is {real.shape}, fake {fake.shape}; expected equal shapes (N, ...)")
    share = _random.generator().random((len(real), *(1,) * (real.ndim - 1))).astype(real.dtype)
    between = real + (fake - real) * _ops.from_numpy(share)
    norms = _ops.sqrt(_slopes(discriminator, between, conditions) + _TINY)
    return _ops.mean(_ops.square(norms - 1))


def r1_penalty(discriminator: Callable, real: Tensor, *conditions: Any) -> Tensor:
    """Half the squared slope of the discriminator at real examples: at the goal it should be flat there.

    Parameters
    ----------
    discriminator : callable
        `discriminator(x, *conditions)`, (N, ...).
    real : Tensor, shape (N, ...)
    *conditions
        What else the discriminator is given.

    Returns
    -------
    Tensor, shape ()

    References
    ----------
    Mescheder, Geiger, Nowozin, "Which training methods for GANs do actually converge?", 2018.

    Examples
    --------
    >>> import fastnn as fnn
    >>> steep = fnn.nn.Linear(2, 1)
    >>> with fnn.no_grad():
    ...     _ = steep.weight.copy_([[3.0, 4.0]])
    >>> fnn.adversarial.r1_penalty(steep, fnn.zeros(5, 2)).item()
    12.5
    """
    return _ops.mean(_slopes(discriminator, _ops.as_tensor(real), conditions)) / 2
