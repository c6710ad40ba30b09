"""The raw recurrent kernels: against the layers, whose own tests hold them to NumPy, and hostile input."""

import numpy as np
import pytest

import fastnn as fnn
from fastnn import kernels, nn

LAYERS = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def arrays(layer):
    """The layer's weights as the kernels take them: directions first."""
    suffixes = ["", "_reverse"] if layer.bidirectional else [""]
    names = (*WEIGHTS, "weight_hr") if layer.proj_size else WEIGHTS
    return [np.stack([getattr(layer, f"{n}_l0{s}").data for s in suffixes]) for n in names]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("name", "proj"), [("rnn", 0), ("gru", 0), ("lstm", 0), ("lstm", 3)])
def test_as_the_layers(isa, name, proj, dtype):
    options = {"proj_size": proj} if proj else {}
    layer = LAYERS[name](5, 18, bidirectional=True, dtype=dtype, **options)
    x = fnn.tensor(np.random.default_rng(0).normal(size=(4, 3, 5)).astype(dtype), requires_grad=True)
    y, state = layer(x)
    dy = np.random.default_rng(1).normal(size=y.shape).astype(dtype)
    y.backward(fnn.tensor(dy))
    weights = arrays(layer)
    names = (*WEIGHTS, "weight_hr")[: len(weights)]
    given = dict(zip(names, weights, strict=True))
    got = getattr(kernels, name)(x.data, **given, keep=True)
    np.testing.assert_array_equal(got.y, y.data)
    np.testing.assert_array_equal(got.h_n, (state[0] if name == "lstm" else state).data)
    gradients = getattr(kernels, f"{name}_backward")(got, x.data, **given, dy=dy)
    np.testing.assert_array_equal(gradients.x, x.grad.data)
    for n in names:
        for d, suffix in enumerate(("", "_reverse")):
            np.testing.assert_array_equal(getattr(gradients, n)[d], getattr(layer, f"{n}_l0{suffix}").grad.data)


def test_uneven_sequences(isa):
    rng = np.random.default_rng(0)
    w_ih, w_hh = rng.normal(size=(1, 12, 3)), rng.normal(size=(1, 12, 4))
    rows, sizes = rng.normal(size=(6, 3)), np.array([3, 2, 1])
    got = kernels.gru(rows, w_ih, w_hh, batch_sizes=sizes)
    alone = kernels.gru(rows[[0, 3, 5]][:, None], w_ih, w_hh)
    np.testing.assert_array_equal(got.y[[0, 3, 5]], alone.y[:, 0])
    np.testing.assert_array_equal(got.h_n[:, 0], alone.h_n[:, 0])
    np.testing.assert_array_equal(got.h_n[0, 2], got.y[2])


def test_hostile_input():
    x, w_ih, w_hh = np.zeros((3, 2, 4)), np.zeros((1, 20, 4)), np.zeros((1, 20, 5))
    for bad in (
        (x[0], w_ih, w_hh), (x, w_ih[0], w_hh), (x, w_ih[:, :19], w_hh), (x, w_ih, w_hh[:, :, :4]),
        (x, w_ih, np.zeros((2, 20, 5))), (x, np.zeros((3, 20, 4)), np.zeros((3, 20, 5))),
        (x, w_ih, w_hh, np.zeros((1, 5))),
        (x, w_ih, w_hh, None, None, np.zeros((1, 3, 5))), (x, w_ih, w_hh, None, None, None, np.zeros((1, 2, 4))),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="lstm"):
            kernels.lstm(*bad)
    for bad in ((None, w_ih, w_hh), (x, w_ih, None), (x.astype(np.float32), w_ih, w_hh), (x, w_ih.astype(int), w_hh)):
        with pytest.raises(TypeError, match="lstm"):
            kernels.lstm(*bad)
    rows = np.zeros((6, 4))
    for sizes in ([3, 4], [3, 2], [0, 6], [3, 3, -1, 1], [2**62, 2**62]):
        with pytest.raises(ValueError, match="lstm"):
            kernels.lstm(rows, w_ih, w_hh, batch_sizes=np.array(sizes))
    with pytest.raises(TypeError, match="batch_sizes"):
        kernels.lstm(rows, w_ih, w_hh, batch_sizes=np.array([3.0, 3.0]))
    with pytest.raises(ValueError, match="rnn: nonlinearity is 'gelu'"):
        kernels.rnn(x, w_ih[:, :5], w_hh[:, :5], nonlinearity="gelu")
    forward = kernels.lstm(x, w_ih, w_hh)
    with pytest.raises(TypeError, match="kept"):
        kernels.lstm_backward(forward, x, w_ih, w_hh, dy=forward.y)
    forward = kernels.lstm(x, w_ih, w_hh, keep=True)
    with pytest.raises(ValueError, match="dy"):
        kernels.lstm_backward(forward, x, w_ih, w_hh, dy=forward.y[:2])
