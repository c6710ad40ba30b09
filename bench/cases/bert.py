"""Inference of the layers of a small BERT: six, 384 wide, 12 heads, a dense network of 1536 (all-MiniLM-L6-v2's).

Each: attention, residual, norm, dense with GELU, dense, residual, norm. What goes in are the embedded tokens. The graph
of ONNX Runtime and OpenVINO is that of plain operators, as exporters write it; both fuse it as they can.
"""

from functools import partial
from typing import Any

import numpy as np

from bench.case import Answer, Case, Inputs, Run
from bench.runners import Nodes, graph_ops, torch_compiled

LAYERS, D, HEADS, WIDTH, EPS = 6, 384, 12, 1536, 1e-12
SHAPES: dict[str, tuple[int, ...]] = {
    "self_attn.in_proj_weight": (3 * D, D),
    "self_attn.in_proj_bias": (3 * D,),
    "self_attn.out_proj.weight": (D, D),
    "self_attn.out_proj.bias": (D,),
    "linear1.weight": (WIDTH, D),
    "linear1.bias": (WIDTH,),
    "linear2.weight": (D, WIDTH),
    "linear2.bias": (D,),
    **{f"norm{i}.{what}": (D,) for i in (1, 2) for what in ("weight", "bias")},
}


def _inputs(batch: int, length: int) -> Inputs:
    rng = np.random.default_rng(0)
    made = {"x": rng.standard_normal((batch, length, D), np.float32)}
    for i in range(LAYERS):
        for name, shape in SHAPES.items():
            drawn = rng.normal(0, 0.05, shape) + (name.startswith("norm") and name.endswith("weight"))
            made[f"layers.{i}.{name}"] = drawn.astype(np.float32)
    return made


def _norm(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + EPS) * w + b


def _answer(inputs: Inputs) -> Answer:
    """In float64."""
    from scipy.special import erf

    given = {name: a.astype(np.float64) for name, a in inputs.items()}
    x = given["x"]
    batch, length, _ = x.shape
    for i in range(LAYERS):
        p = {name: given[f"layers.{i}.{name}"] for name in SHAPES}
        qkv = x @ p["self_attn.in_proj_weight"].T + p["self_attn.in_proj_bias"]
        q, k, v = qkv.reshape(batch, length, 3, HEADS, -1).transpose(2, 0, 3, 1, 4)
        scores = q @ k.swapaxes(-1, -2) / (D // HEADS) ** 0.5
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        heads = weights / weights.sum(-1, keepdims=True) @ v
        y = heads.transpose(0, 2, 1, 3).reshape(batch, length, D)
        y = y @ p["self_attn.out_proj.weight"].T + p["self_attn.out_proj.bias"]
        x = _norm(x + y, p["norm1.weight"], p["norm1.bias"])
        y = x @ p["linear1.weight"].T + p["linear1.bias"]
        y = y * (1 + erf(y / 2**0.5)) / 2 @ p["linear2.weight"].T + p["linear2.bias"]
        x = _norm(x + y, p["norm2.weight"], p["norm2.bias"])
    return [x]


def _module(lib: Any, inputs: Inputs) -> Any:
    layer = lib.nn.TransformerEncoderLayer(D, HEADS, WIDTH, 0.0, "gelu", EPS, batch_first=True)
    net = lib.nn.TransformerEncoder(layer, LAYERS)
    net.load_state_dict({name: lib.tensor(a) for name, a in inputs.items() if name != "x"})
    return net.eval()


def _fastnn(inputs: Inputs) -> Run:
    import fastnn as fnn

    net, x = _module(fnn, inputs).freeze(), fnn.tensor(inputs["x"])
    return Run(lambda: net(x), lambda: [net(x).numpy()], fnn.no_grad)


def _torch(fast: bool, inputs: Inputs) -> Run:
    """With PyTorch's own fast path for inference, and without."""
    import torch

    net, x = _module(torch, inputs), torch.tensor(inputs["x"])

    def call() -> Any:
        torch.backends.mha.set_fastpath_enabled(fast)
        return net(x)

    return Run(call, lambda: [call().numpy()], torch.inference_mode)


def _program(x: Any, *weights: Any) -> Any:
    """For torch.compile: the same in functions, as the module's own forward has branches that it cannot follow."""
    import torch

    f = torch.nn.functional
    batch, length, _ = x.shape
    for i in range(LAYERS):
        p = dict(zip(SHAPES, weights[i * len(SHAPES) :], strict=False))
        qkv = f.linear(x, p["self_attn.in_proj_weight"], p["self_attn.in_proj_bias"])
        q, k, v = qkv.reshape(batch, length, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        y = f.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, length, D)
        y = f.linear(y, p["self_attn.out_proj.weight"], p["self_attn.out_proj.bias"])
        x = f.layer_norm(x + y, (D,), p["norm1.weight"], p["norm1.bias"], EPS)
        y = f.gelu(f.linear(x, p["linear1.weight"], p["linear1.bias"]))
        y = f.linear(y, p["linear2.weight"], p["linear2.bias"])
        x = f.layer_norm(x + y, (D,), p["norm2.weight"], p["norm2.bias"], EPS)
    return x


def _nodes(inputs: Inputs) -> Nodes:
    """As exporters write it: matrices turned round, queries, keys and values by matrices of their own."""
    nodes: list[Any] = []
    size = D // HEADS

    def add(op: str, *sources: Any, **how: Any) -> str:
        nodes.append((op, sources, how))
        return f"y{len(nodes) - 1}"

    def linear(x: str, w: np.ndarray, b: np.ndarray) -> str:
        return add("Add", add("MatMul", x, np.ascontiguousarray(w.T)), b)

    def heads(x: str, w: np.ndarray, b: np.ndarray, *order: int) -> str:
        cut = add("Reshape", linear(x, w, b), np.array([0, 0, HEADS, size]))
        return add("Transpose", cut, perm=order)

    x = "x"
    for i in range(LAYERS):
        p = {name: inputs[f"layers.{i}.{name}"] for name in SHAPES}
        ws, bs = (np.split(p[f"self_attn.in_proj_{what}"], 3) for what in ("weight", "bias"))
        q, k, v = (heads(x, w, b, *order) for w, b, order in zip(ws, bs, ((0, 2, 1, 3), (0, 2, 3, 1), (0, 2, 1, 3))))
        scores = add("Div", add("MatMul", q, k), np.array(size**0.5, np.float32))
        mixed = add("Transpose", add("MatMul", add("Softmax", scores, axis=-1), v), perm=(0, 2, 1, 3))
        y = linear(add("Reshape", mixed, np.array([0, 0, D])), *_pair(p, "self_attn.out_proj"))
        x = add("LayerNormalization", add("Add", y, x), *_pair(p, "norm1"), axis=-1, epsilon=EPS)
        y = linear(add("Gelu", linear(x, *_pair(p, "linear1"))), *_pair(p, "linear2"))
        x = add("LayerNormalization", add("Add", y, x), *_pair(p, "norm2"), axis=-1, epsilon=EPS)
    return nodes


def _pair(p: Inputs, name: str) -> tuple[np.ndarray, np.ndarray]:
    return p[f"{name}.weight"], p[f"{name}.bias"]


def _graph(peer: str, way: str, inputs: Inputs) -> Run:
    """ONNX Runtime and OpenVINO: the weights are literals of the graph."""
    return graph_ops(_nodes(inputs))[peer][way]({"x": inputs["x"]})


def case(batch: int, length: int) -> Case:
    """All layers on a batch of sequences, without padding."""
    weights = [f"layers.{i}.{name}" for i in range(LAYERS) for name in SHAPES]
    per_token = LAYERS * (4 * D * D + 2 * D * WIDTH + 2 * length * D)
    return Case(
        "bert",
        f"6 layers d384 batch {batch} T{length}",
        partial(_inputs, batch, length),
        _answer,
        {
            "fastnn": {"frozen": _fastnn},
            "torch": {"fast path": partial(_torch, True), "eval": partial(_torch, False)},
            "torch:compile": torch_compiled(_program, weights),
            "onnxruntime": {way: partial(_graph, "onnxruntime", way) for way in ("run", "io binding")},
            "openvino": {way: partial(_graph, "openvino", way) for way in ("infer", "start_async, wait")},
        },
        bound=3e-5,
        flops=2.0 * batch * length * per_token,
    )


CASES = [case(batch, length) for batch in (1, 32) for length in (16, 128)]
