"""Whole training steps of small dense networks: forward, loss, backward, Adam, each as its users write it.

The targets are noise and the batches alternate, so that the work does not change while the network learns.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np

from bench.case import Answer, Case, Inputs, Run
from bench.cases.optimizer import jax_adam, numpy_adam

LR = 1e-3
BATCHES = 8
CHECKED_STEPS = 5


@dataclass(frozen=True)
class Network:
    """An MLP with ReLU between its layers; regression (MSE) or classification (cross-entropy)."""

    sizes: tuple[int, ...]
    batch: int
    classify: bool

    @property
    def name(self) -> str:
        return f"MLP {'-'.join(map(str, self.sizes))} batch {self.batch}"

    @property
    def flops(self) -> float:
        """Three products per layer, the first without a gradient of its input."""
        products = [2.0 * self.batch * i * o for i, o in zip(self.sizes, self.sizes[1:], strict=False)]
        return 3 * sum(products) - products[0]

    def inputs(self) -> Inputs:
        rng = np.random.default_rng(0)
        first, last = self.sizes[0], self.sizes[-1]
        x = rng.standard_normal((BATCHES, self.batch, first), np.float32)
        y = rng.standard_normal((BATCHES, self.batch, last), np.float32)
        made = {"x": x, "y": rng.integers(0, last, (BATCHES, self.batch)) if self.classify else y}
        for i, (n_in, n_out) in enumerate(zip(self.sizes, self.sizes[1:], strict=False)):
            bound = n_in**-0.5
            made[f"{2 * i}.weight"] = rng.uniform(-bound, bound, (n_out, n_in)).astype(np.float32)
            made[f"{2 * i}.bias"] = rng.uniform(-bound, bound, n_out).astype(np.float32)
        return made


def weights_of(inputs: Inputs) -> dict[str, np.ndarray]:
    """The entries that are parameters, named as in a Sequential of Linear and ReLU."""
    return {k: v for k, v in inputs.items() if k not in ("x", "y")}


def _number(loss: Any) -> float:
    return float(loss.detach() if hasattr(loss, "detach") else loss)


def _losses(call: Callable[[], Any], steps: int = CHECKED_STEPS) -> Callable[[], Answer]:
    return lambda: [np.array([_number(call()) for _ in range(steps)])]


# ------------------------------------------------------------------ NumPy by hand, also the right answer in float64


def numpy_step(net: Network, params: list[np.ndarray], x: np.ndarray, y: np.ndarray) -> tuple[float, list[np.ndarray]]:
    """The loss and the gradients of weight, bias, weight, bias, ..."""
    layers = list(zip(params[::2], params[1::2], strict=True))
    outputs = [x]
    for i, (w, b) in enumerate(layers):
        z = outputs[-1] @ w.T + b
        outputs.append(np.maximum(z, 0, out=z) if i < len(layers) - 1 else z)
    loss, dz = (_np_cross_entropy if net.classify else _np_mse)(outputs[-1], y)
    grads: list[np.ndarray] = []
    for i in reversed(range(len(layers))):
        grads[:0] = [dz.T @ outputs[i], dz.sum(axis=0)]
        if i:
            dz = dz @ layers[i][0]
            dz *= outputs[i] > 0
    return loss, grads


def _np_mse(z: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    d = z - y
    return float(np.mean(d * d)), d * (2 / d.size)


def _np_cross_entropy(z: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    rows = np.arange(len(z))
    z = z - z.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(z).sum(axis=1, keepdims=True))
    dz = np.exp(z - log_sum)
    dz[rows, y] -= 1
    return float(np.mean(log_sum[:, 0] - z[rows, y])), dz / len(z)


def _numpy(net: Network, inputs: Inputs, dtype: Any = np.float32) -> Run:
    params = [v.astype(dtype) for v in weights_of(inputs).values()]
    m, v = [np.zeros_like(p) for p in params], [np.zeros_like(p) for p in params]
    data = cycle([(x.astype(dtype), y) for x, y in zip(inputs["x"], inputs["y"], strict=True)])
    step = 0

    def call() -> float:
        nonlocal step
        step += 1
        loss, grads = numpy_step(net, params, *next(data))
        for args in zip(params, grads, m, v, strict=True):
            numpy_adam(*args, step, LR)
        return loss

    return Run(call, _losses(call))


# ------------------------------------------------------------------------------- fastnn and PyTorch: the same program


def _data(lib: Any, inputs: Inputs) -> Iterator[tuple[Any, Any]]:
    return cycle([(lib.tensor(x), lib.tensor(y)) for x, y in zip(inputs["x"], inputs["y"], strict=True)])


def _model(lib: Any, net: Network, inputs: Inputs) -> Any:
    layers: list[Any] = []
    for n_in, n_out in zip(net.sizes, net.sizes[1:], strict=False):
        layers += [lib.nn.Linear(n_in, n_out), lib.nn.ReLU()]
    model = lib.nn.Sequential(*layers[:-1])
    model.load_state_dict({k: lib.tensor(v) for k, v in weights_of(inputs).items()})
    return model


def _eager(module: str, net: Network, inputs: Inputs, **adam: Any) -> Run:
    lib = __import__(module)
    model, data = _model(lib, net, inputs), _data(lib, inputs)
    loss_of = lib.nn.functional.cross_entropy if net.classify else lib.nn.functional.mse_loss
    opt = lib.optim.Adam(model.parameters(), lr=LR, **adam)

    def call() -> Any:
        x, y = next(data)
        loss = loss_of(model(x), y)
        loss.backward()
        opt.step()
        opt.zero_grad()
        return loss

    return Run(call, _losses(call))


def _compiled(net: Network, inputs: Inputs, whole: bool) -> Run:
    """The loss compiled (its backward with it), Adam fused; or the whole step, Adam included, compiled."""
    import torch

    torch._dynamo.reset()
    model, data = _model(torch, net, inputs), _data(torch, inputs)
    loss_of = torch.nn.functional.cross_entropy if net.classify else torch.nn.functional.mse_loss
    options: dict[str, Any] = {"foreach": True} if whole else {"fused": True}
    opt = torch.optim.Adam(model.parameters(), lr=LR, **options)

    def forward(x: Any, y: Any) -> Any:
        return loss_of(model(x), y)

    forward = torch.compile(forward, dynamic=False)
    update = torch.compile(opt.step, dynamic=False) if whole else opt.step

    def call() -> Any:
        loss = forward(*next(data))
        loss.backward()
        update()
        opt.zero_grad()
        return loss

    return Run(call, _losses(call))


# ------------------------------------------------------------------------------------------------ JAX: one jitted step


def _jax_step(net: Network, unravel: Callable | None) -> Callable:
    import jax
    import jax.numpy as jnp

    def loss_of(params: Any, x: Any, y: Any) -> Any:
        params = unravel(params) if unravel else params
        for i, (w, b) in enumerate(params):
            x = x @ w + b
            x = jax.nn.relu(x) if i < len(params) - 1 else x
        if net.classify:
            return -jnp.take_along_axis(jax.nn.log_softmax(x), y[:, None], axis=1).mean()
        return jnp.mean((x - y) ** 2)

    def step(state: Any, x: Any, y: Any) -> Any:
        loss, grads = jax.value_and_grad(loss_of)(state[0], x, y)
        return jax_adam(state, grads, LR), loss

    return step


def _jax(net: Network, inputs: Inputs, flat: bool = False) -> Run:
    """`flat`: all parameters ravelled into one array, by hand; JAX spends less time on passing them in and out."""
    import jax
    import jax.numpy as jnp
    from jax.flatten_util import ravel_pytree

    weights = list(weights_of(inputs).values())
    params = [(jnp.asarray(w.T.copy()), jnp.asarray(b)) for w, b in zip(weights[::2], weights[1::2], strict=True)]
    unravel = None
    if flat:
        params, unravel = ravel_pytree(params)
    state = (params, jax.tree.map(jnp.zeros_like, params), jax.tree.map(jnp.zeros_like, params), jnp.int32(0))
    y = inputs["y"].astype(np.int32) if net.classify else inputs["y"]
    data = cycle([(jnp.asarray(a), jnp.asarray(b)) for a, b in zip(inputs["x"], y, strict=True)])
    f = jax.jit(_jax_step(net, unravel), donate_argnums=0)

    def call() -> Any:
        nonlocal state
        state, loss = f(state, *next(data))
        return loss.block_until_ready()

    return Run(call, _losses(call))


def train(net: Network) -> Case:
    """One step; the answer is the loss of the first steps."""
    jax = {"jit, donated": lambda i: _jax(net, i)}
    return Case(
        "train",
        net.name,
        net.inputs,
        lambda i: _numpy(net, i, np.float64).answer(),
        {
            "fastnn": {"as written": lambda i: _eager("fastnn", net, i)},
            "numpy": {"by hand": lambda i: _numpy(net, i)},
            "torch": {
                "fused Adam": lambda i: _eager("torch", net, i, fused=True),
                "foreach Adam": lambda i: _eager("torch", net, i, foreach=True),
            },
            "torch:compile": {
                "loss compiled, fused Adam": lambda i: _compiled(net, i, whole=False),
                "loss and Adam compiled": lambda i: _compiled(net, i, whole=True),
            },
            "jax": jax,
            "jax:async": jax,
            "jax:flat": {"jit, donated, one array": lambda i: _jax(net, i, flat=True)},
        },
        bound=1e-4,
        flops=net.flops,
    )


CASES = [train(Network((8, 64, 64, 1), 32, classify=False)), train(Network((784, 256, 128, 10), 128, classify=True))]
