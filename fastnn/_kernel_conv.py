"""Convolution among the raw kernels: NumPy in, NumPy out, on the checks of the ops."""

import numpy as np

from fastnn import _ops_images
from fastnn._kernel_steps import Floats
from fastnn._tape import no_grad

Axes = int | tuple[int, int]
Pads = int | str | tuple[int, int] | tuple[tuple[int, int], tuple[int, int]]


def conv2d(
    x: Floats,
    w: Floats,
    bias: Floats | None = None,
    *,
    stride: Axes = 1,
    padding: Pads = 0,
    dilation: Axes = 1,
    groups: int = 1,
    relu: bool = False,
    precision: str | None = None,
) -> Floats:
    """Convolution of images, as `fastnn.nn.functional.conv2d`.

    Parameters
    ----------
    x : ndarray
        (N, C, H, W), best channels-last in memory: ``images.transpose(0, 3, 1, 2)`` of (N, H, W, C) pictures.
    w : ndarray
        (F, C / groups, kh, kw).
    bias : ndarray, optional
        (F,).
    stride, padding, dilation, groups, precision
        As in `fastnn.nn.functional.conv2d`.
    relu : bool
        Negative sums become 0.

    Returns
    -------
    ndarray
        (N, F, H', W'), channels-last in memory.

    Raises
    ------
    TypeError
        For anything but NumPy arrays of float32 or float64, all of one type.
    ValueError
        Where shapes do not fit or a number is out of range.

    Examples
    --------
    >>> x = np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3)
    >>> conv2d(x, np.ones((1, 1, 2, 2), np.float32))
    array([[[[ 8., 12.],
             [20., 24.]]]], dtype=float32)
    """
    _check("conv2d", x=x, w=w, **({} if bias is None else {"bias": bias}))
    with no_grad():
        return _ops_images.conv2d(
            x, w, bias, stride, padding, dilation, groups, activation="relu" if relu else None, precision=precision
        ).numpy()


def conv2d_backward(
    dy: Floats,
    x: Floats,
    w: Floats,
    *,
    stride: Axes = 1,
    padding: Pads = 0,
    dilation: Axes = 1,
    groups: int = 1,
    precision: str | None = None,
) -> tuple[Floats, Floats, Floats]:
    """Gradients of `conv2d`, (dx, dw, dbias), from `dy`, that of its output; other arguments and errors as there.

    Examples
    --------
    >>> x, w = np.ones((1, 1, 3, 3)), np.ones((1, 1, 3, 3))
    >>> dx, dw, dbias = conv2d_backward(np.ones((1, 1, 1, 1)), x, w)
    >>> float(dw.sum()), dbias
    (9.0, array([1.]))
    """
    _check("conv2d_backward", dy=dy, x=x, w=w)
    dx, dw, dbias = _ops_images.conv2d_backward(dy, x, w, stride, padding, dilation, groups, precision=precision)
    return dx.numpy(), dw.numpy(), dbias.numpy()


def filter2d(image: Floats, kernel: Floats) -> Floats:
    """Slide a small window of numbers over a picture: each output pixel is the weighted sum of its neighbourhood.

    ``out[y, x] = sum over i, j of image[y + i - kh // 2, x + j - kw // 2] * kernel[i, j]``; beyond its edges a picture
    goes on with its outermost pixels. Each channel is filtered for itself.

    Parameters
    ----------
    image : ndarray
        (H, W) or (H, W, channels), float32 or float64.
    kernel : ndarray
        (kh, kw), of the same type; odd sizes have a middle.

    Returns
    -------
    ndarray
        Of the shape of `image`.

    Raises
    ------
    TypeError
        For anything but NumPy arrays of float32 or float64, both of one type.
    ValueError
        For other dimensions, or an array without elements.

    Examples
    --------
    >>> step = np.float32([[0, 0, 1, 1]] * 3)
    >>> sobel = np.float32([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    >>> filter2d(step, sobel)[1]
    array([0., 4., 4., 0.], dtype=float32)
    """
    _check("filter2d", image=image, kernel=kernel)
    if image.ndim not in (2, 3) or kernel.ndim != 2 or image.size == 0 or kernel.size == 0:
        raise ValueError(
            f"filter2d: image is {image.shape}, kernel is {kernel.shape}; expected (H, W) or (H, W, channels) and "
            f"(kh, kw), none of them empty"
        )
    kh, kw = kernel.shape
    around = [(kh // 2, kh - 1 - kh // 2), (kw // 2, kw - 1 - kw // 2)]
    padded = np.pad(image, around + [(0, 0)] * (image.ndim - 2), mode="edge")
    channels = np.moveaxis(padded.reshape(*padded.shape[:2], -1), -1, 0)[:, None]
    filtered = conv2d(channels, kernel[None, None], precision="strict")
    return np.ascontiguousarray(np.moveaxis(filtered[:, 0], 0, -1)).reshape(image.shape)


def _check(function: str, **arrays: object) -> None:
    first = None
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise TypeError(f"{function}: {name} is {type(array).__name__}; expected a NumPy array")
        if array.dtype.char not in "fd":
            raise TypeError(f"{function}: {name} is {array.dtype}; expected float32 or float64")
        if first is not None and array.dtype.char != first.dtype.char:
            raise TypeError(f"{function}: {name} is {array.dtype}; expected {first.dtype}, as the first array")
        first = array if first is None else first
