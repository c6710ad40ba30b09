"""Embedding: rows by number, their gradient on every instruction set, and what is refused."""

import numpy as np
import pytest

import fastnn as fnn
from fastnn import nn
from fastnn.nn import functional as F


@pytest.mark.parametrize("cols", [0, 1, 3, 4, 7, 8, 9, 16, 17, 35, 64])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_and_their_gradient(isa, cols, dtype):
    rng = np.random.default_rng(cols)
    table, index = rng.integers(-9, 9, (11, cols)).astype(dtype), rng.integers(0, 10, (5, 7))
    dy = rng.integers(-9, 9, (5, 7, cols)).astype(dtype)
    weight = fnn.tensor(table, requires_grad=True)
    y = F.embedding(index, weight)
    np.testing.assert_array_equal(y.detach().numpy(), table[index])
    y.backward(fnn.tensor(dy))
    want = np.zeros_like(table)
    np.add.at(want, index, dy)  # whole numbers: exact in any order
    np.testing.assert_array_equal(weight.grad.numpy(), want)


def test_padding_gets_no_gradient():
    for padding in (2, -2):
        weight = fnn.tensor(np.ones((4, 3)), requires_grad=True)
        F.embedding(fnn.tensor([2, 2, 1]), weight, padding).sum().backward()
        np.testing.assert_array_equal(weight.grad.numpy(), np.array([0, 1, 0, 0])[:, None] * np.ones(3))


@pytest.mark.parametrize("padding", [None, 0, 1])
def test_gradcheck(padding):
    def f(table):
        return F.embedding([[0, 1, 3], [3, 3, 0]], table, padding) ** 2

    if padding is None:
        table = fnn.tensor(np.random.default_rng(0).normal(size=(4, 3)), requires_grad=True)
        assert fnn.gradcheck(f, [table], order=2)
    first = fnn.tensor(np.random.default_rng(0).normal(size=(4, 3)), requires_grad=True)
    (slope,) = fnn.grad([f(first).sum()], [first], create_graph=True)
    (second,) = fnn.grad([slope.sum()], [first])
    times = np.array([2, 1, 0, 3])
    if padding is not None:
        times[padding] = 0
    np.testing.assert_array_equal(second.numpy()[:, 0], 2 * times)


def test_same_bits_for_every_number_of_threads():
    rng = np.random.default_rng(0)
    index, dy = rng.integers(0, 50, 20000), rng.normal(size=(20000, 33)).astype(np.float32)
    before, seen = fnn.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            fnn.set_num_threads(threads)
            weight = fnn.zeros(50, 33, requires_grad=True)
            F.embedding(index, weight).backward(fnn.tensor(dy))
            seen.append(weight.grad.numpy())
    finally:
        fnn.set_num_threads(before)
    np.testing.assert_array_equal(seen[0], seen[1])
    np.testing.assert_array_equal(seen[0], seen[2])


def test_the_layer(tmp_path):
    layer = nn.Embedding(5, 3, padding_idx=-1)
    assert layer.padding_idx == 4
    assert repr(layer) == "Embedding(5, 3, padding_idx=4)"
    assert not layer.weight[4].any()
    assert layer([[4, 1]]).shape == (1, 2, 3)
    assert list(layer.state_dict()) == ["weight"]
    fixed = nn.Embedding.from_pretrained(fnn.tensor([[1.0, 2.0]]))
    assert (fixed.num_embeddings, fixed.embedding_dim) == (1, 2)
    assert not fixed.weight.requires_grad
    assert fixed([0, 0]).tolist() == [[1, 2], [1, 2]]
    assert F.embedding(np.zeros((0, 2), int), fixed.weight).shape == (0, 2, 2)
    assert F.embedding(fnn.tensor(0), fixed.weight).tolist() == [1, 2]


@pytest.mark.parametrize("order", [1.0, 2.0, np.inf])
def test_rows_that_are_read_are_shortened(order, rng):
    table, index = rng.normal(size=(6, 4)), np.array([[0, 1, 5], [5, 5, 2]])
    table[1] *= 1e-3  # which stays
    layer = nn.Embedding.from_pretrained(table.copy(), False, max_norm=0.5, norm_type=order)
    want = table.copy()
    for i in (0, 2, 5):
        want[i] *= 0.5 / (np.linalg.norm(table[i], order) + 1e-7)
    y = layer(index)
    np.testing.assert_allclose(layer.weight.data, want, rtol=1e-12)
    np.testing.assert_array_equal(y.data, layer.weight.data[index])
    y.sum().backward()
    np.testing.assert_array_equal(layer.weight.grad.numpy()[:, 0], [1, 1, 1, 0, 0, 3])
    with pytest.raises(IndexError, match="input holds 6"):
        layer([6])
    layer.freeze()
    assert layer(index).shape == (2, 3, 4)
    with pytest.raises(ValueError, match=r"frozen row is .* max_norm 0.5; read all rows before"):
        layer([3])
    for wrong in ({"max_norm": 0.0}, {"max_norm": float("nan")}, {"norm_type": 0.0}):
        with pytest.raises(ValueError, match="Embedding: max_norm is"):
            nn.Embedding(2, 2, **wrong)


@pytest.mark.parametrize("type_", [np.int8, np.uint8, np.int32, np.uint64, ">i4"])
def test_integers_of_any_type(type_):
    table = np.arange(6.0).reshape(3, 2)
    np.testing.assert_array_equal(F.embedding(np.array([2, 0], type_), table).numpy(), table[[2, 0]])


def test_refuses():
    table = fnn.zeros(3, 2)
    for index in ([3], [-1], [[0], [2**40]]):
        with pytest.raises(IndexError, match="embedding: input holds"):
            F.embedding(index, table)
    for index in ([0.0], [True], "a"):
        with pytest.raises(TypeError, match="must be integers"):
            F.embedding(index, table)
    with pytest.raises(ValueError, match="weight is"):
        F.embedding([0], fnn.zeros(3))
    with pytest.raises(ValueError, match="padding_idx is 3"):
        F.embedding([0], table, 3)
    with pytest.raises(TypeError, match="padding_idx"):
        F.embedding([0], table, 1.5)
    for wrong, error in (((-1, 2), ValueError), ((2, 1.5), TypeError), ((2, 2, 2), ValueError)):
        with pytest.raises(error, match="Embedding: "):
            nn.Embedding(*wrong)
    with pytest.raises(TypeError, match="padding_idx must be an integer"):
        nn.Embedding(2, 2, 1.5)
    with pytest.raises(ValueError, match="from_pretrained"):
        nn.Embedding.from_pretrained(fnn.zeros(3))
    with pytest.raises(ValueError, match="from_pretrained: padding_idx is 3; expected one of 3 rows"):
        nn.Embedding.from_pretrained(table, padding_idx=3)
    with pytest.raises(TypeError, match="from_pretrained: embeddings are of int64; expected floats"):
        nn.Embedding.from_pretrained([[1, 2]])
    assert nn.Embedding.from_pretrained(table, padding_idx=-1).padding_idx == 2
