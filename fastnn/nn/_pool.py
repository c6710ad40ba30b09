"""Pooling layers: every window of an image or a sequence becomes its greatest value or its mean."""

from collections.abc import Sequence

from . import functional as F
from ._module import Module

Size = int | Sequence[int]


class _Pool(Module):
    """What the pools with a kernel share: the arguments, checked for their type, and how they are printed."""

    def __init__(self, kernel_size: Size, stride: Size | None, padding: Size, ceil_mode: bool) -> None:
        name = type(self).__name__
        self.kernel_size = _sizes(name, "kernel_size", kernel_size, 1)
        self.stride = self.kernel_size if stride is None else _sizes(name, "stride", stride, 1)
        self.padding = _sizes(name, "padding", padding, 0)
        self.ceil_mode = bool(ceil_mode)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


def _sizes(layer: str, name: str, value: Size, least: int) -> Size:
    """Check a number or a sequence of numbers of at least `least`."""
    for n in value if isinstance(value, tuple | list) else (value,):
        if isinstance(n, bool) or not hasattr(n, "__index__"):
            raise TypeError(f"{layer}: {name} must be an integer or integers, got {value!r}")
        if n.__index__() < least:
            raise ValueError(f"{layer}: {name} must be at least {least}, got {value!r}")
    return tuple(value) if isinstance(value, tuple | list) else value


class _MaxPool(_Pool):
    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        dilation: Size = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode)
        self.dilation = _sizes(type(self).__name__, "dilation", dilation, 1)
        self.return_indices = bool(return_indices)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, dilation={self.dilation}, ceil_mode={self.ceil_mode}"


class MaxPool1d(_MaxPool):
    """The greatest value of every window of a sequence: (N, C, L) or (C, L) -> (N, C, OL).

    Arguments as `MaxPool2d`, each one number.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.MaxPool1d(2)(fnn.tensor([[1.0, 5.0, 2.0, 3.0]])).tolist()
    [[5.0, 3.0]]
    """

    def forward(self, x):
        """x: (N, C, L) or (C, L) -> (N, C, OL) or (C, OL); a pair with the indices, with return_indices."""
        return F.max_pool1d(
            x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices
        )


class MaxPool2d(_MaxPool):
    """The greatest value of every window of an image: (N, C, H, W) or (C, H, W) -> (N, C, OH, OW).

    Parameters
    ----------
    kernel_size : int or (int, int)
        Rows and columns of the window.
    stride : int or (int, int), optional
        From one window to the next; kernel_size by default.
    padding : int or (int, int)
        Around the image, at most half the kernel; it never wins.
    dilation : int or (int, int)
        From one tap of the window to the next.
    return_indices : bool
        Whether to return (y, indices), the latter counting the pixels of an image row by row.
    ceil_mode : bool
        Whether a last window may reach beyond the padded image.

    Raises
    ------
    ValueError, TypeError
        For sizes out of range, here or when the image is seen.

    Notes
    -----
    ``OH = (H + 2 padding - dilation (kernel_size - 1) - 1) // stride + 1``. The gradient goes to the first of equals.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.MaxPool2d(2)(fnn.zeros(1, 3, 28, 28)).shape
    (1, 3, 14, 14)
    """

    def forward(self, x):
        """x: (N, C, H, W) or (C, H, W) -> the same with (OH, OW); a pair with the indices, with return_indices."""
        return F.max_pool2d(
            x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices
        )


class AvgPool1d(_Pool):
    """The mean of every window of a sequence: (N, C, L) or (C, L) -> (N, C, OL). Arguments as `AvgPool2d`.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.AvgPool1d(2)(fnn.tensor([[1.0, 5.0, 2.0, 4.0]])).tolist()
    [[3.0, 3.0]]
    """

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode)
        self.count_include_pad = bool(count_include_pad)

    def forward(self, x):
        """x: (N, C, L) or (C, L) -> (N, C, OL) or (C, OL)."""
        return F.avg_pool1d(x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)


class AvgPool2d(_Pool):
    """The mean of every window of an image: (N, C, H, W) or (C, H, W) -> (N, C, OH, OW).

    Parameters
    ----------
    kernel_size, stride, padding, ceil_mode
        As in `MaxPool2d`; the padding is of zeros.
    count_include_pad : bool
        Whether the divisor counts the padding.
    divisor_override : int, optional
        The divisor of every window.

    Raises
    ------
    ValueError, TypeError
        For sizes out of range, here or when the image is seen.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.AvgPool2d(2)(fnn.tensor([[[1.0, 5.0], [2.0, 4.0]]])).tolist()
    [[[3.0]]]
    """

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode)
        self.count_include_pad = bool(count_include_pad)
        self.divisor_override = divisor_override

    def forward(self, x):
        """x: (N, C, H, W) or (C, H, W) -> the same with (OH, OW)."""
        return F.avg_pool2d(
            x,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )


class _AdaptivePool(Module):
    def __init__(self, output_size) -> None:
        for n in output_size if isinstance(output_size, tuple | list) else (output_size,):
            if n is not None:
                _sizes(type(self).__name__, "output_size", n, 1)
        self.output_size = output_size

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(_AdaptivePool):
    """The means of `output_size` windows that cover a sequence evenly: (N, C, L) or (C, L) -> (N, C, output_size).

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.AdaptiveAvgPool1d(2)(fnn.tensor([[1.0, 3.0, 5.0, 5.0]])).tolist()
    [[2.0, 5.0]]
    """

    def forward(self, x):
        """x: (N, C, L) or (C, L) -> (N, C, output_size) or (C, output_size)."""
        return F.adaptive_avg_pool1d(x, self.output_size)


class AdaptiveAvgPool2d(_AdaptivePool):
    """The means of windows that cover an image evenly: (N, C, H, W) or (C, H, W) -> (N, C, *output_size).

    Parameters
    ----------
    output_size : int or (int, int)
        Windows along each axis; None keeps the size of that axis. 1 is global average pooling.

    Raises
    ------
    ValueError, TypeError
        For sizes below 1.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.AdaptiveAvgPool2d(1)(fnn.ones(1, 8, 7, 7)).shape
    (1, 8, 1, 1)
    """

    def forward(self, x):
        """x: (N, C, H, W) or (C, H, W) -> the same with output_size."""
        return F.adaptive_avg_pool2d(x, self.output_size)


class _AdaptiveMaxPool(_AdaptivePool):
    def __init__(self, output_size, return_indices: bool = False) -> None:
        super().__init__(output_size)
        self.return_indices = bool(return_indices)


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """The greatest values of `output_size` windows that cover a sequence evenly: (N, C, L) -> (N, C, output_size).

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.AdaptiveMaxPool1d(2)(fnn.tensor([[1.0, 3.0, 5.0, 4.0]])).tolist()
    [[3.0, 5.0]]
    """

    def forward(self, x):
        """x: (N, C, L) or (C, L) -> (N, C, output_size) or (C, output_size)."""
        return F.adaptive_max_pool1d(x, self.output_size, self.return_indices)


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """The greatest values of windows that cover an image evenly: (N, C, H, W) or (C, H, W) -> (N, C, *output_size).

    Arguments as `AdaptiveAvgPool2d`, and return_indices as `MaxPool2d`.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.AdaptiveMaxPool2d((2, None))(fnn.ones(1, 8, 7, 5)).shape
    (1, 8, 2, 5)
    """

    def forward(self, x):
        """x: (N, C, H, W) or (C, H, W) -> the same with output_size."""
        return F.adaptive_max_pool2d(x, self.output_size, self.return_indices)
