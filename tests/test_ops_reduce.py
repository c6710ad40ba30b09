"""Reductions: values against NumPy over every set of dimensions and memory order, gradients, empty inputs."""

import itertools

import numpy as np
import pytest

import fastnn as fnn

RNG = np.random.default_rng(5)
AXES = [None, *range(4), *itertools.combinations(range(4), 2), (0, 2, 3), (-1, 0, 1), (0, 1, 2, 3), ()]


def layouts(x):
    return [x, np.asfortranarray(x), x.transpose(0, 2, 3, 1), np.repeat(x, 2, -1)[..., ::2], x[::-1]]


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("layout", range(5))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values(axis, keepdim, layout, dtype):
    x = layouts(RNG.uniform(0.5, 1.5, (2, 3, 4, 5)).astype(dtype))[layout]
    t = fnn.as_tensor(x)
    for name, function in [("sum", np.sum), ("mean", np.mean), ("amax", np.max), ("amin", np.min), ("prod", np.prod)]:
        got = getattr(t, name)(axis, keepdim)
        np.testing.assert_allclose(got.data, function(x, axis=axis, keepdims=keepdim), rtol=2e-5)
        assert got.dtype == dtype
    np.testing.assert_allclose(
        t.var(axis, 0, keepdim).data, np.var(x, axis=axis, keepdims=keepdim), rtol=1e-4, atol=1e-12
    )
    np.testing.assert_allclose(
        t.logsumexp(axis, keepdim).data, np.log(np.sum(np.exp(x), axis=axis, keepdims=keepdim)), rtol=1e-5
    )
    np.testing.assert_allclose(
        t.norm(2, axis, keepdim).data, np.sqrt(np.sum(x * x, axis=axis, keepdims=keepdim)), rtol=1e-5
    )


def test_a_flag_in_the_place_of_dim():
    """`var(x, False)` is `var(x, unbiased=False)`, as in PyTorch, and not the variance along dimension 0."""
    x = fnn.tensor([[1.0, 2.0, 4.0], [0.0, 3.0, 8.0]])
    assert x.var(False).item() == fnn.var(x, False).item() == x.var(correction=0).item()
    assert x.std(True).item() == x.std().item()


def test_variance_of_too_few():
    assert fnn.tensor([1.0, 2.0]).var(correction=2).item() == np.inf
    assert np.isnan(fnn.ones(1).var().item())


def test_larger_of_two():
    """PyTorch's max and min of two tensors."""
    x, y = fnn.tensor([1.0, 5.0]), fnn.tensor([3, 2])
    assert fnn.max(x, y).tolist() == x.max(y).tolist() == [3, 5]
    assert fnn.min(x, y).tolist() == x.min(y).tolist() == [1, 2]


GRADIENTS = [
    lambda x, d: x.sum(d),
    lambda x, d: x.mean(d, True),
    lambda x, d: x.var(d),
    lambda x, d: x.std(d, correction=0),
    lambda x, d: x.amax(d),
    lambda x, d: x.min(d, keepdim=True),
    lambda x, d: x.prod(d),
    lambda x, d: x.logsumexp(d),
    lambda x, d: x.norm(2, d),
    lambda x, d: x.norm(1, d, True),
    lambda x, d: x.norm(3, d),
    lambda x, d: x.norm(np.inf, d),
    lambda x, d: x.sum(axis=d, keepdims=True),
]


@pytest.mark.parametrize("case", range(len(GRADIENTS)))
@pytest.mark.parametrize("dim", [None, 0, -1, (0, 2)])
def test_gradients(case, dim):
    x = fnn.tensor(RNG.uniform(0.5, 2, (3, 4, 2)))
    assert fnn.gradcheck(lambda x: GRADIENTS[case](x, dim) ** 2, x, order=2)
    assert fnn.gradcheck(lambda x: GRADIENTS[case](x, dim), fnn.tensor(RNG.uniform(0.5, 2, (2, 4, 3))).T)


def test_prod_with_zeros():
    for zeros in ([], [0], [0, 4], [0, 1]):
        x = RNG.uniform(0.5, 2, (2, 3))
        x.ravel()[zeros] = 0
        assert fnn.gradcheck(lambda x: x.prod(1), fnn.tensor(x))
        assert fnn.gradcheck(lambda x: x.prod(), fnn.tensor(x))


def test_prod_of_infinity_and_zero():
    x = fnn.tensor([np.inf, 0.0, 2.0], requires_grad=True)
    with np.errstate(all="raise"):
        x.prod().backward()
    np.testing.assert_array_equal(x.grad.data, [0, np.inf, np.nan])


def test_cumsum():
    assert fnn.cumsum(fnn.tensor(3.0)).shape == fnn.cumsum(fnn.tensor(True), -1).shape == ()
    assert fnn.gradcheck(fnn.cumsum, fnn.tensor(3.0))
    x = fnn.tensor(RNG.standard_normal((3, 4)))
    np.testing.assert_allclose(x.cumsum(1).data, np.cumsum(x.data, 1))
    assert fnn.gradcheck(lambda x: x.cumsum(0) ** 2, x, order=2)


def test_norm_by_name():
    x = fnn.tensor([[3.0, 4.0], [0.0, 2.0]])
    assert x.norm("fro").item() == x.norm().item()
    assert fnn.norm(x, p="fro", dim=1).tolist() == [5, 2]
    with pytest.raises(ValueError, match="norm: p is 'nuc'; expected"):
        x.norm("nuc")


@pytest.mark.parametrize("p", [0.5, 1, 1.5, 2, 3, float("inf")])
def test_zero_norm_has_zero_gradient(p):
    x = fnn.zeros(3, requires_grad=True)
    x.norm(p).backward()
    assert x.grad.tolist() == [0, 0, 0]


@pytest.mark.parametrize("p", [0.5, 1.5, 3])
def test_norm_with_a_zero_among_others(p):
    x = fnn.tensor([[0.0, -1.0], [0.0, 0.0]], requires_grad=True)
    x.norm(p, 1).sum().backward()
    assert x.grad.tolist() == [[0, -1], [0, 0]]


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 3)])
def test_empty(shape):
    x = fnn.zeros(shape, requires_grad=True)
    for dim in (None, *range(len(shape))):
        np.testing.assert_array_equal(x.sum(dim).data, x.data.sum(dim))
        np.testing.assert_array_equal(x.prod(dim).data, x.data.prod(dim))
        x.sum(dim).sum().backward()
        if dim is None or shape[dim] == 0:
            with pytest.raises(ValueError, match="nothing to choose"):
                x.amax(dim)
            with pytest.raises(ValueError, match="nothing to choose"):
                x.argmin(dim)
        else:
            assert x.amax(dim).shape == x.data.sum(dim).shape
    assert np.isnan(x.mean().item())
    assert x.grad.shape == shape


def test_arg_and_logic():
    x = RNG.standard_normal((3, 4))
    t = fnn.tensor(x)
    for dim in (None, 0, -1):
        np.testing.assert_array_equal(t.argmax(dim).data, x.argmax(dim))
        np.testing.assert_array_equal(t.argmin(dim, keepdim=True).data, x.argmin(dim, keepdims=True))
        np.testing.assert_array_equal((t > 0).any(dim).data, (x > 0).any(dim))
        np.testing.assert_array_equal((t > 0).all(dim).data, (x > 0).all(dim))
    assert fnn.tensor(3.0).argmax().item() == 0
    assert fnn.tensor(3.0).sum(0).item() == fnn.tensor(3.0).max().item() == 3


def test_nan_and_infinity():
    x = fnn.tensor([1.0, np.nan, np.inf])
    assert all(np.isnan(v.item()) for v in (x.sum(), x.max(), x.min(), x.mean(), x.prod()))
    assert fnn.tensor([-np.inf, -np.inf]).logsumexp().item() == -np.inf
    assert fnn.tensor([np.inf, 1.0]).logsumexp().item() == np.inf
    assert fnn.tensor([1e4, 1e4]).logsumexp().item() == pytest.approx(1e4 + np.log(2))


def test_integers():
    x = fnn.tensor([[3, 1], [2, 2]])
    assert x.sum().item() == 8
    assert x.amax(0).tolist() == [3, 2]
    assert x.prod(1).tolist() == [3, 4]
    assert x.mean().item() == 2


def test_the_spread_of_equal_numbers_has_no_slope():
    x = fnn.tensor([[1.0, 1.0], [1.0, 3.0]], requires_grad=True)
    fnn.std(x, 1).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [[0, 0], [-(0.5**0.5), 0.5**0.5]], rtol=1e-6)


@pytest.mark.parametrize("size", [5, 70000, 1 << 20])
def test_the_same_bits_for_every_number_of_threads(size):
    x = fnn.tensor(RNG.standard_normal(size).astype(np.float32))
    y = fnn.tensor(RNG.standard_normal((size // 5, 5)).astype(np.float32))
    found = []
    for n in (1, 2, 3):
        with fnn.threads(n):
            found.append((x.sum().item(), x.norm().item(), y.sum(0).tolist(), fnn.exp(x).sum().item()))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda x: x.sum(2), IndexError),
        (lambda x: x.sum((0, 0)), ValueError),
        (lambda x: x.sum((0, -2)), ValueError),
        (lambda x: x.sum("a"), TypeError),
        (lambda x: x.mean(0.5), TypeError),
        (lambda x: x.norm(-1), ValueError),
        (lambda x: x.argmax(5), IndexError),
        (lambda x: x.cumsum(2), IndexError),
        (lambda x: x.sum(2**80), IndexError),
    ],
)
def test_refused(call, error):
    with pytest.raises(error):
        call(fnn.ones(2, 3))
