"""Dropout: noise while training, nothing while evaluating."""

from .. import _ops
from ._module import Module


class Dropout(Module):
    """While training, zeroes each element with probability `p` and divides the rest by `1 - p`; else returns its input.

    Parameters
    ----------
    p : float
        The probability, from 0 to 1.

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

    def __init__(self, p: float = 0.5) -> None:
        if isinstance(p, bool) or not isinstance(p, int | float):
            raise TypeError(f"Dropout: p must be a number, got {type(p).__name__}")
        if not 0 <= p <= 1:
            raise ValueError(f"Dropout: p must be between 0 and 1, got {p}")
        self.p = p

    def forward(self, x):
        """x: any shape -> the same shape."""
        if not self.training:
            return x
        return _ops.dropout(x, self.p, True)

    def extra_repr(self) -> str:
        return f"p={self.p}"
