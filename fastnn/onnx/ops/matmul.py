"""Products: MatMul, Gemm, Einsum, and the dense layer that the passes make of them."""

from typing import Any

import numpy as np

from ... import _ops
from ..._ops import Tensor
from .._registry import op
from .._values import array, value


@op("MatMul", half=True)
def matmul(a: Any, b: Any) -> Any:
    """Matrix products, as NumPy's matmul."""
    return _ops.matmul(a, b) if isinstance(a, Tensor) else np.asarray(np.matmul(a, b))


@op("Gemm", half=True)
def gemm(
    a: Any,
    b: Any,
    c: Any = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
    broadcast: int = 1,
) -> Any:
    """alpha A B + beta C of matrices."""
    if not isinstance(a, Tensor):
        y = alpha * ((a.T if transA else a) @ (b.T if transB else b))
        return np.asarray(y if c is None else y + beta * c).astype(a.dtype)
    a = a.T if transA else a
    if alpha == 1 and beta == 1 and transB and (c is None or (c.ndim == 1 and c.shape[0] == b.shape[0])):
        return _ops.linear(a, b, c)
    y = _ops.matmul(a, b.T if transB else b)
    y = y if alpha == 1 else y * alpha
    return y if c is None else y + (c if beta == 1 else c * beta)


@op("Linear", domain="fastnn")
def linear(x: Any, weight: Any, bias: Any = None, *, activation: str | None = None) -> Any:
    """act(x W^T + b), the weight as (out, in)."""
    return _ops.linear(x, weight, bias, activation)


@op("Einsum", half=True)
def einsum(*operands: Any, equation: str) -> Any:
    """A sum of products by its equation."""
    if isinstance(operands[0], Tensor):
        return _einsum(equation, operands)
    return np.asarray(np.einsum(equation, *operands))


def _einsum(equation: str, operands: tuple) -> Any:
    try:
        return _ops.einsum(equation.replace(" ", ""), *operands)
    except (ValueError, NotImplementedError):
        if any(o.requires_grad for o in operands):
            raise
        return value(np.einsum(equation, *(array(o) for o in operands)))


@op("Det", half=True)
def det(x: Any) -> Any:
    """Determinants of square matrices, in float64 on the host."""
    data = array(x)
    return value(np.asarray(np.linalg.det(data.astype(np.float64))).astype(data.dtype))
