"""RNN, LSTM and GRU: states, lengths, streaming with the same bits, hostile input."""

import copy

import numpy as np
import pytest
from recurrent_by_hand import CELLS, flat, layer_by_hand, make, near

import fastnn as fnn
from fastnn import _ops_recurrent, nn
from fastnn.nn.utils import rnn as packed


def by_hand(layer, cell, x, states, lengths=None):
    """The whole layer in NumPy, time first."""
    d, ends = 2 if layer.bidirectional else 1, []
    for i in range(layer.num_layers):
        weights = [None if n is None else getattr(layer, n).data.astype(np.float64) for n in layer._names[i]]
        h0, c0 = (*(s[d * i : d * (i + 1)] for s in states), None)[:2]
        x, *end = layer_by_hand(cell, x, h0, c0, weights, lengths)
        ends.append(end)
    return x, np.concatenate([e[0] for e in ends]), None if len(states) == 1 else np.concatenate([e[1] for e in ends])


def random_state(layer, cell, batch, rng):
    d = (2 if layer.bidirectional else 1) * layer.num_layers
    sizes = [layer.proj_size or layer.hidden_size] + ([layer.hidden_size] if cell == "lstm" else [])
    return [rng.normal(size=(d, batch, n)) for n in sizes]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("lengths", [None, [3, 5, 1, 5], [0, 2, 0, 4]])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_layers(cell, batch_first, lengths, bidirectional, rng):
    options = {"proj_size": 4} if cell == "lstm" and bidirectional else {}
    layer = make(
        cell, 3, 6, num_layers=2, batch_first=batch_first, bidirectional=bidirectional, dtype=np.float64, **options
    )
    x, states = rng.normal(size=(5, 4, 3)), random_state(layer, cell, 4, rng)
    want, h, c = by_hand(layer, cell, x, states, lengths)
    hx = tuple(fnn.tensor(s) for s in states) if cell == "lstm" else fnn.tensor(states[0])
    y, end = layer(fnn.tensor(x.swapaxes(0, 1) if batch_first else x), hx, lengths=lengths)
    near(y, want.swapaxes(0, 1) if batch_first else want, np.float64)
    for got, w in zip(flat(end), (h, c), strict=False):
        near(got, w, np.float64)


@pytest.mark.parametrize("cell", CELLS)
def test_packed_sequences(cell, rng):
    layer = make(cell, 3, 6, bidirectional=True, dtype=np.float64)
    x, lengths = rng.normal(size=(5, 4, 3)), [2, 5, 3, 5]
    hx = random_state(layer, cell, 4, rng)
    hx = tuple(fnn.tensor(s) for s in hx) if cell == "lstm" else fnn.tensor(hx[0])
    want, state = layer(fnn.tensor(x), hx, lengths=lengths)
    sequence = packed.pack_padded_sequence(fnn.tensor(x), lengths, enforce_sorted=False)
    out, end = layer(sequence, hx)
    y, n = packed.pad_packed_sequence(out)
    assert n.tolist() == lengths
    np.testing.assert_array_equal(y.data, want.data)
    for a, b in zip(flat(end), flat(state), strict=True):
        np.testing.assert_array_equal(a.data, b.data)


@pytest.mark.parametrize("batch_first", [False, True])
def test_unpadded_and_unpacked_sequences_are_what_they_were(batch_first, rng):
    whole = [fnn.tensor(rng.normal(size=(n, 3)), requires_grad=True) for n in (2, 5, 1, 5)]
    lengths = [s.shape[0] for s in whole]
    for parts in (
        packed.unpad_sequence(packed.pad_sequence(whole, batch_first), fnn.tensor(lengths), batch_first),
        packed.unpack_sequence(packed.pack_sequence(whole, enforce_sorted=False)),
    ):
        slopes = fnn.grad(sum((part * part).sum() for part in parts), whole)
        for part, s, slope in zip(parts, whole, slopes, strict=True):
            np.testing.assert_array_equal(part.data, s.data)
            np.testing.assert_array_equal(slope.data, 2 * s.data)
    assert packed.unpad_sequence(fnn.zeros(5, 2, 3), [0, 5])[0].shape == (0, 3)
    for x, wrong in ((fnn.zeros(5, 2), [6, 1]), (fnn.zeros(5, 2), [1]), (fnn.zeros(5), [1])):
        with pytest.raises(ValueError, match="unpad_sequence"):
            packed.unpad_sequence(x, wrong)
    with pytest.raises(TypeError, match="PackedSequence"):
        packed.unpack_sequence(fnn.zeros(5))


def test_gradients_through_lengths():
    layer = nn.LSTM(3, 4, bidirectional=True, dtype=np.float64)
    hx = tuple(fnn.tensor(np.random.default_rng(i).normal(size=(2, 3, 4))) for i in range(2))
    x = fnn.tensor(np.random.default_rng(5).normal(size=(4, 3, 3)))

    def f(x, h, c):
        y, (h, c) = layer(x, (h, c), lengths=[2, 4, 0])
        return (y * y).sum() + h.sum() + (c * c).sum()

    assert fnn.gradcheck(f, (x, *hx))


@pytest.mark.parametrize("cell", CELLS)
def test_without_a_batch(cell, rng):
    layer = make(cell, 3, 6, num_layers=2)
    x = fnn.tensor(rng.normal(size=(5, 3)).astype(np.float32))
    y, state = layer(x)
    batch, states = layer(x[:, None])
    assert y.shape == (5, 6)
    assert all(s.shape == (2, 6) for s in flat(state))
    np.testing.assert_array_equal(y.data, batch.data[:, 0])
    again, _ = layer(x, state)
    np.testing.assert_array_equal(again.data, layer(x[:, None], states)[0].data[:, 0])
    frame, after = layer.step(x[0])
    assert frame.shape == (6,)
    assert all(s.shape == (2, 6) for s in flat(after))


@pytest.mark.parametrize("cell", CELLS)
def test_cells_are_one_step(isa, cell, rng):
    kinds = {"rnn_tanh": nn.RNNCell, "rnn_relu": nn.RNNCell, "lstm": nn.LSTMCell, "gru": nn.GRUCell}
    single = kinds[cell](5, 11, **({"nonlinearity": "relu"} if cell == "rnn_relu" else {}))
    layer = make(cell, 5, 11)
    layer.load_state_dict({f"{name}_l0": value for name, value in single.state_dict().items()})
    x = fnn.tensor(rng.normal(size=(4, 5)).astype(np.float32))
    out, state = single.step(x)
    out, state = single.step(x, state)
    want, end = layer.step(x)
    want, end = layer.step(x, end)
    np.testing.assert_array_equal(out.data, want.data)
    for a, b in zip(flat(state), flat(end), strict=True):
        np.testing.assert_array_equal(a.data, b.data[0])
    np.testing.assert_array_equal(flat(single(x[1]))[0].data, flat(single(x))[0].data[1])
    inputs = [
        t.data.astype(np.float64) for t in (x, single.weight_ih, single.weight_hh, single.bias_ih, single.bias_hh)
    ]

    def f(x, *weights):
        h, c = _ops_recurrent.cell("f", cell, x, None, None, (*weights, None))
        return (h * h).sum() if c is None else (h * h).sum() + c.sum()

    if cell != "rnn_relu":
        assert fnn.gradcheck(f, tuple(fnn.tensor(i) for i in inputs), order=2)


def test_frozen_layers_pack_once():
    for layer in (nn.LSTM(8, 16, 2, bidirectional=True), nn.GRU(8, 16), nn.RNN(8, 16)):
        x = fnn.randn(6, 3, 8)
        with fnn.no_grad():
            before = layer(x)[0].data
            layer.freeze()
            for _ in range(3):
                np.testing.assert_array_equal(layer(x)[0].data, before)
            for name in fnn.kernels.isas():  # another row packs otherwise
                was = fnn.kernels.isa()
                fnn.kernels.use_isa(name)
                try:
                    np.testing.assert_allclose(layer(x)[0].data, before, atol=1e-5)
                finally:
                    fnn.kernels.use_isa(was)


def test_a_steady_step_asks_the_system_for_nothing():
    layer, x = nn.LSTM(40, 128), fnn.randn(20, 32, 40)
    optimizer = fnn.optim.Adam(layer.parameters())

    def step():
        layer(x)[0].sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    for _ in range(3):
        step()
    before = fnn.memory_stats()["from_system"]
    for _ in range(5):
        step()
    assert fnn.memory_stats()["from_system"] == before


def test_dropout_between_layers():
    layer = nn.GRU(4, 8, num_layers=2, dropout=1.0)
    x = fnn.randn(3, 2, 4)
    noisy = layer(x)[0]
    layer.eval()
    assert np.abs(noisy.data - layer(x)[0].data).max() > 1e-3
    single = nn.GRU(4, 8, dropout=1.0)
    np.testing.assert_array_equal(single(x)[0].data, single.eval()(x)[0].data)


def test_names_and_shapes():
    layer = nn.LSTM(3, 5, num_layers=2, bidirectional=True, proj_size=2)
    assert list(layer.state_dict())[:6] == [
        "weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0", "weight_hr_l0", "weight_ih_l0_reverse",
    ]  # fmt: skip
    assert layer.weight_ih_l1.shape == (20, 4)
    assert layer.weight_hh_l1_reverse.shape == (20, 2)
    assert layer.weight_hr_l0.shape == (2, 5)
    assert repr(layer) == "LSTM(input_size=3, hidden_size=5, num_layers=2, bidirectional=True, proj_size=2)"
    assert np.abs(layer.weight_ih_l0.data).max() <= 5**-0.5
    clone = copy.deepcopy(layer)
    x = fnn.randn(2, 1, 3)
    np.testing.assert_array_equal(clone(x)[0].data, layer(x)[0].data)


# ---- the same bits


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("frozen", [False, True])
def test_streaming_gives_the_same_bits(isa, cell, frozen):
    layer = make(cell, 5, 19, num_layers=2)
    if frozen:
        layer.freeze()
    x = fnn.randn(23, 3, 5)
    with fnn.no_grad():
        whole, last = layer(x)
        state, frames = None, []
        for t in range(len(x)):
            frame, state = layer.step(x[t], state)
            frames.append(frame.data)
        one, _ = layer(x[:, 1])
    np.testing.assert_array_equal(np.stack(frames), whole.data)
    for a, b in zip(flat(last), flat(state), strict=True):
        np.testing.assert_array_equal(a.data, b.data)
    np.testing.assert_array_equal(one.data, whole.data[:, 1])  # whatever stands beside a sequence


def test_recording_changes_no_bit(isa):
    for cell in CELLS:
        layer, x = make(cell, 7, 21), fnn.randn(9, 5, 7)
        recorded = layer(x)[0].data
        with fnn.no_grad():
            np.testing.assert_array_equal(layer(x)[0].data, recorded)


@pytest.mark.parametrize("cell", CELLS)
def test_threads_change_no_bit(cell):
    before = fnn.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            fnn.set_num_threads(threads)
            fnn.manual_seed(0)
            layer, x = make(cell, 20, 70, bidirectional=True), fnn.randn(30, 17, 20)
            y, state = layer(x)
            (y.sum() + sum(s.sum() for s in flat(state))).backward()
            results.append([y.data, *(p.grad.data for p in layer.parameters())])
    finally:
        fnn.set_num_threads(before)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


# ---- edges and hostile input


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("shape", [(0, 2, 3), (4, 0, 3), (0, 0, 3)])
def test_nothing_to_do(isa, cell, shape):
    layer = make(cell, 3, 5, bidirectional=True)
    x = fnn.zeros(*shape, requires_grad=True)
    y, state = layer(x)
    assert y.shape == (*shape[:2], 10)
    for s in flat(state):
        assert s.shape == (2, shape[1], 5)
        assert not s.data.any()
    y.sum().backward()
    assert all(not p.grad.data.any() for p in layer.parameters())


@pytest.mark.parametrize("cell", CELLS)
def test_nan_stays_in_its_sequence(isa, cell):
    layer = make(cell, 3, 9)
    x = fnn.randn(4, 3, 3)
    good = layer(x)[0].data
    spoilt = x.data.copy()
    spoilt[1, 1, 0] = np.nan
    y = layer(fnn.tensor(spoilt))[0].data
    assert np.isnan(y[1:, 1]).all()
    assert not np.isnan(y[0]).any()
    np.testing.assert_array_equal(y[:, [0, 2]], good[:, [0, 2]])


def test_large_sums_saturate(isa):
    for cell in CELLS:
        layer = make(cell, 2, 3)
        y, state = layer(fnn.tensor(np.full((3, 1, 2), 1e30, np.float32)))
        if cell != "rnn_relu":
            assert all(np.isfinite(s.data).all() for s in (y, *flat(state)))


@pytest.mark.parametrize(
    ("lengths", "error"),
    [
        ([6, 1, 1, 1], ValueError), ([-1, 1, 1, 1], ValueError), ([1, 1, 1], ValueError), ([1.0, 2.0, 1, 1], TypeError),
        ([True, True, True, True], TypeError), ([[1, 1, 1, 1]], ValueError), (["a"] * 4, TypeError), (3, ValueError),
    ],
)  # fmt: skip
def test_bad_lengths(lengths, error):
    layer, x = nn.GRU(3, 4), fnn.zeros(5, 4, 3)
    with pytest.raises(error, match="lengths"):
        layer(x, lengths=lengths)
    with pytest.raises(error, match="lengths"):
        packed.pack_padded_sequence(x, lengths)


def test_bad_packing():
    x = fnn.zeros(5, 2, 3)
    with pytest.raises(ValueError, match="grow"):
        packed.pack_padded_sequence(x, [2, 3])
    with pytest.raises(ValueError, match="between 1"):
        packed.pack_padded_sequence(x, [2, 0])
    with pytest.raises(ValueError, match="expected"):
        packed.pack_padded_sequence(fnn.zeros(5), [1])
    with pytest.raises(TypeError, match="PackedSequence"):
        packed.pad_packed_sequence(x)
    good = packed.pack_padded_sequence(x, [3, 2])
    with pytest.raises(ValueError, match="total_length"):
        packed.pad_packed_sequence(good, total_length=2)
    assert packed.pad_packed_sequence(good, total_length=7)[0].shape == (7, 2, 3)
    layer = nn.GRU(3, 4)
    for sizes in ([2, 3], [2, 2], [0, 5], [5, -1, 1]):
        with pytest.raises(ValueError, match="batch_sizes"):
            layer(packed.PackedSequence(good.data, fnn.tensor(sizes)))
    with pytest.raises(TypeError, match="integers"):
        layer(packed.PackedSequence(good.data, fnn.tensor([2.0, 2.0, 1.0])))
    with pytest.raises(ValueError, match="own"):
        layer(good, lengths=[3, 2])
    with pytest.raises(ValueError, match="at least one"):
        packed.pad_sequence([])
    with pytest.raises(ValueError, match="sequence 1"):
        packed.pad_sequence([fnn.zeros(2, 3), fnn.zeros(2, 4)])


@pytest.mark.parametrize("which", ["weight_ih", "weight_hh"])
def test_a_parameter_set_to_none_is_refused(which):
    layer, cell, x = nn.GRU(3, 4, bidirectional=True), nn.LSTMCell(3, 4), fnn.zeros(5, 2, 3)
    setattr(cell, which, None)
    setattr(layer, f"{which}_l0_reverse", None)
    for call in (lambda: layer(x), lambda: cell(x[0])):
        with pytest.raises(TypeError, match=f"{which} is None"):
            call()


def test_bad_states_and_inputs():
    layer, lstm, x = nn.GRU(3, 4), nn.LSTM(3, 4), fnn.zeros(5, 2, 3)
    for state in (fnn.zeros(1, 3, 4), fnn.zeros(2, 2, 4), fnn.zeros(1, 2, 5), fnn.zeros(2, 4)):
        with pytest.raises(ValueError, match="state is"):
            layer(x, state)
        with pytest.raises(ValueError, match="state is"):
            lstm(x, (state, fnn.zeros(1, 2, 4)))
        with pytest.raises(ValueError, match="state is"):
            layer(x, state, lengths=[1, 5])
    with pytest.raises(TypeError, match="pair"):
        lstm(x, fnn.zeros(1, 2, 4))
    with pytest.raises(TypeError, match="tensor"):
        layer(x, (fnn.zeros(1, 2, 4), fnn.zeros(1, 2, 4)))
    for bad in (fnn.zeros(3), fnn.zeros(1, 5, 2, 3), fnn.zeros(5, 2, 4)):
        with pytest.raises(ValueError, match="GRU"):
            layer(bad)
    with pytest.raises(ValueError, match="GRU"):
        layer.step(x)
    with pytest.raises(RuntimeError, match="bidirectional"):
        nn.GRU(3, 4, bidirectional=True).step(x[0])
    with pytest.raises(ValueError, match="GRUCell"):
        nn.GRUCell(3, 4)(fnn.zeros(2, 5))
    with pytest.raises(ValueError, match="LSTMCell"):
        nn.LSTMCell(3, 4)(fnn.zeros(2, 3), (fnn.zeros(2, 4), fnn.zeros(3, 4)))
    y, _ = layer(x, fnn.zeros(1, 2, 4).to(np.float64))  # a state of another type: the more exact of both
    assert y.dtype == np.float64


@pytest.mark.parametrize(
    "options", [{"num_layers": 0}, {"dropout": 2.0}, {"proj_size": 4}, {"proj_size": -1}, {"hidden_size": 0}]
)
def test_bad_constructors(options):
    with pytest.raises(ValueError, match="LSTM"):
        nn.LSTM(**{"input_size": 3, "hidden_size": 4} | options)
    with pytest.raises(TypeError, match="bidirectional"):
        nn.LSTM(3, 4, bidirectional=1)
    with pytest.raises(ValueError, match="nonlinearity"):
        nn.RNN(3, 4, nonlinearity="gelu")


@pytest.mark.parametrize("name", ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"])
def test_a_frozen_layer_s_weight_made_writable_again_is_noticed(name):
    layer, fresh, x = nn.LSTM(3, 5).freeze(), nn.LSTM(3, 5), fnn.randn(4, 2, 3)
    layer(x)
    array = getattr(layer, name).data.base  # nobody should, but nothing in NumPy forbids it
    array.flags.writeable = True
    array += 0.5
    fresh.load_state_dict(layer.state_dict())
    np.testing.assert_allclose(layer(x)[0].data, fresh(x)[0].data, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cell", ["RNN", "GRU", "LSTM"])
def test_threads_that_share_the_units_change_no_bit(isa, cell, rng):
    """Few sequences: each step's units are shared out. More threads than processors: some come late, or never."""
    before = fnn.get_num_threads()
    try:
        for inputs, units, batch, options in (
            (40, 200, 1, {}),
            (300, 264, 3, {"num_layers": 2}),
            (17, 385, 2, {"bidirectional": True}),
        ):
            layer = getattr(fnn.nn, cell)(inputs, units, **options).eval().freeze()
            x = fnn.tensor(rng.standard_normal((150, batch, inputs), np.float32))
            got = []
            for threads in (1, 2, 4, 7):
                fnn.set_num_threads(threads)
                with fnn.no_grad():
                    for _ in range(3):
                        y, state = layer(x)
                        got.append([y.numpy(), *(s.numpy() for s in (state if cell == "LSTM" else (state,)))])
            for other in got[1:]:
                for a, b in zip(got[0], other, strict=True):
                    np.testing.assert_array_equal(a, b)
    finally:
        fnn.set_num_threads(before)


@pytest.mark.parametrize("cell", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize(
    ("inputs", "units", "batch", "options"),
    [(40, 200, 1, {}), (30, 264, 3, {"num_layers": 2}), (17, 385, 2, {"bidirectional": True})],
)
def test_threads_that_share_the_units_change_no_bit_of_a_gradient(isa, cell, rng, inputs, units, batch, options):
    layer = getattr(fnn.nn, cell)(inputs, units, **options)
    states = layer.num_layers * (2 if layer.bidirectional else 1)
    values = [(30, batch, inputs), (states, batch, units), (states, batch, units)][: 3 if cell == "LSTM" else 2]
    x, *state = (fnn.tensor(rng.standard_normal(shape, np.float32), requires_grad=True) for shape in values)
    wanted = [x, *state, *layer.parameters()]
    before, got = fnn.get_num_threads(), []
    try:
        for threads in (1, 2, 4):
            fnn.set_num_threads(threads)
            y, end = layer(x, tuple(state) if cell == "LSTM" else state[0])
            ends = end if cell == "LSTM" else (end,)
            loss = (y * y).sum() + sum((s * s * s).sum() for s in ends)
            got.append([t.numpy() for t in (y.detach(), *(s.detach() for s in ends), *fnn.grad(loss, wanted))])
    finally:
        fnn.set_num_threads(before)
    for other in got[1:]:
        for a, b in zip(got[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


# ----- what is packed -----


@pytest.mark.parametrize("values", [[16777217, 1, -2], [True, False, True]])
def test_integers_stay_integers(values):
    sequences = [fnn.tensor(np.array(values)), fnn.tensor(np.array(values[:1]))]
    whole = packed.pack_sequence(sequences)
    for made in (packed.pad_sequence(sequences), whole.data, packed.pad_packed_sequence(whole)[0]):
        assert made.dtype == sequences[0].dtype
    for one, again in zip(sequences, packed.unpack_sequence(whole), strict=True):
        np.testing.assert_array_equal(one.numpy(), again.numpy())
    if values[0] is not True:
        assert packed.pad_sequence(sequences, padding_value=-100)[1, 1].item() == -100
        net = nn.Embedding(16777218, 1) if values[1] < 0 else nn.Embedding(3, 2)
        assert net(packed.pad_sequence([fnn.tensor([1, 2]), fnn.tensor([0])])).shape[:2] == (2, 2)
    with pytest.raises(TypeError, match="padding_value must be a number, got str"):
        packed.pad_sequence(sequences, padding_value="0")


@pytest.mark.parametrize("given", ["both", "sorted", "unsorted"])
def test_sequences_come_back_in_the_order_that_was_packed(given):
    """Of equal lengths too, which may have been packed in any order; either way follows from the other."""
    data, sizes, order = fnn.tensor([10.0, 20.0, 30.0, 11.0, 21.0]), fnn.tensor([3, 2]), fnn.tensor([2, 0, 1])
    back = fnn.tensor([1, 2, 0])
    ways = order if given != "unsorted" else None, back if given != "sorted" else None
    whole = packed.PackedSequence(data, sizes, *ways)
    padded, lengths = packed.pad_packed_sequence(whole, batch_first=True)
    np.testing.assert_array_equal(padded.numpy(), [[20, 21], [30, 0], [10, 11]])
    np.testing.assert_array_equal(lengths.numpy(), [2, 1, 2])
    layer, h0 = nn.GRU(1, 2, batch_first=True), fnn.randn(1, 3, 2)
    y, h = layer(packed.PackedSequence(data.reshape(5, 1), *whole[1:]), h0)
    expected, last = layer(padded.reshape(3, 2, 1), h0, lengths=[2, 1, 2])
    np.testing.assert_array_equal(packed.pad_packed_sequence(y, batch_first=True)[0].data, expected.data)
    np.testing.assert_array_equal(h.data, last.data)


@pytest.mark.parametrize(
    ("indices", "says"),
    [
        (([0, 0], [0, 0]), r"sorted_indices is \[0, 0\]; expected each of 0 to 1 once"),
        (([0, 7], None), r"sorted_indices is \[0, 7\]"),
        ((None, [1, 5]), r"unsorted_indices is \[1, 5\]"),
        (([0, 1], [1, 0]), "do not undo"),
        (([0], None), "expected each of 0 to 1 once"),
    ],
)
def test_orders_that_are_none(indices, says):
    given = [None if i is None else fnn.tensor(i) for i in indices]
    whole = packed.PackedSequence(fnn.zeros(3, 1), fnn.tensor([2, 1]), *given)
    for call in (packed.pad_packed_sequence, nn.GRU(1, 2)):
        with pytest.raises(ValueError, match=says):
            call(whole)
    with pytest.raises(TypeError, match="data must be a Tensor, got list"):
        nn.GRU(1, 2)(packed.PackedSequence([1.0], fnn.tensor([1])))


@pytest.mark.parametrize("batch_first", [False, True])
def test_padding_on_the_left(batch_first):
    sequences = [fnn.tensor([1.0, 2.0, 3.0], requires_grad=True), fnn.tensor([4.0], requires_grad=True), fnn.zeros(0)]
    padded = packed.pad_sequence(sequences, batch_first, -1, padding_side="left")
    expected = np.array([[1, 2, 3], [-1, -1, 4], [-1, -1, -1]])
    np.testing.assert_array_equal(padded.data, expected if batch_first else expected.T)
    (padded * padded).sum().backward()
    assert [s.grad.tolist() for s in sequences[:2]] == [[2, 4, 6], [8]]
    with pytest.raises(ValueError, match="padding_side must be 'right' or 'left', got 'top'"):
        packed.pad_sequence(sequences, padding_side="top")


def test_full_lengths_are_no_lengths():
    layer, x, h0 = nn.LSTM(3, 4, 2, bidirectional=True), fnn.randn(5, 2, 3), [fnn.randn(4, 2, 4) for _ in range(2)]
    for (y, states), (z, others) in [(layer(x, h0, lengths=[5, 5]), layer(x, h0)), (layer(x, None, [5, 5]), layer(x))]:
        np.testing.assert_array_equal(y.data, z.data)
        for one, other in zip(states, others, strict=True):
            np.testing.assert_array_equal(one.data, other.data)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: nn.RNNCell(3, 5)(fnn.zeros(3), fnn.zeros(1, 5)), r"state is \(1, 5\); expected \(5,\), as input"),
        (lambda: nn.GRU(3, 5, 2)(fnn.zeros(7, 3), fnn.zeros(1, 5)), r"state is \(1, 5\); expected \(2, 5\), as input"),
        (lambda: nn.GRU(3, 5, 2).step(fnn.zeros(3), fnn.zeros(1, 5)), r"state is \(1, 5\); expected \(2, 5\)"),
        (lambda: nn.LSTM(3, 5, batch_first=True)(fnn.zeros(2, 7, 4)), r"input is \(2, 7, 4\); expected input_size = 3"),
        (lambda: nn.LSTM(3, 5)(fnn.zeros(7, 4)), r"input is \(7, 4\); expected input_size = 3"),
        (lambda: nn.LSTM(3, 5).step(fnn.zeros(4)), r"x is \(4,\); expected \(B, 3\) or \(3,\)"),
        (lambda: nn.LSTM(3, 5)(fnn.zeros(7, 2, 3), (fnn.zeros(1, 2, 5),) * 3), "got 3 of them"),
        (lambda: nn.LSTM(3, 5)(fnn.zeros(7, 2, 3), (None, None)), "got None in it"),
    ],
)
def test_complaints_name_what_was_given(call, says):
    with pytest.raises((ValueError, TypeError), match=says):
        call()
