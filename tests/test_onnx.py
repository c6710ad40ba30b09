"""fastnn.onnx.load: what a loaded model is, and that its passes change nothing but speed."""

import sys

import numpy as np
import pytest

import fastnn as fnn

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from fastnn._extras import MissingExtraError  # noqa: E402

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.standard_normal(shape, np.float32)


def make(nodes, inputs, outputs, weights=None, opset=20, functions=(), domains=()):
    """A ModelProto. `inputs`: name -> shape (None where free) or ndarray type; nodes as (op, ins, outs, attributes)."""
    made = [helper.make_node(op, ins.split(","), outs.split(","), **how) for op, ins, outs, how in nodes]
    infos = [helper.make_tensor_value_info(n, t, s) for n, (t, s) in inputs.items()]
    outs = [helper.make_tensor_value_info(n, F32, ["any"]) for n in outputs]
    initialisers = [numpy_helper.from_array(np.asarray(w), n) for n, w in (weights or {}).items()]
    graph = helper.make_graph(made, "g", infos, outs, initialisers)
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10, functions=list(functions))


F32 = TensorProto.FLOAT


def load(model):
    return fnn.onnx.load(model.SerializeToString())


def steps(module):
    return [node.op for node in module._plan.nodes]


def exposed(model):
    """The same model with every value as an output: nothing can be fused."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    have = {o.name for o in copy.graph.output}
    for node in copy.graph.node:
        for name in node.output:
            if name and name not in have:
                copy.graph.output.append(helper.make_tensor_value_info(name, F32, ["any"]))
    return copy


def mlp(weights=None):
    w = weights or {"net.0.weight": normal(5, 3), "net.0.bias": normal(5), "net.2.weight": normal(2, 5)}
    nodes = [
        ("Gemm", "x,net.0.weight,net.0.bias", "h", {"transB": 1}),
        ("Relu", "h", "r", {}),
        ("Gemm", "r,net.2.weight", "y", {"transB": 1}),
    ]
    return make(nodes, {"x": (F32, [None, 3])}, ["y"], w), w


# ----- the module -----


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


# ----- passes -----


def conv_net(pool=True):
    w = {
        "conv.weight": normal(6, 3, 3, 3),
        "scale": normal(6),
        "shift": normal(6),
        "mean": normal(6),
        "var": RNG.random(6, np.float32) + 0.5,
    }
    nodes = [
        ("Conv", "x,conv.weight", "c", {"pads": [1, 1, 1, 1]}),
        ("BatchNormalization", "c,scale,shift,mean,var", "n", {"epsilon": 1e-3}),
        ("Relu", "n", "r" if pool else "y", {}),
    ]
    if pool:
        nodes.append(("MaxPool", "r", "y", {"kernel_shape": [2, 2], "strides": [2, 2]}))
    return make(nodes, {"x": (F32, [None, 3, None, None])}, ["y"], w), [normal(2, 3, 10, 8)]


def linear_net(activation, first):
    w = {"w": normal(4, 5), "b": normal(5)}
    order = "b,m" if first else "m,b"
    nodes = [("MatMul", "x,w", "m", {}), ("Add", order, "a", {}), (activation, "a", "y", {})]
    return make(nodes, {"x": (F32, [None, 3, 4])}, ["y"], w), [normal(2, 3, 4)]


def gelu_net(order):
    w = {"w": normal(4, 5), "root": np.float32(2**0.5), "one": np.float32(1), "half": np.float32(0.5)}
    nodes = [("MatMul", "x,w", "m", {}), ("Div", "m,root", "d", {}), ("Erf", "d", "e", {}), ("Add", "e,one", "s", {})]
    tail = {
        "x(1+e)/2": [("Mul", "m,s", "p", {}), ("Mul", "p,half", "y", {})],
        "(x/2)(1+e)": [("Mul", "half,m", "p", {}), ("Mul", "p,s", "y", {})],
        "x((1+e)/2)": [("Mul", "s,half", "p", {}), ("Mul", "p,m", "y", {})],
    }[order]
    return make([*nodes, *tail], {"x": (F32, [None, 4])}, ["y"], w), [normal(7, 4)]


def swish_net():
    w = {"w": normal(4, 5), "b": normal(1, 5)}
    nodes = [("Gemm", "x,w,b", "g", {}), ("Sigmoid", "g", "s", {}), ("Mul", "s,g", "y", {})]
    return make(nodes, {"x": (F32, [None, 4])}, ["y"], w), [normal(7, 4)]


def attention_net(mask, scaled):
    w = {"scale": np.float32(0.4), "mask": np.where(RNG.random((6, 6)) < 0.7, 0, -1e9).astype(np.float32)}
    nodes = [("Transpose", "k", "t", {"perm": [0, 1, 3, 2]})]
    q, t = "q", "t"
    if scaled == "before":
        nodes += [("Mul", "q,scale", "qs", {}), ("Mul", "t,scale", "ts", {})]
        q, t = "qs", "ts"
    nodes.append(("MatMul", f"{q},{t}", "s", {}))
    s = "s"
    if scaled == "behind":
        nodes.append(("Div", "s,scale", "sd", {}))
        s = "sd"
    if mask:
        nodes.append(("Add", f"{s},mask", "sm", {}))
        s = "sm"
    nodes += [("Softmax", s, "p", {"axis": -1}), ("MatMul", "p,v", "y", {})]
    sizes = {"q": [None, 2, 6, 8], "k": [None, 2, 6, 8], "v": [None, 2, 6, 5]}
    inputs = {n: (F32, s) for n, s in sizes.items()}
    used = {n: a for n, a in w.items() if any(n in i.split(",") for _, i, _, _ in nodes)}
    return make(nodes, inputs, ["y"], used), [normal(3, 2, 6, 8), normal(3, 2, 6, 8), normal(3, 2, 6, 5)]


def recurrent_net(kind, direction, layout=0):
    gates, d = {"LSTM": 4, "GRU": 3, "RNN": 1}[kind], 2 if direction == "bidirectional" else 1
    w = {"w": normal(d, gates * 5, 4), "r": normal(d, gates * 5, 5), "b": normal(d, gates * 10)}
    how = {"hidden_size": 5, "direction": direction, "layout": layout}
    if kind == "GRU":
        how["linear_before_reset"] = 1
    nodes = [(kind, "x,w,r,b", "y,h" + (",c" if kind == "LSTM" else ""), how)]
    outs = ["y", "h"] + (["c"] if kind == "LSTM" else [])
    return make(nodes, {"x": (F32, [None, None, 4])}, outs, w), [normal(6, 3, 4)]


FUSED = {
    "conv": (conv_net, ["Conv"]),
    "conv without pool": (lambda: conv_net(False), ["Conv"]),
    **{f"linear {a} {f}": (lambda a=a, f=f: linear_net(a, f), ["Linear"]) for a in ("Relu", "Tanh") for f in (0, 1)},
    **{f"gelu {o}": (lambda o=o: gelu_net(o), ["Linear"]) for o in ("x(1+e)/2", "(x/2)(1+e)", "x((1+e)/2)")},
    "swish": (swish_net, ["Linear"]),
    **{
        f"attention {m} {s}": (lambda m=m, s=s: attention_net(m, s), ["Sdpa"])
        for m in (False, True)
        for s in ("", "before", "behind")
    },
}


@pytest.mark.parametrize("name", FUSED)
def test_a_fused_graph_computes_what_the_plain_one_does(name):
    build, ops = FUSED[name]
    proto, inputs = build()
    fused, plain = load(proto), load(exposed(proto))
    assert steps(fused) == ops
    assert len(steps(plain)) > len(ops)
    want = plain.named(**dict(zip(plain.input_names, inputs, strict=True)))["y"]
    np.testing.assert_allclose(fused(*inputs).data, want.data, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layout", [0, 1])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_recurrent_layers_agree_with_onnx_s_reference(kind, direction, layout):
    proto, inputs = recurrent_net(kind, direction)
    model = load(proto)
    assert steps(model) == ["Recurrent"]
    from onnx.reference import ReferenceEvaluator

    if direction != "reverse":  # the reference evaluator runs those two alone
        want = ReferenceEvaluator(proto).run(None, {"x": inputs[0]}) if direction == "forward" else None
        if want is not None:
            for a, b in zip(model(*inputs), want, strict=False):
                np.testing.assert_allclose(a.data, b, rtol=1e-4, atol=1e-5)
    # Weights that are computed, not constant, take the other way; so does a length for each sequence.
    loose = onnx.ModelProto()
    loose.CopyFrom(proto)
    loose.graph.node[0].input.extend(["lengths"])
    loose.graph.input.append(helper.make_tensor_value_info("lengths", TensorProto.INT32, [None]))
    other = load(loose)
    assert steps(other) == [kind]
    got, plain = other(inputs[0], np.full(3, 6, np.int32)), other(inputs[0], np.array([6, 6, 2], np.int32))
    for a, b, c in zip(model(*inputs), got, plain, strict=True):
        np.testing.assert_allclose(a.data, b.data, rtol=1e-4, atol=1e-5)
        rows = c.data[..., :2, :]  # the sequences that go to the end
        np.testing.assert_allclose(rows, b.data[..., :2, :], rtol=1e-4, atol=1e-5)
    assert (plain[0].data[2:, :, 2] == 0).all()
    if layout:
        turned, _ = recurrent_net(kind, direction, 1)
        for mine, theirs in zip(turned.graph.initializer, proto.graph.initializer, strict=True):
            mine.CopyFrom(theirs)
        ys = load(turned)(np.ascontiguousarray(inputs[0].swapaxes(0, 1)))
        np.testing.assert_allclose(ys[0].data, model(*inputs)[0].data.transpose(2, 0, 1, 3), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(ys[1].data, model(*inputs)[1].data.swapaxes(0, 1), rtol=1e-5, atol=1e-6)


def test_a_value_with_two_readers_is_not_fused_away():
    w = {"w": normal(4, 4)}
    nodes = [("MatMul", "x,w", "m", {}), ("Relu", "m", "r", {}), ("Add", "m,r", "y", {})]
    model = load(make(nodes, {"x": (F32, [None, 4])}, ["y"], w))
    assert steps(model) == ["Linear", "Relu", "Add"]
    x = normal(3, 4)
    m = x @ w["w"]
    np.testing.assert_allclose(model(x).data, m + np.maximum(m, 0), rtol=1e-5)


def test_a_weight_with_two_readers_keeps_its_values_for_the_other():
    w = {"w": normal(4, 4)}
    nodes = [("MatMul", "x,w", "m", {}), ("Mul", "m,w", "y", {})]
    x = normal(4, 4)
    np.testing.assert_allclose(
        load(make(nodes, {"x": (F32, [4, 4])}, ["y"], w))(x).data, x @ w["w"] * w["w"], rtol=1e-5
    )


def test_images_stay_channels_last_between_nodes():
    proto, (x,) = conv_net(False)
    y = load(proto)(x).data
    assert y.transpose(0, 2, 3, 1).flags.c_contiguous


def test_constants_are_computed_at_load_and_stay_trained():
    w = {"w": normal(5, 4), "s": np.float32(2)}
    nodes = [("Mul", "w,s", "v", {}), ("Transpose", "v", "t", {}), ("MatMul", "x,t", "y", {})]
    model = load(make(nodes, {"x": (F32, [None, 4])}, ["y"], w))
    assert steps(model) == ["Linear"]
    assert [p.shape for p in model.parameters()] == [(5, 4)]
    x = normal(2, 4)
    np.testing.assert_allclose(model(x).data, x @ (2 * w["w"]).T, rtol=1e-5)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("op", ["Conv", "BatchNormalization"])
def test_an_activation_is_fused_for_any_number_of_axes(op, axes):
    w = {"w": normal(4, 3, *[2] * axes)} if op == "Conv" else {n: RNG.random(3, np.float32) + 0.5 for n in "sbmv"}
    nodes = [(op, ",".join(["x", *w]), "c", {}), ("Relu", "c", "y", {})]
    proto = make(nodes, {"x": (F32, [None] * (axes + 2))}, ["y"], w)
    fused, plain = load(proto), load(exposed(proto))
    assert (steps(fused), steps(plain)) == ([op], [op, "Relu"])
    x = normal(2, 3, *[4] * axes)
    want = plain.named(x=x)["y"].data
    assert (want == 0).any()
    np.testing.assert_allclose(fused(x).data, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_a_constant_index_picks_along_any_axis(axis):
    proto = make([("Gather", "x,i", "y", {"axis": axis})], {"x": (F32, [3, 4])}, ["y"], {"i": np.array(-2)})
    model, x = load(proto), normal(3, 4)
    for _ in range(2):
        np.testing.assert_array_equal(model(x).data, x.take(-2, axis))


def test_a_product_with_a_row():
    w = {"w": normal(4, 5)}
    model, x = load(make([("MatMul", "x,w", "y", {})], {"x": (F32, [4])}, ["y"], w)), normal(4)
    np.testing.assert_allclose(model(x).data, x @ w["w"], rtol=1e-5)


# ----- shapes -----


def shape_net():
    """Flattens all but the first axis with arithmetic on shapes, adds a row of zeros made from them."""
    ints = {"zero": np.array(0), "axes": np.array([0]), "rest": np.array([-1]), "w": normal(1)}
    nodes = [
        ("Shape", "x", "s", {}),
        ("Gather", "s,zero", "n", {}),
        ("Unsqueeze", "n,axes", "n1", {}),
        ("Concat", "n1,rest", "to", {"axis": 0}),
        ("Reshape", "x,to", "f", {}),
        ("ConstantOfShape", "n1", "z", {}),
        ("Unsqueeze", "z,rest", "z1", {}),
        ("Add", "f,z1", "a", {}),
        ("Mul", "a,w", "y", {}),
    ]
    return make(nodes, {"x": (F32, [None, None, None])}, ["y", "z"], ints), ints["w"]


def test_what_depends_on_shapes_alone_is_computed_once_for_each():
    proto, w = shape_net()
    model = load(proto)
    for shape in [(2, 3, 4), (5, 1, 2), (2, 3, 4), (2, 3, 4), (5, 1, 2), (0, 2, 2)] * 2:
        x = normal(*shape)
        y, z = model(x)
        np.testing.assert_allclose(y.data, x.reshape(shape[0], shape[1] * shape[2]) * w, rtol=1e-6)
        assert z.tolist() == [0.0] * shape[0]
        z.fill_(7.0)  # an output is the caller's own
    assert len(model._plan.remembered) == 3
    first, later = model._plan.steps, next(iter(model._plan.remembered.values()))[1]
    assert len(later) < len(first) - 3


def test_no_more_shapes_are_remembered_than_a_few():
    from fastnn.onnx._plan import KEPT_SHAPES

    model = load(shape_net()[0])
    for n in range(3 * KEPT_SHAPES):
        assert model(normal(n, 1, 1))[0].shape == (n, 1)
        assert len(model._plan.remembered) <= KEPT_SHAPES


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
