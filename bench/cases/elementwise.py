"""Element-wise arithmetic and functions, and reductions, in cache and out of it."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.case import Case, random_inputs
from bench.runners import fastnn_op, graph_ops, jax_op, numpy_op, torch_compiled, torch_op

SIZES = {"1e3": 1_000, "1e5": 100_000, "1e7": 10_000_000}


def erf(x: np.ndarray) -> np.ndarray:
    """SciPy's, or a slow one."""
    try:
        from scipy.special import erf as fast
    except ImportError:
        return np.vectorize(math.erf)(x)
    return fast(x)


def _np_sigmoid(x: Any, out: Any = None) -> Any:
    y = np.negative(x, out=out)
    np.exp(y, out=y)
    y += 1
    return np.reciprocal(y, out=y)


def _np_gelu(x: Any) -> Any:
    return 0.5 * x * (1 + erf(x * type(x.flat[0])(1 / math.sqrt(2))))


def _np_hardswish(x: Any) -> Any:
    return x * np.clip(x + 3, 0, 6) / 6


LIMITS = {"relu6": (0, 6), "clamp": (-0.5, 0.5)}


def _torch_function(name: str) -> Callable:
    def f(*args: Any, **out: Any) -> Any:
        import torch

        if name in ("gelu", "hardswish"):
            return getattr(torch._C._nn, name)(*args, **out)
        if name in ("clamp", "relu6"):
            return torch.clamp(*args, *LIMITS[name], **out)
        if name == "relu":  # torch.relu takes no out=
            return torch.clamp_min(*args, 0, **out) if out else torch.relu(*args)
        return getattr(torch, name)(*args, **out)

    return f


def _jax_gelu(x: Any) -> Any:
    import jax

    return jax.nn.gelu(x, approximate=False)


def _jax(name: str) -> Callable:
    def f(*args: Any) -> Any:
        import jax
        import jax.numpy as jnp

        if name in LIMITS:
            return jnp.clip(*args, *LIMITS[name])
        if name == "hardswish":
            return jax.nn.hard_swish(*args)
        return (getattr(jnp, name, None) or getattr(jax.nn, name))(*args)

    return f


def _fastnn(name: str) -> Callable:
    def f(x: Any) -> Any:
        import fastnn as fnn

        if name == "clamp":
            return x.clamp(*LIMITS[name])
        return getattr(fnn.nn.functional, name)(x) if name in ("relu6", "hardswish") else getattr(x, name)()

    return f


# name: NumPy (with out= or not), flops per element
UNARY: dict[str, tuple[Callable, bool]] = {
    "exp": (np.exp, True),
    "tanh": (np.tanh, True),
    "sigmoid": (_np_sigmoid, True),
    "gelu": (_np_gelu, False),
    "relu": (lambda x, out=None: np.maximum(x, 0, out=out), True),
    "relu6": (lambda x, out=None: np.clip(x, *LIMITS["relu6"], out=out), True),
    "clamp": (lambda x, out=None: np.clip(x, *LIMITS["clamp"], out=out), True),
    "hardswish": (_np_hardswish, False),
}
ONNX = {"exp": "Exp", "tanh": "Tanh", "sigmoid": "Sigmoid", "gelu": "Gelu", "relu": "Relu", "hardswish": "HardSwish"}


def _onnx(name: str) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    if name in LIMITS:
        return "Clip", ("x", *(np.array(limit, np.float32) for limit in LIMITS[name])), {}
    return ONNX[name], ("x",), {}


def unary(name: str, size: str) -> Case:
    """y = f(x)."""
    count = SIZES[size]
    numpy_f, out = UNARY[name]
    return Case(
        "elementwise",
        f"{name} {size}",
        random_inputs(x=(count,)),
        lambda i: [numpy_f(i["x"].astype(np.float64))],
        {
            "fastnn": fastnn_op(_fastnn(name)),
            "numpy": numpy_op(numpy_f, out),
            "torch": torch_op(_torch_function(name), out=True),
            **({"torch:compile": torch_compiled(_torch_function(name))} if count == SIZES["1e5"] else {}),
            "jax": jax_op(_jax_gelu if name == "gelu" else _jax(name), donate=count > 1_000_000),
            **graph_ops([_onnx(name)]),
        },
        bound=2e-6,
        bytes=8.0 * count,
    )


def binary(name: str, size: str) -> Case:
    """z = x + y or x * y, equal shapes."""
    count = SIZES[size]
    numpy_f = {"add": np.add, "mul": np.multiply}[name]

    def f(x: Any, y: Any) -> Any:
        return x + y if name == "add" else x * y

    return Case(
        "elementwise",
        f"{name} {size}",
        random_inputs(x=(count,), y=(count,)),
        lambda i: [numpy_f(i["x"].astype(np.float64), i["y"])],
        {
            "fastnn": fastnn_op(f),
            "numpy": numpy_op(numpy_f, out=True),
            "torch": torch_op(_torch_function(name), out=True),
            "jax": jax_op(f, donate=count > 1_000_000),
            **graph_ops([(name.capitalize(), ("x", "y"), {})]),
        },
        bound=2e-7,
        bytes=12.0 * count,
    )


def row(name: str, rows: int, cols: int) -> Case:
    """z (rows, cols) = x + y or x * y, y (cols) broadcast over the rows: a bias, a scale."""
    case = binary(name, "1e3")
    return Case(
        case.group,
        f"{name} row {rows}x{cols}",
        random_inputs(x=(rows, cols), y=(cols,)),
        case.answer,
        {**case.peers, "jax": jax_op(lambda x, y: x + y if name == "add" else x * y, donate=rows * cols > 1_000_000)},
        case.bound,
        bytes=4.0 * (2 * rows * cols + cols),
    )


def reduction(axis: int | None, rows: int, cols: int) -> Case:
    """Sum over everything, over the rows (axis 0), over the columns (axis 1)."""
    what = {None: "all", 0: "rows", 1: "columns"}[axis]

    def numpy_f(x: Any, out: Any = None) -> Any:
        return np.sum(x, axis=axis, out=out)

    def fastnn_f(x: Any) -> Any:
        return x.sum() if axis is None else x.sum(axis)

    def torch_f(x: Any) -> Any:
        return x.sum() if axis is None else x.sum(axis)

    axes = (np.array([axis]),) if axis is not None else ()
    nodes = [("ReduceSum", ("x", *axes), {"keepdims": 0})]
    return Case(
        "reduction",
        f"sum over {what} {rows}x{cols}",
        random_inputs(x=(rows, cols)),
        lambda i: [np.asarray(i["x"].astype(np.float64).sum(axis=axis))],
        {
            "fastnn": fastnn_op(fastnn_f),
            "numpy": numpy_op(numpy_f, out=axis is not None),
            "torch": torch_op(torch_f),
            "jax": jax_op(fastnn_f),
            **graph_ops(nodes),
        },
        # pairwise or blocked sums stay far below this; a naive float32 loop over a million elements may not
        lambda i, want: [1e-6 * np.abs(i["x"]).astype(np.float64).sum(axis=axis)],
        bytes=4.0 * rows * cols,
    )


CASES = [
    *(binary(name, size) for name in ("add", "mul") for size in SIZES),
    *(row(name, 128, 1000) for name in ("add", "mul")),
    *(unary(name, size) for name in UNARY for size in SIZES),
    *(reduction(axis, rows, cols) for axis in (None, 0, 1) for rows, cols in ((128, 256), (4096, 1024))),
]
