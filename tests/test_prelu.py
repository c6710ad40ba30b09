"""PReLU: the kernel on every row against NumPy in float64, in every layout; the op's gradients, and ONNX's operator."""

import numpy as np
import pytest

import fastnn as fnn
from fastnn import nn

F = nn.functional
# Channels that fill vectors and that do not, more than the kernel repeats, one pixel, no pixel.
SHAPES = [(1, 1), (3, 5), (2, 3, 7), (4, 10, 6, 5), (2, 33, 3, 3), (2, 3, 1, 1), (3, 300, 2), (2, 257, 3, 3), (0, 3, 2)]
SHAPES += [(3, 3, 99, 70), (2, 5, 1, 4), (2, 5, 4, 1)]


@pytest.fixture(params=[np.float32, np.float64], ids=["f32", "f64"])
def dtype(request):
    return request.param


def laid_out(a, how):
    if how == "channels last" and a.ndim > 2:
        return np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1)
    return np.repeat(a, 2, axis=-1)[..., ::2] if how == "strided" else a


def expected(x, weight, dy):
    """y, dx and dweight, and what the sum of dweight's terms without their signs is."""
    slopes = weight.reshape(-1, *[1] * (x.ndim - 2))
    parts = np.where(x > 0, 0, dy.astype(np.float64) * x)
    axes = tuple(d for d in range(x.ndim) if d != 1 or len(weight) == 1)
    return (
        np.where(x > 0, x, slopes * x),
        np.where(x > 0, dy, slopes * dy),
        parts.sum(axes).reshape(weight.shape),
        np.abs(parts).sum(axes).reshape(weight.shape),
    )


def computed(x, weight, dy):
    given, slopes = fnn.as_tensor(x).detach().requires_grad_(), fnn.tensor(weight, requires_grad=True)
    y = F.prelu(given, slopes)
    y.backward(fnn.as_tensor(dy))
    return y.detach().numpy(), given.grad.numpy(), slopes.grad.numpy()


@pytest.mark.parametrize("layout", ["contiguous", "channels last", "strided"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("each", [False, True], ids=["one slope", "a slope each"])
def test_prelu(isa, shape, layout, each, dtype, rng):
    x, dy = (laid_out(rng.standard_normal(shape).astype(dtype), layout) for _ in range(2))
    weight = rng.standard_normal(shape[1] if each else 1).astype(dtype)
    y, dx, dweight = computed(x, weight, dy)
    want_y, want_dx, want_dweight, size = expected(x, weight, dy)
    np.testing.assert_array_equal(y, want_y)
    np.testing.assert_array_equal(dx, want_dx)
    assert np.all(np.abs(dweight - want_dweight) <= 64 * np.finfo(dtype).eps * size)


def test_whole_numbers_are_exact_and_zero_is_not_positive(isa, dtype, rng):
    x, dy = (rng.integers(-3, 4, (2, 7, 5, 9)).astype(dtype) for _ in range(2))
    weight = rng.integers(-2, 3, 7).astype(dtype)
    for got, want in zip(computed(x, weight, dy), expected(x, weight, dy), strict=False):
        np.testing.assert_array_equal(got, want)


def test_nan_stays(isa, dtype):
    x = np.full((1, 2, 9), np.nan, dtype)
    y, dx, dweight = computed(x, np.array([0.5, 2], dtype), np.ones_like(x))
    assert np.isnan(y).all()
    assert np.isnan(dweight).all()
    np.testing.assert_array_equal(dx[0, :, 0], [0.5, 2])


def test_one_gradient_alone(rng):
    x, weight = fnn.tensor(rng.standard_normal((2, 3, 4, 4))), fnn.tensor(rng.standard_normal(3))
    both = computed(x.data, weight.data, np.ones(x.shape))
    for which in (0, 1):
        given = [x.detach(), weight.detach()]
        given[which].requires_grad = True
        F.prelu(*given).sum().backward()
        np.testing.assert_array_equal(given[which].grad.data, both[1 + which])
        assert given[1 - which].grad is None


def test_bits_for_every_thread_count(rng):
    before = fnn.get_num_threads()
    x, dy = (rng.standard_normal((8, 10, 60, 60)).astype(np.float32) for _ in range(2))
    weight = rng.standard_normal(10).astype(np.float32)
    made = []
    try:
        for threads in (1, 2, 3):
            fnn.set_num_threads(threads)
            for layout in ("contiguous", "channels last"):
                made.append(computed(laid_out(x, layout), weight, laid_out(dy, layout)))
    finally:
        fnn.set_num_threads(before)
    for one, other in zip(made, made[2:], strict=False):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("slopes", [1, 3])
def test_gradients_of_gradients(slopes, rng):
    x = fnn.tensor(rng.standard_normal((2, 3, 2, 2)), requires_grad=True)
    weight = fnn.tensor(rng.standard_normal(slopes), requires_grad=True)
    assert fnn.gradcheck(F.prelu, (x, weight))
    y = F.prelu(x, weight)
    (dx,) = fnn.grad((y * y).sum(), x, create_graph=True)
    dx.sum().backward()  # of x: 2 x, then 2 weight^2 x below zero
    slope = np.broadcast_to(weight.data.reshape(-1, 1, 1), x.shape)
    np.testing.assert_allclose(x.grad.data, np.where(x.data > 0, 2, 2 * slope**2))


@pytest.mark.parametrize(
    ("shape", "of"), [((3, 1, 1), (2, 3, 2, 2)), ((1, 3, 1), (2, 3, 4)), ((), (2, 3)), ((1, 1), (5, 4))]
)
def test_slopes_that_broadcast_along_channels(shape, of, rng):
    x, weight = fnn.tensor(rng.standard_normal(of)), fnn.tensor(rng.standard_normal(shape), requires_grad=True)
    y = F.prelu(x, weight)
    np.testing.assert_array_equal(y.data, np.where(x.data > 0, x.data, x.data * weight.data))
    y.sum().backward()
    assert weight.grad.shape == shape
    assert fnn.gradcheck(F.prelu, (x, weight))


@pytest.mark.parametrize(
    ("shape", "of"), [((3, 1, 1), (3, 2, 2)), ((1, 1, 3), (2, 3, 3)), ((1, 3, 1), (2, 3)), ((1, 1, 1), (2, 3))]
)
def test_slopes_along_other_axes_are_refused(shape, of):
    with pytest.raises(ValueError, match="prelu: x is"):
        F.prelu(fnn.ones(*of), fnn.ones(*shape))


def test_types_meet_as_in_other_ops():
    assert F.prelu(fnn.tensor([[-1.0]]), np.array([0.5])).dtype == np.float64
    assert F.prelu(np.array([[-2]]), fnn.tensor([0.5])).tolist() == [[-1.0]]
    assert F.prelu(fnn.tensor(-2.0), fnn.tensor([0.5])).shape == ()
