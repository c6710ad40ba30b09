"""Writers of products, dense layers and losses."""

from typing import Any

import numpy as np

from ._export_elementwise import activated, operand, reduced
from ._export_errors import ExportError
from ._export_graph import Graph
from ._export_table import writes

# ----- products -----


@writes("matmul", "mm", "bmm", "dot")
def _matmul(g: Graph, a: Any, b: Any) -> str:
    dtype = g.result.dtype
    return g.MatMul(operand(g, a, dtype), operand(g, b, dtype))


@writes("linear")
def _linear(g: Graph, x: Any, weight: Any, bias: Any = None, activation: str | None = None) -> str:
    dtype = g.result.dtype
    y, w = operand(g, x, dtype), operand(g, weight, dtype)
    b = None if bias is None else operand(g, bias, dtype)
    if x.ndim == 2:
        y = g.Gemm(y, w, b, transB=1)
    else:
        y = g.MatMul(y, g.Transpose(w, perm=[1, 0]))
        y = y if b is None else g.Add(y, b)
    return activated(g, y, dtype, activation)


@writes("outer")
def _outer(g: Graph, a: Any, b: Any) -> str:
    a, b = (operand(g, x, g.result.dtype) for x in (a, b))
    return g.Mul(g.Unsqueeze(a, g.ints([1])), g.Unsqueeze(b, g.ints([0])))


@writes("einsum")
def _einsum(g: Graph, equation: str, *operands: Any) -> str:
    return g.Einsum(*(operand(g, x, g.result.dtype) for x in operands), equation=equation)


# ----- losses -----


@writes("mse_loss")
def _mse_loss(g: Graph, input: Any, target: Any, reduction: str = "mean") -> str:
    d = g.Sub(*(operand(g, x, g.result.dtype) for x in (input, target)))
    return _loss(g, g.Mul(d, d), reduction)


def _loss(g: Graph, x: str, reduction: str) -> str:
    if reduction == "none":
        return x
    return reduced(g, {"mean": "ReduceMean", "sum": "ReduceSum"}[reduction], x, None, False)


@writes("cross_entropy")
def _cross_entropy(
    g: Graph,
    input: Any,
    target: Any,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> str:
    if target.dtype.kind not in "iu" or label_smoothing or input.ndim < 2:
        raise ExportError("cross_entropy is exported for batches with classes as targets and without label smoothing")
    return g.SoftmaxCrossEntropyLoss(
        input, operand(g, target, np.int64), weight, ignore_index=ignore_index, reduction=reduction, outputs=1
    )


@writes("nll_loss")
def _nll_loss(
    g: Graph, input: Any, target: Any, weight: Any = None, ignore_index: int = -100, reduction: str = "mean"
) -> str:
    if input.ndim < 2:
        raise ExportError("nll_loss is exported for batches only")
    return g.NegativeLogLikelihoodLoss(
        input, operand(g, target, np.int64), weight, ignore_index=ignore_index, reduction=reduction
    )


@writes("binary_cross_entropy")
def _binary_cross_entropy(g: Graph, input: Any, target: Any, weight: Any = None, reduction: str = "mean") -> str:
    dtype = input.dtype
    least, one = g.scalar(-100, dtype), g.scalar(1, dtype)

    def logarithm(p: Any) -> str:
        return g.Max(g.Log(p), least)

    y = operand(g, target, dtype)
    loss = g.Add(g.Mul(y, logarithm(input)), g.Mul(g.Sub(one, y), logarithm(g.Sub(one, input))))
    loss = g.Neg(loss)
    return _loss(g, loss if weight is None else g.Mul(loss, weight), reduction)
