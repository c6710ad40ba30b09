"""What Sequential runs in one pass equals its modules one after the other: in training, evaluating, and frozen."""

import copy
import pickle

import numpy as np
import pytest

import fastnn as fnn
from fastnn.nn._fusion import find_runs

NN = fnn.nn


def images(rng, channels=8, size=12):
    return fnn.tensor(rng.standard_normal((3, channels, size, size)).astype(np.float32))


def one_by_one(net, x):
    for layer in net._layers():
        x = layer(x)
    return x


STACKS = {
    "conv relu": lambda: [NN.Conv2d(8, 16, 3, padding=1), NN.ReLU()],
    "conv pool": lambda: [NN.Conv2d(8, 16, 3), NN.MaxPool2d(2)],
    "conv relu pool": lambda: [NN.Conv2d(8, 16, 3, padding=1), NN.ReLU(), NN.MaxPool2d(2)],
    "conv norm": lambda: [NN.Conv2d(8, 16, 3, bias=False), NN.BatchNorm2d(16)],
    "conv norm relu pool": lambda: [NN.Conv2d(8, 16, 3), NN.BatchNorm2d(16), NN.ReLU(), NN.MaxPool2d(2, 2)],
    "conv norm tanh pool": lambda: [NN.Conv2d(8, 16, 3), NN.BatchNorm2d(16), NN.Tanh(), NN.MaxPool2d(2)],
    "conv relu6 pool": lambda: [NN.Lambda(lambda x: 20 * x), NN.Conv2d(8, 16, 3), NN.ReLU6(), NN.MaxPool2d(2)],
    "conv norm relu6": lambda: [NN.Conv2d(8, 16, 3, bias=False), NN.BatchNorm2d(16), NN.ReLU6()],
    "pixel hardswish": lambda: [NN.Conv2d(8, 16, 1), NN.Hardswish(), NN.Conv2d(16, 9, 1), NN.SiLU()],
    "conv silu pool": lambda: [NN.Conv2d(8, 16, 3), NN.SiLU(), NN.MaxPool2d(2)],
    "strided conv relu pool": lambda: [NN.Conv2d(8, 16, 3, stride=2), NN.ReLU(), NN.MaxPool2d(2)],
    "norm relu": lambda: [NN.BatchNorm2d(8), NN.ReLU(), NN.Flatten(), NN.Linear(8 * 144, 4), NN.Sigmoid()],
    "overlapping pool": lambda: [NN.Conv2d(8, 16, 3), NN.ReLU(), NN.MaxPool2d(3, 2)],
    "relu of its own": lambda: [NN.Conv2d(8, 16, 3, activation="relu"), NN.Tanh()],
    "transposed relu": lambda: [NN.ConvTranspose2d(8, 4, 4, 2, 1), NN.ReLU()],
    "transposed norm relu": lambda: [NN.ConvTranspose2d(8, 4, 4, 2, 1, bias=False), NN.BatchNorm2d(4), NN.ReLU()],
    "transposed groups": lambda: [NN.ConvTranspose2d(8, 6, 3, groups=2), NN.BatchNorm2d(6), NN.Tanh()],
    "unscaled norm": lambda: [NN.Conv2d(8, 16, 3), NN.BatchNorm2d(16, affine=False), NN.ReLU()],
}


@pytest.mark.parametrize("name", STACKS)
def test_equals_its_modules(rng, name):
    net = NN.Sequential(*STACKS[name]())
    x = images(rng)
    for module in net._layers():
        if isinstance(module, NN.BatchNorm2d):  # statistics that fold into something
            module.running_mean = fnn.tensor(rng.standard_normal(module.num_features).astype(np.float32))
            module.running_var = fnn.tensor(rng.uniform(0.5, 2, module.num_features).astype(np.float32))
    net.eval()
    with fnn.no_grad():
        want = one_by_one(net, x).numpy()
        np.testing.assert_allclose(net(x).numpy(), want, rtol=1e-4, atol=1e-5)
        net.freeze()
        for _ in range(2):
            np.testing.assert_allclose(net(x).numpy(), want, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("name", STACKS)
def test_trains_as_its_modules(rng, name):
    x, grads = images(rng), []
    for run in (lambda net: net(x), lambda net: one_by_one(net, x)):
        fnn.manual_seed(3)
        net = NN.Sequential(*STACKS[name]())
        y = run(net)
        (y * y).sum().backward()
        grads.append([p.grad.numpy() for p in net.parameters()] + [b.numpy() for b in net.buffers()])
    for fused, single in zip(*grads, strict=True):
        np.testing.assert_allclose(fused, single, rtol=2e-4, atol=2e-4 * np.abs(single).max(initial=1))


def test_runs_are_as_long_as_can_be():
    net = [*STACKS["conv norm relu pool"](), NN.Conv2d(16, 4, 3), NN.Flatten(), NN.Linear(4, 4), NN.ReLU()]
    assert [len(run.modules) for run in find_runs(net)] == [4, 1, 1, 2]


def test_hooks_see_every_module(rng):
    net = NN.Sequential(*STACKS["conv norm relu pool"]()).eval().freeze()
    x, seen = images(rng), []
    want = net(x).numpy()
    handle = net[2].register_forward_hook(lambda module, args, out: seen.append(out.shape))
    np.testing.assert_allclose(net(x).numpy(), want, rtol=1e-4, atol=1e-5)
    assert seen == [(3, 16, 10, 10)]
    handle.remove()


def test_pool_keeps_nan_and_odd_edges(rng):
    x = images(rng, size=11)
    x.data[1, :, 4, 4] = np.nan
    layer = NN.Conv2d(8, 16, 3)
    with fnn.no_grad():
        want = NN.functional.max_pool2d(layer(x), 2).numpy()
        got = NN.functional.conv2d(x, layer.weight, layer.bias, max_pool=True).numpy()
    assert got.shape == want.shape == (3, 16, 4, 4)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


PARTS = ["0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var"]


@pytest.mark.parametrize("how", ["another", "data", "data, frozen again"])
@pytest.mark.parametrize("part", PARTS)
def test_a_frozen_part_may_be_replaced(rng, part, how):
    net = NN.Sequential(NN.Conv2d(8, 4, 3), NN.BatchNorm2d(4), NN.ReLU()).freeze()
    x = images(rng)
    net(x)
    at, name = part.split(".")
    old = getattr(net[int(at)], name)
    values = np.abs(rng.standard_normal(old.shape)).astype(np.float32) + 0.5
    values.flags.writeable = False
    if how == "another":
        setattr(net[int(at)], name, type(old)(values).freeze_())
    else:
        old.data = values
    if how == "data, frozen again":
        old.freeze_()
    want = one_by_one(net, x)
    np.testing.assert_allclose(net(x).data, want.data, rtol=1e-4, atol=1e-4)


def test_only_what_is_frozen_as_a_whole_is_folded(rng):
    net = NN.Sequential(NN.Conv2d(8, 4, 3), NN.BatchNorm2d(4)).eval()
    net[0].freeze()
    net[1].running_mean.freeze_()
    net[1].running_var.freeze_()
    x = images(rng)
    net(x).sum().backward()
    assert net[1].weight.grad is not None
    with fnn.no_grad():
        net[1].weight *= 2
    np.testing.assert_allclose(net(x).data, one_by_one(net, x).data, rtol=1e-5, atol=1e-5)


def test_copies_of_a_frozen_network_may_change(rng):
    net = NN.Sequential(NN.Conv2d(8, 4, 3), NN.BatchNorm2d(4)).freeze()
    x = images(rng)
    net(x)
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        twin[0].weight.data[...] *= 2
        np.testing.assert_allclose(twin(x).data, one_by_one(twin, x).data, rtol=1e-5, atol=1e-5)


def test_a_forward_of_its_own_is_called(rng):
    net = NN.Sequential(NN.Conv2d(8, 4, 3), NN.ReLU())
    x = images(rng)
    net(x)
    net[1].forward = lambda x: x * 0 + 7
    assert (net(x).data == 7).all()


CHANGES = {
    "pool size": ("conv norm relu pool", 3, {"kernel_size": 3}),
    "pool step": ("conv relu pool", 2, {"stride": 1}),
    "pool padding": ("conv relu pool", 2, {"padding": 1}),
    "norm activation": ("conv norm tanh pool", 1, {"activation": "relu"}),
    "norm eps": ("conv norm", 1, {"eps": 3.0}),
    "conv stride": ("conv norm relu pool", 0, {"stride": (2, 2)}),
    "conv dilation": ("conv norm tanh pool", 0, {"dilation": (2, 2), "padding": (2, 2)}),
    "conv padding": ("transposed norm relu", 0, {"padding": (0, 0)}),
    "conv activation": ("conv relu pool", 0, {"activation": "sigmoid"}),
    "gelu": ("conv gelu", 1, {"approximate": "tanh"}),
}


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_settings_may_be_changed(rng, change, frozen):
    name, at, settings = CHANGES[change]
    net = NN.Sequential(*({"conv gelu": lambda: [NN.Conv2d(8, 16, 3), NN.GELU()]} | STACKS)[name]()[:4]).eval()
    if frozen:
        net.freeze()
    x = images(rng)
    with fnn.no_grad():
        before = net(x).numpy()
        for setting, value in settings.items():
            setattr(net[at], setting, value)
        want = one_by_one(net, x).numpy()
        assert want.shape != before.shape or np.abs(want - before).max() > 1e-4  # else this would show nothing
        np.testing.assert_allclose(net(x).numpy(), want, rtol=1e-4, atol=1e-5)
        twin = copy.deepcopy(net)
        np.testing.assert_allclose(twin(x).numpy(), want, rtol=1e-4, atol=1e-5)
