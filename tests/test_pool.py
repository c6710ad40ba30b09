"""Pooling as operations and layers: values, gradients, gradients of gradients, shapes, refusals."""

import numpy as np
import pytest

import fastnn as fnn
from fastnn import nn
from fastnn.nn import functional as F

RNG = np.random.default_rng(3)


def normal(*shape):
    return fnn.tensor(RNG.standard_normal(shape))


def distinct(*shape):
    """Values so far apart that no small step changes which is the greatest."""
    return fnn.tensor(RNG.permutation(int(np.prod(shape))).reshape(shape) * 0.1)


POOLS = {
    "max": lambda x: F.max_pool2d(x, 2),
    "max overlapping": lambda x: F.max_pool2d(x, 3, 2, 1),
    "max dilated": lambda x: F.max_pool2d(x, (2, 3), (1, 2), (1, 1), (3, 2), ceil_mode=True),
    "avg": lambda x: F.avg_pool2d(x, 2),
    "avg overlapping": lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True, count_include_pad=False),
    "avg divisor": lambda x: F.avg_pool2d(x, (3, 2), 1, divisor_override=5),
    "adaptive avg": lambda x: F.adaptive_avg_pool2d(x, (3, 2)),
    "global avg": lambda x: F.adaptive_avg_pool2d(x, 1),
    "adaptive max": lambda x: F.adaptive_max_pool2d(x, (3, None)),
}
SEQUENCES = {
    "max": lambda x: F.max_pool1d(x, 3, 2, 1),
    "avg": lambda x: F.avg_pool1d(x, 3, 2, 1, count_include_pad=False),
    "adaptive avg": lambda x: F.adaptive_avg_pool1d(x, 3),
    "adaptive max": lambda x: F.adaptive_max_pool1d(x, 3),
}


@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize("shape", [(2, 3, 6, 5), (3, 7, 8), (1, 9, 5, 5)])
def test_gradients(name, shape):
    pool = POOLS[name]
    assert fnn.gradcheck(pool, distinct(*shape), order=2)
    assert fnn.gradcheck(lambda x: pool(x * x) ** 2, distinct(*shape) + 1, order=2)


@pytest.mark.parametrize("name", SEQUENCES)
@pytest.mark.parametrize("shape", [(2, 3, 8), (5, 7)])
def test_sequences(name, shape):
    pool, x = SEQUENCES[name], distinct(*shape)
    assert fnn.gradcheck(lambda x: pool(x) ** 2, x, order=2)
    wide = pool(x)
    assert wide.ndim == x.ndim
    images = {
        "max": lambda x: F.max_pool2d(x, (1, 3), (1, 2), (0, 1)),
        "avg": lambda x: F.avg_pool2d(x, (1, 3), (1, 2), (0, 1), count_include_pad=False),
        "adaptive avg": lambda x: F.adaptive_avg_pool2d(x, (1, 3)),
        "adaptive max": lambda x: F.adaptive_max_pool2d(x, (1, 3)),
    }[name](x.unsqueeze(-2))
    np.testing.assert_array_equal(wide.data, images.squeeze(-2).data)


def test_values():
    x = fnn.tensor([[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]]]], requires_grad=True)
    assert F.max_pool2d(x, 2, 1).tolist() == [[[[5, 6], [8, 9]]]]
    assert F.avg_pool2d(x, 2, 1).tolist() == [[[[3, 4], [6, 7]]]]
    np.testing.assert_allclose(F.avg_pool2d(x, 3, 2, 1).data, [[[[12 / 9, 16 / 9], [24 / 9, 28 / 9]]]], rtol=1e-6)
    assert F.avg_pool2d(x, 3, 2, 1, count_include_pad=False).tolist() == [[[[3, 4], [6, 7]]]]
    assert F.adaptive_avg_pool2d(x, 2).tolist() == [[[[3, 4], [6, 7]]]]
    F.max_pool2d(x, 2, 1).sum().backward()
    assert x.grad.tolist() == [[[[0, 0, 0], [0, 1, 1], [0, 1, 1]]]]


def test_the_first_of_equals_gets_the_gradient():
    x = fnn.ones(1, 3, 4, 4, requires_grad=True)
    F.max_pool2d(x, 2).sum().backward()
    assert x.grad[0, 0].tolist() == [[1, 0, 1, 0], [0, 0, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]
    assert np.isnan(F.max_pool2d(fnn.tensor([[[1.0, np.nan], [2.0, 3.0]]]), 2).item())
    assert F.max_pool2d(fnn.full((1, 3, 3), -np.inf), 3).item() == -np.inf


@pytest.mark.parametrize("kernel", [2, 3, 17])
def test_indices(kernel):
    x = normal(2, 5, 34, 19)
    y, indices = F.max_pool2d(x, kernel, padding=kernel // 2, return_indices=True)
    assert indices.dtype == np.int64
    picked = np.take_along_axis(x.data.reshape(2, 5, -1), indices.data.reshape(2, 5, -1), -1)
    np.testing.assert_array_equal(picked.reshape(y.shape), y.data)
    y, indices = F.adaptive_max_pool2d(x, (5, 4), return_indices=True)
    picked = np.take_along_axis(x.data.reshape(2, 5, -1), indices.data.reshape(2, 5, -1), -1)
    np.testing.assert_array_equal(picked.reshape(y.shape), y.data)
    y, indices = F.max_pool1d(x[0, :, 0], 3, return_indices=True)
    np.testing.assert_array_equal(np.take_along_axis(x.data[0, :, 0], indices.data, -1), y.data)
    y, indices = nn.AdaptiveMaxPool1d(4, return_indices=True)(x[0, :, 0])
    assert y.shape == indices.shape == (5, 4)


def test_memory_is_channels_last():
    x = normal(2, 5, 6, 4)
    y = F.max_pool2d(x, 2)
    assert y.data.strides[1] == 8
    for view in (x, fnn.tensor(x.data.transpose(0, 2, 3, 1).copy()).permute((0, 3, 1, 2)), x.flip(1).flip(1)):
        np.testing.assert_array_equal(F.max_pool2d(view, 2).data, y.data)
        view = view.detach().requires_grad_()
        F.avg_pool2d(view, 3, 1, 1).sum().backward()
        assert view.grad.shape == x.shape


def test_threads_and_empty_batches():
    x = normal(0, 3, 4, 4).requires_grad_()
    F.max_pool2d(x, 2).sum().backward()
    assert x.grad.shape == (0, 3, 4, 4)
    assert F.avg_pool2d(fnn.zeros(2, 0, 4, 4), 2).shape == (2, 0, 2, 2)
    assert F.max_pool2d(np.ones((1, 2, 2), int), 2).dtype == np.float32


def test_float32():
    x = fnn.tensor(RNG.standard_normal((2, 33, 7, 7)), dtype=np.float32, requires_grad=True)
    for pool in POOLS.values():
        y = pool(x)
        assert y.dtype == np.float32
        np.testing.assert_allclose(y.data, pool(x.detach().double()).data, rtol=1e-5, atol=1e-6)
        y.sum().backward()
        assert x.grad.dtype == np.float32
        x.grad = None


LAYERS = [
    (nn.MaxPool1d(3, 2, 1), (2, 3, 9), lambda x: F.max_pool1d(x, 3, 2, 1)),
    (nn.MaxPool2d((3, 2), 2, ceil_mode=True), (2, 3, 6, 7), lambda x: F.max_pool2d(x, (3, 2), 2, ceil_mode=True)),
    (nn.MaxPool2d(3, dilation=2), (3, 6, 7), lambda x: F.max_pool2d(x, 3, dilation=2)),
    (nn.MaxPool2d(1, 2), (2, 3, 6, 7), lambda x: x[..., ::2, ::2]), (nn.AvgPool1d(1), (2, 3, 9), lambda x: x),
    (nn.AvgPool1d(2), (2, 3, 9), lambda x: F.avg_pool1d(x, 2)),
    (nn.AvgPool2d(3, 1, 1, False, False), (2, 3, 6, 7), lambda x: F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)),
    (nn.AvgPool2d(2, divisor_override=3), (2, 3, 6, 7), lambda x: F.avg_pool2d(x, 2, divisor_override=3)),
    (nn.AdaptiveAvgPool1d(4), (2, 3, 9), lambda x: F.adaptive_avg_pool1d(x, 4)),
    (nn.AdaptiveAvgPool2d((None, 3)), (2, 3, 6, 7), lambda x: F.adaptive_avg_pool2d(x, (6, 3))),
    (nn.AdaptiveMaxPool1d(4), (2, 3, 9), lambda x: F.adaptive_max_pool1d(x, 4)),
    (nn.AdaptiveMaxPool2d(2), (2, 3, 6, 7), lambda x: F.adaptive_max_pool2d(x, 2)),
]


@pytest.mark.parametrize("case", range(len(LAYERS)))
def test_layers(case):
    layer, shape, function = LAYERS[case]
    x = normal(*shape)
    np.testing.assert_array_equal(layer(x).data, function(x).data)
    assert not layer.state_dict()
    assert "size=" in repr(layer)


X = fnn.zeros(1, 2, 4, 5)
REFUSED = [
    (lambda: F.max_pool2d(X, 6), "larger"),
    (lambda: F.max_pool2d(X, 2, padding=2), "half"),
    (lambda: F.max_pool2d(X, 2, padding=-1), "half"),
    (lambda: F.max_pool2d(X, 2, stride=0), "stride"),
    (lambda: F.max_pool2d(X, 2**70), "kernel_size"),
    (lambda: F.max_pool2d(X, 2, dilation=2**40), "dilation"),
    (lambda: F.max_pool2d(X, (1, 2, 3)), "one number or two"),
    (lambda: F.max_pool2d(X, ()), "one number or two"),
    (lambda: F.max_pool1d(X[0], (1, 2)), "one number"),
    (lambda: F.max_pool1d(X, 2), r"\(N, C, L\)"),
    (lambda: F.max_pool2d(X[0, 0], 2), r"\(N, C, H, W\)"),
    (lambda: F.max_pool2d(X[:, :, :0], 2), "no pixels"),
    (lambda: F.max_pool2d(X[:, :, :2], 2, padding=1, dilation=(3, 1)), "no pixel"),
    (lambda: F.avg_pool2d(X, 2, divisor_override=0), "divisor"),
    (lambda: F.avg_pool1d(X[0], 9), "larger"),
    (lambda: F.adaptive_avg_pool2d(X, 0), "output_size"),
    (lambda: F.adaptive_avg_pool2d(X, (1, 2, 3)), "output_size"),
    (lambda: F.adaptive_max_pool2d(X, (None, -1)), "output_size"),
    (lambda: nn.MaxPool2d(0), "kernel_size"),
    (lambda: nn.AvgPool2d(2, -1), "stride"),
    (lambda: nn.AdaptiveAvgPool2d(0), "output_size"),
]


@pytest.mark.parametrize("case", range(len(REFUSED)))
def test_refused(case):
    wrong, words = REFUSED[case]
    with pytest.raises(ValueError, match=words):
        wrong()


def test_refused_types():
    for wrong in (
        lambda: F.max_pool2d(X, 2.0),
        lambda: F.avg_pool2d(X, None),
        lambda: F.adaptive_avg_pool2d(X, (None, 1.5)),
        lambda: nn.MaxPool2d("2"),
        lambda: nn.AdaptiveMaxPool2d(1.0),
    ):
        with pytest.raises(TypeError):
            wrong()
