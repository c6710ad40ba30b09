"""Kernels of attention: against float64 NumPy over masks, heads, lengths and sizes around lanes; hostile input."""

import itertools

import numpy as np
import pytest

from fastnn import kernels

SIZES = [1, 2, 3, 7, 8, 9, 15, 16, 17, 24, 31, 33, 64, 72, 100]
# (B, N, M, T, S, D, E); T * N / M up to 4 reads k and v in place.
SHAPES = [
    *((1, 2, 2, 5, 9, d, d) for d in SIZES),
    *((2, 1, 1, 3, 19, d, 5) for d in SIZES),
    (2, 4, 2, 13, 37, 16, 8),
    (1, 6, 2, 7, 7, 24, 40),
    (1, 1, 1, 200, 130, 8, 8),
    (1, 1, 1, 9, 600, 16, 16),  # more than one block of keys
    (1, 2, 1, 1, 700, 12, 20),  # more than one part of them
    (1, 1, 1, 4, 257, 64, 64),
    (1, 1, 1, 1, 1, 3, 3),
    (1, 2, 2, 300, 5, 4, 4),
    (1, 1, 1, 6, 6, 256, 256),
]


@pytest.fixture(params=[np.float32, np.float64], ids=["f32", "f64"])
def dtype(request):
    return request.param


def arrays(shape, dtype, seed=0):
    b, n, m, t, s, d, e = shape
    rng = np.random.default_rng(seed)
    sizes = [(b, n, t, d), (b, m, s, d), (b, m, s, e), (b, n, t, e)]
    return [rng.normal(size=size).astype(dtype) for size in sizes]


def added(mask, causal, diagonal, t, s):
    """Everything that hides or adds, as float64 that broadcasts to (B, N, T, S)."""
    total = np.zeros((1, 1, t, s))
    if mask is not None:
        total = total + (np.where(mask, 0, -np.inf) if mask.dtype == bool else mask.astype(np.float64))
    return np.where(causal & (np.arange(s) > np.arange(t)[:, None] + diagonal), -np.inf, total)


def oracle(q, k, v, dout, mask=None, causal=False, diagonal=0, scale=None, kept=1.0):
    """out, lse, dq, dk, dv in float64; rows that see nothing are 0 and -inf."""
    q, k, v, dout = (a.astype(np.float64) for a in (q, k, v, dout))
    m = k.shape[1]
    group = q.shape[1] // m if m else 1
    k, v = np.repeat(k, group, 1), np.repeat(v, group, 1)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    s = scale * q @ k.swapaxes(2, 3) + added(mask, causal, diagonal, q.shape[2], k.shape[2])
    peak = s.max(-1, keepdims=True, initial=-np.inf)
    e = np.exp(s - np.where(np.isneginf(peak), 0, peak))
    total = e.sum(-1, keepdims=True)
    p = np.divide(e, total, out=np.zeros_like(e), where=total > 0)
    with np.errstate(divide="ignore"):
        lse = (peak + np.log(total))[..., 0]
    out = (p * kept) @ v
    ds = p * ((dout @ v.swapaxes(2, 3)) * kept - (dout * out).sum(-1, keepdims=True))
    shared = lambda x: x.reshape(len(x), m, group, *x.shape[2:]).sum(2)  # noqa: E731
    dk, dv = shared(scale * ds.swapaxes(2, 3) @ q), shared((p * kept).swapaxes(2, 3) @ dout)
    return out, lse, scale * ds @ k, dk, dv


def near(got, want, dtype):
    assert got.dtype == dtype
    np.testing.assert_array_equal(np.isneginf(got), np.isneginf(want))
    finite = np.isfinite(want)
    bound = 200 * np.finfo(dtype).eps * (np.abs(want[finite]).max(initial=0) + 1)
    np.testing.assert_allclose(got[finite], want[finite], rtol=0, atol=bound)


def check(q, k, v, dout, dtype, kept=1.0, want=None, mask=None, **options):
    out, stats = kernels.attention(q, k, v, mask, **options)
    grads = kernels.attention_backward(dout, q, k, v, out, stats, mask, **options)
    with np.errstate(divide="ignore"):
        lse = np.log(2, dtype=dtype) * (stats[..., 0] + np.log2(stats[..., 1]))
    options = {name: options[name] for name in options if name in ("causal", "diagonal", "scale")}
    want = oracle(q, k, v, dout, mask, kept=kept, **options)
    for got, expected in zip((out, lse, *grads), want, strict=True):
        near(got, expected, dtype)
    return out, lse, *grads


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("causal", [False, True])
def test_against_float64(isa, shape, causal, dtype):
    q, k, v, dout = arrays(shape, dtype)
    check(q, k, v, dout, dtype, causal=causal)


MASKS = [(a, b, c, d) for a, b, c, d in itertools.product((0, 1), repeat=4)]


@pytest.mark.parametrize("broadcast", MASKS)
@pytest.mark.parametrize("kind", ["bool", "float"])
@pytest.mark.parametrize("queries", [2, 14])
def test_masks(isa, broadcast, kind, queries, dtype):
    """Over all dimensions or broadcast along some, alone and with causal; some rows see nothing."""
    shape = (2, 4, 2, queries, 21, 10, 12)
    q, k, v, dout = arrays(shape, dtype)
    size = [1 if one else n for one, n in zip(broadcast, (2, 4, queries, 21), strict=True)]
    rng = np.random.default_rng(sum(broadcast))
    keep = rng.random(size) < 0.7
    keep[0, 0, 0] = False
    mask = keep if kind == "bool" else np.where(keep, rng.normal(size=size), -np.inf).astype(dtype)
    for causal, diagonal in [(False, 0), (True, 0), (True, 7), (True, -1)]:
        check(q, k, v, dout, dtype, mask=mask, causal=causal, diagonal=diagonal)


def test_mask_of_any_strides(isa, dtype):
    q, k, v, dout = arrays((1, 2, 2, 12, 30, 8, 8), dtype)
    wide = np.random.default_rng(1).random((30, 2, 24)) < 0.5
    mask = wide.transpose(1, 2, 0)[:, ::2]
    check(q, k, v, dout, dtype, mask=mask)
    check(q, k, v, dout, dtype, mask=np.asfortranarray(mask.astype(dtype)))


@pytest.mark.parametrize("queries", [1, 5])
def test_rows_that_see_nothing(isa, queries, dtype):
    q, k, v, dout = arrays((1, 1, 1, queries, 20, 6, 6), dtype)
    for mask in (np.zeros((1, 20), bool), np.full((queries, 20), -np.inf, dtype)):
        out, lse, dq, dk, dv = check(q, k, v, dout, dtype, mask=mask)
        assert not out.any()
        assert np.isneginf(lse).all()
        assert not any(g.any() for g in (dq, dk, dv))


def test_least_number_as_mask_makes_equals(isa, dtype):
    """Masks of finfo.min are finite: a row of them is a row of equals, as in NumPy."""
    q, k, v, dout = arrays((1, 1, 1, 6, 10, 4, 4), dtype)
    mask = np.full((6, 10), np.finfo(dtype).min, dtype)
    mask[3:, :5] = 0
    out = kernels.attention(q, k, v, mask)[0][0, 0]
    np.testing.assert_allclose(out[:3], np.broadcast_to(v[0, 0].mean(0), (3, 4)), rtol=0, atol=1e-5)
    near(out[3:], oracle(q, k[:, :, :5], v[:, :, :5], dout)[0][0, 0, 3:], dtype)


@pytest.mark.parametrize("queries", [1, 6])
@pytest.mark.parametrize("low", [-1e30, None])
def test_gradients_of_equals(isa, queries, low, dtype):
    """Where a finite mask covers a row, its scores are all the same number, and the gradients those of a mean."""
    low = low or np.finfo(dtype).min
    q, k, v, dout = arrays((1, 1, 1, queries, 300, 4, 4), dtype)
    mask = np.full((queries, 300), low, dtype)
    out, stats = kernels.attention(q, k, v, mask)
    dq, dk, dv = kernels.attention_backward(dout, q, k, v, out, stats, mask)
    p = np.full((queries, 300), 1 / 300)
    ds = p * (dout @ v.swapaxes(2, 3) - (dout * out).sum(-1, keepdims=True))
    for got, want in ((dq, 0.5 * ds @ k), (dk, 0.5 * ds.swapaxes(2, 3) @ q), (dv, p.T @ dout)):
        near(got, want, dtype)


@pytest.mark.parametrize("shape", [(1, 2, 1, 2, 70, 8, 8), (2, 2, 2, 20, 300, 16, 16), (1, 2, 2, 7, 5, 8, 8)])
@pytest.mark.parametrize("p", [0.3, 1.0])
def test_dropout(isa, shape, p, dtype):
    b, n, _, t, s, _, _ = shape
    q, k, v, dout = arrays(shape, dtype)
    words = np.empty((b, n, t, -(-s // 64) * 64))
    kept = kernels.dropout_mask(words, p, 7, 3)[..., :s]
    assert (kept == 0).any()
    for causal in (False, True):
        check(q, k, v, dout, dtype, kept=kept, dropout=p, seed=7, offset=3, causal=causal)


@pytest.mark.parametrize("shape", [(2, 3, 3, 40, 40, 16, 16), (2, 4, 2, 1, 40, 16, 24), (1, 2, 2, 30, 30, 7, 7)])
def test_any_strides(isa, shape, dtype):
    """Views of (B, T, N, D), reversed and padded memory give the bits of dense arrays; results lie as (B, T, N, D)."""
    q, k, v, dout = arrays(shape, dtype)
    out, stats = kernels.attention(q, k, v, causal=True)
    want = (out, stats, *kernels.attention_backward(dout, q, k, v, out, stats, causal=True))
    assert out.transpose(0, 2, 1, 3).flags.c_contiguous
    assert want[3].transpose(0, 2, 1, 3).flags.c_contiguous
    rows = lambda x: np.ascontiguousarray(x.transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3)  # noqa: E731
    back = lambda x: x[:, :, ::-1].copy()[:, :, ::-1]  # noqa: E731
    padded = lambda x: np.concatenate([x, x + 1], -1)[..., : x.shape[-1]]  # noqa: E731
    apart = lambda x: np.repeat(x, 2, -1)[..., ::2]  # noqa: E731
    for view in (rows, back, padded, apart, np.asfortranarray):
        a, b, c, d = (view(x) for x in (q, k, v, dout))
        got_out, got_stats = kernels.attention(a, b, c, causal=True)
        got = (got_out, got_stats, *kernels.attention_backward(d, a, b, c, view(out), stats, causal=True))
        for x, y in zip(got, want, strict=True):
            np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("nothing", range(4))
def test_nothing(isa, nothing, dtype):
    shape = [(0, 2, 2, 3, 4, 5, 5), (2, 0, 0, 3, 4, 5, 5), (2, 2, 2, 0, 4, 5, 5), (2, 2, 2, 3, 0, 5, 5)][nothing]
    q, k, v, dout = arrays(shape, dtype)
    out, *_ = check(q, k, v, dout, dtype)
    assert not out.any()


def test_no_depth_is_a_mean(isa, dtype):
    q, k, v, dout = arrays((1, 1, 1, 6, 5, 0, 3), dtype)
    check(q, k, v, dout, dtype, scale=1.0)


@pytest.mark.parametrize("queries", [1, 9])
def test_large_scores_and_special_values(isa, queries, dtype):
    q, k, v, _ = arrays((1, 1, 1, queries, 40, 8, 8), dtype)
    out, stats = kernels.attention(100 * q, 100 * k, v, scale=1.0)
    assert np.isfinite(out).all()
    assert np.isfinite(stats).all()
    assert np.abs(out).max() <= np.abs(v).max() * (1 + 1e-6)
    bad = q.copy()
    bad[0, 0, 0, 3] = np.nan
    out = kernels.attention(bad, k, v)[0]
    assert np.isnan(out[0, 0, 0]).all()
    assert np.isfinite(out[0, 0, 1:]).all()
    hidden = v.copy()
    hidden[0, 0, 30:] = 1e30
    out = kernels.attention(q, k, hidden, np.arange(40) < 30)[0]
    near(out, oracle(q, k[:, :, :30], v[:, :, :30], out)[0], dtype)


def test_memory_grows_with_the_length(isa):
    """16,384 positions: a matrix of scores would be 1 GiB."""
    if isa == "reference":
        pytest.skip("minutes in plain loops")
    q = np.random.default_rng(0).normal(size=(1, 1, 16384, 16)).astype(np.float32)
    kernels.empty_cache()
    before = kernels.memory_stats()["peak"]
    out, stats = kernels.attention(q, q, q, causal=True)
    kernels.attention_backward(q, q, q, q, out, stats, causal=True)
    assert kernels.memory_stats()["peak"] - before < 100e6
    near(out[:, :, :50], oracle(q[:, :, :50], q[:, :, :50], q[:, :, :50], q[:, :, :50], causal=True)[0], np.float32)


Q = np.zeros((2, 4, 3, 8), np.float32)
K = np.zeros((2, 2, 5, 8), np.float32)
L = np.zeros((2, 4, 3, 2), np.float32)
BAD = [
    (lambda: kernels.attention([[1.0]], K, K), TypeError, "NumPy array"),
    (lambda: kernels.attention(Q[0], K, K), ValueError, r"q is \(4, 3, 8\); expected \(B, N, T, D\)"),
    (lambda: kernels.attention(Q, K.astype(float), K), TypeError, "k is float64"),
    (lambda: kernels.attention(Q[:, :3], K, K), ValueError, "q has 3 heads, k has 2"),
    (lambda: kernels.attention(Q, K[:, :0], K[:, :0]), ValueError, "q has 4 heads, k has 0"),
    (lambda: kernels.attention(Q, K[..., :7], K), ValueError, r"k is \(2, 2, 5, 7\); expected \(2, 2, 5, 8\)"),
    (lambda: kernels.attention(Q[:, :0], K, K), ValueError, "q has 0 heads, k has 2"),
    (lambda: kernels.attention_backward(*[Q[:, :0]] * 2, K, K, Q[:, :0], L[:, :0]), ValueError, "q has 0 heads"),
    (lambda: kernels.attention(Q, K, K[:, :, :4]), ValueError, "v is"),
    (lambda: kernels.attention(Q, K[:1], K[:1]), ValueError, "k is"),
    (lambda: kernels.attention(Q, K, K, np.ones((4, 5), bool)), ValueError, r"mask is \(4, 5\)"),
    (lambda: kernels.attention(Q, K, K, np.ones((1, 2, 4, 3, 5), bool)), ValueError, "mask is"),
    (lambda: kernels.attention(Q, K, K, np.ones((3, 5), int)), TypeError, "mask is int"),
    (lambda: kernels.attention(Q, K, K, np.ones((3, 5))), TypeError, "mask is float64"),
    (lambda: kernels.attention(Q, K, K, [True]), TypeError, "mask is list"),
    (lambda: kernels.attention(Q, K, K, dropout=1.5), ValueError, "dropout is 1.5"),
    (lambda: kernels.attention(Q, K, K, dropout=float("nan")), ValueError, "dropout is nan"),
    (lambda: kernels.attention_backward(Q[:1], Q, K, K, Q, L), ValueError, "dout is"),
    (lambda: kernels.attention_backward(Q, Q, K, K, Q[..., :3], L), ValueError, "out is"),
    (lambda: kernels.attention_backward(Q, Q, K, K, Q, L[0]), ValueError, r"stats is \(4, 3, 2\); expected \(2, "),
    (lambda: kernels.attention_backward(Q, Q, K, K, Q, L[..., 0]), ValueError, "stats is"),
]


@pytest.mark.parametrize("case", range(len(BAD)))
def test_refused(case):
    call, error, text = BAD[case]
    with pytest.raises(error, match=text):
        call()


def test_diagonals_beyond_everything(isa):
    for diagonal in (-(2**62), 2**62):
        out, stats = kernels.attention(Q + 1, K + 1, K + 1, causal=True, diagonal=diagonal)
        assert np.isneginf(stats[..., 0]).all() == (diagonal < 0)
        np.testing.assert_allclose(out, 0 if diagonal < 0 else 1, rtol=1e-6)
