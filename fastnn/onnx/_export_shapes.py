"""Writers of what moves elements: shapes, slices, indices, padding; and of tensors made from nothing."""

from typing import Any

import numpy as np

from ._export_elementwise import operand
from ._export_errors import ExportError
from ._export_graph import MOST, Graph, Value
from ._export_sizes import Dim, Size
from ._export_table import writes


@writes("reshape")
def reshape(g: Graph, x: Any, shape: Any) -> str:
    """A dynamic size that stays where it was is written 0 (as before), one that is left over -1 (what is left)."""
    sizes = list(shape) if isinstance(shape, tuple | list) else [shape]
    own = x.shape
    if 0 in g.result.shape:  # then 0 is a size
        return g.Reshape(x, g.ints(sizes), allowzero=1)
    for i, n in enumerate(sizes[: x.ndim]):
        if isinstance(n, Dim) and isinstance(own[i], Dim) and own[i].values == n.values:
            sizes[i] = 0
    dynamic = [i for i, n in enumerate(sizes) if isinstance(n, Dim)]
    if len(dynamic) == 1 and not any(n == -1 for n in sizes if isinstance(n, int)):
        sizes[dynamic[0]] = -1
    return g.Reshape(x, g.ints(sizes))


@writes("flatten")
def _flatten(g: Graph, x: Any, start_dim: int = 0, end_dim: int = -1) -> str:
    if x.ndim == 0:
        return g.Reshape(x, g.ints([1]))
    start, end = start_dim % x.ndim, end_dim % x.ndim
    product: Size = 1
    for n in x.shape[start : end + 1]:
        product = product * n
    return reshape(g, x, (*x.shape[:start], product, *x.shape[end + 1 :]))


@writes("permute")
def _permute(g: Graph, x: Any, dims: Any) -> str:
    order = range(x.ndim - 1, -1, -1) if dims is None else [d % x.ndim for d in dims]
    return g.Transpose(x, perm=list(order))


@writes("transpose", "swapaxes")
def _transpose(g: Graph, x: Any, dim0: int, dim1: int) -> str:
    order = list(range(x.ndim))
    order[dim0], order[dim1] = order[dim1], order[dim0]
    return g.Transpose(x, perm=order)


@writes("squeeze")
def _squeeze(g: Graph, x: Any, dim: Any = None) -> Any:
    dims = range(x.ndim) if dim is None else [dim] if isinstance(dim, int) else dim
    ones = [d % x.ndim for d in dims if x.shape[d] == 1]
    return g.Squeeze(x, g.ints(ones)) if ones else x


@writes("unsqueeze")
def _unsqueeze(g: Graph, x: Any, dim: int) -> str:
    return g.Unsqueeze(x, g.ints([dim]))


@writes("broadcast_to", "expand")
def _broadcast_to(g: Graph, x: Any, shape: Any) -> str:
    sizes = list(shape) if isinstance(shape, tuple | list) else [shape]
    return g.Expand(x, g.ints([1 if not isinstance(n, Dim) and n == -1 else n for n in sizes]))


@writes("tile")
def _tile(g: Graph, x: Any, dims: Any) -> str:
    times = list(dims) if isinstance(dims, tuple | list) else [dims]
    lead = len(times) - x.ndim
    if lead > 0:
        x = g.Unsqueeze(x, g.ints(list(range(lead))))
    return g.Tile(x, g.ints([1] * -lead + times))


def piece(g: Graph, x: Value, axis: int, start: Size | None, stop: Size | None, step: int = 1) -> str:
    """x[..., start:stop:step, ...] along one axis."""
    first = (0 if step > 0 else MOST) if start is None else start
    last = (MOST if step > 0 else -MOST) if stop is None else stop
    return g.Slice(x, g.ints([first]), g.ints([last]), g.ints([axis]), g.ints([step]))


@writes("flip")
def _flip(g: Graph, x: Any, dims: Any) -> Any:
    axes = [dims] if isinstance(dims, int) else list(dims)
    for axis in axes:
        x = piece(g, x, axis, None, None, -1)
    return x


@writes("roll")
def _roll(g: Graph, x: Any, shifts: Any, dims: Any = None) -> Any:
    if dims is None:
        raise ExportError("roll is exported along axes only: pass dims")
    pairs = zip(*([v] if isinstance(v, int) else v for v in (shifts, dims)), strict=True)
    sizes = x.shape
    for shift, axis in pairs:
        begin = _beginning(sizes[axis], shift)
        if isinstance(begin, Dim) or begin:
            x = g.Concat(piece(g, x, axis, begin, None), piece(g, x, axis, None, begin), axis=axis)
    return x


def _beginning(size: Size, shift: int) -> Size:
    """Where an axis begins that is rolled, counted from its end: -(shift % size), and 0 if it is empty.

    A Dim for a dynamic one, even where arithmetic gives a number, because all worlds agree by chance.
    """
    if not isinstance(size, Dim):
        return -(shift % max(1, size))
    sizes = tuple(max(1, n) for n in size.values)
    rest = Dim(tuple(shift % n for n in sizes), ("Mod", shift, Dim(sizes, ("Max", size, 1))))
    return Dim(tuple(-n for n in rest.values), ("Sub", 0, rest))


@writes("cat", "concatenate")
def _cat(g: Graph, tensors: Any, dim: int = 0) -> str:
    dtype = g.result.dtype
    return g.Concat(*(operand(g, t, dtype) for t in tensors), axis=int(dim))


@writes("stack")
def _stack(g: Graph, tensors: Any, dim: int = 0) -> str:
    dtype, axis = g.result.dtype, dim % g.result.ndim
    return g.Concat(*(g.Unsqueeze(operand(g, t, dtype), g.ints([axis])) for t in tensors), axis=axis)


@writes("split")
def _split(g: Graph, x: Any, split_size: Any, dim: int = 0) -> tuple:
    if isinstance(x.shape[dim], Dim) and isinstance(split_size, int):
        raise ExportError("split of a dynamic axis into pieces of one size: their number would depend on it")
    parts = [part.shape[dim] for part in g.result] if isinstance(split_size, int) else list(split_size)
    made = g.Split(x, g.ints(parts), axis=int(dim), outputs=len(parts))
    return made if len(parts) > 1 else (made,)


@writes("chunk")
def _chunk(g: Graph, x: Any, chunks: int, dim: int = 0) -> tuple:
    if isinstance(x.shape[dim], Dim):
        raise ExportError("chunk of a dynamic axis: the number of pieces could depend on its size")
    return _split(g, x, [part.shape[dim] for part in g.result], dim)


@writes("unbind")
def _unbind(g: Graph, x: Any, dim: int = 0) -> tuple:
    if isinstance(x.shape[dim], Dim):
        raise ExportError("a loop over a dynamic axis (or unbind): a graph has no Python loops")
    return tuple(g.Gather(x, g.constant(i, np.int64), axis=int(dim)) for i in range(x.shape[dim]))


for _name, _upper in {"tril": 0, "triu": 1}.items():
    writes(_name)(lambda g, x, diagonal=0, upper=_upper: g.Trilu(x, g.constant(int(diagonal), np.int64), upper=upper))


# ----- indices -----


@writes("getitem")
def _getitem(g: Graph, x: Any, key: Any) -> Any:
    keys = list(key) if isinstance(key, tuple) else [key]
    if sum(_advanced(k) for k in keys) > 1:
        raise ExportError("an index with more than one tensor in it cannot be exported")
    if not any(k is Ellipsis for k in keys):
        keys.append(Ellipsis)
    missing = x.ndim - sum(k is not None and k is not Ellipsis for k in keys)
    axis, result = 0, x
    slices: list[tuple[int, slice]] = []
    later: list[tuple[str, int, Any]] = []
    for k in keys:
        if k is Ellipsis:
            axis += missing
            continue
        if k is None:
            later.append(("new", axis, None))
            continue
        if isinstance(k, slice):
            if k != slice(None):
                slices.append((axis, k))
            axis += 1
            continue
        later.append(("take", axis, k))
        axis += 1
    if slices:
        result = _sliced(g, x, slices)
    takes = [i for i, k in enumerate(keys) if not (k is None or k is Ellipsis or isinstance(k, slice))]
    return _taken(g, result, later, bool(takes) and takes[-1] - takes[0] >= len(takes))


def _advanced(key: Any) -> bool:
    return not (key is None or key is Ellipsis or isinstance(key, slice | int | np.integer | Dim))


def _sliced(g: Graph, x: Any, slices: list[tuple[int, slice]]) -> str:
    starts, stops, steps = [], [], []
    for axis, s in slices:
        step, size = 1 if s.step is None else int(s.step), x.shape[axis]
        if step < 0 and isinstance(s.start, int) and isinstance(size, int) and s.start < -size:
            s = slice(0, 0)  # nothing, where the node would begin at the first
        starts.append((0 if step > 0 else MOST) if s.start is None else s.start)
        stops.append((MOST if step > 0 else -MOST) if s.stop is None else s.stop)
        steps.append(step)
    return g.Slice(x, g.ints(starts), g.ints(stops), g.ints([axis for axis, _ in slices]), g.ints(steps))


def _taken(g: Graph, x: Any, later: list[tuple[str, int, Any]], apart: bool) -> Any:
    """Integers and index tensors, then new axes; positions count the axes of the sliced tensor.

    `apart`: something stands between a tensor and an integer. Then, as in NumPy, the tensor's axes come first.
    """
    shift = 0
    front: range | None = None
    for kind, axis, key in later:
        at = axis + shift
        if kind == "new":
            x = g.Unsqueeze(x, g.ints([at]))
            shift += 1
        elif _advanced(key):
            index = key if hasattr(key, "dtype") else np.asarray(key)
            if index.dtype.kind not in "iu":
                raise ExportError("an index of booleans cannot be exported: how much it takes depends on values")
            x = g.Gather(x, operand(g, index, np.int64), axis=at)
            shift += index.ndim - 1
            front = range(at, at + index.ndim)
        else:
            x = g.Gather(x, key if isinstance(key, Dim) else g.constant(int(key), np.int64), axis=at)
            shift -= 1
    if not apart or not front or not front.start:
        return x
    return g.Transpose(x, perm=[*front, *(axis for axis in range(g.result.ndim) if axis not in front)])


@writes("index_select")
def _index_select(g: Graph, x: Any, dim: int, index: Any) -> str:
    return g.Gather(x, operand(g, index, np.int64), axis=int(dim))


@writes("gather")
def _gather(g: Graph, x: Any, dim: int, index: Any) -> str:
    return g.GatherElements(x, operand(g, index, np.int64), axis=int(dim))


@writes("scatter_add")
def _scatter_add(g: Graph, x: Any, dim: int, index: Any, src: Any) -> str:
    index_name, values = operand(g, index, np.int64), operand(g, src, g.result.dtype)
    return g.ScatterElements(x, index_name, values, axis=int(dim), reduction="add")


@writes("scatter")
def _scatter(g: Graph, x: Any, dim: int, index: Any, src: Any) -> str:
    index_name, values = operand(g, index, np.int64), operand(g, src, g.result.dtype)
    if isinstance(src, int | float):
        values = g.Expand(values, g.Shape(index_name))
    return g.ScatterElements(x, index_name, values, axis=int(dim))


@writes("one_hot")
def _one_hot(g: Graph, index: Any, num_classes: int | None = None) -> str:
    if num_classes in (None, -1):
        raise ExportError("one_hot without num_classes: the size would depend on values")
    return g.OneHot(index, g.constant(num_classes, np.int64), g.constant([0, 1], g.result.dtype), axis=-1)


@writes("embedding")
def _embedding(g: Graph, input: Any, weight: Any, padding_idx: int | None = None) -> str:
    return g.Gather(weight, input if hasattr(input, "dtype") else np.asarray(input), axis=0)


# ----- padding -----


@writes("pad")
def _pad(g: Graph, x: Any, pad: Any, mode: str = "constant", value: float | None = None) -> Any:
    axes = [x.ndim - 1 - i for i in range(len(pad) // 2)]
    if mode == "circular":
        for i, axis in enumerate(axes):
            x = _wrapped(g, x, axis, pad[2 * i], pad[2 * i + 1])
        return x
    befores: list[Size] = [0] * x.ndim
    afters = befores.copy()
    for i, axis in enumerate(axes):
        befores[axis], afters[axis] = (n if isinstance(n, Dim) else max(0, n) for n in pad[2 * i : 2 * i + 2])
        first, last = (0 if isinstance(n, Dim) else min(0, n) for n in pad[2 * i : 2 * i + 2])
        if first or last:  # cuts off; a Pad may say so, but few programs listen
            x = piece(g, x, axis, -first, last or None)
    node = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}[mode]
    if not any(isinstance(n, Dim) or n for n in befores + afters):
        return x
    filling = g.scalar(value or 0, g.result) if mode == "constant" else None
    return g.Pad(x, g.ints(befores + afters), filling, mode=node)


def _wrapped(g: Graph, x: Any, axis: int, before: int, after: int) -> str:
    """The end of an axis before it and its beginning behind it."""
    parts = [piece(g, x, axis, -before, None)] if before > 0 else []
    middle = piece(g, x, axis, max(0, -before), after if after < 0 else None) if min(before, after) < 0 else x
    parts.append(middle)
    if after > 0:
        parts.append(piece(g, x, axis, 0, after))
    return g.Concat(*parts, axis=axis) if len(parts) > 1 else middle


# ----- made from nothing, in a size that is dynamic -----


def _full_of(g: Graph, sizes: Any, value: Any) -> str:
    flat = sizes[0] if len(sizes) == 1 and isinstance(sizes[0], tuple | list) else sizes
    return g.Expand(operand(g, value, g.result.dtype), g.ints(list(flat)))


writes("zeros")(lambda g, *shape, **_: _full_of(g, shape, 0))
writes("ones")(lambda g, *shape, **_: _full_of(g, shape, 1))
writes("full")(lambda g, shape, fill_value, **_: _full_of(g, (shape,), fill_value))
writes("zeros_like", "empty_like")(lambda g, x, *_, **__: g.Expand(g.scalar(0, g.result), g.Shape(x)))
writes("ones_like")(lambda g, x, *_, **__: g.Expand(g.scalar(1, g.result), g.Shape(x)))
writes("full_like")(lambda g, x, fill_value, *_, **__: g.Expand(g.scalar(fill_value, g.result), g.Shape(x)))


def counted(g: Graph, start: Size, stop: Size, step: int = 1, dtype: Any = np.int64) -> str:
    """start, start + step, ... below stop, in another type: Range itself is exact in integers."""
    numbers = [g.value(n) if isinstance(n, Dim) else g.constant(n, np.int64) for n in (start, stop, step)]
    made = g.Range(*numbers)
    return made if np.dtype(dtype) == np.int64 else g.cast(made, dtype)


@writes("arange")
def _arange(g: Graph, start: Size, end: Size = None, step: Size = 1, dtype: Any = None, **_: Any) -> str:
    if end is None:
        start, end = 0, start
    if not all(isinstance(n, int | Dim) for n in (start, end, step)):
        raise ExportError("arange of a dynamic size is exported with whole numbers only")
    return counted(g, start, end, step, g.result.dtype)


@writes("sinusoidal_positions")
def _sinusoids(
    g: Graph, length: Size, dim: int, offset: Size = 0, base: float = 10000.0, dtype: Any = np.float32
) -> str:
    """Angles in float64: float32 would be off by 1e-4 at position 1000."""
    position = g.Unsqueeze(counted(g, offset, offset + length, 1, np.float64), g.ints([1]))
    angle = g.Mul(position, g.constant(base ** (-2.0 * np.arange((dim + 1) // 2) / dim)))
    both = [g.Unsqueeze(g.cast(f(angle), g.result.dtype), g.ints([2])) for f in (g.Sin, g.Cos)]
    table = g.Reshape(g.Concat(*both, axis=2), g.ints([0, -1]))
    return piece(g, table, 1, 0, dim) if dim % 2 else table


@writes("rotary_embedding")
def _rotary(g: Graph, x: Any, offset: Size = 0, base: float = 10000.0, interleaved: bool = False) -> str:
    length, dim = x.shape[-2:]
    position = g.Unsqueeze(counted(g, offset, offset + length, 1, np.float64), g.ints([1]))
    angle = g.Mul(position, g.constant(base ** (-2.0 * np.arange(dim // 2) / dim)))
    cos, sin = (g.cast(f(angle), x.dtype) for f in (g.Cos, g.Sin))
    if interleaved:
        a, b = piece(g, x, -1, 0, None, 2), piece(g, x, -1, 1, None, 2)
    else:
        a, b = piece(g, x, -1, 0, dim // 2), piece(g, x, -1, dim // 2, None)
    turned = [g.Sub(g.Mul(a, cos), g.Mul(b, sin)), g.Add(g.Mul(a, sin), g.Mul(b, cos))]
    if not interleaved:
        return g.Concat(*turned, axis=-1)
    pairs = g.Concat(*(g.Unsqueeze(t, g.ints([-1])) for t in turned), axis=-1)
    return g.Reshape(pairs, g.Shape(x))
