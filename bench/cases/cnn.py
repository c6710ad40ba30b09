"""Whole training steps of small convolutional networks: forward, cross-entropy, backward, Adam.

As in bench.cases.train the targets are noise and the batches alternate. JAX keeps no running averages for BatchNorm.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import cycle
from typing import Any

import numpy as np

from bench import conv_reference as reference
from bench.case import Answer, Case, Inputs, Run
from bench.cases.conv import images
from bench.cases.optimizer import jax_adam, numpy_adam
from bench.cases.train import BATCHES, LR, _losses, _np_cross_entropy, weights_of

CHECKED_STEPS = 3  # a float64 step of the larger network takes seconds
EPS = 1e-5  # of BatchNorm
# kind, and its channels in and out, or its channels, or nothing
Layer = tuple[Any, ...]
RELU = ("relu",)


@dataclass(frozen=True)
class ConvNet:
    """A Sequential for pictures (channels, size, size), with ten classes."""

    name: str
    channels: int
    size: int
    layers: tuple[Layer, ...]
    batch: int = 64

    @property
    def flops(self) -> float:
        """Of convolutions and products, three each, the first without a gradient of its input."""
        products, size = [], self.size
        for kind, *channels in self.layers:
            size //= 2 if kind == "pool" else 1
            if kind in ("conv", "dense"):
                pixels = 9 * size**2 if kind == "conv" else 1
                products.append(2.0 * self.batch * pixels * channels[0] * channels[1])
        return 3 * sum(products) - products[0]

    def inputs(self) -> Inputs:
        rng = np.random.default_rng(0)
        shape = (BATCHES, self.batch, self.channels, self.size, self.size)
        made = {"x": rng.standard_normal(shape, np.float32), "y": rng.integers(0, 10, (BATCHES, self.batch))}
        for i, (kind, *channels) in enumerate(self.layers):
            if kind in ("conv", "dense"):
                n_in, n_out = channels[:2]
                shape = (n_out, n_in, 3, 3) if kind == "conv" else (n_out, n_in)
                bound = np.prod(shape[1:]) ** -0.5
                made[f"{i}.weight"] = rng.uniform(-bound, bound, shape).astype(np.float32)
                if self.has_bias(i):
                    made[f"{i}.bias"] = rng.uniform(-bound, bound, n_out).astype(np.float32)
            elif kind == "norm":
                made[f"{i}.weight"] = np.ones(channels[0], np.float32)
                made[f"{i}.bias"] = np.zeros(channels[0], np.float32)
        return made

    def has_bias(self, i: int) -> bool:
        """Not before BatchNorm, which would take it away again."""
        return self.layers[i + 1 : i + 2] != (("norm", self.layers[i][-1]),)


# --------------------------------------------------------------------------------------------- the answer, in float64


Backward = Callable[[np.ndarray], tuple[np.ndarray, list[np.ndarray]]]


def _np_conv(x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None) -> tuple[np.ndarray, Backward]:
    def backward(dy: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        grads = [reference.weight_gradient(dy, x, w.shape, 1, 1)]
        dx = reference.input_gradient(dy, w, x.shape[1:3], 1, 1) if x.shape[3] > 3 else x  # the pictures need none
        return dx, grads if b is None else [*grads, dy.sum(axis=(0, 1, 2))]

    return reference.forward(x, w, 1, 1) + (0 if b is None else b), backward


def _np_dense(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, Backward]:
    return x @ w.T + b, lambda dy: (dy @ w, [dy.T @ x, dy.sum(axis=0)])


def _np_norm(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, Backward]:
    axes = (0, 1, 2)
    scale = 1 / np.sqrt(x.var(axis=axes) + EPS)
    z = (x - x.mean(axis=axes)) * scale

    def backward(dy: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        dw, db = (dy * z).sum(axis=axes), dy.sum(axis=axes)
        count = dy.size // dy.shape[3]
        return w * scale * (dy - db / count - z * (dw / count)), [dw, db]

    return z * w + b, backward


def _np_relu(x: np.ndarray) -> tuple[np.ndarray, Backward]:
    return np.maximum(x, 0), lambda dy: (dy * (x > 0), [])


def _np_pool(x: np.ndarray) -> tuple[np.ndarray, Backward]:
    n, h, w, c = x.shape
    windows = x.reshape(n, h // 2, 2, w // 2, 2, c)
    y = windows.max(axis=(2, 4))

    def backward(dy: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        chosen = windows == y[:, :, None, :, None]  # ties are zeros behind a ReLU, where the gradient ends
        return (chosen * dy[:, :, None, :, None]).reshape(x.shape), []

    return y, backward


def _np_flatten(x: np.ndarray) -> tuple[np.ndarray, Backward]:
    """In PyTorch's order: channels first."""
    n, h, w, c = x.shape
    y = reference.channels_first(x).reshape(n, -1)
    return y, lambda dy: (dy.reshape(n, c, h, w).transpose(0, 2, 3, 1), [])


NUMPY = {
    "conv": _np_conv,
    "dense": _np_dense,
    "norm": _np_norm,
    "relu": _np_relu,
    "pool": _np_pool,
    "flatten": _np_flatten,
}


@lru_cache(maxsize=1)
def right(net: ConvNet) -> Answer:
    """The losses of the first steps; the last step needs no gradients."""
    inputs = net.inputs()
    params = {k: v.astype(np.float64) for k, v in weights_of(inputs).items()}
    state = {k: (np.zeros_like(v), np.zeros_like(v)) for k, v in params.items()}
    losses = []
    for step in range(1, CHECKED_STEPS + 1):
        x, tape = reference.channels_last(inputs["x"][step - 1]), []
        for i, (kind, *_) in enumerate(net.layers):
            names = [name for name in params if name.startswith(f"{i}.")]
            x, backward = NUMPY[kind](x, *(params[name] for name in names))
            tape.append((names, backward))
        loss, dy = _np_cross_entropy(x, inputs["y"][step - 1])
        losses.append(loss)
        if step == CHECKED_STEPS:
            break
        for names, backward in reversed(tape):
            dy, grads = backward(dy)
            for name, grad in zip(names, grads, strict=True):
                numpy_adam(params[name], grad, *state[name], step, LR)
    return [np.array(losses)]


# ------------------------------------------------------------------------------- fastnn and PyTorch: the same program


def _model(lib: Any, net: ConvNet, inputs: Inputs, fused: bool = False) -> Any:
    """`fused`: ReLU as the activation of the layer before it, which fastnn's convolutions and dense layers take."""
    nn = lib.nn

    def act(i: int) -> dict[str, str]:
        return {"activation": "relu"} if fused and net.layers[i + 1 : i + 2] == (RELU,) else {}

    make = {
        "conv": lambda i, c, f: nn.Conv2d(c, f, 3, padding=1, bias=net.has_bias(i), **act(i)),
        "dense": lambda i, c, f: nn.Linear(c, f, **act(i)),
        "norm": lambda i, c: nn.BatchNorm2d(c),
        "relu": lambda i: nn.Identity() if act(i - 1) and net.layers[i - 1][0] != "norm" else nn.ReLU(),
        "pool": lambda i: nn.MaxPool2d(2),
        "flatten": lambda i: nn.Flatten(),
    }
    model = nn.Sequential(*(make[kind](i, *channels) for i, (kind, *channels) in enumerate(net.layers)))
    # Not strict: BatchNorm's running averages stay as they are.
    model.load_state_dict({k: lib.tensor(v) for k, v in weights_of(inputs).items()}, strict=False)
    return model


def _eager(
    library: str, net: ConvNet, inputs: Inputs, last: bool = True, activations: bool = False, **adam: Any
) -> Run:
    lib = __import__(library)
    model = _model(lib, net, inputs, activations)
    if library == "torch":
        model = model.to(memory_format=lib.channels_last if last else lib.contiguous_format)
    data = cycle([(images(lib, x, last), lib.tensor(y)) for x, y in zip(inputs["x"], inputs["y"], strict=True)])
    loss_of = lib.nn.functional.cross_entropy
    opt = lib.optim.Adam(model.parameters(), lr=LR, **adam)

    def call() -> Any:
        x, y = next(data)
        loss = loss_of(model(x), y)
        loss.backward()
        opt.step()
        opt.zero_grad()
        return loss

    return Run(call, _losses(call, CHECKED_STEPS))


def _compiled(net: ConvNet, inputs: Inputs, last: bool, whole: bool) -> Run:
    """The loss compiled (its backward with it), Adam fused; or Adam compiled too."""
    import torch

    if last and not whole:  # the first variant: another reset would throw its code away
        torch._dynamo.reset()
    model = _model(torch, net, inputs).to(memory_format=torch.channels_last if last else torch.contiguous_format)
    data = cycle([(images(torch, x, last), torch.tensor(y)) for x, y in zip(inputs["x"], inputs["y"], strict=True)])
    opt = torch.optim.Adam(model.parameters(), lr=LR, **({"foreach": True} if whole else {"fused": True}))

    def forward(x: Any, y: Any) -> Any:
        return torch.nn.functional.cross_entropy(model(x), y)

    forward = torch.compile(forward, dynamic=False)
    update = torch.compile(opt.step, dynamic=False) if whole else opt.step

    def call() -> Any:
        loss = forward(*next(data))
        loss.backward()
        update()
        opt.zero_grad()
        return loss

    return Run(call, _losses(call, CHECKED_STEPS))


# ------------------------------------------------------------------------------------------------ JAX: one jitted step


@dataclass(frozen=True)
class JaxStyle:
    """A layout, and max-pooling by reduce_window or as the maximum over two axes of a reshaped array."""

    last: bool = True
    window: bool = False

    @property
    def layout(self) -> str:
        return "NHWC" if self.last else "NCHW"


def _jax_layer(style: JaxStyle, kind: str, x: Any, weights: Any) -> Any:
    import jax
    import jax.numpy as jnp

    def along(v: Any) -> Any:  # a vector over the channels
        return v if style.last else v[:, None, None]

    if kind == "conv":
        how = (style.layout, "HWIO" if style.last else "OIHW", style.layout)
        y = jax.lax.conv_general_dilated(x, weights[0], (1, 1), "SAME", dimension_numbers=how)
        return y + along(weights[1]) if len(weights) > 1 else y
    if kind == "dense":
        return x @ weights[0] + weights[1]
    if kind == "norm":
        axes = (0, 1, 2) if style.last else (0, 2, 3)
        mean, variance = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
        return (x - mean) * (along(weights[0]) * jax.lax.rsqrt(variance + EPS)) + along(weights[1])
    if kind == "pool":
        return _jax_pool(style, x)
    return jax.nn.relu(x) if kind == "relu" else jnp.reshape(x, (len(x), -1))


def _jax_pool(style: JaxStyle, x: Any) -> Any:
    from jax import lax

    first = 1 if style.last else 2  # the axis of the height
    if style.window:
        window = tuple(2 if axis in (first, first + 1) else 1 for axis in range(4))
        return lax.reduce_window(x, -np.inf, lax.max, window, window, "VALID")
    n, a, b, c = x.shape
    shape = (n, a // 2, 2, b // 2, 2, c) if style.last else (n, a, b // 2, 2, c // 2, 2)
    return x.reshape(shape).max((first + 1, first + 3))


def _jax_params(net: ConvNet, style: JaxStyle, inputs: Inputs) -> list[list[Any]]:
    """Per layer, in JAX's layouts; the layer after Flatten reads its rows in another order."""
    import jax.numpy as jnp

    made, flattened, channels, size = [], False, net.channels, net.size
    for i, (kind, *sizes) in enumerate(net.layers):
        weights = [v for k, v in weights_of(inputs).items() if k.startswith(f"{i}.")]
        if kind == "conv":
            channels = sizes[1]
            weights[0] = weights[0].transpose(2, 3, 1, 0) if style.last else weights[0]
        elif kind == "dense":
            if flattened and style.last:
                weights[0] = weights[0].reshape(-1, channels, size, size).transpose(0, 2, 3, 1)
            weights[0] = weights[0].reshape(sizes[1], -1).T
        size //= 2 if kind == "pool" else 1
        flattened = kind == "flatten"
        made.append([jnp.asarray(np.ascontiguousarray(w)) for w in weights])
    return made


def _jax(net: ConvNet, style: JaxStyle, inputs: Inputs, flat: bool = False) -> Run:
    """`flat`: all parameters ravelled into one array, by hand."""
    import jax
    import jax.numpy as jnp
    from jax.flatten_util import ravel_pytree

    params: Any = _jax_params(net, style, inputs)
    unravel: Callable = lambda p: p  # noqa: E731
    if flat:
        params, unravel = ravel_pytree(params)
    state = (params, jax.tree.map(jnp.zeros_like, params), jax.tree.map(jnp.zeros_like, params), jnp.int32(0))
    x = inputs["x"].transpose(0, 1, 3, 4, 2) if style.last else inputs["x"]
    y = inputs["y"].astype(np.int32)
    data = cycle([(jnp.asarray(np.ascontiguousarray(a)), jnp.asarray(b)) for a, b in zip(x, y, strict=True)])

    def loss_of(params: Any, x: Any, y: Any) -> Any:
        for (kind, *_), weights in zip(net.layers, unravel(params), strict=True):
            x = _jax_layer(style, kind, x, weights)
        return -jnp.take_along_axis(jax.nn.log_softmax(x), y[:, None], axis=1).mean()

    def step(state: Any, x: Any, y: Any) -> Any:
        loss, grads = jax.value_and_grad(loss_of)(state[0], x, y)
        return jax_adam(state, grads, LR), loss

    f = jax.jit(step, donate_argnums=0)

    def call() -> Any:
        nonlocal state
        state, loss = f(state, *next(data))
        return loss.block_until_ready()

    return Run(call, _losses(call, CHECKED_STEPS))


def train(net: ConvNet) -> Case:
    """One step; the answer is the loss of the first steps."""
    styles = {
        "NHWC": JaxStyle(),
        "NCHW": JaxStyle(last=False),
        "NHWC, reduce_window": JaxStyle(window=True),
    }
    jax = {name: lambda i, s=style: _jax(net, s, i) for name, style in styles.items()}
    flat = {f"{name}, one array": lambda i, s=style: _jax(net, s, i, flat=True) for name, style in styles.items()}
    return Case(
        "train",
        net.name,
        net.inputs,
        lambda inputs: right(net),
        {
            "fastnn": {
                "ReLU layers": lambda i: _eager("fastnn", net, i),
                "activation of a layer": lambda i: _eager("fastnn", net, i, activations=True),
            },
            "torch": {
                "channels_last, fused Adam": lambda i: _eager("torch", net, i, fused=True),
                "channels_last, foreach Adam": lambda i: _eager("torch", net, i, foreach=True),
                "contiguous, fused Adam": lambda i: _eager("torch", net, i, last=False, fused=True),
            },
            "torch:compile": {
                "channels_last, fused Adam": lambda i: _compiled(net, i, last=True, whole=False),
                "channels_last, Adam compiled": lambda i: _compiled(net, i, last=True, whole=True),
                "contiguous, fused Adam": lambda i: _compiled(net, i, last=False, whole=False),
            },
            "jax": jax,
            "jax:async": jax,
            "jax:flat": flat,
        },
        bound=3e-4,  # Adam's first step takes the sign of a gradient, even of one that is all rounding: 4e-5 measured
        flops=net.flops,
    )


def _block(channels: int, filters: int, norm: bool) -> tuple[Layer, ...]:
    return (("conv", channels, filters), *((("norm", filters),) if norm else ()), RELU)


POOL, FLAT = ("pool",), ("flatten",)
SMALL = (*_block(1, 32, False), POOL, *_block(32, 64, False), POOL, FLAT, ("dense", 64 * 49, 128), RELU)
NORMED = (
    *(*_block(3, 64, True), *_block(64, 64, True), POOL),
    *(*_block(64, 128, True), *_block(128, 128, True), POOL, FLAT),
)
CASES = [
    train(ConvNet("CNN 28x28 batch 64", 1, 28, (*SMALL, ("dense", 128, 10)))),
    train(ConvNet("CNN BatchNorm 3x32x32 batch 64", 3, 32, (*NORMED, ("dense", 128 * 64, 10)))),
]
