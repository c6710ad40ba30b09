"""What every picture begins and ends with: the Axes, the numbers, the colours."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._extras import require

BLUE, ORANGE, GREY = "#2b6cb0", "#d9622b", "#8a8f98"


def axes(ax: Any, who: str) -> Any:
    """Return `ax`, or the Axes of a new figure."""
    require("matplotlib", "plot", f"plot.{who}")
    return require("matplotlib.pyplot", "plot", f"plot.{who}").subplots()[1] if ax is None else ax


def numbers(values: Any, who: str, name: str, ndim: int | None = None) -> np.ndarray:
    """Return Tensor or array_like `values` as a float64 array, refused when it is not numeric or has other axes."""
    values = values.detach() if hasattr(values, "detach") else values
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise type(error)(f"plot.{who}: {name} must be numbers: {error}") from None
    if ndim is not None and array.ndim != ndim:
        raise ValueError(f"plot.{who}: {name} must have {ndim} axes, got shape {array.shape}")
    return array


def blue_to_orange() -> Any:
    """Return the colours of signed numbers: blue below zero, white, orange above."""
    colours = require("matplotlib.colors", "plot", "plot")
    return colours.LinearSegmentedColormap.from_list("blue to orange", [BLUE, "white", ORANGE])


def largest(values: np.ndarray) -> float:
    """Return the largest size among the finite values, or 1 where all are zero: what a scale of colours ends at."""
    return float(np.abs(values[np.isfinite(values)]).max(initial=0.0)) or 1.0


def counts(who: str, **given: Any) -> None:
    """Refuse what is no integer of at least one."""
    for name, value in given.items():
        if not hasattr(value, "__index__") or value < 1:
            raise ValueError(f"plot.{who}: {name} must be an integer of at least 1, got {value!r}")


def named(axis: Any, names: Sequence[str], most: int = 40, **settings: Any) -> None:
    """Put a name at each place of an axis; of many only every k-th, so that they can be read."""
    step = -(-len(names) // most)
    axis.set_ticks(range(0, len(names), step), list(names)[::step], **settings)


def plain(ax: Any) -> None:
    """Take away the frame on the sides that carry no scale."""
    ax.spines[["top", "right"]].set_visible(False)


def whole_numbers(axis: Any) -> None:
    """Label an axis at whole numbers alone."""
    axis.set_major_locator(
        require("matplotlib.ticker", "plot", "plot").MaxNLocator("auto", integer=True, min_n_ticks=1)
    )


def plain_numbers(axis: Any) -> None:
    """Label a logarithmic axis 0.2, 0.5, 1, 100 and not 2 x 10^-1."""
    ticker = require("matplotlib.ticker", "plot", "plot")
    axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(ticker.NullFormatter())
