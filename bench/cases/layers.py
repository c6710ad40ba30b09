"""Layers between the products: pools, norms in training, up-sampling; forward, and forward with its gradients.

And a dense layer with its activation, in training.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bench.case import Answer, Case, Inputs, Run, Setup
from bench.cases.conv import images, torch_inference
from bench.cases.elementwise import erf
from bench.runners import Nodes, graph_ops

EPS = 1e-5


@dataclass(frozen=True)
class Layer:
    """A layer on x; `right(x, dy)` gives y, dx and the gradients of weight and bias, in float64."""

    name: str
    shape: tuple[int, ...]
    make: Callable[[Any], Any]  # of the library
    right: Callable[[np.ndarray, np.ndarray], Answer]
    out: tuple[int, ...]
    nodes: Nodes = ()  # for the graph runtimes, if they have it

    def inputs(self, backward: bool) -> Inputs:
        rng = np.random.default_rng(0)
        made = {"x": rng.standard_normal(self.shape, np.float32)}
        return made | ({"dy": rng.standard_normal(self.out, np.float32)} if backward else {})


# ----------------------------------------------------------------------------------------------- answers, in float64


def _places(kernel: int, stride: int, out: int) -> list[tuple[slice, ...]]:
    """Per place of the window, where all outputs read it in the padded image."""
    steps = [slice(i, i + stride * (out - 1) + 1, stride) for i in range(kernel)]
    return [(slice(None), slice(None), rows, columns) for rows in steps for columns in steps]


def _pool(kernel: int, stride: int, padding: int, largest: bool) -> Callable[[np.ndarray, np.ndarray], Answer]:
    def right(x: np.ndarray, dy: np.ndarray) -> Answer:
        edge = ((0, 0), (0, 0), (padding, padding), (padding, padding))
        padded = np.pad(x, edge, constant_values=-np.inf if largest else 0.0)
        places = _places(kernel, stride, dy.shape[2])
        parts = [padded[place] for place in places]
        y = np.maximum.reduce(parts) if largest else sum(parts) / kernel**2
        dx = np.zeros_like(padded)
        for place, part in zip(places, parts, strict=True):  # random numbers: no two are the same
            dx[place] += dy * (part == y) if largest else dy / kernel**2
        return [y, dx[:, :, padding : padding + x.shape[2], padding : padding + x.shape[3]]]

    return right


def _prelu(slope: float) -> Callable[[np.ndarray, np.ndarray], Answer]:
    def right(x: np.ndarray, dy: np.ndarray) -> Answer:
        below = x <= 0
        return [np.where(below, slope * x, x), np.where(below, slope * dy, dy), (dy * x * below).sum((0, 2, 3))]

    return right


def _bilinear(n: int) -> np.ndarray:
    """The matrix (2 n, n) that doubles an axis: output i lies at (i + 0.5) / 2 - 0.5."""
    at = np.clip((np.arange(2 * n) + 0.5) / 2 - 0.5, 0, None)
    low = np.floor(at).astype(int)
    matrix = np.zeros((2 * n, n))
    np.add.at(matrix, (np.arange(2 * n), low), 1 - (at - low))
    np.add.at(matrix, (np.arange(2 * n), np.minimum(low + 1, n - 1)), at - low)
    return matrix


def _double(x: np.ndarray, dy: np.ndarray) -> Answer:
    a = _bilinear(x.shape[2])
    return [a @ x @ a.T, a.T @ dy @ a]


def _norm(axes: tuple[int, ...], others: tuple[int, ...], centred: bool = True) -> Callable:
    """Over `axes`, with weight one and bias zero; their gradients are summed over `others`."""

    def right(x: np.ndarray, dy: np.ndarray) -> Answer:
        d = x - x.mean(axes, keepdims=True) if centred else x
        scale = 1 / np.sqrt((d * d).mean(axes, keepdims=True) + EPS)
        y = d * scale
        dx = dy - y * (dy * y).mean(axes, keepdims=True) - (dy.mean(axes, keepdims=True) if centred else 0)
        gradients = [(dy * y).sum(others), dy.sum(others)]
        return [y, dx * scale, *gradients[: 2 if centred else 1]]

    return right


def _gelu_slope(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """GELU and its derivative."""
    below = 0.5 * (1 + erf(z / np.sqrt(2)))
    return z * below, below + z * np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)


# ---------------------------------------------------------------------------- fastnn and PyTorch, with gradients


def _taped(library: str, layer: Layer, last: bool) -> Setup:
    """y = module(x); y.backward(dy)."""

    def setup(inputs: Inputs) -> Run:
        lib = __import__(library)
        module, x, dy = layer.make(lib), images_or_rows(lib, inputs["x"], last), images_or_rows(lib, inputs["dy"], last)
        parameters = list(module.parameters())
        x.requires_grad = True

        def call() -> Any:
            for tensor in (x, *parameters):
                tensor.grad = None
            y = module(x)
            y.backward(dy)
            return y

        def answer() -> Answer:
            y = call().detach()
            return [np.array(t.numpy()) for t in (y, x.grad, *(p.grad for p in parameters))]

        return Run(call, answer)

    return setup


def images_or_rows(lib: Any, x: np.ndarray, last: bool) -> Any:
    """Images may lie channels-last."""
    return images(lib, x, last) if x.ndim == 4 else lib.tensor(x)


def _plain(layer: Layer) -> Setup:
    def setup(inputs: Inputs) -> Run:
        import fastnn as fnn

        module, x = layer.make(fnn), images_or_rows(fnn, inputs["x"], True)
        return Run(lambda: module(x), lambda: [module(x).numpy()], fnn.no_grad)

    return setup


def _torch_rows(layer: Layer) -> Setup:
    def setup(inputs: Inputs) -> Run:
        import torch

        module, x = layer.make(torch), torch.tensor(inputs["x"])
        return Run(lambda: module(x), lambda: [module(x).numpy()], torch.inference_mode)

    return setup


def case(layer: Layer, backward: bool) -> Case:
    """One layer for all peers that have it."""
    layouts = {"channels_last": True, "contiguous": False} if len(layer.shape) == 4 else {"rows": False}
    if backward:
        peers = {
            "fastnn": {"backward()": _taped("fastnn", layer, True)},
            "torch": {name: _taped("torch", layer, last) for name, last in layouts.items()},
        }
    else:
        whole = len(layer.shape) == 4
        peers = {
            "fastnn": {"plain": _plain(layer)},
            **(torch_inference(lambda lib, _: layer.make(lib)) if whole else {"torch": {"eager": _torch_rows(layer)}}),
            **(graph_ops(layer.nodes, images=whole) if layer.nodes else {}),
        }

    def right(inputs: Inputs) -> Answer:
        x = inputs["x"].astype(np.float64)
        dy = inputs["dy"].astype(np.float64) if backward else np.zeros(layer.out)
        made = layer.right(x, dy)
        return made if backward else made[:1]

    moved = 4.0 * (np.prod(layer.shape) + np.prod(layer.out))
    return Case(
        "layers",
        layer.name + (" forward+backward" if backward else ""),
        lambda: layer.inputs(backward),
        right,
        peers,
        bound=2e-5,
        bytes=moved * (2 if backward else 1),
    )


def dense(rows: int, ins: int, outs: int) -> Case:
    """GELU(x W^T + b) with the gradients of x, W and b: a transformer's first dense layer in training."""
    rng = np.random.default_rng(1)
    weight, bias = rng.standard_normal((outs, ins), np.float32) / np.float32(np.sqrt(ins)), np.ones(outs, np.float32)

    def make(lib: Any) -> Any:
        net = lib.nn.Sequential(lib.nn.Linear(ins, outs), lib.nn.GELU())
        net[0].load_state_dict({"weight": lib.tensor(weight), "bias": lib.tensor(bias)})
        return net

    def right(x: np.ndarray, dy: np.ndarray) -> Answer:
        y, slope = _gelu_slope(x @ weight.T.astype(np.float64) + bias)
        dz = dy * slope
        return [y, dz @ weight, dz.T @ x, dz.sum(0)]

    def jitted(inputs: Inputs) -> Run:
        import jax

        def step(x: Any, dy: Any, weight: Any, bias: Any) -> Any:
            y, back = jax.vjp(lambda x, w, b: jax.nn.gelu(x @ w.T + b, approximate=False), x, weight, bias)
            return (y, *back(dy))

        f, args = jax.jit(step), [jax.numpy.asarray(a) for a in (inputs["x"], inputs["dy"], weight, bias)]
        return Run(lambda: jax.block_until_ready(f(*args)), lambda: [np.array(a) for a in f(*args)])

    name = f"linear gelu {rows}x{ins} W {outs}x{ins}"
    made = case(Layer(name, (rows, ins), make, right, (rows, outs)), backward=True)
    return replace(made, peers={**made.peers, "jax": {"jit": jitted}}, flops=6.0 * rows * ins * outs)


def _image_layer(
    name: str, shape: Sequence[int], size: int, make: Callable, right: Callable, nodes: Nodes = ()
) -> Layer:
    n, c, h, _ = shape
    return Layer(f"{name} N{n} C{c} H{h}", tuple(shape), make, right, (n, c, size, size), nodes)


def _square(n: int, c: int, h: int) -> tuple[int, int, int, int]:
    return n, c, h, h


def _max_pool(shape: Sequence[int], kernel: int = 2, stride: int = 2, padding: int = 0) -> Layer:
    size = (shape[2] + 2 * padding - kernel) // stride + 1
    how = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [padding] * 4}
    return _image_layer(
        f"max_pool {kernel}x{kernel} stride {stride}",
        shape,
        size,
        lambda lib: lib.nn.MaxPool2d(kernel, stride, padding),
        _pool(kernel, stride, padding, largest=True),
        [("MaxPool", ("x",), how)],
    )


ROWS, FEATURES = 4096, 256
LAYERS = [
    _max_pool(_square(32, 64, 56)),
    _max_pool(_square(32, 64, 56), 3, 2, 1),
    _max_pool(_square(64, 3, 56)),
    _image_layer(
        "avg_pool 2x2",
        _square(32, 64, 56),
        28,
        lambda lib: lib.nn.AvgPool2d(2),
        _pool(2, 2, 0, largest=False),
        [("AveragePool", ("x",), {"kernel_shape": [2, 2], "strides": [2, 2]})],
    ),
    _image_layer(
        "prelu by channel",
        _square(32, 64, 28),
        28,
        lambda lib: lib.nn.PReLU(64),
        _prelu(0.25),
        [("PRelu", ("x", np.full((64, 1, 1), 0.25, np.float32)), {})],
    ),
    _image_layer(
        "upsample bilinear x2",
        _square(8, 64, 28),
        56,
        lambda lib: lib.nn.Upsample(scale_factor=2, mode="bilinear"),
        _double,
        [("Resize", ("x", "", np.array([1, 1, 2, 2], np.float32)), {"mode": "linear"})],  # half_pixel by default
    ),
    Layer(
        f"layer_norm {ROWS}x{FEATURES}",
        (ROWS, FEATURES),
        lambda lib: lib.nn.LayerNorm(FEATURES),
        _norm((1,), (0,)),
        (ROWS, FEATURES),
        [("LayerNormalization", ("x", *(np.full(FEATURES, v, np.float32) for v in (1, 0))), {"epsilon": EPS})],
    ),
    Layer(
        f"rms_norm {ROWS}x{FEATURES}",
        (ROWS, FEATURES),
        lambda lib: lib.nn.RMSNorm(FEATURES, eps=EPS),
        _norm((1,), (0,), centred=False),
        (ROWS, FEATURES),
    ),
]
TRAINED = [
    _image_layer(
        "batch_norm training",
        _square(n, c, h),
        h,
        lambda lib, c=c: lib.nn.BatchNorm2d(c, eps=EPS),
        _norm((0, 2, 3), (0, 2, 3)),
    )
    for n, c, h in ((64, 64, 32), (64, 128, 16))
]
CASES = [
    *(case(layer, backward=False) for layer in LAYERS),
    *(case(layer, backward=True) for layer in (*LAYERS, *TRAINED)),
    dense(512, 256, 1024),
]
