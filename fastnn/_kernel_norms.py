"""The normalisation kernels: batch and group norm over channels-last images, layer and RMS norm along rows."""

from fastnn import _kernels
from fastnn._checks import integer, number
from fastnn._kernel_steps import Floats


def batch_norm(
    x: Floats,
    weight: Floats | None = None,
    bias: Floats | None = None,
    mean: Floats | None = None,
    var: Floats | None = None,
    *,
    eps: float = 1e-5,
    relu: bool = False,
) -> tuple[Floats, Floats, Floats, Floats]:
    """Batch norm, ``y = (x - mean) / sqrt(var + eps) * weight + bias`` per channel, with ReLU on top if wanted.

    Parameters
    ----------
    x : ndarray
        (N, C, ...). Channels-last memory is used as it is, anything else is copied to it.
    weight, bias : ndarray, optional
        (C,).
    mean, var : ndarray, optional
        (C,): given for evaluation; otherwise those of x, the variance biased.
    eps : float
        At least 0.
    relu : bool
        Negative results become 0.

    Returns
    -------
    y, mean, var, rstd : ndarray
        (N, C, ...), channels-last in memory, and three of (C,); rstd is ``1 / sqrt(var + eps)``.

    Raises
    ------
    TypeError
        For anything but NumPy arrays of float32 or float64, all of one type, or only one of mean and var.
    ValueError
        Where shapes do not fit.
    MemoryError
        Where there is none for the result or partial results.

    Notes
    -----
    The variance comes from squares about means, never from a difference of large numbers. The bits are the same for
    every number of threads.

    Examples
    --------
    >>> import numpy as np
    >>> y, mean, var, rstd = batch_norm(np.array([[1.0], [3.0]]), eps=0.0)
    >>> y.ravel(), mean, var
    (array([-1.,  1.]), array([2.]), array([1.]))
    """
    return _kernels.batch_norm(x, weight, bias, mean, var, number("batch_norm", "eps", eps), relu)


def batch_norm_backward(
    dy: Floats,
    x: Floats,
    mean: Floats,
    rstd: Floats,
    weight: Floats | None = None,
    bias: Floats | None = None,
    *,
    relu: bool = False,
    constant: bool = False,
) -> tuple[Floats, Floats, Floats]:
    """Gradients of `batch_norm`: dx, dweight and dbias from dy and what the forward got and gave.

    `constant`: mean and var were given, not those of x. Shapes and errors as there.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[1.0], [3.0]])
    >>> _, mean, _, rstd = batch_norm(x, eps=0.0)
    >>> dx, dweight, dbias = batch_norm_backward(np.array([[0.0], [2.0]]), x, mean, rstd)
    >>> dx.ravel(), dweight, dbias
    (array([0., 0.]), array([2.]), array([2.]))
    """
    return _kernels.batch_norm_backward(dy, x, mean, rstd, weight, bias, relu, constant)


def group_norm(
    x: Floats,
    groups: int,
    weight: Floats | None = None,
    bias: Floats | None = None,
    *,
    eps: float = 1e-5,
    relu: bool = False,
) -> tuple[Floats, Floats, Floats, Floats]:
    """Group norm: each of `groups` runs of channels of each image by its own mean and variance.

    With groups = C it is instance norm.

    Returns y, mean, var and rstd, the last three (N, groups). Otherwise as `batch_norm`.

    Examples
    --------
    >>> import numpy as np
    >>> group_norm(np.array([[1.0, 3.0, 4.0, 8.0]]), 2, eps=0.0)[0]
    array([[-1.,  1., -1.,  1.]])
    """
    groups, eps = integer("group_norm", "groups", groups, None), number("group_norm", "eps", eps)
    return _kernels.group_norm(x, groups, weight, bias, eps, relu)


def group_norm_backward(
    dy: Floats,
    x: Floats,
    mean: Floats,
    rstd: Floats,
    groups: int,
    weight: Floats | None = None,
    bias: Floats | None = None,
    *,
    relu: bool = False,
) -> tuple[Floats, Floats, Floats]:
    """Gradients of `group_norm`: dx, dweight and dbias from dy and what the forward got and gave.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[1.0, 3.0]])
    >>> _, mean, _, rstd = group_norm(x, 1, eps=0.0)
    >>> group_norm_backward(np.ones((1, 2)), x, mean, rstd, 1)[2]
    array([1., 1.])
    """
    groups = integer("group_norm_backward", "groups", groups, None)
    return _kernels.group_norm_backward(dy, x, mean, rstd, groups, weight, bias, relu)


def layer_norm(
    x: Floats,
    weight: Floats | None = None,
    bias: Floats | None = None,
    residual: Floats | None = None,
    *,
    eps: float = 1e-5,
) -> tuple[Floats, ...]:
    """Layer norm over the last axis: ``y = (s - mean) / sqrt(var + eps) * weight + bias`` with ``s = x + residual``.

    Parameters
    ----------
    x : ndarray
        (..., cols).
    weight, bias : ndarray, optional
        (cols,).
    residual : ndarray, optional
        Of the shape of x, added in the same pass.
    eps : float
        At least 0.

    Returns
    -------
    y, mean, rstd : ndarray
        (..., cols) and two of (...). With `residual`: y, s, mean, rstd.

    Raises
    ------
    TypeError
        For anything but NumPy arrays of float32 or float64, all of one type.
    ValueError
        Where shapes do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> layer_norm(np.array([1.0, 3.0]), eps=0.0)
    (array([-1.,  1.]), array(2.), array(1.))
    """
    return _kernels.layer_norm(x, weight, bias, residual, number("layer_norm", "eps", eps))


def layer_norm_backward(
    dy: Floats,
    x: Floats,
    mean: Floats,
    rstd: Floats,
    weight: Floats | None = None,
    dsum: Floats | None = None,
) -> tuple[Floats, Floats, Floats]:
    """Gradients of `layer_norm`: dx, dweight and dbias. `x` is s, and `dsum` a gradient of s to be added to dx.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[1.0, 3.0]])
    >>> _, mean, rstd = layer_norm(x, eps=0.0)
    >>> layer_norm_backward(np.ones((1, 2)), x, mean, rstd)[2]
    array([1., 1.])
    """
    return _kernels.layer_norm_backward(dy, x, mean, rstd, weight, dsum)


def rms_norm(
    x: Floats, weight: Floats | None = None, residual: Floats | None = None, *, eps: float = 1e-5
) -> tuple[Floats, ...]:
    """RMS norm over the last axis: ``y = s / sqrt(mean(s * s) + eps) * weight`` with ``s = x + residual``.

    Returns y and rstd; with `residual`, y, s and rstd. Otherwise as `layer_norm`.

    Examples
    --------
    >>> import numpy as np
    >>> rms_norm(np.array([3.0, 4.0, 0.0, 0.0]), eps=0.0)[0]
    array([1.2, 1.6, 0. , 0. ])
    """
    return _kernels.rms_norm(x, weight, residual, number("rms_norm", "eps", eps))


def rms_norm_backward(
    dy: Floats, x: Floats, rstd: Floats, weight: Floats | None = None, dsum: Floats | None = None
) -> tuple[Floats, Floats]:
    """Gradients of `rms_norm`: dx and dweight. `x` is s, and `dsum` a gradient of s to be added to dx.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[3.0, 4.0, 0.0, 0.0]])
    >>> _, rstd = rms_norm(x, eps=0.0)
    >>> rms_norm_backward(x, x, rstd)[1].round(6)
    array([3.6, 6.4, 0. , 0. ])
    """
    return _kernels.rms_norm_backward(dy, x, rstd, weight, dsum)
