"""Convolution ops and layers: gradients of both orders, layers against their functions, hostile arguments."""

import numpy as np
import pytest

import fastnn as fnn
from fastnn.nn import functional as F


def randn(rng, *shape):
    return fnn.tensor(rng.standard_normal(shape), requires_grad=True)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": 2, "padding": 1},
        {"padding": ((0, 2), (1, 0)), "dilation": (1, 2)},
        {"padding": "same", "groups": 2},
        {"activation": "relu", "padding": 1},
        {"activation": "silu"},
    ],
    ids=str,
)
def test_gradients(rng, options):
    groups = options.get("groups", 1)
    x, w, b = randn(rng, 2, 4, 6, 7), randn(rng, 6, 4 // groups, 3, 2), randn(rng, 6)
    assert fnn.gradcheck(lambda x, w, b: F.conv2d(x, w, b, **options), (x, w, b))


@pytest.mark.parametrize(
    "options", [{}, {"stride": 2, "padding": 1, "output_padding": 1}, {"groups": 2, "dilation": 2}], ids=str
)
def test_gradients_transposed(rng, options):
    groups = options.get("groups", 1)
    x, w, b = randn(rng, 2, 4, 4, 5), randn(rng, 4, 6 // groups, 3, 2), randn(rng, 6)
    assert fnn.gradcheck(lambda x, w, b: F.conv_transpose2d(x, w, b, **options), (x, w, b))


@pytest.mark.parametrize("kind", ["conv2d", "conv_transpose2d"])
@pytest.mark.parametrize("activation", [None, "relu", "relu6", "hardswish", "tanh"])
def test_gradients_of_gradients(rng, kind, activation):
    x, w, b = randn(rng, 1, 2, 5, 5), randn(rng, 2, 2, 3, 3), randn(rng, 2)
    f = getattr(F, kind)
    assert fnn.gradcheck(lambda x, w, b: f(x, w, b, stride=2, activation=activation), (x, w, b), order=2)


def test_sequences_are_images_one_pixel_high(rng):
    x, w = rng.standard_normal((2, 4, 9)), rng.standard_normal((6, 2, 3))
    for options in (
        {"stride": 2, "padding": 1, "groups": 2},
        {"padding": (0, 2), "groups": 2},
        {"padding": "same", "groups": 2},
    ):
        y = F.conv1d(x, w, **options).numpy()
        padding = options["padding"]
        padding = ((0, 0), padding) if isinstance(padding, tuple) else padding if padding == "same" else (0, padding)
        image = {**options, "padding": padding, "stride": (1, options.get("stride", 1))}
        np.testing.assert_array_equal(y, F.conv2d(x[:, :, None], w[:, :, None], **image).numpy()[:, :, 0])
    up = F.conv_transpose1d(x, rng.standard_normal((4, 3, 4)), stride=2, padding=1)
    assert up.shape == (2, 3, 18)


def test_memory_of_images_is_channels_last(rng):
    x = rng.standard_normal((2, 5, 6, 7)).astype(np.float32)
    y = F.conv2d(x, rng.standard_normal((4, 5, 3, 3)).astype(np.float32)).numpy()
    assert y.transpose(0, 2, 3, 1).flags.c_contiguous
    picture = rng.random((6, 7, 5)).astype(np.float32)
    seen = fnn.as_tensor(picture.transpose(2, 0, 1)[None])
    assert np.shares_memory(seen.numpy(), picture)


def test_any_strides_and_types(rng):
    wide = rng.standard_normal((4, 6, 10, 12)).astype(np.float32)
    w = rng.standard_normal((3, 3, 3, 3)).astype(np.float32)
    x = wide[::2, ::2, ::-1, 1::2]
    want = F.conv2d(np.ascontiguousarray(x), w).numpy()
    np.testing.assert_array_equal(F.conv2d(x, w).numpy(), want)
    turned = np.ascontiguousarray(w.transpose(3, 2, 1, 0)).transpose(3, 2, 1, 0)
    np.testing.assert_array_equal(F.conv2d(x, turned).numpy(), want)
    assert F.conv2d(x.astype(np.float64), w).dtype == np.float64
    assert F.conv2d(np.ones((1, 1, 2, 2), int), np.ones((1, 1, 1, 1), np.float32)).dtype == np.float32


def test_empty_batches_and_channels():
    w = fnn.ones(4, 3, 3, 3, requires_grad=True)
    y = F.conv2d(fnn.zeros(0, 3, 5, 5), w, padding=1)
    assert y.shape == (0, 4, 5, 5)
    y.sum().backward()
    assert w.grad.tolist() == np.zeros((4, 3, 3, 3)).tolist()
    bias = fnn.tensor([1.0, -2.0])
    y = F.conv2d(fnn.zeros(1, 0, 2, 2), fnn.zeros(2, 0, 1, 1), bias, activation="relu")
    assert y.numpy()[:, :, 0, 0].tolist() == [[1.0, 0.0]]


LAYERS = [
    (fnn.nn.Conv2d, (3, 8, 3), {"padding": 1}, (2, 3, 6, 6), (2, 8, 6, 6)),
    (fnn.nn.Conv2d, (4, 8, (3, 1)), {"stride": (2, 1), "groups": 2, "bias": False}, (2, 4, 7, 6), (2, 8, 3, 6)),
    (fnn.nn.Conv1d, (3, 8, 3), {"padding": "same"}, (2, 3, 6), (2, 8, 6)),
    (fnn.nn.ConvTranspose2d, (3, 8, 4, 2, 1), {}, (2, 3, 5, 5), (2, 8, 10, 10)),
    (fnn.nn.ConvTranspose2d, (4, 6, 3), {"stride": 2, "output_padding": 1, "groups": 2}, (1, 4, 5, 5), (1, 6, 12, 12)),
    (fnn.nn.ConvTranspose1d, (3, 2, 4, 2, 1), {}, (2, 3, 5), (2, 2, 10)),
]


@pytest.mark.parametrize(("layer", "args", "options", "x", "y"), LAYERS, ids=lambda v: getattr(v, "__name__", str(v)))
def test_layers(layer, args, options, x, y):
    net = layer(*args, **options)
    assert net(fnn.randn(*x)).shape == y
    assert set(net.state_dict()) == ({"weight", "bias"} if options.get("bias", True) else {"weight"})
    k = 1 / np.sqrt(np.prod(net.weight.shape[1:]))
    assert np.abs(net.weight.data).max() <= k


def test_frozen_layers_keep_what_they_prepared_for_images_of_any_size(rng):
    layer = fnn.nn.Conv2d(32, 32, 3, padding=1)
    sizes = [(4, 4), (30, 30), (1, 1), (30, 30), (2, 7)]
    images = [fnn.tensor(rng.standard_normal((1, 32, *size)).astype(np.float32)) for size in sizes]
    with fnn.no_grad():
        want = [layer(x).numpy() for x in images]
        layer.freeze()
        for x, y in zip(images, want, strict=True):
            for _ in range(2):
                np.testing.assert_allclose(layer(x).numpy(), y, rtol=1e-4, atol=1e-5)


def test_precision_globally_and_by_layer(rng):
    x = fnn.tensor(rng.standard_normal((1, 32, 16, 16)).astype(np.float32))
    layer = fnn.nn.Conv2d(32, 32, 3, padding=1)
    fast = layer(x).data
    try:
        fnn.set_precision("strict")
        strict = layer(x).data
        np.testing.assert_array_equal(F.conv2d(x, layer.weight, layer.bias, padding=1, precision="fast").data, fast)
    finally:
        fnn.set_precision("fast")
    layer.precision = "strict"
    np.testing.assert_array_equal(layer(x).data, strict)
    np.testing.assert_allclose(fast, strict, atol=1e-5)
    with pytest.raises(ValueError, match="set_precision"):
        fnn.set_precision("exact")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fnn.nn.Conv2d(3, 8, 0), "kernel_size"),
        (lambda: fnn.nn.Conv2d(3, 8, (3, 3, 3)), "kernel_size"),
        (lambda: fnn.nn.Conv2d(3, 8, 3, groups=2), "multiples of groups"),
        (lambda: fnn.nn.Conv2d(3, 8, 3, padding_mode="mirror"), "padding_mode"),
        (lambda: fnn.nn.Conv2d(3, 8, 3, precision="exact"), "precision"),
        (lambda: fnn.nn.Conv2d(3, 8, 3, padding="smae"), "'same' or 'valid', got 'smae'"),
        (lambda: fnn.nn.Conv2d(3, 8, 3, 2, padding="same", padding_mode="reflect"), "stride 1 only"),
        (lambda: fnn.nn.Conv1d(3, 8, 3, 2, padding="same"), "stride 1 only"),
        (lambda: F.conv_transpose2d(fnn.zeros(1, 2, 3, 3), fnn.zeros(2, 2, 2, 2), output_padding=1), "output_padding"),
        (lambda: F.conv_transpose2d(fnn.zeros(1, 2, 3, 3), fnn.zeros(3, 2, 2, 2)), "expected"),
        (lambda: F.conv_transpose2d(fnn.zeros(1, 2, 1, 1), fnn.zeros(2, 2, 2, 2), padding=2), "leaves nothing"),
        (lambda: F.conv2d(fnn.zeros(1, 2, 3, 3), fnn.zeros(2, 2, 2, 2), fnn.zeros(3)), "bias"),
        (lambda: F.conv2d(fnn.zeros(1, 2, 3, 3), fnn.zeros(2, 2, 2, 2), activation="cube"), "activation"),
        (lambda: F.conv1d(fnn.zeros(1, 2, 3, 3), fnn.zeros(2, 2, 2)), "conv1d"),
        (lambda: F.conv2d_backward(fnn.zeros(1, 2, 3, 3), fnn.zeros(1, 2, 3, 3), fnn.zeros(2, 2, 2, 2)), "dy is"),
    ],
)
def test_clear_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "layer",
    [
        lambda: fnn.nn.Conv1d(4, 6, 3, 2, 1, groups=2),
        lambda: fnn.nn.Conv1d(4, 6, 3, padding="same", padding_mode="circular"),
        lambda: fnn.nn.Conv2d(4, 6, 3, padding=1, activation="relu"),
        lambda: fnn.nn.Conv2d(4, 6, (3, 2), padding=1, padding_mode="reflect", activation="gelu"),
        lambda: fnn.nn.ConvTranspose1d(4, 6, 3, 2, 1, 1),
        lambda: fnn.nn.ConvTranspose2d(4, 6, 3, 2, groups=2, activation="relu"),
        lambda: fnn.nn.Sequential(fnn.nn.Conv2d(4, 6, 3), fnn.nn.ReLU(), fnn.nn.MaxPool2d(2)),
        lambda: fnn.nn.Residual(fnn.nn.Conv2d(4, 4, 3, padding=1), activation="relu"),
    ],
)
def test_one_image_without_a_batch(layer, rng):
    layer = layer()
    x = fnn.tensor(rng.standard_normal((4, 8, 9)[: 2 + ("1d" not in repr(layer))], np.float32), requires_grad=True)
    batch = fnn.tensor(x.detach().numpy()[None], requires_grad=True)
    for frozen in (False, True):
        y, expected = layer(x), layer(batch)
        np.testing.assert_array_equal(y.detach().numpy(), expected.detach().numpy()[0])
        if not frozen:
            y.sum().backward()
            expected.sum().backward()
            np.testing.assert_array_equal(x.grad.numpy(), batch.grad.numpy()[0])
        x, batch = x.detach(), batch.detach()
        layer.freeze()


def test_a_frozen_weight_serves_other_numbers(rng):
    """What was read of stride, padding and so on is read again for other objects, and for a list that has changed."""
    x, w = fnn.tensor(rng.standard_normal((2, 8, 9, 9), np.float32)), rng.standard_normal((8, 8, 3, 3), np.float32)
    frozen = fnn.nn.Parameter(w).freeze_()
    padding = [1, 1]
    for stride, dilation in ((1, 1), ((2, 1), 1), (1, (1, 2)), (1, 1)):
        for padding[0] in (0, 1, 2):
            for conv in (F.conv2d, F.conv_transpose2d):
                got = conv(x, frozen, None, stride, padding, dilation=dilation)
                want = conv(x, fnn.tensor(w), None, stride, tuple(padding), dilation=dilation)
                np.testing.assert_allclose(got.numpy(), want.numpy(), atol=1e-4)
