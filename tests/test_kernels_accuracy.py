"""exp, log, tanh, sigmoid and erf over all of float32: errors in units in the last place, against float64."""

import math

import numpy as np
import pytest

from fastnn import kernels

ERF = np.vectorize(math.erf, otypes=[np.float64])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


# The function in float64, where it is neither constant nor out of range, the largest error in units in the last place.
FUNCTIONS = {
    "exp": (np.exp, (-104, 89), 1.5),
    "log": (np.log, (1e-30, 100), 1.5),
    "tanh": (np.tanh, (-10, 10), 2.5),
    "sigmoid": (sigmoid, (-104, 20), 2.5),
    "erf": (ERF, (-4.2, 4.2), 1.5),
}


def ulps(got, want):
    """Errors of float32 results in units in the last place of the exact ones."""
    with np.errstate(over="ignore", under="ignore"):
        unit = np.spacing(np.abs(want).astype(np.float32)).astype(np.float64)
    return np.abs(got.astype(np.float64) - want) / unit


@pytest.mark.parametrize("name", FUNCTIONS)
def test_where_it_matters(isa, name):
    function, (low, high), bound = FUNCTIONS[name]
    x = np.random.default_rng(0).uniform(low, high, 100_000).astype(np.float32)
    with np.errstate(over="ignore"):
        error = ulps(getattr(kernels, name)(x), function(x.astype(np.float64)))
    worst = np.nanargmax(error)
    assert error[worst] <= bound, f"{name}({x[worst]!r}) is {error[worst]:.2f} units off"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_all_exponents(isa, name):
    function, _, bound = FUNCTIONS[name]
    bits = np.arange(0, 2**32, 40_009, dtype=np.uint64).astype(np.uint32)
    x = bits.view(np.float32)
    with np.errstate(all="ignore"):
        want = function(x.astype(np.float64))
        rounded = want.astype(np.float32)
    got = getattr(kernels, name)(x)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    finite = np.isfinite(rounded)
    np.testing.assert_array_equal(got[np.isinf(rounded)], rounded[np.isinf(rounded)])
    with np.errstate(all="ignore"):
        error = np.where(finite, ulps(got, want), 0)
    worst = np.argmax(error)
    assert error[worst] <= bound, f"{name}({x[worst]!r}) is {error[worst]:.2f} units off"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_double(isa, name):
    function, (low, high), _ = FUNCTIONS[name]
    x = np.random.default_rng(1).uniform(low, high, 5_000)
    long = ERF if name == "erf" else function
    want = long(x.astype(np.longdouble)).astype(np.float64)
    np.testing.assert_allclose(getattr(kernels, name)(x), want, rtol=4 * np.finfo(np.float64).eps)


def test_exp_and_log_of_landmarks(isa):
    one = np.ones(1, np.float32)
    assert kernels.exp(0 * one)[0] == 1
    assert kernels.log(one)[0] == 0
    assert kernels.sigmoid(0 * one)[0] == 0.5
    assert kernels.tanh(0 * one)[0] == 0
    np.testing.assert_array_equal(kernels.tanh(np.float32([-40, 40])), [-1, 1])
    np.testing.assert_array_equal(kernels.erf(np.float32([-40, 40])), [-1, 1])


@pytest.mark.parametrize("name", ["tanh", "erf", "exp", "sigmoid"])
def test_monotonous_to_a_unit(isa, name):
    x = np.linspace(-6, 6, 200_001, dtype=np.float32)
    y = getattr(kernels, name)(x).astype(np.float64)
    assert np.diff(y).min() >= -2 * np.spacing(np.abs(y).max().astype(np.float32))
