"""What fastnn.onnx fuses: found where the pattern is certain, left alone where it is not, and never another result."""

import numpy as np
import pytest

import fastnn as fnn

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, numpy_helper, parser  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

from fastnn.onnx._views import View  # noqa: E402

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.standard_normal(shape, np.float32)


def graph(text, inputs, outputs="y", opset=20, **weights):
    """A model of the parser's text for nodes. Inputs: name -> shape, where None is free."""

    def typed(name, shape):
        return f"float[{', '.join('?' if n is None else str(n) for n in shape)}] {name}".replace("?", f"n_{name}")

    ins = ", ".join(typed(name, shape) for name, shape in inputs.items())
    outs = ", ".join(f"float[any] {name}" for name in outputs.split(","))
    model = parser.parse_model(f'<ir_version: 9, opset_import: ["" : {opset}]> g ({ins}) => ({outs}) {{ {text} }}')
    for out in model.graph.output:
        out.type.tensor_type.ClearField("shape")
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(w), n) for n, w in weights.items())
    return model


def load(model):
    return fnn.onnx.load(model.SerializeToString())


def ops(made):
    return [node.op for node in made._plan.nodes]


def agrees(model, made, *inputs, atol=1e-5):
    """The same as ONNX's own evaluator says, when shapes come for the first time and when they are known."""
    with np.errstate(invalid="ignore"):
        want = ReferenceEvaluator(model).run(None, dict(zip(made.input_names, inputs, strict=True)))
    for _ in range(2):
        got = made(*inputs)
        for have, right in zip(got if isinstance(got, tuple) else (got,), want, strict=True):
            assert have.shape == right.shape
            np.testing.assert_allclose(have.data, right, rtol=1e-4, atol=atol)


def exposed(model, *names):
    """The same model with some values as further outputs, so that nothing that makes them is fused."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for name in names:
        copy.graph.output.append(onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return copy


def gradients(made, x):
    """Of the squares' sum, with respect to the input and to what is trained."""
    made.train()
    x = fnn.tensor(x, requires_grad=True)
    out = made(x)
    ((out if not isinstance(out, tuple) else out[0]) ** 2).sum().backward()
    return x.grad.numpy(), {name: p.grad.numpy() for name, p in made.named_parameters() if p.grad is not None}


# ----- norms that an exporter wrote out -----

CENTRED = "m = ReduceMean <keepdims = 1> (x, last) c = Sub (x, m)"
TAIL = "s = Mul (n, w) y = Add (s, b)"
LAYER_NORMS = {
    "pow": f"{CENTRED} q = Pow (c, two) v = ReduceMean (q, last) e = Add (v, eps) r = Sqrt (e) n = Div (c, r) {TAIL}",
    "product": f"{CENTRED} q = Mul (c, c) v = ReduceMean (q, last) e = Add (eps, v) r = Sqrt (e) n = Div (c, r) {TAIL}",
    "reciprocal": f"{CENTRED} q = Pow (c, two) v = ReduceMean (q, last) e = Add (v, eps) r = Sqrt (e)"
    f" i = Reciprocal (r) n = Mul (i, c) {TAIL}",
    "one over": f"{CENTRED} q = Pow (c, two) v = ReduceMean (q, last) e = Add (v, eps) r = Sqrt (e)"
    f" i = Div (one, r) n = Mul (c, i) {TAIL}",
    "twice": f"{CENTRED} d = Sub (x, m) q = Pow (d, two) v = ReduceMean (q, last) e = Add (v, eps) r = Sqrt (e)"
    f" n = Div (c, r) s = Mul (w, n) y = Add (b, s)",
}
# What goes beyond the pattern, and so stays as it is.
ODD_NORMS = {
    "a second reader": LAYER_NORMS["pow"].replace("y =", "z =") + " y = Add (z, c)",
    "another power": LAYER_NORMS["pow"].replace("two", "three"),
    "other axes": LAYER_NORMS["pow"].replace("v = ReduceMean (q, last)", "v = ReduceMean (q, first)"),
    "another mean": LAYER_NORMS["pow"].replace("m = ReduceMean <keepdims = 1> (x, last)", "m = ReduceMean (x, first)"),
    "no scale": LAYER_NORMS["pow"].replace("s = Mul (n, w)", "s = Mul (n, n)"),
}


def norm_net(text, **more):
    numbers = {"two": np.float32(2), "three": np.float32(3), "one": np.float32(1), "eps": np.float32(1e-5)}
    weights = {"w": normal(6), "b": normal(6), "last": np.array([-1]), "first": np.array([0]), **numbers}
    return graph(text, {"x": (None, 3, 6)}, **{n: w for n, w in weights.items() if f"{n})" in text or f"({n}," in text})


@pytest.mark.parametrize("name", LAYER_NORMS)
def test_a_layer_norm_written_out(name):
    model = norm_net(LAYER_NORMS[name])
    made, x = load(model), normal(4, 3, 6) + 3
    assert ops(made) == ["LayerNormalization"]
    agrees(model, made, x)
    agrees(model, made.freeze(), x)
    unfused = load(exposed(model, "n"))
    assert "LayerNormalization" not in ops(unfused)
    (dx, dw), (want_dx, want_dw) = gradients(load(model), x), gradients(unfused, x)
    np.testing.assert_allclose(dx, want_dx, rtol=1e-3, atol=1e-4)
    for weight in ("w", "b"):
        np.testing.assert_allclose(dw[weight], want_dw[weight], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ODD_NORMS)
def test_what_only_looks_like_a_layer_norm(name):
    model = norm_net(ODD_NORMS[name])
    made = load(model)
    assert "LayerNormalization" not in ops(made)
    agrees(model, made, normal(4, 3, 6), atol=1e-3)


def test_norms_of_two_axes_and_of_old_opsets():
    text = LAYER_NORMS["pow"].replace(", last)", ")").replace("ReduceMean <keepdims = 1>", "ReduceMean")
    text = text.replace("ReduceMean", "ReduceMean <axes = [-2, -1]>")
    numbers = {"two": np.float32(2), "eps": np.float32(1e-5)}
    model = graph(text, {"x": (None, 3, 6)}, opset=13, w=normal(3, 6), b=normal(3, 6), **numbers)
    made = load(model)
    assert ops(made) == ["LayerNormalization"]
    agrees(model, made, normal(4, 3, 6))


@pytest.mark.parametrize("square", ["Pow (x, two)", "Mul (x, x)"])
def test_an_rms_norm_written_out(square):
    text = f"q = {square} v = ReduceMean (q, last) e = Add (v, eps) r = Sqrt (e) i = Reciprocal (r) n = Mul (x, i)"
    model = norm_net(f"{text} s = Mul (w, n) y = Add (s, x)")
    made = load(model)
    assert ops(made) == ["RMSNormalization", "Add"]
    agrees(model, made, normal(4, 3, 6))


@pytest.mark.parametrize("residual", [(None, 3, 6), (3, 6), (1, 1, 1)])
def test_a_sum_before_a_norm_keeps_its_other_readers(residual):
    text = "a = Add (x, r) n = LayerNormalization (a, w, b) z = Relu (a) y = Add (n, z)"
    model = graph(text, {"x": (None, 3, 6), "r": residual}, w=normal(6), b=normal(6))
    made = load(model)
    assert ops(made) == ["AddLayerNorm", "Relu", "Add"]
    agrees(model, made, normal(4, 3, 6), normal(*[4 if n is None else n for n in residual]))


def test_a_sum_of_halves_is_rounded_before_its_norm():
    text = "a = Add (x, r) y = LayerNormalization (a, w, b)"
    model = graph(text, {"x": (None, 64), "r": (None, 64)}, w=normal(64), b=normal(64))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    weights = [numpy_helper.to_array(w).astype(np.float16) for w in model.graph.initializer]
    del model.graph.initializer[:]
    model.graph.initializer.extend(numpy_helper.from_array(w, n) for w, n in zip(weights, "wb", strict=True))
    x, r = (normal(5, 64).astype(np.float16) for _ in range(2))
    total = (x + r).astype(np.float32)
    centred = total - total.mean(-1, keepdims=True)
    want = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * weights[0] + weights[1]
    np.testing.assert_allclose(np.asarray(load(model)(x, r)), want.astype(np.float16), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("groups", [1, 2])
def test_a_norm_goes_into_a_transposed_convolution(groups):
    text = f"c = ConvTranspose <strides = [2, 2], pads = [1, 1, 1, 1], group = {groups}> (x, k)"
    text += " n = BatchNormalization (c, w, b, m, v) y = Tanh (n)"
    w = {
        "k": normal(4, 6 // groups, 4, 4),
        "w": normal(6),
        "b": normal(6),
        "m": normal(6),
        "v": RNG.random(6, np.float32),
    }
    model = graph(text, {"x": (None, 4, None, None)}, **{**w, "v": w["v"] + np.float32(0.5)})
    made, x = load(model).freeze(), normal(2, 4, 5, 3)
    assert ops(made) == ["ConvTranspose"]
    plain = load(exposed(model, "c", "n"))
    assert ops(plain) == ["ConvTranspose", "BatchNormalization", "Tanh"]
    for _ in range(2):
        np.testing.assert_allclose(made(x).data, plain(x)[0].data, rtol=1e-4, atol=1e-5)


# ----- attention -----


def heads(x, w, b, turn, to):
    product = f"{to}m = MatMul ({x}, {w}) {to}a = Add ({to}m, {b})"
    return f"{product} {to}r = Reshape ({to}a, cut) {to} = Transpose <perm = {turn}> ({to}r)"


SELF = " ".join(
    [
        *(heads("x", f"w{n}", f"b{n}", [0, 2, 3, 1] if n == "k" else [0, 2, 1, 3], n) for n in "qkv"),
        "s = MatMul (q, k) d = Div (s, root) {mask} p = Softmax (d{last}) h = MatMul (p, v)",
        "t = Transpose <perm = [0, 2, 1, 3]> (h) f = Reshape (t, whole) o = MatMul (f, wo) y = Add (x, o)",
    ]
)


def self_attention(mask="", last="", batch=None, time=None, **more):
    w = {f"w{n}": normal(8, 8) for n in "qkvo"} | {f"b{n}": normal(8) for n in "qkv"}
    sizes = {"cut": np.array([0, 0, 2, 4]), "whole": np.array([0, 0, 8]), "root": np.float32(2)}
    return graph(SELF.format(mask=mask, last=last), {"x": (batch, time, 8)}, **w, **sizes, **more)


@pytest.mark.parametrize("size", [(3, 5), (1, 5), (3, 1), (1, 1)])
def test_projections_of_one_input_are_one_product(size):
    model = self_attention()
    made, x = load(model), normal(*size, 8)
    assert sorted(set(ops(made))) == ["Add", "Linear", "Reshape", "Sdpa", "Split", "Transpose"]
    assert ops(made).count("Linear") == 2
    assert {"wq_joined", "bq_joined"} <= set(made.state_dict())
    agrees(model, made, x)
    agrees(model, made.freeze(), x)
    _, steps, _ = next(iter(made._plan.remembered.values()))
    assert [step[4].op for step in steps if step[4].op not in ("Reshape", "Transpose")] == [
        "Linear",
        "Sdpa",
        "Linear",
        "Add",
    ]
    assert len(steps) <= 5


def test_gradients_of_joined_projections():
    model, x = self_attention(), normal(3, 5, 8)
    joined, apart = load(model), load(exposed(model, "qa", "p"))
    assert "Sdpa" not in ops(apart)
    for _ in range(2):  # the second time shapes are known
        dx, dw = gradients(joined, x)
        want_dx, want_dw = gradients(apart, x)
        np.testing.assert_allclose(dx, want_dx, rtol=1e-4, atol=1e-4)
        whole = np.concatenate([want_dw[f"w{n}"] for n in "qkv"])
        np.testing.assert_allclose(dw["wq_joined"], whole, rtol=1e-4, atol=1e-3)
        joined.zero_grad()
        apart.zero_grad()


def test_a_weight_that_two_projections_share_stays_one():
    text = "q = Gemm <transB = 1> (x, w) k = Gemm <transB = 1> (x, w) v = Gemm <transB = 1> (x, u)"
    text += " t = Transpose <perm = [1, 0]> (k) s = MatMul (q, t) p = Softmax (s) y = MatMul (p, v)"
    model = graph(text, {"x": (None, 8)}, w=normal(8, 8) / 3, u=normal(8, 8))
    made = load(model)
    assert set(made.state_dict()) == {"w", "u"}
    agrees(model, made, normal(6, 8))


SEEN = np.tril(np.ones((5, 5), bool))
BLIND = SEEN & (np.arange(5) != 2)[:, None]  # the third query sees nothing


@pytest.mark.parametrize("low", [-np.inf, np.finfo(np.float32).min])
@pytest.mark.parametrize("order", ["seen, d, low", "hidden, low, d"])
def test_a_mask_that_chooses_between_scores_and_a_low_number(order, low):
    model = self_attention(f"e = Where ({order})", "", seen=SEEN, hidden=~SEEN, low=np.float32(low))
    for node in model.graph.node:
        if node.op_type == "Softmax":
            node.input[0] = "e"
    made = load(model)
    assert "Sdpa" in ops(made)
    agrees(model, made, normal(3, 5, 8))


def test_a_low_number_that_is_not_low_enough():
    model = self_attention("e = Where (seen, d, low)", seen=SEEN, low=np.float32(-3))
    for node in model.graph.node:
        if node.op_type == "Softmax":
            node.input[0] = "e"
    made = load(model)
    assert "Sdpa" not in ops(made)
    agrees(model, made, normal(3, 5, 8))


def test_queries_that_see_no_key_are_0():
    """As PyTorch's exporters write it for masks of bools."""
    text = "e = Where (seen, zero, low) m = Add (d, e) p = Softmax (m) i = IsNaN (p) u = Where (i, zero, p)"
    model = self_attention(text, seen=BLIND, low=np.float32(-np.inf), zero=np.float32(0))
    kept = [n for n in model.graph.node if not (n.op_type == "Softmax" and n.input[0] == "d")]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    for node in model.graph.node:
        if node.output[0] == "h":
            node.input[0] = "u"
    made = load(model)
    assert "Sdpa" in ops(made)
    assert "IsNaN" not in ops(made)
    agrees(model, made, normal(3, 5, 8))


# ----- views -----


def way(data, view):
    """A random step of a value and of its view."""
    kind, shape = RNG.integers(0, 5), data.shape
    if kind == 0:
        order = RNG.permutation(len(shape))
        return data.transpose(order), view.permuted(order)
    if kind == 1 and shape:
        axis = int(RNG.integers(len(shape)))
        index = int(RNG.integers(shape[axis]))
        return data.take(index, axis), view.at(axis, index)
    if kind == 2 and shape:
        axis = int(RNG.integers(len(shape)))
        size = int(RNG.integers(1, shape[axis] + 1))
        start = int(RNG.integers(0, shape[axis] - size + 1))
        return data.take(range(start, start + size), axis), view.cut(axis, start, size)
    flat, sizes = data.size, []
    while flat > 1 and RNG.random() < 0.8:
        n = int(RNG.choice([m for m in range(1, flat + 1) if flat % m == 0]))
        sizes.append(n)
        flat //= n
    shape = (*sizes, flat)
    return data.reshape(shape), view.reshaped(shape)


def test_views_are_what_their_steps_make():
    seen = {"same": 0, "other": 0, "none": 0}
    for _ in range(2000):
        shape = tuple(int(n) for n in RNG.choice([1, 2, 3, 4, 6], RNG.integers(1, 5)))
        base = np.arange(np.prod(shape)).reshape(shape)
        data, view = base, View.whole("x", shape)
        for _ in range(RNG.integers(1, 6)):
            data, view = way(data, view)
            if view is None:
                seen["none"] += 1
                break
            step = view.step(shape)
            seen["same" if step is None else "other"] += 1
            made = base if step is None else step(base)
            assert view.shape == made.shape == data.shape
            np.testing.assert_array_equal(made, data)
            if step is not None:
                np.testing.assert_array_equal(step(fnn.tensor(base.astype(np.float32))).numpy(), data)
    assert min(seen.values()) > 100


@pytest.mark.parametrize("opset", [17, 18])
@pytest.mark.parametrize("axes", [[2, 3], [-1, -2], [1, 3]])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_means_of_pixels(axes, keepdims, opset):
    how = f"axes = {axes}, " if opset < 18 else ""
    text = f"y = ReduceMean <{how}keepdims = {keepdims}> (x{'' if how else ', over'})"
    model = graph(text, {"x": (None, 3, 4, 5)}, opset=opset, **({} if how else {"over": np.array(axes)}))
    agrees(model, load(model), normal(2, 3, 4, 5))


def test_a_product_is_computed_in_the_order_of_memory():
    """(B, N, T, D) to (T B, N D), a product, and back to (B, T, E): nothing is copied, as no layer of ours would."""
    text = "t = Transpose <perm = [2, 0, 1, 3]> (x) f = Reshape (t, flat) l = Gemm <transB = 1> (f, w)"
    text += " u = Reshape (l, apart) y = Transpose <perm = [1, 0, 2]> (u)"
    sizes = {"flat": np.array([-1, 6]), "apart": np.array([4, -1, 5])}
    model = graph(text, {"x": (None, 2, 4, 3)}, w=normal(5, 6), **sizes)
    made, x = load(model), normal(3, 2, 4, 3)
    agrees(model, made, x)
    (_, steps, _), y = next(iter(made._plan.remembered.values())), made(x)
    assert [step[4].op for step in steps] == ["Linear"]
    assert y.data.flags.c_contiguous


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("wanted", ["y", "h", "y,h"])
def test_sequences_of_a_layer_are_read_where_they_are(direction, wanted):
    d = 2 if direction == "bidirectional" else 1
    text = f'a, h = GRU <hidden_size = 5, direction = "{direction}", linear_before_reset = 1> (x, w, r, b)'
    text += " t = Transpose <perm = [0, 2, 1, 3]> (a) f = Reshape (t, flat) y = Relu (f)" if "y" in wanted else ""
    flat = {"flat": np.array([0, 0, -1])} if "y" in wanted else {}
    w = {"w": normal(d, 15, 4), "r": normal(d, 15, 5), "b": normal(d, 30)}
    model = graph(text, {"x": (None, None, 4)}, wanted, opset=14, **w, **flat)
    made, x = load(model), normal(6, 3, 4)
    plain = fnn.nn.GRU(4, 5, bidirectional=d == 2) if direction != "reverse" else None
    outs = [made(x) for _ in range(2)]
    for first, later in zip(*(o if isinstance(o, tuple) else (o,) for o in outs), strict=True):
        np.testing.assert_array_equal(first.data, later.data)
    if plain is not None:
        for i in range(d):
            for name, key in (("w", "weight_ih"), ("r", "weight_hh")):
                z, r, n = np.split(w[name][i], 3)
                getattr(plain, f"{key}_l0{'_reverse' if i else ''}").data[:] = np.concatenate([r, z, n])
            for j, key in enumerate(("bias_ih", "bias_hh")):
                z, r, n = np.split(w["b"][i][15 * j : 15 * j + 15], 3)
                getattr(plain, f"{key}_l0{'_reverse' if i else ''}").data[:] = np.concatenate([r, z, n])
        y, h = plain(fnn.tensor(x))
        want = {"y": fnn.relu(y), "h": h}
        got = outs[1] if isinstance(outs[1], tuple) else (outs[1],)
        for name, out in zip(wanted.split(","), got, strict=True):
            np.testing.assert_allclose(out.data, want[name].data, rtol=1e-4, atol=1e-5)


def test_weights_that_are_put_together_are_one_at_load():
    """As PyTorch's newer exporter orders the gates of a layer."""
    text = "w = Concat <axis = 1> (z, r, n) y, h = GRU <hidden_size = 64, linear_before_reset = 1> (x, w, rr)"
    w = {name: normal(1, 64, 4) for name in "zrn"}
    made = load(graph(text, {"x": (None, None, 4)}, "h", opset=14, **w, rr=normal(1, 192, 64)))
    assert ops(made) == ["Recurrent"]
