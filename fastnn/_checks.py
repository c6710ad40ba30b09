"""Checks of arguments that many functions share: TypeError for another type, ValueError for a value out of bounds."""

from typing import Any

import numpy as np


def integer(function: str, name: str, value: Any, least: int | None = 1) -> int:
    """Return `value` as an int, if it is a whole number of at least `least`.

    Examples
    --------
    >>> from fastnn._checks import integer
    >>> integer("f", "n", 3)
    3
    >>> integer("f", "n", 2.0)
    Traceback (most recent call last):
    TypeError: f: n must be an integer, got float
    """
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{function}: {name} must be an integer, got {type(value).__name__}")
    value = value.__index__()
    if least is not None and value < least:
        raise ValueError(f"{function}: {name} must be at least {least}, got {value}")
    return value


def number(function: str, name: str, value: Any, least: float | None = None) -> Any:
    """Return `value`, if it is a number, and of at least `least`; NaN is less than that.

    Examples
    --------
    >>> from fastnn._checks import number
    >>> number("f", "eps", -1.0, least=0)
    Traceback (most recent call last):
    ValueError: f: eps must be at least 0, got -1.0
    """
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{function}: {name} must be a number, got {type(value).__name__}")
    if least is not None and not value >= least:
        raise ValueError(f"{function}: {name} must be at least {least}, got {value}")
    return value


def probability(function: str, name: str, value: Any) -> float:
    """Return `value` as a float, if it is a number from 0 to 1.

    Examples
    --------
    >>> from fastnn._checks import probability
    >>> probability("f", "p", 1)
    1.0
    """
    if not 0 <= number(function, name, value) <= 1:
        raise ValueError(f"{function}: {name} must be between 0 and 1, got {value}")
    return float(value)


def flag(function: str, name: str, value: Any) -> bool:
    """Return `value` as a bool, if it is one, of NumPy too.

    Examples
    --------
    >>> from fastnn._checks import flag
    >>> flag("f", "bias", 1)
    Traceback (most recent call last):
    TypeError: f: bias must be a bool, got int
    """
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{function}: {name} must be a bool, got {type(value).__name__}")
    return bool(value)
