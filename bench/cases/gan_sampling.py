"""A picture drawn at batch 1: one face, by a DCGAN of the pretrained one's sizes, BatchNorm folded for everyone."""

from functools import lru_cache
from typing import Any

import numpy as np

from bench import conv_reference as reference
from bench.case import Answer, Case, Inputs, Run
from bench.cases.conv import torch_inference
from bench.runners import Nodes, graph_ops

TRANSPOSED = ((100, 512), (512, 256), (256, 128), (128, 64), (64, 3))


def sampling_inputs() -> Inputs:
    """Noise, and weights that keep activations at their size."""
    rng = np.random.default_rng(0)
    made = {"x": rng.standard_normal((1, 100, 1, 1), np.float32)}
    for i, (c, f) in enumerate(TRANSPOSED):
        spread = np.float32((2 / (c * (4 if i else 1))) ** 0.5)
        made[f"{2 * i}.weight"] = rng.standard_normal((c, f, 4, 4), np.float32) * spread
        made[f"{2 * i}.bias"] = rng.standard_normal(f, np.float32) * np.float32(0.1)
    return made


@lru_cache(maxsize=1)
def face() -> Answer:
    """In float64."""
    given = {k: v.astype(np.float64) for k, v in sampling_inputs().items()}
    x = reference.channels_last(given["x"])
    for i in range(len(TRANSPOSED)):
        w = given[f"{2 * i}.weight"]
        size = 2 * x.shape[1] if i else 4
        x = reference.input_gradient(x, w, (size, size), 2 if i else 1, 1 if i else 0) + given[f"{2 * i}.bias"]
        x = np.maximum(x, 0) if i < len(TRANSPOSED) - 1 else np.tanh(x)
    return [reference.channels_first(x)]


def _dcgan(lib: Any, given: Inputs) -> Any:
    layers: list[Any] = []
    for i, (c, f) in enumerate(TRANSPOSED):
        layers += [lib.nn.ConvTranspose2d(c, f, 4, *((2, 1) if i else (1, 0))), lib.nn.ReLU()]
    net = lib.nn.Sequential(*layers[:-1], lib.nn.Tanh())
    net.load_state_dict({k: lib.tensor(v) for k, v in given.items() if k != "x"})
    return net


def _fastnn_face(given: Inputs) -> Run:
    import fastnn as fnn

    net, x = _dcgan(fnn, given).freeze(), fnn.tensor(given["x"])
    return Run(lambda: net(x), lambda: [net(x).numpy()], fnn.no_grad)


def _nodes() -> Nodes:
    nodes: list[Any] = []
    for i in range(len(TRANSPOSED)):
        source = "x" if not i else f"y{2 * i - 1}"
        how = {"strides": [2, 2], "pads": [1] * 4} if i else {}
        nodes.append(("ConvTranspose", (source, f"{2 * i}.weight", f"{2 * i}.bias"), how))
        nodes.append(("Relu" if i < len(TRANSPOSED) - 1 else "Tanh", (f"y{2 * i}",), {}))
    return nodes


def sampling() -> Case:
    """One face."""
    names = [f"{2 * i}.{what}" for i in range(len(TRANSPOSED)) for what in ("weight", "bias")]
    products = [c * f * 16 * (4 * 2 ** (i - 1) if i else 1) ** 2 for i, (c, f) in enumerate(TRANSPOSED)]
    return Case(
        "gan",
        "sampling DCGAN 3x64x64 batch 1",
        sampling_inputs,
        lambda given: face(),
        {"fastnn": {"frozen": _fastnn_face}, **torch_inference(_dcgan), **graph_ops(_nodes(), names)},
        bound=1e-5,
        flops=2.0 * sum(products),
    )


CASES = [sampling()]
