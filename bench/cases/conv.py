"""Convolution: forward with constant weights and a bias, and forward with all gradients.

An image is (N, C, H, W) by shape; every peer gets it in the memory format it likes best. Answers are compared whole
with float64 (bench.conv_reference), element by element and by their RMS error, which admits Winograd.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from bench import conv_reference as reference
from bench.case import Answer, Case, Inputs, Run, Setup, Variants
from bench.runners import Layers, Nodes, graph_ops, ncnn_op

UNIT = 2.0**-24
WINOGRAD = 8  # times the RMS error of direct convolution
EXTREME = 12  # the largest of some million errors over their RMS: 6 if they were normal, more with Winograd


@dataclass(frozen=True)
class Convolution:
    """x (n, c, h, h) with k filters; `depthwise`: one filter per channel."""

    n: int
    c: int
    h: int
    k: int
    size: int = 3
    stride: int = 1
    padding: int = 1
    depthwise: bool = False
    transposed: bool = False
    relu: bool = False
    dilation: int = 1

    @property
    def name(self) -> str:
        kind = "depthwise " * self.depthwise + "transposed " * self.transposed
        more = f" stride {self.stride}" * (self.stride > 1) + " ReLU" * self.relu
        more += f" dilation {self.dilation}" * (self.dilation > 1)
        return f"{kind}{self.size}x{self.size} N{self.n} C{self.c} H{self.h} K{self.k}{more}"

    @property
    def out(self) -> int:
        """Height and width of the output."""
        if self.transposed:
            return (self.h - 1) * self.stride - 2 * self.padding + self.size
        return (self.h + 2 * self.padding - self.dilation * (self.size - 1) - 1) // self.stride + 1

    @property
    def groups(self) -> int:
        return self.c if self.depthwise else 1

    @property
    def weight(self) -> tuple[int, int, int, int]:
        """PyTorch's layout; a transposed convolution's has the input channels first."""
        first, second = (self.c, self.k) if self.transposed else (self.k, self.c // self.groups)
        return first, second, self.size, self.size

    @property
    def flops(self) -> float:
        """Of the direct algorithm, whatever is used."""
        pixels = self.h**2 if self.transposed else self.out**2
        return 2.0 * self.n * pixels * np.prod(self.weight, dtype=float)

    @property
    def terms(self) -> tuple[float, float, float, float]:
        """How many products are summed to an element of y, dx, dw, db."""
        fan_in = self.c // self.groups * self.size**2 / (self.stride**2 if self.transposed else 1)
        fan_out = self.k // self.groups * self.size**2 / (1 if self.transposed else self.stride**2)
        pixels = self.n * self.out**2
        return fan_in, fan_out, self.n * self.h**2 if self.transposed else pixels, pixels

    def inputs(self, backward: bool = False) -> Inputs:
        """x, weight, bias and perhaps dy; y has a variance of about 2."""
        rng = np.random.default_rng(0)
        made = {
            "x": rng.standard_normal((self.n, self.c, self.h, self.h), np.float32),
            "weight": rng.standard_normal(self.weight, np.float32) * np.float32(self.terms[0] ** -0.5),
            "bias": rng.standard_normal(self.k, np.float32),
        }
        if backward:
            made["dy"] = rng.standard_normal((self.n, self.k, self.out, self.out), np.float32)
        return made


@lru_cache(maxsize=1)
def right(task: Convolution, backward: bool) -> Answer:
    """In float64: y, or y, dx, dw, db. Cached: every variant of every peer is checked against it."""
    inputs = task.inputs(backward)
    x, w, bias = reference.channels_last(inputs["x"]), inputs["weight"].astype(np.float64), inputs["bias"]
    how = {
        "stride": task.stride,
        "padding": task.padding,
        "depthwise": task.depthwise,
        "dilation": task.dilation,
    }
    if task.transposed:
        y = reference.input_gradient(x, w, (task.out, task.out), **how) + bias
    else:
        y = reference.forward(x, w, **how) + bias
    if task.relu:
        y = np.maximum(y, 0)
    if not backward:
        return [reference.channels_first(y)]
    dy = reference.channels_last(inputs["dy"])
    if task.transposed:
        dx, dw = reference.forward(dy, w, **how), reference.weight_gradient(x, dy, w.shape, **how)
    else:
        dx = reference.input_gradient(dy, w, (task.h, task.h), **how)
        dw = reference.weight_gradient(dy, x, w.shape, **how)
    return [reference.channels_first(y), reference.channels_first(dx), dw, dy.sum(axis=(0, 1, 2))]


def direct_rms(terms: float) -> float:
    """RMS error, relative, of a sum of so many products in float32, as direct convolutions make it.

    Measured as a factor of UNIT sqrt(terms): one chain of additions 0.35, PyTorch and JAX in channels-last memory 0.2
    (two or more chains), ONNX Runtime 0.08 (a chain per block of channels).
    """
    return 0.2 * UNIT * max(terms, 16) ** 0.5


def case(task: Convolution, backward: bool = False) -> Case:
    """One convolution for all peers."""
    allowed = [WINOGRAD * direct_rms(terms) for terms in (task.terms if backward else task.terms[:1])]
    return Case(
        "conv_backward" if backward else "conv",
        task.name,
        lambda: task.inputs(backward),
        lambda inputs: right(task, backward),
        _backward_peers(task) if backward else _forward_peers(task),
        lambda inputs, want: [EXTREME * a * np.sqrt(np.mean(w * w)) for a, w in zip(allowed, want, strict=True)],
        rms=allowed,
        flops=task.flops * (3 if backward else 1),
    )


# ----------------------------------------------------------------------- fastnn and PyTorch: almost the same modules


def _module(lib: Any, task: Convolution, inputs: Inputs, **options: Any) -> Any:
    kind = lib.nn.ConvTranspose2d if task.transposed else lib.nn.Conv2d
    how = {
        "stride": task.stride,
        "padding": task.padding,
        "groups": task.groups,
        "dilation": task.dilation,
        **options,
    }
    fused = task.relu and lib.__name__ == "fastnn"  # PyTorch's layers have no activation
    layer = kind(task.c, task.k, task.size, **how, **({"activation": "relu"} if fused else {}))
    layer.load_state_dict({name: lib.tensor(inputs[name]) for name in ("weight", "bias")})
    return lib.nn.Sequential(layer, lib.nn.ReLU()) if task.relu and not fused else layer


def with_gradients(module: Any, x: Any, dy: Any) -> Run:
    """A layer of fastnn's or PyTorch's forward and back: y and the gradients of x, weight and bias."""
    x.requires_grad = True

    def call() -> Any:
        x.grad = module.weight.grad = module.bias.grad = None
        y = module(x)
        y.backward(dy)
        return y

    def answer() -> Answer:
        y = call().detach()
        return [np.array(a.numpy()) for a in (y, x.grad, module.weight.grad, module.bias.grad)]

    return Run(call, answer)


def images(lib: Any, x: np.ndarray, last: bool = True) -> Any:
    """A tensor of shape (N, C, H, W), its memory channels-last or as it is."""
    return lib.tensor(np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2) if last else x)


def _fastnn(task: Convolution, **options: Any) -> Setup:
    def setup(inputs: Inputs) -> Run:
        import fastnn as fnn

        module, x = _module(fnn, task, inputs, **options), images(fnn, inputs["x"])
        module.freeze()
        return Run(lambda: module(x), lambda: [module(x).numpy()], fnn.no_grad)

    return setup


def _backward(library: str, task: Convolution, last: bool, **options: Any) -> Setup:
    """y = module(x); y.backward(dy)."""

    def setup(inputs: Inputs) -> Run:
        lib = __import__(library)
        module = _module(lib, task, inputs, **options)
        x, dy = images(lib, inputs["x"], last), images(lib, inputs["dy"], last)
        if library == "torch":
            module = module.to(memory_format=lib.channels_last if last else lib.contiguous_format)
        return with_gradients(module, x, dy)

    return setup


def torch_inference(make: Callable[[Any, Inputs], Any]) -> dict[str, Variants]:
    """PyTorch's ways to run a module on images: memory formats, oneDNN's own layout, compiled with frozen weights."""
    return {
        "torch": {
            "channels_last": lambda i: _torch_eager(make, i, True),
            "contiguous": lambda i: _torch_eager(make, i, False),
            "mkldnn": lambda i: _torch_mkldnn(make, i),
        },
        "torch:compile": {
            "compile, channels_last": lambda i: _torch_compiled(make, i, True),
            "compile, contiguous": lambda i: _torch_compiled(make, i, False),
        },
    }


def _torch_eager(make: Callable[[Any, Inputs], Any], inputs: Inputs, last: bool) -> Run:
    import torch

    module, x = make(torch, inputs).eval(), images(torch, inputs["x"], last)
    module.to(memory_format=torch.channels_last if last else torch.contiguous_format)
    return Run(lambda: module(x), lambda: [module(x).numpy()], torch.inference_mode)


def _torch_mkldnn(make: Callable[[Any, Inputs], Any], inputs: Inputs) -> Run:
    """Weights packed by oneDNN beforehand, images in its layout."""
    import torch
    from torch.utils import mkldnn

    module, x = mkldnn.to_mkldnn(make(torch, inputs).eval()), torch.from_numpy(inputs["x"]).to_mkldnn()

    def answer() -> Answer:
        y = module(x)
        return [(y.to_dense() if y.is_mkldnn else y).numpy()]

    return Run(lambda: module(x), answer, torch.no_grad)


def _torch_compiled(make: Callable[[Any, Inputs], Any], inputs: Inputs, last: bool) -> Run:
    import torch

    if last:  # the first variant: another reset would throw its code away
        torch._dynamo.reset()
    module, x = make(torch, inputs).eval(), images(torch, inputs["x"], last)
    module.to(memory_format=torch.channels_last if last else torch.contiguous_format)
    compiled = torch.compile(module, fullgraph=True, dynamic=False, options={"freezing": True})
    return Run(lambda: compiled(x), lambda: [compiled(x).numpy()], torch.no_grad)


# ------------------------------------------------------------------------------------------------------------- JAX


LAYOUTS = {"NHWC": ((0, 2, 3, 1), (2, 3, 1, 0)), "NCHW": ((0, 1, 2, 3), (0, 1, 2, 3))}  # of images, of weights


def _jax_convolution(task: Convolution, layout: str) -> Callable:
    from jax import lax

    def f(x: Any, w: Any, bias: Any) -> Any:
        padding = task.size - 1 - task.padding if task.transposed else task.padding
        y = lax.conv_general_dilated(
            x,
            w,
            (1, 1) if task.transposed else (task.stride,) * 2,
            [(padding, padding)] * 2,
            lhs_dilation=(task.stride,) * 2 if task.transposed else None,
            rhs_dilation=(task.dilation,) * 2,
            dimension_numbers=(layout, "HWIO" if layout == "NHWC" else "OIHW", layout),
            feature_group_count=task.groups,
        )
        y = y + (bias if layout == "NHWC" else bias[:, None, None])
        return lax.max(y, 0.0) if task.relu else y

    return f


def _jax_arrays(task: Convolution, layout: str, inputs: Inputs) -> list[Any]:
    import jax.numpy as jnp

    arrays = dict(inputs)
    of_images, of_weights = LAYOUTS[layout]
    if task.transposed:  # JAX knows only the convolution that it is: channels swapped, taps reversed
        arrays["weight"] = arrays["weight"].transpose(1, 0, 2, 3)[:, :, ::-1, ::-1]
    axes = {"x": of_images, "dy": of_images, "weight": of_weights, "bias": (0,)}
    return [jnp.asarray(np.ascontiguousarray(a.transpose(axes[name]))) for name, a in arrays.items()]


def _jax(task: Convolution, layout: str, constant: bool) -> Setup:
    def setup(inputs: Inputs) -> Run:
        import jax

        x, *weights = _jax_arrays(task, layout, inputs)
        g = _jax_convolution(task, layout)
        f = jax.jit((lambda x: g(x, *weights)) if constant else g)
        args = (x,) if constant else (x, *weights)
        back = np.argsort(LAYOUTS[layout][0])
        return Run(lambda: f(*args).block_until_ready(), lambda: [np.asarray(f(*args)).transpose(back)])

    return setup


def _jax_backward(task: Convolution, layout: str) -> Setup:
    def setup(inputs: Inputs) -> Run:
        import jax

        args = _jax_arrays(task, layout, inputs)
        g = _jax_convolution(task, layout)

        @jax.jit
        def f(x: Any, w: Any, bias: Any, dy: Any) -> Any:
            y, gradients = jax.vjp(g, x, w, bias)
            return y, *gradients(dy)

        def answer() -> Answer:
            y, dx, dw, db = (np.asarray(a) for a in f(*args))
            of_images, of_weights = (np.argsort(axes) for axes in LAYOUTS[layout])
            dw = dw.transpose(of_weights)
            if task.transposed:
                dw = dw.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1]
            return [y.transpose(of_images), dx.transpose(of_images), dw, db]

        return Run(lambda: jax.block_until_ready(f(*args)), answer)

    return setup


# ------------------------------------------------------------------------------------------------------- all of them


def _graph(task: Convolution) -> Nodes:
    how = {
        "strides": [task.stride] * 2,
        "pads": [task.padding] * 4,
        "group": task.groups,
        "dilations": [task.dilation] * 2,
    }
    nodes = [("ConvTranspose" if task.transposed else "Conv", ("x", "weight", "bias"), how)]
    return [*nodes, ("Relu", ("y0",), {})] if task.relu else nodes


def _ncnn_layers(task: Convolution) -> Layers:
    shape = f"0={task.k} 1={task.size} 2={task.dilation} 3={task.stride} 4={task.padding} 5=1"
    shape += f" 6={int(np.prod(task.weight))}"
    return [("Convolution", ("x",), f"{shape} 9={int(task.relu)}", ("weight", "bias"))]


def _forward_peers(task: Convolution) -> dict[str, Variants]:
    plain = not task.depthwise and not task.transposed
    return {
        "fastnn": {"frozen layer": _fastnn(task)},
        "fastnn:strict": {"frozen layer, strict": _fastnn(task, precision="strict")},
        **torch_inference(lambda lib, inputs: _module(lib, task, inputs)),
        "jax": {
            "NHWC": _jax(task, "NHWC", constant=True),
            "NHWC, weights as arguments": _jax(task, "NHWC", constant=False),
            "NCHW": _jax(task, "NCHW", constant=True),
        },
        **graph_ops(_graph(task), ("weight", "bias"), images=True),
        **({"ncnn": ncnn_op(_ncnn_layers(task))} if task.n == 1 and plain else {}),
    }


def _backward_peers(task: Convolution) -> dict[str, Variants]:
    return {
        "fastnn": {"backward()": _backward("fastnn", task, last=True)},
        "fastnn:strict": {"backward(), strict": _backward("fastnn", task, last=True, precision="strict")},
        "torch": {
            "channels_last": _backward("torch", task, last=True),
            "contiguous": _backward("torch", task, last=False),
        },
        "jax": {layout: _jax_backward(task, layout) for layout in LAYOUTS},
    }


LARGE: Sequence[Convolution] = [
    *(Convolution(n, c, h, c) for n in (1, 32) for c, h in ((64, 56), (128, 28), (256, 14))),
    *(Convolution(n, 512, 7, 512) for n in (1, 8)),
    Convolution(32, 64, 32, 64),
]
FIRST_AND_SMALL: Sequence[Convolution] = [
    Convolution(1, 3, 224, 64),
    Convolution(1, 3, 224, 64, size=7, stride=2, padding=3),
    Convolution(64, 1, 28, 16),
    Convolution(64, 16, 14, 32),
    Convolution(64, 32, 14, 64),
]
OTHERS: Sequence[Convolution] = [
    Convolution(8, 256, 14, 256, size=1, padding=0),
    Convolution(1, 64, 56, 256, size=1, padding=0),
    Convolution(8, 256, 28, 512, size=1, stride=2, padding=0),
    Convolution(8, 32, 28, 64, size=5, padding=2),
    Convolution(8, 64, 56, 128, stride=2),
    Convolution(8, 64, 28, 64, padding=2, dilation=2),
    Convolution(8, 128, 28, 128, depthwise=True),
    Convolution(8, 128, 28, 128, stride=2, depthwise=True),
    Convolution(8, 128, 28, 128, size=5, padding=2, depthwise=True),
    Convolution(8, 512, 14, 512, depthwise=True),
    Convolution(8, 128, 14, 64, size=4, stride=2, transposed=True),
    Convolution(8, 128, 14, 64, size=2, stride=2, padding=0, transposed=True),
]
WITH_RELU: Sequence[Convolution] = [Convolution(1, 64, 56, 64, relu=True), Convolution(32, 64, 32, 64, relu=True)]
CASES = [
    *(case(task) for task in (*LARGE, *WITH_RELU, *FIRST_AND_SMALL, *OTHERS)),
    *(case(task, backward=True) for task in (*LARGE, *OTHERS)),
]
