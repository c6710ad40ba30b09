"""fastnn.onnx.load: what a loaded model is, and what its operators do."""

import copy
import pickle
import sys

import numpy as np
import pytest

import fastnn as fnn

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper  # noqa: E402
from onnx_by_hand import F32, RNG, load, make, normal, steps  # noqa: E402

from fastnn._extras import MissingExtraError  # noqa: E402


def mlp(weights=None):
    w = weights or {"net.0.weight": normal(5, 3), "net.0.bias": normal(5), "net.2.weight": normal(2, 5)}
    nodes = [
        ("Gemm", "x,net.0.weight,net.0.bias", "h", {"transB": 1}),
        ("Relu", "h", "r", {}),
        ("Gemm", "r,net.2.weight", "y", {"transB": 1}),
    ]
    return make(nodes, {"x": (F32, [None, 3])}, ["y"], w), w


# ----- the module -----


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_a_copy_computes_the_same_with_weights_of_its_own(copied):
    net, x = load(mlp()[0]), normal(4, 3)
    want = net(x).data
    other = copied(net)
    np.testing.assert_array_equal(other(x).data, want)
    assert copied(net.freeze()).state_dict().keys() == net.state_dict().keys()
    other.net.__dict__["2"].weight = fnn.nn.Parameter(np.zeros((2, 5), np.float32))
    assert not other(x).data.any()
    np.testing.assert_allclose(net(x).data, want, rtol=1e-5, atol=1e-6)


def test_a_frozen_model_reads_a_parameter_that_is_set_anew():
    net, x = load(mlp()[0]).freeze(), normal(4, 3)
    net.net.__dict__["2"].weight = fnn.nn.Parameter(np.zeros((2, 5), np.float32))
    assert not net(x).data.any()


def test_inputs_go_by_position_and_name():
    model = load(make([("Sub", "a,b", "c", {}), ("Neg", "c", "d", {})], {"a": (F32, [2]), "b": (F32, [2])}, ["c", "d"]))
    a, b = fnn.tensor([3.0, 4.0]), np.array([1.0, 1.0], np.float32)
    for c, d in (model(a, b), model(a, b=b), model(b=b, a=a), model.named(a=a, b=b).values()):
        assert c.tolist() == [2.0, 3.0]
        assert d.tolist() == [-2.0, -3.0]
    assert model.input_names == ["a", "b"]
    assert list(model.named(a=a, b=b)) == model.output_names == ["c", "d"]
    assert "a, b -> c, d: 1 Sub, 1 Neg" in repr(model)


@pytest.mark.parametrize(
    ("args", "named", "error", "words"),
    [
        ((), {}, TypeError, "inputs x expected once each"),
        ((1, 2), {}, TypeError, "1 inputs expected"),
        ((), {"z": 1}, TypeError, "inputs x expected once each, got z"),
        ((np.zeros((2, 3), np.float32),), {"x": 1}, TypeError, "once each"),
        ((np.zeros((2, 4), np.float32),), {}, ValueError, r"input 'x' is \(2, 4\); expected \(\?, 3\)"),
        ((np.zeros(3, np.float32),), {}, ValueError, r"input 'x' is \(3,\)"),
        ((np.zeros((2, 3), np.int64),), {}, TypeError, "input 'x' must be of float32, got int64"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(args, named, error, words):
    model = load(mlp()[0])
    with pytest.raises(error, match=words):
        model(*args, **named)


def test_parameters_have_the_names_of_the_file_and_are_trained():
    proto, w = mlp()
    model = load(proto)
    assert list(model.state_dict()) == list(w)
    assert all(np.array_equal(model.state_dict()[n], v) for n, v in w.items())
    twin = fnn.nn.Sequential(fnn.nn.Linear(3, 5), fnn.nn.ReLU(), fnn.nn.Linear(5, 2, bias=False))
    twin.load_state_dict({n.removeprefix("net."): v for n, v in w.items()})
    x, target = fnn.tensor(normal(7, 3)), fnn.tensor(normal(7, 2))
    optimizers = [fnn.optim.SGD(m.parameters(), lr=0.1) for m in (model, twin)]
    for _ in range(3):
        for m, optimizer in zip((model, twin), optimizers, strict=True):
            optimizer.zero_grad()
            fnn.nn.functional.mse_loss(m(x), target).backward()
            optimizer.step()
    for a, b in zip(model.parameters(), twin.parameters(), strict=True):
        np.testing.assert_allclose(a.data, b.data, rtol=1e-5, atol=1e-6)
    other = load(proto)
    other.load_state_dict(model.state_dict())
    np.testing.assert_array_equal(other(x).data, model(x).data)


@pytest.mark.parametrize(
    "names", [("a", "a.b"), ("a.b", "a"), ("training", "forward"), ("..", "a..b"), ("_plan", "x.y.z")]
)
def test_any_name_of_an_initialiser_finds_a_place(names):
    w = dict(zip(names, (normal(3), normal(3)), strict=True))
    model = load(
        make([("Add", f"x,{names[0]}", "s", {}), ("Mul", f"s,{names[1]}", "y", {})], {"x": (F32, [3])}, ["y"], w)
    )
    assert len(model.state_dict()) == 2
    x = normal(3)
    np.testing.assert_allclose(model(x).data, (x + w[names[0]]) * w[names[1]], rtol=1e-6)
    with fnn.no_grad():
        for p in model.parameters():
            p.zero_()
    assert model(x).tolist() == [0.0, 0.0, 0.0]


def test_a_frozen_model_computes_the_same():
    model = load(mlp()[0])
    x = normal(9, 3)
    before = model(x).data
    np.testing.assert_allclose(model.freeze()(x).data, before, rtol=1e-6)
    assert not model(fnn.tensor(x)).requires_grad


def test_double_and_gradcheck():
    proto, _ = mlp()
    model = load(proto).double()
    x = fnn.tensor(RNG.standard_normal((3, 3)), requires_grad=True)
    assert fnn.gradcheck(lambda t: model(t), (x,))


def test_the_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r"fastnn\.onnx\.load needs onnx.*fastnn\[onnx\]"):
        fnn.onnx.load(b"")


def test_load_takes_paths_bytes_and_protos_only(tmp_path):
    proto, _ = mlp()
    path = tmp_path / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    x = normal(2, 3)
    want = load(proto)(x).data
    for source in (path, str(path), proto, bytearray(proto.SerializeToString())):
        np.testing.assert_array_equal(fnn.onnx.load(source)(x).data, want)
    with pytest.raises(TypeError, match="a path, bytes or a ModelProto expected, got int"):
        fnn.onnx.load(3)
    with pytest.raises(FileNotFoundError):
        fnn.onnx.load(tmp_path / "none.onnx")


# ----- control flow, functions, types -----


def branch(name, *nodes, out):
    made = [helper.make_node(op, ins.split(",") if ins else [], [o], **how) for op, ins, o, how in nodes]
    return helper.make_graph(made, name, [], [helper.make_tensor_value_info(out, F32, ["any"])])


def test_if_runs_one_branch_and_gradients_pass_through():
    then, other = branch("t", ("Mul", "x,w", "a", {}), out="a"), branch("e", ("Neg", "x", "b", {}), out="b")
    how = {"then_branch": then, "else_branch": other}
    proto = make([("If", "c", "y", how)], {"x": (F32, [3]), "c": (TensorProto.BOOL, [])}, ["y"], {"w": normal(3)})
    model = load(proto)
    x = fnn.tensor(normal(3), requires_grad=True)
    model(x, np.array(True)).sum().backward()
    (w,) = model.parameters()
    np.testing.assert_allclose(w.grad.data, x.data)
    np.testing.assert_array_equal(model(x, np.array(False)).data, -x.data)


def test_loop_carries_values_and_stacks_what_it_scans():
    body = helper.make_graph(
        [
            helper.make_node("Mul", ["v", "w"], ["v2"]),
            helper.make_node("Identity", ["c"], ["c2"]),
            helper.make_node("Identity", ["v2"], ["s"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", F32, [2]),
        ],
        [
            helper.make_tensor_value_info("c2", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v2", F32, [2]),
            helper.make_tensor_value_info("s", F32, [2]),
        ],
    )
    w = {"w": np.array([2.0, 3.0], np.float32)}
    proto = make(
        [("Loop", "n,,x", "last,all", {"body": body})],
        {"n": (TensorProto.INT64, []), "x": (F32, [2])},
        ["last", "all"],
        w,
    )
    last, every = load(proto)(np.array(3), np.ones(2, np.float32))
    assert last.tolist() == [8.0, 27.0]
    assert every.tolist() == [[2.0, 3.0], [4.0, 9.0], [8.0, 27.0]]


def test_local_functions_are_written_out():
    function = helper.make_function(
        "own", "twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 20)]
    )
    node = ("twice", "x", "y", {"domain": "own"})
    proto = make([node], {"x": (F32, [2])}, ["y"], functions=[function], domains=["own"])
    assert load(proto)(fnn.tensor([1.0, 2.0])).tolist() == [2.0, 4.0]


def test_halves_are_computed_in_float32_and_rounded_once():
    x, w = normal(5, 64).astype(np.float16), normal(64, 7).astype(np.float16)
    proto = make([("MatMul", "x,w", "y", {})], {"x": (TensorProto.FLOAT16, [5, 64])}, ["y"], {"w": w})
    proto.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    y = load(proto)(x)
    assert y.dtype == np.float16
    np.testing.assert_array_equal(y, (x.astype(np.float32) @ w.astype(np.float32)).astype(np.float16))


def test_attention_of_halves_is_fused_too():
    nodes = [("Transpose", "k", "t", {"perm": [0, 1, 3, 2]}), ("MatMul", "q,t", "s", {}), ("Mul", "s,c", "f", {})]
    nodes += [("Add", "f,m", "a", {}), ("Softmax", "a", "p", {}), ("MatMul", "p,v", "y", {})]
    shapes = {"q": (2, 3, 4, 8), "k": (2, 3, 5, 8), "v": (2, 3, 5, 8), "m": (4, 5)}
    half = {n: (TensorProto.FLOAT16, s) for n, s in shapes.items()}
    model = load(make(nodes, half, ["y"], {"c": np.float16(0.5)}))
    wide = load(make(nodes, {n: (F32, s) for n, s in shapes.items()}, ["y"], {"c": np.float32(0.5)}))
    assert steps(model) == ["Sdpa"]
    inputs = [normal(*s).astype(np.float16) for s in shapes.values()]
    for _ in range(2):
        y = model(*inputs)
        assert y.dtype == np.float16
        np.testing.assert_allclose(y, wide(*(i.astype(np.float32) for i in inputs)).data, rtol=2e-3, atol=1e-4)


def test_integers_come_out_as_tensors():
    proto = make([("ArgMax", "x", "i", {"axis": 1, "keepdims": 0})], {"x": (F32, [2, 3])}, ["i"])
    proto.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    out = load(proto)(np.array([[1, 3, 2], [4, 0, 0]], np.float32))
    assert isinstance(out, fnn.Tensor)
    assert out.tolist() == [1, 0]


def test_an_error_names_its_node():
    model = load(make([("MatMul", "a,b", "y", {})], {"a": (F32, [None, None]), "b": (F32, [None, None])}, ["y"]))
    with pytest.raises(ValueError, match="matmul") as caught:
        model(normal(2, 3), normal(4, 5))
    assert any("in node MatMul" in note for note in caught.value.__notes__)


@pytest.mark.parametrize(
    ("op", "how", "shape"),
    [
        ("Tan", {}, (4,)),
        ("Atan", {}, (4,)),
        ("Sinh", {}, (4,)),
        ("Cosh", {}, (4,)),
        ("Asinh", {}, (4,)),
        ("Softsign", {}, (4,)),
        ("Mish", {}, (4,)),
        ("Celu", {"alpha": 0.7}, (4,)),
        ("HardSwish", {}, (4,)),
        ("LpNormalization", {"axis": 1}, (3, 4)),
        ("LRN", {"size": 3}, (2, 5, 3, 3)),
        ("AveragePool", {"kernel_shape": [2, 2, 2]}, (1, 2, 3, 4, 3)),
        ("MaxPool", {"kernel_shape": [2, 2, 2], "pads": [1, 0, 1, 0, 0, 1]}, (1, 2, 3, 4, 3)),
        ("LpPool", {"kernel_shape": [2, 2]}, (1, 2, 3, 4)),
        ("DepthToSpace", {"blocksize": 2}, (1, 4, 2, 3)),
        ("ReduceL2", {}, (3, 2)),
    ],
)
def test_operators_without_a_kernel_are_differentiable(op, how, shape):
    model = load(make([(op, "x", "y", how)], {"x": (F32, [None] * len(shape))}, ["y"]))
    x = fnn.tensor(RNG.uniform(0.2, 0.9, shape), requires_grad=True)
    assert fnn.gradcheck(lambda t: model(t), (x,))


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
def test_convolutions_of_volumes_are_differentiable(op):
    w = {"w": normal(2, 3, 2, 3, 2) if op == "Conv" else normal(3, 2, 2, 3, 2)}
    how = {"pads": [1, 0, 1, 0, 1, 0], "strides": [2, 1, 1], "dilations": [1, 1, 2]}
    model = load(make([(op, "x,w", "y", how)], {"x": (F32, [None] * 5)}, ["y"], w)).double()
    x = fnn.tensor(RNG.standard_normal((1, 3, 4, 4, 5)), requires_grad=True)
    (weight,) = model.parameters()
    assert fnn.gradcheck(lambda t: model(t), (x,))
    model(x).sum().backward()
    assert weight.grad.shape == weight.shape


def test_grid_sample_sends_gradients_to_images_and_grids():
    proto = make(
        [("GridSample", "x,g", "y", {"padding_mode": "border"})],
        {"x": (F32, [None] * 4), "g": (F32, [None] * 4)},
        ["y"],
    )
    model = load(proto)
    x = fnn.tensor(RNG.standard_normal((1, 2, 4, 5)), requires_grad=True)
    g = fnn.tensor(RNG.uniform(-0.7, 0.7, (1, 3, 2, 2)), requires_grad=True)
    assert fnn.gradcheck(lambda a, b: model(a, b), (x, g))


@pytest.mark.parametrize(
    ("op", "index", "how", "shapes"),
    [
        ("ScatterElements", [[2, 0], [1, 2]], {"axis": 1}, [(2, 3), (2, 2)]),
        ("ScatterElements", [[-1, 0, 0]], {"reduction": "add"}, [(2, 3), (1, 3)]),
        ("ScatterND", [[2], [0], [2]], {}, [(3, 2), (3, 2)]),
        ("ScatterND", [[2, -1], [0, 1], [2, 1]], {"reduction": "add"}, [(3, 2), (3,)]),
        ("ScatterND", np.empty((0, 1), np.int64), {}, [(3, 2), (0, 2)]),
    ],
)
def test_scatters_send_gradients_to_what_stays_and_to_updates(op, index, how, shapes):
    values = [RNG.standard_normal(s) for s in shapes]
    inputs = {"x": (F32, [None] * len(shapes[0])), "u": (F32, [None] * len(shapes[1]))}
    model = load(make([(op, "x,i,u", "y", how)], inputs, ["y"], {"i": np.array(index, np.int64)}))
    got = model(*(fnn.tensor(v, requires_grad=True) for v in values))
    np.testing.assert_allclose(got.data, model(*map(fnn.tensor, values)).data, rtol=1e-14, atol=1e-15)  # adds otherwise
    assert got.requires_grad
    assert not values[1].size or fnn.gradcheck(model, tuple(fnn.tensor(v, requires_grad=True) for v in values))


@pytest.mark.parametrize("fmod", [0, 1])
def test_remainders_are_exact_and_differentiable(fmod):
    model = load(make([("Mod", "x,z", "y", {"fmod": fmod})], dict.fromkeys("xz", (F32, [None])), ["y"]))
    x, z = np.array([5.3, -5.3, 4.2, -0.7]), np.array([1.7, 1.7, -1.3, 2.0])
    a, b = (fnn.tensor(v, requires_grad=True) for v in (x, z))
    np.testing.assert_array_equal(model(a, b).data, (np.fmod if fmod else np.mod)(x, z))
    assert fnn.gradcheck(model, (a, b))


def test_a_max_pool_that_says_where_is_differentiable():
    model = load(make([("MaxPool", "x", "y,at", {"kernel_shape": [2, 2]})], {"x": (F32, [1, 2, 4, 5])}, ["y", "at"]))
    x = fnn.tensor(RNG.standard_normal((1, 2, 4, 5)), requires_grad=True)
    for _ in range(2):  # the second time shapes are known
        y, at = model(x.detach())
        np.testing.assert_array_equal(y.data, x.data.reshape(-1)[at.data])
    assert fnn.gradcheck(lambda t: model(t)[0], (x,))


@pytest.mark.parametrize("op", ["ReduceL2", "LpNormalization"])
def test_the_norm_of_zeros_has_the_gradient_zero(op):
    model = load(make([(op, "x", "y", {})], {"x": (F32, [None, None])}, ["y"], opset=17))
    x = fnn.zeros(2, 3, requires_grad=True)
    model(x).sum().backward()
    assert not x.grad.data.any()


def test_random_operators_draw_anew_and_seeds_repeat():
    free = load(make([("RandomNormalLike", "x", "y", {})], {"x": (F32, [50])}, ["y"]))
    kept = load(make([("RandomNormalLike", "x", "y", {"seed": 3.0})], {"x": (F32, [50])}, ["y"]))
    x = np.zeros(50, np.float32)
    assert not np.array_equal(free(x), free(x))
    np.testing.assert_array_equal(kept(x), kept(x))
    fnn.manual_seed(5)
    a = free(x).data
    fnn.manual_seed(5)
    np.testing.assert_array_equal(free(x).data, a)
