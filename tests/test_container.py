"""Sequential, ModuleList and ModuleDict, and what a Sequential does in one pass."""

import numpy as np
import pytest

import fastnn as fnn
from fastnn import nn


def f32(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("activation", [nn.ReLU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh])
def test_fused_sequential_equals_its_unfused_twin(activation, rng):
    linear, act = nn.Linear(19, 23), activation()
    x = fnn.tensor(f32(rng, 6, 19), requires_grad=True)
    fused = nn.Sequential(linear, act)(x)
    fused.sum().backward()
    gradients = [x.grad.data.copy(), linear.weight.grad.data.copy(), linear.bias.grad.data.copy()]
    for t in (x, linear.weight, linear.bias):
        t.grad = None
    apart = act(linear(x))
    apart.sum().backward()
    np.testing.assert_allclose(fused.data, apart.data, rtol=1e-5, atol=1e-6)
    for ours, expected in zip(gradients, (x.grad, linear.weight.grad, linear.bias.grad)):
        np.testing.assert_allclose(ours, expected.data, rtol=1e-4, atol=1e-5)


def test_sequential_fuses_only_when_it_may(monkeypatch, rng):
    calls = []
    real = fnn._ops.linear

    def spy(x, weight, bias=None, activation=None):
        calls.append(activation)
        return real(x, weight, bias, activation)

    class Ops:
        linear = staticmethod(spy)

    monkeypatch.setattr("fastnn.nn._fusion._ops", Ops)
    x = fnn.tensor(f32(rng, 2, 3))
    net = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    net(x)
    assert calls == ["relu"]
    handle = net[1].register_forward_hook(lambda m, args, out: None)
    net(x)
    assert calls == ["relu"]
    handle.remove()
    net[1] = nn.Tanh()
    net(x)
    assert calls == ["relu", "tanh"]
    net[0].activation = "relu"  # its own activation first, then tanh
    np.testing.assert_allclose(
        net(x).data, np.tanh(real(x, net[0].weight, net[0].bias, "relu").data), rtol=1e-5, atol=1e-6
    )
    assert calls == ["relu", "tanh"]

    class Special(nn.ReLU):
        def forward(self, x):
            return x * 0

    assert (nn.Sequential(nn.Linear(3, 3), Special())(x).data == 0).all()
    nn.Sequential(nn.Linear(3, 3), nn.GELU("tanh"))(x)
    assert calls == ["relu", "tanh"]


def test_module_list_edits():
    layers = nn.ModuleList([nn.Linear(1, 1), nn.Tanh()])
    layers.append(nn.ReLU())
    layers.insert(1, nn.Sigmoid())
    assert [type(m).__name__ for m in layers] == ["Linear", "Sigmoid", "Tanh", "ReLU"]
    del layers[0]
    assert list(layers.__dict__) == ["0", "1", "2"]
    assert isinstance(layers[-1], nn.ReLU)
    assert len(layers[:2]) == 2
    layers[0] = nn.ELU()
    assert isinstance(layers[0], nn.ELU)
    layers += [nn.Tanh()]
    assert isinstance(layers[3], nn.Tanh)
    del layers[3]
    with pytest.raises(IndexError):
        layers[3]
    with pytest.raises(TypeError, match="Module expected"):
        layers.append(3)
    with pytest.raises(TypeError, match="one module at a time"):
        layers[0:1] = nn.ELU()
    with pytest.raises(TypeError, match="Module expected"):
        nn.Sequential(nn.ReLU(), lambda x: x)


def test_sequential_of_a_dict_and_slices():
    net = nn.Sequential({"1": nn.Linear(2, 3), "act": nn.ReLU()})
    net.append(nn.Linear(3, 1))
    assert len(net) == 3
    assert net(fnn.zeros(4, 2)).shape == (4, 1)
    assert net[:2](fnn.zeros(4, 2)).shape == (4, 3)
    assert [n for n, _ in net.named_children()] == ["1", "act", "2"]
    assert list(net[1:].state_dict()) == ["2.weight", "2.bias"]  # names stay, so that weights fit
    layers = nn.ModuleList([nn.ReLU(), nn.Tanh()])
    assert isinstance(layers.pop(0), nn.ReLU)
    assert [n for n, _ in layers.named_children()] == ["0"]


def test_module_dict():
    heads = nn.ModuleDict({"a": nn.ReLU()})
    heads["b"] = nn.Tanh()
    assert list(heads) == heads.keys() == ["a", "b"]
    assert "a" in heads
    assert "training" not in heads
    assert isinstance(heads.pop("a"), nn.ReLU)
    with pytest.raises(KeyError):
        heads["a"]
    with pytest.raises(KeyError, match="already has"):
        heads["keys"] = nn.ReLU()
    with pytest.raises(TypeError):
        heads["c"] = 1
