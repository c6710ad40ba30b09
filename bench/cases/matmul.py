"""Matrix products: cubes, few rows, transposed, tall and small shapes; and the linear layer with constant weights.

In the plain products both factors are inputs. The rows marked "constant b" show what ONNX Runtime and OpenVINO gain
when the second factor is a weight known beforehand (they pack it once); fastnn packs it in every call there.
"""

from typing import Any

import numpy as np

from bench.case import Answer, Case, Inputs, Run, Variants, random_inputs
from bench.runners import (
    fastnn_op,
    graph_ops,
    jax_op,
    kernel_op,
    numpy_op,
    onnxruntime_op,
    openvino_op,
    torch_compiled,
    torch_op,
)

CUBES = (16, 32, 64, 128, 256, 512, 1024, 2048)
OTHERS = (  # m, n, k
    *((1, 1024, 1024), (8, 1024, 1024), (32, 1024, 1024), (4096, 64, 64), (64, 10, 128), (64, 256, 784)),
    *((48, 128, 128), (64, 128, 128)),  # as little as two threads share
    (128, 2048, 512),  # b's rows lie two pages apart
)
UNIT = 2.0**-24


def error_bound(inputs: Inputs, want: Answer) -> Any:
    """k u |A| |B|, the bound of every order of summation; two more roundings for a bias."""
    a, b = inputs["a"], inputs["b"]
    a, b = (a.T if a.shape[0] != want[0].shape[0] else a), (b.T if b.shape[1] != want[0].shape[1] else b)
    k = a.shape[1]
    return [(k + 2) * UNIT * (np.abs(a).astype(np.float64) @ np.abs(b) + np.abs(inputs.get("bias", 0)))]


def product(m: int, n: int, k: int) -> Case:
    """c (m, n) = a (m, k) b (k, n)."""
    name = f"{m}x{k} {k}x{n}" if not m == n == k else f"{m}^3"
    nodes = [("MatMul", ("a", "b"), {})]
    jax = jax_op(lambda a, b: a @ b, donate=m * n >= 1 << 18)
    return Case(
        "matmul",
        name,
        random_inputs(a=(m, k), b=(k, n)),
        lambda i: [i["a"].astype(np.float64) @ i["b"]],
        {
            "fastnn": fastnn_op(lambda a, b: a @ b),
            "fastnn:kernel": kernel_op(_kernel),
            "numpy": numpy_op(np.matmul, out=True),
            "torch": torch_op(_torch_matmul, out=True),
            "jax": jax,
            "jax:async": jax,
            **graph_ops(nodes),
            "onnxruntime:constant b": onnxruntime_op(nodes, ("b",)),
            "openvino:constant b": openvino_op(nodes, ("b",)),
        },
        error_bound,
        flops=2.0 * m * n * k,
        bytes=4.0 * (m * k + k * n + m * n),
    )


def transposed(size: int, which: str) -> Case:
    """a^T b or a b^T of square matrices: the products of a backward pass."""
    first, second = which == "a", which == "b"

    def f(a: Any, b: Any) -> Any:
        return (a.T if first else a) @ (b.T if second else b)

    def numpy_f(a: Any, b: Any, out: Any = None) -> Any:
        return np.matmul(a.T if first else a, b.T if second else b, out=out)

    def torch_f(a: Any, b: Any, out: Any = None) -> Any:
        return _torch_matmul(a.T if first else a, b.T if second else b, out=out)

    def kernel_f(kernels: Any, a: Any, b: Any, out: Any = None) -> Any:
        return kernels.matmul(a.T if first else a, b.T if second else b, out=out)

    nodes = [("Gemm", ("a", "b"), {"transA": int(first), "transB": int(second)})]
    jax = jax_op(f, donate=size >= 512)
    return Case(
        "matmul",
        f"{size}^3 {'a^T b' if first else 'a b^T'}",
        random_inputs(a=(size, size), b=(size, size)),
        lambda i: [f(i["a"].astype(np.float64), i["b"].astype(np.float64))],
        {
            "fastnn": fastnn_op(f),
            "fastnn:kernel": kernel_op(kernel_f),
            "numpy": numpy_op(numpy_f, out=True),
            "torch": torch_op(torch_f, out=True),
            "jax": jax,
            "jax:async": jax,
            **graph_ops(nodes),
        },
        lambda i, want: [size * UNIT * f(np.abs(i["a"]).astype(np.float64), np.abs(i["b"]).astype(np.float64))],
        flops=2.0 * size**3,
        bytes=12.0 * size**2,
    )


def linear(m: int, n: int, k: int) -> Case:
    """y (m, n) = x W^T + bias, x (m, k), the weights constant: inference of one layer."""
    weights = ("b", "bias")

    def f(a: Any, b: Any, bias: Any) -> Any:
        return a @ b.T + bias

    def torch_f(a: Any, b: Any, bias: Any) -> Any:
        import torch

        return torch.nn.functional.linear(a, b, bias)

    return Case(
        "linear",
        f"{m}x{k} W {n}x{k}",
        random_inputs(a=(m, k), b=(n, k), bias=(n,)),
        lambda i: [f(*(v.astype(np.float64) for v in i.values()))],
        {
            "fastnn": _fastnn_linear(),
            "numpy": numpy_op(f),
            "torch": torch_op(torch_f),
            "torch:compile": torch_compiled(torch_f, weights),
            "jax": jax_op(f, weights),
            **graph_ops([("Gemm", ("a", "b", "bias"), {"transB": 1})], weights),
        },
        lambda i, want: error_bound({**i, "b": i["b"].T}, want),
        flops=2.0 * m * n * k,
        bytes=4.0 * (n * k + m * (n + k)),
    )


def _torch_matmul(a: Any, b: Any, out: Any = None) -> Any:
    import torch

    return torch.mm(a, b) if out is None else torch.mm(a, b, out=out)


def _kernel(kernels: Any, a: Any, b: Any, out: Any = None) -> Any:
    return kernels.matmul(a, b, out=out)


def _fastnn_linear() -> Variants:
    def layer(inputs: Inputs) -> Run:
        import fastnn as fnn

        m = fnn.nn.Linear(*reversed(inputs["b"].shape))
        m.load_state_dict({"weight": fnn.tensor(inputs["b"]), "bias": fnn.tensor(inputs["bias"])})
        m.freeze()
        x = fnn.tensor(inputs["a"])
        return Run(lambda: m(x), lambda: [m(x).numpy()], fnn.no_grad)

    return {"nn.Linear": layer}


CASES = [
    *(product(s, s, s) for s in CUBES),
    *(product(*shape) for shape in OTHERS),
    *(transposed(s, which) for s in (256, 1024) for which in "ab"),
    *(linear(m, 1024, 1024) for m in (1, 8, 32)),
    linear(1, 768, 256),  # the products of one token in bench/cases/generation.py
]
