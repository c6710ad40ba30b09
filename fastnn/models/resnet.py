"""A small residual network: blocks that add to what comes in, so that gradients find a straight way through.

block:   x ---> [ conv 3x3 | norm | ReLU | conv 3x3 | norm ] ---> + ---> ReLU ---> y
          \\_________________________________________________________/   (1x1 conv where the shape changes)
"""

from collections.abc import Sequence

from ..nn import AdaptiveAvgPool2d, BatchNorm2d, Conv2d, Flatten, Linear, Module, ReLU, Residual, Sequential
from ._sizes import positive


def _block(inputs: int, outputs: int, stride: int) -> Residual:
    """Return a basic block from `inputs` to `outputs` channels; the first convolution strides."""
    shortcut = None
    if stride != 1 or inputs != outputs:
        shortcut = Sequential(Conv2d(inputs, outputs, 1, stride=stride, bias=False), BatchNorm2d(outputs))
    return Residual(
        Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
        BatchNorm2d(outputs),
        ReLU(),
        Conv2d(outputs, outputs, 3, padding=1, bias=False),
        BatchNorm2d(outputs),
        shortcut=shortcut,
        activation="relu",
    )


class ResNet(Module):
    """A residual network for pictures of 32 pixels or so; by default the ResNet-20 of the paper's CIFAR experiments.

    Parameters
    ----------
    classes : int
        How many answers there are.
    in_channels : int
        1 for grey pictures, 3 for colour.
    channels : sequence of int
        Feature maps of each stage; every stage but the first halves the picture.
    blocks : int
        Basic blocks in a stage: 3, 5, 9 make ResNet-20, -32, -56.

    Notes
    -----
    x: (N, in_channels, H, W) of any size; output: (N, classes).

    Raises
    ------
    ValueError, TypeError
        For numbers below one, or no integers.

    References
    ----------
    He, Zhang, Ren, Sun, "Deep residual learning for image recognition", 2015.

    Examples
    --------
    >>> import fastnn as fnn
    >>> net = fnn.models.ResNet(10, channels=(8, 16), blocks=1)
    >>> net(fnn.zeros(2, 3, 16, 16)).shape
    (2, 10)
    """

    def __init__(
        self, classes: int = 10, in_channels: int = 3, channels: Sequence[int] = (16, 32, 64), blocks: int = 3
    ) -> None:
        channels = positive("ResNet", channels=channels, blocks=blocks)
        self.stem = Sequential(
            Conv2d(in_channels, channels[0], 3, padding=1, bias=False), BatchNorm2d(channels[0]), ReLU()
        )
        layers, inputs = [], channels[0]
        for stage, outputs in enumerate(channels):
            for block in range(blocks):
                layers.append(_block(inputs, outputs, 2 if stage and not block else 1))
                inputs = outputs
        self.stages = Sequential(*layers)
        self.head = Sequential(AdaptiveAvgPool2d(1), Flatten(), Linear(inputs, classes))

    def forward(self, x):
        """x: (N, in_channels, H, W) -> (N, classes)."""
        return self.head(self.stages(self.stem(x)))
