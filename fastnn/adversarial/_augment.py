"""Augmentation that lets gradients through, for real and generated pictures alike, so that few pictures do.

A discriminator that sees a hundred pictures again and again learns them by heart. Shown only shifted, covered and
re-coloured ones, real or not, it cannot; and since each change is differentiable, the generator still learns from it.
"""

from typing import Any

import numpy as np

from .. import _ops, _random
from .._function import Function
from .._ops import Tensor

KINDS = ("colour", "translation", "cutout")


class _Shift(Function):
    """Pictures moved by whole pixels, zeros where nothing comes in; its gradient moves them back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, down: np.ndarray, across: np.ndarray) -> Tensor:
        ctx.moves = down, across
        # The picture's memory may be channels-last; empty_like keeps that.
        moved = np.zeros_like(x.data)
        height, width = x.shape[2:]
        for source, target, i, j in zip(x.data, moved, down.tolist(), across.tolist()):
            top, bottom, left, right = max(i, 0), height + min(i, 0), max(j, 0), width + min(j, 0)
            target[:, top:bottom, left:right] = source[:, top - i : bottom - i, left - j : right - j]
        return _ops.from_numpy(moved)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple:
        down, across = ctx.moves
        return _Shift.apply(grads[0], -down, -across), None, None


class Augment:
    """Changes each picture of a batch in its own way, differentiably.

    "colour": brightness by up to 0.5, saturation by a factor of 0 to 2 (in colour), contrast by one of 0.5 to 1.5;
    "translation": up to an eighth of the side each way; "cutout": a square of half the side becomes zero.

    Parameters
    ----------
    *kinds : {"colour", "translation", "cutout"}
        In this order; all three if none is named.

    Notes
    -----
    x: (N, C, H, W), values from -1 to 1. Draws from the generator of `fastnn.manual_seed`.

    Raises
    ------
    ValueError
        For another word, or anything but (N, C, H, W).

    References
    ----------
    Zhao, Liu, Lin, Zhu, Han, "Differentiable augmentation for data-efficient GAN training", 2020.

    Examples
    --------
    >>> import fastnn as fnn
    >>> augment = fnn.adversarial.Augment("translation", "cutout")
    >>> augment(fnn.ones(2, 1, 8, 8)).shape
    (2, 1, 8, 8)
    """

    def __init__(self, *kinds: str) -> None:
        for kind in kinds:
            if kind not in KINDS:
                raise ValueError(f"Augment: expected {', '.join(KINDS)}; got {kind!r}")
        self.kinds = kinds or KINDS

    def __call__(self, x: Tensor) -> Tensor:
        if x.ndim != 4:
            raise ValueError(f"Augment: x is {x.shape}; expected (N, C, H, W)")
        for kind in self.kinds:
            x = {"colour": _colour, "translation": _translation, "cutout": _cutout}[kind](x)
        return x


def _draw(x: Tensor, low: float, high: float) -> Tensor:
    """Return a number for each picture, shape (N, 1, 1, 1)."""
    return _ops.from_numpy(_random.generator().uniform(low, high, (len(x), 1, 1, 1)).astype(x.dtype))


def _colour(x: Tensor) -> Tensor:
    x = x + _draw(x, -0.5, 0.5)
    if x.shape[1] > 1:
        grey = _ops.mean(x, 1, keepdim=True)
        x = (x - grey) * _draw(x, 0, 2) + grey
    mean = _ops.mean(x, (1, 2, 3), keepdim=True)
    return (x - mean) * _draw(x, 0.5, 1.5) + mean


def _translation(x: Tensor) -> Tensor:
    n, _, height, width = x.shape
    rng = _random.generator()
    down, across = (rng.integers(-round(side / 8), round(side / 8) + 1, n) for side in (height, width))
    return _Shift.apply(x, down, across)


def _cutout(x: Tensor) -> Tensor:
    n, _, height, width = x.shape
    rng = _random.generator()
    kept = np.ones((n, 1, height, width), x.dtype)
    tall, wide = (height + 1) // 2, (width + 1) // 2
    # The middle lies anywhere, so that part of the square may lie outside.
    for picture, top, left in zip(kept, rng.integers(0, height, n) - tall // 2, rng.integers(0, width, n) - wide // 2):
        picture[:, max(top, 0) : top + tall, max(left, 0) : left + wide] = 0
    return x * _ops.from_numpy(kept)
