"""Data sets and batches. Data in memory is sliced: no worker processes, one `np.take` per array and shuffled batch."""

from __future__ import annotations  # np.random in a signature would import it now, which takes milliseconds

import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from . import _random
from ._checks import integer
from ._ops import Tensor, as_tensor, from_numpy

__all__ = ["DataLoader", "Dataset", "Subset", "TensorDataset", "random_split"]


class Dataset:
    """Anything with `len(dataset)` and `dataset[i]`; subclass or not, both will do.

    Examples
    --------
    >>> import fastnn as fnn
    >>> class Squares(fnn.data.Dataset):
    ...     def __len__(self):
    ...         return 4
    ...     def __getitem__(self, i):
    ...         return float(i), float(i * i)
    >>> for x, y in fnn.data.DataLoader(Squares(), batch_size=2):
    ...     print(x.tolist(), y.tolist())
    [0.0, 1.0] [0.0, 1.0]
    [2.0, 3.0] [4.0, 9.0]
    """

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} has no __len__()")

    def __getitem__(self, index):
        raise NotImplementedError(f"{type(self).__name__} has no __getitem__()")


class TensorDataset(Dataset):
    """Rows of one or more arrays of the same length.

    Parameters
    ----------
    *tensors : Tensor or array_like, shapes (n, ...)
        Kept without a copy where that is possible.

    Raises
    ------
    ValueError
        If there is none, one has no axis, or the lengths differ.

    Examples
    --------
    >>> import fastnn as fnn
    >>> data = fnn.data.TensorDataset(fnn.zeros(5, 3), fnn.ones(5))
    >>> len(data), data[0][0].shape
    (5, (3,))
    """

    def __init__(self, *tensors: Any) -> None:
        if not tensors:
            raise ValueError("TensorDataset: no arrays given")
        self.tensors = tuple(as_tensor(tensor).detach() for tensor in tensors)
        for tensor in self.tensors:
            if tensor.ndim == 0:
                raise ValueError("TensorDataset: arrays need at least one axis, got shape ()")
        lengths = [len(tensor) for tensor in self.tensors]
        if len(set(lengths)) != 1:
            raise ValueError(f"TensorDataset: arrays of lengths {lengths}; expected the same length")

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, index) -> tuple[Tensor, ...]:
        return tuple(tensor[index] for tensor in self.tensors)


class Subset(Dataset):
    """Some rows of another data set, by their numbers.

    Raises
    ------
    IndexError
        If a number is out of range.
    TypeError
        If they are no integers: bools too, as a mask would be taken for the rows 0 and 1.

    Examples
    --------
    >>> import fastnn as fnn
    >>> data = fnn.data.TensorDataset(fnn.arange(5))
    >>> [row.item() for (row,) in fnn.data.Subset(data, [4, 0])]
    [4, 0]
    """

    def __init__(self, dataset: Any, indices: Sequence[int] | np.ndarray) -> None:
        self.dataset = dataset
        numbers = np.asarray(indices)
        if numbers.size and numbers.dtype.kind not in "iu":
            raise TypeError(f"Subset: indices must be integers, got {numbers.dtype}")
        self.indices = numbers.astype(np.int64).reshape(-1)
        if self.indices.size and not -len(dataset) <= self.indices.min() <= self.indices.max() < len(dataset):
            raise IndexError(f"Subset: an index is out of range for {len(dataset)} rows")

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index):
        if isinstance(index, int | np.integer):
            return self.dataset[int(self.indices[index])]
        return Subset(self.dataset, self.indices[index])


def _rng(function: str, seed: int | None, generator: np.random.Generator | None) -> np.random.Generator:
    """Return the given generator, one of its own for `seed`, or that of `fastnn.manual_seed`."""
    if generator is not None:
        if seed is not None:
            raise ValueError(f"{function}: give seed or generator, not both")
        if not isinstance(generator, np.random.Generator):
            raise TypeError(f"{function}: generator must be a numpy.random.Generator, got {type(generator).__name__}")
        return generator
    if seed is None:
        return _random.generator()
    return _random.from_seed(function, seed)


def random_split(
    dataset: Any,
    lengths: Sequence[int | float],
    seed: int | None = None,
    generator: np.random.Generator | None = None,
) -> list[Subset]:
    """Split a data set into parts that do not overlap, at random.

    Parameters
    ----------
    dataset : Dataset
        Anything with a length and indexing.
    lengths : sequence of int, or of float
        Sizes that add up to the length, or fractions that add up to 1 (what rounding leaves goes to the first parts).
    seed, generator : int, numpy.random.Generator
        Where the randomness comes from; `fastnn.manual_seed`'s generator if neither is given.

    Returns
    -------
    list of Subset

    Raises
    ------
    ValueError
        If the lengths do not add up or one is negative.

    Examples
    --------
    >>> import fastnn as fnn
    >>> data = fnn.data.TensorDataset(fnn.zeros(10, 3))
    >>> [len(part) for part in fnn.data.random_split(data, [0.75, 0.25], seed=0)]
    [8, 2]
    """
    n = len(dataset)
    if not all(length >= 0 for length in lengths):
        raise ValueError(f"random_split: lengths must not be negative, got {list(lengths)}")
    if any(isinstance(length, float | np.floating) for length in lengths):
        if not math.isclose(sum(lengths), 1.0, rel_tol=1e-6):
            raise ValueError(f"random_split: fractions add up to {sum(lengths)}; expected 1")
        sizes = [math.floor(n * length) for length in lengths]
        for i in range(n - sum(sizes)):
            sizes[i % len(sizes)] += 1
    else:
        sizes = [operator.index(length) for length in lengths]  # type: ignore[arg-type]
    if sum(sizes) != n:
        raise ValueError(f"random_split: lengths add up to {sum(sizes)}; expected {n}")
    order = _rng("random_split", seed, generator).permutation(n)
    ends = np.cumsum([0, *sizes])
    return [Subset(dataset, order[start:end]) for start, end in pairwise(ends)]


def _columns(dataset: Any) -> tuple[list[np.ndarray] | None, np.ndarray | None]:
    """Return the arrays of a data set in memory and which rows are meant (None: all); None, None if it is not."""
    rows = None
    while type(dataset) is Subset:
        rows = dataset.indices if rows is None else dataset.indices[rows]
        dataset = dataset.dataset
    if type(dataset) is not TensorDataset:
        return None, None
    return [tensor.data for tensor in dataset.tensors], rows


def _stack(items: Sequence[Any]) -> Any:
    """Make one batch of items: arrays are stacked; tuples, also named ones, lists and dicts are gone into."""
    first = items[0]
    if isinstance(first, Mapping):
        if any(item.keys() != first.keys() for item in items):
            raise ValueError("DataLoader: items have different keys; pass collate_fn")
        return {key: _stack([item[key] for item in items]) for key in first}
    if isinstance(first, tuple | list):
        if any(len(item) != len(first) for item in items):
            raise ValueError("DataLoader: items have different numbers of parts; pass collate_fn")
        parts = [_stack(part) for part in zip(*items)]
        return type(first)(*parts) if hasattr(first, "_fields") else tuple(parts)
    if isinstance(first, str | bytes):
        return list(items)
    arrays = [item.data if isinstance(item, Tensor) else item for item in items]
    shapes = {np.shape(array) for array in arrays}
    if len(shapes) > 1:
        raise ValueError(f"DataLoader: items of different shapes {sorted(shapes)}; pass collate_fn")
    return as_tensor(arrays) if isinstance(first, int | float) else as_tensor(np.stack([np.asarray(a) for a in arrays]))


class DataLoader:
    """Goes through a data set in batches, in order or shuffled anew each time.

    Parameters
    ----------
    dataset : Dataset, Tensor, array or tuple of arrays
        Data in memory (TensorDataset, its subsets, arrays) is sliced: a batch in order is a view, and writing into it
        changes the data. Other data sets are asked for row after row (or for many at once if they have
        `__getitems__(list)`), and the rows stacked.
    batch_size : int
        Rows per batch.
    shuffle : bool
        Whether to draw a new order for each pass.
    drop_last : bool
        Whether to leave out a last batch that is not full.
    seed, generator : int, numpy.random.Generator
        Where the orders come from; `fastnn.manual_seed`'s generator if neither is given.
    collate_fn : callable, optional
        Makes a batch of a list of rows.
    num_workers, pin_memory
        Taken as in PyTorch, and without effect: a batch is a slice of what is in memory, made where it is asked for.

    Raises
    ------
    ValueError, TypeError
        If the data set is empty (or empty after `drop_last`), its arrays have different lengths, or an argument is out
        of bounds.

    Examples
    --------
    >>> import fastnn as fnn
    >>> loader = fnn.data.DataLoader((fnn.zeros(10, 3), fnn.ones(10)), batch_size=4, shuffle=True, seed=0)
    >>> len(loader)
    3
    >>> [x.shape for x, y in loader]
    [(4, 3), (4, 3), (2, 3)]
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        shuffle: bool = False,
        drop_last: bool = False,
        *,
        seed: int | None = None,
        generator: np.random.Generator | None = None,
        collate_fn: Callable | None = None,
        num_workers: int = 0,
        pin_memory: bool = False,
    ) -> None:
        if isinstance(dataset, tuple):
            dataset = TensorDataset(*dataset)
        elif isinstance(dataset, Tensor | np.ndarray):
            dataset = TensorDataset(dataset)
        if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
            raise TypeError(f"DataLoader: a data set needs len() and indexing, got {type(dataset).__name__}")
        batch_size = integer("DataLoader", "batch_size", batch_size)
        if len(dataset) == 0:
            raise ValueError("DataLoader: the data set is empty")
        if drop_last and len(dataset) < batch_size:
            raise ValueError(f"DataLoader: drop_last leaves nothing of {len(dataset)} rows in batches of {batch_size}")
        self.dataset = dataset
        self.batch_size = batch_size
        self.shuffle = bool(shuffle)
        self.drop_last = bool(drop_last)
        self.collate_fn = collate_fn
        own = seed is not None or generator is not None
        self.generator = _rng("DataLoader", seed, generator) if own else None

    def __len__(self) -> int:
        """Return the number of batches."""
        n = len(self.dataset)
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def _order(self) -> np.ndarray | None:
        """Return the row numbers of one pass, None for all in order."""
        if not self.shuffle:
            return None
        rng = _random.generator() if self.generator is None else self.generator
        return rng.permutation(len(self.dataset))

    def __iter__(self) -> Iterator[Any]:
        order = self._order()  # drawn now, not when the first batch is asked for
        columns, rows = _columns(self.dataset) if self.collate_fn is None else (None, None)
        if columns is not None:
            if rows is not None:
                order = rows if order is None else rows[order]
            return self._slices(columns, order)
        return self._rows(np.arange(len(self.dataset)) if order is None else order)

    def _slices(self, columns: list[np.ndarray], order: np.ndarray | None) -> Iterator[tuple[Tensor, ...]]:
        size = self.batch_size
        stop = len(self) * size
        for start in range(0, stop, size):
            if order is None:
                yield tuple([from_numpy(column[start : start + size]) for column in columns])
            else:
                chosen = order[start : start + size]
                yield tuple([from_numpy(column.take(chosen, 0)) for column in columns])

    def _rows(self, order: np.ndarray) -> Iterator[Any]:
        collate = self.collate_fn or _stack
        many = getattr(self.dataset, "__getitems__", None)
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            chosen = order[start : start + self.batch_size].tolist()
            yield collate(many(chosen) if many else [self.dataset[i] for i in chosen])
