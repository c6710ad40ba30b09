"""Activations that have no kernel of their own: a few ops each."""

from .._ops import as_tensor, clamp, elu, sigmoid, softplus, tanh


def logsigmoid(x):
    """Compute `log(sigmoid(x))` without leaving the range of floats.

    Parameters
    ----------
    x : Tensor, any shape

    Returns
    -------
    Tensor
        Shape of x.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.functional.logsigmoid(fnn.tensor([-1000.0])).item()
    -1000.0
    """
    return -softplus(-as_tensor(x))


def hardtanh(x, min_val: float = -1.0, max_val: float = 1.0):
    """Limit x to [min_val, max_val]; the gradient is 0 outside.

    Raises
    ------
    ValueError
        If `min_val` is not below `max_val`.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.functional.hardtanh(fnn.tensor([-3.0, 0.5])).tolist()
    [-1.0, 0.5]
    """
    if not min_val < max_val:
        raise ValueError(f"hardtanh: min_val {min_val} must be below max_val {max_val}")
    return clamp(x, min_val, max_val)


def mish(x):
    """Compute `x * tanh(softplus(x))`.

    References
    ----------
    Misra, "Mish: a self regularized non-monotonic activation function", 2019.

    Examples
    --------
    >>> import fastnn as fnn
    >>> round(fnn.nn.functional.mish(fnn.tensor([1.0])).item(), 4)
    0.8651
    """
    x = as_tensor(x)
    return x * tanh(softplus(x))


def selu(x):
    """Compute `scale * elu(x, alpha)` with the two constants that keep mean 0 and variance 1 from layer to layer.

    References
    ----------
    Klambauer, Unterthiner, Mayr, Hochreiter, "Self-normalizing neural networks", 2017.

    Examples
    --------
    >>> import fastnn as fnn
    >>> round(fnn.nn.functional.selu(fnn.tensor([1.0])).item(), 4)
    1.0507
    """
    return 1.0507009873554804934193349852946 * elu(x, 1.6732632423543772848170429916717)


def glu(x, dim: int = -1):
    """Compute `a * sigmoid(b)` of the two halves a and b of x along `dim`.

    Parameters
    ----------
    x : Tensor
        An even size along `dim`, of which half remains.

    Raises
    ------
    ValueError
        If that size is odd.

    References
    ----------
    Dauphin, Fan, Auli, Grangier, "Language modeling with gated convolutional networks", 2016.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.functional.glu(fnn.tensor([3.0, 0.0])).tolist()
    [1.5]
    """
    x = as_tensor(x)
    if x.ndim == 0 or not -x.ndim <= dim < x.ndim or x.shape[dim] % 2:
        raise ValueError(f"glu: x is {x.shape}; expected an even size in dimension {dim}")
    a, b = x.split(x.shape[dim] // 2, dim) if x.shape[dim] else (x, x)
    return a * sigmoid(b)
