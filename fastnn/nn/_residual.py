"""Residual: layers with a way around them."""

from collections.abc import Callable

from ._container import Sequential
from ._fusion import summed
from ._linear import _activation
from ._module import Module, plain


class Residual(Module):
    """`activation(body(x) + shortcut(x))`: the body learns what is to be added to its input.

    Parameters
    ----------
    *body : Module
        The layers that are gone around, in order.
    shortcut : Module, optional
        The way around, where the body changes the shape; `x` itself by default.
    activation : None, str or callable
        What bends the sum, as for `Linear`.

    Notes
    -----
    x: whatever the body takes; output: what body and shortcut both give.

    Raises
    ------
    TypeError
        If something is not a Module.
    ValueError
        If there is no such activation.

    References
    ----------
    He, Zhang, Ren, Sun, "Deep residual learning for image recognition", 2015.

    Examples
    --------
    >>> import fastnn as fnn
    >>> block = fnn.nn.Residual(fnn.nn.Linear(3, 8, activation="relu"), fnn.nn.Linear(8, 3))
    >>> block(fnn.zeros(2, 3)).shape
    (2, 3)
    """

    def __init__(self, *body: Module, shortcut: Module | None = None, activation: str | Callable | None = None) -> None:
        if shortcut is not None and not isinstance(shortcut, Module):
            raise TypeError(f"Residual: shortcut must be a Module, got {type(shortcut).__name__}")
        self.body = body[0] if len(body) == 1 and isinstance(body[0], Sequential) else Sequential(*body)
        self.shortcut = shortcut
        self.activation = _activation(activation)

    def forward(self, x):
        """x -> body(x) + x, bent."""
        around = x if self.shortcut is None else self.shortcut(x)
        body, activation = self.body, self.activation
        named = None if callable(activation) else activation
        known = plain((body,), (Sequential,))
        total = body._plus(x, around, named) if known else summed(body(x), around, named)
        return activation(total) if callable(activation) else total

    def extra_repr(self) -> str:
        return f"activation={self.activation}" if isinstance(self.activation, str) else ""
