"""The steps of a graph for inputs of known shapes: what only moves elements is put together, arguments are bound."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ._graph import Node
from ._views import View, reshaped

if TYPE_CHECKING:
    from ._plan import Made, Plan

_RESHAPING = ("Reshape", "Squeeze", "Unsqueeze", "Flatten")


def spare(node: Node) -> str:
    """The name of a value that a node makes or reads in another form than the file says."""
    return f"\0{node.outputs[0]}"


def shortened(plan: "Plan", forms: dict[str, tuple]) -> tuple[list["Made"], list[int]]:
    """The steps of `plan.left` where names stand for values of these shapes (and: is it a Tensor)."""
    short = _Short(plan, forms)
    for node, function in plan.left:
        if not short.move(node):
            short.take(node, function)
    outputs = [plan.numbers[short.made(name)] for name in plan.output_names]
    return short.steps, outputs


class _Short:
    def __init__(self, plan: "Plan", forms: dict[str, tuple]) -> None:
        self.plan = plan
        self.shapes = {name: shape for name, (shape, _) in forms.items() if 0 not in shape}
        self.tensors = {name for name, (_, tensor) in forms.items() if tensor}
        self.views: dict[str, View] = {}
        self.read: dict[str, str] = {}  # views that have been made: name -> where it stands
        self.makers: dict[str, Node] = {}
        self.constants = {
            name: plan.template[slot] for name, slot in plan.constants.items() if name not in self.tensors
        }
        self.steps: list[Made] = []

    def add(self, function: Callable, reads: Sequence[str], writes: Sequence[str], node: Node) -> None:
        numbers = self.plan.numbers
        slots = tuple(numbers[name] if name else 0 for name in reads)
        self.steps.append((function, slots, tuple(numbers.get(n, 1) for n in writes), node))

    def made(self, name: str) -> str:
        """The name to read a value under, which is made now if it is a view that nobody has read yet."""
        view = self.views.get(name)
        if view is None:
            return name
        if name not in self.read:
            step = view.step(self.shapes[view.base])
            self.read[name] = view.base if step is None else name
            if step is not None:
                self.add(step, [view.base], [name], self.makers[name])
        return self.read[name]

    # ----- nodes that only move elements -----

    def view(self, name: str) -> View:
        return self.views.get(name) or View.whole(name, self.shapes[name])

    def move(self, node: Node) -> bool:
        """Whether a node's outputs are views, which are made when they are read."""
        names = [name for name in node.outputs if name]
        if node.domain or not node.inputs or any(n not in self.shapes for n in (node.inputs[0], *names)):
            return False
        found = [view for view in self._moved(node, self.view(node.inputs[0])) if view is not None]
        if len(found) != len(node.outputs):
            return False
        self.views.update(zip(node.outputs, found, strict=True))
        self.makers.update(dict.fromkeys(names, node))
        return True

    def _moved(self, node: Node, view: View) -> list[View | None]:
        out = self.shapes[node.outputs[0]] if node.outputs[0] else ()
        ndim = len(view.axes)
        if node.op in _RESHAPING:
            return [view.reshaped(out)]
        if node.op == "Transpose":
            return [view.permuted(node.attributes.get("perm") or range(ndim)[::-1])]
        axis = node.attributes.get("axis", 0)
        if node.op == "Gather" and node.inputs[1] in self.constants:
            index = self.constants[node.inputs[1]]
            size = view.shape[axis]
            if index.ndim == 0 and -size <= int(index) < size:
                return [view.at(axis % ndim, int(index) % size)]
        if node.op == "Split" and all(node.outputs):
            sizes = [self.shapes[name][axis] for name in node.outputs]
            return [view.cut(axis % ndim, sum(sizes[:i]), n) for i, n in enumerate(sizes)]
        return []

    # ----- nodes that compute -----

    def take(self, node: Node, function: Callable) -> None:
        """Add a step for a node, its inputs made before it."""
        from ._known import known_function, recurrent_layer  # here, for the operators import the plan

        self.makers.update(dict.fromkeys(node.outputs, node))
        if node.domain == "fastnn" and (
            (node.op == "Sdpa" and self._attend(node)) or (node.op == "Linear" and self._multiply(node))
        ):
            return
        shapes = [self.shapes.get(n) if n in self.tensors else None for n in node.inputs]
        reads = [self.made(n) if n else "" for n in (*node.inputs, *node.captured)]
        writes = [n if n in self.plan.used else "" for n in node.outputs]
        if node.domain == "fastnn" and node.op == "Recurrent" and shapes[0] is not None:
            layer = recurrent_layer(node)
            if layer is not None and (not writes[0] or writes[0] in self.shapes):
                self.add(layer, reads, [self._side_by_side(node, writes[0]), *writes[1:]], node)
                return
        if node.op in _RESHAPING and not node.domain and node.outputs[0] in self.shapes:
            self.add(partial(reshaped, self.shapes[node.outputs[0]]), reads[:1], writes, node)
            return
        self.add(known_function(node, shapes) or function, reads, writes, node)

    def _side_by_side(self, node: Node, name: str) -> str:
        """Where y stands as a kernel makes it, all parts of a row side by side; ONNX's, part by part, is a view of it.

        A layer's (T, directions, B, H) is made as (T, B, directions H), attention's (B, N, T, D) as (B, T, N D).
        """
        if not name:
            return ""
        outer, parts, rows, width = self.shapes[name]
        raw = View.whole(spare(node), (outer, rows, parts * width))
        apart = raw.reshaped((outer, rows, parts, width))
        assert apart is not None
        self.shapes[raw.base], self.views[name] = raw.shape, apart.permuted((0, 2, 1, 3))
        return raw.base

    def _attend(self, node: Node) -> bool:
        """Attention that reads queries, keys and values where they are."""
        from ._known import packed_attention
        from .ops.attention import sdpa

        names = node.inputs[:3]
        if any(n not in self.shapes or n not in self.tensors for n in names):
            return False
        views, rest = [self.views.get(n) for n in names], [self.made(n) if n else "" for n in node.inputs[3:]]
        packed = packed_attention(node, views, [self.shapes[n] for n in names])
        alike = self.shapes.get(node.outputs[0]) == self.shapes[names[0]]  # else a mask makes more of the scores
        if packed is not None and views[0] is not None and alike:
            self.add(packed, [views[0].base, *rest], [self._side_by_side(node, node.outputs[0])], node)
            return True
        reads, turned = [self.made(n) for n in (names[0], names[2])], node.attributes["turned"]
        key, view = names[1], views[1]
        if turned and view is not None and len(view.axes) > 1:
            ndim = len(view.axes)
            key, turned = spare(node), 0
            self.views[key] = view.permuted((*range(ndim - 2), ndim - 1, ndim - 2))
            self.makers[key] = node
        function = partial(sdpa, turned=turned, divides=node.attributes["divides"])
        self.add(function, [reads[0], self.made(key), reads[1], *rest], node.outputs, node)
        return True

    def _multiply(self, node: Node) -> bool:
        """A product whose rows stand in another order in memory: computed in that order, and the result is a view."""
        from ._known import known_function

        x, y = node.inputs[0], node.outputs[0]
        view, shapes = self.views.get(x), [self.shapes.get(n) for n in node.inputs]
        linear = known_function(node, shapes)
        if view is None or x not in self.tensors or y not in self.shapes or linear is None:
            return False
        view = view.joined()
        rows = [atom for atoms in view.axes[:-1] for atom in atoms]
        order = sorted(rows, reverse=True)
        if rows == order:
            return False
        sorted_view = View(view.base, (*((atom,) for atom in order), view.axes[-1]), view.picks)
        raw = View.whole(spare(node), (*sorted_view.shape[:-1], self.shapes[y][-1]))
        place = {atom: made for atom, (made,) in zip(order, raw.axes)}
        self.shapes[raw.base] = raw.shape
        self.views[y] = View(raw.base, (*(tuple(place[a] for a in atoms) for atoms in view.axes[:-1]), raw.axes[-1]))
        self.makers[y] = node
        step = sorted_view.step(self.shapes[view.base])
        function = linear if step is None else partial(_after, step, linear)
        self.add(function, [view.base, *node.inputs[1:]], [raw.base], node)
        return True


def _after(first: Callable, then: Callable, x: Any, *rest: Any) -> Any:
    return then(first(x), *rest)
