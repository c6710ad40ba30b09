"""Softmax, log-softmax, and softmax + cross-entropy forward and backward."""

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.case import Answer, Case, Inputs, Run, Variants, random_inputs
from bench.runners import fastnn_op, graph_ops, jax_op, numpy_op, torch_compiled, torch_op


def _np_softmax(x: Any, out: Any = None) -> Any:
    y = np.subtract(x, x.max(axis=1, keepdims=True), out=out)
    np.exp(y, out=y)
    y /= y.sum(axis=1, keepdims=True)
    return y


def _np_log_softmax(x: Any, out: Any = None) -> Any:
    y = np.subtract(x, x.max(axis=1, keepdims=True), out=out)
    y -= np.log(np.exp(y).sum(axis=1, keepdims=True))
    return y


def softmax(name: str, rows: int, cols: int) -> Case:
    """Over the last dimension of (rows, cols)."""
    numpy_f = {"softmax": _np_softmax, "log_softmax": _np_log_softmax}[name]

    def torch_f(x: Any, **out: Any) -> Any:
        import torch

        return getattr(torch, name)(x, 1, **out)

    def jax_f(x: Any) -> Any:
        import jax

        return getattr(jax.nn, name)(x, axis=1)

    return Case(
        "softmax",
        f"{name} {rows}x{cols}",
        random_inputs(x=(rows, cols)),
        lambda i: [numpy_f(i["x"].astype(np.float64))],
        {
            "fastnn": fastnn_op(lambda x: getattr(x, name)(1)),
            "numpy": numpy_op(numpy_f, out=True),
            "torch": torch_op(torch_f, out=True),
            "torch:compile": torch_compiled(lambda x: torch_f(x)),
            "jax": jax_op(jax_f),
            **graph_ops([({"softmax": "Softmax", "log_softmax": "LogSoftmax"}[name], ("x",), {"axis": 1})]),
        },
        bound=5e-6,
        bytes=8.0 * rows * cols,
    )


def cross_entropy(rows: int, cols: int) -> Case:
    """The mean loss against class indices and its gradient."""

    def inputs() -> Inputs:
        rng = np.random.default_rng(0)
        return {"x": rng.standard_normal((rows, cols), np.float32), "target": rng.integers(0, cols, rows)}

    return Case(
        "softmax",
        f"cross_entropy forward+backward {rows}x{cols}",
        inputs,
        lambda i: _np_cross_entropy(i["x"].astype(np.float64), i["target"]),
        {
            "fastnn": _taped("fastnn"),
            "numpy": {"by hand": _numpy_cross_entropy},
            "torch": _taped("torch"),
            "torch:compile": {"compile": _compiled_cross_entropy},
            "jax": {"jit": _jax_cross_entropy},
        },
        bound=5e-6,
        bytes=8.0 * rows * cols,
    )


def _np_cross_entropy(x: np.ndarray, target: np.ndarray) -> Answer:
    rows = np.arange(len(x))
    y = x - x.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(y).sum(axis=1))
    loss = (log_sum - y[rows, target]).mean()
    dx = np.exp(y - log_sum[:, None])
    dx[rows, target] -= 1
    dx /= len(x)
    return [np.asarray(loss), dx]


def _numpy_cross_entropy(inputs: Inputs) -> Run:
    x, target = inputs["x"], inputs["target"]
    return Run(lambda: _np_cross_entropy(x, target), lambda: _np_cross_entropy(x, target))


def _taped(module: str) -> Variants:
    """fastnn and PyTorch: the same program."""

    def setup(inputs: Inputs) -> Run:
        lib = __import__(module)
        x, target = lib.tensor(inputs["x"], requires_grad=True), lib.tensor(inputs["target"])
        return _loss_and_backward(lib.nn.functional.cross_entropy, x, target)

    return {"backward()": setup}


def _compiled_cross_entropy(inputs: Inputs) -> Run:
    import torch

    torch._dynamo.reset()
    x, target = torch.tensor(inputs["x"], requires_grad=True), torch.tensor(inputs["target"])
    f = torch.compile(torch.nn.functional.cross_entropy, fullgraph=True, dynamic=False)
    return _loss_and_backward(f, x, target)


def _loss_and_backward(f: Callable, x: Any, target: Any) -> Run:
    def call() -> Any:
        x.grad = None
        loss = f(x, target)
        loss.backward()
        return loss

    def answer() -> Answer:
        loss = call().detach().numpy()
        return [np.asarray(loss), x.grad.numpy()]

    return Run(call, answer)


def _jax_cross_entropy(inputs: Inputs) -> Run:
    import jax
    import jax.numpy as jnp

    x, target = jnp.asarray(inputs["x"]), jnp.asarray(inputs["target"].astype(np.int32))

    def loss(x: Any, target: Any) -> Any:
        return -jnp.take_along_axis(jax.nn.log_softmax(x), target[:, None], axis=1).mean()

    f = jax.jit(jax.value_and_grad(loss))
    return Run(lambda: jax.block_until_ready(f(x, target)), lambda: [np.asarray(r) for r in f(x, target)])


CASES = [
    *(softmax(name, *shape) for name in ("softmax", "log_softmax") for shape in ((128, 1000), (4096, 64))),
    cross_entropy(128, 10),
    cross_entropy(128, 1000),
]
