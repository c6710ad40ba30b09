"""The pooling and resampling kernels: images (N, C, H, W) in, and out with channels-last memory."""

from collections.abc import Sequence
from operator import index

import numpy as np
import numpy.typing as npt

from fastnn import _kernels
from fastnn._kernel_steps import Floats

Taps = npt.NDArray[np.integer]
Size = int | Sequence[int]


def _pair(function: str, name: str, value: Size) -> tuple[int, int]:
    """Return (rows, columns) of a number or a pair; what no kernel can take becomes -1, which it refuses."""
    numbers = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(numbers) != 2:
        raise ValueError(f"{function}: {name} is {value!r}; expected one number or two")
    rows, columns = (n if -1 <= n < 2**31 else -1 for n in map(index, numbers))
    return rows, columns


def _windows(function: str, kernel_size: Size, stride: Size | None, padding: Size) -> tuple[tuple[int, int], ...]:
    kernel = _pair(function, "kernel_size", kernel_size)
    return (
        kernel,
        kernel if stride is None else _pair(function, "stride", stride),
        _pair(function, "padding", padding),
    )


def max_pool2d(
    x: Floats,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
) -> tuple[Floats, Taps]:
    """The greatest value of every window and the number of the tap where it was found.

    Parameters
    ----------
    x : ndarray, shape (N, C, H, W)
        Used as it is where its memory is (N, H, W, C), else copied once.
    kernel_size, stride, padding, dilation : int or (int, int)
        Rows and columns; stride is kernel_size by default.
    ceil_mode : bool
        Whether a last window may reach beyond the padded image.

    Returns
    -------
    y : ndarray, shape (N, C, OH, OW)
        NaN where the window holds one.
    taps : ndarray of uint8, or of int32 for kernels of more than 256 taps, shape of y
        ``i * kernel_width + j``: the first greatest's, or the last NaN's, as in PyTorch.

    Raises
    ------
    TypeError
        For anything but NumPy arrays of float32 or float64.
    ValueError
        For sizes out of range, or windows that do not fit the images.

    Examples
    --------
    >>> x = np.array([[[[1.0, 5.0], [2.0, 3.0]]]])
    >>> y, taps = max_pool2d(x, 2)
    >>> y.item(), taps.item()
    (5.0, 1)
    """
    kernel, step, pad = _windows("max_pool2d", kernel_size, stride, padding)
    return _kernels.max_pool2d(x, kernel, step, pad, _pair("max_pool2d", "dilation", dilation), bool(ceil_mode))


def max_pool2d_backward(
    dy: Floats,
    taps: Taps,
    size: Size,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
) -> Floats:
    """The gradient of `max_pool2d` for images of (H, W) = `size`: every dy added where its tap lies.

    Examples
    --------
    >>> max_pool2d_backward(np.ones((1, 1, 1, 1)), np.array([[[[1]]]], np.uint8), (2, 2), 2)
    array([[[[0., 1.],
             [0., 0.]]]])
    """
    name = "max_pool2d_backward"
    kernel, step, pad = _windows(name, kernel_size, stride, padding)
    taken = _pair(name, "dilation", dilation)
    return _kernels.max_pool2d_backward(dy, taps, _pair(name, "size", size), kernel, step, pad, taken, bool(ceil_mode))


def max_pool2d_pick(
    x: Floats,
    taps: Taps,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
) -> Floats:
    """The values of x at the taps of another `max_pool2d`: the adjoint of its backward; 0 for a tap beside the image.

    Examples
    --------
    >>> x = np.array([[[[1.0, 5.0], [2.0, 3.0]]]])
    >>> max_pool2d_pick(x, np.array([[[[2]]]], np.uint8), 2).item()
    2.0
    """
    kernel, step, pad = _windows("max_pool2d_pick", kernel_size, stride, padding)
    taken = _pair("max_pool2d_pick", "dilation", dilation)
    return _kernels.max_pool2d_pick(x, taps, kernel, step, pad, taken, bool(ceil_mode))


def _divisor(function: str, divisor_override: int | None) -> int:
    if divisor_override is None:
        return 0
    if not 0 < abs(index(divisor_override)) < 2**31:
        raise ValueError(f"{function}: divisor_override is {divisor_override}; expected not 0 and less than 2**31")
    return index(divisor_override)


def avg_pool2d(
    x: Floats,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Floats:
    """The mean of every window, as PyTorch counts its pixels. Other arguments and errors as `max_pool2d`.

    Parameters
    ----------
    count_include_pad : bool
        Whether the divisor counts the padding.
    divisor_override : int, optional
        The divisor of every window.

    Examples
    --------
    >>> avg_pool2d(np.array([[[[1.0, 5.0], [2.0, 4.0]]]]), 2).item()
    3.0
    """
    kernel, step, pad = _windows("avg_pool2d", kernel_size, stride, padding)
    divisor = _divisor("avg_pool2d", divisor_override)
    return _kernels.avg_pool2d(x, kernel, step, pad, bool(ceil_mode), bool(count_include_pad), divisor)


def avg_pool2d_backward(
    dy: Floats,
    size: Size,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Floats:
    """The gradient of `avg_pool2d` for images of (H, W) = `size`.

    Examples
    --------
    >>> avg_pool2d_backward(np.ones((1, 1, 1, 1)), (2, 2), 2)
    array([[[[0.25, 0.25],
             [0.25, 0.25]]]])
    """
    name = "avg_pool2d_backward"
    kernel, step, pad = _windows(name, kernel_size, stride, padding)
    divisor, of = _divisor(name, divisor_override), _pair(name, "size", size)
    return _kernels.avg_pool2d_backward(dy, of, kernel, step, pad, bool(ceil_mode), bool(count_include_pad), divisor)


def adaptive_max_pool2d(x: Floats, output_size: Size) -> tuple[Floats, Taps]:
    """The greatest value of each of output_size windows that cover the images evenly, and its tap; see `max_pool2d`.

    Window q of an axis goes from ``floor(q * H / OH)`` up to ``ceil((q + 1) * H / OH)``.

    Examples
    --------
    >>> y, taps = adaptive_max_pool2d(np.array([[[[1.0, 5.0, 2.0]]]]), (1, 2))
    >>> y
    array([[[[5., 5.]]]])
    """
    return _kernels.adaptive_max_pool2d(x, _pair("adaptive_max_pool2d", "output_size", output_size))


def adaptive_max_pool2d_backward(dy: Floats, taps: Taps, size: Size) -> Floats:
    """The gradient of `adaptive_max_pool2d` for images of (H, W) = `size`.

    Examples
    --------
    >>> adaptive_max_pool2d_backward(np.ones((1, 1, 1, 1)), np.array([[[[1]]]], np.uint8), (1, 2))
    array([[[[0., 1.]]]])
    """
    return _kernels.adaptive_max_pool2d_backward(dy, taps, _pair("adaptive_max_pool2d_backward", "size", size))


def adaptive_avg_pool2d(x: Floats, output_size: Size) -> Floats:
    """The mean of each of output_size windows that cover the images evenly, as in `adaptive_max_pool2d`.

    Examples
    --------
    >>> adaptive_avg_pool2d(np.array([[[[1.0, 5.0, 3.0]]]]), 1).item()
    3.0
    """
    return _kernels.adaptive_avg_pool2d(x, _pair("adaptive_avg_pool2d", "output_size", output_size))


def adaptive_avg_pool2d_backward(dy: Floats, size: Size) -> Floats:
    """The gradient of `adaptive_avg_pool2d` for images of (H, W) = `size`.

    Examples
    --------
    >>> adaptive_avg_pool2d_backward(np.ones((1, 1, 1, 1)), (1, 2))
    array([[[[0.5, 0.5]]]])
    """
    return _kernels.adaptive_avg_pool2d_backward(dy, _pair("adaptive_avg_pool2d_backward", "size", size))


def _mode(function: str, mode: str) -> str:
    if not isinstance(mode, str):
        raise TypeError(f"{function}: mode must be a text, got {type(mode).__name__}")
    return mode


def resize(x: Floats, size: Size, mode: str = "bilinear", align_corners: bool = False) -> Floats:
    """Images (N, C, H, W) in another size, as ``torch.nn.functional.interpolate`` computes them.

    Parameters
    ----------
    x : ndarray, shape (N, C, H, W)
    size : int or (int, int)
        The new height and width.
    mode : {"bilinear", "nearest", "nearest-exact"}
    align_corners : bool
        For "bilinear", whether the centres of the corner pixels stay in the corners.

    Raises
    ------
    TypeError
        For anything but a NumPy array of float32 or float64.
    ValueError
        For an unknown mode, or images or sizes without pixels.

    Examples
    --------
    >>> resize(np.array([[[[1.0, 3.0]]]]), (1, 3), align_corners=True)
    array([[[[1., 2., 3.]]]])
    """
    return _kernels.resize(x, _pair("resize", "size", size), _mode("resize", mode), bool(align_corners))


def resize_backward(dy: Floats, size: Size, mode: str = "bilinear", align_corners: bool = False) -> Floats:
    """The gradient of `resize` for images of (H, W) = `size`.

    Examples
    --------
    >>> resize_backward(np.ones((1, 1, 1, 3)), (1, 2), align_corners=True)
    array([[[[1.5, 1.5]]]])
    """
    name = "resize_backward"
    return _kernels.resize_backward(dy, _pair(name, "size", size), _mode(name, mode), bool(align_corners))
