"""Whole training steps of a recurrent classifier: the last state of a layer to classes, cross-entropy, Adam."""

from collections.abc import Callable, Iterator
from itertools import cycle
from typing import Any

import numpy as np

from bench.case import Answer, Case, Inputs, Run
from bench.cases.optimizer import jax_adam, numpy_adam
from bench.cases.recurrent import GATES, WEIGHTS, backward, layer_of, weights_for

LR = 1e-3
BATCHES = 4
CHECKED_STEPS = 4
HEAD = ("weight", "bias")


def inputs_for(kind: str, steps: int, batch: int, inputs: int, units: int, classes: int) -> Callable[[], Inputs]:
    """Batches of x (T, B, I) and classes y (B,), the layer's weights and the head's."""

    def make() -> Inputs:
        rng = np.random.default_rng(0)
        bound = units**-0.5
        return {
            "x": rng.standard_normal((BATCHES, steps, batch, inputs), np.float32),
            "y": rng.integers(0, classes, (BATCHES, batch)),
            "weight": rng.uniform(-bound, bound, (classes, units)).astype(np.float32),
            "bias": rng.uniform(-bound, bound, classes).astype(np.float32),
        } | weights_for(kind, inputs, units, rng)

    return make


def _losses(call: Callable[[], Any]) -> Callable[[], Answer]:
    def number(loss: Any) -> float:
        return float(loss.detach() if hasattr(loss, "detach") else loss)

    return lambda: [np.array([number(call()) for _ in range(CHECKED_STEPS)])]


def _numpy_step(kind: str, params: list[np.ndarray], x: np.ndarray, y: np.ndarray) -> tuple[float, list[np.ndarray]]:
    """The loss and the gradients, head first."""
    weight, bias, *weights = params
    zeros = np.zeros((*x.shape[:2], weight.shape[1]))
    h = backward(kind, x, weights, zeros)[0][-1]
    z = h @ weight.T + bias
    z = z - z.max(1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(1, keepdims=True))
    dz = np.exp(log_p)
    dz[np.arange(len(y)), y] -= 1
    dz /= len(y)
    zeros[-1] = dz @ weight
    _, _, *dw = backward(kind, x, weights, zeros)
    return float(-log_p[np.arange(len(y)), y].mean()), [dz.T @ h, dz.sum(0), *dw]


def _numpy(kind: str, inputs: Inputs) -> Answer:
    params = [inputs[n].astype(float) for n in (*HEAD, *WEIGHTS)]
    m, v = [np.zeros_like(p) for p in params], [np.zeros_like(p) for p in params]
    losses = []
    for step, (x, y) in zip(
        range(1, CHECKED_STEPS + 1), cycle(zip(inputs["x"], inputs["y"], strict=True)), strict=False
    ):
        loss, grads = _numpy_step(kind, params, x.astype(float), y)
        for args in zip(params, grads, m, v, strict=True):
            numpy_adam(*args, step, LR)
        losses.append(loss)
    return [np.array(losses)]


def _network(lib: Any, kind: str, inputs: Inputs) -> tuple[Callable, list]:
    layer, head = layer_of(lib, kind, inputs), lib.nn.Linear(*inputs["weight"].shape[::-1])
    head.load_state_dict({n: lib.tensor(inputs[n]) for n in HEAD})

    def loss_of(x: Any, y: Any) -> Any:
        state = layer(x)[1]
        h = state[0] if kind == "LSTM" else state
        return lib.nn.functional.cross_entropy(head(h[0]), y)

    return loss_of, [*layer.parameters(), *head.parameters()]


def _batches(lib: Any, inputs: Inputs) -> Iterator[tuple[Any, Any]]:
    return cycle([(lib.tensor(x), lib.tensor(y)) for x, y in zip(inputs["x"], inputs["y"], strict=True)])


def _eager(module: str, kind: str, inputs: Inputs, compiled: bool = False, **adam: Any) -> Run:
    lib = __import__(module)
    loss_of, parameters = _network(lib, kind, inputs)
    data, opt = _batches(lib, inputs), lib.optim.Adam(parameters, lr=LR, **adam)
    if compiled:
        lib._dynamo.reset()
        loss_of = lib.compile(loss_of, dynamic=False)

    def call() -> Any:
        loss = loss_of(*next(data))
        loss.backward()
        opt.step()
        opt.zero_grad()
        return loss

    return Run(call, _losses(call))


def _jax_cell(kind: str, weights: Any, state: Any, x: Any) -> Any:
    import jax
    import jax.numpy as jnp

    w_ih, w_hh, b_ih, b_hh = weights
    h, c = state
    a, b = x @ w_ih.T + b_ih, h @ w_hh.T + b_hh
    if kind == "LSTM":
        i, f, g, o = jnp.split(a + b, 4, 1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return (jax.nn.sigmoid(o) * jnp.tanh(c), c), None
    (xr, xz, xn), (hr, hz, hn) = jnp.split(a, 3, 1), jnp.split(b, 3, 1)
    z, n = jax.nn.sigmoid(xz + hz), jnp.tanh(xn + jax.nn.sigmoid(xr + hr) * hn)
    return (n + z * (h - n), c), None


def _jax(kind: str, inputs: Inputs) -> Run:
    import jax
    import jax.numpy as jnp

    params = tuple(jnp.asarray(inputs[n]) for n in (*HEAD, *WEIGHTS))
    zeros = jnp.zeros((inputs["x"].shape[2], inputs["weight"].shape[1]), jnp.float32)

    def loss_of(params: Any, x: Any, y: Any) -> Any:
        weight, bias, *weights = params
        (h, _), _ = jax.lax.scan(lambda s, x_t: _jax_cell(kind, weights, s, x_t), (zeros, zeros), x)
        return -jnp.take_along_axis(jax.nn.log_softmax(h @ weight.T + bias), y[:, None], axis=1).mean()

    def step(state: Any, x: Any, y: Any) -> Any:
        loss, grads = jax.value_and_grad(loss_of)(state[0], x, y)
        return jax_adam(state, grads, LR), loss

    f = jax.jit(step, donate_argnums=0)
    state = (params, jax.tree.map(jnp.zeros_like, params), jax.tree.map(jnp.zeros_like, params), jnp.int32(0))
    pairs = zip(inputs["x"], inputs["y"].astype(np.int32), strict=True)
    data = cycle([(jnp.asarray(x), jnp.asarray(y)) for x, y in pairs])

    def call() -> Any:
        nonlocal state
        state, loss = f(state, *next(data))
        return loss.block_until_ready()

    return Run(call, _losses(call))


def train(kind: str, steps: int, batch: int, inputs: int, units: int, classes: int) -> Case:
    """One step; the answer is the loss of the first steps."""
    rows, wide = steps * batch, GATES[kind] * units
    return Case(
        "recurrent_train",
        f"{kind} {inputs}->{units}->{classes} T{steps} B{batch}",
        inputs_for(kind, steps, batch, inputs, units, classes),
        lambda i: _numpy(kind, i),
        {
            "fastnn": {"as written": lambda i: _eager("fastnn", kind, i)},
            "torch": {
                "fused Adam": lambda i: _eager("torch", kind, i, fused=True),
                "foreach Adam": lambda i: _eager("torch", kind, i, foreach=True),
            },
            "torch:compile": {
                "loss compiled, fused Adam": lambda i: _eager("torch", kind, i, compiled=True, fused=True)
            },
            "jax": {"jit, scan, donated": lambda i: _jax(kind, i)},
        },
        bound=1e-4,
        flops=2.0 * rows * wide * (2 * inputs + 3 * units),  # no gradient of x
    )


CASES = [train(kind, 100, 32, 40, 128, 12) for kind in ("LSTM", "GRU")]
