"""Constant bounds and axes, and expansions that broadcasting makes needless: the same numbers, with fewer inputs."""

import numpy as np
import pytest

import fastnn as fnn

onnx = pytest.importorskip("onnx")
from onnx import TensorProto  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402
from onnx_by_hand import F32, exposed, load, make, normal, steps  # noqa: E402


def read(model):
    """How many inputs each step reads."""
    return [(node.op, len(node.inputs)) for node in model._plan.nodes]


def agrees(model, proto, *inputs):
    """As ONNX's reference has it, and again with shapes that are known."""
    (want,) = ReferenceEvaluator(proto).run(None, dict(zip(model.input_names, inputs, strict=True)))
    for _ in range(2):
        y = model(*inputs)
        assert y.shape == want.shape
        assert y.data.dtype == want.dtype
        np.testing.assert_allclose(y.data, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bounds", ["low", "low,high", ",high", ""])
def test_constant_bounds_are_not_inputs(bounds):
    w = {n: np.float32(v) for n, v in (("low", -0.5), ("high", 0.25)) if n in bounds.split(",")}
    proto = make([("Clip", f"x,{bounds}".rstrip(","), "y", {})], {"x": (F32, [None, 3])}, ["y"], w)
    model = load(proto)
    assert read(model) == [("Clip", 1)]
    agrees(model, proto, normal(4, 3))


def test_bounds_of_integers():
    w = {"low": np.array(-1), "high": np.array(2**53 + 1)}
    proto = make([("Clip", "x,low,high", "y", {})], {"x": (TensorProto.INT64, [None])}, ["y"], w)
    model, x = load(proto), np.array([-5, 0, 2**53 + 1, 2**60])
    assert read(model) == [("Clip", 1)]
    for _ in range(2):
        assert model(x).tolist() == [-1, 0, 2**53 + 1, 2**53 + 1]


def test_bounds_that_come_from_without_or_are_trained_stay_inputs():
    proto = make([("Clip", "x,low", "y", {})], {"x": (F32, [None]), "low": (F32, [])}, ["y"])
    model, x = load(proto), normal(5)
    assert read(model) == [("Clip", 2)]
    for low in (-1, 0, 0.5):
        np.testing.assert_array_equal(model(x, np.float32(low)).data, np.maximum(x, np.float32(low)))
    nodes = [("Clip", "x,low", "c", {}), ("Mul", "c,low", "y", {})]
    model = load(make(nodes, {"x": (F32, [None])}, ["y"], {"low": np.float32(0.5)}))
    assert read(model) == [("Clip", 2), ("Mul", 2)]
    for low in (0.5, 0.75):
        with fnn.no_grad():
            model.low.fill_(low)
        np.testing.assert_allclose(model(x).data, np.maximum(x, low) * low, rtol=1e-6)


REDUCTIONS = ["Sum", "Mean", "Max", "Min", "L1", "L2", "SumSquare", "Prod", "LogSum", "LogSumExp"]


@pytest.mark.parametrize("keepdims", [0, 1, None])
@pytest.mark.parametrize("axes", [[1], [-1, 0], [2, 3]])
@pytest.mark.parametrize("kind", REDUCTIONS)
def test_constant_axes(kind, axes, keepdims):
    how = {} if keepdims is None else {"keepdims": keepdims}
    proto = make([(f"Reduce{kind}", "x,axes", "y", how)], {"x": (F32, [None] * 4)}, ["y"], {"axes": np.array(axes)})
    model = load(proto)
    for shape in ((2, 3, 4, 5), (1, 2, 3, 1)):
        agrees(model, proto, np.abs(normal(*shape)) + 0.5)
    older = make([(f"Reduce{kind}", "x", "y", {"axes": axes, **how})], {"x": (F32, [None] * 4)}, ["y"], opset=11)
    agrees(load(older), older, np.abs(normal(2, 3, 4, 5)) + 0.5)


@pytest.mark.parametrize("kind", ["Sum", "L2"])
@pytest.mark.parametrize("idle", [0, 1])
def test_no_axes_are_all_or_none(kind, idle):
    how = {"noop_with_empty_axes": idle, "keepdims": 0}
    empty = np.array([], np.int64)
    proto = make([(f"Reduce{kind}", "x,axes", "y", how)], {"x": (F32, [None, 3])}, ["y"], {"axes": empty})
    model, x = load(proto), normal(2, 3)
    all_of_it = x.sum() if kind == "Sum" else np.sqrt((x * x).sum())
    for _ in range(2):
        np.testing.assert_allclose(model(x).data, (x if kind == "Sum" else np.abs(x)) if idle else all_of_it, rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.int64, np.float64])
def test_constant_axes_of_other_types(dtype):
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    proto = make([("ReduceSum", "x,axes", "y", {})], {"x": (kind, [None, 2])}, ["y"], {"axes": np.array([0])})
    agrees(load(proto), proto, np.array([[1, 2], [3, 5]], dtype))


def unit_rows(tail, like="x", **how):
    """Rows divided by their norm, as PyTorch exports `normalize`."""
    nodes = [
        ("ReduceL2", "x,last", "n", {"keepdims": 1}),
        ("Clip", "n,eps", "c", {}),
        ("Shape", like, "s", how),
        ("Expand", "c,s", "e", {}),
        *tail,
    ]
    inputs = {"x": (F32, [None, None, 3])} | ({like: (F32, [None, None, None])} if like != "x" else {})
    return make(nodes, inputs, ["y"], {"last": np.array([-1]), "eps": np.float32(1e-12)})


@pytest.mark.parametrize("order", ["x,e", "e,x"])
def test_an_expansion_is_left_to_broadcasting(order):
    proto = unit_rows([("Div", order, "y", {})])
    model, plain, x = load(proto), load(exposed(proto)), normal(2, 4, 3)
    assert steps(model) == ["ReduceL2", "Clip", "Div"]
    agrees(model, proto, x)
    np.testing.assert_array_equal(model(x).data, plain.named(x=x)["y"].data)
    assert fnn.gradcheck(lambda x: model(x), fnn.tensor(x.astype(np.float64)))


def test_an_expansion_with_two_readers():
    proto = unit_rows([("Div", "x,e", "d", {}), ("Add", "e,x", "a", {}), ("Mul", "d,a", "y", {})])
    model = load(proto)
    assert steps(model) == ["ReduceL2", "Clip", "Div", "Add", "Mul"]
    agrees(model, proto, normal(2, 4, 3))


@pytest.mark.parametrize(
    ("tail", "like", "how"),
    [
        ([("Neg", "e", "y", {})], "x", {}),
        ([("Div", "x,e", "d", {}), ("MatMul", "d,turn", "m", {}), ("Add", "m,e", "y", {})], "x", {}),
        ([("Mul", "e,e", "y", {})], "x", {}),
        ([("Div", "x,e", "y", {})], "z", {}),
        ([("Div", "x,e", "y", {})], "x", {"start": 1}),
    ],
    ids=["not elementwise", "one of two readers", "by itself", "another value's shape", "a part of the shape"],
)
def test_expansions_that_have_to_be_made(tail, like, how):
    proto = unit_rows(tail, like, **how)
    if any("turn" in ins for _, ins, _, _ in tail):
        proto.graph.initializer.append(onnx.numpy_helper.from_array(normal(3, 3), "turn"))
    model = load(proto)
    assert "Expand" in steps(model)
    x = normal(4, 4, 3)
    agrees(model, proto, x, *([normal(4, 4, 3)] if like == "z" else []))
