"""A graph as a flat list of steps over numbered slots: function, where its inputs stand, where its outputs go.

    slots   0: None (an input left out)   1: what nobody reads   2...: one for each name
    step    conv, (2, 5, 6) -> (9,), then 2 is free

A value is dropped after the last step that reads it, so that a net runs in the memory of its widest place.

An exporter spells out how shapes come from other shapes, in half of a transformer's nodes. What depends on the shapes
of the inputs alone is therefore computed once for each set of them (`_shapes` says what), and later runs skip those
steps."""

from collections.abc import Callable, Sequence, Set
from functools import partial
from typing import Any

import numpy as np

from .._errors import FormatError
from .._ops import Tensor
from ._graph import Graph, Node
from ._registry import check_attributes, find
from ._shapes import shape_determined
from ._values import value

NOTHING, UNREAD = 0, 1


Step = tuple[Callable, tuple[int, ...], tuple[int, ...], tuple[int, ...]]
KEPT_SHAPES = 32  # sets of input shapes whose values are remembered


class Plan:
    """A compiled graph. `constants` says for each constant that is read in which slot it stands."""

    def __init__(self, graph: Graph, captured: Sequence[str] = ()) -> None:
        self.numbers: dict[str, int] = {}
        self.inputs = [self._slot(name) for name in (*graph.inputs, *captured)]
        used = {name for node in graph.nodes for name in (*node.inputs, *node.captured)} | set(graph.outputs)
        self.constants = {name: self._slot(name) for name in graph.constants if name in used}
        self.nodes = graph.nodes
        steps = [(compiled(n), self._reads(n), self._writes(n, used)) for n in graph.nodes]
        self.outputs = [self._slot(name) for name in graph.outputs]
        self.template: list[Any] = [None] * (len(self.numbers) + 2)
        for name, slot in self.constants.items():
            self.template[slot] = value(graph.constants[name])
        self.steps = self._freeing(steps)
        known, self.shaped = shape_determined(graph, captured)
        self.fixed = [self.numbers[name] for name in known if name in self.numbers and name not in graph.outputs]
        lasting = {*known, *graph.constants}
        self.lasting = [i for i, name in enumerate(graph.outputs) if name in lasting]  # not to be given away
        slots = set(self.fixed)
        left = [s for s in steps if not all(w == UNREAD or w in slots for w in s[2])]
        self.short = self._freeing(left, slots)
        self.short_nodes = [n for n, s in zip(graph.nodes, steps, strict=True) if s in left]
        self.remembered: dict[Any, tuple[list[Any], list[Step]]] = {}

    def _slot(self, name: str) -> int:
        return self.numbers.setdefault(name, len(self.numbers) + 2)

    def _reads(self, node: Node) -> tuple[int, ...]:
        names = [*node.inputs, *node.captured]
        return tuple(self._slot(name) if name else NOTHING for name in names)

    def _writes(self, node: Node, used: set[str]) -> tuple[int, ...]:
        return tuple(self._slot(name) if name and name in used else UNREAD for name in node.outputs)

    def _freeing(self, steps: list, more: Set[int] = frozenset()) -> list[Step]:
        """The steps, each with the slots that nobody reads after it."""
        kept = {NOTHING, *self.outputs, *self.constants.values(), *more}
        freeing = []
        for function, reads, writes in reversed(steps):
            dead = tuple({s for s in (*reads, *writes) if s not in kept})
            kept.update(dead)
            freeing.append((function, reads, writes, dead))
        return freeing[::-1]

    def run(self, feeds: Sequence[Any], slots: list[Any] | None = None) -> list[Any]:
        """The graph's outputs for values of its inputs (and of what it captures)."""
        slots = self.template.copy() if slots is None else slots
        for slot, fed in zip(self.inputs, feeds, strict=True):
            slots[slot] = fed
        if not self.fixed:
            return self._follow(self.steps, self.nodes, slots)
        shapes = tuple(f.shape if isinstance(f, Tensor | np.ndarray) else None for f in feeds)
        known = self.remembered.get(shapes)
        if known is None or None in shapes:
            return self._remembering(shapes, slots)
        fixed, steps = known
        for slot, made in zip(self.fixed, fixed, strict=True):
            slots[slot] = made
        return self._follow(steps, self.short_nodes, slots)

    def _remembering(self, shapes: tuple, slots: list[Any]) -> list[Any]:
        """A run that keeps what depends on the shapes alone, and steps that know it."""
        kept = set(self.fixed)
        steps = [(f, reads, writes, tuple(d for d in dead if d not in kept)) for f, reads, writes, dead in self.steps]
        made: list[tuple[int, ...] | None] = []
        outs = self._follow(steps, self.nodes, slots, made)
        if None not in shapes:
            if len(self.remembered) >= KEPT_SHAPES:
                self.remembered.clear()
            sizes = {id(n): s for n, s in zip(self.nodes, made, strict=True) if n.outputs[0] in self.shaped}
            short = [
                self._narrowed(step, n, sizes, slots) for step, n in zip(self.short, self.short_nodes, strict=True)
            ]
            self.remembered[shapes] = [slots[slot] for slot in self.fixed], short
        return outs

    def _narrowed(self, step: Step, node: Node, sizes: dict[int, Any], slots: list[Any]) -> Step:
        """A step that moves shapes only, with the shape known beforehand; others as they are."""
        _, reads, writes, dead = step
        size = sizes.get(id(node))
        if node.domain or size is None:
            return step
        if node.op in ("Reshape", "Squeeze", "Unsqueeze", "Flatten"):
            return partial(_reshaped, size), reads[:1], writes, dead
        if node.op == "Gather" and node.inputs[1] in self.constants:
            index = self.template[self.constants[node.inputs[1]]]
            axis = node.attributes.get("axis", 0)
            if index.ndim == 0 and axis >= 0:
                key = (slice(None),) * axis + (int(index),)
                return partial(_picked, key), reads[:1], writes, dead
        return step

    def _follow(
        self, steps: list[Step], nodes: list[Node], slots: list[Any], sizes: list[Any] | None = None
    ) -> list[Any]:
        at = 0
        try:
            for function, reads, writes, dead in steps:
                out = function(*[slots[i] for i in reads])
                if type(out) is tuple:
                    for slot, made in zip(writes, out, strict=False):
                        slots[slot] = made
                else:
                    slots[writes[0]] = out
                for slot in dead:
                    slots[slot] = None
                if sizes is not None:
                    sizes.append(getattr(out, "shape", None))
                at += 1
        except Exception as error:
            error.add_note(f"in node {nodes[at]}")
            raise
        return [slots[slot] for slot in self.outputs]


def _reshaped(shape: tuple[int, ...], x: Any) -> Any:
    return x.reshape(shape)


def _picked(key: tuple, x: Any) -> Any:
    out = x[key]
    return out if isinstance(out, Tensor) else np.asarray(out)


class Body:
    """A subgraph of a control operator: called with its inputs and what the operator captured."""

    def __init__(self, graph: Graph, captured: Sequence[str]) -> None:
        self.count = len(graph.inputs)
        self.results = len(graph.outputs)
        self.plan = Plan(graph, [name for name in captured if name not in graph.inputs])
        self.kept = [i for i, name in enumerate(captured) if name not in graph.inputs]

    def __call__(self, inputs: Sequence[Any], captured: Sequence[Any]) -> list[Any]:
        """The subgraph's outputs."""
        if len(inputs) != self.count:
            raise ValueError(f"a subgraph of {self.count} inputs got {len(inputs)}")
        return self.plan.run([*inputs, *(captured[i] for i in self.kept)])


def compiled(node: Node) -> Callable:
    """The function of a node, its attributes bound."""
    operator = find(node.domain, node.op, node.version)
    check_attributes(operator, node.op, node.attributes)
    fewest, most = operator.inputs
    if not fewest <= len(node.inputs) + len(node.captured) <= most or not node.outputs:
        raise FormatError(f"{node}: {len(node.inputs)} inputs and {len(node.outputs)} outputs are not what it takes")
    attributes = {k: Body(v, node.captured) if isinstance(v, Graph) else v for k, v in node.attributes.items()}
    if "outputs" in operator.attributes:
        attributes["outputs"] = len(node.outputs)
    if "opset" in operator.attributes:
        attributes["opset"] = node.version
    if "captures" in operator.attributes:
        attributes["captures"] = len(node.captured)
    return partial(operator.function, **attributes) if attributes else operator.function
