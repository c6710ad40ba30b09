"""Networks that make pictures out of noise, and networks that judge them.

generator      z ---> dense s x s ---> [ double | conv 3x3 | norm | ReLU ] x n ---> conv 3x3 | tanh ---> picture
discriminator  picture ---> conv 4x4, stride 2 ---> [ conv 3x3 | halve ] x n ---> dense ---> how real

Pictures are doubled and halved without weights, and convolved 3x3 in between: no checkerboards, and every convolution
but one is of the kind that Winograd's algorithm is for. With classes both are told which one.
"""

import math
import os
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from .. import _ops, init
from .._torch_file import load_torch
from ..nn import (
    AvgPool2d,
    BatchNorm1d,
    BatchNorm2d,
    Conv2d,
    ConvTranspose2d,
    Embedding,
    LeakyReLU,
    Linear,
    Module,
    ReLU,
    Sequential,
    Tanh,
    Upsample,
)
from ..nn.utils import spectral_norm
from ._sizes import positive

LEAK = 0.2


def _he(layer: Any) -> Any:
    """Return a layer whose outputs are about as large as its inputs: He's weights, no bias yet."""
    width = math.prod(layer.weight.shape[1:])
    init.normal_(layer.weight, 0, math.sqrt(2 / (1 + LEAK**2) / width))
    if getattr(layer, "bias", None) is not None:
        init.zeros_(layer.bias)
    return layer


def _halving(inputs: int, channels: Sequence[int], spectral: bool) -> list[Module]:
    """Return the layers of a discriminator's body: a convolution with stride, then some that pool."""
    wrap = spectral_norm if spectral else _he
    layers: list[Module] = [wrap(Conv2d(inputs, channels[0], 4, stride=2, padding=1)), LeakyReLU(LEAK)]
    for before, after in pairwise(channels):
        layers += [wrap(Conv2d(before, after, 3, padding=1)), LeakyReLU(LEAK), AvgPool2d(2)]
    return layers


class Generator(Module):
    """Makes pictures out of noise.

    Parameters
    ----------
    channels : sequence of int
        Feature maps, from the smallest picture to the largest; each after the first doubles the picture.
    size : int
        The side of the pictures: a multiple of 2 ** (len(channels) - 1).
    image_channels : int
        1 for grey pictures, 3 for colour.
    latent : int
        How many random numbers make a picture.
    classes : int, optional
        Pictures of so many kinds, which one is said by the second argument.

    Notes
    -----
    z: (N, latent), standard normal; labels: (N,) integers; output: (N, image_channels, size, size) from -1 to 1.

    Raises
    ------
    ValueError, TypeError
        For numbers below one or no integers, and sides that cannot be reached by doubling.

    References
    ----------
    Radford, Metz, Chintala, "Unsupervised representation learning with deep convolutional generative adversarial
    networks", 2015; Odena, Dumoulin, Olah, "Deconvolution and checkerboard artifacts", 2016, for the doubling.

    Examples
    --------
    >>> import fastnn as fnn
    >>> net = fnn.models.Generator(channels=(32, 16, 8), size=20, latent=10)
    >>> net(fnn.randn(2, 10)).shape
    (2, 1, 20, 20)
    """

    def __init__(
        self,
        channels: Sequence[int] = (128, 64, 32, 16, 16),
        size: int = 64,
        image_channels: int = 1,
        latent: int = 64,
        classes: int | None = None,
    ) -> None:
        channels = positive("Generator", channels=channels, size=size, image_channels=image_channels, latent=latent)
        doublings = len(channels) - 1
        if size % 2**doublings:
            raise ValueError(f"Generator: size must be a multiple of {2**doublings}, got {size}")
        self.latent, self.start = latent, (channels[0], size >> doublings, size >> doublings)
        self.kind = None
        if classes is not None:
            rows, columns = positive("Generator", classes=(classes, latent))
            self.kind = Embedding(rows, columns)
        width = channels[0] * self.start[1] ** 2
        self.root = Sequential(
            Linear(latent if classes is None else 2 * latent, width, bias=False), BatchNorm1d(width), ReLU()
        )
        layers: list[Module] = []
        for inputs, outputs in pairwise(channels):
            layers += [Upsample(scale_factor=2), Conv2d(inputs, outputs, 3, padding=1, bias=False)]
            layers += [BatchNorm2d(outputs), ReLU()]
        self.net = Sequential(*layers, Conv2d(channels[-1], image_channels, 3, padding=1), Tanh())

    def forward(self, z: Any, labels: Any = None) -> Any:
        """z: (N, latent), labels: (N,) -> (N, image_channels, size, size)."""
        if (labels is None) is not (self.kind is None):
            said = "expected" if labels is None else "given, but it has no classes"
            raise ValueError(f"Generator: labels {said}")
        if self.kind is not None:
            z = _ops.cat([z, self.kind(labels)], 1)
        return self.net(self.root(z).reshape(-1, *self.start))


class Spread(Module):
    """Adds a map that says how much pictures differ: whoever always makes the same one is found out.

    Parameters
    ----------
    group : int
        How many pictures that follow each other are compared.

    Notes
    -----
    x: (N, C, H, W), N a multiple of `group` or smaller; output: (N, C + 1, H, W): the last map is the same number
    everywhere, the mean over channels and places of the standard deviation over the group.

    Raises
    ------
    ValueError, TypeError
        For groups of fewer than two, and batches that they do not divide.

    References
    ----------
    Karras, Aila, Laine, Lehtinen, "Progressive growing of GANs for improved quality, stability, and variation", 2018.

    Examples
    --------
    >>> import fastnn as fnn
    >>> x = fnn.tensor([[0.0], [2.0], [5.0], [5.0]]).reshape(4, 1, 1, 1)
    >>> fnn.models.gan.Spread(2)(x)[:, 1].flatten().numpy().round(2).tolist()
    [1.0, 1.0, 0.0, 0.0]
    """

    def __init__(self, group: int) -> None:
        (self.group,) = positive("Spread", group=(group,))
        if self.group < 2:
            raise ValueError(f"Spread: group must be at least 2, got {group}")

    def forward(self, x: Any) -> Any:
        """x: (N, C, H, W) -> (N, C + 1, H, W)."""
        n, _, height, width = x.shape
        group = min(self.group, n) or 1
        if n % group:
            raise ValueError(f"Spread: {n} pictures are not groups of {group}")
        groups = x.reshape(n // group, group, math.prod(x.shape[1:]))
        away = groups - _ops.mean(groups, 1, keepdim=True)
        # The small number keeps the root's slope finite where all are the same.
        spread = _ops.mean(_ops.sqrt(_ops.mean(_ops.square(away), 1) + 1e-8), 1)
        maps = _ops.broadcast_to(spread.reshape(-1, 1, 1, 1, 1), (n // group, group, 1, height, width))
        return _ops.cat([x, maps.reshape(n, 1, height, width)], 1)


class Discriminator(Module):
    """Says how real a picture is: high for real ones, low for generated ones.

    Parameters
    ----------
    channels : sequence of int
        Feature maps; each halves the picture.
    size : int
        The side of the pictures: a multiple of 2 ** len(channels).
    image_channels : int
        1 for grey pictures, 3 for colour.
    classes : int, optional
        With them the second argument says of which kind the picture should be; by projection, the product of the
        picture's features with a vector of the class.
    spectral : bool
        Whether every weight has spectral norm. That keeps the answers small, and training slow and steady; without it
        weights start as He drew them, and a penalty on the slope belongs to the loss.
    group : int, optional
        How many pictures that follow each other are compared, see `Spread`, before one more convolution. Real and
        generated ones must not share a group: the batch must be a multiple of it.

    Notes
    -----
    x: (N, image_channels, size, size); labels: (N,) integers; output: (N, 1).

    Raises
    ------
    ValueError, TypeError
        As of `Generator`.

    References
    ----------
    Miyato and others, "Spectral normalization for generative adversarial networks", 2018; Miyato, Koyama, "cGANs with
    projection discriminator", 2018.

    Examples
    --------
    >>> import fastnn as fnn
    >>> net = fnn.models.Discriminator(channels=(8, 16), size=20)
    >>> net(fnn.zeros(2, 1, 20, 20)).shape
    (2, 1)
    """

    def __init__(
        self,
        channels: Sequence[int] = (16, 32, 64, 128),
        size: int = 64,
        image_channels: int = 1,
        classes: int | None = None,
        spectral: bool = True,
        group: int | None = None,
    ) -> None:
        channels = positive("Discriminator", channels=channels, size=size, image_channels=image_channels)
        if size % 2 ** len(channels):
            raise ValueError(f"Discriminator: size must be a multiple of {2 ** len(channels)}, got {size}")
        wrap = spectral_norm if spectral else _he
        layers = _halving(image_channels, channels, spectral)
        if group is not None:
            layers += [Spread(group), wrap(Conv2d(channels[-1] + 1, channels[-1], 3, padding=1)), LeakyReLU(LEAK)]
        self.net = Sequential(*layers)
        width = channels[-1] * (size >> len(channels)) ** 2
        self.head = wrap(Linear(width, 1))
        self.kind = None
        if classes is not None:
            rows, columns = positive("Discriminator", classes=(classes, width))
            self.kind = wrap(Embedding(rows, columns))

    def forward(self, x: Any, labels: Any = None) -> Any:
        """x: (N, image_channels, size, size), labels: (N,) -> (N, 1)."""
        if (labels is None) is not (self.kind is None):
            said = "expected" if labels is None else "given, but it has no classes"
            raise ValueError(f"Discriminator: labels {said}")
        features = self.net(x).flatten(1)
        said = self.head(features)
        if self.kind is None:
            return said
        return said + _ops.sum(features * self.kind(labels), 1, keepdim=True)


class DCGAN(Module):
    """The generator of the DCGAN paper, in colour: transposed convolutions 4x4 from a point to 64 x 64.

    Parameters
    ----------
    image_channels : int
    latent : int
    channels : int
        Feature maps of the largest layer but the picture; each before it has twice as many.

    Notes
    -----
    z: (N, latent) or (N, latent, 1, 1); output: (N, image_channels, 64, 64) from -1 to 1. Parameters are named as in
    PyTorch's DCGAN tutorial and in what was trained with it.

    Raises
    ------
    ValueError, TypeError
        For numbers below one or no integers; when called, if z has another shape.

    References
    ----------
    Radford, Metz, Chintala, "Unsupervised representation learning with deep convolutional generative adversarial
    networks", 2015.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.models.DCGAN(channels=4).eval()(fnn.randn(2, 100)).shape
    (2, 3, 64, 64)
    """

    def __init__(self, image_channels: int = 3, latent: int = 100, channels: int = 64) -> None:
        positive("DCGAN", image_channels=image_channels, latent=latent, channels=channels)
        self.latent = latent
        layers: list[Module] = []
        inputs = latent
        for i, outputs in enumerate((8 * channels, 4 * channels, 2 * channels, channels)):
            how = (4, 2, 1) if i else (4, 1, 0)
            layers += [ConvTranspose2d(inputs, outputs, *how, bias=False), BatchNorm2d(outputs), ReLU()]
            inputs = outputs
        self.main = Sequential(*layers, ConvTranspose2d(channels, image_channels, 4, 2, 1, bias=False), Tanh())

    def forward(self, z: Any) -> Any:
        """z: (N, latent) or (N, latent, 1, 1) -> (N, image_channels, 64, 64)."""
        if z.shape[1:] not in ((self.latent,), (self.latent, 1, 1)):
            raise ValueError(f"DCGAN: z is {z.shape}; expected (N, {self.latent}) or (N, {self.latent}, 1, 1)")
        return self.main(z.reshape(-1, self.latent, 1, 1))

    def load(self, path: str | os.PathLike) -> "DCGAN":
        """Read a PyTorch file with such a generator's state dict, alone or under "netG_state_dict"; evaluation mode.

        Raises
        ------
        FormatError
            If the file is damaged.
        ValueError
            If it is of another network.
        """
        saved = load_torch(path)
        self.load_state_dict(saved.get("netG_state_dict", saved))
        self.eval()
        return self
