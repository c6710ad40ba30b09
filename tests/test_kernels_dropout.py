"""Dropout draws Philox-4x32-10: known answers, any part of a mask made again, the rate."""

import numpy as np
import pytest

from fastnn import kernels

# counter (2 words, then zeros), key, output words: the first row is a known answer of Random123's philox4x32-10.
KNOWN = [(0, 0, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8])]


def philox(counter, seed):
    """Philox-4x32-10 in Python's integers."""
    c, k = [counter % 2**32, counter >> 32, 0, 0], [seed % 2**32, seed >> 32]
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 % 2**32, (p0 >> 32) ^ c[3] ^ k[1], p0 % 2**32]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return c


@pytest.fixture(params=[np.float32, np.float64], ids=["f32", "f64"])
def dtype(request):
    return request.param


@pytest.mark.parametrize(("counter", "seed", "words"), KNOWN)
def test_known_answers(isa, counter, seed, words):
    assert philox(counter, seed) == words
    for i, word in enumerate(words):  # a word is kept from its own probability on, and dropped just above it
        assert kernels.dropout_mask(np.empty(4), word / 2**32, seed, counter)[i] > 0
        assert kernels.dropout_mask(np.empty(4), (word + 1) / 2**32, seed, counter)[i] == 0


@pytest.mark.parametrize(("seed", "offset"), [(0, 0), (1, 0), (2**64 - 1, 2**32 - 3), (12345678901234, 2**64 - 20)])
@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 63, 64, 65, 131])
def test_against_integers(isa, seed, offset, size, dtype):
    words = [philox((offset + i // 4) % 2**64, seed)[i % 4] for i in range(size)]
    x = np.random.default_rng(0).normal(size=size).astype(dtype)
    for p in (0.0, 0.1, 0.5, 1.0):
        keep = np.array([w >= int(p * 2**32) for w in words], bool)
        scale = dtype(1 / (1 - p)) if p < 1 else dtype(0)
        np.testing.assert_array_equal(kernels.dropout(x, p, seed, offset), np.where(keep, x * scale, 0))
        np.testing.assert_array_equal(kernels.dropout_mask(np.empty_like(x), p, seed, offset), np.where(keep, scale, 0))


def test_offset_goes_on_where_a_call_stopped(isa, dtype):
    whole = kernels.dropout_mask(np.empty(400, dtype), 0.3, 7)
    np.testing.assert_array_equal(kernels.dropout_mask(np.empty(300, dtype), 0.3, 7, offset=25), whole[100:])


def test_rate_and_order(isa):
    x = np.ones((300, 400), np.float32)
    y = kernels.dropout(x, 0.25, 11)
    assert abs((y == 0).mean() - 0.25) < 0.005
    np.testing.assert_array_equal(
        kernels.dropout(np.asfortranarray(x), 0.25, 11), y
    )  # counted in C order, whatever the memory's


def test_special_values(isa, dtype):
    x = np.full(100, np.nan, dtype)
    y = kernels.dropout(x, 0.5, 1)
    assert np.isnan(y).any()
    assert (y == 0).any()  # a dropped NaN is 0
    np.testing.assert_array_equal(kernels.dropout(x, 1.0, 1), 0)
    np.testing.assert_array_equal(kernels.dropout(x, 0.0, 1), x)


def test_errors():
    x = np.ones(4, np.float32)
    for wrong in (
        lambda: kernels.dropout(x, 1.1, 1),
        lambda: kernels.dropout(x, -0.1, 1),
        lambda: kernels.dropout(x, np.nan, 1),
        lambda: kernels.dropout(x, 0.5, -1),
        lambda: kernels.dropout(x, 0.5, 2**64),
        lambda: kernels.dropout(x, 0.5, 1, -1),
        lambda: kernels.dropout(x, 0.5, 1, out=x[:3]),
        lambda: kernels.dropout_mask(np.broadcast_to(x[:1], 4), 0.5, 1),
        lambda: kernels.dropout_mask(x, 2, 1),
    ):
        with pytest.raises(ValueError, match=r"^\w+: "):
            wrong()
    for wrong in (
        lambda: kernels.dropout(x, "0.5", 1),
        lambda: kernels.dropout(x, 0.5, 1.5),
        lambda: kernels.dropout(x.astype(int), 0.5, 1),
        lambda: kernels.dropout_mask(4, 0.5, 1),
    ):
        with pytest.raises(TypeError):
            wrong()
