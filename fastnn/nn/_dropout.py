"""Dropout: noise while training, nothing while evaluating."""

from .. import _ops
from .._checks import probability
from . import functional as F
from ._module import Module


class Dropout(Module):
    """While training, zeroes each element with probability `p` and divides the rest by `1 - p`; else returns its input.

    Parameters
    ----------
    p : float
        The probability, from 0 to 1.
    inplace : bool
        Taken as in PyTorch, and without effect: the input keeps its values.

    Notes
    -----
    The mask comes from a counter-based generator under `fastnn.manual_seed`: the same for every thread count, and it is
    not stored for the backward pass but made again.

    Raises
    ------
    ValueError, TypeError
        If `p` is not a probability.

    References
    ----------
    Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15, 2014.

    Examples
    --------
    >>> import fastnn as fnn
    >>> layer = fnn.nn.Dropout(0.5)
    >>> sorted(set(layer(fnn.ones(100)).tolist()))
    [0.0, 2.0]
    >>> layer.eval()(fnn.ones(2)).tolist()
    [1.0, 1.0]
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        self.p = probability(type(self).__name__, "p", p)

    def forward(self, x):
        """x: any shape -> the same shape."""
        if not self.training:
            return x
        return _ops.dropout(x, self.p, True)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Dropout2d(Dropout):
    """`Dropout` of whole channels: neighbouring pixels are too much alike for it to matter that one of them is missing.

    Parameters
    ----------
    p, inplace
        As in `Dropout`.

    References
    ----------
    Tompson, Goroshin, Jain, LeCun, Bregler, "Efficient object localization using convolutional networks", 2015.

    Examples
    --------
    >>> import fastnn as fnn
    >>> layer = fnn.nn.Dropout2d(0.5)
    >>> sorted(set(layer(fnn.ones(1, 50, 2, 2)).mean((2, 3))[0].tolist()))
    [0.0, 2.0]
    """

    def forward(self, x):
        """x: (N, C, H, W) -> the same shape."""
        return F.dropout2d(x, self.p, self.training)
