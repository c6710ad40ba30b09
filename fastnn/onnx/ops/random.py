"""Random numbers, from fastnn's own source, or from a node's seed."""

from typing import Any

import numpy as np

from ..._random import generator
from .._registry import op
from .._values import array, check_size, value
from .cast import numpy_type


def source(seed: float | None) -> Any:
    """fastnn's generator; with a seed NumPy's legacy one, whose stream is the same for ever."""
    return generator() if seed is None else np.random.RandomState(int(seed) & 0xFFFFFFFF)


def _type(dtype: int | None, like: Any) -> np.dtype:
    return array(like).dtype if dtype is None else numpy_type(dtype)


@op("RandomUniform", random=True)
def random_uniform(
    *, shape: list[int], dtype: int = 1, high: float = 1.0, low: float = 0.0, seed: float | None = None
) -> Any:
    """Numbers from [low, high)."""
    return value(source(seed).uniform(low, high, check_size("RandomUniform", shape)).astype(numpy_type(dtype)))


@op("RandomUniformLike", random=True)
def random_uniform_like(
    x: Any, *, dtype: int | None = None, high: float = 1.0, low: float = 0.0, seed: float | None = None
) -> Any:
    """Numbers from [low, high) in x's shape."""
    return value(source(seed).uniform(low, high, x.shape).astype(_type(dtype, x)))


@op("RandomNormal", random=True)
def random_normal(
    *, shape: list[int], dtype: int = 1, mean: float = 0.0, scale: float = 1.0, seed: float | None = None
) -> Any:
    """Normal numbers."""
    return value(source(seed).normal(mean, scale, check_size("RandomNormal", shape)).astype(numpy_type(dtype)))


@op("RandomNormalLike", random=True)
def random_normal_like(
    x: Any, *, dtype: int | None = None, mean: float = 0.0, scale: float = 1.0, seed: float | None = None
) -> Any:
    """Normal numbers in x's shape."""
    return value(source(seed).normal(mean, scale, x.shape).astype(_type(dtype, x)))


@op("Bernoulli", random=True)
def bernoulli(p: Any, *, dtype: int | None = None, seed: float | None = None) -> Any:
    """1 with the probability p, else 0."""
    drawn = source(seed).uniform(0.0, 1.0, p.shape)
    return value((drawn < array(p)).astype(_type(dtype, p)))


@op("Multinomial", random=True)
def multinomial(x: Any, *, dtype: int = 6, sample_size: int = 1, seed: float | None = None) -> Any:
    """Classes drawn by their unnormalised log-probabilities: (B, sample_size)."""
    noise = source(seed).gumbel(size=(x.shape[0], check_size("Multinomial", [sample_size])[0], x.shape[1]))
    return (array(x)[:, None] + noise).argmax(-1).astype(numpy_type(dtype))
