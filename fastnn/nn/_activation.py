"""Activations as modules, each a name and settings for a function of `nn.functional`."""

from collections.abc import Callable

import numpy as np

from .. import _ops
from .._checks import integer
from . import functional as F
from ._module import Module
from ._parameter import fresh


class _InPlace(Module):
    """What activations with PyTorch's `inplace=` share: it is taken and has no effect, the input keeps its values."""

    def __init__(self, inplace: bool = False) -> None:
        pass


class ReLU(_InPlace):
    """`max(x, 0)`; `inplace` is taken as in PyTorch and has no effect, x keeps its values.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.ReLU()(fnn.tensor([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """

    def forward(self, x):
        """x: any shape -> the same shape."""
        return _ops.relu(x)


class LeakyReLU(Module):
    """`x` where positive, `negative_slope * x` elsewhere; `inplace` has no effect.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.LeakyReLU(0.5)(fnn.tensor([-1.0, 2.0])).tolist()
    [-0.5, 2.0]
    """

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        self.negative_slope = float(negative_slope)

    def forward(self, x):
        """x: any shape -> the same shape."""
        return F.leaky_relu(x, self.negative_slope)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}"


class PReLU(Module):
    """`x` where positive, `weight * x` elsewhere: a LeakyReLU that learns its slope.

    Parameters
    ----------
    num_parameters : int
        1 for a slope that all share, or one for each channel (axis 1).
    init : float
        Where the slopes start.

    Attributes
    ----------
    weight : Parameter, shape (num_parameters,)

    Raises
    ------
    ValueError, TypeError
        If `num_parameters` is no integer of at least 1; in the call, if x has another number of channels.

    References
    ----------
    He, Zhang, Ren, Sun, "Delving deep into rectifiers", 2015.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.PReLU(init=0.5)(fnn.tensor([-1.0, 2.0])).tolist()
    [-0.5, 2.0]
    """

    def __init__(self, num_parameters: int = 1, init: float = 0.25, dtype=np.float32) -> None:
        self.num_parameters = integer("PReLU", "num_parameters", num_parameters)
        self.weight = fresh(num_parameters, dtype, init)

    def forward(self, x):
        """x: (N, C, ...) -> the same shape."""
        return F.prelu(x, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


class ELU(Module):
    """`x` where positive, `alpha * (exp(x) - 1)` elsewhere; `inplace` has no effect.

    References
    ----------
    Clevert, Unterthiner, Hochreiter, "Fast and accurate deep network learning by exponential linear units", 2015.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.ELU()(fnn.tensor([0.0, 2.0])).tolist()
    [0.0, 2.0]
    """

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        self.alpha = float(alpha)

    def forward(self, x):
        """x: any shape -> the same shape."""
        return F.elu(x, self.alpha)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}"


class GELU(Module):
    """`x * Phi(x)`, Phi the normal distribution; `approximate="tanh"` computes the usual approximation of it.

    Raises
    ------
    ValueError
        If `approximate` is neither "none" nor "tanh".

    References
    ----------
    Hendrycks, Gimpel, "Gaussian error linear units", 2016.

    Examples
    --------
    >>> import fastnn as fnn
    >>> round(fnn.nn.GELU()(fnn.tensor([1.0])).item(), 4)
    0.8413
    """

    def __init__(self, approximate: str = "none") -> None:
        if approximate not in ("none", "tanh"):
            raise ValueError(f"GELU: approximate must be 'none' or 'tanh', got {approximate!r}")
        self.approximate = approximate

    def forward(self, x):
        """x: any shape -> the same shape."""
        return F.gelu(x, self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class SiLU(_InPlace):
    """`x * sigmoid(x)`, also known as swish; `inplace` has no effect.

    Examples
    --------
    >>> import fastnn as fnn
    >>> round(fnn.nn.SiLU()(fnn.tensor([1.0])).item(), 4)
    0.7311
    """

    def forward(self, x):
        """x: any shape -> the same shape."""
        return _ops.silu(x)


class Sigmoid(Module):
    """`1 / (1 + exp(-x))`.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.Sigmoid()(fnn.tensor([0.0])).item()
    0.5
    """

    def forward(self, x):
        """x: any shape -> the same shape."""
        return _ops.sigmoid(x)


class Tanh(Module):
    """The hyperbolic tangent.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.Tanh()(fnn.tensor([0.0])).item()
    0.0
    """

    def forward(self, x):
        """x: any shape -> the same shape."""
        return _ops.tanh(x)


class Softplus(Module):
    """`log(1 + exp(beta * x)) / beta`, and `x` itself where `beta * x > threshold`.

    Raises
    ------
    ValueError
        If `beta` is not positive.

    Examples
    --------
    >>> import fastnn as fnn
    >>> round(fnn.nn.Softplus()(fnn.tensor([0.0])).item(), 4)
    0.6931
    """

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        if not beta > 0:
            raise ValueError(f"Softplus: beta must be positive, got {beta}")
        self.beta = float(beta)
        self.threshold = float(threshold)

    def forward(self, x):
        """x: any shape -> the same shape."""
        return F.softplus(x, self.beta, self.threshold)

    def extra_repr(self) -> str:
        return f"beta={self.beta}, threshold={self.threshold}"


class Softmax(Module):
    """`exp(x) / sum(exp(x))` along axis `dim` (the last by default; PyTorch's default guesses by the number of axes).

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.Softmax()(fnn.zeros(2)).tolist()
    [0.5, 0.5]
    """

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim

    def forward(self, x):
        """x: any shape -> the same shape."""
        return F.softmax(x, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class LogSoftmax(Module):
    """The logarithm of `Softmax`, computed without leaving the range of floats.

    Examples
    --------
    >>> import fastnn as fnn
    >>> round(fnn.nn.LogSoftmax()(fnn.zeros(2))[0].item(), 4)
    -0.6931
    """

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim

    def forward(self, x):
        """x: any shape -> the same shape."""
        return F.log_softmax(x, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class ReLU6(_InPlace):
    """`min(max(x, 0), 6)`; `inplace` has no effect. See `nn.functional.relu6`.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.ReLU6()(fnn.tensor([-1.0, 7.0])).tolist()
    [0.0, 6.0]
    """

    def forward(self, x):
        """x: any shape -> the same shape."""
        return F.relu6(x)


class Hardtanh(Module):
    """x limited to [`min_val`, `max_val`]; `inplace` has no effect.

    Raises
    ------
    ValueError
        If `min_val` is not below `max_val`.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.Hardtanh()(fnn.tensor([-3.0, 0.5])).tolist()
    [-1.0, 0.5]
    """

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> None:
        if not min_val < max_val:
            raise ValueError(f"Hardtanh: min_val {min_val} must be below max_val {max_val}")
        self.min_val, self.max_val = float(min_val), float(max_val)

    def forward(self, x):
        """x: any shape -> the same shape."""
        return F.hardtanh(x, self.min_val, self.max_val)

    def extra_repr(self) -> str:
        return f"min_val={self.min_val}, max_val={self.max_val}"


class Hardswish(_InPlace):
    """`x * relu6(x + 3) / 6`; `inplace` has no effect. See `nn.functional.hardswish`.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.Hardswish()(fnn.tensor([3.0])).item()
    3.0
    """

    def forward(self, x):
        """x: any shape -> the same shape."""
        return F.hardswish(x)


class Mish(_InPlace):
    """`x * tanh(softplus(x))`; `inplace` has no effect. See `nn.functional.mish`.

    Examples
    --------
    >>> import fastnn as fnn
    >>> round(fnn.nn.Mish()(fnn.tensor([1.0])).item(), 4)
    0.8651
    """

    def forward(self, x):
        """x: any shape -> the same shape."""
        return F.mish(x)


class SELU(_InPlace):
    """The ELU that keeps mean 0 and variance 1; `inplace` has no effect. See `nn.functional.selu`.

    Examples
    --------
    >>> import fastnn as fnn
    >>> round(fnn.nn.SELU()(fnn.tensor([1.0])).item(), 4)
    1.0507
    """

    def forward(self, x):
        """x: any shape -> the same shape."""
        return F.selu(x)


class LogSigmoid(Module):
    """`log(sigmoid(x))`.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.LogSigmoid()(fnn.tensor([-1000.0])).item()
    -1000.0
    """

    def forward(self, x):
        """x: any shape -> the same shape."""
        return F.logsigmoid(x)


class GLU(Module):
    """`a * sigmoid(b)` of the two halves of x along `dim`; see `nn.functional.glu`.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.GLU()(fnn.tensor([3.0, 0.0])).tolist()
    [1.5]
    """

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim

    def forward(self, x):
        """x: (..., 2 * D, ...) -> (..., D, ...)."""
        return F.glu(x, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Lambda(Module):
    """Any callable on Tensors as a module.

    Raises
    ------
    TypeError
        If `function` is not callable.

    Examples
    --------
    >>> import fastnn as fnn
    >>> net = fnn.nn.Sequential(fnn.nn.Linear(2, 3), fnn.nn.Lambda(lambda x: x.sin()))
    >>> net(fnn.zeros(1, 2)).shape
    (1, 3)
    """

    def __init__(self, function: Callable) -> None:
        if not callable(function):
            raise TypeError(f"Lambda: a callable expected, got {type(function).__name__}")
        self.function = function

    def forward(self, *args, **kwargs):
        """Call the function."""
        return self.function(*args, **kwargs)

    def extra_repr(self) -> str:
        return getattr(self.function, "__name__", type(self.function).__name__)


_FUSED = {ReLU: "relu", ReLU6: "relu6", SiLU: "silu", Sigmoid: "sigmoid", Tanh: "tanh", Hardswish: "hardswish"}


def fused_name(module: Module | None) -> str | None:
    """Return the name under which `linear` computes this activation itself, None if it cannot (or it is a subclass)."""
    if type(module) is GELU:
        return "gelu" if module.approximate == "none" else None
    return None if module is None else _FUSED.get(type(module))
