"""Inference of ONNX models: the same bytes in fastnn.onnx and in ONNX Runtime, and the same network written in fastnn.

A residual network of 3x3 convolutions, an LSTM, and an encoder layer of a transformer (post-norm, GELU) with its
attention written out as exporters do. Other peers are in the groups `resnet`, `recurrent` and `attention`.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from bench.case import Answer, Case, Inputs, Run, Setup, Variants
from bench.cases import recurrent, resnet
from bench.cases.conv import EXTREME, WINOGRAD, images
from bench.cases.transformer import layer_shapes
from bench.runners import Nodes, onnx_model, onnxruntime_op

D, HEADS, VERSION = 256, 8, "as imported"


def imported(nodes: Nodes, constants: tuple[str, ...]) -> Setup:
    """fastnn.onnx.load of the model that the peers get, frozen."""

    def setup(inputs: Inputs) -> Run:
        import fastnn as fnn

        model = fnn.onnx.load(onnx_model(nodes, inputs, constants)).freeze()
        free = [v for k, v in inputs.items() if k not in constants]
        given = [images(fnn, v) if v.ndim == 4 else fnn.tensor(v) for v in free]
        return Run(lambda: model(*given), lambda: [model(*given).numpy()], fnn.no_grad)

    return setup


def _resnet(batch: int) -> Case:
    case = resnet.case(batch)
    constants = tuple(f"{name}.{what}" for name in (*resnet.convolutions(), "head") for what in ("weight", "bias"))
    peers: dict[str, Variants] = {
        "fastnn": {VERSION: imported(resnet.onnx_nodes(), constants)},
        "fastnn:native": case.peers["fastnn"],
        "onnxruntime": case.peers["onnxruntime"],
    }
    allowed = WINOGRAD * resnet.DIRECT_RMS

    def bound(given: Inputs, want: Answer) -> list[Any]:
        return [EXTREME * allowed * np.sqrt(np.mean(want[0] ** 2))]

    return replace(case, group="onnx", peers=peers, bound=bound)


def _lstm(steps: int, batch: int, inputs: int, units: int) -> Case:
    case = recurrent.inference("LSTM", steps, batch, inputs, units)
    nodes: Nodes = [("LSTM", ("x", "W", "R", "B"), {"hidden_size": units}), ("Squeeze", ("y0", np.array([1])), {})]
    own = imported(nodes, ("W", "R", "B"))
    peers: dict[str, Variants] = {
        "fastnn": {VERSION: lambda i: own(recurrent.onnx_inputs("LSTM", i))},
        "fastnn:native": case.peers["fastnn"],
        "onnxruntime": case.peers["onnxruntime"],
    }
    return replace(case, group="onnx", peers=peers)


# ------------------------------------------------------------------------------------------------------- transformer


def _inputs(batch: int, steps: int) -> Callable[[], Inputs]:
    def made() -> Inputs:
        rng = np.random.default_rng(0)
        x = {"x": rng.standard_normal((batch, steps, D), np.float32)}
        shapes = layer_shapes(D).items()
        return x | {name: rng.standard_normal(shape, np.float32) * np.float32(0.05) for name, shape in shapes}

    return made


def _answer(given: Inputs) -> Answer:
    """In float64."""
    p = {name: a.astype(np.float64) for name, a in given.items()}
    x = p["x"]
    b, t, _ = x.shape
    q, k, v = (
        (x @ w.T + s).reshape(b, t, HEADS, D // HEADS).swapaxes(1, 2)
        for w, s in zip(
            np.split(p["self_attn.in_proj_weight"], 3), np.split(p["self_attn.in_proj_bias"], 3), strict=True
        )
    )
    scores = np.exp(q @ k.swapaxes(-1, -2) / math.sqrt(D // HEADS))
    mixed = (scores / scores.sum(-1, keepdims=True) @ v).swapaxes(1, 2).reshape(b, t, D)

    def normed(y: np.ndarray, name: str) -> np.ndarray:
        centred = y - y.mean(-1, keepdims=True)
        return centred / np.sqrt(y.var(-1, keepdims=True) + 1e-5) * p[f"{name}.weight"] + p[f"{name}.bias"]

    x = normed(x + mixed @ p["self_attn.out_proj.weight"].T + p["self_attn.out_proj.bias"], "norm1")
    h = x @ p["linear1.weight"].T + p["linear1.bias"]
    h = h * 0.5 * (1 + np.vectorize(math.erf)(h / math.sqrt(2)))
    return [normed(x + h @ p["linear2.weight"].T + p["linear2.bias"], "norm2")]


def _nodes(given: Inputs) -> Nodes:
    nodes: list[Any] = []
    b, t, _ = given["x"].shape

    def add(op: str, *sources: Any, **how: Any) -> str:
        nodes.append((op, sources, how))
        return f"y{len(nodes) - 1}"

    def linear(x: str, w: np.ndarray, s: np.ndarray) -> str:
        return add("Add", add("MatMul", x, np.ascontiguousarray(w.T)), s)

    def named(x: str, name: str) -> str:
        return linear(x, given[f"{name}.weight"], given[f"{name}.bias"])

    def heads(which: int) -> str:
        part = slice(which * D, (which + 1) * D)
        y = linear("x", given["self_attn.in_proj_weight"][part], given["self_attn.in_proj_bias"][part])
        split = add("Reshape", y, np.array([b, t, HEADS, D // HEADS]))
        return add("Transpose", split, perm=[0, 2, 3, 1] if which == 1 else [0, 2, 1, 3])

    def normed(x: str, name: str) -> str:
        return add("LayerNormalization", x, given[f"{name}.weight"], given[f"{name}.bias"], epsilon=1e-5)

    scores = add("Div", add("MatMul", heads(0), heads(1)), np.array(math.sqrt(D // HEADS), np.float32))
    mixed = add("Transpose", add("MatMul", add("Softmax", scores, axis=-1), heads(2)), perm=[0, 2, 1, 3])
    x = add("Add", "x", named(add("Reshape", mixed, np.array([b, t, D])), "self_attn.out_proj"))
    x = normed(x, "norm1")
    h = add("Gelu", named(x, "linear1"))
    normed(add("Add", x, named(h, "linear2")), "norm2")
    return nodes


def _native(given: Inputs) -> Run:
    import fastnn as fnn

    layer = fnn.nn.TransformerEncoderLayer(D, HEADS, 4 * D, 0.0, "gelu", batch_first=True)
    layer.load_state_dict({name: a for name, a in given.items() if name != "x"})
    x = fnn.tensor(given["x"])
    layer.freeze()
    return Run(lambda: layer(x), lambda: [layer(x).numpy()], fnn.no_grad)


def _encoder(batch: int, steps: int) -> Case:
    def graph(setup_of: Callable[[Nodes], Setup]) -> Setup:
        return lambda given: setup_of(_nodes(given))({"x": given["x"]})

    runtime = {name: graph(lambda nodes, n=name: onnxruntime_op(nodes)[n]) for name in ("run", "io binding")}
    weights = 12 * D * D
    return Case(
        "onnx",
        f"encoder layer d{D} T{steps} batch {batch}",
        _inputs(batch, steps),
        _answer,
        {
            "fastnn": {VERSION: graph(lambda nodes: imported(nodes, ()))},
            "fastnn:native": {"frozen": _native},
            "onnxruntime": runtime,
        },
        bound=2e-5,
        flops=2.0 * batch * steps * weights + 4.0 * batch * steps * steps * D,
    )


CASES = [_resnet(1), _resnet(32), _lstm(100, 32, 128, 128), _lstm(50, 1, 128, 128), _encoder(1, 128), _encoder(8, 64)]
