"""Kernels of batch, group, layer and RMS norm: against float64 NumPy at sizes that straddle lanes; hostile input."""

import numpy as np
import pytest

from fastnn import kernels

COLS = [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 67, 130]
SHAPES = [*((5, c) for c in COLS), (300, 8), (700, 33), (2, 16, 5, 5), (3, 35, 4, 7), (4, 64, 20, 20), (2, 100, 9)]


@pytest.fixture(params=[np.float32, np.float64], ids=["f32", "f64"])
def dtype(request):
    return request.param


def arrays(shape, dtype, offset=1.0):
    rng = np.random.default_rng(shape[0] + shape[1])
    x, dy = rng.normal(offset, 2, shape), rng.normal(size=shape)
    weight, bias = rng.normal(size=(2, shape[1]))
    return [a.astype(dtype) for a in (x, dy, weight, bias)]


def by_channel(v, x):
    return v.astype(np.float64).reshape(1, -1, *[1] * (x.ndim - 2))


def oracle(x, dy, weight, bias, groups, relu, eps=1e-5):
    """y, mean, var, dx, dweight, dbias in float64; groups None is batch norm."""
    x, dy = x.astype(np.float64), dy.astype(np.float64)
    n, c = x.shape[:2]
    weight, bias = by_channel(weight, x), by_channel(bias, x)
    if groups is None:
        to_rows = lambda a: np.moveaxis(a, 1, 0).reshape(c, -1)  # noqa: E731
        back = lambda a: np.moveaxis(a.reshape(c, n, *x.shape[2:]), 0, 1)  # noqa: E731
    else:
        to_rows = lambda a: a.reshape(n * groups, -1)  # noqa: E731
        back = lambda a: a.reshape(x.shape)  # noqa: E731
    rows = to_rows(x)
    mean, var = rows.mean(1), rows.var(1)
    rstd = 1 / np.sqrt(var + eps)
    xhat = (rows - mean[:, None]) * rstd[:, None]
    y = back(xhat) * weight + bias
    dz = dy * (y > 0) if relu else dy
    g = to_rows(dz * weight)
    dx = rstd[:, None] * (g - g.mean(1, keepdims=True) - xhat * (g * xhat).mean(1, keepdims=True))
    axes = (0, *range(2, x.ndim))
    return np.maximum(y, 0) if relu else y, mean, var, back(dx), (dz * back(xhat)).sum(axes), dz.sum(axes)


def near(got, want, dtype, scale=1.0):
    np.testing.assert_allclose(got, want, rtol=0, atol=(200 * np.finfo(dtype).eps) * (np.abs(want).max() + scale))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("relu", [False, True])
def test_batch_norm(isa, shape, relu, dtype):
    x, dy, weight, bias = arrays(shape, dtype)
    y, mean, var, dx, dweight, dbias = oracle(x, dy, weight, bias, None, relu)
    got = kernels.batch_norm(x, weight, bias, relu=relu)
    near(got[0], y, dtype)
    near(got[1], mean, dtype)
    near(got[2], var, dtype)
    np.testing.assert_allclose(got[3], 1 / np.sqrt(var + 1e-5), rtol=200 * np.finfo(dtype).eps)
    grads = kernels.batch_norm_backward(dy, x, got[1], got[3], weight, bias, relu=relu)
    scale = x.size / shape[1]
    near(grads[0], dx, dtype, got[3].max() * np.abs(weight).max())
    near(grads[1], dweight, dtype, scale)
    near(grads[2], dbias, dtype, scale)
    assert got[0].dtype == grads[0].dtype == dtype
    assert np.moveaxis(got[0], 1, -1).flags.c_contiguous


@pytest.mark.parametrize("shape", [s for s in SHAPES if len(s) > 2 or s[1] in (8, 64, 130)])
@pytest.mark.parametrize("relu", [False, True])
def test_group_norm(isa, shape, relu, dtype):
    x, dy, weight, bias = arrays(shape, dtype)
    for groups in {1, shape[1] // 2 if shape[1] % 2 == 0 else 1, shape[1] if len(shape) > 2 else 1}:
        y, mean, var, dx, dweight, dbias = oracle(x, dy, weight, bias, groups, relu)
        got = kernels.group_norm(x, groups, weight, bias, relu=relu)
        near(got[0], y, dtype, got[3].max())
        near(got[1].ravel(), mean, dtype)
        near(got[2].ravel(), var, dtype)
        grads = kernels.group_norm_backward(dy, x, got[1], got[3], groups, weight, bias, relu=relu)
        near(grads[0], dx, dtype, got[3].max() ** 2 * np.abs(weight).max())
        near(grads[1], dweight, dtype, got[3].max() * x.size / shape[1])
        near(grads[2], dbias, dtype, x.size / shape[1])


@pytest.mark.parametrize("shape", [(5, 7), (3, 64, 4, 5), (300, 17)])
@pytest.mark.parametrize("relu", [False, True])
def test_batch_norm_by_given_statistics(isa, shape, relu, dtype):
    x, dy, weight, bias = arrays(shape, dtype)
    mean, var = np.abs(bias) + 1, np.abs(weight) + 1
    rstd = by_channel(1 / np.sqrt(var.astype(np.float64) + 0.1), x)
    xhat = (x - by_channel(mean, x)) * rstd
    y = xhat * by_channel(weight, x) + by_channel(bias, x)
    got = kernels.batch_norm(x, weight, bias, mean, var, eps=0.1, relu=relu)
    near(got[0], np.maximum(y, 0) if relu else y, dtype)
    dz = dy * (y > 0) if relu else dy
    dx, dweight, _ = kernels.batch_norm_backward(dy, x, mean, got[3], weight, bias, relu=relu, constant=True)
    near(dx, dz * by_channel(weight, x) * rstd, dtype)
    near(dweight, (dz * xhat).sum((0, *range(2, x.ndim))), dtype, x.size / shape[1])


@pytest.mark.parametrize("cols", [*COLS, 1000, 4095, 4097, 10000])
@pytest.mark.parametrize("rows", [1, 2, 3, 33])
@pytest.mark.parametrize("rms", [False, True])
def test_row_norms(isa, rows, cols, rms, dtype):
    x, dy, weight, bias = arrays((rows, cols), dtype)
    residual = dy[::-1].copy()
    s = (x + residual).astype(np.float64)
    mean = np.zeros((rows, 1)) if rms else s.mean(1, keepdims=True)
    rstd = 1 / np.sqrt(((s - mean) ** 2).mean(1, keepdims=True) + 1e-5)
    xhat = (s - mean) * rstd
    g = dy * weight.astype(np.float64)
    dx = rstd * (g - (0 if rms else g.mean(1, keepdims=True)) - xhat * (g * xhat).mean(1, keepdims=True)) + residual
    if rms:
        y, total, got_rstd = kernels.rms_norm(x, weight, residual)
        grads = kernels.rms_norm_backward(dy, total, got_rstd, weight, residual)
        alone = kernels.rms_norm(total, weight)
    else:
        y, total, got_mean, got_rstd = kernels.layer_norm(x, weight, bias, residual)
        grads = kernels.layer_norm_backward(dy, total, got_mean, got_rstd, weight, residual)
        alone = kernels.layer_norm(total, weight, bias)
        near(grads[2], dy.astype(np.float64).sum(0), dtype, rows)
        near(got_mean, mean[:, 0], dtype)
    np.testing.assert_array_equal(total, x + residual)
    np.testing.assert_array_equal(y, alone[0])  # with and without the residual: the same bits
    near(y, xhat * weight + (0 if rms else bias), dtype, rstd.max())
    np.testing.assert_allclose(got_rstd, rstd[:, 0], rtol=200 * np.finfo(dtype).eps)
    near(grads[0], dx, dtype, rstd.max() ** 2)
    near(grads[1], (dy * xhat).sum(0), dtype, rows * rstd.max())


def test_without_weight_and_bias(isa, dtype):
    x, dy, _, _ = arrays((6, 20), dtype)
    one, zero = np.ones(20, dtype), np.zeros(20, dtype)
    np.testing.assert_array_equal(kernels.batch_norm(x)[0], kernels.batch_norm(x, one, zero)[0])
    for w, b in [(None, zero), (one, None), (None, None)]:
        np.testing.assert_array_equal(kernels.layer_norm(x, w, b)[0], kernels.layer_norm(x, one, zero)[0])
    _, mean, rstd = kernels.layer_norm(x)
    for got, want in zip(
        kernels.layer_norm_backward(dy, x, mean, rstd), kernels.layer_norm_backward(dy, x, mean, rstd, one), strict=True
    ):
        np.testing.assert_array_equal(got, want)


def test_large_mean_costs_no_digits_of_the_variance(isa, dtype):
    """A difference of squares would lose everything here; one row is far off, so no pivot would help."""
    rng = np.random.default_rng(5)
    x = (2.0**12 + rng.integers(-8, 9, (5000, 20)) / 8).astype(dtype)
    x[0] = 0
    _, mean, var, _ = kernels.batch_norm(x)
    np.testing.assert_allclose(mean, x.mean(0, dtype=np.float64), rtol=1e-6)
    np.testing.assert_allclose(var, x.var(0, dtype=np.float64), rtol=1e-5)
    rows = np.ascontiguousarray(x[1:].T)
    np.testing.assert_allclose(
        kernels.layer_norm(rows)[2], 1 / np.sqrt(rows.var(1, dtype=np.float64) + 1e-5), rtol=1e-4
    )


# Plain loops round their double mean once to a float.
@pytest.mark.parametrize("cols", [1, 8, 100, 257, 5000])
@pytest.mark.parametrize("value", [100.1, 12345.678, 1e6 + 0.3, 1e8])
def test_a_constant_row_becomes_nothing(isa, cols, value):
    x = np.full((2, cols), value, np.float32)
    y = kernels.layer_norm(x)[0]
    assert abs(y).max() <= (0 if isa != "reference" else 2e-4)


@pytest.mark.parametrize("norm", ["layer_norm", "rms_norm"])
def test_a_row_with_nan_is_nan(isa, norm, dtype):
    x = np.ones((3, 40), dtype)
    x[1, 7] = np.nan
    y = getattr(kernels, norm)(x)[0]
    assert np.isnan(y[1]).all()
    assert np.isfinite(y[[0, 2]]).all()


@pytest.mark.parametrize("mean", [1e3, 1e5])
def test_a_large_mean_costs_no_digits_of_a_row(isa, rng, mean):
    x = (rng.standard_normal((4, 300)) + mean).astype(np.float32)
    wide = x.astype(np.float64)
    want = (wide - wide.mean(1, keepdims=True)) / np.sqrt(wide.var(1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(kernels.layer_norm(x)[0], want, atol=2e-6)


def test_memory_order_does_not_matter(isa, dtype):
    x, _, weight, bias = arrays((3, 12, 5, 4), dtype)
    last = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    want = kernels.batch_norm(x, weight, bias)
    for view in (last, x[::-1][::-1], np.asfortranarray(x)):
        for got, expected in zip(kernels.batch_norm(view, weight, bias), want, strict=True):
            np.testing.assert_array_equal(got, expected)
    wide = np.zeros((6, 24), dtype)
    wide[:, ::2] = x.reshape(-1, 12)[:6]
    np.testing.assert_array_equal(kernels.layer_norm(wide[:, ::2])[0], kernels.layer_norm(wide[:, ::2].copy())[0])


def test_nan_stays_in_its_channel_or_row(isa, dtype):
    x = np.random.default_rng(6).normal(size=(40, 20)).astype(dtype)
    x[3, 5] = np.nan
    for relu in (False, True):
        y = kernels.batch_norm(x, relu=relu)[0]
        assert np.isnan(y[:, 5]).all()
        assert not np.isnan(np.delete(y, 5, 1)).any()
    y = kernels.layer_norm(x)[0]
    assert np.isnan(y[3]).all()
    assert not np.isnan(np.delete(y, 3, 0)).any()


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (0, 3, 4, 4), (2, 3, 0, 4)])
def test_nothing_to_normalise(isa, shape, dtype):
    x = np.zeros(shape, dtype)
    y, mean, _, rstd = kernels.batch_norm(x)
    assert y.shape == shape
    assert np.isnan(mean).all()
    dx, dweight, dbias = kernels.batch_norm_backward(x, x, mean, rstd)
    assert dx.shape == shape
    assert not dweight.any()
    assert not dbias.any()
    assert kernels.group_norm(x, 1)[0].shape == shape
    y, mean, rstd = kernels.layer_norm(x)
    assert [a.shape for a in kernels.layer_norm_backward(x, x, mean, rstd)] == [shape, shape[-1:], shape[-1:]]


X = np.zeros((4, 6), np.float32)
V = np.zeros(6, np.float32)
S = np.zeros(4, np.float32)
BAD = [
    (lambda: kernels.batch_norm(V), ValueError, r"x is \(6,\); expected \(N, C"),
    (lambda: kernels.batch_norm([[1.0]]), TypeError, "NumPy array"),
    (lambda: kernels.batch_norm(X, V[:5]), ValueError, r"weight is \(5,\); expected \(6,\)"),
    (lambda: kernels.batch_norm(X, V, V.astype(float)), TypeError, "bias is float64"),
    (lambda: kernels.batch_norm(X, mean=V), TypeError, "only one of mean and var"),
    (lambda: kernels.batch_norm(X, mean=V, var=S), ValueError, "var is"),
    (lambda: kernels.batch_norm(X, eps=-1.0), ValueError, "eps is -1.0"),
    (lambda: kernels.batch_norm(X, eps=float("nan")), ValueError, "eps is nan"),
    (lambda: kernels.batch_norm_backward(X[:3], X, V, V), ValueError, r"dy is \(3, 6\); expected \(4, 6\)"),
    (lambda: kernels.batch_norm_backward(X, X, S, V), ValueError, "mean is"),
    (lambda: kernels.batch_norm_backward(X, X, V, None), TypeError, "rstd is None"),
    (lambda: kernels.group_norm(X, 4), ValueError, "groups is 4"),
    (lambda: kernels.group_norm(X, 0), ValueError, "groups is 0"),
    (lambda: kernels.group_norm(X, -1), ValueError, "groups is -1"),
    (lambda: kernels.group_norm(X, 2**70), TypeError, "incompatible"),
    (lambda: kernels.group_norm_backward(X, X, V, V, 2), ValueError, r"mean is \(6,\); expected \(4, 2\)"),
    (lambda: kernels.layer_norm(np.float32(1)), TypeError, "NumPy array"),
    (lambda: kernels.layer_norm(np.zeros((), np.float32)), ValueError, "no dimensions"),
    (lambda: kernels.layer_norm(X, V, V[:1]), ValueError, "bias is"),
    (lambda: kernels.layer_norm(X, residual=X[:1]), ValueError, "residual is"),
    (lambda: kernels.layer_norm_backward(X, X, S, V), ValueError, "rstd is"),
    (lambda: kernels.layer_norm_backward(X, X, S, S, dsum=X[0]), ValueError, "dsum is"),
    (lambda: kernels.rms_norm_backward(V, X, S), ValueError, "dy is"),
]


@pytest.mark.parametrize("case", range(len(BAD)))
def test_refused(case):
    call, error, text = BAD[case]
    with pytest.raises(error, match=text):
        call()


def test_numbers_of_other_types_are_named():
    x = np.ones((2, 4), np.float32)
    for call, text in (
        (lambda: kernels.group_norm(x, 1.5), "group_norm: groups must be an integer, got float"),
        (lambda: kernels.batch_norm(x, eps="a"), "batch_norm: eps must be a number, got str"),
        (lambda: kernels.layer_norm(x, eps=None), "layer_norm: eps must be a number, got NoneType"),
        (lambda: kernels.rms_norm(x, eps="a"), "rms_norm: eps must be a number, got str"),
        (lambda: kernels.resize(x[None, None], 3, 3), "resize: mode must be a text, got int"),
        (lambda: kernels.attention(*[x[None, None]] * 3, scale="x"), "attention: scale is 'x'; expected a number"),
    ):
        with pytest.raises(TypeError, match=text):
            call()
