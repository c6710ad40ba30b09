"""matmul against three oracles: the reference row, float64 with a bound that grows with k, and integers, exactly."""

import itertools

import numpy as np
import pytest

import fastnn
from fastnn import kernels

EDGES = [1, 2, 3, 5, 6, 7, 8, 9, 13, 16, 17, 31, 33, 48, 49, 63, 64, 65]


@pytest.fixture(params=[np.float32, np.float64], ids=["f32", "f64"])
def dtype(request):
    return request.param


def integers(rng, shape, dtype):
    """Small whole numbers: their products and sums are exact in both types, in any order."""
    return rng.integers(-8, 9, shape).astype(dtype)


def layouts(x):
    """The same matrix in other memory orders."""
    yield "plain", x
    yield "transposed", np.ascontiguousarray(x.T).T
    wide = np.zeros((x.shape[0] * 2, x.shape[1] * 3), x.dtype)
    wide[::2, ::3] = x
    yield "sliced", wide[::2, ::3]
    yield "rows sliced", np.ascontiguousarray(np.hstack([x, x]))[:, : x.shape[1]]
    yield "reversed", np.ascontiguousarray(x[::-1, ::-1])[::-1, ::-1]


def shapes():
    rng = np.random.default_rng(0)
    yield from (
        (1, 1, 1),
        (1, 128, 1),
        (1, 64, 200),
        (200, 64, 1),
        (1, 513, 513),
        (6, 1, 16),
        (128, 64, 10),
        (64, 128, 10),
    )
    yield from (
        (m, 17, n) for m, n in itertools.product([1, 5, 6, 7, 12, 13, 14, 15], [1, 15, 16, 17, 48, 63, 64, 65, 130])
    )
    yield from (tuple(int(v) for v in rng.choice(EDGES, 3)) for _ in range(40))
    for edge in (127, 128, 129, 384, 385, 511, 512, 513):
        yield from ((edge, 7, 9), (7, edge, 17), (5, 9, edge), (66, edge, 70))
    yield from ((300, 513, 300), (769, 40, 33), (40, 40, 1100), (8, 1025, 257))


@pytest.mark.parametrize("shape", list(dict.fromkeys(shapes())), ids=lambda s: "x".join(map(str, s)))
def test_exact_on_integers(isa, shape, dtype):
    m, k, n = shape
    rng = np.random.default_rng(m * n + k)
    a, b = integers(rng, (m, k), dtype), integers(rng, (k, n), dtype)
    np.testing.assert_array_equal(kernels.matmul(a, b), a @ b)
    np.testing.assert_array_equal(kernels.matmul(np.asfortranarray(a), np.asfortranarray(b)), a @ b)


@pytest.mark.parametrize("shape", [(1, 40, 33), (7, 19, 18), (16, 16, 16), (67, 130, 65), (4, 300, 100), (1, 7, 3)])
def test_every_pair_of_layouts(isa, shape, dtype):
    m, k, n = shape
    rng = np.random.default_rng(1)
    a, b, bias = integers(rng, (m, k), dtype), integers(rng, (k, n), dtype), integers(rng, n, dtype)
    want = a @ b
    for (a_name, a_view), (b_name, b_view) in itertools.product(layouts(a), layouts(b)):
        np.testing.assert_array_equal(kernels.matmul(a_view, b_view), want, err_msg=f"{a_name} @ {b_name}")
        out = np.full((m, 2 * n), 99, dtype)[:, :n]
        kernels.matmul(a_view, b_view, bias, "relu", out=out)
        np.testing.assert_array_equal(out, np.maximum(want + bias, 0), err_msg=f"{a_name} @ {b_name}")
        assert (out.base[:, n:] == 99).all()
        kernels.matmul(a_view, b_view, out=out, accumulate=True)
        np.testing.assert_array_equal(out, np.maximum(want + bias, 0) + want, err_msg=f"{a_name} @ {b_name}")


@pytest.mark.parametrize("shape", [(20, 300, 1024), (33, 257, 1000), (64, 530, 1001), (21, 700, 18)], ids=str)
def test_rows_a_page_apart(isa, shape, dtype):
    m, k, n = shape
    rng = np.random.default_rng(m)
    a, b = integers(rng, (m, k), dtype), integers(rng, (k, 1024), dtype)[:, :n]
    np.testing.assert_array_equal(kernels.matmul(a, b), a @ b)


@pytest.mark.parametrize("n", [7, 8, 15, 135, 136, 137, 143, 144, 271, 272, 280, 513])
@pytest.mark.parametrize("m", [1, 2, 3, 8])
def test_few_rows_times_rows_far_apart(isa, m, n, dtype):
    rng = np.random.default_rng(n)
    a, b, bias = integers(rng, (m, 70), dtype), integers(rng, (n, 70), dtype), integers(rng, n, dtype)
    want = a.astype(np.float64) @ b.T.astype(np.float64) + bias
    np.testing.assert_array_equal(kernels.matmul(a, b.T, bias), want)


@pytest.mark.parametrize("shape", [(33, 1, 50), (64, 64, 64), (10, 2000, 30), (1, 3000, 100), (128, 513, 65)])
def test_error_bound(isa, shape, dtype):
    m, k, n = shape
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(m, k)).astype(dtype), rng.normal(size=(k, n)).astype(dtype)
    exact = a.astype(np.longdouble) @ b.astype(np.longdouble)
    bound = (k + 2) * np.finfo(dtype).eps / 2 * (abs(a).astype(np.longdouble) @ abs(b).astype(np.longdouble))
    got = kernels.matmul(a, b)
    assert (abs(got - exact) <= bound).all()
    kernels.use_isa("reference")
    assert (abs(got - kernels.matmul(a, b)) <= 2 * bound).all()


@pytest.mark.parametrize(
    "activation",
    [None, "relu", "relu6", "hardswish", "gelu", "tanh", "sigmoid", "silu", "leaky_relu", "elu", "softplus"],
)
@pytest.mark.parametrize("shape", [(1, 5, 3), (9, 33, 70), (32, 8, 64), (3, 20, 130)])
def test_epilogue_is_the_unfused_twin(isa, activation, shape, dtype):
    m, k, n = shape
    rng = np.random.default_rng(3)
    a, b, bias = rng.normal(size=(m, k)), rng.normal(size=(k, n)), rng.normal(size=n)
    a, b, bias = (x.astype(dtype) for x in (a, b, bias))
    got = kernels.matmul(a, b, bias, activation, alpha=0.2)
    want = kernels.add(kernels.matmul(a, b), bias)
    if activation in ("leaky_relu", "elu"):
        want = getattr(kernels, activation)(want, 0.2)
    elif activation:
        want = getattr(kernels, activation)(want)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(got, want, rtol=8 * eps, atol=8 * eps * k**0.5)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((3, 4, 5), (5, 6)),
        ((4, 5), (3, 5, 6)),
        ((2, 3, 4, 5), (2, 3, 5, 6)),
        ((2, 1, 4, 5), (1, 3, 5, 6)),
        ((7, 1, 1, 9), (7, 1, 9, 1)),
        ((40, 8, 8), (40, 8, 8)),
        ((2, 70, 33), (2, 33, 70)),
        ((0, 4, 5), (0, 5, 6)),
        ((3, 0, 5), (5, 6)),
        ((3, 4, 0), (0, 6)),
        ((3, 4, 5), (5, 0)),
    ],
)
def test_batches(isa, a, b, dtype):
    rng = np.random.default_rng(4)
    x, y = integers(rng, a, dtype), integers(rng, b, dtype)
    np.testing.assert_array_equal(kernels.matmul(x, y), x @ y)
    x_t, y_t = (np.ascontiguousarray(v.swapaxes(-1, -2)).swapaxes(-1, -2) for v in (x, y))
    np.testing.assert_array_equal(kernels.matmul(x_t, y_t), x @ y)
    np.testing.assert_array_equal(kernels.matmul(x[::-1], y), x[::-1] @ y)
    out = np.zeros((*np.matmul(x, y).shape[:-1], y.shape[-1] + 3), dtype)[..., : y.shape[-1]]
    kernels.matmul(x, y, out=out)
    np.testing.assert_array_equal(out, x @ y)


def test_batches_of_permuted_heads(isa, dtype):
    """(B, T, N, D) seen as (B, N, T, D), as attention has it, with out in the same order."""
    rng = np.random.default_rng(5)
    q, k = (integers(rng, (2, 10, 3, 16), dtype).transpose(0, 2, 1, 3) for _ in range(2))
    np.testing.assert_array_equal(kernels.matmul(q, k.swapaxes(-1, -2)), q @ k.swapaxes(-1, -2))
    weights = integers(rng, (2, 3, 10, 10), dtype)
    out = np.zeros((2, 10, 3, 16), dtype)
    kernels.matmul(weights, k, out=out.transpose(0, 2, 1, 3))
    np.testing.assert_array_equal(out.transpose(0, 2, 1, 3), weights @ k)


def test_nothing_to_sum_gives_the_bias(isa, dtype):
    a, b, bias = np.zeros((3, 0), dtype), np.zeros((0, 20), dtype), np.linspace(-1, 1, 20).astype(dtype)
    np.testing.assert_array_equal(kernels.matmul(a, b), np.zeros((3, 20)))
    np.testing.assert_array_equal(kernels.matmul(a, b, bias, "relu"), np.maximum(np.tile(bias, (3, 1)), 0))
    out = np.ones((3, 20), dtype)
    kernels.matmul(a, b, out=out, accumulate=True)
    np.testing.assert_array_equal(out, 1)


def test_nan_and_inf_go_where_they_belong(isa, dtype):
    a, b = np.ones((20, 70), dtype), np.ones((70, 40), dtype)
    a[3, 5] = np.nan
    b[7, 9] = np.inf
    want = np.full((20, 40), 70.0)
    want[3] = np.nan
    want[:, 9] = np.inf
    want[3, 9] = np.nan
    for x, y in itertools.product((a, np.asfortranarray(a)), (b, np.asfortranarray(b))):
        np.testing.assert_array_equal(kernels.matmul(x, y), want)
    assert np.isnan(kernels.matmul(a, b, activation="relu")[3]).all()


def test_out_may_overlap_an_input(isa, dtype):
    rng = np.random.default_rng(6)
    a, b = integers(rng, (20, 20), dtype), integers(rng, (20, 20), dtype)
    want = a @ b
    kernels.matmul(a, b, out=a)
    np.testing.assert_array_equal(a, want)


def test_errors():
    a, b = np.ones((3, 4), np.float32), np.ones((4, 5), np.float32)
    for wrong in (
        lambda: kernels.matmul(a, a),
        lambda: kernels.matmul(a[0], b),
        lambda: kernels.matmul(a, b[:, 0]),
        lambda: kernels.matmul(np.ones((2, 3, 4), np.float32), np.ones((3, 4, 5), np.float32)),
        lambda: kernels.matmul(a, b, np.ones(4, np.float32)),
        lambda: kernels.matmul(a, b, np.ones((1, 5), np.float32)),
        lambda: kernels.matmul(a, b, activation="reluu"),
        lambda: kernels.matmul(a, b, accumulate=True),
        lambda: kernels.matmul(a, b, activation="relu", out=np.ones((3, 5), np.float32), accumulate=True),
        lambda: kernels.matmul(a, b, out=np.ones((3, 4), np.float32)),
        lambda: kernels.matmul(a, b, out=np.ones((5, 3), np.float32).T),
        lambda: kernels.matmul(a, b, out=np.broadcast_to(np.float32(0), (3, 5))),
        lambda: kernels.matmul(a, b, out=np.lib.stride_tricks.as_strided(np.ones(9, np.float32), (3, 5), (4, 4))),
    ):
        with pytest.raises(ValueError, match=r"^matmul: "):
            wrong()
    for wrong in (
        lambda: kernels.matmul(a, b.astype(np.float64)),
        lambda: kernels.matmul(a.astype(np.int32), b),
        lambda: kernels.matmul([[1.0]], b),
        lambda: kernels.matmul(a, None),
        lambda: kernels.matmul(a, b, activation=3),
        lambda: kernels.matmul(a, b, out=np.ones((3, 5))),
        lambda: kernels.matmul(a.astype(np.float16), b.astype(np.float16)),
    ):
        with pytest.raises(TypeError, match=r"^matmul: "):
            wrong()


@pytest.mark.parametrize(
    "shape", [(1, 300, 1100, 1001), (1, 66, 130, 2048), (3, 260, 600, 333), (2, 24, 2100, 290)], ids=str
)
@pytest.mark.parametrize("transposed", [False, True])
def test_slivers_packed_ahead(isa, shape, transposed, dtype, rng):
    """Large enough for threads to pack b as they go: ragged slivers, parts of k, a b of each product."""
    if isa == "reference":
        pytest.skip("plain loops pack nothing")
    batch, m, k, n = shape
    a, b = integers(rng, (batch, k, m) if transposed else (batch, m, k), dtype), integers(rng, (batch, k, n), dtype)
    a, bias = a.swapaxes(1, 2) if transposed else a, integers(rng, n, dtype)
    want = np.matmul(a.astype(np.float64), b.astype(np.float64))
    for threads in (1, 2, 3):
        with fastnn.threads(threads):
            np.testing.assert_array_equal(kernels.matmul(a, b, bias), want + bias)
            np.testing.assert_array_equal(kernels.matmul(a, b[:1], bias, "relu"), np.maximum(a @ b[:1] + bias, 0))
            out = np.ones((batch, m, n), dtype)
            np.testing.assert_array_equal(kernels.matmul(a, b, out=out, accumulate=True), want + 1)


@pytest.mark.parametrize("shape", [(530, 256, 130, False), (256, 140, 515, True), (133, 259, 421, True)], ids=str)
def test_crowded_operands_are_packed(isa, shape, rng):
    """Rows of a multiple of 512 bytes, in products large enough to be packed; whole numbers are exact."""
    m, n, k, transposed = shape
    a = rng.integers(-3, 4, (k, (m + 127) // 128 * 128) if transposed else (m, k)).astype(np.float32)
    a = a.T[:m] if transposed else a
    b = rng.integers(-3, 4, (k, n)).astype(np.float32)
    np.testing.assert_array_equal(kernels.matmul(a, b), a.astype(np.int64) @ b.astype(np.int64))
