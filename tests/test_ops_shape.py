"""Shape, indexing, joining, splitting: values against NumPy, gradients, and what is refused."""

import pickle

import numpy as np
import pytest

import fastnn as fnn

RNG = np.random.default_rng(3)


def normal(*shape):
    return fnn.tensor(RNG.standard_normal(shape))


VIEWS = [
    (lambda x: x.reshape(4, 6), lambda x: x.reshape(4, 6)),
    (lambda x: x.reshape((2, -1)), lambda x: x.reshape(2, -1)),
    (lambda x: x.view(-1), lambda x: x.reshape(-1)),
    (lambda x: x.flatten(), np.ravel),
    (lambda x: x.flatten(1), lambda x: x.reshape(2, 12)),
    (lambda x: x.permute(2, 0, 1), lambda x: x.transpose(2, 0, 1)),
    (lambda x: x.permute((-1, 0, 1)), lambda x: x.transpose(2, 0, 1)),
    (lambda x: x.transpose(0, 2), lambda x: x.swapaxes(0, 2)),
    (lambda x: x.T, lambda x: x.T),
    (lambda x: x.mT, lambda x: x.swapaxes(-1, -2)),
    (lambda x: x.unsqueeze(1), lambda x: x[:, None]),
    (lambda x: x.unsqueeze(-1).squeeze(-1), lambda x: x),
    (lambda x: x.unsqueeze(0).squeeze(), lambda x: x),
    (lambda x: x.unsqueeze(1).expand(2, 5, 3, 4), lambda x: np.broadcast_to(x[:, None], (2, 5, 3, 4))),
    (lambda x: x.broadcast_to((5, 2, 3, 4)), lambda x: np.broadcast_to(x, (5, 2, 3, 4))),
    (lambda x: x.expand(2, -1, 4), lambda x: x),
    (lambda x: x.flip(0, 2), lambda x: np.flip(x, (0, 2))),
    (lambda x: x.roll(1), lambda x: np.roll(x, 1)),
    (lambda x: x.roll((1, -2), (0, 2)), lambda x: np.roll(x, (1, -2), (0, 2))),
    (lambda x: x.tril(), np.tril),
    (lambda x: x.triu(1), lambda x: np.triu(x, 1)),
    (lambda x: fnn.pad(x, (1, 2)), lambda x: np.pad(x, ((0, 0), (0, 0), (1, 2)))),
    (lambda x: fnn.pad(x, (1, 2, 0, 3), value=7.0), lambda x: np.pad(x, ((0, 0), (0, 3), (1, 2)), constant_values=7)),
    (lambda x: x[1], lambda x: x[1]),
    (lambda x: x[1, 2, 3], lambda x: x[1, 2, 3]),
    (lambda x: x[..., -1], lambda x: x[..., -1]),
    (lambda x: x[:, None, ::2], lambda x: x[:, None, ::2]),
    (lambda x: x[::-1, :, ::-2], lambda x: x[::-1, :, ::-2]),
    (lambda x: x[[0, 1, 1, 0]], lambda x: x[[0, 1, 1, 0]]),
    (lambda x: x[:, [0, 0, 2], 1:], lambda x: x[:, [0, 0, 2], 1:]),
    (lambda x: x[fnn.tensor([1, 0]), fnn.tensor([2, 2])], lambda x: x[[1, 0], [2, 2]]),
    (lambda x: x[np.arange(24).reshape(2, 3, 4) % 3 == 0], lambda x: x[np.arange(24).reshape(2, 3, 4) % 3 == 0]),
    (lambda x: x[fnn.tensor([True, False])], lambda x: x[[True, False]]),
    (lambda x: x[1:1], lambda x: x[1:1]),
    (lambda x: x.index_select(1, [2, 0, 2]), lambda x: x[:, [2, 0, 2]]),
    (lambda x: x.gather(2, np.zeros((2, 3, 2), int)), lambda x: x[..., [0, 0]]),
    (lambda x: x.scatter_add(0, np.ones((1, 3, 4), int), x), lambda x: np.stack([x[0], x[1] + x[0]])),
    (lambda x: fnn.cat([x, x * 2], 1), lambda x: np.concatenate([x, x * 2], 1)),
    (lambda x: fnn.stack([x, x * 2], -1), lambda x: np.stack([x, x * 2], -1)),
    (lambda x: x.split(2, 2)[1] * x.split([1, 3], 2)[1][..., 1:], lambda x: x[..., 2:] * x[..., 2:]),
    (lambda x: x.chunk(2, 1)[1], lambda x: x[:, 2:]),
    (lambda x: x.unbind(1)[2], lambda x: x[:, 2]),
    (lambda x: x.repeat(3, 1, 2), lambda x: np.tile(x, (3, 1, 2))),
    (lambda x: x.repeat(2, 1, 1, 1), lambda x: np.tile(x, (2, 1, 1, 1))),
    (lambda x: x.tile(2), lambda x: np.tile(x, 2)),
    (lambda x: x.tile((0, 1)), lambda x: np.tile(x, (0, 1))),
    (lambda x: x.repeat_interleave(2, 1), lambda x: np.repeat(x, 2, 1)),
    (lambda x: x.repeat_interleave([0, 2, 1], -2), lambda x: np.repeat(x, [0, 2, 1], 1)),
    (lambda x: x.repeat_interleave(2), lambda x: np.repeat(x, 2)),
    (lambda x: x[:1].expand_as(x), lambda x: np.broadcast_to(x[:1], x.shape)),
    (lambda x: x.topk(2, 1)[0], lambda x: -np.sort(-x, 1)[:, :2]),
    (lambda x: x.topk(3, largest=False)[0], lambda x: np.sort(x, 2)[..., :3]),
    (lambda x: x.scatter(1, [[[2] * 4]], 7.0), lambda x: np.where(np.arange(24).reshape(2, 3, 4) // 4 == 2, 7, x)),
    (lambda x: x.scatter(2, np.full((2, 3, 1), 3), x * 2), lambda x: np.concatenate([x[..., :3], 2 * x[..., :1]], 2)),
    (lambda x: x.sort(1), lambda x: np.sort(x, 1)),
    (lambda x: x.sort(2, descending=True), lambda x: -np.sort(-x, 2)),
    (lambda x: x.contiguous().clone(), lambda x: x),
    (lambda x: x[[]], lambda x: x[[]]),
    (lambda x: x[:, [], 1:], lambda x: x[:, [], 1:]),
    (lambda x: fnn.outer(x[0, 0], x[1, :, 0]), lambda x: np.outer(x[0, 0], x[1, :, 0])),
]


@pytest.mark.parametrize("case", range(len(VIEWS)))
@pytest.mark.parametrize("order", ["C", "F"])
def test_values_and_gradients(case, order):
    f, g = VIEWS[case]
    x = normal(2, 3, 4) if order == "C" else normal(4, 3, 2).T
    np.testing.assert_array_equal(f(x).data, g(x.data))
    assert f(x).shape == g(x.data).shape
    assert fnn.gradcheck(lambda x: f(x) ** 2, x, order=2)


def test_views_share_memory_and_version():
    x = fnn.zeros(4, 4)
    y, z = x[1:3], x.T
    y[0, 0] = 5
    assert z[0, 1].item() == 5
    assert x.reshape(16).data.base is not None
    w = fnn.ones(4, 4, requires_grad=True)
    loss = (w * y[:1]).sum()
    x.zero_()  # y's memory
    with pytest.raises(RuntimeError, match="changed in place"):
        loss.backward()


@pytest.mark.parametrize("copied", [lambda x: x.T.reshape(-1), lambda x: x.T.flatten(), lambda x: x.T.reshape(2, 8)])
def test_a_reshaped_copy_has_a_version_of_its_own(copied):
    x, w = fnn.ones(4, 4), fnn.ones(16, requires_grad=True)
    y = copied(x)
    loss = (w.reshape(y.shape) * y).sum()
    x.zero_()
    loss.backward()
    assert w.grad.data.all()
    loss = (w.reshape(4, 4) * x).sum()
    y.zero_()
    loss.backward()


def test_iteration_and_len():
    x = fnn.tensor([[1, 2], [3, 4]])
    assert [r.tolist() for r in x] == [[1, 2], [3, 4]]
    assert len(x) == 2
    _, b = x
    assert b.tolist() == [3, 4]
    assert 3 in x
    assert 7 not in x
    with pytest.raises(TypeError, match="0-d"):
        iter(fnn.tensor(1))
    with pytest.raises(TypeError, match="0-d"):
        len(fnn.tensor(1))


def test_setitem():
    x = fnn.zeros(3)
    x[1] = 2
    x[fnn.tensor([True, False, False])] = fnn.tensor([7.0])
    x[-1:] += 4
    assert x.tolist() == [7, 2, 4]
    w = fnn.zeros(3, requires_grad=True)
    with pytest.raises(RuntimeError, match="requires grad"):
        w[0] = 1
    with fnn.no_grad():
        w[0] = 1
    assert w.tolist() == [1, 0, 0]
    with pytest.raises(RuntimeError, match="v requires grad"):
        x[0] = w[0]
    for value in ([1, 2, "3"], "3", None, [None] * 3, 1j, [2**2000]):
        with pytest.raises((TypeError, ValueError), match=r"t\[...\] = v: "):
            x[:] = value
    assert x.tolist() == [7, 2, 4]
    x[:2] = [0.5, w[1].item()]
    assert x.tolist() == [0.5, 0, 4]
    with pytest.raises(ValueError, match="read-only"):
        fnn.ones(1).expand(3)[0] = 1


def test_squeeze_of_a_number():
    """A 0-d tensor has the dimensions 0 and -1 to PyTorch."""
    x = fnn.tensor(2.0)
    assert x.squeeze(0).shape == x.squeeze(-1).shape == x.squeeze((0, -1)).shape == ()
    with pytest.raises(IndexError, match="dimension 1"):
        x.squeeze(1)


def test_one_hot():
    assert fnn.one_hot(fnn.tensor([1, 0]), 3).tolist() == [[0, 1, 0], [1, 0, 0]]
    assert fnn.one_hot(fnn.zeros(0, dtype=fnn.int64)).shape == (0, 0)
    assert fnn.one_hot([0, 2], -1).tolist() == fnn.one_hot([0, 2]).tolist()  # PyTorch's default
    with pytest.raises(IndexError, match="outside"):
        fnn.one_hot([3], 3)
    with pytest.raises(TypeError, match="integers"):
        fnn.one_hot([0.5])


BAD = [
    (lambda x: x.reshape(5, 5), ValueError),
    (lambda x: x.reshape(-1, -1), ValueError),
    (lambda x: x.reshape(2**40, 2**40), ValueError),
    (lambda x: x.reshape(-3), ValueError),
    (lambda x: x.reshape("a"), TypeError),
    (lambda x: fnn.reshape(x, (2.0, 12)), TypeError),
    (lambda x: fnn.broadcast_to(x, (2.0, 3, 4)), TypeError),
    (lambda x: x.reshape((1,) * 65), ValueError),
    (lambda x: x.reshape(2**70), ValueError),
    (lambda x: x.permute(0, 1), ValueError),
    (lambda x: x.permute(0, 0, 1), ValueError),
    (lambda x: x.permute(0, 1, 3), IndexError),
    (lambda x: x.transpose(0, 3), IndexError),
    (lambda x: x.expand(3), ValueError),
    (lambda x: x.expand(2**62, 2, 3, 4), ValueError),
    (lambda x: x.expand(2, 3, -2), ValueError),
    (lambda x: x.expand(-1, 2, 3, 4), ValueError),
    (lambda x: x.squeeze(5), IndexError),
    (lambda x: x.unsqueeze(5), IndexError),
    (lambda x: x.unsqueeze(2**40), OverflowError),
    (lambda x: x.flip(0, 0), ValueError),
    (lambda x: x.roll((1, 2), 0), ValueError),
    (lambda x: x.flatten(2, 1), ValueError),
    (lambda x: fnn.cat([]), ValueError),
    (lambda x: fnn.cat([x, x[0]]), ValueError),
    (lambda x: fnn.cat([x], 3), IndexError),
    (lambda x: fnn.stack([x, x[:1]]), ValueError),
    (lambda x: x.split(0), ValueError),
    (lambda x: x.split([1]), ValueError),
    (lambda x: x.split([-1, 3]), ValueError),
    (lambda x: x.chunk(0), ValueError),
    (lambda x: x[5], IndexError),
    (lambda x: x[0, 0, 0, 0], IndexError),
    (lambda x: x[fnn.ones(2)], IndexError),
    (lambda x: x["a"], IndexError),
    (lambda x: x[[9]], IndexError),
    (lambda x: x[np.ones((3, 3), bool)], IndexError),
    (lambda x: x.gather(0, [[[2]]]), IndexError),
    (lambda x: x.gather(0, [[[-1]]]), IndexError),
    (lambda x: x.gather(0, [0]), ValueError),
    (lambda x: x.gather(0, np.zeros((1, 9, 1), int)), ValueError),
    (lambda x: x.gather(0, [[[0.5]]]), TypeError),
    (lambda x: x.scatter_add(0, [[[0]]], x[:0]), ValueError),
    (lambda x: x.index_select(0, [[0]]), ValueError),
    (lambda x: fnn.pad(x, (1,)), ValueError),
    (lambda x: fnn.pad(x, (-9, 0)), ValueError),
    (lambda x: x[0, 0].tril(), ValueError),
    (lambda x: fnn.outer(x, x), ValueError),
]


@pytest.mark.parametrize("case", range(len(BAD)))
def test_refused(case):
    f, error = BAD[case]
    with pytest.raises(error):
        f(normal(2, 3, 4))


def test_indices_of_many_dimensions():
    for nd in (32, 33, 40, 63):
        x = fnn.tensor(np.arange(4.0).reshape((2, 2) + (1,) * (nd - 2)), requires_grad=True)
        y = fnn.gather(x, 0, np.array([[1, 1], [0, 1]]).reshape(x.shape))
        assert y.flatten().tolist() == [2, 3, 0, 3]
        if nd == 32:
            y.sum().backward()
            assert x.grad.flatten().tolist() == [1, 0, 1, 2]
        else:
            with pytest.raises(ValueError, match="at most 32 indices"):
                y.sum().backward()


def test_a_tuple_in_a_tuple_is_a_list_of_indices():
    x = fnn.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], requires_grad=True)
    y = x[((0, 0, 2),)]
    assert y.tolist() == [[1, 2], [1, 2], [5, 6]]
    y.sum().backward()
    assert x.grad.tolist() == [[2, 2], [0, 0], [1, 1]]


@pytest.mark.parametrize("copied", [lambda x: x**1, lambda x: x.flip(0), fnn.floor, fnn.ceil, fnn.round])
@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_what_is_a_copy_shares_no_memory(copied, dtype):
    x = fnn.tensor([[1, 2]], dtype=dtype)
    y = copied(x)
    y += 1
    assert x.tolist() == [[1, 2]]


def test_sizes_can_be_called_as_in_pytorch():
    x = fnn.ones(2, 3)
    assert x.size == 6
    assert type(x.size + 1) is int
    assert (x.size(), x.size(0), x.size(-1)) == ((2, 3), 2, 3)
    assert fnn.tensor(1.0).size() == ()
    assert type(pickle.loads(pickle.dumps(x.size))) is int
    with pytest.raises(IndexError, match="size: dimension 2 is out of range"):
        x.size(2)


def test_the_largest_and_where_they_are():
    values, indices = fnn.topk(fnn.tensor([[1.0, 3.0, 2.0], [6.0, 5.0, 4.0]]), 2)
    assert (values.tolist(), indices.tolist()) == ([[3, 2], [6, 5]], [[1, 2], [0, 1]])
    assert fnn.topk(fnn.tensor([2, 1]), 0)[0].shape == (0,)
    with pytest.raises(ValueError, match="k is 3; expected 0 to 2"):
        fnn.topk(fnn.tensor([2, 1]), 3)
    np.testing.assert_array_equal(fnn.nonzero(fnn.tensor([[0, 1], [2, 0]])).data, [[0, 1], [1, 0]])


def test_writing_at_places():
    x = fnn.zeros(2, 3)
    assert x.scatter_(1, [[2], [0]], 1) is x
    np.testing.assert_array_equal(x.data, [[0, 0, 1], [1, 0, 0]])
    assert x.masked_fill_(x > 0, -1) is x
    np.testing.assert_array_equal(x.data, [[0, 0, -1], [-1, 0, 0]])
    with pytest.raises(ValueError, match="src of shape"):
        x.scatter(1, [[2], [0]], fnn.ones(1, 1))
    with pytest.raises(IndexError, match="outside"):
        x.scatter(1, [[3], [0]], 1)
    for change in (lambda: x.requires_grad_().scatter_(0, [[0]], 1), lambda: x.masked_fill_(x > 0, 1)):
        with pytest.raises(RuntimeError, match="requires grad"):
            change()


@pytest.mark.parametrize("repeats", [-1, [1, 2], [1, -1, 1], 2**60])
def test_repeats_that_do_not_fit(repeats):
    with pytest.raises((ValueError, OverflowError)):
        fnn.ones(3).repeat_interleave(repeats)
    with pytest.raises(ValueError, match="negative"):
        fnn.ones(3).repeat(-1)


def test_devices():
    x = fnn.ones(2)
    assert x.to("cpu") is x
    assert x.cpu() is x
    assert x.to("cpu", fnn.float64).dtype == fnn.double
    assert x.to(fnn.zeros(1, dtype=fnn.long)).dtype == np.int64
    assert x.int().dtype == np.int32
    layer = fnn.nn.Linear(2, 2)
    assert layer.to("cpu") is layer.cpu() is layer
    with pytest.raises(ValueError, match="the only device is 'cpu', got 'cuda:0'"):
        x.to("cuda:0")
    with pytest.raises(AttributeError, match='the only device is "cpu"'):
        fnn.cuda  # noqa: B018
