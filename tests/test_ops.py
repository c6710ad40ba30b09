"""Element-wise ops: gradients against central differences, values against NumPy's, over shapes, strides,
broadcasting."""

import itertools

import numpy as np
import pytest

import fastnn as fnn

RNG = np.random.default_rng(7)


def normal(*shape):
    return fnn.tensor(RNG.standard_normal(shape))


def positive(*shape):
    return fnn.tensor(RNG.uniform(0.5, 2.0, shape))


def away_from_zero(*shape):
    """No element where a kink would spoil a central difference."""
    x = RNG.uniform(0.2, 2.0, shape) * RNG.choice([-1, 1], shape)
    return fnn.tensor(x)


def transposed(*shape):
    return fnn.tensor(RNG.standard_normal(shape[::-1])).T


def every_second(*shape):
    return fnn.tensor(RNG.standard_normal((*shape[:-1], 2 * shape[-1])))[..., ::2]


SMOOTH = [
    (fnn.exp, normal),
    (fnn.log, positive),
    (fnn.log1p, positive),
    (fnn.expm1, normal),
    (fnn.sqrt, positive),
    (fnn.rsqrt, positive),
    (fnn.reciprocal, positive),
    (fnn.square, normal),
    (fnn.neg, normal),
    (fnn.tanh, normal),
    (fnn.sigmoid, normal),
    (fnn.erf, normal),
    (fnn.softplus, normal),
    (fnn.gelu, normal),
    (fnn.silu, normal),
    (fnn.sin, normal),
    (fnn.cos, normal),
    (fnn.abs, away_from_zero),
    (fnn.relu, away_from_zero),
    (fnn.leaky_relu, away_from_zero),
    (fnn.elu, away_from_zero),
    (lambda x: fnn.gelu(x, "tanh"), normal),
    (lambda x: fnn.elu(x, 0.7), away_from_zero),
    (lambda x: x**3, normal),
    (lambda x: x**-1.5, positive),
    (lambda x: 2.0**x, normal),
    (lambda x: 3.0 / x, positive),
    (lambda x: 1.5 - x, normal),
    (lambda x: x / 4.0 + 1, normal),
]


@pytest.mark.parametrize("case", range(len(SMOOTH)))
@pytest.mark.parametrize("shape", [(), (1,), (5,), (3, 17), (2, 3, 4), (0,), (2, 0, 3)])
def test_unary_gradient(case, shape):
    f, make = SMOOTH[case]
    assert fnn.gradcheck(f, make(*shape), order=1)


@pytest.mark.parametrize("case", range(len(SMOOTH)))
def test_unary_second_derivative(case):
    f, make = SMOOTH[case]
    assert fnn.gradcheck(f, make(3, 4), order=2)


@pytest.mark.parametrize("case", range(len(SMOOTH)))
def test_unary_of_a_transposed_tensor(case):
    f, make = SMOOTH[case]
    x = make(5, 4)
    np.testing.assert_allclose(f(x.T).data, f(x).data.T, rtol=1e-14)
    assert f(x.T).data.strides == x.data.T.strides  # the memory order stays
    assert fnn.gradcheck(f, x.T)


NUMPY = [
    (fnn.exp, np.exp),
    (fnn.log, np.log),
    (fnn.tanh, np.tanh),
    (fnn.sqrt, np.sqrt),
    (fnn.square, np.square),
    (fnn.abs, np.abs),
    (fnn.sign, np.sign),
    (fnn.neg, np.negative),
    (fnn.floor, np.floor),
    (fnn.ceil, np.ceil),
    (fnn.round, np.rint),
    (fnn.sin, np.sin),
    (fnn.cos, np.cos),
    (fnn.log1p, np.log1p),
    (fnn.expm1, np.expm1),
    (fnn.reciprocal, np.reciprocal),
    (fnn.sigmoid, lambda x: 1 / (1 + np.exp(-x))),
    (fnn.relu, lambda x: np.maximum(x, 0)),
    (fnn.softplus, lambda x: np.logaddexp(x, 0)),
]


@pytest.mark.parametrize("case", range(len(NUMPY)))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 35, 5000, 300000])
def test_unary_values(case, dtype, size):
    f, g = NUMPY[case]
    x = RNG.uniform(0.1, 3.0, size).astype(dtype)
    y = f(fnn.tensor(x))
    assert y.dtype == dtype
    np.testing.assert_allclose(y.data, g(x), rtol=1e-5 if dtype == np.float32 else 1e-13)


SHAPES = [
    ((3, 4), (3, 4)),
    ((3, 4), (4,)),
    ((3, 4), (3, 1)),
    ((3, 1), (1, 4)),
    ((), (2, 3)),
    ((2, 3), ()),
    ((1,), (5,)),
    ((2, 1, 4), (3, 1)),
    ((0, 3), (3,)),
    ((1,), (0,)),
    ((2, 3, 4, 5), (4, 1)),
    ((5, 1, 1), (1, 3, 1)),
]
BINARY = [
    (fnn.add, normal),
    (fnn.sub, normal),
    (fnn.mul, normal),
    (fnn.div, away_from_zero),
    (fnn.maximum, normal),
    (fnn.minimum, normal),
    (fnn.pow, positive),
]


@pytest.mark.parametrize("case", range(len(BINARY)))
@pytest.mark.parametrize(("a", "b"), SHAPES)
def test_binary_gradient(case, a, b):
    f, make = BINARY[case]
    assert fnn.gradcheck(f, [make(*a), make(*b)])


@pytest.mark.parametrize("case", range(len(BINARY)))
def test_binary_second_derivative(case):
    f, make = BINARY[case]
    assert fnn.gradcheck(f, [make(2, 3), make(3)], order=2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("a", "b"), [*SHAPES, ((300, 70), (70,)), ((64, 1, 33), (40, 1)), ((400000,), (400000,))])
def test_binary_values(a, b, dtype):
    x, y = RNG.uniform(0.5, 2, a).astype(dtype), RNG.uniform(0.5, 2, b).astype(dtype)
    s, t = fnn.tensor(x), fnn.tensor(y)
    for got, want in [
        (s + t, x + y),
        (s - t, x - y),
        (s * t, x * y),
        (s / t, x / y),
        (fnn.maximum(s, t), np.maximum(x, y)),
        (fnn.minimum(s, t), np.minimum(x, y)),
    ]:
        np.testing.assert_allclose(got.data, want, rtol=1e-6)
        assert got.dtype == dtype


def strided(kind, shape):
    x = RNG.standard_normal(shape)
    if kind == "F":
        return np.asfortranarray(x)
    if kind == "reversed":
        return x[::-1]
    if kind == "inner reversed":
        return x[..., ::-1]
    if kind == "every second":
        return np.repeat(x, 2, -1)[..., ::2]
    if kind == "broadcast":
        return np.broadcast_to(x[:1], shape)
    if kind == "channels last":
        return np.moveaxis(np.moveaxis(x, 1, -1).copy(), -1, 1)
    return x


@pytest.mark.parametrize("one", ["C", "F", "reversed", "inner reversed", "every second", "broadcast", "channels last"])
@pytest.mark.parametrize("two", ["C", "F", "reversed", "broadcast", "channels last"])
def test_strided_inputs(one, two):
    shape = (3, 4, 5, 2)
    x, y = strided(one, shape), strided(two, shape)
    s, t = fnn.as_tensor(x), fnn.as_tensor(y)
    np.testing.assert_array_equal((s + t).data, x + y)
    np.testing.assert_array_equal((2.0 - s).data, 2.0 - x)
    np.testing.assert_array_equal(fnn.relu(s).data, np.maximum(x, 0))
    np.testing.assert_allclose(s.sum((0, 2, 3)).data, x.sum((0, 2, 3)), atol=1e-12)
    np.testing.assert_allclose(s.amax(1).data, x.max(1))
    np.testing.assert_allclose((s @ t.mT).data, x @ np.swapaxes(y, -1, -2), atol=1e-12)
    np.testing.assert_allclose(fnn.softmax(s, 1).data.sum(1), 1, atol=1e-12)


def test_channels_last_stays():
    x = fnn.randn(2, 4, 5, 3).permute(0, 3, 1, 2)
    for y in (x + 1.0, x * x, fnn.relu(x), fnn.exp(x), x.clone(), x + fnn.randn(3, 1, 1), fnn.zeros_like(x)):
        assert y.data.strides == x.data.strides


def test_many_dimensions():
    """More than the kernels walk: 12 dimensions that do not merge."""
    x = RNG.standard_normal((2,) * 12)
    t = fnn.tensor(x)
    order = [0, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9, 11]
    np.testing.assert_array_equal((t + t.permute(*order)).data, x + x.transpose(order))
    np.testing.assert_allclose(
        t.permute(*order).sum((0, 3, 7, 11)).data, x.transpose(order).sum((0, 3, 7, 11)), atol=1e-12
    )
    every = np.repeat(x, 2, -1)[..., ::2].transpose(order)
    np.testing.assert_array_equal(fnn.relu(fnn.as_tensor(every)).data, np.maximum(every, 0))


def test_dtypes_of_results():
    f32, f64, i64, flag = fnn.ones(2), fnn.ones(2, dtype=fnn.float64), fnn.arange(2), fnn.arange(2) > 0
    assert (f32 + 1).dtype == (f32 * 2.5).dtype == (1 / f32).dtype == np.float32
    assert (f32 + np.float64(1)).dtype == np.float32
    assert (f32 + f64).dtype == np.float64
    assert (
        (f32 + i64).dtype
        == (i64 * 2.5).dtype
        == (i64 / 2).dtype
        == (i64 / i64).dtype
        == (flag * f32).dtype
        == np.float32
    )
    assert (i64 + 1).dtype == (i64 * i64).dtype == (i64 - 3).dtype == i64.sum().dtype == flag.sum().dtype == np.int64
    assert (i64 // 2).dtype == (i64**2).dtype == np.int64
    assert fnn.exp(i64).dtype == i64.float().dtype == flag.mean().dtype == np.float32
    assert (f32 > 0).dtype == (f32 == f32).dtype == np.bool_
    assert f32.double().dtype == np.float64
    assert fnn.maximum(i64, 1).tolist() == [1, 1]
    assert (2**i64).dtype == np.int64
    assert (2.0**i64).dtype == (2**f32).dtype == np.float32
    assert f32.clamp(np.float64(0), np.int64(3)).dtype == np.float32
    assert (fnn.tensor([0.1]) == np.float64(0.1)).item()
    for odd in (np.complex64(1j), np.str_("3")):
        with pytest.raises(TypeError, match="not supported"):
            f32 + odd


def test_remainder():
    x, y = fnn.tensor([[5.3, -5.3], [0.4, 7.1]]), fnn.tensor([2.0, -3.0])
    assert fnn.gradcheck(lambda x, y: x % y, [x, y], order=2)
    assert fnn.gradcheck(lambda x: x % 2 + 7 % x + np.remainder(x, np.float64(1.5)), x)
    np.testing.assert_array_equal((x % y).data, x.data % y.data)
    assert (fnn.arange(-3, 3) % 2).dtype == np.int64
    assert (x % np.float64(2)).dtype == np.float32
    assert np.isnan((x % 0).data).all()


def test_divisions_promote_as_the_others():
    """NumPy alone makes float64 of float32 and integers."""
    x, i, flag = fnn.tensor([5.0, -3.0]), fnn.tensor([2, 2]), fnn.tensor([True, True])
    for y in (x // i, x % i, i // x, i % x, x // flag, i // 2.5, i % 2.5, 2.5 // i, 2.5 % i, flag // 2.0):
        assert y.dtype == np.float32
    assert (x.double() // i).dtype == (i % x.double()).dtype == np.float64
    assert (flag // 2).dtype == (i % 2).dtype == np.int64
    assert (x // i).tolist() == [2, -2]
    assert (x % i).tolist() == [1, 1]
    assert fnn.gradcheck(lambda x: x % i + 7.5 % (x + i), x.double())


def test_lists_beside_float64_keep_their_digits():
    x = fnn.ones(1, dtype=fnn.float64)
    assert (x * [0.1]).item() == ([0.1] * x).item() == fnn.matmul(x, [0.1]).item() == 0.1
    assert fnn.minimum(x, [0.1]).item() == fnn.where(x < 0, x, [0.1]).item() == x.clamp(max=[0.1]).item() == 0.1
    assert ((x + 1) ** [0.1]).item() == 2**0.1
    assert (x.float() * [0.1]).dtype == (fnn.arange(1) * [0.1]).dtype == np.float32
    x.requires_grad_()
    x.sum().backward(0.1)
    assert x.grad.item() == 0.1


def test_mixed_dtype_gradient():
    x = fnn.ones(3, requires_grad=True)
    y = fnn.ones(3, dtype=fnn.float64, requires_grad=True)
    (x * y * fnn.arange(3)).sum().backward()
    assert x.grad.dtype == np.float32
    assert y.grad.dtype == np.float64
    assert x.grad.tolist() == [0, 1, 2]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_clamp_as_in_numpy(dtype):
    x = np.array([np.nan, np.inf, -np.inf, -2, 0, 0.25, 3], dtype)
    limits = [None, np.nan, np.inf, -np.inf, -1, 0.1, 2]
    apart = fnn.tensor(np.stack([x, x], 1))[:, 0]
    for low, high in itertools.product(limits, limits):
        if low is None and high is None:
            continue
        got = fnn.tensor(x).clamp(low, high)
        assert got.dtype == dtype
        np.testing.assert_array_equal(got.data, np.clip(x, low, high), err_msg=f"{low} {high}")
        np.testing.assert_array_equal(apart.clamp(low, high).data, got.data)


@pytest.mark.parametrize("swapped", [False, True])
def test_the_gradient_of_clamp_at_its_limits(swapped):
    """As PyTorch has it: x keeps it where it is at a limit, the upper limit gets it where the limits are crossed."""
    low, high = fnn.tensor([0.0] * 5, requires_grad=True), fnn.tensor([2.0] * 5, requires_grad=True)
    if swapped:
        low, high = high, low
    x = fnn.tensor([-1.0, 0.0, 1.0, 2.0, 3.0], requires_grad=True)
    grads = [g.tolist() for g in fnn.grad(x.clamp(low, high).sum(), [x, low, high])]
    inside = [[0, 1, 1, 1, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 1]]
    assert grads == ([[0] * 5, [0] * 5, [1] * 5] if swapped else inside)
    assert fnn.grad(x.clamp(0, 2).sum(), x)[0].tolist() == inside[0]


def test_add_and_sub_of_a_multiple():
    x = fnn.tensor([1.0, 2.0], requires_grad=True)
    assert x.add(x, alpha=3).tolist() == [4, 8]
    assert x.sub([1, 2], alpha=2).tolist() == [-1, -2]
    assert fnn.grad(x.sub(x, alpha=3).sum(), x)[0].tolist() == [-2, -2]


def test_clamp_where_masked_fill():
    x = away_from_zero(4, 5)
    assert fnn.gradcheck(lambda x: x.clamp(-1, 1), x, order=2)
    assert fnn.gradcheck(lambda x, y: fnn.where(x > 0, x * y, y), [x, normal(5)], order=2)
    assert fnn.gradcheck(lambda x: x.masked_fill(x > 0, 3.0) ** 2, x, order=2)
    assert fnn.gradcheck(lambda x, y: x.clamp(max=y), [x, normal(5)])
    assert fnn.gradcheck(lambda x: x.clamp(np.float64(-1), np.ones(5)), x)
    np.testing.assert_array_equal(x.clamp(min=0.5).data, np.maximum(x.data, 0.5))
    flag = fnn.tensor([True, False])
    assert fnn.where(flag, flag, 300).tolist() == [1, 300]
    assert fnn.where(flag, 300, flag).tolist() == [300, 0]
    assert fnn.where(flag, flag, True).dtype == flag.masked_fill(flag, 0).dtype == np.bool_
    assert fnn.where(flag, 0.5, flag).dtype == np.float32
    with pytest.raises(TypeError, match="bool"):
        fnn.where(x, x, x)
    with pytest.raises(ValueError, match="broadcast"):
        fnn.where(x > 0, x, normal(3))


def test_zero_to_the_power_zero():
    x = fnn.tensor([0.0, 2.0, 0.0], requires_grad=True)
    y = fnn.tensor([0.0, 0.0, 2.0], requires_grad=True)
    (x**y).sum().backward()
    assert x.grad.tolist() == [0, 0, 0]
    np.testing.assert_allclose(y.grad.numpy(), [0, np.log(2), 0], rtol=1e-6)


def test_zero_to_a_negative_power():
    x = fnn.tensor([0.0], requires_grad=True)
    y = fnn.tensor([-1.0], requires_grad=True)
    (x**y).sum().backward()
    assert x.grad.tolist() == y.grad.tolist() == [-np.inf]


def test_ties_share_the_gradient():
    x = fnn.tensor([2.0, 2.0, 1.0], requires_grad=True)
    x.max().backward()
    assert x.grad.tolist() == [0.5, 0.5, 0]


@pytest.mark.parametrize("name", ["sin", "cos", "expm1", "log1p", "sqrt", "log"])
def test_no_warnings(name):
    with np.errstate(all="raise"):
        getattr(fnn, name)(fnn.tensor([-2.0, 0.0, np.inf, np.nan, 1e30]))


def test_casts_give_no_warnings():
    x = fnn.tensor([np.nan, 1e300], dtype=fnn.float64)
    with np.errstate(all="raise"):
        assert x.float()[1].item() == np.inf
        x.long()


def test_errors():
    with pytest.raises(ValueError, match=r"add: shapes \(2,\) and \(3,\)"):
        fnn.ones(2) + fnn.ones(3)
    with pytest.raises(ValueError, match="approximate"):
        fnn.gelu(fnn.ones(2), "exact")
    with pytest.raises(TypeError):
        fnn.ones(2) + "a"
    with pytest.raises(TypeError):
        fnn.ones(2) + None
    with pytest.raises(TypeError):
        fnn.add(fnn.ones(2), object())
