"""Convolution over sequences (N, C, L): forward with constant weights and a bias, and forward with all gradients.

fastnn gets its memory as its own layers hand it on, (N, L, C); the peers know (N, C, L) only, JAX either.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.case import Answer, Case, Inputs, Run, Setup
from bench.cases.conv import EXTREME, WINOGRAD, direct_rms, with_gradients
from bench.runners import graph_ops


@dataclass(frozen=True)
class Convolution1d:
    """x (n, c, length) with k filters of `size`, the output as long as the input."""

    n: int
    c: int
    length: int
    k: int
    size: int
    dilation: int = 1

    @property
    def name(self) -> str:
        return f"1d {self.size} N{self.n} C{self.c} L{self.length} K{self.k}" + (
            f" dilation {self.dilation}" * (self.dilation > 1)
        )

    @property
    def how(self) -> dict[str, int]:
        return {"padding": self.dilation * (self.size // 2), "dilation": self.dilation}

    def inputs(self, backward: bool) -> Inputs:
        rng = np.random.default_rng(0)
        made = {
            "x": rng.standard_normal((self.n, self.c, self.length), np.float32),
            "weight": rng.standard_normal((self.k, self.c, self.size), np.float32)
            * np.float32((self.c * self.size) ** -0.5),
            "bias": rng.standard_normal(self.k, np.float32),
        }
        return made | ({"dy": rng.standard_normal((self.n, self.k, self.length), np.float32)} if backward else {})


def right(task: Convolution1d, inputs: Inputs) -> Answer:
    """In float64, one product per tap: y, or y, dx, dw, db."""
    pad = task.how["padding"]
    x = np.pad(inputs["x"].astype(np.float64), ((0, 0), (0, 0), (pad, pad)))
    w = inputs["weight"].astype(np.float64)
    places = [slice(at, at + task.length) for at in range(0, task.size * task.dilation, task.dilation)]
    y = inputs["bias"][:, None] + sum(w[:, :, i] @ x[:, :, place] for i, place in enumerate(places))
    if "dy" not in inputs:
        return [y]
    dy, dx, dw = inputs["dy"].astype(np.float64), np.zeros_like(x), np.zeros_like(w)
    for i, place in enumerate(places):
        dx[:, :, place] += w[:, :, i].T @ dy
        dw[:, :, i] = np.tensordot(dy, x[:, :, place], ((0, 2), (0, 2)))
    return [y, dx[:, :, pad : pad + task.length], dw, dy.sum((0, 2))]


def _module(lib: Any, task: Convolution1d, inputs: Inputs) -> Any:
    module = lib.nn.Conv1d(task.c, task.k, task.size, **task.how)
    module.load_state_dict({name: lib.tensor(inputs[name]) for name in ("weight", "bias")})
    return module


def _sequence(lib: Any, x: np.ndarray) -> Any:
    if lib.__name__ == "torch":
        return lib.tensor(x)
    return lib.tensor(np.ascontiguousarray(x.transpose(0, 2, 1)).transpose(0, 2, 1))


def _forward(library: str, task: Convolution1d, compiled: bool = False) -> Setup:
    def setup(inputs: Inputs) -> Run:
        lib = __import__(library)
        module, x = _module(lib, task, inputs), _sequence(lib, inputs["x"])
        if library == "fastnn":
            module.freeze()
            return Run(lambda: module(x), lambda: [module(x).numpy()], lib.no_grad)
        module.eval()
        if compiled:
            lib._dynamo.reset()
            module = lib.compile(module, fullgraph=True, dynamic=False, options={"freezing": True})
        context = lib.no_grad if compiled else lib.inference_mode  # compiled code is specialised to this grad mode
        return Run(lambda: module(x), lambda: [module(x).numpy()], context)

    return setup


def _backward(library: str, task: Convolution1d) -> Setup:
    def setup(inputs: Inputs) -> Run:
        lib = __import__(library)
        module, x, dy = _module(lib, task, inputs), *(_sequence(lib, inputs[name]) for name in ("x", "dy"))
        return with_gradients(module, x, dy)

    return setup


def _jax_convolution(task: Convolution1d, last: bool) -> Callable:
    from jax import lax

    layouts = ("NHC", "HIO", "NHC") if last else ("NCH", "OIH", "NCH")

    def f(x: Any, w: Any, bias: Any) -> Any:
        pads = [(task.how["padding"],) * 2]
        y = lax.conv_general_dilated(x, w, (1,), pads, rhs_dilation=(task.dilation,), dimension_numbers=layouts)
        return y + (bias if last else bias[:, None])

    return f


def _jax(task: Convolution1d, last: bool, backward: bool) -> Setup:
    def setup(inputs: Inputs) -> Run:
        import jax

        orders = {"x": (0, 2, 1), "weight": (2, 1, 0), "bias": (0,), "dy": (0, 2, 1)}
        arrays = {k: a.transpose(orders[k]) if last else a for k, a in inputs.items()}
        args = [jax.numpy.asarray(np.ascontiguousarray(a)) for a in arrays.values()]
        g = _jax_convolution(task, last)

        def step(x: Any, w: Any, bias: Any, dy: Any) -> Any:
            y, gradients = jax.vjp(g, x, w, bias)
            return y, *gradients(dy)

        f = jax.jit(step if backward else lambda *a: (g(*a),))
        order = (0, 2, 1), (0, 2, 1), (2, 1, 0), (0,)

        def answer() -> Answer:
            made = [np.asarray(a) for a in f(*args)]
            return [a.transpose(o) if last else a for a, o in zip(made, order, strict=False)]

        return Run(lambda: jax.block_until_ready(f(*args)), answer)

    return setup


def case(task: Convolution1d, backward: bool) -> Case:
    """One convolution for all peers."""
    jax = {"NLC": _jax(task, True, backward), "NCL": _jax(task, False, backward)}
    nodes = [("Conv", ("x", "weight", "bias"), {"pads": [task.how["padding"]] * 2, "dilations": [task.dilation]})]
    forward_peers = {
        "fastnn": {"frozen layer": _forward("fastnn", task)},
        "torch": {"eager": _forward("torch", task)},
        "torch:compile": {"compile": _forward("torch", task, compiled=True)},
        "jax": jax,
        **graph_ops(nodes, ("weight", "bias")),
    }
    peers = {
        "fastnn": {"backward()": _backward("fastnn", task)},
        "torch": {"backward()": _backward("torch", task)},
        "jax": jax,
    }
    terms = task.c * task.size, task.k * task.size, task.n * task.length, task.n * task.length
    allowed = [WINOGRAD * direct_rms(t) for t in (terms if backward else terms[:1])]
    return Case(
        "conv_backward" if backward else "conv",
        task.name,
        lambda: task.inputs(backward),
        lambda inputs: right(task, inputs),
        peers if backward else forward_peers,
        lambda inputs, want: [EXTREME * a * np.sqrt(np.mean(w * w)) for a, w in zip(allowed, want, strict=True)],
        rms=allowed,
        flops=2.0 * task.n * task.length * task.c * task.k * task.size * (3 if backward else 1),
    )


TASKS = [Convolution1d(16, 64, 256, 64, 3), Convolution1d(8, 64, 1024, 64, 5, dilation=4)]
CASES = [*(case(task, False) for task in TASKS), *(case(task, True) for task in TASKS)]
