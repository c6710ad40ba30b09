"""Pooling and resampling kernels: every row against NumPy loops, whole numbers without tolerance."""

import itertools

import numpy as np
import pytest

from fastnn import kernels
from fastnn.kernels import adaptive_avg_pool2d, adaptive_max_pool2d, avg_pool2d, max_pool2d, resize

CHANNELS = [1, 3, 4, 7, 8, 9, 12, 17, 33]
# kernel, stride, padding, dilation, ceil_mode
WINDOWS = [
    (2, 2, 0, 1, False),
    (3, 2, 1, 1, False),
    (3, 1, 1, 1, True),
    (2, 3, 1, 1, True),
    (3, 3, 0, 1, True),
    ((1, 4), (2, 3), (0, 2), 1, False),
    ((3, 2), (1, 2), (1, 0), (2, 3), False),
    ((5, 2), (3, 1), (2, 1), 1, True),
    ((2, 5), (7, 9), 0, (3, 1), False),
    ((4, 7), (4, 7), 0, 1, False),
]


@pytest.fixture(params=[np.float32, np.float64], ids=["f32", "f64"])
def dtype(request):
    return request.param


def pair(n):
    return n if isinstance(n, tuple) else (n, n)


def starts(size, kernel, stride, padding, dilation, ceil_mode):
    """The pixels of every window along an axis, those beside the image left out, and the places of its taps."""
    reach = size + 2 * padding - dilation * (kernel - 1) - 1
    out = -(-reach // stride) + 1 if ceil_mode else reach // stride + 1
    if ceil_mode and (out - 1) * stride >= size + padding:
        out -= 1
    places = [[q * stride - padding + t * dilation for t in range(kernel)] for q in range(out)]
    return [[(t, p) for t, p in enumerate(window) if 0 <= p < size] for window in places], places


def windows(x, kernel, stride, padding, dilation, ceil_mode):
    """For every window of every image and channel: its values and the numbers of their taps."""
    axes = zip(x.shape[2:], *map(pair, (kernel, stride, padding, dilation)))
    (rows, _), (cols, _) = (starts(*axis, ceil_mode) for axis in axes)
    width = pair(kernel)[1]
    for (r, row), (q, col) in itertools.product(enumerate(rows), enumerate(cols)):
        values = np.stack([x[:, :, i, j] for _, i in row for _, j in col], -1)
        yield r, q, values, [s * width + t for s, _ in row for t, _ in col], [(i, j) for _, i in row for _, j in col]


def images(rng, shape, dtype, how):
    x = rng.integers(-3, 4, shape).astype(dtype) if how == "whole" else rng.standard_normal(shape).astype(dtype)
    if how == "nan":
        x[rng.random(shape) < 0.2] = np.nan
        x[rng.random(shape) < 0.2] = -np.inf
    return x


def last_is_channels(a):
    return a.strides[1] == a.itemsize


@pytest.mark.parametrize("geometry", WINDOWS, ids=str)
@pytest.mark.parametrize("how", ["whole", "normal", "nan"])
def test_max_pool(isa, geometry, how, dtype, rng):
    for channels in CHANNELS if how == "whole" else (5, 16):
        x = images(rng, (1, channels, 9, 7), dtype, how)
        y, taps = max_pool2d(x, *geometry)
        dy = rng.integers(-3, 4, y.shape).astype(dtype)
        dx = np.zeros_like(x)
        for r, q, values, numbers, pixels in windows(x, *geometry):
            first = np.where(np.isnan(values).any(-1), -1, np.argmax(np.nan_to_num(values, nan=-np.inf), -1))
            last_nan = values.shape[-1] - 1 - np.argmax(np.isnan(values)[..., ::-1], -1)
            at = np.where(first < 0, last_nan, first)
            np.testing.assert_array_equal(y[:, :, r, q], np.take_along_axis(values, at[..., None], -1)[..., 0])
            np.testing.assert_array_equal(taps[:, :, r, q], np.array(numbers)[at])
            for n, (i, j) in enumerate(pixels):
                dx[:, :, i, j] += np.where(at == n, dy[:, :, r, q], 0)
        assert last_is_channels(y)
        np.testing.assert_array_equal(kernels.max_pool2d_backward(dy, taps, x.shape[2:], *geometry), dx)
        np.testing.assert_array_equal(kernels.max_pool2d_pick(x, taps, *geometry), y)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("kernel", [2, (1, 3)], ids=str)
def test_rows_longer_than_what_is_walked_at_once(isa, channels, kernel, dtype, rng):
    """Few channels of touching windows are dealt out some hundreds of windows at a time; the last window may be cut."""
    high, wide = pair(kernel)
    x = images(rng, (2, channels, high, wide * 700), dtype, "whole")
    y, taps = max_pool2d(x, kernel, ceil_mode=True)
    parts = x.reshape(2, channels, high, 700, wide).transpose(0, 1, 3, 2, 4).reshape(2, channels, 1, 700, high * wide)
    np.testing.assert_array_equal(y, parts.max(-1))
    np.testing.assert_array_equal(taps, parts.argmax(-1))
    dy = rng.integers(-3, 4, y.shape).astype(dtype)
    dx = np.zeros_like(parts)
    np.put_along_axis(dx, parts.argmax(-1)[..., None], dy[..., None], -1)
    dx = dx.reshape(2, channels, 700, high, wide).transpose(0, 1, 3, 2, 4).reshape(x.shape)
    got = kernels.max_pool2d_backward(dy, taps, x.shape[2:], kernel, ceil_mode=True)
    np.testing.assert_array_equal(got, dx)


@pytest.mark.parametrize("geometry", [g for g in WINDOWS if g[3] == 1], ids=str)
@pytest.mark.parametrize("options", [(True, None), (False, None), (True, -3)], ids=str)
def test_avg_pool(isa, geometry, options, dtype, rng):
    include, override = options
    kernel, stride, padding, _, ceil_mode = geometry
    for channels in CHANNELS[::2]:
        x = images(rng, (1, channels, 9, 7), dtype, "whole")
        y = avg_pool2d(x, kernel, stride, padding, ceil_mode, include, override)
        dy = rng.integers(-3, 4, y.shape).astype(dtype)
        dx = np.zeros(x.shape)
        for r, q, values, _, pixels in windows(x, *geometry):
            divisor = override or values.shape[-1]
            if include and not override:
                places = zip(pair(kernel), pair(stride), pair(padding), x.shape[2:], (r, q))
                divisor = np.prod([min(k, size + 2 * p - at * s) for k, s, p, size, at in places])
            np.testing.assert_allclose(y[:, :, r, q], values.sum(-1) / divisor, rtol=2 * np.finfo(dtype).eps)
            for i, j in pixels:
                dx[:, :, i, j] += dy[:, :, r, q] / divisor
        got = kernels.avg_pool2d_backward(dy, x.shape[2:], kernel, stride, padding, ceil_mode, include, override)
        np.testing.assert_allclose(got, dx, rtol=1e-5, atol=30 * np.finfo(dtype).eps)
        assert last_is_channels(y)


def adaptive(size, out):
    return [range(q * size // out, -(-(q + 1) * size // out)) for q in range(out)]


@pytest.mark.parametrize("out", [(1, 1), (3, 7), (2, 3), (9, 1), (11, 10)], ids=str)
def test_adaptive_pools(isa, out, dtype, rng):
    for channels in CHANNELS[::2]:
        x = images(rng, (1, channels, 9, 7), dtype, "whole")
        y, (top, taps) = adaptive_avg_pool2d(x, out), adaptive_max_pool2d(x, out)
        dy = rng.integers(-3, 4, y.shape).astype(dtype)
        mean_dx, max_dx = np.zeros(x.shape), np.zeros(x.shape)
        for (r, rows), (q, cols) in itertools.product(enumerate(adaptive(9, out[0])), enumerate(adaptive(7, out[1]))):
            values = x[:, :, rows.start : rows.stop, cols.start : cols.stop].reshape(1, channels, -1)
            np.testing.assert_allclose(y[:, :, r, q], values.mean(-1), rtol=1e-6, atol=1e-6)
            np.testing.assert_array_equal(top[:, :, r, q], values.max(-1))
            mean_dx[:, :, rows.start : rows.stop, cols.start : cols.stop] += (dy[:, :, r, q] / len(rows) / len(cols))[
                ..., None, None
            ]
            at = np.argmax(values, -1)
            for n, (i, j) in enumerate(itertools.product(rows, cols)):
                max_dx[:, :, i, j] += np.where(at == n, dy[:, :, r, q], 0)
        np.testing.assert_allclose(kernels.adaptive_avg_pool2d_backward(dy, (9, 7)), mean_dx, atol=1e-5)
        np.testing.assert_array_equal(kernels.adaptive_max_pool2d_backward(dy, taps, (9, 7)), max_dx)


def test_a_mean_of_many_pixels(isa, rng):
    """Rows are summed first: the error of 150 x 150 pixels stays near that of 150."""
    x = rng.uniform(0.5, 1.5, (1, 40, 150, 150)).astype(np.float32)
    want = x.astype(np.float64).mean((2, 3))
    np.testing.assert_allclose(adaptive_avg_pool2d(x, 1)[:, :, 0, 0], want, rtol=2e-6)


def test_many_taps(isa, dtype, rng):
    """More than 256 taps have numbers of 32 bits."""
    for channels in (1, 5, 16, 19):
        x = images(rng, (1, channels, 20, 34), dtype, "normal")
        y, taps = max_pool2d(x, (16, 17), padding=(2, 0))
        assert taps.dtype == np.int32
        assert y.shape == taps.shape == (1, channels, 1, 2)
        for q in (0, 1):
            flat = x[:, :, :14, 17 * q : 17 * (q + 1)].reshape(1, channels, -1)
            np.testing.assert_array_equal(taps[:, :, 0, q], flat.argmax(-1) + 2 * 17)
        dx = kernels.max_pool2d_backward(np.ones_like(y), taps, (20, 34), (16, 17), padding=(2, 0))
        assert dx.sum() == 2 * channels
        np.testing.assert_array_equal(kernels.max_pool2d_pick(dx, taps, (16, 17), padding=(2, 0)), np.ones_like(y))


def sources(size, out, mode, corners):
    """How much of each pixel every output takes: (out, size)."""
    m = np.zeros((out, size))
    for q in range(out):
        at = q * size / out if mode == "nearest" else (q + 0.5) * size / out - (0.5 if mode == "bilinear" else 0)
        if mode == "bilinear" and corners:
            at = q * (size - 1) / (out - 1) if out > 1 else 0
        at = max(at, 0)
        i = min(int(at + 1e-12), size - 1)
        part = at - i if mode == "bilinear" else 0
        m[q, i] += 1 - part
        m[q, min(i + 1, size - 1)] += part
    return m


MODES = [("nearest", False), ("nearest-exact", False), ("bilinear", False), ("bilinear", True)]


@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("size", [(18, 14), (3, 4), (9, 7), (1, 1), (20, 3), (10, 25)], ids=str)
def test_resize(isa, mode, size, dtype, rng):
    for channels in CHANNELS[::2]:
        x = rng.standard_normal((2, channels, 9, 7)).astype(dtype)
        y = resize(x, size, *mode)
        rows, cols = sources(9, size[0], *mode), sources(7, size[1], *mode)
        bound = 20 * np.finfo(dtype).eps if mode[0] == "bilinear" else 0
        np.testing.assert_allclose(y, np.einsum("ri,ncij,qj->ncrq", rows, x, cols), atol=bound * 5, rtol=0)
        assert last_is_channels(y)
        dy = rng.standard_normal(y.shape).astype(dtype)
        want = np.einsum("ri,ncrq,qj->ncij", rows, dy.astype(float), cols)
        np.testing.assert_allclose(kernels.resize_backward(dy, (9, 7), *mode), want, atol=400 * np.finfo(dtype).eps)


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_give_the_same_bits(threads, rng):
    x = rng.standard_normal((3, 20, 33, 35)).astype(np.float32)
    runs = []
    before = kernels.get_num_threads()
    for n in (1, threads):
        kernels.set_num_threads(n)
        y, taps = max_pool2d(x, 3, 1, 1)
        runs.append(
            [
                y,
                taps,
                kernels.max_pool2d_backward(y, taps, (33, 35), 3, 1, 1),
                avg_pool2d(x, 3, 1, 1),
                kernels.avg_pool2d_backward(y, (33, 35), 3, 1, 1),
                resize(x, 70),
                kernels.resize_backward(x, (17, 70)),
            ]
        )
    kernels.set_num_threads(before)
    for one, many in zip(*runs):
        np.testing.assert_array_equal(one, many)


def test_any_memory_order(rng):
    x = rng.standard_normal((2, 5, 6, 8))
    last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    for view in (last, x[::-1][::-1], np.asfortranarray(x), x.astype(">f8")):
        np.testing.assert_array_equal(max_pool2d(view, 2)[0], max_pool2d(x, 2)[0])
        np.testing.assert_array_equal(resize(view, 9), resize(x, 9))
    assert max_pool2d(x[:0], 2)[0].shape == (0, 5, 3, 4)
    assert avg_pool2d(x[:, :0], 2).shape == (2, 0, 3, 4)
    assert resize(x[:0], 3).shape == (0, 5, 3, 3)


X = np.zeros((1, 2, 4, 5))
Y, TAPS = np.zeros((1, 2, 2, 2)), np.zeros((1, 2, 2, 2), np.uint8)
REFUSED = [
    lambda: max_pool2d(X, 0),
    lambda: max_pool2d(X, 6),
    lambda: max_pool2d(X, 2, 0),
    lambda: max_pool2d(X, 2, 1, 2),
    lambda: max_pool2d(X, 2, 1, -1),
    lambda: max_pool2d(X, 2, 1, 0, 0),
    lambda: max_pool2d(X, 2, 1, 0, 5),
    lambda: max_pool2d(X[:, :, :2], 2, 1, 1, (3, 1)),  # rows -1 and 2 of two
    lambda: max_pool2d(X, (1, 2, 3)),
    lambda: max_pool2d(X, 2**62),
    lambda: max_pool2d(X, 2**31 - 1, 2**31 - 1, ceil_mode=True),
    lambda: max_pool2d(X[0], 2),
    lambda: max_pool2d(X[:, :, :0], 2),
    lambda: max_pool2d_backward_of(taps=TAPS[:, :, :1]),
    lambda: max_pool2d_backward_of(size=(4, 7)),
    lambda: max_pool2d_backward_of(size=(-1, 2**80)),
    lambda: avg_pool2d(X, 2, divisor_override=0),
    lambda: avg_pool2d(X, 2, divisor_override=2**31),
    lambda: kernels.avg_pool2d_backward(Y, (9, 9), 2),
    lambda: adaptive_avg_pool2d(X, 0),
    lambda: adaptive_avg_pool2d(X[:, :, :0], 1),
    lambda: kernels.adaptive_avg_pool2d_backward(Y, (0, 3)),
    lambda: resize(X, 0),
    lambda: resize(X, 2**31),
    lambda: resize(X[:, :, :, :0], 2),
    lambda: resize(X, 2, "cubic"),
    lambda: kernels.resize_backward(Y, (0, 2)),
]


def max_pool2d_backward_of(taps=TAPS, size=(4, 5)):
    return kernels.max_pool2d_backward(Y, taps, size, 2)


@pytest.mark.parametrize("case", range(len(REFUSED)))
def test_refused(case):
    with pytest.raises(ValueError, match=r"expected|must|window|pixel|taps"):
        REFUSED[case]()


def test_refused_types():
    for wrong in (
        lambda: max_pool2d(X.astype(int), 2),
        lambda: max_pool2d([[1.0]], 2),
        lambda: max_pool2d(X, 2.5),
        lambda: max_pool2d_backward_of(taps=TAPS.astype(np.int32)),
        lambda: resize(X, None),
    ):
        with pytest.raises(TypeError):
            wrong()
    with pytest.raises(MemoryError):
        resize(X, 2**31 - 1)


@pytest.mark.parametrize("value", [255, 4, 100])
def test_taps_that_no_window_has(isa, value):
    """Whatever the numbers are, nothing beside the image is touched."""
    taps = np.full_like(TAPS, value)
    assert not max_pool2d_backward_of(taps=taps).any()
    assert not kernels.max_pool2d_pick(X + 1, taps, 2).any()
