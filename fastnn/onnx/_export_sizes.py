"""Sizes that are not known until the graph runs.

A network is recorded in several worlds at once: the same inputs with the dynamic axes as in the example, and longer. A
size that is the same in all of them is a plain integer. One that is not is a `Dim`: it has a value in each world and
knows how the graph can compute it. What must be an integer in Python (`range`, NumPy) is refused by the size's name:
it would fix the graph to the example's size without a word.
"""

from collections.abc import Callable
from operator import add, floordiv, mod, mul, sub
from typing import Any

from ._export_errors import ExportError

Size = Any  # int or Dim


class Dim:
    """A size that differs between worlds.

    `source` is ("shape", tensor, axis) or (the name of an operation, its two operands).
    """

    __array_ufunc__ = None  # NumPy leaves it alone
    __slots__ = ("source", "values")

    def __init__(self, values: tuple[int, ...], source: tuple) -> None:
        self.values = values
        self.source = source

    def __repr__(self) -> str:
        return f"<{self.values[0]}, dynamic>"

    def __index__(self) -> int:
        raise ExportError(
            f"a dynamic size ({self.values[0]} in the example) is read as a number, which would fix the graph to it; "
            f"leave its axis out of dynamic_axes, or compute with operations on tensors"
        )

    __int__ = __float__ = __index__

    def __hash__(self) -> int:
        return hash(self.values)

    def __bool__(self) -> bool:
        return self._agreed(lambda a, b: a != b, 0)

    def _agreed(self, compare: Callable[[int, int], bool], other: Any) -> bool:
        """The comparison's result, if it is the same in every world."""
        others = values_of(other, len(self.values))
        found = [compare(a, b) for a, b in zip(self.values, others, strict=True)]
        if len(set(found)) > 1:
            raise ExportError(
                f"the program takes one way when a dynamic size is {self.values[0]} and another when it is "
                f"{self.values[found.index(not found[0])]}; a graph has one way only"
            )
        return found[0]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, int | Dim) and self._agreed(lambda a, b: a == b, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __lt__(self, other: Size) -> bool:
        return self._agreed(lambda a, b: a < b, other)

    def __le__(self, other: Size) -> bool:
        return self._agreed(lambda a, b: a <= b, other)

    def __gt__(self, other: Size) -> bool:
        return self._agreed(lambda a, b: a > b, other)

    def __ge__(self, other: Size) -> bool:
        return self._agreed(lambda a, b: a >= b, other)

    def __add__(self, other: Size) -> Size:
        return combined("Add", self, other)

    def __radd__(self, other: Size) -> Size:
        return combined("Add", other, self)

    def __sub__(self, other: Size) -> Size:
        return combined("Sub", self, other)

    def __rsub__(self, other: Size) -> Size:
        return combined("Sub", other, self)

    def __mul__(self, other: Size) -> Size:
        return combined("Mul", self, other)

    def __rmul__(self, other: Size) -> Size:
        return combined("Mul", other, self)

    def __floordiv__(self, other: Size) -> Size:
        return combined("Div", self, other)

    def __rfloordiv__(self, other: Size) -> Size:
        return combined("Div", other, self)

    def __mod__(self, other: Size) -> Size:
        return combined("Mod", self, other)

    def __neg__(self) -> Size:
        return combined("Sub", 0, self)


_OPERATIONS = {"Add": add, "Sub": sub, "Mul": mul, "Div": floordiv, "Mod": mod}


class Total(Dim):
    """A dynamic number of elements; called, as `Tensor.size`: the shape, or one of its sizes."""

    __slots__ = ("shape",)

    def __init__(self, total: Dim, shape: tuple) -> None:
        super().__init__(total.values, total.source)
        self.shape = shape

    def __call__(self, dim: int | None = None) -> Any:
        return self.shape if dim is None else self.shape[dim]


def values_of(size: Size, worlds: int) -> tuple[int, ...]:
    """The value of a size in each world."""
    return size.values if isinstance(size, Dim) else (size,) * worlds


def sized(values: tuple[int, ...], source: tuple) -> Size:
    """An integer where all worlds agree, else a Dim."""
    return values[0] if len(set(values)) == 1 else Dim(values, source)


def combined(operation: str, a: Size, b: Size) -> Size:
    """Arithmetic on sizes, one of them a Dim."""
    if not all(isinstance(n, int | Dim) for n in (a, b)):
        return NotImplemented
    worlds = len(a.values if isinstance(a, Dim) else b.values)
    pairs = zip(values_of(a, worlds), values_of(b, worlds), strict=True)
    values = tuple(_OPERATIONS[operation](x, y) for x, y in pairs)
    # Worlds are multiples of the example: a quotient or a rest is often the same in all of them, and not in others.
    chance = operation in ("Div", "Mod") or any(isinstance(n, Dim) and len(set(n.values)) == 1 for n in (a, b))
    return Dim(values, (operation, a, b)) if chance else sized(values, (operation, a, b))
