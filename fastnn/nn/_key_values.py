"""What attention keeps of a sequence that it is fed one piece at a time."""

from copy import deepcopy
from typing import Any

import numpy as np

from .. import _ops, _ops_attention
from .._checks import integer


class KeyValues:
    """The keys and values of the positions seen so far, (B, N, T, D) each, in memory that grows by doubling.

    `append` writes behind what is there, so that a sequence of T steps copies O(T) numbers; what views it gave before
    stay as they were. One KeyValues belongs to one sequence of steps.

    Parameters
    ----------
    room : int
        How many positions to make room for at first.

    Examples
    --------
    >>> import fastnn as fnn
    >>> cache = fnn.nn.KeyValues()
    >>> keys, values = cache.append(fnn.ones(1, 2, 3, 4), fnn.ones(1, 2, 3, 4))
    >>> keys.shape, len(cache)
    ((1, 2, 3, 4), 3)
    """

    def __init__(self, room: int = 16) -> None:
        self._room = integer("KeyValues", "room", room)
        self._arrays: list[np.ndarray] = []
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def append(self, keys: _ops.Tensor, values: _ops.Tensor) -> tuple[_ops.Tensor, _ops.Tensor]:
        """Keep (B, N, t, D) more of both; return all there are. Values only: no gradient goes through what is kept.

        Raises
        ------
        TypeError
            If one is no Tensor.
        ValueError
            If they do not fit each other or those before.
        """
        for given in (keys, values):
            if not isinstance(given, _ops.Tensor):
                raise TypeError(f"KeyValues.append: expected two Tensors, got {type(given).__name__}")
        new = [keys.data, values.data]
        if keys.ndim != 4 or values.ndim != 4 or keys.shape[:3] != values.shape[:3]:
            raise ValueError(
                f"KeyValues.append: keys are {keys.shape}, values {values.shape}; expected (B, N, t, D) of one B, N, t"
            )
        kept = self._arrays[0].dtype if self._arrays else new[0].dtype
        if not new[0].dtype == new[1].dtype == kept:
            raise ValueError(
                f"KeyValues.append: keys are {keys.dtype}, values {values.dtype}; expected {kept} for both"
            )
        self._make_room([piece.shape for piece in new], new[0].dtype)
        end = self._length + new[0].shape[2]
        for array, piece in zip(self._arrays, new, strict=True):
            array[:, :, self._length : end] = piece
        self._length = end
        return self.tensors()

    def attend(self, qkv: _ops.Tensor) -> _ops.Tensor:
        """Keep the keys and values of the next positions, and attend from these to all that are kept.

        Parameters
        ----------
        qkv : Tensor (B, t, 3, N, D)
            Their queries, keys and values. They see what was before them and one another's past.

        Returns
        -------
        Tensor (B, t, N * D)
            The heads side by side.

        Raises
        ------
        ValueError
            If they do not fit those before.
        """
        shape = qkv.shape
        if len(shape) != 5 or shape[2] != 3:
            raise ValueError(f"KeyValues.attend: qkv is {shape}; expected (B, t, 3, N, D)")
        batch, length, _, heads, size = shape
        kept = self._arrays[0].shape if self._arrays else None
        if kept is None or self._length + length > kept[2] or (batch, heads, size) != (*kept[:2], kept[3]):
            self._make_room([(batch, heads, length, size)] * 2, qkv.dtype)
        keys, values = self._arrays
        y = _ops_attention.attend_next(qkv, keys, values, self._length)
        self._length += length
        return y

    def _make_room(self, shapes: list[tuple[int, ...]], dtype) -> None:
        """For more of such shapes, (B, N, t, D)."""
        for old, shape in zip(self._arrays, shapes, strict=False):
            if old.shape[:2] + old.shape[3:] != shape[:2] + shape[3:]:
                there = (*old.shape[:2], self._length, *old.shape[3:])
                raise ValueError(f"KeyValues: got {shape} after {there}; expected the same but for the length")
        end = self._length + shapes[0][2]
        if self._arrays and end <= self._arrays[0].shape[2]:
            return
        room = max(end, 2 * self._length, self._room)
        # NumPy's own memory of this size is new pages every time: an eighth of a generation for 8 rows.
        larger = [_ops.empty(*shape[:2], room, shape[3], dtype=dtype).data for shape in shapes]
        for array, old in zip(larger, self._arrays, strict=False):
            array[:, :, : self._length] = old[:, :, : self._length]
        self._arrays = larger

    def tensors(self) -> tuple[_ops.Tensor, _ops.Tensor]:
        """Keys and values as views, (B, N, T, D).

        Raises
        ------
        ValueError
            If nothing is kept yet, so that there are no sizes.
        """
        if not self._arrays:
            raise ValueError("KeyValues.tensors: nothing was appended yet")
        keys, values = (_ops.as_tensor(array[:, :, : self._length]) for array in self._arrays)
        return keys, values

    def __copy__(self) -> "KeyValues":
        """Return one that goes on for itself; both would write into the same memory otherwise."""
        return deepcopy(self)

    def select(self, rows) -> "KeyValues":
        """Return a copy of the given rows of the batch, in this order and as often as they are named."""
        copy = KeyValues(self._room)
        copy._arrays = [array[np.asarray(rows)] for array in self._arrays]
        copy._length = self._length
        return copy


def begun(function: str, state: Any) -> KeyValues:
    """Return the KeyValues of a sequence; None begins one."""
    if state is None:
        return KeyValues()
    if not isinstance(state, KeyValues):
        raise TypeError(f"{function}: the state must be None or what a step returned, got {type(state).__name__}")
    return state


class Undone:
    """``with Undone(state):``, in which a step that fails leaves the state where it was, for the next one to go on.

    What `KeyValues` keep stands behind what was there, and is forgotten with their length.
    """

    __slots__ = ("_before",)

    def __init__(self, state: Any) -> None:
        self._before: list[tuple[KeyValues, int]] = []
        self._note(state)

    def _note(self, state: Any) -> None:
        if isinstance(state, KeyValues):
            self._before.append((state, len(state)))
        elif isinstance(state, list | tuple):
            for part in state:
                self._note(part)

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        if kind is not None:
            for state, length in self._before:
                state._length = length


def listed(function: str, state: Any, count: int, what: str) -> list:
    """Return the states of `count` parts; None begins them all."""
    if state is None:
        return [None] * count
    if not isinstance(state, list | tuple) or len(state) != count:
        raise ValueError(f"{function}: state must be None or a list of {count}, {what}")
    return list(state)
