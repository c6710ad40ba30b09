"""One picture out of another: a U-Net, and a discriminator that judges patches.

    x ---> conv ----------------------------------> join ---> conv ---> conv ---> y
            \\ halve                           double /
             ---> conv ----------------> join ---> conv
                   \\ halve           double /
                    ---> conv -------------

What is sharp goes straight across, what needs a wide look goes down and up again.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from .. import _ops
from ..nn import (
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Module,
    ModuleList,
    ReLU,
    Sequential,
    Upsample,
)
from ..nn.utils import spectral_norm
from ._sizes import positive
from .gan import _halving, _he


def _stage(inputs: int, outputs: int) -> Sequential:
    """Return a convolution with its norm and ReLU."""
    return Sequential(Conv2d(inputs, outputs, 3, padding=1, bias=False), BatchNorm2d(outputs), ReLU())


class UNet(Module):
    """A picture out of another of the same size.

    Parameters
    ----------
    in_channels, out_channels : int
        Of the two pictures.
    channels : sequence of int
        Feature maps on each level; each after the first halves the picture on the way down.
    activation : Module or None
        What the output goes through.

    Notes
    -----
    x: (N, in_channels, H, W), H and W multiples of 2 ** (len(channels) - 1); output: (N, out_channels, H, W).

    Raises
    ------
    ValueError, TypeError
        For numbers below one or no integers, and for pictures whose sides cannot be halved so often.

    References
    ----------
    Ronneberger, Fischer, Brox, "U-Net: convolutional networks for biomedical image segmentation", 2015.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.models.UNet(1, 2, channels=(4, 8, 8))(fnn.zeros(1, 1, 12, 20)).shape
    (1, 2, 12, 20)
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 2,
        channels: Sequence[int] = (32, 64, 128, 128),
        activation: Module | None = None,
    ) -> None:
        channels = positive("UNet", channels=channels, in_channels=in_channels, out_channels=out_channels)
        self.down = ModuleList([_stage(a, b) for a, b in zip((in_channels, *channels), channels)])
        self.up = ModuleList([_stage(a + b, a) for a, b in reversed(list(pairwise(channels)))])
        self.pool, self.upsample = AvgPool2d(2), Upsample(scale_factor=2)
        self.out = Conv2d(channels[0], out_channels, 3, padding=1)
        if activation is not None and not callable(activation):
            raise TypeError(f"UNet: activation must be a Module or None, got {activation!r}")
        self.activation = activation

    def forward(self, x: Any) -> Any:
        """x: (N, in_channels, H, W) -> (N, out_channels, H, W)."""
        step = 2 ** (len(self.down) - 1)
        if x.ndim != 4 or x.shape[2] % step or x.shape[3] % step:
            raise ValueError(f"UNet: x is {x.shape}; expected (N, C, H, W), H and W multiples of {step}")
        kept: list[Any] = []
        for stage in self.down:
            x = stage(self.pool(x) if kept else x)
            kept.append(x)
        kept.pop()
        for stage in self.up:
            x = stage(_ops.cat([self.upsample(x), kept.pop()], 1))
        x = self.out(x)
        return x if self.activation is None else self.activation(x)


class PatchDiscriminator(Module):
    """Says of each patch of a picture how real it is, given the picture that it was made of.

    Parameters
    ----------
    in_channels : int
        Of both pictures together.
    channels : sequence of int
        Feature maps; each halves the picture.
    spectral : bool
        As of `Discriminator`.

    Notes
    -----
    x: (N, a, H, W), given: (N, b, H, W) with a + b = in_channels; output: (N, 1, h, w), h and w smaller by
    2 ** len(channels): one answer for each patch, overlapping ones.

    Raises
    ------
    ValueError, TypeError
        For numbers below one or no integers.

    References
    ----------
    Isola, Zhu, Zhou, Efros, "Image-to-image translation with conditional adversarial networks", 2017.

    Examples
    --------
    >>> import fastnn as fnn
    >>> judge = fnn.models.PatchDiscriminator(3, channels=(8, 16))
    >>> judge(fnn.zeros(1, 2, 32, 32), fnn.zeros(1, 1, 32, 32)).shape
    (1, 1, 8, 8)
    """

    def __init__(self, in_channels: int = 3, channels: Sequence[int] = (32, 64, 128), spectral: bool = True) -> None:
        channels = positive("PatchDiscriminator", channels=channels, in_channels=in_channels)
        wrap = spectral_norm if spectral else _he
        self.net = Sequential(*_halving(in_channels, channels, spectral), wrap(Conv2d(channels[-1], 1, 3, padding=1)))

    def forward(self, x: Any, given: Any) -> Any:
        """x: (N, a, H, W), given: (N, b, H, W) -> (N, 1, h, w)."""
        return self.net(_ops.cat([x, given], 1))
