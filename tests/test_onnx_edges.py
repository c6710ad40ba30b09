"""ONNX operators at the edges of their specification, one at a time: what random ones beside ONNX Runtime found."""

import numpy as np
import pytest

import fastnn as fnn

onnx = pytest.importorskip("onnx")
from onnx import helper  # noqa: E402
from onnx_by_hand import F32, load, make, normal, one  # noqa: E402


@pytest.mark.parametrize(
    ("start", "end", "want"), [(-100, -100, [0]), (-6, -100, [0]), (100, -100, [4, 2, 0]), (-100, 9, [])]
)
def test_a_slice_backwards_begins_within_the_axis(start, end, want):
    x = np.arange(5, dtype=np.float32)
    assert one("Slice", x, [start], [end], [0], [-2], opset=13)[0].tolist() == want


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.bool_])
def test_gather_elements_reads_a_corner(dtype):
    x = (np.arange(24).reshape(4, 3, 2) % 5).astype(dtype)
    for axis, index in ((0, np.array([[[3]], [[-1]], [[0]], [[2]], [[1]]])), (1, np.array([[[2, 0], [-1, 1]]]))):
        want = np.take_along_axis(x[:1, :, :] if axis else x[:, :1, :1], index, axis)
        np.testing.assert_array_equal(one("GatherElements", x, index, axis=axis, opset=13)[0], want)


def test_an_exclusive_sum_does_not_lose_small_numbers_to_the_great_one_it_leaves_out():
    x = np.array([[1, 1e9, 2], [3, np.inf, 4]], np.float32)
    assert one("CumSum", x, 1, exclusive=1)[0].tolist() == [[0, 1, 1e9], [0, 3, np.inf]]
    assert one("CumSum", x, 1, exclusive=1, reverse=1)[0].tolist() == [[1e9, 2, 0], [np.inf, 4, 0]]
    assert one("CumSum", x[:, ::2], 0, exclusive=1)[0].tolist() == [[0, 0], [1, 2]]
    for dtype in (np.float32, np.int64):
        assert one("CumSum", np.zeros((2, 0), dtype), 1, exclusive=1)[0].shape == (2, 0)


def test_sizes_of_a_resize_are_rounded_as_float32():
    x = np.arange(10, dtype=np.float32).reshape(1, 1, 10)
    scales = np.array([1, 1, 0.7], np.float32)
    assert one("Resize", x, np.zeros(0, np.float32), scales, opset=13)[0].shape == (1, 1, 7)
    assert one("Resize", x, scales, opset=10)[0].shape == (1, 1, 7)


def test_places_of_a_resize_are_rounded_as_float32():
    x = np.arange(6, dtype=np.float32).reshape(1, 1, 6)
    scales, how = np.array([1, 1, 1.6], np.float32), {"coordinate_transformation_mode": "asymmetric"}
    want = [0, 0, 1, 1, 2, 3, 3, 4, 5]
    assert one("Resize", x, scales, opset=10)[0].ravel().tolist() == want
    assert one("Resize", x, np.zeros(0, np.float32), scales, nearest_mode="floor", **how)[0].ravel().tolist() == want


def test_the_first_resize_takes_the_pixel_behind_where_it_shrinks():
    x = np.arange(1, 9, dtype=np.float32).reshape(1, 1, 2, 4)  # the case that ONNX 1.5 came with
    scales = np.array([1, 1, 0.6, 0.6], np.float32)
    assert one("Resize", x, scales, opset=10)[0].tolist() == [[[[1, 3]]]]
    assert one("Resize", x, scales, opset=10, mode="linear")[0].ravel() == pytest.approx([1, 2 + 2 / 3])
    assert one("Upsample", x, scales, opset=9)[0].tolist() == [[[[1, 3]]]]


def test_a_transposed_convolution_of_a_wanted_size_puts_zeros_behind():
    x, w = np.array([[[1, 2]]], np.float32), np.ones((1, 1, 1), np.float32)
    assert one("ConvTranspose", x, w, strides=[3], output_shape=[6])[0].tolist() == [[[1, 0, 0, 2, 0, 0]]]


def test_the_mask_of_an_old_dropout_is_of_its_input_s_type():
    x = normal(2, 3)
    assert [o.dtype for o in one("Dropout", x, opset=9, outs="y,m")] == [np.float32, np.float32]
    assert [o.dtype for o in one("Dropout", x, opset=10, outs="y,m")] == [np.float32, np.bool_]


@pytest.mark.parametrize("opset", [11, 13])
def test_hardmax_of_nothing(opset):
    assert one("Hardmax", np.zeros((7, 0), np.float32), opset=opset, axis=1)[0].shape == (7, 0)


def test_bits_are_read_as_a_type_of_their_width_only():
    x = np.array([1.0, -2.0], np.float32)
    np.testing.assert_array_equal(one("BitCast", x, to=onnx.TensorProto.INT32, opset=26)[0], x.view(np.int32))
    with pytest.raises(ValueError, match="float32 and int64 differ in width"):
        one("BitCast", x, to=onnx.TensorProto.INT64, opset=26)


def test_numbers_as_text_are_as_short_as_their_type_allows():
    for dtype, third in ((np.float16, "0.33325195"), (np.float32, "0.33333334"), (np.float64, "0.3333333333333333")):
        x = np.array([1 / 3, -2.0, np.inf, -np.inf, np.nan], dtype)
        assert one("Cast", x, to=onnx.TensorProto.STRING)[0].tolist() == [third, "-2", "INF", "-INF", "NaN"]


def test_what_is_clipped_keeps_its_gradient():
    ends = {"low": np.float32(-1), "high": np.float32(1)}
    made = load(make([("Clip", "x,low,high", "y", {})], {"x": (F32, (3,))}, ["y"], ends))
    x = fnn.tensor([-2.0, 0.5, 2.0], requires_grad=True)
    made(x).sum().backward()
    assert x.grad.tolist() == [0, 1, 0]


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 1.0), (2.0, 1.0), (1.0, 2.0), (0.5, 3.0)])
@pytest.mark.parametrize(("trans_a", "trans_b"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_gemm_takes_its_factors(alpha, beta, trans_a, trans_b):
    a, b = normal(2, 3), normal(3, 4)
    for c in (normal(4), normal(2, 1)):
        given = [(m.T.copy() if t else m) for m, t in ((a, trans_a), (b, trans_b))]
        y = one("Gemm", *given, c, alpha=alpha, beta=beta, transA=trans_a, transB=trans_b)[0]
        np.testing.assert_allclose(y, alpha * (a @ b) + beta * c, rtol=1e-5, atol=1e-6)


def test_boxes_that_overlap_at_all_are_suppressed_unless_the_model_says_how_much():
    boxes = np.array([[[0, 0, 1, 1], [0, 0.9, 1, 1.9], [0, 3, 1, 4]]], np.float32)
    scores = np.array([[[0.9, 0.8, 0.7]]], np.float32)
    found = one("NonMaxSuppression", boxes, scores, np.array([3]))[0]
    assert found.tolist() == [[0, 0, 0], [0, 0, 2]]


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
@pytest.mark.parametrize(
    ("shape", "to", "want"),
    [((0, 3), [-1], (0,)), ((0, 3), [3, -1], (3, 0)), ((0, 3), [0, -1], (0, 3)), ((2, 0, 3), [2, -1, 3], (2, 0, 3))],
)
def test_a_reshape_of_nothing_finds_what_is_left(dtype, shape, to, want):
    assert one("Reshape", np.zeros(shape, dtype), np.array(to))[0].shape == want


def test_halves_are_normalised_by_their_batch_and_keep_their_statistics_types():
    x, parts = normal(4, 3, 5).astype(np.float16), [np.abs(normal(3)).astype(np.float16) for _ in range(4)]
    got = one("BatchNormalization", x, *parts, outs="y,m,v", training_mode=1, momentum=0.5)
    assert [g.dtype for g in got] == [np.float16] * 3
    wide = [a.astype(np.float32) for a in (x, *parts)]
    for g, w in zip(got, one("BatchNormalization", *wide, outs="y,m,v", training_mode=1, momentum=0.5), strict=True):
        np.testing.assert_allclose(g, w, rtol=2e-3, atol=2e-3)


def test_statistics_of_normalised_halves_are_float32():
    x, w, b = normal(4, 6).astype(np.float16), normal(6).astype(np.float16), normal(6).astype(np.float16)
    y, mean, inverse = one("LayerNormalization", x, w, b, outs="y,m,i")
    assert [a.dtype for a in (y, mean, inverse)] == [np.float16, np.float32, np.float32]
    np.testing.assert_allclose(mean, x.astype(np.float32).mean(1, keepdims=True), rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(y, one("LayerNormalization", x, w, b)[0])


@pytest.mark.parametrize(
    ("mode", "pads"),
    [("edge", [2, 4, 0, 5]), ("reflect", [0, -1, 1, 2]), ("wrap", [-1, 5, 3, 0]), ("edge", [0, -2, 1, 0])],
)
def test_pads_beyond_the_kernel_s_keep_their_gradient(mode, pads):
    x = np.arange(12.0).reshape(3, 4)
    made = load(make([("Pad", "x,p", "y", {"mode": mode})], {"x": (F32, (3, 4))}, ["y"], {"p": np.array(pads)}))
    rows, columns = np.indices((3, 4))
    cut = tuple(slice(max(0, -b), n - max(0, -e)) for n, b, e in zip((3, 4), pads[:2], pads[2:], strict=True))
    grown = [(max(0, b), max(0, e)) for b, e in zip(pads[:2], pads[2:], strict=True)]
    places = tuple(np.pad(i[cut], grown, mode) for i in (rows, columns))
    np.testing.assert_array_equal(made(x).data, x[places])
    assert fnn.gradcheck(made, (fnn.tensor(x, requires_grad=True),))


def test_an_unknown_kind_of_border_is_named():
    with pytest.raises(ValueError, match="Pad: unknown mode 'mirror'"):
        one("Pad", normal(3), np.array([1, 1]), mode="mirror")


@pytest.mark.parametrize(("op", "x"), [("Not", True), ("BitwiseNot", 5), ("IsNaN", 1.0), ("Relu", -2)])
def test_one_number_comes_out_as_a_tensor(op, x):
    x = np.asarray(x, np.float32 if isinstance(x, float) else None)
    proto = make([(op, "x", "y", {})], {"x": (helper.np_dtype_to_tensor_dtype(x.dtype), ())}, ["y"])
    y = load(proto)(x)
    assert isinstance(y, fnn.Tensor)
    assert y.shape == ()


def test_quotients_of_integers_are_cut_towards_zero_at_the_ends_of_their_types_too():
    x, by = np.array([-128, -128, -128, 127, -7, 7, 5], np.int8), np.array([2, 1, 127, -2, 2, -2, 0], np.int8)
    assert one("Div", x, by)[0].tolist() == [-64, -128, -1, -63, -3, -3, 0]
    ends = np.array([-(2**63), 5], np.int64)
    assert one("Div", ends, np.array([2**63 - 1, -(2**63)]))[0].tolist() == [-1, 0]
    assert one("Div", np.array([7, 8], np.uint8), np.array([2, 0], np.uint8))[0].tolist() == [3, 0]


def test_remainders_of_a_division_by_zero_warn_nobody():
    assert one("Mod", np.array([7, -7]), np.array([0, 4]))[0].tolist() == [0, 1]
    np.testing.assert_array_equal(one("Mod", np.float32([7, 7]), np.float32([0, 4]), fmod=1)[0], [np.nan, 3])


def test_integers_written_as_text_keep_their_digits():
    words = np.array(["9007199254740993", "-3", "1e3", "2.75"], object)
    assert one("Cast", words, to=onnx.TensorProto.INT64)[0].tolist() == [2**53 + 1, -3, 1000, 2]


def test_sums_of_integers_are_exact():
    x = np.array([2**31 + 1, -(2**60) - 1])
    assert one("ReduceL1", x, keepdims=0)[0] == 2**31 + 1 + 2**60 + 1
    assert one("ReduceSumSquare", x[:1], keepdims=0)[0] == (2**31 + 1) ** 2
    assert one("ReduceL1", x, noop_with_empty_axes=1)[0].tolist() == [2**31 + 1, 2**60 + 1]


def test_the_older_powers_count_their_axis_from_either_end():
    x, p = np.abs(normal(2, 3, 4)), normal(3)
    for axis in (1, -2):
        y = one("Pow", x, p, opset=6, broadcast=1, axis=axis)[0]
        np.testing.assert_allclose(y, x ** p[:, None], rtol=1e-5)
