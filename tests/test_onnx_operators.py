"""ONNX operators of the import beside NumPy, where the specification's own examples do not go."""

from itertools import pairwise

import numpy as np
import pytest

import fastnn as fnn

onnx = pytest.importorskip("onnx")
from onnx_by_hand import F32, load, make, normal, one  # noqa: E402

from fastnn.onnx._registry import LATEST, OPERATORS, find  # noqa: E402

WITHDRAWN = {"GroupNormalization"}


@pytest.mark.skipif(onnx.defs.onnx_opset_version() < LATEST[""], reason="an onnx of older opsets")
def test_functions_change_where_the_specification_does():
    find("", "Add", 20)  # fills the table
    changes = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        changes.setdefault((schema.domain, schema.name), set()).add(schema.since_version)
    for (domain, name), found in OPERATORS.items():
        if domain == "fastnn" or name in WITHDRAWN:
            continue
        ranges = sorted((o.since, o.until) for o in found)
        assert {first for first, _ in ranges} <= {1, *changes[domain, name]}, name
        assert all(until + 1 == first for (_, until), (first, _) in pairwise(ranges)), name
        assert ranges[-1][1] >= LATEST[domain], name


@pytest.mark.parametrize("op", ["LeakyRelu", "Elu", "Selu", "Celu", "Gelu", "Swish", "Mish", "HardSwish"])
def test_activations_of_halves(op):
    x = normal(3, 4).astype(np.float16)
    y = one(op, x, opset=24)[0]
    assert y.dtype == np.float16
    np.testing.assert_array_equal(y, one(op, x.astype(np.float32), opset=24)[0].astype(np.float16))


def test_relu_and_products_of_integers():
    assert one("Relu", np.array([-2, 0, 1, 3]))[0].tolist() == [0, 0, 1, 3]
    a, b, c = np.arange(6).reshape(3, 2), np.arange(12).reshape(4, 3), np.arange(4)
    assert (one("Gemm", a, b, c, transA=1, transB=1, beta=2.0)[0] == a.T @ b.T + 2 * c).all()


@pytest.mark.parametrize("exponent", [0.5, 2.0, 3.0, -1.0])
def test_powers_by_a_number(exponent):
    x = np.abs(normal(5)) + 0.1
    np.testing.assert_allclose(one("Pow", x, np.float32(exponent))[0], x**exponent, rtol=1e-5)


@pytest.mark.parametrize("op", ["Sum", "Max", "Min", "Mean"])
def test_many_inputs_all_get_gradients(op):
    model = load(make([(op, "a,b,c", "y", {})], {n: (F32, [None, None]) for n in "abc"}, ["y"]))
    inputs = [fnn.tensor(normal(3, 4).astype(np.float64), requires_grad=True) for _ in "abc"]
    assert fnn.gradcheck(lambda *x: model(*x).sum() * 2, inputs)


def test_more_than_there_are_is_refused():
    with pytest.raises(ValueError, match="TopK: 4 of 3"):
        one("TopK", normal(3), np.array([4]), outs="y,i")


def test_pixels_behind_are_taken_and_integers_rounded():
    x = np.array([[1, 2], [3, 4]], np.float32).reshape(1, 1, 2, 2)
    how = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "ceil"}
    sizes = [np.zeros(0, np.float32), np.zeros(0, np.float32), np.array([1, 1, 4, 2])]
    assert one("Resize", x, *sizes, **how)[0].tolist() == [[[[1, 2], [3, 4], [3, 4], [3, 4]]]]
    grey = np.array([0, 200, 255], np.uint8).reshape(1, 1, 3)
    wide = one("Resize", grey, *sizes[:2], np.array([1, 1, 6]), mode="cubic")[0].ravel()
    exact = one("Resize", grey.astype(np.float32), *sizes[:2], np.array([1, 1, 6]), mode="cubic")[0].ravel()
    assert wide.tolist() == np.clip(np.rint(exact), 0, 255).tolist()


@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_resized_images_pass_gradients(mode):
    w = {"r": np.zeros(0, np.float32), "s": np.array([1, 1, 1.5, 0.7], np.float32)}
    model = load(make([("Resize", "x,r,s", "y", {"mode": mode})], {"x": (F32, (1, 2, 4, 5))}, ["y"], w))
    assert fnn.gradcheck(model, (fnn.tensor(normal(1, 2, 4, 5).astype(np.float64), requires_grad=True),))


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_grid_reaches_from_corner_to_corner(n):
    theta = np.array([[[1, 0, 0], [0, 1, 0]]], np.float32)
    grid = one("AffineGrid", theta, np.array([1, 1, n, 2]), align_corners=1)[0]
    np.testing.assert_allclose(grid[0, :, 0, 1], np.linspace(-1, 1, n), atol=1e-6)
    np.testing.assert_allclose(grid[0, 0, :, 0], [-1, 1])


def volume(x, w, strides, dilations, pads):
    """A convolution of (N, C, D, H, W) by its definition."""
    x = np.pad(x, [(0, 0), (0, 0), *zip(pads[:3], pads[3:], strict=True)])
    reach = [d * (k - 1) + 1 for d, k in zip(dilations, w.shape[2:], strict=True)]
    windows = np.lib.stride_tricks.sliding_window_view(x, reach, (2, 3, 4))
    windows = windows[:, :, :: strides[0], :: strides[1], :: strides[2]]
    windows = windows[..., :: dilations[0], :: dilations[1], :: dilations[2]]
    return np.einsum("ncdhwijk,fcijk->nfdhw", windows, w)


@pytest.mark.parametrize(
    ("strides", "dilations"), [([1, 1, 1], [1, 1, 1]), ([2, 1, 3], [1, 2, 1]), ([2, 2, 1], [2, 1, 2])]
)
def test_convolutions_of_volumes_and_their_adjoints(strides, dilations):
    x, w, pads = normal(2, 3, 6, 7, 8), normal(4, 3, 3, 2, 2), [1, 0, 1, 2, 1, 0]
    how = {"strides": strides, "dilations": dilations}
    want = volume(x, w, strides, dilations, pads)
    np.testing.assert_allclose(one("Conv", x, w, pads=pads, **how)[0], want, rtol=1e-4, atol=1e-4)
    y = normal(*want.shape)
    short = one("ConvTranspose", y, w, pads=pads, **how)[0].shape[2:]
    missing = [n - m for n, m in zip(x.shape[2:], short, strict=True)]
    back = one("ConvTranspose", y, w, pads=pads, output_padding=missing, **how)[0]
    np.testing.assert_allclose((back * x).sum(), (want * y).sum(), rtol=1e-3)


def test_where_the_greatest_of_a_row_stood():
    x = np.array([[[1, 5, 2, 4, 3, 0]]], np.float32)
    y, where = one("MaxPool", x, outs="y,i", kernel_shape=[2], strides=[2])
    assert (y.tolist(), where.tolist()) == ([[[5, 4, 3]]], [[[1, 3, 4]]])


@pytest.mark.parametrize("left", [0, 1, 2])
def test_attention_that_looks_back_a_little_and_ahead_at_all(left):
    q, k, v = normal(1, 1, 4, 2), normal(1, 1, 4, 2), normal(1, 1, 4, 2)
    seen = np.arange(4) >= np.arange(4)[:, None] - left
    scores = np.where(seen, q @ k.swapaxes(2, 3) / 2**0.5, -np.inf)
    p = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    y = one("Attention", q, k, v, opset=25, left_window_size=left)[0]
    np.testing.assert_allclose(y, p @ v, rtol=1e-4, atol=1e-5)
    got = one("Attention", q, k, v, seen, opset=23, outs="y,k,v,s", qk_matmul_output_mode=3)
    np.testing.assert_allclose(got[3], p, rtol=1e-4, atol=1e-6)


def test_a_recurrence_of_other_functions_ends_where_a_sequence_does():
    x, w, r = normal(4, 2, 3), normal(1, 5, 3), normal(1, 5, 5)
    how = {"activations": ["ScaledTanh"], "activation_alpha": [0.7], "activation_beta": [1.3], "clip": 0.9}
    more = np.zeros((1, 10), np.float32), np.array([4, 2], np.int32)
    y, last = one("RNN", x, w, r, *more, outs="y,h", hidden_size=5, **how)
    h, want = np.zeros((2, 5), np.float32), []
    for t in range(4):
        on = np.array([4, 2])[:, None] > t
        new = 0.7 * np.tanh(1.3 * np.clip(x[t] @ w[0].T + h @ r[0].T, -0.9, 0.9))
        h = np.where(on, new, h)
        want.append(np.where(on, new, 0))
    np.testing.assert_allclose(y[:, 0], want, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(last[0], h, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("kind", "gates"), [("RNN", 1), ("GRU", 3), ("LSTM", 4)])
def test_recurrent_layers_of_halves(kind, gates):
    given = [a.astype(np.float16) for a in (normal(4, 2, 3), normal(1, gates * 5, 3), normal(1, gates * 5, 5))]
    y = one(kind, *given, hidden_size=5)[0]
    assert y.dtype == np.float16
    want = one(kind, *(a.astype(np.float32) for a in given), hidden_size=5)[0]
    np.testing.assert_allclose(y, want, rtol=2e-3, atol=1e-3)


@pytest.mark.parametrize("length", [5, 8, 11])
def test_a_spectrum_of_another_length_and_its_way_back(length):
    x = normal(2, 8, 1)
    half = one("DFT", x, np.array(length), onesided=1, axis=1, opset=19)[0]
    want = np.fft.rfft(x[..., 0], length, 1)
    np.testing.assert_allclose(half, np.stack([want.real, want.imag], -1), rtol=1e-4, atol=1e-4)
    back = one("DFT", half, np.array(length), onesided=1, inverse=1, axis=1, opset=19)[0]
    np.testing.assert_allclose(back[..., 0], np.fft.irfft(want, length, 1), rtol=1e-4, atol=1e-4)


def test_words_that_stop():
    words = np.array(["Monday", "monday", "tuesday"], object)
    how = {"stopwords": ["monday"], "is_case_sensitive": 1, "case_change_action": "UPPER"}
    assert one("StringNormalizer", words, **how)[0].tolist() == ["MONDAY", "TUESDAY"]
    how |= {"is_case_sensitive": 0}
    assert one("StringNormalizer", words, **how)[0].tolist() == ["TUESDAY"]


def test_grams_weigh():
    how = {"min_gram_length": 1, "max_gram_length": 1, "max_skip_count": 0, "ngram_counts": [0]}
    how |= {"ngram_indexes": [0, 1], "pool_int64s": [7, 9], "weights": [3.0, 5.0]}
    for mode, want in (("TF", [2, 1]), ("IDF", [3, 5]), ("TFIDF", [6, 5])):
        assert one("TfIdfVectorizer", np.array([7, 9, 7, 1]), mode=mode, **how)[0].tolist() == want
