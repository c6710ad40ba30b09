"""ONNX models put together node by node, and what tests ask of a loaded one."""

import numpy as np
import pytest

import fastnn as fnn

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

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


def one(op, x, *more, opset=20, outs="y", **how):
    """The outputs of one operator, its further inputs constant."""
    names = [f"c{i}" for i in range(len(more))]
    kind = helper.np_dtype_to_tensor_dtype(x.dtype)
    proto = make([(op, ",".join(["x", *names]), outs, how)], {"x": (kind, x.shape)}, outs.split(","), opset=opset)
    for name, value in zip(names, more, strict=True):
        proto.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return [np.asarray(y) for y in load(proto).named(x=x).values()]


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
