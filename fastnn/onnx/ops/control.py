"""Control flow: If, Loop, Scan; sequences and optional values, which are lists and None."""

from typing import Any

import numpy as np

from ... import _ops
from ..._ops import Tensor
from .._plan import Body
from .._registry import op
from .._values import array, numbers, scalar, value
from .shape import concat, split_, squeeze, unsqueeze

LONGEST = 1 << 31  # steps of a loop


@op("If")
def if_(condition: Any, *captured: Any, then_branch: Body, else_branch: Body, outputs: int = 1) -> Any:
    """One of two graphs."""
    return tuple((then_branch if bool(array(condition).reshape(())) else else_branch)([], captured))


@op("Loop")
def loop(most: Any, condition: Any, *rest: Any, body: Body, captures: int = 0) -> Any:
    """A graph again and again, its values carried along; what it scans out is stacked."""
    carried, captured = list(rest[: len(rest) - captures]), rest[len(rest) - captures :]
    going = True if condition is None else bool(array(condition).reshape(()))
    trips = LONGEST if most is None else int(scalar(most))
    scanned: list[list[Any]] = [[] for _ in range(body.results - 1 - len(carried))]
    step = 0
    while going and step < trips:
        again, *outs = body([np.array(step, np.int64), np.array(going), *carried], captured)
        going = bool(array(again).reshape(()))
        for kept, out in zip(scanned, outs[len(carried) :], strict=True):
            kept.append(out)
        carried = outs[: len(carried)]
        step += 1
    return (*carried, *(_stacked(s, 0, e) for s, e in zip(scanned, body.empty[1 + len(carried) :], strict=True)))


def _stacked(parts: list[Any], axis: int, empty: np.ndarray) -> Any:
    if not parts:
        return value(np.moveaxis(empty, 0, axis))
    return _ops.stack(parts, axis) if isinstance(parts[0], Tensor) else np.stack(parts, axis)


@op("Scan", since=9)
def scan(
    *inputs: Any,
    body: Body,
    num_scan_inputs: int,
    scan_input_axes: list[int] | None = None,
    scan_input_directions: list[int] | None = None,
    scan_output_axes: list[int] | None = None,
    scan_output_directions: list[int] | None = None,
    captures: int = 0,
) -> Any:
    """A graph over the slices of its scanned inputs, its states carried along."""
    given, captured = list(inputs[: len(inputs) - captures]), inputs[len(inputs) - captures :]
    states, scans = given[: len(given) - num_scan_inputs], given[len(given) - num_scan_inputs :]
    axes = scan_input_axes or [0] * len(scans)
    back = scan_input_directions or [0] * len(scans)
    lengths = {s.shape[a] for s, a in zip(scans, axes, strict=True)}
    if len(lengths) != 1:
        raise ValueError(f"Scan: inputs of lengths {sorted(lengths)}; expected one length")
    (length,) = lengths
    outs: list[list[Any]] = [[] for _ in range(body.results - len(states))]
    for t in range(length):
        parts = [_slice(s, a, length - 1 - t if d else t) for s, a, d in zip(scans, axes, back, strict=True)]
        made = body([*states, *parts], captured)
        states = made[: len(states)]
        for kept, out in zip(outs, made[len(states) :], strict=True):
            kept.append(out)
    out_axes = scan_output_axes or [0] * len(outs)
    out_back = scan_output_directions or [0] * len(outs)
    empty = body.empty[len(states) :]
    stacked = [_stacked(o[::-1] if d else o, a, e) for o, a, d, e in zip(outs, out_axes, out_back, empty, strict=True)]
    return (*states, *stacked)


def _slice(x: Any, axis: int, at: int) -> Any:
    out = x[(*[slice(None)] * (axis % x.ndim), at)]
    return out if isinstance(out, Tensor) else np.asarray(out)


@op("Scan", until=8)
def old_scan(
    lengths: Any, *inputs: Any, body: Body, num_scan_inputs: int, directions: list[int] | None = None, captures: int = 0
) -> Any:
    """Scan of opset 8: the first axis is a batch, the second is scanned; zeros stand behind what is shorter."""
    given, captured = inputs[: len(inputs) - captures], inputs[len(inputs) - captures :]
    rows = []
    for b in range(given[0].shape[0]):
        row = [_slice(x, 0, b) for x in given]
        if lengths is not None:
            n = numbers(lengths)[b]
            row = [x if i < len(row) - num_scan_inputs else x[:n] for i, x in enumerate(row)]
        how = {"scan_input_directions": directions} if directions else {}
        rows.append(scan(*row, *captured, body=body, num_scan_inputs=num_scan_inputs, captures=captures, **how))
    ends, total = len(given) - num_scan_inputs, given[-1].shape[1]
    outs = [[p if i < ends else _filled(p, total) for p in parts] for i, parts in enumerate(zip(*rows, strict=True))]
    return tuple(_stacked(parts, 0, np.zeros(0)) for parts in outs)


def _filled(x: Any, total: int) -> Any:
    missing = total - x.shape[0]
    return concat(x, value(np.zeros((missing, *x.shape[1:]), x.dtype)), axis=0) if missing else x


@op("SequenceConstruct")
def sequence_construct(*parts: Any) -> Any:
    """A sequence of values."""
    return list(parts)


@op("SequenceEmpty")
def sequence_empty(*, dtype: int = 1) -> Any:
    """A sequence of nothing."""
    return []


@op("SequenceAt")
def sequence_at(parts: list, at: Any) -> Any:
    """One value of a sequence."""
    return parts[_place("SequenceAt", parts, at)]


def _place(name: str, parts: list, at: Any) -> int:
    where = int(scalar(at))
    if not -len(parts) <= where < len(parts):
        raise IndexError(f"{name}: position {where} of {len(parts)}")
    return where


@op("SequenceLength")
def sequence_length(parts: list) -> Any:
    """How many values there are."""
    return np.array(len(parts), np.int64)


@op("SequenceInsert")
def sequence_insert(parts: list, part: Any, at: Any = None) -> Any:
    """A sequence with one value more."""
    where = len(parts) if at is None else int(scalar(at))
    if not -len(parts) <= where <= len(parts):
        raise IndexError(f"SequenceInsert: position {where} of {len(parts)}")
    out = list(parts)
    out.insert(where, part)
    return out


@op("SequenceErase")
def sequence_erase(parts: list, at: Any = None) -> Any:
    """A sequence without one of its values."""
    out = list(parts)
    del out[_place("SequenceErase", parts, -1 if at is None else at)]
    return out


@op("ConcatFromSequence")
def concat_from_sequence(parts: list, *, axis: int, new_axis: int = 0) -> Any:
    """The values of a sequence along an axis that is there, or a new one."""
    return concat(*(unsqueeze(p, [axis]) for p in parts) if new_axis else parts, axis=axis)


@op("SplitToSequence")
def split_to_sequence(x: Any, sizes: Any = None, *, axis: int = 0, keepdims: int = 1) -> Any:
    """Pieces along an axis as a sequence."""
    total = x.shape[axis]
    if sizes is None:
        pieces = list(split_(x, [1] * total, axis=axis, outputs=total))
        return pieces if keepdims else [squeeze(p, [axis]) for p in pieces]
    given = numbers(sizes)
    if sizes.ndim == 0:
        if given[0] < 1:
            raise ValueError(f"SplitToSequence: pieces of {given[0]}")
        given = [min(given[0], total - i) for i in range(0, total, given[0])]
    return list(split_(x, given, axis=axis, outputs=len(given)))


@op("SequenceMap")
def sequence_map(parts: list, *rest: Any, body: Body, captures: int = 0) -> Any:
    """A graph on each value of a sequence (and the values of others beside it)."""
    more, captured = rest[: len(rest) - captures], rest[len(rest) - captures :]
    rows = [body([p, *(m[i] if isinstance(m, list) else m for m in more)], captured) for i, p in enumerate(parts)]
    return tuple([row[k] for row in rows] for k in range(body.results))


@op("Optional")
def optional(x: Any = None, *, type: Any = None) -> Any:
    """A value that may be missing."""
    return x


@op("OptionalHasElement")
def optional_has_element(x: Any = None) -> Any:
    """Whether there is a value."""
    return np.array(x is not None)


@op("OptionalGetElement")
def optional_get_element(x: Any) -> Any:
    """The value that is there."""
    if x is None:
        raise ValueError("OptionalGetElement: there is none")
    return x
