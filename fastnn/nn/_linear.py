"""The dense layer and the layers that only move shapes."""

import math
from collections.abc import Callable

import numpy as np

from .. import _ops, init
from .._checks import integer
from . import functional
from ._module import Module
from ._parameter import fresh

FUSED = ("relu", "relu6", "gelu", "tanh", "sigmoid", "silu", "hardswish")  # done in the matmul's epilogue
_BY_NAME = (*FUSED, "leaky_relu", "elu", "softplus", "softmax", "log_softmax")


def _activation(activation: str | Callable | None) -> str | Callable | None:
    """Return what `Linear.activation` keeps: None, the name of a fused activation, or a callable."""
    if activation is None or callable(activation):
        return activation
    if not isinstance(activation, str):
        raise TypeError(f"Linear: activation must be a name, a callable or None, got {type(activation).__name__}")
    if activation in ("linear", "identity", "none"):
        return None
    if activation not in _BY_NAME:
        raise ValueError(
            f"Linear: unknown activation {activation!r}; expected one of {', '.join(_BY_NAME)} or a callable"
        )
    return activation if activation in FUSED else getattr(functional, activation)


class Linear(Module):
    """A dense layer: `y = activation(x @ weight.T + bias)`.

    Parameters
    ----------
    in_features, out_features : int
        Sizes of the last axis of x and y.
    bias : bool
        Whether there is a bias.
    activation : None, str or callable
        "relu", "relu6", "gelu", "tanh", "sigmoid", "silu" and "hardswish" are computed in the product's pass;
        "leaky_relu", "elu", "softplus", "softmax" and "log_softmax" are known too; anything callable on a Tensor will
        do.
    dtype : dtype
        float32 or float64.

    Attributes
    ----------
    weight : Parameter, shape (out_features, in_features)
    bias : Parameter, shape (out_features,), or None
        Both drawn from U(-k, k) with k = 1 / sqrt(in_features), as in PyTorch.

    Notes
    -----
    x: (..., in_features); y: (..., out_features).

    Raises
    ------
    ValueError, TypeError
        For sizes below one and activations that are not known.

    Examples
    --------
    >>> import fastnn as fnn
    >>> layer = fnn.nn.Linear(3, 4, activation="relu")
    >>> layer(fnn.zeros(5, 3)).shape
    (5, 4)
    >>> layer
    Linear(in_features=3, out_features=4, bias=True, activation=relu)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        activation: str | Callable | None = None,
        *,
        dtype=np.float32,
    ) -> None:
        self.in_features = integer("Linear", "in_features", in_features)
        self.out_features = integer("Linear", "out_features", out_features)
        self.activation = _activation(activation)
        self.weight = fresh((self.out_features, self.in_features), dtype)
        self.bias = fresh(self.out_features, dtype) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.in_features)
            init.uniform_(self.bias, -bound, bound)

    def forward(self, x):
        """x: (..., in_features) -> (..., out_features)."""
        activation = self.activation
        if callable(activation):
            return activation(_ops.linear(x, self.weight, self.bias))
        return _ops.linear(x, self.weight, self.bias, activation)

    def extra_repr(self) -> str:
        text = f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
        if self.activation is None or isinstance(self.activation, Module):
            return text
        name = self.activation if isinstance(self.activation, str) else getattr(self.activation, "__name__", "callable")
        return f"{text}, activation={name}"


class Identity(Module):
    """Returns its input; arguments of the constructor are ignored, so that it can stand in for any layer.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.Identity()(fnn.ones(2)).tolist()
    [1.0, 1.0]
    """

    def __init__(self, *args, **kwargs) -> None:
        pass

    def forward(self, x):
        """Return `x`."""
        return x


class Flatten(Module):
    """Makes one axis of the axes `start_dim` to `end_dim` (both included).

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.Flatten()(fnn.zeros(5, 3, 4)).shape
    (5, 12)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, x):
        """x: (N, ...) -> (N, product)."""
        return _ops.flatten(x, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """Makes several axes of one: the reverse of `Flatten`.

    Parameters
    ----------
    dim : int
        The axis.
    unflattened_size : tuple of int
        What it becomes; one size may be -1.

    Raises
    ------
    ValueError
        When called, if x has no such axis, or one of another size.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.Unflatten(1, (3, 2, 2))(fnn.zeros(5, 12)).shape
    (5, 3, 2, 2)
    """

    def __init__(self, dim: int, unflattened_size: tuple[int, ...]) -> None:
        self.dim = dim
        self.unflattened_size = tuple(unflattened_size)

    def forward(self, x):
        """x: (N, product) -> (N, ...)."""
        if not -x.ndim <= self.dim < x.ndim:
            raise ValueError(f"Unflatten: x is {x.shape}; it has no dimension {self.dim}")
        d = self.dim % x.ndim
        return _ops.reshape(x, (*x.shape[:d], *self.unflattened_size, *x.shape[d + 1 :]))

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
