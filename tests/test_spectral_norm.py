"""Spectral norm: PyTorch's steps in NumPy, its names in the state, its gradient."""

import copy
import pickle

import numpy as np
import pytest

import fastnn as fnn
from fastnn import nn
from fastnn.nn.utils import spectral_norm

LAYERS = {
    "linear": (lambda: nn.Linear(5, 7), 0, (3, 5)),
    "conv": (lambda: nn.Conv2d(3, 4, 3), 0, (2, 3, 6, 6)),
    "transposed": (lambda: nn.ConvTranspose2d(3, 4, 4, 2, 1), 1, (2, 3, 6, 6)),
    "embedding": (lambda: nn.Embedding(6, 4), 0, None),
}


def matrix(weight, dim):
    return np.moveaxis(weight, dim, 0).reshape(weight.shape[dim], -1)


def unit(v):
    return v / max(np.linalg.norm(v), 1e-12)


@pytest.mark.parametrize("name", LAYERS)
def test_each_forward_is_a_step_of_power_iteration(name):
    make, dim, shape = LAYERS[name]
    layer = spectral_norm(make().double())
    held = layer.state_dict()
    original = held["parametrizations.weight.original"].numpy().copy()
    u, v = (held[f"parametrizations.weight.0.{n}"].numpy().copy() for n in ("_u", "_v"))
    m = matrix(original, dim)
    x = fnn.tensor(np.zeros(shape)) if shape else np.array([0, 3])
    for _ in range(3):
        u = unit(m @ v)
        v = unit(m.T @ u)
        layer(x)
        np.testing.assert_allclose(layer.state_dict()["parametrizations.weight.0._u"].numpy(), u, atol=1e-12)
        np.testing.assert_allclose(layer.state_dict()["parametrizations.weight.0._v"].numpy(), v, atol=1e-12)
    layer.eval()
    np.testing.assert_allclose(layer.weight.detach().numpy(), original / (u @ m @ v), atol=1e-12)


def test_evaluation_does_not_iterate():
    layer = spectral_norm(nn.Linear(5, 7)).eval()
    before = {name: tensor.numpy().copy() for name, tensor in layer.state_dict().items()}
    first = layer(fnn.ones(2, 5)).detach().numpy()
    np.testing.assert_array_equal(layer(fnn.ones(2, 5)).detach().numpy(), first)
    for name, tensor in layer.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), before[name])


@pytest.mark.parametrize("name", LAYERS)
def test_the_largest_singular_value_becomes_one(name):
    make, dim, _ = LAYERS[name]
    layer = spectral_norm(make(), n_power_iterations=200)
    assert np.linalg.svd(matrix(layer.weight.detach().numpy(), dim), compute_uv=False)[0] == pytest.approx(1, abs=1e-3)


def test_the_gradient_takes_the_vectors_as_given(rng):
    layer = spectral_norm(nn.Linear(4, 3).double())
    weight = layer.parametrizations.weight.original
    outer = rng.normal(size=(3, 4))
    (layer.weight * fnn.tensor(outer)).sum().backward()
    u, v = (layer.state_dict()[f"parametrizations.weight.0.{n}"].numpy() for n in ("_u", "_v"))
    sigma = u @ weight.detach().numpy() @ v
    wanted = outer / sigma - (outer * weight.detach().numpy()).sum() / sigma**2 * np.outer(u, v)
    np.testing.assert_allclose(weight.grad.numpy(), wanted, atol=1e-12)


def test_two_forwards_before_one_backward():
    """The second iteration must not spoil what the first forward kept."""
    layer = spectral_norm(nn.Linear(4, 3).double())
    x = fnn.ones(2, 4).double()
    (layer(x).sum() - layer(2 * x).sum()).backward()
    assert np.isfinite(layer.parametrizations.weight.original.grad.numpy()).all()


def test_of_a_vector():
    layer = nn.LayerNorm(3)
    layer.weight.data[:] = [3, 0, 4]
    spectral_norm(layer)
    np.testing.assert_allclose(layer.weight.detach().numpy(), [0.6, 0, 0.8], rtol=1e-6)


def test_its_state_is_pytorchs_and_comes_back(rng):
    layer = spectral_norm(nn.Conv2d(2, 3, 3))
    names = ["bias", "parametrizations.weight.original", "parametrizations.weight.0._u", "parametrizations.weight.0._v"]
    assert list(layer.state_dict()) == names
    assert [name for name, _ in layer.named_parameters()] == names[:2]
    other = spectral_norm(nn.Conv2d(2, 3, 3)).eval()
    other.load_state_dict(layer.state_dict())
    np.testing.assert_array_equal(other.weight.detach().numpy(), layer.eval().weight.detach().numpy())
    twin = copy.deepcopy(layer)
    twin.parametrizations.weight.original.data[:] = 0
    assert abs(layer.weight.detach().numpy()).max() > 0
    assert isinstance(layer, nn.Conv2d)


def test_pickled():
    layer = spectral_norm(spectral_norm(nn.LSTM(3, 4).double(), "weight_hh_l0"), "weight_ih_l0").eval()
    twin = pickle.loads(pickle.dumps(layer))
    assert type(twin) is type(layer)
    assert list(twin.state_dict()) == list(layer.state_dict())
    for name in ("weight_hh_l0", "weight_ih_l0"):
        np.testing.assert_array_equal(getattr(twin, name).detach().numpy(), getattr(layer, name).detach().numpy())


def test_errors():
    with pytest.raises(ValueError, match="Linear has no parameter 'wait'"):
        spectral_norm(nn.Linear(2, 2), "wait")
    with pytest.raises(ValueError, match="normalised already"):
        spectral_norm(spectral_norm(nn.Linear(2, 2)))
    with pytest.raises(ValueError, match="no parameter"):
        spectral_norm(nn.Linear(2, 2, bias=False), "bias")
    for wrong, error in ((0, ValueError), (1.5, TypeError), (True, TypeError)):
        with pytest.raises(error, match="n_power_iterations"):
            spectral_norm(nn.Linear(2, 2), n_power_iterations=wrong)
    with pytest.raises(ValueError, match="dim is 2"):
        spectral_norm(nn.Linear(2, 2), dim=2)


def test_of_a_recurrent_weight():
    layer = nn.utils.spectral_norm(nn.LSTM(3, 4), "weight_hh_l0")
    layer(fnn.randn(5, 2, 3))[0].sum().backward()
    assert np.isfinite(layer.parametrizations.weight_hh_l0.original.grad.data).all()
    assert layer.step(fnn.randn(2, 3))[0].shape == (2, 4)
