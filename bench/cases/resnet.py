"""Inference of a small residual network, ResNet-10 for pictures of 3 x 64 x 64, BatchNorm folded for everyone.

A 3x3 convolution to 64 channels and a 2x2 max-pool, then four blocks of two 3x3 convolutions with 64, 128, 256 and 512
filters, each after the first halving the picture (its shortcut is a 1x1 convolution of stride 2), the mean of each
channel and a dense layer. Every convolution has a bias, as it has when BatchNorm is folded into it.
"""

from functools import lru_cache
from typing import Any

import numpy as np

from bench import conv_reference as reference
from bench.case import Answer, Case, Inputs, Run
from bench.cases.conv import EXTREME, WINOGRAD, images, torch_inference
from bench.runners import Layers, Nodes, graph_ops, ncnn_op

SIZE, STEM, CLASSES = 64, 64, 10
BLOCKS = ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2))  # channels, filters, stride
DIRECT_RMS = 4e-7  # of the peers without Winograd, 2e-7 to 4.4e-7


def convolutions() -> dict[str, tuple[tuple[int, int, int], int, int]]:
    """Name -> (filters, channels, size), stride, height and width of the input."""
    made = {"stem": ((STEM, 3, 3), 1, SIZE)}
    size = SIZE // 2
    for b, (c, f, stride) in enumerate(BLOCKS):
        made[f"blocks.{b}.conv1"] = ((f, c, 3), stride, size)
        made[f"blocks.{b}.conv2"] = ((f, f, 3), 1, size // stride)
        if stride > 1:
            made[f"blocks.{b}.shortcut"] = ((f, c, 1), stride, size)
        size //= stride
    return made


def inputs(batch: int) -> Inputs:
    """Weights as He draws them: activations keep their size from layer to layer."""
    rng = np.random.default_rng(0)
    made = {"x": rng.standard_normal((batch, 3, SIZE, SIZE), np.float32)}
    for name, ((f, c, k), _, _) in convolutions().items():
        made[f"{name}.weight"] = rng.standard_normal((f, c, k, k), np.float32) * np.float32((2 / (c * k * k)) ** 0.5)
        made[f"{name}.bias"] = rng.standard_normal(f, np.float32) * np.float32(0.1)
    made["head.weight"] = rng.standard_normal((CLASSES, BLOCKS[-1][1]), np.float32) * np.float32(BLOCKS[-1][1] ** -0.5)
    made["head.bias"] = rng.standard_normal(CLASSES, np.float32)
    return made


def flops(batch: int) -> float:
    dense = BLOCKS[-1][1] * CLASSES
    return 2.0 * batch * (sum(f * c * k * k * (h // s) ** 2 for (f, c, k), s, h in convolutions().values()) + dense)


@lru_cache(maxsize=1)
def right(batch: int) -> Answer:
    """In float64."""
    given = {k: v.astype(np.float64) for k, v in inputs(batch).items()}

    def conv(x: np.ndarray, name: str) -> np.ndarray:
        (_, _, k), stride, _ = convolutions()[name]
        return reference.forward(x, given[f"{name}.weight"], stride, k // 2) + given[f"{name}.bias"]

    x = np.maximum(conv(reference.channels_last(given["x"]), "stem"), 0)
    x = x.reshape(batch, SIZE // 2, 2, SIZE // 2, 2, STEM).max(axis=(2, 4))
    for b, (_, _, stride) in enumerate(BLOCKS):
        y = conv(np.maximum(conv(x, f"blocks.{b}.conv1"), 0), f"blocks.{b}.conv2")
        x = np.maximum(y + (x if stride == 1 else conv(x, f"blocks.{b}.shortcut")), 0)
    return [x.mean(axis=(1, 2)) @ given["head.weight"].T + given["head.bias"]]


def _module(lib: Any, given: Inputs) -> Any:
    """PyTorch's program."""
    nn, relu = lib.nn, lib.nn.functional.relu

    class Block(nn.Module):
        def __init__(self, channels: int, filters: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(channels, filters, 3, stride=stride, padding=1)
            self.conv2 = nn.Conv2d(filters, filters, 3, padding=1)
            self.shortcut = nn.Conv2d(channels, filters, 1, stride=stride) if stride > 1 else nn.Identity()

        def forward(self, x: Any) -> Any:
            return relu(self.conv2(relu(self.conv1(x))) + self.shortcut(x))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.pool = nn.Conv2d(3, STEM, 3, padding=1), nn.MaxPool2d(2)
            self.blocks = nn.Sequential(*(Block(*block) for block in BLOCKS))
            self.mean, self.flat = nn.AdaptiveAvgPool2d(1), nn.Flatten()
            self.head = nn.Linear(BLOCKS[-1][1], CLASSES)

        def forward(self, x: Any) -> Any:
            x = self.blocks(self.pool(relu(self.stem(x))))
            return self.head(self.flat(self.mean(x)))

    net = Net()
    net.load_state_dict({k: lib.tensor(v) for k, v in given.items() if k != "x"})
    return net


def _fastnn(given: Inputs) -> Run:
    import fastnn as fnn

    nn = fnn.nn

    def block(channels: int, filters: int, stride: int) -> Any:
        return nn.Residual(
            nn.Conv2d(channels, filters, 3, stride=stride, padding=1, activation="relu"),
            nn.Conv2d(filters, filters, 3, padding=1),
            shortcut=nn.Conv2d(channels, filters, 1, stride=stride) if stride > 1 else None,
            activation="relu",
        )

    stem = {"stem": nn.Conv2d(3, STEM, 3, padding=1), "relu": nn.ReLU(), "pool": nn.MaxPool2d(2)}
    blocks = {"blocks": nn.Sequential(*(block(*b) for b in BLOCKS))}
    head = {"mean": nn.AdaptiveAvgPool2d(1), "flat": nn.Flatten(), "head": nn.Linear(BLOCKS[-1][1], CLASSES)}
    net, x = nn.Sequential(stem | blocks | head).eval(), images(fnn, given["x"])
    names = {k: k.replace("conv1", "body.0").replace("conv2", "body.1") for k in given if k != "x"}
    net.load_state_dict({name: fnn.tensor(given[k]) for k, name in names.items()})
    net.freeze()
    return Run(lambda: net(x), lambda: [net(x).numpy()], fnn.no_grad)


def onnx_nodes() -> Nodes:
    nodes: list[Any] = []

    def add(op: str, *sources: str, **how: Any) -> str:
        nodes.append((op, sources, how))
        return f"y{len(nodes) - 1}"

    def conv(x: str, name: str) -> str:
        (_, _, k), stride, _ = convolutions()[name]
        return add("Conv", x, f"{name}.weight", f"{name}.bias", strides=[stride] * 2, pads=[k // 2] * 4)

    x = add("MaxPool", add("Relu", conv("x", "stem")), kernel_shape=[2, 2], strides=[2, 2])
    for b, (_, _, stride) in enumerate(BLOCKS):
        shortcut = x if stride == 1 else conv(x, f"blocks.{b}.shortcut")
        y = conv(add("Relu", conv(x, f"blocks.{b}.conv1")), f"blocks.{b}.conv2")
        x = add("Relu", add("Add", y, shortcut))
    x = add("Flatten", add("GlobalAveragePool", x))
    add("Gemm", x, "head.weight", "head.bias", transB=1)
    return nodes


def ncnn_layers() -> Layers:
    layers: list[Any] = []

    def add(kind: str, *sources: str, how: str = "", weights: tuple[str, ...] = ()) -> str:
        layers.append((kind, sources, how, weights))
        return f"y{len(layers) - 1}"

    def conv(x: str, name: str, relu: bool) -> str:
        (f, c, k), stride, _ = convolutions()[name]
        how = f"0={f} 1={k} 3={stride} 4={k // 2} 5=1 6={f * c * k * k} 9={int(relu)}"
        return add("Convolution", x, how=how, weights=(f"{name}.weight", f"{name}.bias"))

    x = add("Pooling", conv("x", "stem", True), how="0=0 1=2 2=2")
    for b, (_, _, stride) in enumerate(BLOCKS):
        shortcut = x if stride == 1 else conv(x, f"blocks.{b}.shortcut", False)
        y = conv(conv(x, f"blocks.{b}.conv1", True), f"blocks.{b}.conv2", False)
        x = add("ReLU", add("BinaryOp", y, shortcut, how="0=0"))
    x = add("Pooling", x, how="0=1 4=1")
    size = f"0={CLASSES} 1=1 2={CLASSES * BLOCKS[-1][1]}"
    add("InnerProduct", x, how=size, weights=("head.weight", "head.bias"))
    return layers


def case(batch: int) -> Case:
    """One batch through the network."""
    weights = [f"{name}.{what}" for name in (*convolutions(), "head") for what in ("weight", "bias")]
    allowed = WINOGRAD * DIRECT_RMS
    return Case(
        "resnet",
        f"ResNet-10 3x64x64 batch {batch}",
        lambda: inputs(batch),
        lambda given: right(batch),
        {
            "fastnn": {"frozen": _fastnn},
            **torch_inference(_module),
            **graph_ops(onnx_nodes(), weights, images=True),
            **({"ncnn": ncnn_op(ncnn_layers())} if batch == 1 else {}),
        },
        lambda given, want: [EXTREME * allowed * np.sqrt(np.mean(want[0] ** 2))],
        rms=[allowed],
        flops=flops(batch),
    )


CASES = [case(1), case(32)]
