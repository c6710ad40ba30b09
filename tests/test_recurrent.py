"""Recurrent layers as an op: against the same steps in float64 NumPy, and gradients against those of ops."""

import threading
import time

import numpy as np
import pytest
from recurrent_by_hand import CELLS, layer_by_hand, near, problem, tensors

import fastnn as fnn
from fastnn import _ops_recurrent, _recurrent_twin, nn

# steps, sequences, inputs, units: around the lanes of every instruction set, and the heights of a tile
SIZES = [
    (1, 1, 1, 1),
    (3, 2, 5, 3),
    (2, 3, 3, 7),
    (4, 5, 1, 8),
    (2, 7, 9, 9),
    (3, 13, 4, 16),
    (2, 4, 17, 31),
    (3, 6, 2, 40),
    (2, 33, 8, 24),
]


@pytest.fixture(params=[np.float32, np.float64], ids=["f32", "f64"])
def dtype(request):
    return request.param


# ---- the op, over every instruction set


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("directions", [1, 2])
def test_against_numpy(isa, cell, size, directions, dtype):
    x, h0, c0, weights = problem(cell, size, directions)
    want = layer_by_hand(cell, x, h0, c0, weights)
    tx, th, tc, *tw = tensors([x, h0, c0, *weights], dtype)
    for got, w in zip(_ops_recurrent.recurrent("f", cell, tx, th, tc, tw), want, strict=True):
        assert (got is None) == (w is None)
        if w is not None:
            assert got.dtype == dtype
            near(got, w, dtype)


@pytest.mark.parametrize(("proj", "bias"), [(0, False), (1, True), (3, True), (9, False)])
def test_projection_and_bias(isa, proj, bias, dtype):
    values = problem("lstm", (3, 5, 4, 10), 2, bias, proj)
    want = layer_by_hand("lstm", *values)
    x, h0, c0, *weights = tensors([*values[:3], *values[3]], dtype)
    for got, w in zip(_ops_recurrent.recurrent("f", "lstm", x, h0, c0, weights), want, strict=True):
        near(got, w, dtype)


def both_gradients(cell, values, dtype, batch_sizes=None):
    """Gradients of the fused op and of its twin, of a random projection of all outputs."""
    found = []
    for fused in (True, False):
        inputs = tensors(values, dtype, grad=True)
        x, h0, c0, *weights = inputs
        if fused:
            outputs = _ops_recurrent.recurrent("f", cell, x, h0, c0, weights, batch_sizes)
        else:
            sizes = np.full(x.shape[0], x.shape[1]) if batch_sizes is None else batch_sizes[0]
            start = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
            outputs = _recurrent_twin.unfused(CELLS.index(cell), inputs, start)
        rng = np.random.default_rng(1)
        loss = sum((o * fnn.tensor(rng.normal(size=o.shape).astype(dtype))).sum() for o in outputs if o is not None)
        loss.backward()
        found.append([None if t is None else t.grad for t in inputs])
    return found


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("cell", CELLS)
def test_gradients_as_the_twin_has_them(isa, cell, size, dtype):
    x, h0, c0, weights = problem(cell, size, 2)
    for got, want in zip(*both_gradients(cell, [x, h0, c0, *weights], dtype), strict=True):
        assert (got is None) == (want is None)
        if want is not None:
            near(got, want.data, dtype, 1000)


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_of_uneven_sequences(isa, cell, dtype):
    sizes, batch = np.array([6, 6, 4, 1]), 8  # two sequences have no step at all
    _, h0, c0, weights = problem(cell, (1, batch, 5, 17), 2)
    x = np.random.default_rng(3).normal(size=(int(sizes.sum()), 5))
    for got, want in zip(*both_gradients(cell, [x, h0, c0, *weights], dtype, (sizes, batch)), strict=True):
        if want is not None:
            near(got, want.data, dtype, 1000)


@pytest.mark.parametrize("proj", [1, 3])
def test_gradients_of_a_projection(isa, proj, dtype):
    x, h0, c0, weights = problem("lstm", (4, 7, 5, 10), 2, True, proj)
    for got, want in zip(*both_gradients("lstm", [x, h0, c0, *weights], dtype), strict=True):
        near(got, want.data, dtype, 1000)


@pytest.mark.parametrize("cell", ["rnn_tanh", "lstm", "gru"])
def test_gradcheck_of_second_order(cell):
    x, h0, c0, weights = problem(cell, (3, 2, 2, 3), 2)
    given = [v for v in [x, h0, c0, *weights] if v is not None]

    def f(*arguments):
        it = iter(arguments)
        x, h0, c0, *weights = (
            None if v is None else next(it) for v in [*problem(cell, (3, 2, 2, 3), 2)[:3], *weights_like]
        )
        y, h, c = _ops_recurrent.recurrent("f", cell, x, h0, c0, weights)
        return y.sum() * h.sum() if c is None else y.sum() * h.sum() + (c * c).sum()

    weights_like = weights
    assert fnn.gradcheck(f, tuple(fnn.tensor(v) for v in given), order=2)


def test_only_what_is_asked_for():
    x, h0, c0, weights = problem("gru", (3, 2, 4, 5))
    tx, th, _, *tw = tensors([x, h0, c0, *weights], np.float32)
    tw[1].requires_grad = True
    _, h, _ = _ops_recurrent.recurrent("f", "gru", tx, th, None, tw)
    (found,) = fnn.grad(h.sum(), tw[1], retain_graph=True)
    h.sum().backward()
    np.testing.assert_array_equal(tw[1].grad.data, found.data)
    assert tx.grad is None
    assert tw[0].grad is None


@pytest.mark.parametrize("cell", CELLS)
def test_a_graph_that_is_kept_gives_the_same_again(isa, cell, dtype):
    # Only the last pass may put gradients in the place of what the forward kept.
    x, h0, c0, weights = problem(cell, (5, 3, 4, 19), 2)
    x, h0, c0, *weights = inputs = tensors([x, h0, c0, *weights], dtype, grad=True)
    y, h, _ = _ops_recurrent.recurrent("f", cell, x, h0, c0, weights)
    loss = (y * y).sum() + h.sum()
    asked = [t for t in inputs if t is not None]
    first, second, last = (fnn.grad(loss, asked, retain_graph=keep) for keep in (True, True, False))
    for a, b, c in zip(first, second, last, strict=True):
        np.testing.assert_array_equal(a.data, b.data)
        np.testing.assert_array_equal(a.data, c.data)
    with pytest.raises(RuntimeError, match="freed by an earlier backward"):
        fnn.grad(loss, asked)


# Sums from everywhere: a bias is one, where all weights are 0.
ENDS = [0, 1e-30, -1e-42, 1e30, -1e38, np.inf, -np.inf, np.nan]
SUMS = np.concatenate([np.linspace(-110, 110, 121), np.linspace(-1, 1, 120), ENDS]).astype(np.float32)


@pytest.mark.parametrize("cell", ["rnn_tanh", "gru"])
def test_gates_of_any_sum(isa, cell):
    gates, n = (3 if cell == "gru" else 1), len(SUMS)
    bias = np.zeros(gates * n, np.float32)
    bias[(gates > 1) * n :][:n] = SUMS  # a GRU's second gate is how much of h stays, and the new h would be 0
    weights = [np.zeros((gates * n, 1)), np.zeros((gates * n, n)), bias, np.zeros(gates * n), None]
    x, h, *weights = tensors([np.zeros((1, 1, 1)), np.ones((1, 1, n)), *weights], np.float32)
    got = _ops_recurrent.recurrent("f", cell, x, h, None, weights)[0].numpy().ravel()
    with np.errstate(over="ignore"):
        exact = np.tanh(SUMS.astype(np.float64)) if gates == 1 else 1 / (1 + np.exp(-SUMS.astype(np.float64)))
    np.testing.assert_array_equal(np.isnan(got), np.isnan(exact))
    # As if the sum were half a unit off, and five units more; what is denormal may be 0.
    off = 5 if gates == 1 else 5 + np.minimum(np.abs(SUMS), 110) / 2
    allowed = off * 2.0**-23 * np.abs(exact) + np.finfo(np.float32).tiny
    known = np.isfinite(exact)
    assert np.all(np.abs(got - exact)[known] <= allowed[known])


@pytest.mark.parametrize("cell", ["GRU", "LSTM", "RNN"])
@pytest.mark.parametrize("later", [0.0, 1e-4, 4e-4, 1e-3])
def test_two_threads_passes_through_one_layer(cell, later):
    # One keeps the graph, one frees it, at about the same time: right gradients or a clear error, never wrong ones.
    layer = getattr(nn, cell)(8, 64)
    y, state = layer(fnn.randn(1000, 8, 8))
    h = state[0] if isinstance(state, tuple) else state
    weights = list(layer.parameters())
    losses = {"keeps": (y * y).sum(), "frees": (h * 2).sum()}
    want = {name: fnn.grad(loss, weights, retain_graph=True) for name, loss in losses.items()}
    got, meet = {}, threading.Barrier(2, timeout=60)

    def both_are_here(gradient):
        meet.wait()
        if threading.current_thread().name == "frees":
            time.sleep(later)

    y.register_hook(both_are_here)
    h.register_hook(both_are_here)

    def run(name):
        try:
            got[name] = fnn.grad(losses[name], weights, retain_graph=name == "keeps")
        except RuntimeError as error:
            got[name] = str(error)

    threads = [threading.Thread(target=run, args=(name,), name=name) for name in losses]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not isinstance(got["frees"], str)
    for name, gradients in got.items():
        if isinstance(gradients, str):
            assert "freed by an earlier backward" in gradients
        else:
            for a, b in zip(gradients, want[name], strict=True):
                np.testing.assert_array_equal(a.data, b.data)


def test_changes_in_place_are_noticed():
    layer = nn.LSTM(3, 4)
    y, _ = layer(fnn.ones(2, 1, 3))
    with fnn.no_grad():
        layer.weight_hh_l0.mul_(2)
    with pytest.raises(RuntimeError, match="changed in place"):
        y.sum().backward()
    y, _ = layer(fnn.ones(2, 1, 3))
    with fnn.no_grad():
        y.mul_(2)
    with pytest.raises(RuntimeError, match="changed in place"):
        y.sum().backward()


def test_a_summary_of_packed_sequences():
    class Net(nn.Module):
        def __init__(self):
            self.gru = nn.GRU(3, 5, batch_first=True)

        def forward(self, x, lengths):
            pack = nn.utils.rnn.pack_padded_sequence
            return self.gru(pack(x, lengths, batch_first=True, enforce_sorted=False))[1]

    found = fnn.summary(Net(), fnn.ones(2, 4, 3), [4, 2])
    assert found.flops == 2 * 6 * 15 * 8  # six rows, not the eight with padding


def test_packed_sequences_change_their_type():
    packed = nn.utils.rnn.pack_sequence([fnn.ones(2, 3)])
    assert packed.double().data.dtype == np.float64
    assert packed.double().float().to("cpu").cpu().data.dtype == np.float32


def test_new_tensors_like_a_parameter():
    weight = nn.GRU(3, 5, dtype=np.float64).weight_ih_l0
    for new, value in ((weight.new_zeros(1, 2), 0), (weight.new_ones((1, 2)), 1), (weight.new_full((1, 2), 7), 7)):
        assert (new.tolist(), new.dtype, new.requires_grad) == ([[value] * 2], np.float64, False)
    assert weight.new_empty(2, dtype=np.float32).dtype == fnn.ones(1).type_as(weight.float()).dtype == np.float32
    assert weight.new_tensor([1]).dtype == np.float64
    assert weight.is_floating_point()
    assert not fnn.arange(2).is_floating_point()
