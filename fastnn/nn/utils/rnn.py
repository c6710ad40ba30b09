"""Sequences of different lengths: padded to one length in a tensor, or packed, step by step, without the padding."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ... import _ops, _ops_recurrent
from ..._checks import integer, number
from ..._ops import Tensor

__all__ = [
    "PackedSequence", "pack_padded_sequence", "pack_sequence", "pad_packed_sequence", "pad_sequence",
    "unpack_sequence", "unpad_sequence",
]  # fmt: skip


class PackedSequence(NamedTuple):
    """Sequences without padding, of `pack_sequence` or `pack_padded_sequence`; recurrent layers take and give them.

    Attributes
    ----------
    data : Tensor (N, ...)
        The first element of every sequence, the longest one's before, then the second of all that have one, ...
    batch_sizes : Tensor (T,), int64
        How many sequences there are at each step.
    sorted_indices : Tensor (B,), int64, or None
        The place in the caller's order of each sequence, from the longest on; None: they came in that order.
    unsorted_indices : Tensor (B,), int64, or None
        The way back.
    """

    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None = None
    unsorted_indices: Tensor | None = None

    def to(self, dtype: Any) -> "PackedSequence":
        """Return the same sequences with `data` in another dtype; "cpu", the only device, changes nothing."""
        return self._replace(data=self.data.to(dtype))

    def float(self) -> "PackedSequence":
        """Return it in float32; see `to`."""
        return self.to(np.float32)

    def double(self) -> "PackedSequence":
        """Return it in float64; see `to`."""
        return self.to(np.float64)

    def cpu(self) -> "PackedSequence":
        """Return it as it is."""
        return self


class Packing(NamedTuple):
    """Where the elements of padded sequences lie: what packing and padding need."""

    rows: np.ndarray  # of the padded tensor as (T * B, ...), step by step
    batch_sizes: np.ndarray  # (T,), without steps that nobody has
    order: np.ndarray  # (B,), longest first, of equals the first first
    back: np.ndarray


def integers(function: str, name: str, values: Any) -> np.ndarray:
    """`values` as a 1-D int64 array."""
    array = values.data if isinstance(values, Tensor) else np.asarray(values)
    if array.size == 0 and array.ndim == 1:
        return np.zeros(0, np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{function}: {name} must be integers, got {array.dtype}")
    if array.ndim != 1:
        raise ValueError(f"{function}: {name} has shape {array.shape}; expected one dimension")
    return array.astype(np.int64)


def checked_lengths(function: str, lengths: Any, batch: int, steps: int, least: int) -> np.ndarray:
    """`lengths` as an int64 array (batch,) of numbers from `least` to `steps`."""
    array = integers(function, "lengths", lengths)
    if len(array) != batch:
        raise ValueError(f"{function}: {len(array)} lengths for {batch} sequences")
    if batch and (array.min() < least or array.max() > steps):
        raise ValueError(
            f"{function}: lengths must be between {least} and the {steps} steps of input, "
            f"got {array.min()} to {array.max()}"
        )
    return array


def packing(lengths: np.ndarray, steps: int, batch_first: bool, order: np.ndarray | None = None) -> Packing:
    """How sequences of these lengths, padded to `steps`, are packed; `order`: the one they are packed in already."""
    batch = len(lengths)
    if order is None:
        order = np.argsort(-lengths, kind="stable")
    sorted_lengths = lengths[order]
    longest = int(sorted_lengths[0]) if batch else 0
    there = np.arange(longest)[:, None] < sorted_lengths  # (T, B)
    step, which = np.nonzero(there)
    rows = order[which] * steps + step if batch_first else step * batch + order[which]
    return Packing(rows.astype(np.int64), there.sum(1).astype(np.int64), order.astype(np.int64), _inverse(order))


def _inverse(order: np.ndarray) -> np.ndarray:
    back = np.empty(len(order), np.int64)
    back[order] = np.arange(len(order))
    return back


def pack_padded_sequence(
    input: Tensor, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Packs padded sequences.

    Parameters
    ----------
    input : Tensor (T, B, ...), with `batch_first` (B, T, ...)
    lengths : sequence of int or integer Tensor (B,)
        Each from 1 to T.
    batch_first : bool
    enforce_sorted : bool
        Refuse lengths that grow from one to the next; False sorts, and layers undo it in what they return.

    Raises
    ------
    ValueError, TypeError
        If lengths are not integers from 1 to T, one for each sequence, or not sorted though they should be.

    Examples
    --------
    >>> import fastnn as fnn
    >>> x = fnn.tensor([[1.0, 2.0, 3.0], [4.0, 0.0, 0.0]])
    >>> packed = fnn.nn.utils.rnn.pack_padded_sequence(x, [3, 1], batch_first=True)
    >>> packed.data, packed.batch_sizes
    (tensor([1., 4., 2., 3.]), tensor([2, 1, 1]))
    """
    name = "pack_padded_sequence"
    x = _ops.as_tensor(input)
    if x.ndim < 2:
        raise ValueError(f"{name}: input is {x.shape}; expected {'(B, T, ...)' if batch_first else '(T, B, ...)'}")
    steps, batch = (x.shape[1], x.shape[0]) if batch_first else x.shape[:2]
    if batch == 0:
        raise ValueError(f"{name}: input is {x.shape}; expected at least one sequence")
    array = checked_lengths(name, lengths, batch, steps, 1)
    if enforce_sorted and (np.diff(array) > 0).any():
        raise ValueError(f"{name}: lengths grow; sort the sequences from the longest on or pass enforce_sorted=False")
    plan = packing(array, steps, batch_first)
    data = gathered(x, plan)
    sizes = _ops.as_tensor(plan.batch_sizes)
    if enforce_sorted:
        return PackedSequence(data, sizes)
    return PackedSequence(data, sizes, _ops.as_tensor(plan.order), _ops.as_tensor(plan.back))


def gathered(x: Tensor, plan: Packing) -> Tensor:
    """The rows of padded x (T, B, ...) or (B, T, ...) that a packing names: (N, ...)."""
    return _ops_recurrent.take_rows(_ops.reshape(x, (x.shape[0] * x.shape[1], *x.shape[2:])), plan.rows)


def padded(data: Tensor, plan: Packing, steps: int, batch_first: bool, value: float = 0.0) -> Tensor:
    """The way back: (T, B, ...) or (B, T, ...) with `value` where no sequence is."""
    batch = len(plan.order)
    flat = _ops_recurrent.put_rows(data, plan.rows, steps * batch, value)
    return _ops.reshape(flat, (*((batch, steps) if batch_first else (steps, batch)), *data.shape[1:]))


def checked_packed(function: str, sequence: PackedSequence) -> tuple[np.ndarray, int]:
    """Its batch_sizes as an int64 array that fits its data, and the number of sequences."""
    sizes = integers(function, "batch_sizes", sequence.batch_sizes)
    if len(sizes) and (sizes.min() < 1 or (np.diff(sizes) > 0).any()):
        raise ValueError(f"{function}: batch_sizes must be at least 1 and not grow, got {sizes.tolist()}")
    if not isinstance(sequence.data, Tensor):
        raise TypeError(f"{function}: data must be a Tensor, got {type(sequence.data).__name__}")
    if sequence.data.ndim < 1 or sequence.data.shape[0] != sizes.sum():
        raise ValueError(
            f"{function}: data is {sequence.data.shape}; expected the {sizes.sum()} rows that batch_sizes count"
        )
    return sizes, int(sizes[0]) if len(sizes) else 0


def orders(function: str, sequence: PackedSequence, batch: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Its sorted and unsorted indices, either from the other one where that is missing; None without any."""
    found = []
    for name in ("sorted_indices", "unsorted_indices"):
        given = getattr(sequence, name)
        if given is not None:
            given = integers(function, name, given)
            if not np.array_equal(np.sort(given), np.arange(batch)):
                raise ValueError(f"{function}: {name} is {given.tolist()}; expected each of 0 to {batch - 1} once")
        found.append(given)
    order, back = found
    if order is None and back is None:
        return None
    if order is not None and back is not None and not np.array_equal(order[back], np.arange(batch)):
        raise ValueError(f"{function}: unsorted_indices {back.tolist()} do not undo sorted_indices {order.tolist()}")
    return (_inverse(back) if order is None else order), (_inverse(order) if back is None else back)


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
) -> tuple[Tensor, Tensor]:
    """The inverse of `pack_padded_sequence`.

    Parameters
    ----------
    sequence : PackedSequence
    batch_first : bool
    padding_value : float
    total_length : int, optional
        Pad to this length instead of that of the longest sequence.

    Returns
    -------
    tuple of Tensor
        The padded sequences (T, B, ...), or (B, T, ...) with `batch_first`, in their own order, and the lengths (B,).

    Raises
    ------
    TypeError, ValueError
        If `sequence` is not packed or longer than `total_length`.

    Examples
    --------
    >>> import fastnn as fnn
    >>> packed = fnn.nn.utils.rnn.pack_sequence([fnn.tensor([1.0, 2.0]), fnn.tensor([3.0])])
    >>> fnn.nn.utils.rnn.pad_packed_sequence(packed, batch_first=True)
    (tensor([[1., 2.],
            [3., 0.]]), tensor([2, 1]))
    """
    name = "pad_packed_sequence"
    if not isinstance(sequence, PackedSequence):
        raise TypeError(f"{name}: expected a PackedSequence, got {type(sequence).__name__}")
    number(name, "padding_value", padding_value)
    sizes, batch = checked_packed(name, sequence)
    steps = len(sizes)
    if total_length is not None:
        steps = integer(name, "total_length", total_length, steps)
    order, back = orders(name, sequence, batch) or (np.arange(batch), np.arange(batch))
    lengths = (np.arange(batch)[:, None] < sizes).sum(1)[back]
    plan = packing(lengths, steps, batch_first, order)
    return padded(sequence.data, plan, steps, batch_first, padding_value), _ops.as_tensor(lengths.astype(np.int64))


def _checked_sequences(function: str, sequences: Iterable[Tensor]) -> list[Tensor]:
    tensors = [_ops.as_tensor(s) for s in sequences]
    if not tensors:
        raise ValueError(f"{function}: expected at least one sequence")
    first = tensors[0]
    for i, s in enumerate(tensors):
        if s.ndim < 1 or s.shape[1:] != first.shape[1:]:
            raise ValueError(
                f"{function}: sequence {i} is {s.shape}; expected (length, {', '.join(map(str, first.shape[1:]))})"
            )
    return tensors


def pad_sequence(
    sequences: Sequence[Tensor], batch_first: bool = False, padding_value: float = 0.0, padding_side: str = "right"
) -> Tensor:
    """Sequences (length, ...) padded to the longest's length: (T, B, ...), or (B, T, ...) with `batch_first`.

    Parameters
    ----------
    sequences : sequence of Tensor
    batch_first : bool
    padding_value : float
    padding_side : {"right", "left"}
        Whether they begin at the first step, or end at the last.

    Raises
    ------
    ValueError, TypeError
        If there is none, or their shapes differ in more than the first dimension; for another side or no number.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.utils.rnn.pad_sequence([fnn.tensor([1.0, 2.0]), fnn.tensor([3.0])], batch_first=True)
    tensor([[1., 2.],
            [3., 0.]])
    """
    number("pad_sequence", "padding_value", padding_value)
    tensors = _checked_sequences("pad_sequence", sequences)
    if padding_side not in ("right", "left"):
        raise ValueError(f"pad_sequence: padding_side must be 'right' or 'left', got {padding_side!r}")
    steps, batch = max(s.shape[0] for s in tensors), len(tensors)
    first = [steps - s.shape[0] if padding_side == "left" else 0 for s in tensors]
    rows = [
        np.arange(at, at + s.shape[0]) * (1 if batch_first else batch) + b * (steps if batch_first else 1)
        for b, (at, s) in enumerate(zip(first, tensors))
    ]
    data = _ops.cat(tensors, 0)
    flat = _ops_recurrent.put_rows(data, np.concatenate(rows).astype(np.int64), steps * batch, padding_value)
    return _ops.reshape(flat, (*((batch, steps) if batch_first else (steps, batch)), *data.shape[1:]))


def pack_sequence(sequences: Sequence[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Packs sequences (length, ...), as `pack_padded_sequence` does those that are padded.

    Raises
    ------
    ValueError
        As `pad_sequence` and `pack_padded_sequence`.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.utils.rnn.pack_sequence([fnn.tensor([1.0, 2.0]), fnn.tensor([3.0])]).data
    tensor([1., 3., 2.])
    """
    tensors = _checked_sequences("pack_sequence", sequences)
    return pack_padded_sequence(pad_sequence(tensors), [s.shape[0] for s in tensors], enforce_sorted=enforce_sorted)


def unpad_sequence(padded_sequences: Tensor, lengths: Any, batch_first: bool = False) -> list[Tensor]:
    """The inverse of `pad_sequence`: each of (T, B, ...), or (B, T, ...) with `batch_first`, as far as it goes.

    Raises
    ------
    ValueError, TypeError
        If lengths are not integers from 0 to T, one for each sequence.

    Examples
    --------
    >>> import fastnn as fnn
    >>> x = fnn.tensor([[1.0, 2.0], [3.0, 0.0]])
    >>> fnn.nn.utils.rnn.unpad_sequence(x, [2, 1], batch_first=True)
    [tensor([1., 2.]), tensor([3.])]
    """
    name = "unpad_sequence"
    x = _ops.as_tensor(padded_sequences)
    if x.ndim < 2:
        raise ValueError(f"{name}: the input is {x.shape}; expected {'(B, T, ...)' if batch_first else '(T, B, ...)'}")
    x = x if batch_first else x.transpose(0, 1)
    return [row[:end] for row, end in zip(x, checked_lengths(name, lengths, x.shape[0], x.shape[1], 0).tolist())]


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The inverse of `pack_sequence`: the sequences (length, ...) in their own order.

    Raises
    ------
    TypeError, ValueError
        As `pad_packed_sequence`.

    Examples
    --------
    >>> import fastnn as fnn
    >>> packed = fnn.nn.utils.rnn.pack_sequence([fnn.tensor([1.0]), fnn.tensor([2.0, 3.0])], enforce_sorted=False)
    >>> fnn.nn.utils.rnn.unpack_sequence(packed)
    [tensor([1.]), tensor([2., 3.])]
    """
    return unpad_sequence(*pad_packed_sequence(packed_sequences, batch_first=True), batch_first=True)
