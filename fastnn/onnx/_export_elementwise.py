"""Writers of what works element by element, and of reductions."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ._export_errors import ExportError
from ._export_graph import Graph, Value
from ._export_sizes import Dim
from ._export_table import writes


def operand(g: Graph, x: Value, dtype: Any) -> str:
    """An operand, number, array or tensor, in the type of the computation."""
    if isinstance(x, int | float | bool):
        return g.constant(x, dtype)
    if isinstance(x, Dim):
        return g.cast(x, dtype)
    if not hasattr(x, "dtype"):
        x = np.asarray(x)
    return g.value(x) if x.dtype == dtype else g.cast(x, dtype)


def common(*values: Any) -> Any:
    """The type in which operands are compared: numbers follow the tensors."""
    typed = [x.dtype for x in values if hasattr(x, "dtype")]
    return np.result_type(*typed) if typed else np.result_type(*values)


# ----- two operands -----


_OF_BOOLEANS = {"Add": "Or", "Mul": "And", "Max": "Or", "Min": "And"}


def _binary(node: str) -> Callable:
    def write(g: Graph, a: Any, b: Any) -> str:
        dtype = g.result.dtype
        if dtype == np.bool_ and node in _OF_BOOLEANS:
            return getattr(g, _OF_BOOLEANS[node])(operand(g, a, dtype), operand(g, b, dtype))
        return getattr(g, node)(operand(g, a, dtype), operand(g, b, dtype))

    return write


for _name, _node in {"add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div"}.items():
    writes(_name)(_binary(_node))
for _name, _node in {"maximum": "Max", "minimum": "Min", "pow": "Pow"}.items():
    writes(_name)(_binary(_node))


@writes("mod")
def _mod(g: Graph, a: Any, b: Any) -> str:
    dtype = g.result.dtype
    x, y = operand(g, a, dtype), operand(g, b, dtype)
    if dtype.kind != "f":
        return g.Mod(x, y)
    return g.Sub(x, g.Mul(g.Floor(g.Div(x, y)), y))  # the sign of y, as in Python; Mod knows that for integers only


@writes("floordiv")
def _floordiv(g: Graph, a: Any, b: Any) -> str:
    dtype = g.result.dtype
    x, y = operand(g, a, dtype), operand(g, b, dtype)
    if dtype.kind == "f":
        return g.Floor(g.Div(x, y))
    return g.Div(g.Sub(x, g.Mod(x, y)), y)


def _comparison(node: str) -> Callable:
    def write(g: Graph, a: Any, b: Any) -> str:
        dtype = common(a, b)
        return getattr(g, node)(operand(g, a, dtype), operand(g, b, dtype))

    return write


for _name, _node in {"eq": "Equal", "lt": "Less", "le": "LessOrEqual", "gt": "Greater", "ge": "GreaterOrEqual"}.items():
    writes(_name)(_comparison(_node))


@writes("ne")
def _ne(g: Graph, a: Any, b: Any) -> str:
    return g.Not(_comparison("Equal")(g, a, b))


def _logical(node: str) -> Callable:
    def write(g: Graph, a: Any, b: Any) -> str:
        if g.result.dtype != np.bool_:
            raise ExportError("bits of integers (&, |, ^) cannot be exported; only of booleans")
        return getattr(g, node)(operand(g, a, np.bool_), operand(g, b, np.bool_))

    return write


for _name, _node in {"and": "And", "or": "Or", "xor": "Xor", "logical_and": "And", "logical_or": "Or"}.items():
    writes(_name)(_logical(_node))


@writes("invert", "logical_not")
def _not(g: Graph, x: Any) -> str:
    if g.result.dtype != np.bool_:
        raise ExportError("~ of integers cannot be exported; only of booleans")
    return g.Not(operand(g, x, np.bool_))


@writes("where")
def _where(g: Graph, condition: Any, a: Any, b: Any) -> str:
    dtype = g.result.dtype
    return g.Where(operand(g, condition, np.bool_), operand(g, a, dtype), operand(g, b, dtype))


@writes("masked_fill")
def _masked_fill(g: Graph, x: Any, mask: Any, value: Any) -> str:
    return _where(g, mask, value, x)


# ----- one operand -----


def _unary(node: str) -> Callable:
    def write(g: Graph, x: Any, inplace: bool = False) -> Any:
        if node in ("Floor", "Ceil", "Round") and g.result.dtype.kind != "f":  # which take no integers
            return x
        return getattr(g, node)(operand(g, x, g.result.dtype))

    return write


for _name in (
    "neg", "abs", "sign", "floor", "ceil", "round", "sqrt", "reciprocal", "exp", "log", "sin", "cos", "tanh", "sigmoid",
    "erf", "relu", "softplus",
):  # fmt: skip
    writes(_name)(_unary(_name.capitalize()))


@writes("square")
def _square(g: Graph, x: Any) -> str:
    return g.Mul(x, x)


@writes("rsqrt")
def _rsqrt(g: Graph, x: Any) -> str:
    return g.Reciprocal(g.Sqrt(operand(g, x, g.result.dtype)))


@writes("log1p")
def _log1p(g: Graph, x: Any) -> str:
    return g.Log(g.Add(x, g.scalar(1, x)))


@writes("expm1")
def _expm1(g: Graph, x: Any) -> str:
    return g.Sub(g.Exp(x), g.scalar(1, x))


@writes("isnan")
def _isnan(g: Graph, x: Any) -> str:
    return g.IsNaN(x)


@writes("isinf")
def _isinf(g: Graph, x: Any) -> str:
    return g.IsInf(x)


@writes("isfinite")
def _isfinite(g: Graph, x: Any) -> str:
    return g.Not(g.Or(g.IsNaN(x), g.IsInf(x)))


@writes("clamp", "clip")
def _clamp(g: Graph, x: Any, min: Any = None, max: Any = None) -> str:
    dtype = g.result.dtype
    result = operand(g, x, dtype)
    if min is not None:
        result = g.Max(result, operand(g, min, dtype))
    return result if max is None else g.Min(result, operand(g, max, dtype))


@writes("relu6")
def _relu6(g: Graph, x: Any, inplace: bool = False) -> str:
    return g.Clip(x, g.scalar(0, x), g.scalar(6, x))


@writes("hardswish")
def _hardswish(g: Graph, x: Any, inplace: bool = False) -> str:
    return g.HardSwish(operand(g, x, g.result.dtype))


@writes("leaky_relu")
def _leaky_relu(g: Graph, x: Any, negative_slope: float = 0.01, inplace: bool = False) -> str:
    return g.LeakyRelu(x, alpha=float(negative_slope))


@writes("elu")
def _elu(g: Graph, x: Any, alpha: float = 1.0, inplace: bool = False) -> str:
    return g.Elu(x, alpha=float(alpha))


@writes("silu")
def _silu(g: Graph, x: Any, inplace: bool = False) -> str:
    return g.Mul(x, g.Sigmoid(x))


@writes("gelu")
def _gelu(g: Graph, x: Any, approximate: str = "none") -> str:
    return gelu(g, x, g.result.dtype, approximate)


def gelu(g: Graph, x: Any, dtype: Any, approximate: str = "none") -> str:
    """x Phi(x), spelled out: the node of that name is newer than many runtimes."""
    half, one = g.scalar(0.5, dtype), g.scalar(1, dtype)
    if approximate == "none":
        inner = g.Erf(g.Div(x, g.scalar(np.sqrt(2), dtype)))
    else:
        cubic = g.Mul(g.Mul(x, x), g.Mul(x, g.scalar(0.044715, dtype)))
        inner = g.Tanh(g.Mul(g.Add(x, cubic), g.scalar(np.sqrt(2 / np.pi), dtype)))
    return g.Mul(g.Mul(x, g.Add(inner, one)), half)


def activated(g: Graph, x: Any, dtype: Any, activation: str | None) -> str:
    """What a fused layer does at its end."""
    if activation is None:
        return x
    if activation == "gelu":
        return gelu(g, x, dtype)
    if activation == "relu6":
        return g.Clip(x, g.scalar(0, dtype), g.scalar(6, dtype))
    if activation == "silu":
        return g.Mul(x, g.Sigmoid(x))
    return g.HardSwish(x) if activation == "hardswish" else getattr(g, activation.capitalize())(x)


@writes("prelu")
def _prelu(g: Graph, x: Any, weight: Any) -> str:
    if weight.ndim == 1 and weight.shape[0] > 1:
        weight = g.Reshape(weight, g.ints([weight.shape[0], *[1] * (x.ndim - 2)]))
    return g.PRelu(x, weight)


@writes("to", "as_tensor", "tensor")
def _to(g: Graph, x: Any, *_: Any, **__: Any) -> Any:
    return x if x.dtype == g.result.dtype else g.cast(x, g.result.dtype)


@writes("dropout")
def _dropout(g: Graph, x: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    if training and p:
        raise ExportError("dropout that is always on cannot be exported: a graph draws no random numbers")
    return x


# ----- along axes -----


for _name, _node in {"softmax": "Softmax", "log_softmax": "LogSoftmax"}.items():
    writes(_name)(
        lambda g, x, dim=-1, dtype=None, node=_node: getattr(g, node)(operand(g, x, g.result.dtype), axis=int(dim))
    )


def reduced(g: Graph, node: str, x: Value, axes: Any, keepdim: bool) -> str:
    """A reduction over one axis, several or all (None)."""
    if axes is not None:
        axes = g.ints([axes] if isinstance(axes, int) else list(axes))
    return getattr(g, node)(x, axes, keepdims=int(keepdim))


def _reduction(node: str) -> Callable:
    def write(
        g: Graph, x: Any, dim: Any = None, keepdim: bool = False, axis: Any = None, keepdims: bool | None = None
    ) -> str:
        return reduced(g, node, operand(g, x, g.result.dtype), *_axes(dim, keepdim, axis, keepdims))

    return write


def _axes(dim: Any, keepdim: bool, axis: Any, keepdims: bool | None) -> tuple[Any, bool]:
    return (axis if dim is None else dim), keepdim if keepdims is None else keepdims


for _name, _node in {
    "sum": "ReduceSum", "mean": "ReduceMean", "prod": "ReduceProd", "logsumexp": "ReduceLogSumExp",
}.items():  # fmt: skip
    writes(_name)(_reduction(_node))


def _extreme(reduce: str, pairwise: str) -> Callable:
    def write(g: Graph, x: Any, dim: Any = None, *args: Any, **kwargs: Any) -> str:
        if hasattr(dim, "dtype") and not isinstance(dim, np.integer):  # of two tensors
            return _binary(pairwise)(g, x, dim)
        return _reduction(reduce)(g, x, dim, *args, **kwargs)

    return write


writes("amax", "max")(_extreme("ReduceMax", "Max"))
writes("amin", "min")(_extreme("ReduceMin", "Min"))


def _over_booleans(node: str) -> Callable:
    def write(
        g: Graph, x: Any, dim: Any = None, keepdim: bool = False, axis: Any = None, keepdims: bool | None = None
    ) -> str:
        return g.cast(reduced(g, node, g.cast(operand(g, x, np.bool_), np.int32), *_axes(dim, keepdim, axis, keepdims)),
                      np.bool_)  # fmt: skip

    return write


writes("all")(_over_booleans("ReduceMin"))
writes("any")(_over_booleans("ReduceMax"))


@writes("var")
def _var(
    g: Graph,
    x: Any,
    dim: Any = None,
    correction: float = 1,
    keepdim: bool = False,
    axis: Any = None,
    keepdims: bool | None = None,
    unbiased: bool | None = None,
) -> str:
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    correction = correction if unbiased is None else int(unbiased)
    axes, keep = _axes(dim, keepdim, axis, keepdims)
    centred = g.Sub(x, reduced(g, "ReduceMean", x, axes, True))
    squares = reduced(g, "ReduceSum", g.Mul(centred, centred), axes, keep)
    listed = range(x.ndim) if axes is None else [axes] if isinstance(axes, int) else axes
    count: Any = 1
    for a in listed:
        count = count * x.shape[a]
    return g.Div(squares, operand(g, count - correction, x.dtype))


@writes("std")
def _std(g: Graph, x: Any, *args: Any, **kwargs: Any) -> str:
    return g.Sqrt(_var(g, x, *args, **kwargs))


@writes("norm")
def _norm(g: Graph, x: Any, p: float = 2, dim: Any = None, keepdim: bool = False) -> str:
    if p in (1, 2, "fro"):
        return reduced(g, "ReduceL1" if p == 1 else "ReduceL2", x, dim, keepdim)
    if p in (np.inf, -np.inf):
        return reduced(g, "ReduceMax" if p > 0 else "ReduceMin", g.Abs(x), dim, keepdim)
    powers = reduced(g, "ReduceSum", g.Pow(g.Abs(x), g.scalar(p, x)), dim, keepdim)
    return g.Pow(powers, g.scalar(1 / p, x))


def _position(node: str) -> Callable:
    def write(g: Graph, x: Any, dim: int | None = None, keepdim: bool = False, axis: int | None = None) -> str:
        dim = axis if dim is None else dim
        if dim is None:
            flat = getattr(g, node)(g.Reshape(x, g.ints([-1])), axis=0, keepdims=0)
            return g.Reshape(flat, g.ints([1] * x.ndim)) if keepdim else flat
        return getattr(g, node)(x, axis=int(dim), keepdims=int(keepdim))

    return write


writes("argmax")(_position("ArgMax"))
writes("argmin")(_position("ArgMin"))


@writes("cumsum")
def _cumsum(g: Graph, x: Any, dim: int = 0) -> str:
    return g.CumSum(operand(g, x, g.result.dtype), g.constant(int(dim), np.int64))


def _ordered(which: int) -> Callable:
    def write(g: Graph, x: Any, dim: int = -1, descending: bool = False) -> str:
        count = g.ints([x.shape[dim]])
        return g.TopK(x, count, axis=int(dim), largest=int(descending), sorted=1, outputs=2)[which]

    return write


@writes("topk")
def _topk(g: Graph, x: Any, k: int, dim: int = -1, largest: bool = True) -> Any:
    return g.TopK(x, g.ints([k]), axis=int(dim), largest=int(largest), sorted=1, outputs=2)


writes("sort")(_ordered(0))
writes("argsort")(_ordered(1))
