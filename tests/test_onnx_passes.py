"""What fastnn.onnx.load makes of a graph before it runs changes nothing but speed; see also fusion and near."""

import numpy as np
import pytest

import fastnn as fnn

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402
from onnx_by_hand import F32, RNG, exposed, load, make, normal, steps  # noqa: E402


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


def block_net(first, shortcut, relu=True):
    """A residual block: what is added is its shortcut's output, or an image of one pixel, which is repeated."""
    w = {"w": normal(6, 3, 3, 3), "b": normal(6), "s": normal(6, 3, 1, 1), "v": normal(6, 6, 3, 3)}
    nodes = [
        ("Conv", "x,w,b", "c", {"pads": [1, 1, 1, 1]}),
        ("Conv", "x,s", "z", {}) if shortcut else ("GlobalAveragePool", "c", "z", {}),
        ("Conv", "c,v", "d", {"pads": [1, 1, 1, 1]}),
        ("Add", "z,d" if first else "d,z", "a", {}),
        ("Relu" if relu else "Neg", "a", "y", {}),
    ]
    return make(nodes, {"x": (F32, [None, 3, None, None])}, ["y"], w), [normal(2, 3, 10, 8)]


def inverted_block(bounds, summed=True):
    """Of MobileNets: pixels, depthwise, pixels, and the sum; ReLU6 is a Clip."""
    w = {"low": np.float32(bounds[0]), "high": np.float32(bounds[1])}
    w |= {"e": 9 * normal(24, 6, 1, 1), "d": normal(24, 1, 3, 3), "p": normal(6, 24, 1, 1), "b": normal(6)}
    nodes = [
        ("Conv", "x,e", "c", {}),
        ("Clip", "c,low,high", "r", {}),
        ("Conv", "r,d", "m", {"pads": [1, 1, 1, 1], "group": 24}),
        ("Clip", "m,low,high", "s", {}),
        ("Conv", "s,p,b", "o" if summed else "y", {}),
    ]
    nodes += [("Add", "x,o", "y", {})] if summed else []
    return make(nodes, {"x": (F32, [None, 6, None, None])}, ["y"], w), [normal(2, 6, 5, 4)]


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
        nodes.append(("Add", f"mask,{s}" if mask == "first" else f"{s},mask", "sm", {}))
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
    "block": (lambda: block_net(False, True), ["Conv", "Conv", "Conv"]),
    "block, shortcut first": (lambda: block_net(True, True), ["Conv", "Conv", "Conv"]),
    "block without activation": (lambda: block_net(True, True, False), ["Conv", "Conv", "Conv", "Neg"]),
    "block and one pixel": (lambda: block_net(False, False), ["Conv", "GlobalAveragePool", "Conv"]),
    "inverted block": (lambda: inverted_block((0, 6)), ["Conv"] * 3),
    "inverted block of other limits": (lambda: inverted_block((-1, 6)), ["Conv", "Clip", "Conv", "Clip", "Conv"]),
    **{
        f"linear {a} {f}": (lambda a=a, f=f: linear_net(a, f), ["Linear"])
        for a in ("Relu", "Tanh", "HardSwish")
        for f in (0, 1)
    },
    **{f"gelu {o}": (lambda o=o: gelu_net(o), ["Linear"]) for o in ("x(1+e)/2", "(x/2)(1+e)", "x((1+e)/2)")},
    "swish": (swish_net, ["Linear"]),
    **{
        f"attention {m} {s}": (lambda m=m, s=s: attention_net(m, s), ["Sdpa"])
        for m in (False, True, "first")
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


@pytest.mark.parametrize("axis", [-2, -3])
def test_sums_of_opset_6_stand_where_they_say(axis):
    """The second one has its axes from `axis` of the first on, which sizes that are all the same do not show."""
    for op, x, w in (("MatMul", normal(5, 5, 5), normal(5, 5)), ("Conv", normal(2, 5, 6, 6), normal(5, 5, 2, 2))):
        nodes = [(op, "x,w", "m", {}), ("Add", "m,b", "y", {"broadcast": 1, "axis": x.ndim + axis})]
        proto = make(nodes, {"x": (F32, x.shape)}, ["y"], {"w": w, "b": normal(5)}, opset=6)
        fused, plain = load(proto), load(exposed(proto))
        (b,) = [numpy_helper.to_array(t) for t in proto.graph.initializer if t.name == "b"]
        want = plain.named(x=x)["m"].data + b.reshape(5, *[1] * (-1 - axis))
        for y in (fused(x), plain.named(x=x)["y"], fused(x)):  # the last with known shapes
            np.testing.assert_allclose(y.data, want, rtol=1e-5, atol=1e-5)


def test_activations_of_opset_6_are_put_together():
    wide = {"broadcast": 1}
    nodes = [("Sigmoid", "x", "s", {}), ("Mul", "x,s", "y", wide)]
    x = normal(2, 3)
    model = load(make(nodes, {"x": (F32, (2, 3))}, ["y"], opset=6))
    assert steps(model) == ["Swish"]
    np.testing.assert_allclose(model(x).data, x / (1 + np.exp(-x)), rtol=1e-5)


def test_dropout_that_is_always_on_drops():
    w = {"p": np.float32(0.5), "on": np.array(True)}
    nodes = [("Dropout", "x,p,on", "d", {}), ("Neg", "d", "y", {})]
    assert set(load(make(nodes, {"x": (F32, [100])}, ["y"], w))(np.ones(100, np.float32)).tolist()) == {0, -2}


@pytest.mark.parametrize("layout", [0, 1])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_recurrent_layers_agree_with_onnx_s_reference(kind, direction, layout):
    proto, inputs = recurrent_net(kind, direction)
    model = load(proto)
    assert steps(model) == ["Recurrent"]
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


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("LSTM", {"clip": 0.3}),
        ("LSTM", {"input_forget": 1}),
        ("LSTM", {"activations": ["Sigmoid", "Tanh", "Relu"]}),
        ("GRU", {"linear_before_reset": 0}),
        ("RNN", {"activations": ["Affine"], "activation_alpha": [0.5]}),
    ],
)
def test_layers_whose_steps_are_other_ones_stay_as_they_are(kind, how):
    proto, (x,) = recurrent_net(kind, "forward")
    for name, value in how.items():
        kept = [a for a in proto.graph.node[0].attribute if a.name != name]
        del proto.graph.node[0].attribute[:]
        proto.graph.node[0].attribute.extend([*kept, helper.make_attribute(name, value)])
    model, usual = load(proto), load(recurrent_net(kind, "forward")[0])
    assert (steps(model), steps(usual)) == ([kind], ["Recurrent"])
    assert model(x)[0].shape == usual(x)[0].shape


def test_a_value_with_two_readers_is_not_fused_away():
    w = {"w": normal(4, 4)}
    nodes = [("MatMul", "x,w", "m", {}), ("Relu", "m", "r", {}), ("Add", "m,r", "y", {})]
    model = load(make(nodes, {"x": (F32, [None, 4])}, ["y"], w))
    assert steps(model) == ["Linear", "Relu", "Add"]
    x = normal(3, 4)
    m = x @ w["w"]
    np.testing.assert_allclose(model(x).data, m + np.maximum(m, 0), rtol=1e-5, atol=1e-5)  # sums that cancel


def test_a_weight_with_two_readers_keeps_its_values_for_the_other():
    w = {"w": normal(4, 4)}
    nodes = [("MatMul", "x,w", "m", {}), ("Mul", "m,w", "y", {})]
    x = normal(4, 4)
    np.testing.assert_allclose(
        load(make(nodes, {"x": (F32, [4, 4])}, ["y"], w))(x).data, x @ w["w"] * w["w"], rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(("nodes", "shape"), [(["Gemm", "Add"], (1, 5)), (["MatMul", "Mul"], (4, 1))])
def test_weights_made_of_one_have_memory_of_their_own(nodes, shape):
    ins = "x,w,b" if nodes[0] == "Gemm" else "x,b"
    made = [(nodes[0], ins, "h", {}), (nodes[1], "h,b", "y", {})]
    model = load(make(made, {"x": (F32, [4, 4])}, ["y"], {"w": normal(4, 5), "b": normal(*shape)}))
    weights = list(model.parameters())
    assert sorted(w.size for w in weights)[:2] == [shape[0] * shape[1]] * 2
    assert not any(np.shares_memory(a.data, b.data) for i, a in enumerate(weights) for b in weights[:i])


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


@pytest.mark.parametrize("order", [1, -1])
def test_a_weight_and_its_transpose_are_both_products(order):
    """As in an autoencoder with tied weights, square ones here."""
    w = {"w": normal(4, 4)}
    nodes = [("MatMul", "x,t", "a", {}), ("MatMul", "x,w", "b", {})][::order]
    nodes = [("Transpose", "w", "t", {}), *nodes, ("Add", "a,b", "y", {})]
    x = normal(2, 4)
    y = load(make(nodes, {"x": (F32, [None, 4])}, ["y"], w))(x).data
    np.testing.assert_allclose(y, x @ w["w"].T + x @ w["w"], rtol=1e-5, atol=1e-5)


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


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"strides": [2, 3], "pads": [1, 0, 1, 0]},
        {"strides": [2, 2], "pads": [0, 1, 2, 0], "dilations": [1, 2]},
        {"strides": [2, 2], "output_padding": [1, 0]},
        {"strides": [2, 3], "output_shape": [12, 13]},
        {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
    ],
    ids=str,
)
@pytest.mark.parametrize("activation", [None, "Relu", "Tanh"])
def test_transposed_convolutions_of_known_shapes(how, activation):
    w = {"w": normal(4, 6, 3, 2), "b": normal(6)}
    nodes = [("ConvTranspose", "x,w,b", "c" if activation else "y", how)]
    nodes += [(activation, "c", "y", {})] if activation else []
    proto = make(nodes, {"x": (F32, [None, 4, None, None])}, ["y"], w)
    model = load(proto)
    assert steps(model) == ["ConvTranspose"]
    for shape in ((2, 4, 5, 4), (1, 4, 1, 7)) if "output_shape" not in how else ((2, 4, 5, 4),):
        x = normal(*shape)
        (want,) = ReferenceEvaluator(proto).run(None, {"x": x})
        for _ in range(2):
            np.testing.assert_allclose(model(x).data, want, rtol=1e-4, atol=1e-5)


def test_transposed_convolutions_in_groups():
    """ONNX's reference has no groups: two networks of half the channels."""
    w, x, how = normal(4, 3, 3, 2), normal(2, 4, 5, 4), {"strides": [1, 2], "pads": [1, 0, 0, 1]}

    def net(w, **more):
        return load(make([("ConvTranspose", "x,w", "y", {**how, **more})], {"x": (F32, [None] * 4)}, ["y"], {"w": w}))

    halves = [net(w[i : i + 2])(x[:, i : i + 2]).data for i in (0, 2)]
    model = net(w, group=2)
    for _ in range(2):
        np.testing.assert_allclose(model(x).data, np.concatenate(halves, 1), rtol=1e-5, atol=1e-5)


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


@pytest.mark.parametrize(
    ("op", "ins", "numbers"),
    [
        ("Pad", "x,n", [[0, 1, 0, 0], [0, 0, 2, 1]]),
        ("Slice", "x,zeros,sixes,axes,n", [[1, 1], [2, 1]]),
        ("Slice", "x,n,sixes", [[1, 0], [0, 2]]),
        ("TopK", "x,n", [[1], [2]]),
        ("Tile", "x,n", [[1, 2], [2, 2]]),
        ("Expand", "x,n", [[1, 4, 5], [3, 4, 5]]),
    ],
)
def test_sizes_that_are_given_as_values_may_be_others_each_time(op, ins, numbers):
    weights = {"zeros": np.array([0, 0]), "sixes": np.array([6, 6]), "axes": np.array([0, 1])}
    nodes = [(op, ins, "a,i" if op == "TopK" else "a", {}), ("Flatten", "a", "f", {"axis": 0}), ("Neg", "f", "y", {})]
    inputs = {"x": (F32, [None, None]), "n": (TensorProto.INT64, [len(numbers[0])])}
    proto = make(nodes, inputs, ["y"], {n: w for n, w in weights.items() if n in ins.split(",")})
    model, x = load(proto), normal(4, 5)
    for n in (numbers[0], numbers[0], numbers[1], numbers[0]):
        (want,) = ReferenceEvaluator(proto).run(None, {"x": x, "n": np.array(n)})
        np.testing.assert_array_equal(model(x, np.array(n)).data, want)


@pytest.mark.parametrize("op", ["Squeeze", "Unsqueeze"])
def test_axes_that_are_given_as_values_may_be_others_each_time(op):
    nodes = [(op, "x,n", "a", {}), ("Neg", "a", "y", {})]
    model = load(make(nodes, {"x": (F32, [1, 4, 1]), "n": (TensorProto.INT64, [1])}, ["y"]))
    x, take = normal(1, 4, 1), np.squeeze if op == "Squeeze" else np.expand_dims
    for axis in (0, 0, 2, 0):
        np.testing.assert_array_equal(model(x, np.array([axis])).data, -take(x, axis))


def test_one_of_several_integers_comes_out_as_a_tensor():
    made = make([("Gather", "x,i", "y", {})], {"x": (TensorProto.INT64, [None])}, ["y"], {"i": np.array(1)})
    model = load(made)
    for _ in range(3):
        y = model(np.array([3, 4, 5]))
        assert isinstance(y, fnn.Tensor)
        assert y.tolist() == 4


def test_what_depends_on_a_weight_too_is_computed_each_time():
    nodes = [("Shape", "x", "s", {}), ("Cast", "s", "f", {"to": F32}), ("Mul", "f,w", "g", {}), ("Mul", "x,g", "y", {})]
    model, x = load(make(nodes, {"x": (F32, [None])}, ["y"], {"w": np.array([2.0], np.float32)})), normal(3)
    for w in (2, 2, 5):
        with fnn.no_grad():
            model.w.fill_(float(w))
        np.testing.assert_allclose(model(x).data, x * 3 * w, rtol=1e-6)
