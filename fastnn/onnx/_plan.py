"""A graph as a flat list of steps over numbered slots: function, where its inputs stand, where its outputs go.

    slots   0: None (an input left out)   1: what nobody reads   2...: one for each name
    step    conv, (2, 5, 6) -> (9,), then 2 is free

A value is dropped after the last step that reads it, so that a net runs in the memory of its widest place.

An exporter spells out how shapes come from other shapes, in half of a transformer's nodes. What depends on the shapes
of the inputs alone is therefore computed once for each set of them (`_shapes` says what), and later runs take fewer
steps (`_short`)."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np

from .._errors import FormatError
from .._ops import Tensor, follow, run_known
from ._graph import Graph, Node
from ._registry import check_attributes, find
from ._shapes import shape_determined
from ._short import shortened, spare
from ._values import value

NOTHING, UNREAD = 0, 1
# With subgraphs, what may give a constant as it is.
HANDING_ON = ("SequenceConstruct", "SequenceInsert", "SplitToSequence", "Optional")


Made = tuple[Callable, tuple[int, ...], tuple[int, ...], Node]  # function, slots read, slots written, for messages
Step = tuple[Callable, tuple[int, ...], tuple[int, ...], tuple[int, ...], Node]  # and the slots that nobody reads later
KEPT_SHAPES = 32  # sets of input shapes whose values are remembered


class Plan:
    """A compiled graph. `constants` says for each constant that is read in which slot it stands."""

    def __init__(self, graph: Graph, captured: Sequence[str] = (), body: bool = False) -> None:
        self.numbers: dict[str, int] = {}
        self.inputs = [self._slot(name) for name in (*graph.inputs, *captured)]
        used = {name for node in graph.nodes for name in (*node.inputs, *node.captured)} | set(graph.outputs)
        self.constants = {name: self._slot(name) for name in graph.constants if name in used}
        self.nodes = graph.nodes
        self.used = used
        steps = [(compiled(n), self._reads(n), self.writes(n.outputs), n) for n in graph.nodes]
        self.output_names = graph.outputs
        self.outputs = [self._slot(name) for name in graph.outputs]
        for node in graph.nodes:  # room for what `_short` reads in another form
            if node.domain == "fastnn" and node.op in ("Linear", "Recurrent", "Sdpa"):
                self._slot(spare(node))
        self.template: list[Any] = [None] * (len(self.numbers) + 2)
        self.filled_at = -1  # the state of all modules in which the template got their parameters (_module.changes)
        for name, slot in self.constants.items():
            self.template[slot] = value(graph.constants[name])
        self.steps = self.freeing(steps)
        known, self.shaped = shape_determined(graph, captured)
        self.fixed = [self.numbers[name] for name in known if name in self.numbers and name not in graph.outputs]
        lasting = {*known, *graph.constants}
        hidden = any(n.op in HANDING_ON or any(isinstance(a, Graph) for a in n.attributes.values()) for n in self.nodes)
        # Outputs not to be given away, but copied: what stays here, or may be something that stays inside.
        self.lasting = [i for i, name in enumerate(graph.outputs) if hidden or name in lasting]
        slots = set(self.fixed)
        self.left = [  # what runs again when shapes are known
            (node, step[0])
            for node, step in zip(graph.nodes, steps, strict=True)
            if not all(w == UNREAD or w in slots for w in step[2])
        ]
        self.shortens = bool(self.fixed) or not body  # a loop may give its body another shape each time
        self.remembered: dict[Any, tuple[list[tuple[int, Any]], list[Step], list[int]]] = {}

    def _slot(self, name: str) -> int:
        return self.numbers.setdefault(name, len(self.numbers) + 2)

    def _reads(self, node: Node) -> tuple[int, ...]:
        names = [*node.inputs, *node.captured]
        return tuple(self._slot(name) if name else NOTHING for name in names)

    def writes(self, names: Sequence[str]) -> tuple[int, ...]:
        """The slots of names that are made."""
        return tuple(self._slot(name) if name and name in self.used else UNREAD for name in names)

    def freeing(self, steps: list[Made], more: Iterable[int] = ()) -> list[Step]:
        """Steps as they run, each with the slots that nobody reads after it."""
        kept = {NOTHING, *self.outputs, *self.constants.values(), *more}
        freeing = []
        for function, reads, writes, node in reversed(steps):
            dead = tuple({s for s in (*reads, *writes) if s not in kept})
            kept.update(dead)
            freeing.append((function, reads, writes, dead, node))
        return freeing[::-1]

    def run(self, feeds: list[Any]) -> list[Any]:
        """The graph's outputs for values of its inputs (and of what it captures)."""
        if self.remembered:
            outs = run_known(self.template, self.inputs, feeds, self.remembered)
            if outs is not None:
                return outs
        slots = self.template.copy()
        for slot, fed in zip(self.inputs, feeds):
            slots[slot] = fed
        if not self.shortens:
            follow(self.steps, slots)
            return [slots[slot] for slot in self.outputs]
        return self._remembering(tuple([getattr(f, "shape", None) for f in feeds]), slots)

    def _remembering(self, shapes: tuple, slots: list[Any]) -> list[Any]:
        """A run that keeps what depends on the shapes alone, and makes steps that know it."""
        if None in shapes:
            follow(self.steps, slots)
            return [slots[slot] for slot in self.outputs]
        kept = set(self.fixed)
        steps = [(f, r, w, tuple(d for d in dead if d not in kept), n) for f, r, w, dead, n in self.steps]
        seen = {name: _form(slots[slot]) for name, slot in self.numbers.items()}
        follow([_watched(step, seen) for step in steps], slots)
        if len(self.remembered) >= KEPT_SHAPES:
            self.remembered.clear()
        forms = {name: form for name, form in seen.items() if form is not None and name in self.shaped}
        short, outputs = shortened(self, forms)
        read = {*outputs, *(slot for step in short for slot in step[1])}
        fixed = [(slot, slots[slot]) for slot in self.fixed if slot in read]
        self.remembered[shapes] = fixed, self.freeing(short, (*self.fixed, *outputs)), outputs
        return [slots[slot] for slot in self.outputs]


def _watched(step: Step, seen: dict[str, Any]) -> Step:
    """A step that notes the form of what it makes."""
    function, reads, writes, dead, node = step

    def run(*args: Any) -> Any:
        out = function(*args)
        made = out if type(out) is tuple else (out,)
        seen.update((name, _form(o)) for name, o in zip(node.outputs, made))
        return out

    return run, reads, writes, dead, node


def _form(value: Any) -> tuple[tuple[int, ...], bool] | None:
    """The shape of an array or Tensor, and whether it is a Tensor."""
    tensor = isinstance(value, Tensor)
    return (value.shape, tensor) if tensor or isinstance(value, np.ndarray) else None


class Body:
    """A subgraph of a control operator: called with its inputs and what the operator captured."""

    def __init__(self, graph: Graph, captured: Sequence[str]) -> None:
        self.count = len(graph.inputs)
        self.results, self.empty = len(graph.outputs), graph.empty
        self.plan = Plan(graph, [name for name in captured if name not in graph.inputs], body=True)
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
