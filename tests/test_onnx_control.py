"""If, Loop, Scan, sequences and functions of ONNX: what random programs beside ONNX Runtime found."""

import numpy as np
import pytest

import fastnn as fnn

onnx = pytest.importorskip("onnx")
from onnx import parser  # noqa: E402


def loaded(text, opset=18):
    return fnn.onnx.load(parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]> {text}'))


def test_a_loop_that_does_not_run_gives_nothing_of_the_right_type():
    net = loaded("""g (int64 n) => (int64[t] k, double[t, 2, a] m) <bool yes = {1}> {
        k, m = Loop (n, yes) <body = b (int64 i, bool go) => (bool on, int64 j, double[2, a] r) <double[2, 3] c =
            {1, 2, 3, 4, 5, 6}> { on = Identity (go) j = Identity (i) r = Identity (c) }> }""")
    k, m = net(np.array(0))
    assert (k.dtype, k.shape, m.dtype, m.shape) == (np.int64, (0,), np.float64, (0, 2, 3))
    k, m = net(np.array(2))
    assert k.tolist() == [0, 1]
    assert m.shape == (2, 2, 3)


@pytest.mark.parametrize("sizes", ["[2, 3]", "[a, b]", ""])
def test_a_loop_that_does_not_run_gives_the_sizes_that_can_be_known(sizes):
    net = loaded(f"""g (int64 n, float[2, 3] x) => (float[c, d] y) <bool yes = {{1}}, int64[1] zero = {{0}}> {{
        m = Loop (n, yes) <body = b (int64 i, bool go) => (bool on, float{sizes} r) {{
            on = Identity (go) r = Relu (x) }}>
        s = ReduceSum <keepdims = 0> (m, zero) y = Add (s, x) }}""")
    x = np.ones((2, 3), np.float32)
    assert (net(np.array(0), x).tolist(), net(np.array(2), x).tolist()) == ([[1] * 3] * 2, [[3] * 3] * 2)


def test_scan_refuses_inputs_of_different_lengths():
    net = loaded("""g (float[n] x, float[m] y) => (float[k] z) {
        z = Scan <num_scan_inputs = 2, body = b (float a, float c) => (float d) { d = Add (a, c) }> (x, y) }""")
    assert net(np.ones(2, np.float32), np.ones(2, np.float32)).tolist() == [2, 2]
    with pytest.raises(ValueError, match=r"Scan: inputs of lengths \[2, 3\]"):
        net(np.ones(2, np.float32), np.ones(3, np.float32))


@pytest.mark.parametrize("op", ["SequenceAt", "SequenceErase"])
def test_positions_outside_a_sequence_are_refused_by_name(op):
    net = loaded(f"g (seq(float[n]) s, int64 i) => (seq(float[n]) y) {{ y = {op} (s, i) }}")
    parts = [np.ones(1, np.float32), np.ones(2, np.float32)]
    net(parts, np.array(-2))
    for i in (2, -3):
        with pytest.raises(IndexError, match=f"{op}: position {i} of 2"):
            net(parts, np.array(i))


def test_weights_made_at_load_take_no_name_that_is_in_use():
    net = loaded("""g (float[1, 2] w_) => (float[1, 2] y, float[2, 2] z) <float[2, 2] w = {1, 2, 3, 4}> {
        y = MatMul (w_, w) z = Mul (w, w_) }""")
    assert net(np.array([[1, 1]], np.float32))[0].tolist() == [[4, 6]]


def test_a_matrix_of_two_products_stays_one_parameter():
    net = loaded("""g (float[n, 2] x) => (float[n, 2] y) <float[2, 2] w = {1, 2, 3, 4}> {
        h = MatMul (x, w) r = Relu (h) y = MatMul (r, w) }""")
    assert len(net.state_dict()) == 1
    assert net(np.array([[1, 1]], np.float32)).tolist() == [[22, 32]]


def test_a_transposed_weight_of_a_product_keeps_its_name():
    net = loaded("""g (float[n, 3] x) => (float[n, 2] y) <float[2, 3] w = {1, 2, 3, 4, 5, 6}> {
        t = Transpose (w) y = MatMul (x, t) }""")
    assert {name: w.shape for name, w in net.state_dict().items()} == {"w": (2, 3)}
    assert net(np.ones((1, 3), np.float32)).tolist() == [[6, 15]]


@pytest.mark.parametrize("kind", ["If", "SequenceConstruct"])
def test_writing_into_an_output_leaves_the_constants_inside_alone(kind):
    if kind == "If":
        branch = "b () => (float[2] r) { c = Constant <value = float[2] {1, 2}> () r = Identity (c) }"
        net = loaded(f"g (bool x) => (float[2] y) {{ y = If (x) <then_branch = {branch}, else_branch = {branch}> }}")
    else:
        net = loaded("g (float[2] x) => (seq(float[2]) y) <float[2] w = {1, 2}> { y = SequenceConstruct (w) }")
    x = np.array(True) if kind == "If" else np.ones(2, np.float32)
    for _ in range(3):
        y = net(x)
        y = y[0] if kind == "SequenceConstruct" else y
        assert y.tolist() == [1, 2]
        y.data[...] = 7


def function(text, opset):
    return parser.parse_function(f'<domain: "my", opset_import: ["" : {opset}]> {text}')


def test_a_function_s_standard_attribute_counts_where_a_call_leaves_it_out():
    model = parser.parse_model("""<ir_version: 8, opset_import: ["" : 18, "my" : 1]>
        g (float[n] x) => (float[n] y, float[n] z) { y = my.Outer (x) z = my.Leak <alpha = 0.25> (x) }""")
    inner = function("Leak <alpha: float = 0.5> (x) => (y) { y = LeakyRelu <alpha: float = @alpha> (x) }", 18)
    outer = function("Outer (x) => (y) { y = my.Leak (x) }", 18)
    outer.opset_import.append(onnx.helper.make_opsetid("my", 1))
    model.functions.extend([inner, outer])
    y, z = fnn.onnx.load(model)(np.array([-2, 4], np.float32))
    assert (y.tolist(), z.tolist()) == ([-1, 4], [-0.5, 4])


def test_a_function_of_another_opset_is_read_as_that_opset_says():
    model = parser.parse_model("""<ir_version: 8, opset_import: ["" : 18, "my" : 1]>
        g (float[2, 3] x) => (float[1, 2, 3] y) { y = my.Front (x) }""")
    model.functions.append(function("Front (x) => (y) { y = Unsqueeze <axes = [0]> (x) }", 11))
    assert fnn.onnx.load(model)(np.ones((2, 3), np.float32)).shape == (1, 2, 3)


def test_the_first_scan_fills_short_sequences_up_with_zeros():
    net = loaded(
        """g (int64[b] n, float[b] s, float[b, t] x) => (float[b] e, float[b, t] y) {
        e, y = Scan <num_scan_inputs = 1, body = f (float s, float x) => (float e, float y) {
            e = Add (s, x) y = Identity (e) }> (n, s, x) }""",
        8,
    )
    e, y = net(np.array([1, 3]), np.zeros(2, np.float32), np.arange(8, dtype=np.float32).reshape(2, 4))
    assert e.tolist() == [0, 15]
    assert y.tolist() == [[0, 0, 0, 0], [4, 9, 15, 0]]


def test_what_a_branch_reads_stays_under_its_name():
    net = loaded("""g (float[2] x, bool c) => (float[2] y) {
        i = Identity (x)
        y = If (c) <then_branch = t () => (float[2] a) { a = Neg (i) }, else_branch = e () => (float[2] b) {
            b = Abs (i) }> }""")
    x = np.array([1, -2], np.float32)
    assert (net(x, np.array(True)).tolist(), net(x, np.array(False)).tolist()) == ([-1, 2], [1, 2])
