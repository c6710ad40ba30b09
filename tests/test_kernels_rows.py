"""Reductions, softmax and its relatives, cross-entropy: against float64 NumPy and the reference row."""

import numpy as np
import pytest

from fastnn import kernels

LONG = np.longdouble
COLS = [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 35, 64, 67, 100, 1000]
REDUCTIONS = {
    "sum": lambda x, axis: x.sum(axis),
    "sum_squares": lambda x, axis: (x * x).sum(axis),
    "max": lambda x, axis: x.max(axis, initial=-np.inf),
    "min": lambda x, axis: x.min(axis, initial=np.inf),
    "prod": lambda x, axis: x.prod(axis),
}


@pytest.fixture(params=[np.float32, np.float64], ids=["f32", "f64"])
def dtype(request):
    return request.param


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def log_softmax(x):
    top = x.max(-1, keepdims=True)
    return x - top - np.log(np.exp(x - top).sum(-1, keepdims=True))


# ---- reductions


def reduction_bound(name, x, axis, want):
    """What the sum of so many roundings may come to."""
    if name in ("max", "min"):
        return 0
    n = x.size if axis is None else x.shape[axis]
    size = abs(x).astype(LONG) ** (1 + (name == "sum_squares"))
    scale = np.abs(want) if name == "prod" else size.sum(axis)
    return (n + 2) * np.finfo(x.dtype).eps * scale + np.finfo(x.dtype).smallest_subnormal


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("shape", [(3, 5, 7), (1, 17, 1), (2, 33, 16), (16, 3, 35), (40, 1, 100), (0, 3, 4), (3, 0, 4)])
def test_reductions(isa, name, shape, dtype):
    signs = np.random.default_rng(1).choice([-1, 1], shape)
    x = (np.random.default_rng(0).uniform(0.5, 1.5, shape) * signs).astype(dtype)
    for axis in (None, 0, 1, 2, -1):
        got = getattr(kernels, name)(x, axis)
        want = REDUCTIONS[name](x.astype(LONG), axis)
        assert got.shape == want.shape
        assert got.dtype == dtype
        bound = reduction_bound(name, x, axis, want)
        with np.errstate(invalid="ignore"):
            assert np.all((abs(got - want) <= bound) | (got == want)), f"axis {axis}"


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 32767, 65535, 65536, 65537, 100_000, 98304])
def test_long_sums(isa, size, dtype):
    """Long sums are split in parts of 2 ** 15: exact on integers, and near float64 otherwise."""
    x = np.random.default_rng(2).integers(-3, 4, size).astype(dtype)
    assert kernels.sum(x) == x.sum(dtype=np.int64)
    assert kernels.sum_squares(x) == (x * x).sum(dtype=np.float64)
    assert kernels.max(x) == x.max(initial=-np.inf)
    assert kernels.min(np.stack([x, x + 1]), 1).tolist() == [x.min(initial=np.inf), x.min(initial=np.inf) + 1]
    y = np.random.default_rng(3).normal(size=size).astype(dtype)
    exact, most = y.sum(dtype=LONG), abs(y).sum(dtype=LONG)
    assert abs(kernels.sum(y) - exact) <= 50 * np.finfo(dtype).eps * most


def test_scale_and_views(isa, dtype):
    x = np.random.default_rng(4).normal(size=(6, 10, 4)).astype(dtype)
    np.testing.assert_allclose(kernels.sum(x, 1, scale=0.1), x.mean(1), rtol=1e-5, atol=1e-6)
    for view in (x.T, x[::-1, ::2], x[:, 3:4], np.asfortranarray(x), np.broadcast_to(x[:, :1], x.shape)):
        np.testing.assert_allclose(kernels.sum(view, 1), view.sum(1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("n", [1, 5, 16, 33, 100])
def test_nan_is_never_lost(isa, name, n, dtype):
    for at in {0, n // 2, n - 1}:
        for axis in (0, 1):
            x = np.ones((n, 20) if axis == 0 else (20, n), dtype)
            x[(at, 3) if axis == 0 else (3, at)] = np.nan
            got = getattr(kernels, name)(x, axis)
            assert np.isnan(got[3])
            assert not np.isnan(np.delete(got, 3)).any()
            assert np.isnan(getattr(kernels, name)(x))


def test_nothing_to_reduce_gives_the_neutral_element(isa, dtype):
    x = np.ones((2, 0), dtype)
    for name, want in {"sum": 0, "sum_squares": 0, "max": -np.inf, "min": np.inf, "prod": 1}.items():
        np.testing.assert_array_equal(getattr(kernels, name)(x, 1), [want, want])
        assert getattr(kernels, name)(x) == want
        assert getattr(kernels, name)(x, 0).shape == (0,)


# ---- softmax


@pytest.mark.parametrize("cols", COLS)
def test_softmax(isa, cols, dtype):
    rng = np.random.default_rng(cols)
    x, dy = rng.normal(0, 4, (5, cols)).astype(dtype), rng.normal(size=(5, cols)).astype(dtype)
    eps = np.finfo(dtype).eps
    y, log_y = kernels.softmax(x), kernels.log_softmax(x)
    np.testing.assert_allclose(y, softmax(x.astype(LONG)).astype(dtype), rtol=(8 + cols / 4) * eps)
    np.testing.assert_allclose(
        log_y, log_softmax(x.astype(LONG)).astype(dtype), rtol=8 * eps, atol=(32 + cols / 4) * eps
    )
    y_long, log_long, dy_long = y.astype(LONG), log_y.astype(LONG), dy.astype(LONG)
    dx = y_long * (dy_long - (dy_long * y_long).sum(-1, keepdims=True))
    np.testing.assert_allclose(kernels.softmax_backward(dy, y), dx.astype(dtype), rtol=1e-3, atol=8 * eps)
    dx = dy_long - np.exp(log_long) * dy_long.sum(-1, keepdims=True)
    atol = 8 * eps * (1 + abs(dy).sum(-1).max())
    np.testing.assert_allclose(kernels.log_softmax_backward(dy, log_y), dx.astype(dtype), rtol=8 * eps, atol=atol)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_extreme_rows(isa, name, dtype):
    inf, nan = np.inf, np.nan
    x = np.array(
        [[1e4, 0, -1e4], [-inf, 0, 1], [-inf, -inf, 5], [-inf, -inf, -inf], [nan, 1, 2], [inf, 0, 0], [-1e4] * 3], dtype
    )
    x = np.concatenate([x, x[:, :1].repeat(20, 1)], 1)
    with np.errstate(all="ignore"):
        want = {"softmax": softmax, "log_softmax": log_softmax}[name](x.astype(LONG)).astype(dtype)
    np.testing.assert_allclose(getattr(kernels, name)(x), want, rtol=1e-5)


def test_rows_of_any_shape(isa, dtype):
    x = np.random.default_rng(5).normal(size=(2, 3, 4, 9)).astype(dtype)
    want = softmax(x)
    np.testing.assert_allclose(kernels.softmax(x), want, rtol=1e-5)
    np.testing.assert_allclose(kernels.softmax(x[1, 2, 3]), want[1, 2, 3], rtol=1e-5)
    np.testing.assert_allclose(kernels.softmax(x[::-1, :, ::2]), want[::-1, :, ::2], rtol=1e-5)
    assert kernels.softmax(x[:, :0]).shape == (2, 0, 4, 9)
    assert kernels.softmax(x[..., :0]).shape == (2, 3, 4, 0)
    np.testing.assert_allclose(kernels.softmax(x, out=x), want, rtol=1e-5)
    np.testing.assert_allclose(x, want, rtol=1e-5)
    y = x.copy()
    kernels.softmax_backward(y, x, out=y)
    np.testing.assert_allclose(y, kernels.softmax_backward(x, x), rtol=1e-6)


# ---- cross-entropy


def cross_entropy(x, target, weight, ignore_index, smoothing):
    """Loss (rows) and the gradient of its sum (rows, cols), in long double."""
    logp = log_softmax(x.astype(LONG))
    rows, cols = x.shape
    w = np.ones(cols, LONG) if weight is None else weight.astype(LONG)
    seen = target != ignore_index
    t = np.where(seen, target, 0)
    wanted = np.zeros((rows, cols), LONG)
    wanted[np.arange(rows), t] = (1 - smoothing) * w[t]
    wanted += smoothing / cols * w
    wanted[~seen] = 0
    loss = -np.where(wanted > 0, wanted * logp, 0).sum(-1)
    return loss, np.exp(logp) * wanted.sum(-1, keepdims=True) - wanted


@pytest.mark.parametrize("cols", [1, 2, 10, 16, 17, 33, 100, 1000])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy(isa, cols, smoothing, weighted, dtype):
    rng = np.random.default_rng(cols)
    x, target = rng.normal(0, 3, (13, cols)).astype(dtype), rng.integers(0, cols, 13)
    target[[2, 7]] = -100
    weight = rng.uniform(0.5, 2, cols).astype(dtype) if weighted else None
    want, gradient = cross_entropy(x, target, weight, -100, smoothing)
    options = {"label_smoothing": smoothing}
    loss, lse = kernels.cross_entropy(x, target, weight, **options)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(loss, want.astype(dtype), rtol=32 * eps, atol=(64 + cols / 8) * eps)
    assert loss[2] == loss[7] == 0
    dloss = rng.normal(size=13).astype(dtype)
    for d in (dloss, dloss[:1], dloss[0].reshape(())):
        dx = kernels.cross_entropy_backward(np.asarray(d), lse, x, target, weight, **options)
        wanted = gradient * np.broadcast_to(d, 13).astype(LONG)[:, None]
        np.testing.assert_allclose(dx, wanted.astype(dtype), rtol=1e-4, atol=64 * eps)
        assert not dx[[2, 7]].any()


@pytest.mark.parametrize("type_", [np.int8, np.int32, np.uint8, np.int64, ">i4"])
def test_targets_of_any_integer_type(isa, type_):
    x = np.random.default_rng(6).normal(size=(4, 5)).astype(np.float32)
    target = np.array([4, 0, 2, 3])
    np.testing.assert_array_equal(
        kernels.cross_entropy(x, target.astype(type_))[0], kernels.cross_entropy(x, target)[0]
    )


def test_masked_classes(isa, dtype):
    """A class of -inf costs nothing unless it is the target."""
    x = np.array([[0, -np.inf, 0], [0, 0, -np.inf]], dtype)
    loss, lse = kernels.cross_entropy(x, np.array([0, 2]))
    np.testing.assert_allclose(loss, [np.log(2), np.inf], rtol=1e-6)
    dx = kernels.cross_entropy_backward(np.ones(2, dtype), lse, x, np.array([0, 2]))
    np.testing.assert_allclose(dx, [[-0.5, 0, 0.5], [0.5, 0.5, -1]], rtol=1e-6)


def test_ignore_index_may_be_a_class(isa, dtype):
    x = np.zeros((3, 4), dtype)
    loss, _ = kernels.cross_entropy(x, np.array([0, 1, 2]), ignore_index=1)
    np.testing.assert_allclose(loss, [np.log(4), 0, np.log(4)], rtol=1e-6)


def test_errors():
    x, target = np.zeros((3, 4), np.float32), np.array([0, 1, 2])
    for wrong in (
        lambda: kernels.cross_entropy(x, np.array([0, 1, 4])),
        lambda: kernels.cross_entropy(x, np.array([0, -1, 2])),
        lambda: kernels.cross_entropy(x, np.array([0, 1, 2**64 - 1], np.uint64)),
        lambda: kernels.cross_entropy(x, target[:2]),
        lambda: kernels.cross_entropy(x, target[:, None]),
        lambda: kernels.cross_entropy(x[0], target),
        lambda: kernels.cross_entropy(x, target, np.ones(3, np.float32)),
        lambda: kernels.cross_entropy(x, target, label_smoothing=1.5),
        lambda: kernels.cross_entropy(x, target, label_smoothing=np.nan),
        lambda: kernels.cross_entropy(x[:, :0], target),
        lambda: kernels.cross_entropy_backward(x[:2, 0], x[:, 0], x, target),
        lambda: kernels.cross_entropy_backward(x[:, 0], x[:2, 0], x, target),
        lambda: kernels.softmax(np.zeros((), np.float32)),
        lambda: kernels.softmax_backward(x, x[:2]),
        lambda: kernels.softmax(x, out=x.T),
        lambda: kernels.softmax(x, out=x[:, :3]),
        lambda: kernels.sum(x, 2),
        lambda: kernels.sum(x, -3),
        lambda: kernels.max(x, 2**100),
        lambda: kernels.sum(np.zeros((), np.float32), 0),
    ):
        with pytest.raises(ValueError, match=r"^\w+: |cannot fit"):
            wrong()
    for wrong in (
        lambda: kernels.cross_entropy(x, target.astype(np.float32)),
        lambda: kernels.cross_entropy(x, target == 1),
        lambda: kernels.cross_entropy(x, [0, 1, 2]),
        lambda: kernels.cross_entropy(x, target, np.ones(4)),
        lambda: kernels.cross_entropy(x.astype(int), target),
        lambda: kernels.sum(x, 1.5),
        lambda: kernels.sum(x, "1"),
        lambda: kernels.softmax([1.0, 2.0]),
    ):
        with pytest.raises(TypeError):
            wrong()
