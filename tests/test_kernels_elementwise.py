"""Element-wise kernels against NumPy in higher precision and against the reference row, on every instruction set."""

import math

import numpy as np
import pytest

from fastnn import kernels

LONG = np.longdouble
SIZES = [0, 1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 19, 31, 32, 33, 35, 64, 67, 1000]  # about the lanes of every row
SPECIAL = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    np.inf,
    -np.inf,
    np.nan,
    1e-45,
    -1e-45,
    1e-40,
    1e-38,
    88.7,
    89.5,
    -87.3,
    -103.9,
    -105.0,
]
SPECIAL += [20.0, 20.5, 3e38, -3e38, 0.5, -0.5, 700.0, -700.0, 1e-8, -1e-8]


def every(function):
    return np.vectorize(function, otypes=[np.float64])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def erf(x):
    return every(math.erf)(x.astype(np.float64)).astype(x.dtype)


def cdf(x):
    return every(math.erfc)(-x.astype(np.float64) / math.sqrt(2)).astype(x.dtype) / 2


def pdf(x):
    return np.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def inner(x):
    return math.sqrt(2 / math.pi) * (x + LONG("0.044715") * x**3)


def gelu_tanh_slope(x):
    t = np.tanh(inner(x))
    return (1 + t) / 2 + x / 2 * (1 - t * t) * math.sqrt(2 / math.pi) * (1 + 3 * LONG("0.044715") * x * x)


UNARY = {
    "copy": lambda x: x,
    "negative": lambda x: -x,
    "abs": np.abs,
    "sign": np.sign,
    "square": np.square,
    "sqrt": np.sqrt,
    "reciprocal": lambda x: 1 / x,
    "exp": np.exp,
    "log": np.log,
    "tanh": np.tanh,
    "sigmoid": sigmoid,
    "erf": erf,
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "hardswish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "leaky_relu": lambda x: np.where(x > 0, x, x * LONG(0.01)),
    "elu": lambda x: np.where(x > 0, x, np.expm1(x)),
    "softplus": lambda x: np.where(x > 20, x, np.log1p(np.exp(x))),
    "gelu": lambda x: x * cdf(x),
    "gelu_tanh": lambda x: x / 2 * (1 + np.tanh(inner(x))),
    "silu": lambda x: x * sigmoid(x),
}
BINARY = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "clamp": np.maximum,
    "tanh_grad": lambda dy, y: dy * (1 - y * y),
    "sigmoid_grad": lambda dy, y: dy * y * (1 - y),
    "erf_grad": lambda dy, x: dy * 2 / np.sqrt(LONG(np.pi)) * np.exp(-x * x),
    "relu_grad": lambda dy, x: np.where(x > 0, dy, 0),
    "relu6_grad": lambda dy, x: np.where((x > 0) & (x < 6), dy, 0),
    "hardswish_grad": lambda dy, x: np.where(x < 3, np.where(x > -3, dy * (x / 3 + 0.5), 0), dy),
    "leaky_relu_grad": lambda dy, x: np.where(x > 0, dy, dy * LONG(0.01)),
    "elu_grad": lambda dy, x: np.where(x > 0, dy, dy * np.exp(x)),
    "softplus_grad": lambda dy, x: dy * sigmoid(x),
    "gelu_grad": lambda dy, x: dy * (cdf(x) + x * pdf(x)),
    "gelu_tanh_grad": lambda dy, x: dy * gelu_tanh_slope(x),
    "silu_grad": lambda dy, x: dy * sigmoid(x) * (1 + x * (1 - sigmoid(x))),
    "abs_grad": lambda dy, x: dy * np.sign(x),
}
EXACT = {
    "copy",
    "negative",
    "abs",
    "sign",
    "square",
    "sqrt",
    "reciprocal",
    "relu",
    "relu6",
    "add",
    "subtract",
    "multiply",
    "divide",
}
EXACT |= {"maximum", "minimum", "clamp", "relu_grad", "relu6_grad", "abs_grad"}


def oracle(name, *arrays):
    """The formula in long double, rounded once; where one rounding is the definition, NumPy's own operation."""
    dtype = arrays[0].dtype
    work = dtype if name in EXACT else LONG
    with np.errstate(all="ignore"):
        return (UNARY | BINARY)[name](*(x.astype(work) for x in arrays)).astype(dtype)


def close(name, got, want, message=""):
    """Equal where one rounding is the definition; else a few units in the last place of a result of size about one."""
    eps = 0 if name in EXACT else np.finfo(want.dtype).eps
    if name == "gelu_tanh_grad":
        eps *= 8  # 1 - tanh ** 2, times x ** 3
    np.testing.assert_allclose(got, want, rtol=8 * eps, atol=4 * eps, err_msg=message)


@pytest.fixture(params=[np.float32, np.float64], ids=["f32", "f64"])
def dtype(request):
    return request.param


@pytest.mark.parametrize("name", UNARY)
def test_unary_of_every_size(isa, name, dtype):
    for size in SIZES:
        x = np.random.default_rng(size).normal(0, 2, size).astype(dtype)
        if name in ("sqrt", "log"):
            x = np.abs(x) + dtype(0.01)
        got = getattr(kernels, name)(x)
        assert got.dtype == dtype
        close(name, got, oracle(name, x), f"size {size}")


@pytest.mark.parametrize("name", BINARY)
def test_binary_of_every_size(isa, name, dtype):
    for size in SIZES:
        a, b = np.random.default_rng(size).normal(0, 2, (2, size)).astype(dtype)
        close(name, getattr(kernels, name)(a, b), oracle(name, a, b), f"size {size}")


def views(rng, dtype):
    base = rng.normal(0, 1, (6, 35, 18)).astype(dtype)
    yield "contiguous", base
    yield "transposed", base.T
    yield "permuted", base.transpose(1, 0, 2)
    yield "sliced", base[:, 1:34:3, ::2]
    yield "negative", base[::-1, :, ::-1]
    yield "broadcast", np.broadcast_to(base[:, :1, :], base.shape)
    yield "scalar", base[0, 0, 0:1].reshape(())
    yield "column", base[0, :, 3:4]
    yield "empty", base[:, :0]
    yield "swapped", base.astype(base.dtype.newbyteorder())
    yield "unaligned", np.frombuffer(b"x" + base[0].tobytes(), np.uint8)[1:].view(base.dtype).reshape(35, 18)
    yield "many dimensions", base[0, :32, :16].reshape((2,) * 9)[::-1].transpose(8, 1, 6, 3, 4, 5, 2, 7, 0)[..., ::-1]
    yield "F order", np.asfortranarray(base[0])


@pytest.mark.parametrize("which", range(13))
def test_strides(isa, which, dtype):
    name, x = list(views(np.random.default_rng(1), dtype))[which]
    plain = np.ascontiguousarray(x).astype(dtype).reshape(x.shape)
    np.testing.assert_array_equal(kernels.square(x), plain * plain, err_msg=name)
    np.testing.assert_array_equal(kernels.subtract(x, plain), plain * 0, err_msg=name)
    np.testing.assert_array_equal(kernels.multiply(plain, x), plain * plain, err_msg=name)
    if x.ndim:
        np.testing.assert_array_equal(kernels.add(x, x[..., :1]), plain + plain[..., :1], err_msg=name)
    out = np.full_like(plain, 7)
    assert kernels.negative(x, out) is out
    np.testing.assert_array_equal(out, -plain, err_msg=name)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((), ()),
        ((3,), ()),
        ((), (2, 17)),
        ((5, 1), (1, 17)),
        ((4, 1, 17), (3, 1)),
        ((1,), (33,)),
        ((0, 1), (1, 5)),
        ((2, 1, 1), (1,)),
    ],
)
def test_broadcasting(isa, a, b, dtype):
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=a).astype(dtype), rng.normal(size=b).astype(dtype)
    got = kernels.subtract(np.asarray(x), np.asarray(y))
    assert got.shape == np.broadcast_shapes(a, b)
    np.testing.assert_array_equal(got, x - y)


def test_more_dimensions_than_a_kernel_walks(isa, dtype):
    rng = np.random.default_rng(3)
    a = rng.normal(size=(2,) * 12).astype(dtype).transpose(rng.permutation(12))
    b = rng.normal(size=(2, 1) * 6).astype(dtype).transpose(rng.permutation(12))
    np.testing.assert_array_equal(kernels.add(a, b), a + b)
    a = a[::-1, :, ::-1, :, ::-1, :, ::-1, :, ::-1, :, ::-1]
    np.testing.assert_array_equal(kernels.abs(a), abs(a))


@pytest.mark.parametrize("name", UNARY)
def test_special_values(isa, name, dtype):
    with np.errstate(all="ignore"):
        x = np.array(SPECIAL, dtype)
    want = oracle(name, x)
    got = getattr(kernels, name)(x)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    np.testing.assert_array_equal(np.isinf(got), np.isinf(want))
    finite = np.isfinite(want)
    info = np.finfo(dtype)
    # the product of two roundings near the largest number, and a few units of the smallest near zero
    np.testing.assert_allclose(got[finite], want[finite], rtol=16 * info.eps, atol=4 * info.eps)
    alone = np.array([getattr(kernels, name)(x[i : i + 1])[0] for i in range(x.size)])
    np.testing.assert_array_equal(got, alone, err_msg="an element's bits depend on its neighbours")


@pytest.mark.parametrize("name", BINARY)
def test_special_pairs(isa, name, dtype):
    with np.errstate(all="ignore"):
        values = np.array([v for v in SPECIAL if not abs(v) > 1e30 or math.isinf(v)], dtype)
    a, b = (v.ravel() for v in np.meshgrid(values, values))
    want = oracle(name, a, b)
    known = np.isfinite(a) & np.isfinite(b) | (
        name in EXACT
    )  # inf times what underflows to 0 here is no finite inf there
    got = getattr(kernels, name)(a, b)
    np.testing.assert_array_equal(np.isnan(got[known]), np.isnan(want[known]))
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(got[known], want[known], rtol=16 * np.finfo(dtype).eps, atol=1e-5)


@pytest.mark.parametrize("name", [*UNARY, *BINARY])
def test_as_the_reference_row(isa, name, dtype):
    rng = np.random.default_rng(5)
    arrays = [rng.normal(0, 3, (7, 33)).astype(dtype) for _ in range(1 + (name in BINARY))]
    got = getattr(kernels, name)(*arrays)
    kernels.use_isa("reference")
    want = getattr(kernels, name)(*arrays)
    close(name, got, want)


def test_alpha(isa, dtype):
    x = np.array([-2, -0.5, 0, 3], dtype)
    np.testing.assert_allclose(kernels.leaky_relu(x, 0.25), [-0.5, -0.125, 0, 3])
    np.testing.assert_allclose(kernels.elu(x, 2.0), np.where(x > 0, x, 2 * np.expm1(x)), rtol=1e-6)
    np.testing.assert_allclose(kernels.leaky_relu_grad(x, x, 0.25), [-0.5, -0.125, 0, 3])
    np.testing.assert_allclose(kernels.elu_grad(x, x, 2.0), np.where(x > 0, x, 2 * x * np.exp(x)), rtol=1e-6)


@pytest.mark.parametrize("high", [0.25, -3, math.inf, -math.inf])
def test_clamp_to_two_limits(isa, dtype, high):
    values = np.array(SPECIAL, dtype)
    a, low = (v.ravel() for v in np.meshgrid(values, values))
    np.testing.assert_array_equal(kernels.clamp(a, low, high), np.clip(a, low, high))


def test_out_may_overlap_an_input(isa, dtype):
    x = np.arange(50, dtype=dtype)
    kernels.negative(x, x)
    np.testing.assert_array_equal(x, -np.arange(50))
    x = np.arange(50, dtype=dtype)
    kernels.add(x[:40], x[10:], x[5:45])
    np.testing.assert_array_equal(x[5:45], np.arange(40) + np.arange(10, 50))


def test_results_too_large_for_caches(isa, dtype):
    """From 32 MB on results are written past the caches: in rows that begin anywhere in a vector."""
    rows, columns = (2**25 // 4096 // np.dtype(dtype).itemsize) + 1, 4099
    a = np.random.default_rng(4).normal(size=(rows, columns)).astype(dtype)
    out = np.full(a.size + 2, 7, dtype)
    y = out[1:-1].reshape(a.shape)  # begins behind the border of a cache line
    back = a[:, ::-1]
    for name, *of in [
        ("negative", a),
        ("subtract", a[:1], a),
        ("multiply", a, a[:, :1]),
        ("subtract", a[:, :1], a),
        ("add", a[:1], back),
        ("abs", back),
        ("negative", y),
    ]:
        want = getattr(np, name)(*of)
        assert getattr(kernels, name)(*of, y) is y
        np.testing.assert_array_equal(y, want, err_msg=name)
    assert out[0] == out[-1] == 7


def test_the_order_of_strides_is_kept(isa, dtype):
    x = np.ones((2, 3, 5, 4), dtype).transpose(0, 3, 1, 2)
    assert kernels.exp(x).strides == x.strides
    assert kernels.add(x, x).strides == x.strides
    assert kernels.multiply(x, np.ones((4, 1, 1), dtype)).strides == x.strides


def test_documentation():
    for name in [*UNARY, *BINARY]:
        doc = getattr(kernels, name).__doc__
        assert doc.startswith(name + "("), name
        for part in ("Parameters", "Returns", "Raises"):
            assert part in doc
