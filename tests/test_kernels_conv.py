"""Convolution kernels against the definition in float64, on every instruction set; whole numbers exactly."""

import itertools

import numpy as np
import pytest

import fastnn as fnn
from fastnn import kernels


def definition(x, w, stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=1):
    """y of x (N, C, H, W) and w (F, C / groups, kh, kw), place by place of the kernel."""
    n = x.shape[0]
    f, cg, kh, kw = w.shape
    x = np.pad(x.astype(np.float64), ((0, 0), (0, 0), *padding))
    oh = (x.shape[2] - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    ow = (x.shape[3] - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    y = np.zeros((n, groups, f // groups, oh, ow))
    for i, j in itertools.product(range(kh), range(kw)):
        part = x[:, :, i * dilation[0] :, j * dilation[1] :][:, :, : (oh - 1) * stride[0] + 1 : stride[0]]
        part = part[..., : (ow - 1) * stride[1] + 1 : stride[1]].reshape(n, groups, cg, oh, ow)
        y += np.einsum("ngchw,gfc->ngfhw", part, w[:, :, i, j].reshape(groups, f // groups, cg).astype(np.float64))
    return y.reshape(n, f, oh, ow)


def adjoints(dy, x, w, **geometry):
    """dx and dw: y is linear in each, so both are found by what the definition makes of unit changes' sums."""
    dx = np.zeros(x.shape)
    dw = np.zeros(w.shape)
    n, c, h, wd = x.shape
    f, cg, kh, kw = w.shape
    stride, dilation, groups = geometry["stride"], geometry["dilation"], geometry["groups"]
    (top, bottom), (left, right) = geometry["padding"]
    px = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (top, bottom), (left, right)))
    pdx = np.zeros_like(px)
    oh, ow = dy.shape[2:]
    g = dy.astype(np.float64).reshape(n, groups, f // groups, oh, ow)
    wg = w.astype(np.float64).reshape(groups, f // groups, cg, kh, kw)
    for i, j in itertools.product(range(kh), range(kw)):
        rows = slice(i * dilation[0], i * dilation[0] + (oh - 1) * stride[0] + 1, stride[0])
        columns = slice(j * dilation[1], j * dilation[1] + (ow - 1) * stride[1] + 1, stride[1])
        pdx[:, :, rows, columns] += np.einsum("ngfhw,gfc->ngchw", g, wg[..., i, j]).reshape(n, c, oh, ow)
        part = px[:, :, rows, columns].reshape(n, groups, cg, oh, ow)
        dw[:, :, i, j] = np.einsum("ngfhw,ngchw->gfc", g, part).reshape(f, cg)
    dx[...] = pdx[:, :, top : top + h, left : left + wd]
    return dx, dw


def channels_last(x):
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def geometries():
    """(x shape, w shape, stride, padding, dilation, groups): all kinds, odd sizes, channels that straddle the lanes."""
    yield (1, 1, 1, 1), (1, 1, 1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), 1
    yield (2, 3, 5, 4), (4, 3, 5, 4), (1, 1), ((0, 0), (0, 0)), (1, 1), 1  # the kernel is the image
    yield (1, 2, 1, 1), (3, 2, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1  # one pixel
    yield (2, 5, 7, 6), (3, 5, 1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), 1  # a product
    yield (2, 5, 7, 6), (3, 5, 1, 1), (2, 3), ((0, 0), (0, 0)), (1, 1), 1
    yield (1, 4, 6, 7), (4, 4, 3, 3), (2, 2), ((0, 1), (2, 0)), (1, 1), 1  # asymmetric
    yield (1, 4, 9, 7), (6, 2, 3, 2), (1, 2), ((2, 1), (3, 3)), (2, 3), 2
    yield (1, 3, 30, 31), (2, 3, 11, 7), (4, 3), ((2, 2), (5, 5)), (1, 1), 1
    yield (1, 2, 4, 5), (3, 2, 2, 2), (5, 4), ((1, 1), (1, 1)), (1, 1), 1  # strides beyond the kernel
    yield (2, 1, 9, 8), (16, 1, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1
    for width, filters in ((8, 8), (14, 16), (15, 3), (22, 16), (23, 7), (31, 16), (37, 8)):  # slid along rows
        yield (2, 1, 5, width), (filters, 1, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1
        yield (1, 1, 6, width + 4), (filters, 1, 2, 5), (2, 1), ((1, 0), (0, 0)), (2, 1), 1
    for width in (9, 10, 11, 13, 25):  # tall tiles of two vectors
        yield (1, 9, 3, width), (29, 9, 3, 3), (1, 1), ((1, 1), (1, 1)), (2, 1), 1
    for channels in (2, 7, 8, 9, 16, 17, 33, 50):  # depthwise
        yield (2, channels, 6, 5), (channels, 1, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), channels
    for width, step in itertools.product((1, 2, 3, 5, 8, 13), (1, 2)):  # borders of one column, left and right, or none
        for pad in itertools.product((0, 1), (0, 1, 2)):
            if width + sum(pad) >= 3:
                yield (1, 11, 4, width), (11, 1, 3, 3), (step, step), ((1, 2), pad), (1, 1), 11
        for pad in ((0, 0), (2, 2), (4, 1), (1, 4), (3, 2)):  # five neighbours
            if width + sum(pad) >= 5:
                yield (1, 11, 6, width), (11, 1, 3, 5), (1, step), ((3, 2), pad), (2, 1), 11
    for channels in (65, 130):  # in parts
        yield (2, channels, 7, 9), (channels, 1, 3, 3), (2, 2), ((0, 1), (1, 1)), (1, 1), channels
    yield (1, 12, 7, 7), (12, 1, 3, 2), (2, 1), ((1, 0), (0, 1)), (1, 2), 12
    for stride, pad, dilation in (((1, 1), 5, (1, 1)), ((2, 3), 4, (1, 1)), ((1, 1), 4, (2, 3)), ((3, 2), 0, (1, 2))):
        yield (2, 24, 9, 19), (24, 1, 3, 3), stride, ((pad, pad),) * 2, dilation, 24  # rows and columns of zeros
    yield (1, 16, 40, 33), (16, 1, 5, 5), (1, 1), ((2, 2), (2, 2)), (1, 1), 16
    yield (2, 70, 11, 14), (70, 1, 5, 5), (2, 2), ((2, 2), (2, 2)), (1, 1), 70
    for size, stride, down in ((3, 1, 1), (3, 2, 1), (5, 1, 2), (5, 2, 1)):  # pixels 2 KB apart, copied close
        yield (1, 512, 9, 7), (512, 1, size, size), (stride, stride), ((1, 2), (2, 1)), (down, 1), 512
    yield (1, 600, 9, 15), (600, 1, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 600  # strips of one tile
    yield (1, 64, 40, 40), (136, 64, 3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1), 1  # several blocks of rows, parts, chunks
    yield (1, 3, 7, 7), (6, 1, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 3  # two filters a channel
    # Few pixels and many channels, on both ways: tap by tap, in chunks of channels that are not full.
    yield (2, 300, 4, 4), (19, 300, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1
    yield (20, 70, 4, 5), (66, 70, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1  # several items of images
    yield (3, 65, 8, 7), (80, 65, 3, 3), (2, 2), ((1, 1), (1, 0)), (1, 1), 1  # phases
    yield (2, 130, 5, 6), (136, 65, 3, 2), (1, 2), ((2, 1), (3, 3)), (2, 1), 2  # groups
    yield (2, 72, 1, 1), (64, 72, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1  # of nine taps one
    yield (1, 64, 3, 3), (70, 64, 2, 2), (5, 4), ((1, 1), (1, 1)), (1, 1), 1  # phases without places
    yield (1, 64, 2, 2), (64, 64, 3, 3), (1, 1), ((4, 4), (4, 4)), (1, 1), 1  # outputs that no pixel reaches
    # Places outside of the image are left out, row by row and column by column; strides and dilation too.
    yield (2, 16, 13, 12), (40, 16, 5, 5), (1, 1), ((2, 2), (2, 2)), (1, 1), 1
    yield (1, 30, 19, 11), (20, 30, 4, 4), (2, 2), ((1, 1), (1, 1)), (1, 1), 1
    yield (1, 8, 6, 7), (8, 8, 5, 5), (1, 1), ((4, 4), (5, 3)), (2, 2), 1
    # ... of which so few are left that they are listed row by row.
    yield (1, 7, 12, 8), (15, 7, 2, 3), (1, 1), ((1, 1), (1, 1)), (2, 2), 1
    yield (2, 9, 13, 6), (18, 9, 3, 3), (2, 2), ((0, 0), (2, 2)), (1, 1), 1
    yield (2, 10, 15, 3), (7, 10, 5, 2), (1, 1), ((2, 2), (3, 3)), (2, 2), 1
    yield (2, 8, 15, 12), (4, 8, 3, 4), (2, 1), ((0, 0), (3, 3)), (2, 1), 1
    yield (2, 32, 11, 13), (104, 32, 3, 3), (2, 1), ((1, 0), (2, 1)), (1, 2), 1  # many filters
    yield (1, 40, 23, 18), (208, 20, 3, 5), (1, 2), ((3, 1), (2, 2)), (1, 1), 2
    yield (3, 19, 9, 30), (97, 19, 1, 1), (2, 2), ((0, 0), (0, 0)), (1, 1), 1
    yield (2, 72, 1, 700), (100, 72, 1, 5), (1, 1), ((0, 0), (6, 2)), (1, 3), 1  # sequences
    yield (3, 6, 1, 90), (9, 6, 1, 4), (1, 3), ((0, 0), (1, 2)), (1, 1), 1
    yield (2, 12, 1, 41), (12, 1, 1, 3), (1, 1), ((0, 0), (1, 1)), (1, 1), 12
    # A stride over single pixels, with rows of zeros that it reaches and that it does not.
    yield (2, 9, 7, 6), (10, 9, 1, 1), (2, 2), ((0, 3), (0, 1)), (1, 1), 1
    yield (2, 9, 7, 6), (10, 9, 1, 1), (2, 2), ((0, 1), (0, 0)), (1, 1), 1


def random_geometry(rng):
    """One that nobody thought of: small images and kernels, strides, dilation and rows of zeros of all kinds."""
    groups = int(rng.choice([1, 1, 1, 2, 3]))
    cg, fg = int(rng.choice([1, 3, 7, 8, 9, 18, 66])), int(rng.choice([1, 2, 8, 15, 17, 26]))
    k, s, d = (tuple(int(v) for v in rng.integers(1, top, 2)) for top in (6, 4, 4))
    pad = tuple(tuple(int(v) for v in rng.integers(0, 5, 2)) for _ in range(2))
    size = [max(int(v), d[i] * (k[i] - 1) + 1 - sum(pad[i])) for i, v in enumerate(rng.integers(1, 16, 2))]
    return (int(rng.integers(1, 4)), groups * cg, *size), (groups * fg, cg, *k), s, pad, d, groups


def ways(geometry):
    x, w, stride, padding, dilation, groups = geometry
    return dict(stride=stride, padding=padding, dilation=dilation, groups=groups), x, w


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f32", "f64"])
@pytest.mark.parametrize("geometry", list(geometries()), ids=str)
def test_exact_on_integers(isa, geometry, dtype):
    exact_on_integers(geometry, dtype)


@pytest.mark.parametrize("seed", range(4))
def test_exact_on_integers_of_random_geometries(isa, seed):
    rng = np.random.default_rng(seed)
    for _ in range(150):
        geometry = random_geometry(rng)
        try:
            exact_on_integers(geometry, np.float32)
        except AssertionError as error:
            raise AssertionError(f"geometry {geometry}") from error


def exact_on_integers(geometry, dtype):
    """Forward, with ReLU, and all gradients of a geometry are the definition's, as whole numbers."""
    options, x_shape, w_shape = ways(geometry)
    rng = np.random.default_rng(0)
    x, w = rng.integers(-4, 5, x_shape).astype(dtype), rng.integers(-4, 5, w_shape).astype(dtype)
    want = definition(x, w, **options)
    bias = rng.integers(-9, 10, w_shape[0]).astype(dtype)
    y = kernels.conv2d(channels_last(x), w, bias, precision="strict", **options)
    np.testing.assert_array_equal(y, want + bias[:, None, None])
    np.testing.assert_array_equal(kernels.conv2d(x, w, relu=True, precision="strict", **options), np.maximum(want, 0))
    dy = rng.integers(-4, 5, want.shape).astype(dtype)
    dx, dw, dbias = kernels.conv2d_backward(dy, x, w, precision="strict", **options)
    want_dx, want_dw = adjoints(dy, x, w, **options)
    np.testing.assert_array_equal(dx, want_dx)
    np.testing.assert_array_equal(dw, want_dw)
    np.testing.assert_array_equal(dbias, dy.sum((0, 2, 3)))


WINOGRAD = [
    (n, c, f, h, w, pad)
    for (n, c, f), (h, w), pad in itertools.product(
        [(1, 16, 16), (2, 33, 17), (3, 64, 40)], [(4, 4), (7, 9), (14, 13), (3, 22)], [0, 1, 2]
    )
    if h + 2 * pad >= 3
]


# Weight gradients in one block, in several, in batches of tiles; more channels than are transformed at once;
# a handful of tiles.
BATCHES_OF_TILES = (5, 72, 136, 30, 30, 1)
WINOGRAD += [(1, 72, 136, 14, 15, 1), (2, 300, 24, 9, 9, 1), BATCHES_OF_TILES]
WINOGRAD += [(3, c, 40, 1, 5, 2) for c in (13, 21, 29)]  # in items that begin with an odd channel
# One, two or three outputs are left beside tiles of four, along an axis or both: a block, several, batches, a large dU.
WINOGRAD += [(1, 136, 72, 14, 14, 1), (1, 40, 64, 6, 9, 1), (2, 64, 64, 10, 32, 1), (5, 48, 40, 18, 9, 1)]
WINOGRAD += [(3, 300, 40, 14, 14, 1), (1, 170, 176, 26, 30, 1)]
WINOGRAD += [(2, 136, 72, 15, 14, 1), (1, 40, 64, 19, 11, 1), (4, 64, 64, 7, 32, 1), (5, 48, 40, 18, 11, 1)]
WINOGRAD += [(3, 300, 40, 7, 7, 1), (1, 170, 176, 27, 31, 1)]
WINOGRAD += [(1, 200, 72, 7, 7, 1), (1, 67, 130, 8, 5, 1), (2, 130, 67, 4, 9, 1), (1, 260, 136, 4, 4, 1)]
# Weight gradients whose tiles go apart, in one batch a part and in several.
MANY_TILES = (13, 16, 16, 100, 98, 1)
WINOGRAD += [(40, 16, 16, 14, 14, 1), (33, 24, 16, 15, 13, 1), (26, 48, 72, 19, 22, 1), MANY_TILES]
# Of three channels: tiles in pairs and one alone, several strips, vectors of filters two by two, alone, in part.
WINOGRAD += [(2, 3, 40, 9, 14, 1), (1, 3, 64, 35, 70, 0), (1, 3, 49, 4, 5, 2), (3, 3, 40, 1, 5, 2)]
WINOGRAD += [(1, 3, 128, 3, 3, 1)]
# 5 x 5 places: the weight gradient in batches, apart, in blocks, by the definition.
FIVES = [(2, 33, 17, 15, 18, 2), (1, 24, 40, 48, 50, 4), (8, 16, 40, 28, 27, 2), (3, 64, 72, 30, 28, 0)]
FIVES += [(6, 136, 72, 19, 20, 2), (1, 24, 40, 5, 6, 2), (3, 40, 24, 1, 9, 4), (1, 72, 80, 22, 1, 3)]


def relative(got, want):
    return np.sqrt(np.mean((got - want) ** 2) / np.mean(want**2))


@pytest.mark.parametrize("case", WINOGRAD, ids=lambda c: "-".join(map(str, c)))
def test_winograd_is_as_near_as_promised(isa, case):
    if isa == "reference" and case in (BATCHES_OF_TILES, MANY_TILES):
        pytest.skip("plain loops know no tiles")
    as_near_as_promised(case, 3)


@pytest.mark.parametrize("case", FIVES, ids=lambda c: "-".join(map(str, c)))
def test_winograd_of_5x5_is_as_near_as_promised(isa, case):
    as_near_as_promised(case, 5)


def as_near_as_promised(case, k):
    n, c, f, h, wd, pad = case
    rng = np.random.default_rng(1)
    x = channels_last(rng.standard_normal((n, c, h, wd)).astype(np.float32))
    w = rng.standard_normal((f, c, k, k)).astype(np.float32)
    options = dict(stride=(1, 1), padding=((pad, pad), (pad, pad)), dilation=(1, 1), groups=1)
    want = definition(x, w, **options)
    bias = rng.standard_normal(f).astype(np.float32)
    assert (
        relative(kernels.conv2d(x, w, bias, padding=pad, relu=True), np.maximum(want + bias[:, None, None], 0)) < 2e-6
    )
    dy = rng.standard_normal(want.shape).astype(np.float32)
    dx, dw, _ = kernels.conv2d_backward(dy, x, w, padding=pad)
    want_dx, want_dw = adjoints(dy, x, w, **options)
    assert relative(dx, want_dx) < 3e-6
    assert relative(dw, want_dw) < 4e-6


# Images, channels in and out, height, width.
SHAPES = [(1, 512, 512, 7, 7), (1, 64, 64, 28, 28), (8, 16, 32, 14, 14), (1, 256, 256, 14, 14), (1, 128, 128, 9, 9)]
SHAPES += [(1, 128, 128, 11, 11), (8, 64, 64, 7, 7), (2, 64, 64, 4, 4), (2, 3, 64, 32, 32)]
SHAPES_OF_5X5 = [(2, 64, 64, 8, 8), (2, 128, 128, 11, 11), (1, 256, 256, 14, 14), (8, 32, 64, 28, 28)]
SHAPES_OF_5X5 += [(6, 48, 48, 20, 20)]


@pytest.mark.parametrize("data", ["normal", "relu"])
@pytest.mark.parametrize(("k", "shape"), [(3, s) for s in SHAPES] + [(5, s) for s in SHAPES_OF_5X5], ids=str)
def test_winograd_errs_by_a_few_times_what_direct_does(isa, data, k, shape):
    """At most 8 times forward and 6 times in the gradients, beside float64."""
    if isa == "reference":
        pytest.skip("plain loops are direct")
    n, c, f, h, wd = shape
    rng = np.random.default_rng(4)
    x = rng.standard_normal((n, c, h, wd)).astype(np.float32)
    x = channels_last(np.maximum(x, 0) if data == "relu" else x)
    w, dy = (rng.standard_normal(s).astype(np.float32) for s in ((f, c, k, k), (n, f, h, wd)))

    def everything(dtype, precision):
        arrays = [a.astype(dtype) for a in (dy, x, w)]
        y = kernels.conv2d(*arrays[1:], padding=k // 2, precision=precision)
        return [y, *kernels.conv2d_backward(*arrays, padding=k // 2, precision=precision)[:2]]

    want = everything(np.float64, "strict")
    fast, strict = (list(map(relative, everything(np.float32, p), want)) for p in ("fast", "strict"))
    assert fast[0] < 8 * strict[0]
    assert max(fast[1] / strict[1], fast[2] / strict[2]) < 6


# Of stride 2, where the weight's transform pays.
STRIDED = [(1, 64, 128, 32, 32, 1), (1, 130, 72, 9, 8, 1), (3, 64, 40, 15, 22, 0)]
STRIDED += [(2, 72, 130, 11, 13, 2), (1, 128, 136, 8, 8, 1)]
# 7 x 7: rows of pairs that share a vector and that do not, an end of one vector within the next; odd and even padding.
SEVENS = [(2, 3, 64, 42, 40, 3), (1, 4, 40, 20, 34, 2), (1, 17, 72, 26, 24, 3), (3, 20, 48, 14, 8, 6)]
SEVENS += [(1, 64, 72, 12, 10, 0)]


@pytest.mark.parametrize(
    ("k", "case"), [(3, c) for c in STRIDED] + [(7, c) for c in SEVENS], ids=lambda c: "-".join(map(str, np.ravel(c)))
)
def test_winograd_of_stride_2(isa, k, case):
    n, c, f, h, wd, pad = case
    rng = np.random.default_rng(1)
    x = channels_last(rng.standard_normal((n, c, h, wd)).astype(np.float32))
    w = rng.standard_normal((f, c, k, k)).astype(np.float32)
    bias = rng.standard_normal(f).astype(np.float32)
    options = dict(stride=(2, 2), padding=((pad, pad), (pad, pad)), dilation=(1, 1), groups=1)
    want = definition(x, w, **options) + bias[:, None, None]
    layer = fnn.nn.Conv2d(c, f, k, stride=2, padding=pad).freeze()
    layer.weight.data, layer.bias.data = w, bias
    layer.freeze()
    with fnn.no_grad():
        for _ in range(2):
            assert relative(layer(fnn.tensor(x)).numpy(), want) < 1e-6
    assert relative(kernels.conv2d(x, w, bias, stride=2, padding=pad, relu=True), np.maximum(want, 0)) < 1e-6


# A product of one pixel, depthwise, direct, tap by tap, both Winograds, stride 2, three channels.
SUMS = [
    ((2, 8, 5, 6), (7, 8, 1, 1), {}),
    ((2, 9, 5, 6), (9, 1, 3, 3), {"groups": 9, "padding": 1}),
    ((2, 3, 9, 10), (17, 3, 3, 3), {"padding": 1}),
    ((1, 24, 20, 12), (40, 12, 3, 2), {"groups": 2, "stride": (2, 1)}),
    ((2, 72, 4, 4), (19, 72, 5, 5), {"padding": 2}),
    ((2, 64, 14, 13), (40, 64, 3, 3), {"padding": 1}),
    ((1, 64, 4, 6), (72, 64, 3, 3), {"padding": 1}),
    ((1, 64, 15, 16), (72, 64, 3, 3), {"padding": 1, "stride": 2}),
    ((2, 3, 13, 38), (41, 3, 3, 3), {"padding": 1}),
    ((2, 24, 9, 8), (41, 24, 1, 1), {}),
    ((2, 24, 9, 8), (41, 24, 1, 1), {"stride": 2}),
    ((1, 24, 9, 8), (40, 12, 1, 1), {"groups": 2, "padding": 1}),
    ((1, 700, 3, 3), (20, 700, 1, 1), {}),
    ((1, 40, 2, 2), (300, 40, 1, 1), {}),
]


@pytest.mark.parametrize("activation", [None, "relu", "relu6", "tanh"])
@pytest.mark.parametrize("max_pool", [False, True])
@pytest.mark.parametrize("case", SUMS, ids=lambda c: "-".join(map(str, c[0] + c[1])))
def test_a_residual_is_added_before_the_activation(isa, case, max_pool, activation):
    x_shape, w_shape, options = case
    rng = np.random.default_rng(3)
    x = fnn.tensor(channels_last(rng.standard_normal(x_shape).astype(np.float32)))
    w, bias = (fnn.tensor(rng.standard_normal(s).astype(np.float32)) for s in (w_shape, w_shape[:1]))
    conv2d = fnn.nn.functional.conv2d
    y = conv2d(x, w, bias, **options)
    for shape in (y.shape, (1, *y.shape[1:2], 1, 1)):
        residual = fnn.tensor(rng.standard_normal(shape).astype(np.float32))
        want = y + residual
        want = want if activation is None else getattr(fnn.nn.functional, activation)(want)
        want = fnn.nn.functional.max_pool2d(want, 2) if max_pool else want
        got = conv2d(x, w, bias, activation=activation, max_pool=max_pool, residual=residual, **options)
        np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-5, atol=1e-4)


LIMITED = [
    *SUMS,
    ((2, 24, 9, 8), (24, 1, 3, 3), {"groups": 24, "padding": 1}),
    ((1, 24, 19, 8), (24, 1, 5, 5), {"groups": 24, "padding": 2, "stride": 2}),
    ((1, 3, 20, 12), (16, 3, 3, 3), {"padding": 1, "stride": 2}),
    ((1, 512, 7, 7), (64, 512, 3, 3), {"padding": 1}),
]


@pytest.mark.parametrize("case", LIMITED, ids=lambda c: "-".join(map(str, c[0] + c[1])))
def test_relu6_limits_the_very_sums(isa, case):
    """Forward, pooled, and as a transposed convolution; and lets gradients pass where they lie between."""
    x_shape, w_shape, options = case
    rng = np.random.default_rng(4)
    x = fnn.tensor(channels_last(rng.standard_normal(x_shape).astype(np.float32)), requires_grad=True)
    w, bias = (fnn.tensor(rng.standard_normal(s, np.float32), requires_grad=True) for s in (w_shape, w_shape[:1]))
    F = fnn.nn.functional
    with fnn.no_grad():
        y = F.conv2d(x, w, bias, **options).numpy()
        assert y.min() < 0
        assert y.max() > 6
        np.testing.assert_array_equal(F.conv2d(x, w, bias, activation="relu6", **options).numpy(), np.clip(y, 0, 6))
        pooled = F.conv2d(x, w, bias, activation="relu6", max_pool=True, **options).numpy()
        want = F.max_pool2d(fnn.tensor(np.clip(y, 0, 6)), 2).numpy()  # perhaps of sums in another order
        np.testing.assert_allclose(pooled, want, rtol=1e-4, atol=1e-4)
        back = F.conv_transpose2d(fnn.tensor(y), w, **options).numpy()
        got = F.conv_transpose2d(fnn.tensor(y), w, activation="relu6", **options).numpy()
        np.testing.assert_array_equal(got, np.clip(back, 0, 6))
    dy = rng.standard_normal(y.shape).astype(np.float32)
    fused, apart = F.conv2d(x, w, bias, activation="relu6", **options), F.conv2d(x, w, bias, **options)
    inside = (y > 0) & (y < 6)
    for a, b in zip(fnn.grad((fused * dy).sum(), (x, w, bias)), fnn.grad((apart * (dy * inside)).sum(), (x, w, bias))):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


@pytest.mark.parametrize(
    "shape",
    [
        (1, 64, 56, 56, 64),
        (8, 32, 14, 14, 48),
        (3, 16, 30, 30, 8),
        (1, 160, 7, 7, 96),
        (1, 72, 4, 4, 136),
        (26, 48, 19, 22, 72),
        (5, 72, 30, 30, 136),
        (8, 24, 28, 28, 40, 5),
        (2, 3, 64, 64, 64, 7),
        (3, 3, 30, 30, 40),
    ],
    ids=str,
)
@pytest.mark.parametrize("precision", ["fast", "strict"])
def test_same_bits_for_every_number_of_threads(shape, precision):
    n, c, h, w, f, k = (*shape, 3)[:6]
    rng = np.random.default_rng(2)
    x = channels_last(rng.standard_normal((n, c, h, w)).astype(np.float32))
    weight = rng.standard_normal((f, c, k, k)).astype(np.float32)
    dy = rng.standard_normal((n, f, h, w)).astype(np.float32)
    pad = k // 2

    def everything():
        y = kernels.conv2d(x, weight, padding=pad, precision=precision)
        half = kernels.conv2d(x, weight, stride=2, padding=pad, precision=precision)
        return [y, half, *kernels.conv2d_backward(dy, x, weight, padding=pad, precision=precision)]

    with fnn.threads(1):
        alone = everything()
    for threads in (2, 5):
        with fnn.threads(threads):
            for one, many in zip(alone, everything(), strict=True):
                np.testing.assert_array_equal(one, many)


@pytest.mark.parametrize("shape", [(64, 64, 14), (128, 80, 16), (256, 256, 8), (48, 48, 18), (512, 512, 4)], ids=str)
@pytest.mark.parametrize("stride", [1, 2])
def test_same_bits_for_every_number_of_threads_where_the_weight_is_kept(shape, stride):
    c, f, size = shape
    layer = fnn.nn.Conv2d(c, f, 3, stride=stride, padding=1).freeze()
    x = fnn.randn(1, size, size, c).permute(0, 3, 1, 2)
    with fnn.no_grad(), fnn.threads(1):
        alone = layer(x).numpy()
    unkept = kernels.conv2d(x.numpy(), layer.weight.numpy(), layer.bias.numpy(), stride=stride, padding=1)
    np.testing.assert_allclose(alone, unkept, rtol=1e-4, atol=1e-4)
    for threads in (2, 3, 5):
        with fnn.no_grad(), fnn.threads(threads):
            np.testing.assert_array_equal(alone, layer(x).numpy())


def test_nan_and_inf_reach_what_they_touch_and_strict_touches_nothing_else():
    x = np.ones((1, 16, 12, 12), np.float32)
    w = np.ones((16, 16, 3, 3), np.float32)
    x[0, 3, 6, 6] = np.nan
    touched = np.zeros((12, 12), bool)
    touched[5:8, 5:8] = True
    strict = kernels.conv2d(x, w, padding=1, precision="strict")
    np.testing.assert_array_equal(np.isnan(strict[0, 0]), touched)
    assert np.isnan(kernels.conv2d(x, w, padding=1)[0, 0][touched]).all()


@pytest.mark.parametrize(("channels", "filters"), [(16, 16), (3, 40)])
def test_the_transforms_are_exact(channels, filters):
    """With weights of one place and whole numbers that the points' fractions divide, Winograd shifts images exactly."""
    x = np.zeros((1, channels, 8, 8), np.float32)
    x[0, :, 3, 4] = 1
    for i, j in itertools.product(range(3), range(3)):
        w = np.zeros((filters, channels, 3, 3), np.float32)
        w[:, :, i, j] = np.eye(filters, channels)
        y = kernels.conv2d(x, w, padding=1)
        want = kernels.conv2d(x, w, padding=1, precision="strict")
        np.testing.assert_allclose(y, want, atol=3e-7)


def test_filter2d_slides_a_window(rng):
    image = rng.random((9, 11, 3)).astype(np.float32)
    kernel = rng.standard_normal((3, 3)).astype(np.float32)
    got = kernels.filter2d(image, kernel)
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode="edge")
    want = sum(padded[i : i + 9, j : j + 11] * kernel[i, j] for i in range(3) for j in range(3))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(kernels.filter2d(image[..., 0], kernel), got[..., 0], rtol=1e-6)
    with pytest.raises(ValueError, match="filter2d: image is"):
        kernels.filter2d(image, kernel[0])
    with pytest.raises(TypeError, match="filter2d: kernel is float64"):
        kernels.filter2d(image, kernel.astype(np.float64))


@pytest.mark.parametrize(
    ("x", "w", "options", "message"),
    [
        ((2, 3), (1, 3, 1, 1), {}, "x is"),
        ((1, 3, 4, 4), (2, 4, 3, 3), {}, "expected"),
        ((1, 3, 4, 4), (2, 3, 5, 3), {}, "kernel reaches over 5"),
        ((1, 3, 4, 4), (2, 3, 3, 3), {"padding": -1}, "padding"),
        ((1, 3, 4, 4), (2, 3, 3, 3), {"padding": 2**40}, "padding"),
        ((1, 3, 4, 4), (2, 3, 3, 3), {"stride": 0}, "stride"),
        ((1, 3, 4, 4), (2, 3, 3, 3), {"stride": (1, 2, 3)}, "stride"),
        ((1, 3, 4, 4), (2, 3, 3, 3), {"dilation": 2**31}, "dilation"),
        ((1, 3, 4, 4), (2, 3, 3, 3), {"groups": 2}, "groups"),
        ((1, 3, 4, 4), (2, 3, 3, 3), {"groups": 0}, "groups"),
        ((1, 3, 4, 4), (2, 3, 0, 3), {}, "at least one by one"),
        ((1, 3, 4, 4), (2, 3, 3, 3), {"padding": "half"}, "padding"),
        ((1, 3, 4, 4), (2, 3, 3, 3), {"padding": "same", "stride": 2}, "same"),
        ((1, 3, 4, 4), (2, 3, 3, 3), {"precision": "sloppy"}, "precision"),
    ],
)
def test_refuses(x, w, options, message):
    with pytest.raises(ValueError, match=message):
        kernels.conv2d(np.ones(x, np.float32), np.ones(w, np.float32), **options)


def test_huge_padding_has_no_memory_and_says_so():
    with pytest.raises(MemoryError):
        kernels.conv2d(np.ones((1, 1, 2, 2), np.float32), np.ones((1, 1, 3, 3), np.float32), padding=2**30)
    x, w = np.ones((1, 1, 2, 2), np.float32), np.ones((1, 1, 2, 2), np.float32)
    with pytest.raises(MemoryError):
        kernels.conv2d(x, w, padding=2**28, dilation=2**29)
