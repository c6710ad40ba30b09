"""Chains of nodes that only move elements, as one step: what a value is of the value it came from.

    Linear -> Reshape (T, B, 1, 3 E) -> Transpose -> Squeeze -> Gather -> Reshape (T, B N, D) -> Transpose -> Reshape

An axis of a view is a product of atoms, pieces of the base's axes. Reshaping splits atoms and gathers them anew, a
transposition exchanges axes, a constant index drops atoms; what stands at the end is computed from the base by at most
four operations, whatever the way there was. What would have been copied on that way is not.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from .._ops import Tensor, permute

Atom = tuple[int, int]  # stride in the base's elements, in the order of its axes; size


@dataclass(frozen=True)
class View:
    """`axes`: the atoms of each. `picks`: atoms that are gone, and at which index."""

    base: str
    axes: tuple[tuple[Atom, ...], ...]
    picks: tuple[tuple[Atom, int], ...] = ()

    @staticmethod
    def whole(base: str, shape: Sequence[int]) -> "View":
        """The base itself."""
        strides = [prod(shape[i + 1 :]) for i in range(len(shape))]
        return View(base, tuple(((s, n),) if n != 1 else () for s, n in zip(strides, shape, strict=True)))

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sizes."""
        return tuple(prod(n for _, n in atoms) for atoms in self.axes)

    def permuted(self, order: Sequence[int]) -> "View":
        """The axes in another order."""
        return View(self.base, tuple(self.axes[i] for i in order), self.picks)

    def reshaped(self, shape: Sequence[int]) -> "View | None":
        """The same elements in another shape; None where an axis would be cut across atoms."""
        left = [atom for atoms in self.axes for atom in atoms][::-1]
        axes = []
        for size in shape:
            atoms: list[Atom] = []
            while size > 1:
                if not left:
                    return None
                stride, n = left.pop()
                if size % n and n % size:
                    return None
                if n > size:
                    left.append((stride, n // size))
                    stride, n = stride * (n // size), size
                atoms.append((stride, n))
                size //= n
            axes.append(tuple(atoms))
        return None if left else View(self.base, tuple(axes), self.picks)

    def at(self, axis: int, index: int) -> "View":
        """One index of an axis, which is gone."""
        picks = []
        for atom in self.axes[axis][::-1]:
            picks.append((atom, index % atom[1]))
            index //= atom[1]
        return View(self.base, self.axes[:axis] + self.axes[axis + 1 :], (*self.picks, *picks))

    def cut(self, axis: int, start: int, size: int) -> "View | None":
        """A piece of an axis that is one of several equal ones, else None."""
        shape = self.shape
        if size < 1 or shape[axis] % size or start % size:
            return None
        apart = self.reshaped((*shape[:axis], shape[axis] // size, size, *shape[axis + 1 :]))
        return None if apart is None else apart.at(axis, start // size)

    def joined(self) -> "View":
        """The same with atoms as large as they can be: neighbours in the base that stayed neighbours."""
        axes = []
        for atoms in self.axes:
            kept: list[Atom] = []
            for stride, n in atoms:
                if kept and kept[-1][0] == stride * n:
                    n *= kept.pop()[1]
                kept.append((stride, n))
            axes.append(tuple(kept))
        return View(self.base, tuple(axes), self.picks)

    def step(self, shape: Sequence[int]) -> Callable | None:
        """What makes the view of its base, which has that shape; None if it is the base."""
        view = self.joined()
        if not view.picks and all(a[0] > b[0] for a, b in pairwise([a for axis in view.axes for a in axis])):
            return None if self.shape == tuple(shape) else partial(reshaped, self.shape)
        atoms = sorted([*(atom for axis in view.axes for atom in axis), *(a for a, _ in view.picks)], reverse=True)
        index = dict(view.picks)
        left = [atom for atom in atoms if atom not in index]
        order = tuple(left.index(atom) for axis in view.axes for atom in axis)
        fine = tuple(n for _, n in atoms)
        key = tuple(index.get(atom, slice(None)) for atom in atoms) if index else None
        return partial(
            _moved,
            None if fine == tuple(shape) else fine,
            key,
            None if order == tuple(range(len(order))) else order,
            None if all(len(axis) == 1 for axis in view.axes) else self.shape,
        )


def reshaped(shape: tuple[int, ...], x: Any) -> Any:
    """The value in another shape."""
    return x.reshape(shape)


def _moved(fine: Any, key: Any, order: Any, shape: Any, x: Any) -> Any:
    """Split into atoms, some of them picked, the others in another order, gathered into axes."""
    if fine is not None:
        x = x.reshape(fine)
    if key is not None:
        x = x[key]
    if order is not None:
        x = permute(x, order) if isinstance(x, Tensor) else x.transpose(order)
    if shape is not None:
        x = x.reshape(shape)
    return x if isinstance(x, Tensor) else np.asarray(x)
