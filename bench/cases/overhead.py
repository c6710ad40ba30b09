"""What one small operation costs: arrays so small that only the way to the kernel is measured."""

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.case import Answer, Case, Inputs, Run, Setup, random_inputs
from bench.runners import fastnn_op, graph_ops, jax_op, numpy_op, torch_op

SIZE = 8


def _mul(a: Any, b: Any) -> Any:
    return a * b


def _taped_mul(module: str) -> Setup:
    def setup(inputs: Inputs) -> Run:
        lib = __import__(module)
        a, b = (lib.tensor(v, requires_grad=True) for v in inputs.values())
        return Run(lambda: a * b, lambda: [(a * b).detach().numpy()])

    return setup


def mul(taped: bool) -> Case:
    """An element-wise product of 8 elements, recorded for a backward pass or not. JAX records nothing."""
    return Case(
        "overhead",
        f"mul of {SIZE}, {'taped' if taped else 'no_grad'}",
        random_inputs(a=(SIZE,), b=(SIZE,)),
        lambda i: [i["a"].astype(np.float64) * i["b"]],
        {
            "fastnn": {"taped": _taped_mul("fastnn")} if taped else fastnn_op(_mul),
            **({} if taped else {"numpy": numpy_op(_mul)}),
            "torch": {"taped": _taped_mul("torch")} if taped else torch_op(_mul),
            "jax": jax_op(_mul),
        },
    )


def _layer(module: str, taped: bool) -> Setup:
    def setup(inputs: Inputs) -> Run:
        lib = __import__(module)
        layer = lib.nn.Linear(SIZE, SIZE)
        layer.load_state_dict({k: lib.tensor(inputs[k]) for k in ("weight", "bias")})
        x = lib.tensor(inputs["x"])
        if taped:
            return Run(lambda: layer(x), lambda: [layer(x).detach().numpy()])
        layer.eval()
        context = _inference_mode(lib)
        return Run(lambda: layer(x), lambda: [layer(x).numpy()], context)

    return setup


def _inference_mode(lib: Any) -> Any:
    """The library's cheapest mode for inference."""
    return getattr(lib, "inference_mode", None) or lib.no_grad


def linear(taped: bool) -> Case:
    """nn.Linear(8, 8) on one row."""

    def f(x: Any, weight: Any, bias: Any) -> Any:
        return x @ weight.T + bias

    weights = ("weight", "bias")
    nodes = [("Gemm", ("x", *weights), {"transB": 1})]
    others = {} if taped else {"numpy": numpy_op(f), **graph_ops(nodes, weights)}
    return Case(
        "overhead",
        f"Linear({SIZE}, {SIZE}) on a row, {'taped' if taped else 'no_grad'}",
        random_inputs(x=(1, SIZE), weight=(SIZE, SIZE), bias=(SIZE,)),
        lambda i: [f(*(v.astype(np.float64) for v in i.values()))],
        {
            "fastnn": {"nn.Linear": _layer("fastnn", taped)},
            "torch": {"nn.Linear": _layer("torch", taped)},
            "jax": jax_op(f, weights),
            **others,
        },
    )


def _graph(a: Any, b: Any, c: Any, tanh: Callable) -> Any:
    return (tanh(a * b + c) * a).sum()


def _graph_backward(module: str) -> Setup:
    def setup(inputs: Inputs) -> Run:
        lib = __import__(module)
        leaves = [lib.tensor(v, requires_grad=True) for v in inputs.values()]
        tanh = lib.tanh

        def call() -> None:
            for leaf in leaves:
                leaf.grad = None
            _graph(*leaves, tanh).backward()

        def answer() -> Answer:
            call()
            return [leaf.grad.numpy() for leaf in leaves]

        return Run(call, answer)

    return setup


def _jax_graph(inputs: Inputs) -> Run:
    import jax
    import jax.numpy as jnp

    arrays = [jnp.asarray(v) for v in inputs.values()]
    f = jax.jit(jax.grad(lambda a, b, c: _graph(a, b, c, jnp.tanh), argnums=(0, 1, 2)))
    return Run(lambda: jax.block_until_ready(f(*arrays)), lambda: [np.asarray(r) for r in f(*arrays)])


def _graph_right(inputs: Inputs) -> Answer:
    a, b, c = (v.astype(np.float64) for v in inputs.values())
    t = np.tanh(a * b + c)
    inner = a * (1 - t * t)
    return [t + inner * b, inner * a, inner]


def graph() -> Case:
    """Five operations on 8 elements, forward and backward."""
    return Case(
        "overhead",
        "sum(tanh(a b + c) a) forward+backward",
        random_inputs(a=(SIZE,), b=(SIZE,), c=(SIZE,)),
        _graph_right,
        {
            "fastnn": {"backward()": _graph_backward("fastnn")},
            "torch": {"backward()": _graph_backward("torch")},
            "jax": {"jit": _jax_graph},
        },
    )


CASES = [mul(False), mul(True), linear(False), linear(True), graph()]
