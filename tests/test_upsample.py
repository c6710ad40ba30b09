"""interpolate, pad, pixel_shuffle and their layers."""

import numpy as np
import pytest

import fastnn as fnn
from fastnn import kernels, nn
from fastnn.nn import functional as F

RNG = np.random.default_rng(4)


def normal(*shape):
    return fnn.tensor(RNG.standard_normal(shape))


# ----- interpolate -----


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bilinear", "bilinear corners", "area"])
@pytest.mark.parametrize("size", [(9, 4), (3, 7), (1, 1), (2, 10)])
def test_images(mode, size):
    mode, corners = mode.split()[0], True if "corners" in mode else None
    x = normal(2, 3, 5, 4)
    y = F.interpolate(x, size, mode=mode, align_corners=corners)
    want = kernels.adaptive_avg_pool2d(x.data, size) if mode == "area" else None
    want = kernels.resize(x.data, size, mode, bool(corners)) if want is None else want
    np.testing.assert_array_equal(y.data, want)
    assert fnn.gradcheck(lambda x: F.interpolate(x, size, mode=mode, align_corners=corners) ** 2, x, order=2)


@pytest.mark.parametrize("mode", ["nearest", "linear", "area"])
def test_sequences(mode):
    x = normal(2, 3, 5)
    y = F.interpolate(x, 8, mode=mode)
    wide = F.interpolate(x.unsqueeze(2), (1, 8), mode="bilinear" if mode == "linear" else mode)
    np.testing.assert_array_equal(y.data, wide.squeeze(2).data)
    assert fnn.gradcheck(lambda x: F.interpolate(x, scale_factor=1.7, mode=mode) ** 2, x, order=2)


def test_scale_factors():
    x = fnn.arange(5).float().reshape(1, 1, 5)
    assert F.interpolate(x, scale_factor=2).tolist() == [[[0, 0, 1, 1, 2, 2, 3, 3, 4, 4]]]
    assert F.interpolate(x, scale_factor=0.5).tolist() == [[[0, 2]]]
    # 7 pixels of 5 * 1.5 = 7.5: positions go by 1 / 1.5 unless the factor is computed again.
    assert F.interpolate(x, scale_factor=1.5).tolist() == [[[0, 0, 1, 2, 2, 3, 4]]]
    assert F.interpolate(x, scale_factor=1.5, recompute_scale_factor=True).tolist() == [[[0, 0, 1, 2, 2, 3, 4]]]
    by_factor = F.interpolate(x, scale_factor=1.5, mode="linear").data
    np.testing.assert_allclose(by_factor[0, 0, :3], [0, 0.5, 7 / 6], atol=1e-6)
    again = F.interpolate(x, scale_factor=1.5, mode="linear", recompute_scale_factor=True)
    np.testing.assert_array_equal(again.data, F.interpolate(x, 7, mode="linear").data)
    assert F.interpolate(fnn.zeros(1, 1, 4, 6), scale_factor=(2, 0.5)).shape == (1, 1, 8, 3)


@pytest.mark.parametrize(("size", "factor"), [(7, 1.02), (3, 2.2), (7, 2.1)])
def test_the_nearest_pixels_of_a_size_that_stays_or_doubles(size, factor):
    want = np.repeat(np.arange(size), int(factor))
    for shape, factors in (((size, 1), (factor, 1)), ((1, size), (1, factor))):
        images = fnn.arange(size).reshape(1, 1, *shape)
        assert F.interpolate(images, scale_factor=factors).data.ravel().tolist() == want.tolist()
    frames = F.interpolate(fnn.arange(size).reshape(1, 1, size), scale_factor=factor)  # PyTorch's are by the factor
    assert frames.data.ravel().tolist() == [int(i / factor) for i in range(len(want))]


def test_float32_positions():
    """A whole number of pixels apart in float32 as in float64."""
    x = fnn.arange(30).float().reshape(1, 1, 1, 30)
    for size in range(1, 120):
        y = F.interpolate(x, (1, size), mode="bilinear", align_corners=True).data
        np.testing.assert_allclose(y[0, 0, 0], np.linspace(0, 29, size) if size > 1 else [0], atol=1e-5)


# ----- pad -----

MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("sizes", [(1, 2), (2, 0, 1, 3), (0, 0, 2, 2), (3, 3, 0, 1, 1, 0)])
@pytest.mark.parametrize("order", ["C", "last", "F"])
def test_pad(mode, sizes, order):
    x = RNG.standard_normal((2, 3, 4, 5))
    if order != "C":
        x = np.asfortranarray(x) if order == "F" else np.moveaxis(np.moveaxis(x, 1, -1).copy(), -1, 1)
    x = fnn.from_numpy(x)
    pairs = [(0, 0)] * (4 - len(sizes) // 2) + [sizes[i : i + 2] for i in range(len(sizes) - 2, -1, -2)]
    y = F.pad(x, sizes, mode)
    np.testing.assert_array_equal(y.data, np.pad(x.data, pairs, MODES[mode]))
    if order != "F":
        assert np.argmin(y.data.strides) == np.argmin(x.data.strides)
    assert fnn.gradcheck(lambda x: F.pad(x, sizes, mode) ** 2, x, order=2)


def test_pad_values_and_cuts():
    x = fnn.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    assert F.pad(x, (-1, 1), value=7.0).tolist() == [[2, 3, 7], [5, 6, 7]]
    assert F.pad(x, (0, -2, -1, 0)).tolist() == [[4]]
    assert F.pad(x, (-3, 0)).shape == (2, 0)
    assert F.pad(x, (4, -5), value=1.0).tolist() == [[1, 1], [1, 1]]
    assert F.pad(fnn.tensor([1, 2]), (1, 1), "circular").tolist() == [2, 1, 2, 1]
    assert F.pad(fnn.tensor([True]), (1, 0)).tolist() == [False, True]
    assert F.pad(x, ()).tolist() == x.tolist()
    assert fnn.gradcheck(lambda x: F.pad(x, (-1, 2, 1, -1), value=3.0) ** 2, x.double(), order=2)


# ----- pixel shuffle -----


@pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
def test_pixel_shuffle(lead):
    x = normal(*lead, 12, 3, 5)
    y = F.pixel_shuffle(x, 2)
    assert y.shape == (*lead, 3, 6, 10)
    for c, i, j in np.ndindex(3, 2, 2):
        np.testing.assert_array_equal(y.data[..., c, i::2, j::2], x.data[..., 4 * c + 2 * i + j, :, :])
    np.testing.assert_array_equal(F.pixel_unshuffle(y, 2).data, x.data)
    assert y.data.strides[-3] == 8
    assert fnn.gradcheck(lambda x: F.pixel_shuffle(x, 2) ** 2, x, order=2)
    assert fnn.gradcheck(lambda x: F.pixel_unshuffle(x, 3) ** 2, normal(*lead, 2, 3, 6), order=2)


# ----- layers -----

LAYERS = [
    (nn.Upsample(scale_factor=2), lambda x: F.interpolate(x, scale_factor=2)),
    (nn.Upsample(7, mode="bilinear", align_corners=True), lambda x: F.interpolate(x, 7, None, "bilinear", True)),
    (nn.ZeroPad2d(1), lambda x: F.pad(x, (1, 1, 1, 1))),
    (nn.ZeroPad1d((1, -1)), lambda x: F.pad(x, (1, -1))),
    (nn.ConstantPad2d((1, 0, -1, 2), 5.0), lambda x: F.pad(x, (1, 0, -1, 2), value=5.0)),
    (nn.ConstantPad1d(2, 5.0), lambda x: F.pad(x, (2, 2), value=5.0)),
    (nn.ReflectionPad2d((1, 2, 3, 0)), lambda x: F.pad(x, (1, 2, 3, 0), "reflect")),
    (nn.ReflectionPad1d(1), lambda x: F.pad(x, (1, 1), "reflect")),
    (nn.ReplicationPad2d(4), lambda x: F.pad(x, (4, 4, 4, 4), "replicate")),
    (nn.ReplicationPad1d(4), lambda x: F.pad(x, (4, 4), "replicate")),
    (nn.PixelShuffle(2), lambda x: F.pixel_shuffle(x, 2)),
    (nn.PixelUnshuffle(2), lambda x: F.pixel_unshuffle(x, 2)),
]


@pytest.mark.parametrize("case", range(len(LAYERS)))
def test_layers(case):
    layer, function = LAYERS[case]
    x = normal(2, 4, 6, 4)
    np.testing.assert_array_equal(layer(x).data, function(x).data)
    assert type(layer).__name__ in repr(layer)


X = fnn.zeros(1, 4, 3, 5)
REFUSED = [
    (lambda: F.interpolate(X), "either"),
    (lambda: F.interpolate(X, 2, 2.0), "either"),
    (lambda: F.interpolate(X, 0), "size"),
    (lambda: F.interpolate(X, (1, 2, 3)), "size"),
    (lambda: F.interpolate(X, 2**31), "size"),
    (lambda: F.interpolate(X, scale_factor=0.1), "scale_factor"),
    (lambda: F.interpolate(X, scale_factor=-1.0), "scale_factor"),
    (lambda: F.interpolate(X, scale_factor=float("nan")), "scale_factor"),
    (lambda: F.interpolate(X, scale_factor=float("inf")), "scale_factor"),
    (lambda: F.interpolate(X, scale_factor=(1, 2, 3)), "scale_factor"),
    (lambda: F.interpolate(X, 2, mode="linear"), "mode"),
    (lambda: F.interpolate(X[0], 2, mode="bilinear"), "mode"),
    (lambda: F.interpolate(X, 2, mode="bicubic"), "mode"),
    (lambda: F.interpolate(X, 2, align_corners=True), "align_corners"),
    (lambda: F.interpolate(X[0, 0], 2), "expected"),
    (lambda: F.interpolate(X[:, :, :0], 2), "pixel"),
    (lambda: F.pad(X, (1,)), "before"),
    (lambda: F.pad(X, (1,) * 10), "before"),
    (lambda: F.pad(X, (-6, 0)), "take away"),
    (lambda: F.pad(X, (2**63, 0)), "before"),
    (lambda: F.pad(X, (5, 0), "reflect"), "reflect"),
    (lambda: F.pad(X, (-1, 0), "replicate"), "replicate"),
    (lambda: F.pad(X, (0, 6), "circular"), "circular"),
    (lambda: F.pad(X[..., :0], (1, 0), "replicate"), "replicate"),
    (lambda: F.pad(X, (1, 1), "mirror"), "mode"),
    (lambda: F.pad(X, (1, 1), "reflect", 3.0), "value"),
    (lambda: F.pixel_shuffle(X, 3), "multiple"),
    (lambda: F.pixel_shuffle(X, 0), "factor"),
    (lambda: F.pixel_shuffle(X[0, 0], 2), "expected"),
    (lambda: F.pixel_unshuffle(X, 2), "multiples"),
    (lambda: nn.Upsample(), "either"),
    (lambda: nn.ZeroPad2d((1, 2)), "padding"),
]


@pytest.mark.parametrize("case", range(len(REFUSED)))
def test_refused(case):
    wrong, words = REFUSED[case]
    with pytest.raises(ValueError, match=words):
        wrong()


def test_refused_for_other_reasons():
    with pytest.raises(MemoryError):
        F.interpolate(X, 2**31 - 1)
    with pytest.raises(MemoryError):
        F.pad(X, (1 << 40, 1 << 40))
    for wrong in (lambda: F.pad(X, 1.0), lambda: F.pad(X, (1, 1), value="1"), lambda: nn.ZeroPad2d(1.0)):
        with pytest.raises(TypeError):
            wrong()
