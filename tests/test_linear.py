"""Linear, activations and dropout against PyTorch's and against functions."""

import math

import numpy as np
import pytest

import fastnn as fnn
from fastnn import nn
from fastnn.nn import functional as F


def f32(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    "name",
    ["relu", "relu6", "gelu", "tanh", "sigmoid", "silu", "hardswish", "leaky_relu", "elu", "softplus", "softmax"],
)
def test_linear_activation_by_name_equals_the_function(name, rng):
    layer = nn.Linear(5, 6, activation=name)
    x = fnn.tensor(10 * f32(rng, 4, 5))
    plain = x @ layer.weight.T + layer.bias
    np.testing.assert_allclose(layer(x).data, getattr(F, name)(plain).data if name != "softmax" else
                               F.softmax(plain, -1).data, rtol=1e-5, atol=1e-6)  # fmt: skip


def test_linear_takes_any_callable(rng):
    layer = nn.Linear(3, 2, activation=lambda x: (x * 0.5).sin())
    x = fnn.tensor(f32(rng, 4, 3))
    layer(x).sum().backward()
    assert layer.weight.grad.shape == (2, 3)
    np.testing.assert_allclose(
        layer(x).data, np.sin(0.5 * (x @ layer.weight.T + layer.bias).data), rtol=1e-5, atol=1e-6
    )
    with pytest.raises(ValueError, match="unknown activation 'rellu'"):
        nn.Linear(1, 1, activation="rellu")
    with pytest.raises(TypeError, match="activation"):
        nn.Linear(1, 1, activation=3)
    named = nn.Linear(3, 2, activation=fnn.tanh)
    assert repr(named) == "Linear(in_features=3, out_features=2, bias=True, activation=tanh)"


@pytest.mark.parametrize(("sizes", "error"), [((0, 1), ValueError), ((1, -1), ValueError), ((1.5, 1), TypeError),
                                              ((True, 1), TypeError), (("3", 1), TypeError)])  # fmt: skip
def test_linear_sizes_are_checked(sizes, error):
    with pytest.raises(error, match="Linear"):
        nn.Linear(*sizes)


def test_linear_initialisation_is_pytorchs():
    fnn.manual_seed(0)
    layer = nn.Linear(400, 300)
    bound = 1 / 20
    for p in (layer.weight, layer.bias):
        assert np.abs(p.data).max() <= bound
    assert np.abs(layer.weight.data).max() > 0.999 * bound
    assert layer.weight.data.std() == pytest.approx(bound / math.sqrt(3), rel=0.01)
    other = nn.Linear(400, 300)
    assert not np.array_equal(layer.weight.data, other.weight.data)
    fnn.manual_seed(0)
    np.testing.assert_array_equal(nn.Linear(400, 300).weight.data, layer.weight.data)


ACTIVATIONS = [
    ("ReLU", ()), ("LeakyReLU", (0.2,)), ("ELU", (1.5,)), ("GELU", ("none",)), ("GELU", ("tanh",)), ("SiLU", ()),
    ("Sigmoid", ()), ("Tanh", ()), ("Softplus", ()), ("Softplus", (3.0, 5.0)), ("Softmax", (1,)), ("LogSoftmax", (0,)),
    ("ReLU6", ()), ("Hardtanh", (-0.5, 2.0)), ("Hardswish", ()), ("Mish", ()), ("SELU", ()), ("LogSigmoid", ()),
]  # fmt: skip


@pytest.mark.parametrize(("name", "args"), ACTIVATIONS)
def test_activations_are_pytorchs(name, args, rng):
    torch = pytest.importorskip("torch")
    x = np.concatenate([f32(rng, 4, 9) * 4, np.zeros((1, 9), np.float32)])
    ours, theirs = fnn.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    dy = f32(rng, 5, 9)
    y, z = getattr(nn, name)(*args)(ours), getattr(torch.nn, name)(*args)(theirs)
    np.testing.assert_allclose(y.data, z.detach().numpy(), rtol=2e-5, atol=2e-6)
    y.backward(fnn.tensor(dy))
    z.backward(torch.tensor(dy))
    np.testing.assert_allclose(ours.grad.data, theirs.grad.numpy(), rtol=2e-4, atol=2e-5)


def test_activation_arguments_are_checked():
    with pytest.raises(ValueError, match="approximate"):
        nn.GELU("erf")
    with pytest.raises(ValueError, match="beta"):
        nn.Softplus(beta=0)
    with pytest.raises(TypeError, match="callable"):
        nn.Lambda(3)


@pytest.mark.parametrize("dim", [0, 1])
def test_gates_are_pytorchs(dim, rng):
    torch = pytest.importorskip("torch")
    x = f32(rng, 4, 6)
    ours, theirs = fnn.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, z = nn.GLU(dim)(ours), torch.nn.GLU(dim)(theirs)
    np.testing.assert_allclose(y.data, z.detach().numpy(), rtol=2e-5)
    y.sum().backward()
    z.sum().backward()
    np.testing.assert_allclose(ours.grad.data, theirs.grad.numpy(), rtol=2e-4, atol=1e-6)
    with pytest.raises(ValueError, match="even size in dimension 1"):
        nn.GLU(1)(fnn.ones(2, 3))


@pytest.mark.parametrize("name", ["ReLU", "LeakyReLU", "ELU", "SiLU", "ReLU6", "Hardtanh", "Hardswish", "Mish", "SELU"])
def test_in_place_is_taken_and_leaves_the_input(name):
    x = fnn.tensor([-2.0, 8.0])
    layer = getattr(nn, name)(inplace=True)
    assert layer(x).data is not x.data
    np.testing.assert_array_equal(x.data, [-2, 8])


def test_dropout_of_channels():
    fnn.manual_seed(1)
    x = fnn.ones(40, 50, 3, 2, requires_grad=True)
    y = nn.Dropout2d(0.25, inplace=True)(x)
    kept = (y.data != 0).reshape(2000, 6)
    assert (kept.all(1) | ~kept.any(1)).all()
    assert kept.mean() == pytest.approx(0.75, abs=0.03)
    np.testing.assert_allclose(y.data[y.data != 0], 1 / 0.75, rtol=1e-6)
    assert nn.Dropout2d().eval()(x) is x
    with pytest.raises(ValueError, match=r"expected \(N, C, H, W\)"):
        nn.Dropout2d()(fnn.ones(2, 3))


def test_dropout(rng):
    fnn.manual_seed(1)
    layer = nn.Dropout(0.25)
    x = fnn.ones(200, 100, requires_grad=True)
    y = layer(x)
    kept = y.data != 0
    assert kept.mean() == pytest.approx(0.75, abs=0.01)
    np.testing.assert_allclose(y.data[kept], 1 / 0.75, rtol=1e-6)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.data != 0, kept)
    assert not np.array_equal(layer(x).data, y.data)
    fnn.manual_seed(1)
    np.testing.assert_array_equal(layer(x).data, y.data)
    assert layer.eval()(x) is x
    for p in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="between 0 and 1"):
            nn.Dropout(p)
    with pytest.raises(TypeError, match="number"):
        nn.Dropout("0.5")
