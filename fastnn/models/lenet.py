"""The convolutional network for small pictures: a kernel finds strokes, the next one what they make together.

x ---> [ conv 3x3 | ReLU | pool 2x2 ] ---> [ conv 3x3 | ReLU | pool 2x2 ] ---> [ dense | ReLU ] ---> [ dense ] ---> y
         channels[0] maps of size         channels[1] maps of size / 2        hidden neurons        classes
"""

from collections.abc import Sequence

from ..nn import Conv2d, Dropout, Flatten, Linear, MaxPool2d, Module, ReLU, Sequential
from ._sizes import positive


class LeNet(Module):
    """A classifier of small square pictures, such as handwritten digits.

    Parameters
    ----------
    classes : int
        How many answers there are.
    size : int
        Side of the pictures in pixels, at least 4.
    in_channels : int
        1 for grey pictures, 3 for colour.
    channels : (int, int)
        Feature maps of the two convolutions.
    hidden : int
        Neurons between them and the answer.
    dropout : float
        The share of hidden values that are dropped in training.

    Notes
    -----
    x: (N, in_channels, size, size); output: (N, classes), for the softmax in `nn.CrossEntropyLoss`.

    Raises
    ------
    ValueError, TypeError
        For sizes that are too small or no integers.

    References
    ----------
    LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition", 1998; with today's 3x3
    kernels, ReLU and largest-value pooling.

    Examples
    --------
    >>> import fastnn as fnn
    >>> net = fnn.models.LeNet(10, size=8)
    >>> net(fnn.zeros(2, 1, 8, 8)).shape
    (2, 10)
    """

    def __init__(
        self,
        classes: int = 10,
        size: int = 28,
        in_channels: int = 1,
        channels: Sequence[int] = (32, 64),
        hidden: int = 128,
        dropout: float = 0.0,
    ) -> None:
        channels = positive("LeNet", channels=channels, size=size)
        if size < 4 or len(channels) != 2:
            raise ValueError(f"LeNet: size must be at least 4 and channels two, got {size} and {list(channels)}")
        self.features = Sequential(
            Conv2d(in_channels, channels[0], 3, padding=1),
            ReLU(),
            MaxPool2d(2),
            Conv2d(channels[0], channels[1], 3, padding=1),
            ReLU(),
            MaxPool2d(2),
        )
        inputs = channels[1] * (size // 4) ** 2
        self.head = Sequential(Flatten(), Linear(inputs, hidden), ReLU(), Dropout(dropout), Linear(hidden, classes))

    def forward(self, x):
        """x: (N, in_channels, size, size) -> (N, classes)."""
        return self.head(self.features(x))
