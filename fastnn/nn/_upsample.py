"""Layers that change the size of images without weights: up-sampling, padding, the pixel shuffle."""

from collections.abc import Sequence

from .._checks import integer
from . import functional as F
from ._module import Module


class Upsample(Module):
    """Images (N, C, H, W) or sequences (N, C, L) in another size.

    Parameters
    ----------
    size : int or (int, int), optional
        The new size.
    scale_factor : float or (float, float), optional
        The new size over the old one, in the place of `size`.
    mode : str
        "nearest", "nearest-exact", "area", "linear" for sequences, "bilinear" for images.
    align_corners : bool, optional
        For the linear modes, whether the centres of the corner pixels stay in the corners.
    recompute_scale_factor : bool, optional
        Whether positions follow from the rounded size in the place of `scale_factor`.

    Raises
    ------
    ValueError
        When the arguments do not fit the image.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.Upsample(scale_factor=2)(fnn.tensor([[[1.0, 2.0]]])).tolist()
    [[[1.0, 1.0, 2.0, 2.0]]]
    """

    def __init__(
        self,
        size: int | Sequence[int] | None = None,
        scale_factor: float | Sequence[float] | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ) -> None:
        if (size is None) == (scale_factor is None):
            raise ValueError(f"Upsample: expected either size or scale_factor; got {size!r} and {scale_factor!r}")
        self.size = size
        self.scale_factor = scale_factor
        self.mode = mode
        self.align_corners = align_corners
        self.recompute_scale_factor = recompute_scale_factor

    def forward(self, x):
        """x: (N, C, H, W) or (N, C, L) -> the same in the new size."""
        return F.interpolate(
            x, self.size, self.scale_factor, self.mode, self.align_corners, self.recompute_scale_factor
        )

    def extra_repr(self) -> str:
        how = f"size={self.size}" if self.size is not None else f"scale_factor={self.scale_factor}"
        return f"{how}, mode={self.mode!r}"


class _Pad(Module):
    mode = "constant"
    value = 0.0
    dims = 2

    def __init__(self, padding: int | Sequence[int]) -> None:
        widths: tuple = tuple(padding) if isinstance(padding, tuple | list) else (padding,) * (2 * self.dims)
        if len(widths) != 2 * self.dims:
            raise ValueError(f"{type(self).__name__}: padding is {padding!r}; expected one number or {2 * self.dims}")
        self.padding = tuple(integer(type(self).__name__, "padding", n, None) for n in widths)

    def forward(self, x):
        """x: (..., H, W) -> (..., top + H + bottom, left + W + right); 1d: (..., L) -> (..., left + L + right)."""
        return F.pad(x, self.padding, self.mode, self.value)

    def extra_repr(self) -> str:
        return str(self.padding)


class ConstantPad2d(_Pad):
    """A border of one value round an image; negative sizes cut off.

    Parameters
    ----------
    padding : int or (left, right, top, bottom)
    value : float

    Raises
    ------
    ValueError, TypeError
        For anything but one integer or four.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.ConstantPad2d((1, 0, 0, 0), 7.0)(fnn.ones(1, 1, 2)).tolist()
    [[[7.0, 1.0, 1.0]]]
    """

    def __init__(self, padding: int | Sequence[int], value: float) -> None:
        super().__init__(padding)
        self.value = value

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(ConstantPad2d):
    """A border of one value round a sequence; padding is a number or (left, right). See `ConstantPad2d`.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.ConstantPad1d(1, 7.0)(fnn.tensor([[1.0, 2.0]])).tolist()
    [[7.0, 1.0, 2.0, 7.0]]
    """

    dims = 1


class ZeroPad2d(_Pad):
    """A border of zeros round an image; padding is a number or (left, right, top, bottom), negative sizes cut off.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.ZeroPad2d(1)(fnn.ones(1, 2, 3)).shape
    (1, 4, 5)
    """


class ZeroPad1d(_Pad):
    """A border of zeros round a sequence; padding is a number or (left, right). See `ZeroPad2d`.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.ZeroPad1d((2, 0))(fnn.tensor([[1.0, 2.0]])).tolist()
    [[0.0, 0.0, 1.0, 2.0]]
    """

    dims = 1


class ReflectionPad2d(_Pad):
    """A border that mirrors the image, the edge itself not repeated; sizes as in `ZeroPad2d`, below those of the image.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.ReflectionPad2d((2, 1, 0, 0))(fnn.tensor([[[1.0, 2.0, 3.0]]])).tolist()
    [[[3.0, 2.0, 1.0, 2.0, 3.0, 2.0]]]
    """

    mode = "reflect"


class ReflectionPad1d(ReflectionPad2d):
    """A border that mirrors a sequence; padding is a number or (left, right). See `ReflectionPad2d`.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.ReflectionPad1d(1)(fnn.tensor([[1.0, 2.0]])).tolist()
    [[2.0, 1.0, 2.0, 1.0]]
    """

    dims = 1


class ReplicationPad2d(_Pad):
    """A border that repeats the edge of the image; sizes as in `ZeroPad2d`.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.ReplicationPad2d((2, 1, 0, 0))(fnn.tensor([[[1.0, 2.0, 3.0]]])).tolist()
    [[[1.0, 1.0, 1.0, 2.0, 3.0, 3.0]]]
    """

    mode = "replicate"


class ReplicationPad1d(ReplicationPad2d):
    """A border that repeats the ends of a sequence; padding is a number or (left, right). See `ReplicationPad2d`.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.ReplicationPad1d(1)(fnn.tensor([[1.0, 2.0]])).tolist()
    [[1.0, 1.0, 2.0, 2.0]]
    """

    dims = 1


class PixelShuffle(Module):
    """Moves channels into space: (..., C r^2, H, W) -> (..., C, H r, W r), r = upscale_factor.

    References
    ----------
    Shi et al., "Real-time single image and video super-resolution using an efficient sub-pixel convolutional neural
    network", CVPR 2016.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.PixelShuffle(2)(fnn.zeros(1, 8, 3, 3)).shape
    (1, 2, 6, 6)
    """

    def __init__(self, upscale_factor: int) -> None:
        self.upscale_factor = upscale_factor

    def forward(self, x):
        """x: (..., C r^2, H, W) -> (..., C, H r, W r)."""
        return F.pixel_shuffle(x, self.upscale_factor)

    def extra_repr(self) -> str:
        return f"upscale_factor={self.upscale_factor}"


class PixelUnshuffle(Module):
    """Moves space into channels: (..., C, H r, W r) -> (..., C r^2, H, W), r = downscale_factor: undoes `PixelShuffle`.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.PixelUnshuffle(2)(fnn.zeros(1, 2, 6, 6)).shape
    (1, 8, 3, 3)
    """

    def __init__(self, downscale_factor: int) -> None:
        self.downscale_factor = downscale_factor

    def forward(self, x):
        """x: (..., C, H r, W r) -> (..., C r^2, H, W)."""
        return F.pixel_unshuffle(x, self.downscale_factor)

    def extra_repr(self) -> str:
        return f"downscale_factor={self.downscale_factor}"
