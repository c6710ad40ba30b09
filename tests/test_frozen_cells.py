"""A frozen cell's short way: the same answers as the long one, and whatever changes is noticed."""

import copy
import pickle

import numpy as np
import pytest
from recurrent_by_hand import CELLS, flat, make, near, one_step

import fastnn as fnn
from fastnn import _ops_recurrent, nn

WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def make_cell(cell, *sizes, **options):
    kinds = {"rnn_tanh": nn.RNNCell, "rnn_relu": nn.RNNCell, "lstm": nn.LSTMCell, "gru": nn.GRUCell}
    return kinds[cell](*sizes, **options, **({"nonlinearity": "relu"} if cell == "rnn_relu" else {}))


def arguments(cell, rng, batch=2, inputs=5, units=11, dtype=np.float32):
    """x and the state, as a cell takes them."""
    x, h, c = (fnn.tensor(rng.normal(size=(batch, n)).astype(dtype)) for n in (inputs, units, units))
    return x, (h, c) if cell == "lstm" else h


def at_once(module, x, state):
    """What the short way gives, None where it leaves the work to the long one."""
    return _ops_recurrent.frozen_cell(module._cell, x, state, *(getattr(module, name) for name in WEIGHTS))


def expected(module, x, state):
    """The step in float64."""
    weights = [None if w is None else w.data.astype(np.float64) for w in (getattr(module, name) for name in WEIGHTS)]
    h, c = (*(s.data.astype(np.float64) for s in flat(state)), None)[:2]
    h, c = one_step(module._cell, x.data.astype(np.float64), h, c, [*weights, None])
    return (h,) if c is None else (h, c)


def check(module, x, state):
    for got, want in zip(flat(module(x, state)), expected(module, x, state), strict=True):
        assert type(got) is fnn.Tensor
        near(got, want, got.data.dtype)


def same(got, want):
    for a, b in zip(flat(got), flat(want), strict=True):
        np.testing.assert_array_equal(a.data, b.data)


@pytest.fixture(params=CELLS)
def packed(request, rng):
    """A frozen cell that has been packed, and what it takes."""
    module = make_cell(request.param, 5, 11).freeze()
    x, state = arguments(request.param, rng)
    module(x, state)
    assert at_once(module, x, state) is not None
    return module, x, state


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("batch", [0, 1, 3])
def test_the_same_bits_as_the_long_way(isa, cell, bias, dtype, batch, rng):
    module = make_cell(cell, 5, 19, bias=bias, dtype=dtype)
    x, state = arguments(cell, rng, batch, 5, 19, dtype)
    with fnn.no_grad():
        want = module(x, state)
        module.freeze()
        assert at_once(module, x, state) is None  # nothing is packed yet
        same(module(x, state), want)
        assert at_once(module, x, state) is not None
        same(module(x, state), want)
    check(module, x, state)
    for out in flat(module(x, state)):
        assert out.data.dtype == dtype
        assert not out.requires_grad


def test_states_are_new_each_time(packed):
    module, x, state = packed
    first, before = module(x, state), [s.data.copy() for s in flat(state)]
    kept = [s.data.copy() for s in flat(first)]
    second = module(x, first)
    for got, want in zip(flat(first) + flat(state), kept + before, strict=True):
        np.testing.assert_array_equal(got.data, want)
    assert not any(np.shares_memory(a.data, b.data) for a in flat(first) for b in flat(second))
    check(module, x, first)


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_weight_of_new_data_is_noticed(packed, rng, name):
    module, x, state = packed
    weight = getattr(module, name)
    weight.data = rng.normal(size=weight.shape).astype(np.float32)
    assert at_once(module, x, state) is None
    check(module, x, state)
    check(module, x, state)


@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.parametrize("frozen", [False, True])
def test_a_weight_put_in_anothers_place_is_noticed(packed, rng, name, frozen):
    module, x, state = packed
    old = getattr(module, name)
    setattr(module, name, nn.Parameter(rng.normal(size=old.shape).astype(np.float32), requires_grad=not frozen))
    if frozen:
        module.freeze()
    for _ in range(2):
        check(module, x, state)
    setattr(module, name, old)
    for _ in range(2):
        check(module, x, state)


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_weight_made_writable_again_is_noticed(packed, name):
    module, x, state = packed
    array = getattr(module, name).data.base  # nobody should, but nothing in NumPy forbids it
    array.flags.writeable = True
    array += 0.5
    assert at_once(module, x, state) is None


def test_biases_that_come_and_go_are_noticed(packed, rng):
    module, x, state = packed
    biases = module.bias_ih, module.bias_hh
    module.bias_ih = module.bias_hh = None
    for _ in range(2):
        check(module, x, state)
    module.bias_ih, module.bias_hh = biases
    for _ in range(2):
        check(module, x, state)


def test_weights_that_two_cells_share():
    rng = np.random.default_rng(3)
    tanh, relu = make_cell("rnn_tanh", 5, 11), make_cell("rnn_relu", 5, 11)
    for name in WEIGHTS:
        setattr(relu, name, getattr(tanh, name))
    layer = make("rnn_tanh", 5, 11, bidirectional=True)
    for name in WEIGHTS:
        setattr(layer, f"{name}_l0", getattr(tanh, name))
    layer.freeze(), tanh.freeze(), relu.freeze()
    x, state = arguments("rnn_tanh", rng)
    whole = layer(x[None])[0].data.copy()
    for _ in range(2):
        check(tanh, x, state)
        check(relu, x, state)
        np.testing.assert_array_equal(layer(x[None])[0].data, whole)


def test_other_kernels_are_noticed(packed):
    module, x, state = packed
    twins = {"avx512_bf16", "x86_64_v4"}  # one table, and so the same packed weights
    was = fnn.kernels.isa()
    try:
        for name in fnn.kernels.isas():
            fnn.kernels.use_isa(name)
            assert name == was or {name, was} == twins or at_once(module, x, state) is None
            for _ in range(2):
                check(module, x, state)
            assert at_once(module, x, state) is not None
            was = name
    finally:
        fnn.kernels.use_isa(fnn.kernels.isas()[0])


def test_other_types_are_noticed(packed):
    module, x, state = packed
    module.double()
    assert at_once(module, x, state) is None
    out = flat(module(x, state))[0]
    assert out.data.dtype == np.float64
    check(module, x, state)


def test_gradients_of_the_input_and_the_state(packed):
    module, x, state = packed
    plain = flat(module(x, state))
    for leaf in (x, *flat(state)):
        leaf.requires_grad = True
        out = flat(module(x, state))[0]
        assert out.requires_grad
        out.sum().backward()
        assert leaf.grad is not None
        assert np.abs(leaf.grad.data).max() > 0
        with fnn.no_grad():
            assert not flat(module(x, state))[0].requires_grad
        leaf.requires_grad, leaf.grad = False, None
    same(module(x, state), plain)


def test_inputs_that_are_not_plain(packed):
    module, x, state = packed
    want = module(x, state)

    def of_all(change):
        return tuple(map(change, state)) if type(state) is tuple else change(state)

    def spread(t):
        return fnn.tensor(np.repeat(t.data, 2, 1))[:, ::2]

    def column(t):
        return fnn.tensor(np.ascontiguousarray(t.data.T)).T

    same(module(x.tolist(), state), want)
    for change in (spread, column, lambda t: t.data, lambda t: nn.Parameter(t, False)):
        same(module(change(x), state), want)
        same(module(x, of_all(change)), want)
    same(module(x, list(state) if type(state) is tuple else state), want)
    double = module(fnn.tensor(x.data.astype(np.float64)), state)
    assert all(out.data.dtype == np.float64 for out in flat(double))
    for a, b in zip(flat(double), expected(module, x, state), strict=True):
        near(a, b, np.float64)
    same(module(x, None), module(x, of_all(fnn.zeros_like)))
    same(module(x), module(x, of_all(fnn.zeros_like)))
    for a, b in zip(flat(module(x[1], of_all(lambda t: t[1]))), flat(want), strict=True):
        np.testing.assert_array_equal(a.data, b.data[1])


@pytest.mark.parametrize("cell", CELLS)
def test_bad_arguments_are_refused_as_before(cell, rng):
    loose, frozen = make_cell(cell, 5, 11), make_cell(cell, 5, 11).freeze()
    x, state = arguments(cell, rng)
    frozen(x, state)
    h = flat(state)[0]
    bad = [(x[:, :4], state), (x[None], state), (x[:1], state), (x.data.astype(str), state), (None, state)]
    wrong = [h[:, :4], h[:1], h[None], (h,), (h, h, h), "h"]
    wrong += [(h, h[:1]), (h[:1], h), (h, None, h), h, (h, h[0])] if cell == "lstm" else [(h, h), [h]]
    for args in bad + [(x, s) for s in wrong]:
        with pytest.raises((ValueError, TypeError, AttributeError)) as want:
            loose(*args)
        with pytest.raises(want.type) as got:
            frozen(*args)
        assert str(got.value) == str(want.value)


def test_much_work_goes_the_long_way(rng):
    module = make_cell("gru", 40, 60).freeze()
    x, state = arguments("gru", rng, 64, 40, 60)  # there the GIL is given away
    for _ in range(2):
        assert at_once(module, x, state) is None
        check(module, x, state)


def test_copies_go_the_short_way_of_their_own(packed):
    module, x, state = packed
    want = module(x, state)
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        same(twin(x, state), want)
        twin.freeze()
        twin(x, state)
        assert at_once(twin, x, state) is not None
        same(twin(x, state), want)


def test_hooks_and_forwards_of_their_own(packed):
    module, x, state = packed
    seen = []
    handle = module.register_forward_hook(lambda _module, _args, out: seen.append(out))
    out = module(x, state)
    assert seen == [out] or seen[0] is out
    handle.remove()
    module(x, state)
    assert len(seen) == 1

    class Own(type(module)):
        def forward(self, input, hx=None):
            return "own", super().forward(input, hx)

    module.__class__ = Own
    assert module(x, state)[0] == "own"
    module.forward = lambda *_: "the instance's"
    assert module(x, state) == "the instance's"


def test_steps_follow_each_other(packed, rng):
    module, _, state = packed
    after = state
    for _ in range(5):
        x = fnn.tensor(rng.normal(size=(2, 5)).astype(np.float32))
        want = expected(module, x, after)
        out, after = module.step(x, after)
        assert out is flat(after)[0]
        for got, w in zip(flat(after), want, strict=True):
            near(got, w, np.float32)


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_threads_share_the_units_of_a_step(isa, cell, frozen):
    """The right answer and the bits of one thread, whether the units divide among the threads or not."""
    rng = np.random.default_rng(0)
    for units, batch in ((300, 1), (256, 3), (5, 70)):
        module = make_cell(cell, 40, units)
        x, state = arguments(cell, rng, batch, 40, units)
        want = expected(module, x, state)
        if frozen:
            module.freeze()
        results = []
        for n in (1, 2, 3, 5):
            with fnn.threads(n), fnn.no_grad():
                module(x, state)
                results.append([s.numpy() for s in flat(module(x, state))])
        for got in results:
            for one, same, right in zip(results[0], got, want, strict=True):
                np.testing.assert_array_equal(one, same)
                np.testing.assert_allclose(same, right, atol=1e-5)
