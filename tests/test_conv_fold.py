"""Transposed convolution, and so the gradient to a convolution's input, where it is made as a product and a fold."""

import numpy as np
import pytest

import fastnn as fnn
from fastnn import nn

F = nn.functional
# Batch, channels in, height, width; channels out, kernel; options. Few channels, or one pixel; columns in several lots.
CASES = [
    ((2, 16, 5, 7), (3, 4, 4), {"stride": 2, "padding": 1}),
    ((1, 8, 6, 3), (1, 5, 2), {"stride": (2, 3), "padding": (2, 0), "output_padding": 1}),
    ((2, 8, 4, 5), (2, 3, 3), {"stride": 3, "dilation": 2, "padding": 1}),
    ((5, 8, 40, 40), (3, 4, 4), {"stride": 2, "padding": 1}),
    ((1, 9, 1, 1), (20, 4, 4), {}),
    ((3, 7, 1, 1), (33, 3, 5), {"padding": 1, "stride": 2, "output_padding": 1}),
    ((1, 4, 1, 1), (2, 7, 7), {"padding": 3}),
    ((2, 4, 3, 3), (3, 2, 2), {"stride": 4, "output_padding": 2}),  # pixels that nothing reaches
]


def pair(n):
    return n if isinstance(n, tuple) else (n, n)


def transposed(x, w, bias, stride=1, padding=0, output_padding=0, dilation=1):
    (sy, sx), (py, px), (oy, ox), (dy, dx) = map(pair, (stride, padding, output_padding, dilation))
    (n, _, h, width), (kh, kw) = x.shape, w.shape[2:]
    whole = np.zeros((n, w.shape[1], (h - 1) * sy + (kh - 1) * dy + 1 + oy, (width - 1) * sx + (kw - 1) * dx + 1 + ox))
    for i in range(kh):
        for j in range(kw):
            to = whole[:, :, i * dy : i * dy + (h - 1) * sy + 1 : sy, j * dx : j * dx + (width - 1) * sx + 1 : sx]
            to += np.einsum("nfhw,fc->nchw", x, w[:, :, i, j])
    return whole[:, :, py : whole.shape[2] - py, px : whole.shape[3] - px] + bias.reshape(-1, 1, 1)


def whole_numbers(rng, *shape):
    return rng.integers(-3, 4, shape).astype(np.float32)


@pytest.mark.parametrize(("images", "weight", "options"), CASES, ids=str)
def test_whole_numbers_are_exact(isa, images, weight, options, rng):
    x, w, bias = whole_numbers(rng, *images), whole_numbers(rng, images[1], *weight), whole_numbers(rng, weight[0])
    want = transposed(x, w, bias, **options)
    np.testing.assert_array_equal(F.conv_transpose2d(x, w, bias, **options).numpy(), want)
    doubles = [a.astype(np.float64) for a in (x, w, bias)]
    for name, most in (("relu", np.inf), ("relu6", 6)):
        y = F.conv_transpose2d(*doubles, **options, activation=name)
        np.testing.assert_array_equal(y.numpy(), np.clip(want, 0, most))


@pytest.mark.parametrize(("images", "weight", "options"), CASES, ids=str)
def test_gradient_of_a_convolution(isa, images, weight, options, rng):
    dy, w = whole_numbers(rng, *images), whole_numbers(rng, images[1], *weight)
    want = transposed(dy, w, np.zeros(weight[0]), **options)
    x = fnn.zeros(*want.shape, requires_grad=True)
    options = {name: value for name, value in options.items() if name != "output_padding"}
    y = F.conv2d(x, w, **options)
    y.backward(fnn.tensor(dy))
    np.testing.assert_array_equal(x.grad.data, want)


@pytest.mark.parametrize("case", [CASES[0], CASES[4]], ids=str)
def test_frozen_layers_keep_the_weight_for_every_row(case, rng):
    (_, channels, h, w), (filters, kernel, _), options = case
    layer, before = nn.ConvTranspose2d(channels, filters, kernel, **options), fnn.kernels.isa()
    x = fnn.tensor(rng.standard_normal((2, channels, h, w)), dtype=np.float32)
    want = layer(x).detach().numpy()
    layer.freeze()
    try:
        for row in (*fnn.kernels.isas(), before):
            fnn.kernels.use_isa(row)
            for batch in (x, x[:1], x):
                np.testing.assert_allclose(layer(batch).numpy(), want[: len(batch)], rtol=1e-4, atol=1e-5)
    finally:
        fnn.kernels.use_isa(before)


def test_bits_for_every_thread_count(rng):
    before, made = fnn.get_num_threads(), []
    x, w = (rng.standard_normal(shape).astype(np.float32) for shape in ((4, 64, 32, 32), (64, 3, 4, 4)))
    try:
        for threads in (1, 2, 3):
            fnn.set_num_threads(threads)
            made.append(F.conv_transpose2d(x, w, stride=2, padding=1).numpy())
    finally:
        fnn.set_num_threads(before)
    for other in made[1:]:
        np.testing.assert_array_equal(made[0], other)
