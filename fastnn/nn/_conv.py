"""Convolution layers. Images are (N, C, H, W) by shape and channels-last by memory, sequences (N, C, L)."""

import math
from collections.abc import Callable

import numpy as np

from .. import _ops_images, init
from .._checks import integer
from ._linear import _activation
from ._module import Module
from ._parameter import fresh

Sizes = int | tuple[int, ...] | list[int]


def _sizes(function: str, name: str, value: Sizes, axes: int, least: int) -> tuple[int, ...]:
    """Return `value` for each of the axes: one number counts for all."""
    values = tuple(value) if isinstance(value, tuple | list) else (value,) * axes
    if len(values) != axes:
        raise ValueError(f"{function}: {name} must be an integer or {axes} of them, got {value!r}")
    return tuple(integer(function, name, v, least) for v in values)


class _Conv(Module):
    """What all of them hold: weight, bias, and the numbers that go with every call."""

    AXES = 2
    TRANSPOSED = False
    output_padding: tuple[int, ...] = ()

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding=0,
        dilation: Sizes = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        activation: str | Callable | None = None,
        precision: str | None = None,
        dtype=np.float32,
    ) -> None:
        name, axes = type(self).__name__, self.AXES
        self.in_channels = integer(name, "in_channels", in_channels)
        self.out_channels = integer(name, "out_channels", out_channels)
        self.kernel_size = _sizes(name, "kernel_size", kernel_size, axes, 1)
        self.stride = _sizes(name, "stride", stride, axes, 1)
        self.dilation = _sizes(name, "dilation", dilation, axes, 1)
        self.groups = integer(name, "groups", groups)
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise ValueError(f"{name}: channels {in_channels}, {out_channels} must be multiples of groups={groups}")
        modes = ("zeros",) if self.TRANSPOSED else ("zeros", "reflect", "replicate", "circular")
        if padding_mode not in modes:
            raise ValueError(f"{name}: padding_mode must be one of {', '.join(modes)}, got {padding_mode!r}")
        if precision not in (None, "fast", "strict"):
            raise ValueError(f"{name}: precision must be 'fast', 'strict' or None, got {precision!r}")
        if isinstance(padding, str) and padding not in ("same", "valid"):
            raise ValueError(f"{name}: padding must be numbers, 'same' or 'valid', got {padding!r}")
        self.padding = (
            padding if isinstance(padding, str) or _nested(padding) else _sizes(name, "padding", padding, axes, 0)
        )
        if self.padding == "same" and self.stride != (1,) * axes:
            raise ValueError(f"{name}: padding='same' goes with stride 1 only, got stride {stride}")
        self.padding_mode = padding_mode
        self.activation = _activation(activation)
        self.precision = precision
        channels = (self.in_channels, self.out_channels) if self.TRANSPOSED else (self.out_channels, self.in_channels)
        self.weight = fresh((channels[0], channels[1] // self.groups, *self.kernel_size), dtype)
        self.bias = fresh(self.out_channels, dtype) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew, as PyTorch does."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(math.prod(self.weight.shape[1:]))
            init.uniform_(self.bias, -bound, bound)

    def forward(self, x):
        """x: (N, C, ...) -> (N, F, ...), or both without N."""
        activation = self.activation
        if callable(activation):
            return activation(self.convolve(x, None))
        return self.convolve(x, activation)

    def convolve(self, x, activation: str | None):
        """The layer with another of the activations that the kernels know."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        if self.padding != (0,) * self.AXES:
            text += f", padding={self.padding}"
        if self.dilation != (1,) * self.AXES:
            text += f", dilation={self.dilation}"
        if any(self.output_padding):
            text += f", output_padding={self.output_padding}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        if self.padding_mode != "zeros":
            text += f", padding_mode={self.padding_mode}"
        if isinstance(self.activation, str):
            text += f", activation={self.activation}"
        return text


def _nested(padding) -> bool:
    """Whether `padding` is ((before, after), ...)."""
    return isinstance(padding, tuple | list) and len(padding) > 0 and isinstance(padding[0], tuple | list)


class _Forward(_Conv):
    def _padded(self, x):
        """x with what `padding_mode` puts around it, and the padding that is left to do."""
        if self.padding_mode == "zeros":
            return x, self.padding
        sizes = zip(self.kernel_size, self.dilation)
        if self.padding == "valid":
            return x, 0
        if self.padding == "same":
            around = [(d * (k - 1) // 2, d * (k - 1) - d * (k - 1) // 2) for k, d in sizes]
        else:
            around = [(p[0], p[1]) if isinstance(p, tuple | list) else (p, p) for p in self.padding]
        from .functional import pad

        return pad(x, [n for pair in reversed(around) for n in pair], mode=self.padding_mode), 0


class Conv2d(_Forward):
    """Convolution: a kernel of weights slid over an image.

    Parameters
    ----------
    in_channels, out_channels : int
        C and F.
    kernel_size, stride, dilation : int or (h, w)
    padding : int, (h, w), ((top, bottom), (left, right)), "same" or "valid"
    groups : int
        Channels and filters in groups that do not see one another; groups = C is depthwise.
    bias : bool
        Whether there is a bias.
    padding_mode : {"zeros", "reflect", "replicate", "circular"}
        What stands around the image.
    activation : None, str or callable
        As in `Linear`; "relu" and "relu6" are computed while the sums are in registers.
    precision : {None, "fast", "strict"}
        "strict" makes every product of the definition; "fast" may take Winograd's algorithm, see
        `fastnn.set_precision`, whose word None takes.
    dtype : dtype
        float32 or float64.

    Attributes
    ----------
    weight : Parameter, shape (F, C / groups, kh, kw)
    bias : Parameter, shape (F,), or None
        Both drawn from U(-k, k) with k = 1 / sqrt(C / groups * kh * kw), as in PyTorch.

    Notes
    -----
    x: (N, C, H, W) or (C, H, W); y: (N, F, H', W') or (F, H', W'), its memory channels-last. See
    `fastnn.nn.functional.conv2d` for the sizes.

    Raises
    ------
    ValueError, TypeError
        For sizes out of range, groups that do not divide, and words that are not known.

    Examples
    --------
    >>> import fastnn as fnn
    >>> layer = fnn.nn.Conv2d(3, 16, 3, padding=1)
    >>> layer(fnn.zeros(2, 3, 8, 8)).shape
    (2, 16, 8, 8)
    >>> layer
    Conv2d(3, 16, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
    """

    def convolve(self, x, activation, max_pool=False, folded=None, residual=None):
        """The layer with what follows it: another activation, a normalisation `folded` into weight and bias, ..."""
        x, padding = self._padded(x)
        weight, bias = folded or (self.weight, self.bias)
        return _ops_images.conv2d(
            x,
            weight,
            bias,
            self.stride,
            padding,
            self.dilation,
            self.groups,
            activation=activation,
            max_pool=max_pool,
            precision=self.precision,
            residual=residual,
        )


class Conv1d(_Forward):
    """Convolution over a sequence; arguments as in `Conv2d`.

    Notes
    -----
    x: (N, C, L) or (C, L); y: (N, F, L') or (F, L'). weight: (F, C / groups, k).

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.Conv1d(4, 8, 3, stride=2)(fnn.zeros(2, 4, 11)).shape
    (2, 8, 5)
    """

    AXES = 1

    def convolve(self, x, activation):
        x, padding = self._padded(x)
        padding = padding[0] if _nested(padding) else padding
        return _ops_images.conv1d(
            x,
            self.weight,
            self.bias,
            self.stride,
            padding,
            self.dilation,
            self.groups,
            activation=activation,
            precision=self.precision,
        )


class ConvTranspose2d(_Conv):
    """Transposed convolution: each pixel paints the kernel into the output; with stride 2 an image doubles.

    Parameters are those of `Conv2d`, in PyTorch's order, and:

    Parameters
    ----------
    output_padding : int or (h, w)
        Rows and columns more at the end.

    Notes
    -----
    x: (N, C, H, W) or (C, H, W); y: (N, F, H', W') or (F, H', W').
    H' = (H - 1) * stride - 2 * padding + dilation * (kh - 1) + output_padding + 1. weight: (C, F / groups, kh, kw).

    Raises
    ------
    ValueError, TypeError
        For sizes out of range, groups that do not divide, and words that are not known or, as `padding`, no numbers.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.ConvTranspose2d(8, 3, 4, stride=2, padding=1)(fnn.zeros(1, 8, 16, 16)).shape
    (1, 3, 32, 32)
    """

    TRANSPOSED = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding=0,
        output_padding: Sizes = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Sizes = 1,
        padding_mode: str = "zeros",
        activation: str | Callable | None = None,
        precision: str | None = None,
        dtype=np.float32,
    ) -> None:
        if isinstance(padding, str):
            raise TypeError(f"{type(self).__name__}: padding must be numbers, got {padding!r}")
        self.output_padding = _sizes(type(self).__name__, "output_padding", output_padding, self.AXES, 0)
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            padding_mode,
            activation,
            precision,
            dtype,
        )

    def convolve(self, x, activation, folded=None):
        weight, bias = folded or (self.weight, self.bias)
        return _ops_images.conv_transpose2d(
            x,
            weight,
            bias,
            self.stride,
            self.padding,
            self.output_padding,
            self.groups,
            self.dilation,
            activation=activation,
            precision=self.precision,
        )


class ConvTranspose1d(ConvTranspose2d):
    """Transposed convolution over a sequence; arguments as in `ConvTranspose2d`.

    Notes
    -----
    x: (N, C, L) or (C, L); y: (N, F, L') or (F, L'). weight: (C, F / groups, k).

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.ConvTranspose1d(4, 2, 4, stride=2, padding=1)(fnn.zeros(1, 4, 8)).shape
    (1, 2, 16)
    """

    AXES = 1

    def convolve(self, x, activation, folded=None):
        padding = self.padding[0] if _nested(self.padding) else self.padding
        weight, bias = folded or (self.weight, self.bias)
        return _ops_images.conv_transpose1d(
            x,
            weight,
            bias,
            self.stride,
            padding,
            self.output_padding,
            self.groups,
            self.dilation,
            activation=activation,
            precision=self.precision,
        )
