"""Initialisations, in place, under the names of `torch.nn.init`; all draw from the generator of `fastnn.manual_seed`.

Each takes a Tensor, fills it without recording anything and returns it. Also reachable as `fastnn.nn.init`.
"""

import math

import numpy as np

from ._checks import number
from ._random import generator
from ._tape import no_grad

__all__ = [
    "calculate_gain",
    "constant_",
    "eye_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "normal_",
    "ones_",
    "orthogonal_",
    "trunc_normal_",
    "uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]

_GAINS = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5.0 / 3.0, "relu": math.sqrt(2.0), "selu": 0.75}
_GAINS |= {f"conv{kind}{axes}d": 1.0 for kind in ("", "_transpose") for axes in (1, 2, 3)}


def _fill(tensor, values):
    """Copy `values` into `tensor`; returns it."""
    with no_grad():
        tensor.copy_(values)
    return tensor


def _checked(function: str, tensor):
    data = getattr(tensor, "data", None)
    if not isinstance(data, np.ndarray) or not hasattr(tensor, "copy_"):
        hint = "; give the Tensor itself, not its data" if isinstance(tensor, np.ndarray) else ""
        raise TypeError(f"{function}: tensor must be a Tensor, got {type(tensor).__name__}{hint}")
    if data.dtype.kind != "f":
        raise TypeError(f"{function}: tensor must be floating point, got {data.dtype}")
    return data


def _finite(function: str, **numbers: float) -> None:
    for name, value in numbers.items():
        if not math.isfinite(number(function, name, value)):
            raise ValueError(f"{function}: {name} must be finite, got {value}")


def _fans(function: str, data: np.ndarray) -> tuple[int, int]:
    """Return (fan in, fan out) of a weight of shape (out, in, kernel...)."""
    if data.ndim < 2:
        raise ValueError(f"{function}: a tensor of at least 2 axes has fans, got shape {data.shape}")
    field = math.prod(data.shape[2:])
    return data.shape[1] * field, data.shape[0] * field


def uniform_(tensor, a: float = 0.0, b: float = 1.0):
    """Fill with draws from U(a, b).

    Parameters
    ----------
    tensor : Tensor, any shape
    a, b : float
        The bounds.

    Returns
    -------
    Tensor
        The same tensor.

    Raises
    ------
    ValueError
        If a > b or one is not finite.

    Examples
    --------
    >>> import fastnn as fnn
    >>> t = fnn.nn.init.uniform_(fnn.empty(100), 2.0, 3.0)
    >>> 2.0 <= t.min().item() <= t.max().item() <= 3.0
    True
    """
    data = _checked("uniform_", tensor)
    _finite("uniform_", a=a, b=b)
    if a > b:
        raise ValueError(f"uniform_: a must not exceed b, got a={a}, b={b}")
    values = generator().random(data.shape, dtype=data.dtype)
    values *= b - a
    values += a
    return _fill(tensor, values)


def normal_(tensor, mean: float = 0.0, std: float = 1.0):
    """Fill with draws from N(mean, std**2).

    Raises
    ------
    ValueError
        If `std` is negative or a number is not finite.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.init.normal_(fnn.empty(2, 3)).shape
    (2, 3)
    """
    data = _checked("normal_", tensor)
    _finite("normal_", mean=mean, std=std)
    if std < 0:
        raise ValueError(f"normal_: std must not be negative, got {std}")
    values = generator().standard_normal(data.shape, dtype=data.dtype)
    values *= std
    values += mean
    return _fill(tensor, values)


def constant_(tensor, val: float):
    """Fill with `val`.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.init.constant_(fnn.empty(2), 0.5).tolist()
    [0.5, 0.5]
    """
    data = _checked("constant_", tensor)
    return _fill(tensor, np.full(data.shape, val, data.dtype))


def zeros_(tensor):
    """Fill with zeros.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.init.zeros_(fnn.empty(2)).tolist()
    [0.0, 0.0]
    """
    return constant_(tensor, 0.0)


def ones_(tensor):
    """Fill with ones.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.init.ones_(fnn.empty(2)).tolist()
    [1.0, 1.0]
    """
    return constant_(tensor, 1.0)


def eye_(tensor):
    """Fill a matrix with ones on the diagonal and zeros elsewhere.

    Raises
    ------
    ValueError
        If the tensor is not a matrix.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.init.eye_(fnn.empty(2, 2)).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    data = _checked("eye_", tensor)
    if data.ndim != 2:
        raise ValueError(f"eye_: a matrix expected, got shape {data.shape}")
    return _fill(tensor, np.eye(*data.shape, dtype=data.dtype))


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """Return the factor by which weights before this activation are drawn larger, as PyTorch defines it.

    Parameters
    ----------
    nonlinearity : str
        "linear", "sigmoid", "tanh", "relu", "leaky_relu" or "selu"; "conv1d", "conv_transpose1d" and the like are
        linear.
    param : float, optional
        The negative slope of "leaky_relu" (0.01).

    Raises
    ------
    ValueError
        If the name is not known.

    Examples
    --------
    >>> import fastnn as fnn
    >>> round(fnn.nn.init.calculate_gain("relu"), 4)
    1.4142
    """
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        _finite("calculate_gain", param=slope)
        return math.sqrt(2.0 / (1 + slope**2))
    if nonlinearity not in _GAINS:
        names = ", ".join([*_GAINS, "leaky_relu"])
        raise ValueError(f"calculate_gain: unknown nonlinearity {nonlinearity!r}; expected one of {names}")
    return _GAINS[nonlinearity]


def xavier_uniform_(tensor, gain: float = 1.0):
    """Fill with U(-k, k), k = gain * sqrt(6 / (fan_in + fan_out)).

    Raises
    ------
    ValueError
        If the tensor has fewer than 2 axes.

    References
    ----------
    Glorot, Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010.

    Examples
    --------
    >>> import fastnn as fnn
    >>> w = fnn.nn.init.xavier_uniform_(fnn.empty(3, 3))
    >>> w.abs().max().item() <= 1.0
    True
    """
    data = _checked("xavier_uniform_", tensor)
    bound = gain * math.sqrt(6.0 / max(sum(_fans("xavier_uniform_", data)), 1))
    return uniform_(tensor, -bound, bound)


def xavier_normal_(tensor, gain: float = 1.0):
    """Fill with N(0, s**2), s = gain * sqrt(2 / (fan_in + fan_out)); see `xavier_uniform_`.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.init.xavier_normal_(fnn.empty(3, 4)).shape
    (3, 4)
    """
    data = _checked("xavier_normal_", tensor)
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / max(sum(_fans("xavier_normal_", data)), 1)))


def _kaiming_std(function: str, tensor, a: float, mode: str, nonlinearity: str) -> float:
    fan_in, fan_out = _fans(function, _checked(function, tensor))
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"{function}: mode must be 'fan_in' or 'fan_out', got {mode!r}")
    return calculate_gain(nonlinearity, a) / math.sqrt(max(fan_in if mode == "fan_in" else fan_out, 1))


def kaiming_uniform_(tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"):
    """Fill with U(-k, k), k = gain * sqrt(3 / fan).

    Parameters
    ----------
    tensor : Tensor, shape (out, in, ...)
    a : float
        The negative slope of a leaky ReLU behind the layer.
    mode : str
        "fan_in" keeps the size of activations, "fan_out" that of gradients.
    nonlinearity : str
        As in `calculate_gain`.

    Raises
    ------
    ValueError
        If the tensor has fewer than 2 axes, or a name is not known.

    References
    ----------
    He, Zhang, Ren, Sun, "Delving deep into rectifiers", 2015.

    Examples
    --------
    >>> import fastnn as fnn
    >>> w = fnn.nn.init.kaiming_uniform_(fnn.empty(4, 6), nonlinearity="relu")
    >>> w.abs().max().item() <= 1.0
    True
    """
    bound = math.sqrt(3.0) * _kaiming_std("kaiming_uniform_", tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound)


def kaiming_normal_(tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"):
    """Fill with N(0, s**2), s = gain / sqrt(fan); see `kaiming_uniform_`.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.init.kaiming_normal_(fnn.empty(3, 4)).shape
    (3, 4)
    """
    return normal_(tensor, 0.0, _kaiming_std("kaiming_normal_", tensor, a, mode, nonlinearity))


def orthogonal_(tensor, gain: float = 1.0):
    """Fill with `gain` times a (semi-)orthogonal matrix: axes behind the first count as one.

    Raises
    ------
    ValueError
        If the tensor has fewer than 2 axes.

    References
    ----------
    Saxe, McClelland, Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep linear networks", 2013.

    Examples
    --------
    >>> import fastnn as fnn
    >>> w = fnn.nn.init.orthogonal_(fnn.empty(2, 5))
    >>> [[round(v, 4) + 0.0 for v in row] for row in (w @ w.T).tolist()]
    [[1.0, 0.0], [0.0, 1.0]]
    """
    data = _checked("orthogonal_", tensor)
    if data.ndim < 2:
        raise ValueError(f"orthogonal_: a tensor of at least 2 axes expected, got shape {data.shape}")
    if data.size == 0:
        return tensor
    rows, columns = data.shape[0], data.size // data.shape[0]
    q, r = np.linalg.qr(generator().standard_normal((max(rows, columns), min(rows, columns))))
    q *= np.where(np.diagonal(r) < 0, -1.0, 1.0)  # makes the draw uniform over all orthogonal matrices
    if rows < columns:
        q = q.T
    return _fill(tensor, (gain * q).reshape(data.shape).astype(data.dtype))


def trunc_normal_(tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0):
    """Fill with draws from N(mean, std**2) that fell between `a` and `b` (bounds of the values, not of the deviations).

    Raises
    ------
    ValueError
        If a >= b, `std` is not positive, or a number is not finite.

    Examples
    --------
    >>> import fastnn as fnn
    >>> w = fnn.nn.init.trunc_normal_(fnn.empty(1000), std=0.02, a=-0.04, b=0.04)
    >>> w.abs().max().item() <= 0.04
    True
    """
    data = _checked("trunc_normal_", tensor)
    _finite("trunc_normal_", mean=mean, std=std, a=a, b=b)
    if std <= 0 or a >= b:
        raise ValueError(f"trunc_normal_: std > 0 and a < b expected, got std={std}, a={a}, b={b}")
    values = _truncated((a - mean) / std, (b - mean) / std, data.size)
    values = (values * std + mean).reshape(data.shape).astype(data.dtype)
    # Rounding to float32 may step over a bound.
    return _fill(tensor, np.clip(values, data.dtype.type(a), data.dtype.type(b)))


def _truncated(low: float, high: float, n: int) -> np.ndarray:
    """Draw n standard normals between low and high by rejection; shape (n,)."""
    mass = 0.5 * (math.erf(high / math.sqrt(2)) - math.erf(low / math.sqrt(2)))
    peak = min(max(0.0, low), high)  # where the density is largest
    # Beyond `reach` from the centre the density is below 1e-17 of its peak: not worth proposing.
    reach = math.sqrt(peak**2 + 80.0)
    low, high = max(low, -reach), min(high, reach)
    rng = generator()
    values = np.empty(n)
    todo = np.arange(n)
    while todo.size:
        if mass > 0.2:
            draws = rng.standard_normal(todo.size)
            good = (draws >= low) & (draws <= high)
        else:  # far from the centre normal draws would be rejected for ever
            draws = rng.uniform(low, high, todo.size)
            good = rng.uniform(size=todo.size) <= np.exp((peak**2 - draws**2) / 2)
        values[todo[good]] = draws[good]
        todo = todo[~good]
    return values
