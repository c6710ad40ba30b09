"""Frozen modules: same answers, read-only, packed once, safe in threads."""

import threading

import numpy as np
import pytest

import fastnn as fnn
from fastnn import nn
from fastnn.nn import functional as F


# Of fewer numbers or more rows, up to eight, packed weights are multiplied in another order.
@pytest.mark.parametrize(("rows", "size"), [(1, 600), (2, 600), (9, 70), (33, 70), (130, 70)])
@pytest.mark.parametrize("activation", [None, "relu", "gelu"])
def test_frozen_gives_the_same_bits(rows, size, activation):
    layer = nn.Linear(size, 50, activation=activation)
    x = fnn.randn(rows, size)
    with fnn.no_grad():
        before = layer(x).numpy().copy()
        layer.freeze()
        for _ in range(3):
            assert np.array_equal(layer(x).numpy(), before)


@pytest.mark.parametrize("rows", range(1, 9))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
# One part of k and three, two widths of slivers, a ragged last one, several items.
@pytest.mark.parametrize("sizes", [(600, 83), (1300, 83), (200, 300), (300, 1100)], ids=str)
def test_few_rows_by_a_frozen_weight(isa, rng, rows, dtype, sizes):
    layer = nn.Linear(*sizes, activation="relu").to(dtype).freeze()
    x = rng.standard_normal((rows, sizes[0])).astype(dtype)
    want = np.maximum(x.astype(np.float64) @ layer.weight.data.astype(np.float64).T + layer.bias.data, 0)
    error = 5e-6 if dtype == "float32" else 1e-14
    for _ in range(2):  # packing, packed
        np.testing.assert_allclose(layer(fnn.tensor(x)).numpy(), want, rtol=0, atol=error)


def test_few_rows_by_a_frozen_weight_from_memory(isa, rng):
    layer = nn.Linear(1024, 401, bias=False).freeze()  # above 1.5 MB, where the next columns are fetched
    for rows in (3, 8, 20):
        x = rng.standard_normal((rows, 1024)).astype(np.float32)
        want = x.astype(np.float64) @ layer.weight.data.astype(np.float64).T
        np.testing.assert_allclose(layer(fnn.tensor(x)).numpy(), want, rtol=0, atol=1e-5)


def test_packed_weights_hold_nothing_of_the_first_input(isa, rng):
    layer = nn.Linear(512, 256).freeze()
    for _ in range(2):  # columns 2 KB apart, which a product that keeps nothing copies beside the weights
        x = rng.standard_normal((512, 256)).astype(np.float32)
        want = x.T.astype(np.float64) @ layer.weight.data.T + layer.bias.data
        np.testing.assert_allclose(layer(fnn.tensor(x).T).numpy(), want, rtol=0, atol=1e-5)


def test_other_kernels_pack_again(isa):
    layer = nn.Linear(70, 50).freeze()
    x = fnn.randn(40, 70)
    names = fnn.kernels.isas()
    want = x.data @ layer.weight.data.T + layer.bias.data
    for name in [*names, *reversed(names)]:
        fnn.kernels.use_isa(name)
        np.testing.assert_allclose(layer(x).numpy(), want, rtol=1e-5, atol=1e-5)


def test_frozen_refuses_change():
    weight = nn.Linear(4, 3).freeze().weight
    with pytest.raises(RuntimeError, match="frozen"):
        weight.requires_grad = True
    with fnn.no_grad(), pytest.raises(ValueError, match="read-only"):
        weight.fill_(0.0)
    with pytest.raises(ValueError, match="read-only"):
        weight.data[0, 0] = 1.0
    assert weight.clone().requires_grad_().requires_grad


def test_a_view_from_before_does_not_reach_the_frozen_weight():
    layer = nn.Linear(40, 30)
    view = layer.weight.data
    layer.freeze()
    x = fnn.randn(40, 40)
    before = layer(x).numpy().copy()
    view[:] = 0.0
    assert np.array_equal(layer(x).numpy(), before)


def test_frozen_modules_have_attributes_of_their_own():
    first, second = (nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3)) for _ in range(2))
    names = list(first.state_dict())
    first.note = ["kept"]
    first.freeze()
    assert list(first.state_dict()) == names
    assert first.note == ["kept"]
    assert not first[0].training
    x = fnn.randn(1, 3)
    for _ in range(50):  # until the interpreter knows where to look
        want = first(x).tolist()
    weight = first[0].weight
    first[0].weight = second[0].weight
    first.note = "new"
    assert first(x).tolist() != want
    first[0].weight = weight
    assert first(x).tolist() == want
    assert second.training
    assert not hasattr(second, "note")
    del first.note
    assert not hasattr(first, "note")


def test_new_data_replaces_what_was_packed():
    layer = nn.Linear(40, 30, bias=False).freeze()
    x = fnn.randn(40, 40)
    layer(x)
    layer.weight.data = np.zeros((30, 40), np.float32)
    assert not layer(x).numpy().any()


def test_threads_may_pack_at_once():
    layer = nn.Linear(300, 200)
    x = fnn.randn(64, 300)
    with fnn.no_grad():
        want = layer(x).numpy().copy()
    layer.freeze()
    wrong = []

    def serve():
        for _ in range(20):
            if not np.array_equal(layer(x).numpy(), want):
                wrong.append(1)

    threads = [threading.Thread(target=serve) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_gradient_of_the_input_flows_through_a_frozen_layer():
    layer = nn.Linear(12, 9).freeze()
    x = fnn.randn(20, 12, requires_grad=True)
    layer(x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.tile(layer.weight.data.sum(0), (20, 1)), rtol=1e-5)


def test_loading_into_a_frozen_part_touches_nothing():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].freeze()
    before = net[0].weight.data.copy()
    with pytest.raises(ValueError, match="is frozen"):
        net.load_state_dict({name: fnn.zeros_like(t) for name, t in net.state_dict().items()})
    assert np.array_equal(net[0].weight.data, before)


def test_one_frozen_weight_in_convolutions_of_several_geometries(rng):
    """What is prepared for one geometry never serves another."""
    weight = fnn.tensor(rng.standard_normal((8, 8, 3, 3)).astype(np.float32))
    x = fnn.tensor(rng.standard_normal((2, 8, 12, 12)).astype(np.float32))
    calls = [
        lambda w: F.conv2d(x, w, padding=1),
        lambda w: F.conv_transpose2d(x, w, padding=1),
        lambda w: F.conv2d(x, w, stride=2, padding=1),
        lambda w: F.conv_transpose2d(x, w, stride=2, padding=1),
        lambda w: F.conv_transpose2d(x, w, stride=2),
        lambda w: F.conv2d(x, w, dilation=2),
    ]
    with fnn.no_grad():
        want = [call(weight).numpy().copy() for call in calls]
        for first in range(len(calls)):
            frozen = weight.clone().freeze_()
            for at in (first, *range(len(calls)), first):
                np.testing.assert_array_equal(calls[at](frozen).numpy(), want[at], err_msg=f"{at} after {first}")


def test_new_data_is_noticed_though_frozen_again():
    x, w = fnn.ones(2, 2, requires_grad=True), fnn.ones(2, 2)
    y = x @ w
    w.data = np.full((2, 2), 5, np.float32)
    w.freeze_()
    with pytest.raises(RuntimeError, match="changed in place"):
        y.sum().backward()
    y = x @ (v := fnn.ones(2, 2))
    v.freeze_()  # the same values
    y.sum().backward()
    assert x.grad.tolist() == [[2, 2], [2, 2]]
