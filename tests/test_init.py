"""Initialisations: spreads, bounds and errors."""

import math

import numpy as np
import pytest

import fastnn as fnn
from fastnn import nn


@pytest.mark.parametrize(("fill", "mean", "std"), [
    (lambda t: nn.init.uniform_(t, -1, 3), 1, 4 / math.sqrt(12)), (lambda t: nn.init.normal_(t, 1, 0.5), 1, 0.5),
    (nn.init.xavier_uniform_, 0, math.sqrt(2 / 500)), (nn.init.xavier_normal_, 0, math.sqrt(2 / 500)),
    (nn.init.kaiming_uniform_, 0, math.sqrt(2 / 300)),
    (lambda t: nn.init.kaiming_normal_(t, 0.0, "fan_out", "relu"), 0, math.sqrt(2 / 200)),
    (nn.init.trunc_normal_, 0, 0.8796), (lambda t: nn.init.trunc_normal_(t, 1.0, 0.5, 0.0, 2.0), 1, 0.5 * 0.8796),
])  # fmt: skip
def test_spread_of_initialisations(fill, mean, std):
    fnn.manual_seed(2)
    t = fnn.empty(200, 300, requires_grad=True)
    assert fill(t) is t
    assert t.data.mean() == pytest.approx(mean, abs=0.02)
    assert t.data.std() == pytest.approx(std, rel=0.02)
    assert t.requires_grad
    assert t.is_leaf


def test_orthogonal():
    for shape in [(5, 3), (3, 5), (4, 2, 3), (4, 4)]:
        w = nn.init.orthogonal_(fnn.empty(*shape, dtype=np.float64), gain=2.0).data.reshape(shape[0], -1)
        product = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
        np.testing.assert_allclose(product, 4 * np.eye(len(product)), atol=1e-12)
    assert {nn.init.orthogonal_(fnn.empty(1, 1)).item() for _ in range(20)} == {-1.0, 1.0}  # uniform: both signs


@pytest.mark.parametrize(("a", "b"), [(-2, 2), (0.5, 0.6), (3, 8), (-9, -7), (-1e9, 1e9), (30, 1e9), (-0.1, 40)])
def test_trunc_normal_ends_and_stays_inside(a, b):
    values = nn.init.trunc_normal_(fnn.empty(2000), 0.0, 1.0, a, b).data
    assert values.min() >= np.float32(a)
    assert values.max() <= np.float32(b)
    if a == 3:  # mean of the tail: phi(3) / (1 - Phi(3))
        assert values.mean() == pytest.approx(3.283, abs=0.03)


def test_gains_and_errors():
    torch = pytest.importorskip("torch")
    for name in ("linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu", "conv2d", "conv_transpose1d"):
        assert nn.init.calculate_gain(name) == pytest.approx(torch.nn.init.calculate_gain(name))
    assert nn.init.calculate_gain("leaky_relu", 0.3) == pytest.approx(torch.nn.init.calculate_gain("leaky_relu", 0.3))
    with pytest.raises(ValueError, match="unknown nonlinearity"):
        nn.init.calculate_gain("swish")
    with pytest.raises(ValueError, match="fans"):
        nn.init.xavier_uniform_(fnn.empty(3))
    with pytest.raises(TypeError, match="Tensor"):
        nn.init.normal_(np.zeros(3))
    with pytest.raises(TypeError, match="floating"):
        nn.init.normal_(fnn.tensor([1]))
    with pytest.raises(ValueError, match="std"):
        nn.init.normal_(fnn.empty(3), std=-1)
    with pytest.raises(ValueError, match="finite"):
        nn.init.uniform_(fnn.empty(3), 0, math.inf)
    with pytest.raises(ValueError, match="exceed"):
        nn.init.uniform_(fnn.empty(3), 1, 0)


def test_the_array_of_a_tensor_is_refused_with_a_hint():
    with pytest.raises(TypeError, match="got ndarray; give the Tensor itself, not its data"):
        nn.init.normal_(nn.Linear(3, 2).weight.data)
