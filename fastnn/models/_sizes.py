"""Numbers that say how large a network is, checked before anything is made."""

from collections.abc import Sequence
from typing import Any


def positive(name: str, **sizes: Any) -> tuple[int, ...]:
    """Return the first of the sizes, as a tuple, after all were found to be integers of at least one.

    Raises
    ------
    TypeError, ValueError
        Names the network, the size, and what it is.
    """
    for what, given in sizes.items():
        values = _values(given)
        if not values:
            raise ValueError(f"{name}: {what} must not be empty")
        for value in values:
            if isinstance(value, bool) or not hasattr(value, "__index__"):
                raise TypeError(f"{name}: {what} must be made of integers, got {given!r}")
            if value < 1:
                raise ValueError(f"{name}: {what} must be at least 1, got {given!r}")
    return _values(next(iter(sizes.values())))


def _values(given: Any) -> tuple:
    return tuple(given) if isinstance(given, Sequence) or getattr(given, "ndim", 0) == 1 else (given,)
