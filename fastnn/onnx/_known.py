"""Functions of nodes whose shapes are known: fastnn's ops themselves where they fit, every argument worked out.

After a product of a millisecond each Python line costs ten times what it costs in a loop of its own, for the caches are
cold. So what a node's function finds out from shapes and attributes is found out once.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from .. import _ops, _ops_norm
from .._ops_attention import attend
from .._ops_images import BoundConv2d, adaptive_avg_pool2d, conv_transpose2d, max_pool2d
from .._ops_recurrent import recurrent
from ._graph import Node
from ._values import recorded
from ._views import View
from .ops.activation import by_channel
from .ops.attention import fits, sdpa, total_scale
from .ops.conv import same_pads, window
from .ops.pool import even, geometry

Shapes = list[tuple[int, ...] | None]

_PLAIN: dict[str, Callable] = {
    "Add": _ops.add,
    "Sub": _ops.sub,
    "Mul": _ops.mul,
    "Div": _ops.div,
    "Relu": _ops.relu,
    "Sigmoid": _ops.sigmoid,
    "Tanh": _ops.tanh,
    "MatMul": _ops.matmul,
}


def known_function(node: Node, shapes: Shapes) -> Callable | None:
    """The function of a node that reads tensors of these shapes; None for the general one."""
    if node.domain not in ("", "fastnn") or any(s is None for s, n in zip(shapes, node.inputs, strict=True) if n):
        return None
    if node.op in _PLAIN and node.version >= 7:
        return _PLAIN[node.op]
    made = _MAKERS.get(node.op)
    return None if made is None else made(node, shapes)


def _linear(node: Node, shapes: Shapes) -> Callable:
    activation = node.attributes.get("activation")
    return partial(_ops.linear, activation=activation) if activation else _ops.linear


def _conv(node: Node, shapes: Any) -> Callable | None:
    a = node.attributes
    if len(shapes[0]) != 4 or len(shapes[1]) != 4:
        return None
    by, apart, around = window("Conv", 2, a.get("strides"), a.get("dilations"), a.get("pads"))
    auto = a.get("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        around = same_pads(shapes[0][2:], shapes[1][2:], by, apart, auto == "SAME_UPPER")
    return BoundConv2d(by, _padding(around), apart, a.get("group", 1), a.get("activation"), a.get("max_pool", False))


def _conv_transpose(node: Node, shapes: Any) -> Callable | None:
    a = node.attributes
    if len(shapes[0]) != 4 or a.get("output_shape") or any(a.get("output_padding") or ()):
        return None
    by, apart, around = window("ConvTranspose", 2, a.get("strides"), a.get("dilations"), a.get("pads"))
    if a.get("auto_pad", "NOTSET").startswith("SAME") or any(p < 0 for pair in around for p in pair):
        return None
    how: dict[str, Any] = {"stride": tuple(by), "padding": _padding(around), "dilation": tuple(apart)}
    return partial(conv_transpose2d, groups=a.get("group", 1), activation=a.get("activation"), **how)


def _padding(around: Any) -> Any:
    """Two numbers, which are checked sooner than two pairs, where both sides have as much."""
    return tuple(before for before, _ in around) if all(before == after for before, after in around) else around


def _max_pool(node: Node, shapes: Any) -> Callable | None:
    a = {"strides": None, "dilations": None, "pads": None, "auto_pad": "NOTSET", "ceil_mode": 0, **node.attributes}
    if len(shapes[0]) != 4 or len(node.outputs) > 1:
        return None
    kernel, ceil = a["kernel_shape"], a["ceil_mode"]
    by, apart, around, _ = geometry(
        "MaxPool", shapes[0], kernel, a["strides"], a["dilations"], a["pads"], a["auto_pad"], ceil
    )
    if not even(around, kernel):
        return None
    how: dict[str, Any] = {
        "stride": by,
        "padding": tuple(b for b, _ in around),
        "dilation": apart,
        "ceil_mode": bool(ceil),
    }
    return partial(max_pool2d, kernel_size=tuple(kernel), **how)


def _prelu(node: Node, shapes: Any) -> Callable | None:
    return _ops.prelu if by_channel(len(shapes[0]), shapes[1]) else None


def _softmax(node: Node, shapes: Any) -> Callable | None:
    return partial(_ops.softmax, dim=node.attributes.get("axis", -1)) if node.version >= 13 else None


def _mean_of_channels(node: Node, shapes: Any) -> Callable | None:
    return partial(adaptive_avg_pool2d, output_size=1) if len(shapes[0]) == 4 else None


_REDUCTIONS: dict[str, Callable] = {
    "ReduceSum": _ops.sum,
    "ReduceMean": _ops.mean,
    "ReduceMax": _ops.amax,
    "ReduceMin": _ops.amin,
    "ReduceL2": partial(_ops.norm, p=2),
}


def _reduction(node: Node, shapes: Any) -> Callable | None:
    axes, keep = node.attributes.get("axes"), bool(node.attributes.get("keepdims", 1))
    if not axes or len(node.inputs) > 1:
        return None
    if node.op == "ReduceMean" and len(shapes[0]) == 4 and sorted(a % 4 for a in axes) == [2, 3]:
        return _mean_of_pixels(shapes[0], keep)
    return partial(_REDUCTIONS[node.op], dim=tuple(axes), keepdim=keep)


def _mean_of_pixels(shape: tuple[int, ...], keep: bool) -> Callable:
    """PyTorch's newer exporter writes the mean of each channel so."""
    if keep:
        return partial(adaptive_avg_pool2d, output_size=1)
    return lambda x: adaptive_avg_pool2d(x, 1).reshape(shape[:2])


def _clip(node: Node, shapes: Any) -> Callable | None:
    low, high = (node.attributes.get(key) for key in ("min", "max"))
    if len(node.inputs) > 1 or node.version < 6 or (low is None and high is None):
        return None
    return partial(_ops.clamp, min=low, max=high)


def _layer_norm(node: Node, shapes: Any) -> Callable | None:
    eps, last = node.attributes.get("epsilon", 1e-5), shapes[0][-1:]
    added = node.op == "AddLayerNorm"
    fits = all(s == last for s in shapes[2 if added else 1 :]) and (not added or shapes[1] == shapes[0])
    if not fits or len(shapes[0]) < 1 or node.attributes.get("axis", -1) != -1 or (len(node.outputs) > 1) != added:
        return None
    if added:
        return lambda x, r, w, b=None: _ops_norm.add_layer_norm(x, r, last, w, b, eps)
    return lambda x, w, b=None: _ops_norm.layer_norm(x, last, w, b, eps)


_MAKERS: dict[str, Callable] = {
    "Linear": _linear,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "MaxPool": _max_pool,
    "PRelu": _prelu,
    "Softmax": _softmax,
    "GlobalAveragePool": _mean_of_channels,
    "LayerNormalization": _layer_norm,
    "AddLayerNorm": _layer_norm,
    "Clip": _clip,
    **dict.fromkeys(_REDUCTIONS, _reduction),
}


def packed_attention(node: Node, views: list[View | None], shapes: Shapes) -> Callable | None:
    """Attention of queries, keys and values that are the thirds of one (B, T, 3 N D), which the kernel reads as it is.

    It takes that, the mask and the three factors, and gives what each head sees as the kernel writes it, (B, T, N D).
    """
    q, size = views[0], shapes[0]
    if q is None or size is None or len(size) != 4:
        return None
    b, n, t, d = size
    strides = (t * 3 * n * d, d, 3 * n * d, 1)
    axes = tuple(((s, m),) if m != 1 else () for s, m in zip(strides, size, strict=True))
    for which, view in enumerate(views):
        if view is None or view.base != q.base:
            return None
        if which == 1 and node.attributes["turned"]:
            view = view.permuted((0, 1, 3, 2))
        if view.joined().axes != axes or view.picks != (((n * d, 3), which),):
            return None
    divides = node.attributes["divides"]

    def run(x: Any, mask: Any, *factors: Any) -> Any:
        x = x.reshape(b, t, 3, n, d)
        scale = total_scale(factors, divides)
        if scale is not None and not recorded(mask) and (mask is None or fits(mask.shape, (b, n, t, t))):
            y = attend(x, None, None, mask, scale)
        else:
            parts = [_ops.transpose(p, 1, 2) for p in _ops.unbind(x, 2)]
            y = sdpa(*parts, mask, *factors, turned=0, divides=divides)
        return _ops.transpose(y, 1, 2).reshape(b, t, n * d)

    return run


def recurrent_layer(node: Node) -> Callable | None:
    """The kernel's own result, y as (T, B, directions H), for a layer that reads and writes time first."""
    kind, cell = node.attributes["kind"], node.attributes["cell"]
    if node.attributes.get("layout") or node.attributes["direction"] == "reverse":
        return None
    return lambda x, h0, c0, *weights: recurrent(kind, cell, x, h0, c0, weights)
