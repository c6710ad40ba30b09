"""Scaled dot-product attention, forward, forward and backward, and one query on many keys.

Each peer gets its inputs as it likes them: (B, N, T, D) dense, or as views of (B, T, N, D), as a projection makes them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from bench.case import Answer, Case, Inputs, Run, Variants, random_inputs


@dataclass(frozen=True)
class Shape:
    """B batch, N heads, T queries, S keys, D size of a head."""

    b: int
    n: int
    t: int
    s: int
    d: int
    causal: bool = False

    @property
    def name(self) -> str:
        lengths = f"T{self.t}" if self.t == self.s else f"T{self.t} S{self.s}"
        return f"B{self.b} N{self.n} {lengths} D{self.d}" + (" causal" if self.causal else "")

    @property
    def flops(self) -> float:
        """Of both products; causal: of the pairs that are seen."""
        pairs = self.t * (self.t + 1) / 2 if self.causal else self.t * self.s
        return 4.0 * self.b * self.n * pairs * self.d


def _answer(shape: Shape, inputs: Inputs) -> Answer:
    """out, and dq, dk, dv where there is a dout, in float64, a head at a time."""
    heads = []
    for b in range(shape.b):
        for n in range(shape.n):
            q, k, v, *dout = (x[b, n].astype(np.float64) for x in inputs.values())
            s = q @ k.T / shape.d**0.5
            if shape.causal:
                s[np.triu_indices(shape.t, 1)] = -np.inf
            p = np.exp(s - s.max(-1, keepdims=True))
            p /= p.sum(-1, keepdims=True)
            out = p @ v
            if not dout:
                heads.append((out,))
                continue
            ds = p * (dout[0] @ v.T - (dout[0] * out).sum(-1, keepdims=True)) / shape.d**0.5
            heads.append((out, ds @ k, ds.T @ q, p.T @ dout[0]))
    return [np.stack(x).reshape(shape.b, shape.n, *x[0].shape) for x in zip(*heads, strict=True)]


def _laid(x: np.ndarray, rows: bool) -> np.ndarray:
    """x (B, N, T, D), dense or a view of (B, T, N, D)."""
    return np.ascontiguousarray(x.transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3) if rows else x


def _both(setup: Callable[[bool, Inputs], Run]) -> Variants:
    return {"(B, N, T, D)": partial(setup, False), "(B, T, N, D)": partial(setup, True)}


def _eager(module: str, shape: Shape, compiled: bool = False) -> Variants:
    def setup(rows: bool, inputs: Inputs) -> Run:
        lib = __import__(module)
        q, k, v = (lib.from_numpy(_laid(x, rows)) for x in inputs.values())
        f = lib.nn.functional.scaled_dot_product_attention
        if compiled:
            lib._dynamo.reset()
            f = lib.compile(f, fullgraph=True, dynamic=False)

        def call() -> Any:
            return f(q, k, v, is_causal=shape.causal)

        return Run(call, lambda: [call().numpy()], lib.no_grad)

    return _both(setup)


def _eager_backward(module: str, shape: Shape) -> Variants:
    def setup(rows: bool, inputs: Inputs) -> Run:
        lib = __import__(module)
        q, k, v, dout = (lib.from_numpy(_laid(x, rows)) for x in inputs.values())
        for x in (q, k, v):
            x.requires_grad = True

        def call() -> Any:
            for x in (q, k, v):
                x.grad = None
            out = lib.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=shape.causal)
            out.backward(dout)
            return out

        def answer() -> Answer:
            out = call().detach().numpy()
            return [out, *(x.grad.numpy() for x in (q, k, v))]

        return Run(call, answer)

    return _both(setup)


def _jax(shape: Shape, backward: bool = False) -> Variants:
    def setup(inputs: Inputs) -> Run:
        import jax
        import jax.numpy as jnp

        arrays = [jnp.asarray(x.transpose(0, 2, 1, 3)) for x in inputs.values()]

        def forward(q: Any, k: Any, v: Any) -> Any:
            return jax.nn.dot_product_attention(q, k, v, is_causal=shape.causal)

        def both(q: Any, k: Any, v: Any, dout: Any) -> Any:
            out, back = jax.vjp(forward, q, k, v)
            return out, *back(dout)

        f = jax.jit(both if backward else forward)

        def answer() -> Answer:
            results = f(*arrays)
            return [np.asarray(x).transpose(0, 2, 1, 3) for x in (results if backward else (results,))]

        return Run(lambda: jax.block_until_ready(f(*arrays)), answer)

    return {"jit": setup}


def _onnxruntime(shape: Shape, operator: str) -> Variants:
    """The contributed MultiHeadAttention on (B, T, N D), or the standard's Attention on (B, N, T, D)."""

    def setup(inputs: Inputs) -> Run:
        import os

        import onnxruntime as ort
        from onnx import TensorProto, helper

        contributed = operator == "MultiHeadAttention"
        feed = {k: _joined(x) if contributed else x for k, x in inputs.items()}
        options: dict[str, Any] = {"is_causal": int(shape.causal)}
        if contributed:
            options = {"domain": "com.microsoft", "num_heads": shape.n, "unidirectional": int(shape.causal)}
        node = helper.make_node(operator, list(feed), ["y"], **options)
        graph = helper.make_graph(
            [node],
            "case",
            [helper.make_tensor_value_info(k, TensorProto.FLOAT, x.shape) for k, x in feed.items()],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        )
        versions = [helper.make_opsetid("", 23), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=versions, ir_version=11)
        session = ort.SessionOptions()
        session.intra_op_num_threads = int(os.environ["OMP_NUM_THREADS"])
        session.log_severity_level = 3
        made = ort.InferenceSession(model.SerializeToString(), session, providers=["CPUExecutionProvider"])

        def answer() -> Answer:
            y = made.run(None, feed)[0]
            return [y.reshape(shape.b, shape.t, shape.n, shape.d).transpose(0, 2, 1, 3) if contributed else y]

        return Run(lambda: made.run(None, feed), answer, inputs=feed)

    return {operator: setup}


def _joined(x: np.ndarray) -> np.ndarray:
    """(B, N, T, D) -> (B, T, N D)."""
    return np.ascontiguousarray(x.transpose(0, 2, 1, 3)).reshape(x.shape[0], x.shape[2], -1)


def _openvino(shape: Shape) -> Variants:
    def setup(inputs: Inputs) -> Run:
        import os

        import openvino as ov
        from openvino import opset13

        parameters = [opset13.parameter(x.shape, np.float32) for x in inputs.values()]
        product = opset13.scaled_dot_product_attention(*parameters, causal=shape.causal)
        config = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": int(os.environ["OMP_NUM_THREADS"]),
            "INFERENCE_PRECISION_HINT": "f32",
        }
        made = ov.Core().compile_model(ov.Model([product], parameters), "CPU", config).create_infer_request()
        for i, x in enumerate(inputs.values()):
            made.set_input_tensor(i, ov.Tensor(x, shared_memory=True))
        return Run(lambda: made.infer(share_outputs=True), lambda: [made.infer()[0]])

    return {"infer": setup}


def forward(shape: Shape, group: str = "attention") -> Case:
    """out of q, k, v."""
    q, k = (shape.b, shape.n, shape.t, shape.d), (shape.b, shape.n, shape.s, shape.d)
    return Case(
        group,
        shape.name,
        random_inputs(q=q, k=k, v=k),
        partial(_answer, shape),
        {
            "fastnn": _eager("fastnn", shape),
            "torch": _eager("torch", shape),
            "torch:compile": _eager("torch", shape, compiled=True),
            "jax": _jax(shape),
            "onnxruntime": _onnxruntime(shape, "MultiHeadAttention") | _onnxruntime(shape, "Attention"),
            "openvino": _openvino(shape),
        },
        bound=1e-5,
        flops=shape.flops,
        bytes=8.0 * shape.b * shape.n * shape.s * shape.d if shape.t == 1 else 0.0,
    )


def backward(shape: Shape) -> Case:
    """The same, and the gradients of q, k and v: five products after the two."""
    size = (shape.b, shape.n, shape.t, shape.d)
    return Case(
        "attention_backward",
        shape.name,
        random_inputs(q=size, k=size, v=size, dout=size),
        partial(_answer, shape),
        {
            "fastnn": _eager_backward("fastnn", shape),
            "torch": _eager_backward("torch", shape),
            "jax": _jax(shape, backward=True),
        },
        bound=3e-5,
        flops=3.5 * shape.flops,
    )


SHAPES = [
    Shape(1, 8, 1024, 1024, 64),
    Shape(1, 8, 1024, 1024, 64, causal=True),
    Shape(1, 12, 4096, 4096, 64, causal=True),
    Shape(8, 8, 128, 128, 64),
    Shape(16, 4, 64, 64, 32, causal=True),
]
CASES = [
    *map(forward, SHAPES),
    forward(Shape(1, 8, 1, 1024, 64), "attention_decode"),
    *(backward(shape) for shape in SHAPES if shape.t < 4096),
]
