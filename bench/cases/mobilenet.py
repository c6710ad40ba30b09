"""Inference of MobileNetV2 for pictures of 3 x 224 x 224, BatchNorm folded for everyone.

Inverted residual blocks: a 1x1 convolution to six times the channels, a depthwise 3x3 one, both with ReLU6, and a 1x1
one back, without; where a block keeps size and channels its input is added. Products of few channels with many pixels,
and passes over memory: what ResNet's 3x3 convolutions do not show.

Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks", 2018.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from bench import conv_reference as reference
from bench.case import Answer, Case, Inputs, Run
from bench.cases.conv import EXTREME, images, torch_inference
from bench.cases.resnet import DIRECT_RMS
from bench.runners import Layers, Nodes, graph_ops, ncnn_op

SIZE, CLASSES, LAST = 224, 1000, 1280
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


class Layer(NamedTuple):
    """A convolution, and whether ReLU6 follows or the input of its block is added."""

    name: str
    channels: int
    filters: int
    kernel: int
    stride: int
    groups: int
    size: int  # of the input
    bends: bool
    adds: bool

    @property
    def weight(self) -> tuple[int, int, int, int]:
        """Its shape."""
        return self.filters, self.channels // self.groups, self.kernel, self.kernel


@lru_cache
def layers() -> list[Layer]:
    """All convolutions in their order."""
    made = [Layer("stem", 3, 32, 3, 2, 1, SIZE, True, False)]
    c, size = 32, SIZE // 2
    for times, filters, count, first in STAGES:
        for i in range(count):
            name, stride, wide = f"blocks.{len(made)}", first if i == 0 else 1, c * times
            if times > 1:
                made.append(Layer(f"{name}.expand", c, wide, 1, 1, 1, size, True, False))
            made.append(Layer(f"{name}.depth", wide, wide, 3, stride, wide, size, True, False))
            size //= stride
            made.append(Layer(f"{name}.project", wide, filters, 1, 1, 1, size, False, stride == 1 and c == filters))
            c = filters
    return [*made, Layer("last", c, LAST, 1, 1, 1, size, True, False)]


def _starts(layer: Layer) -> bool:
    """Whether a block begins here: with its expansion, or with its depthwise one where it has none."""
    return layer.name.endswith("expand") or (layer.name.endswith("depth") and layer.channels == layers()[0].filters)


def _walk(x: Any, conv: Any, add: Any) -> Any:
    """The network up to the pixels of the last convolution, of functions of one program or another."""
    block = x
    for layer in layers():
        block = x if _starts(layer) else block
        x = conv(x, layer)
        x = add(x, block) if layer.adds else x
    return x


def inputs() -> Inputs:
    """Weights as He draws them."""
    rng = np.random.default_rng(0)
    made = {"x": rng.standard_normal((1, 3, SIZE, SIZE), np.float32)}
    for layer in layers():
        fan = np.prod(layer.weight[1:])
        made[f"{layer.name}.weight"] = rng.standard_normal(layer.weight, np.float32) * np.float32((2 / fan) ** 0.5)
        made[f"{layer.name}.bias"] = rng.standard_normal(layer.filters, np.float32) * np.float32(0.1)
    made["head.weight"] = rng.standard_normal((CLASSES, LAST), np.float32) * np.float32(LAST**-0.5)
    made["head.bias"] = rng.standard_normal(CLASSES, np.float32)
    return made


def flops() -> float:
    convolutions = sum(float(np.prod(n.weight)) * (n.size // n.stride) ** 2 for n in layers())
    return 2 * (convolutions + LAST * CLASSES)


def right(given: Inputs) -> Answer:
    """In float64."""
    p = {k: v.astype(np.float64) for k, v in given.items()}

    def conv(x: np.ndarray, n: Layer) -> np.ndarray:
        y = reference.forward(x, p[f"{n.name}.weight"], n.stride, n.kernel // 2, n.groups > 1) + p[f"{n.name}.bias"]
        return np.clip(y, 0, 6) if n.bends else y

    x = _walk(reference.channels_last(p["x"]), conv, np.add)
    return [x.mean(axis=(1, 2)) @ p["head.weight"].T + p["head.bias"]]


def _module(lib: Any, given: Inputs) -> Any:
    """PyTorch's program."""
    nn = lib.nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolutions = nn.ModuleDict({n.name.replace(".", "_"): _convolution(nn, n) for n in layers()})
            self.head = nn.Linear(LAST, CLASSES)

        def forward(self, x: Any) -> Any:
            def conv(x: Any, n: Layer) -> Any:
                y = self.convolutions[n.name.replace(".", "_")](x)
                return nn.functional.relu6(y) if n.bends else y

            x = _walk(x, conv, lambda a, b: a + b)
            return self.head(x.mean((2, 3)))

    net = Net()
    with lib.no_grad():
        for name in (*(n.name for n in layers()), "head"):
            made = net.head if name == "head" else net.convolutions[name.replace(".", "_")]
            made.weight.copy_(lib.tensor(given[f"{name}.weight"]))
            made.bias.copy_(lib.tensor(given[f"{name}.bias"]))
    return net


def _convolution(nn: Any, n: Layer, **how: Any) -> Any:
    return nn.Conv2d(n.channels, n.filters, n.kernel, stride=n.stride, padding=n.kernel // 2, groups=n.groups, **how)


def _fastnn(given: Inputs) -> Run:
    import fastnn as fnn

    nn = fnn.nn
    stages: list[list[Layer]] = []
    for n in layers():
        if _starts(n) or n.name in ("stem", "last"):
            stages.append([])
        stages[-1].append(n)

    def made(n: Layer) -> Any:
        layer = _convolution(nn, n, activation="relu6" if n.bends else None)
        layer.load_state_dict({k: fnn.tensor(given[f"{n.name}.{k}"]) for k in ("weight", "bias")})
        return layer

    blocks = [(nn.Residual if stage[-1].adds else nn.Sequential)(*map(made, stage)) for stage in stages]
    head = nn.Linear(LAST, CLASSES)
    head.load_state_dict({k: fnn.tensor(given[f"head.{k}"]) for k in ("weight", "bias")})
    net = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head).eval().freeze()
    x = images(fnn, given["x"])
    return Run(lambda: net(x), lambda: [net(x).numpy()], fnn.no_grad)


def onnx_nodes() -> Nodes:
    nodes: list[Any] = []

    def add(op: str, *sources: Any, **how: Any) -> str:
        nodes.append((op, sources, how))
        return f"y{len(nodes) - 1}"

    def conv(x: str, n: Layer) -> str:
        weights = (f"{n.name}.weight", f"{n.name}.bias")
        y = add("Conv", x, *weights, strides=[n.stride] * 2, pads=[n.kernel // 2] * 4, group=n.groups)
        return add("Clip", y, np.array(0, np.float32), np.array(6, np.float32)) if n.bends else y

    x = _walk("x", conv, lambda a, b: add("Add", a, b))
    add("Gemm", add("Flatten", add("GlobalAveragePool", x)), "head.weight", "head.bias", transB=1)
    return nodes


def ncnn_layers() -> Layers:
    made: list[Any] = []

    def add(kind: str, *sources: str, how: str = "", weights: tuple[str, ...] = ()) -> str:
        made.append((kind, sources, how, weights))
        return f"y{len(made) - 1}"

    def conv(x: str, n: Layer) -> str:
        how = f"0={n.filters} 1={n.kernel} 3={n.stride} 4={n.kernel // 2} 5=1 6={np.prod(n.weight)}"
        how += " 9=3 -23310=2,0.0,6.0" if n.bends else ""
        how += f" 7={n.groups}" if n.groups > 1 else ""
        kind = "ConvolutionDepthWise" if n.groups > 1 else "Convolution"
        return add(kind, x, how=how, weights=(f"{n.name}.weight", f"{n.name}.bias"))

    x = _walk("x", conv, lambda a, b: add("BinaryOp", a, b, how="0=0"))
    size = f"0={CLASSES} 1=1 2={CLASSES * LAST}"
    add("InnerProduct", add("Pooling", x, how="0=1 4=1"), how=size, weights=("head.weight", "head.bias"))
    return made


def _case() -> Case:
    weights = [f"{name}.{what}" for name in (*(n.name for n in layers()), "head") for what in ("weight", "bias")]
    return Case(
        "mobilenet",
        "MobileNetV2 3x224x224",
        inputs,
        right,
        {
            "fastnn": {"frozen": _fastnn},
            **torch_inference(_module),
            **graph_ops(onnx_nodes(), weights, images=True),
            "ncnn": ncnn_op(ncnn_layers()),
        },
        lambda given, want: [EXTREME * 4 * DIRECT_RMS * np.sqrt(np.mean(want[0] ** 2))],  # 53 layers, not 10
        flops=flops(),
    )


CASES = [_case()]
