"""What the passes ask of a graph: who makes a value, who else reads it, which numbers are constant."""

from collections.abc import Iterator

import numpy as np

from ._graph import Graph, Node
from ._values import FLOATS


class Links:
    """Who makes and who reads each value of a graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.makers = graph.makers()
        self.counts = graph.readers()
        self.gone: set[int] = set()

    def before(self, name: str, *ops: str) -> Node | None:
        """The node of one of these operators that makes a value nobody else reads."""
        node = self.makers.get(name)
        if node is None or node.op not in ops or not _plain(node) or id(node) in self.gone:
            return None
        return node if self.counts.get(name) == 1 and sum(bool(o) for o in node.outputs) == 1 else None

    def drop(self, *nodes: Node) -> None:
        """Forget nodes that another has taken in."""
        self.gone.update(id(n) for n in nodes)

    def finish(self) -> None:
        """Take the forgotten nodes out of the graph."""
        self.graph.nodes = [n for n in self.graph.nodes if id(n) not in self.gone]


def new_weight(graph: Graph, name: str, data: np.ndarray, alone: bool) -> str:
    """Put a weight among the constants: under `name` if that is free or its one reader is served, else a new one.

    A new one has memory of its own, for it is trained apart from the one it was made of.
    """
    taken = set() if alone else graph.names()
    while name in taken:
        name += "_"
    graph.constants[name] = np.ascontiguousarray(data) if alone else np.array(data, order="C")
    graph.weights.add(name)
    return name


def constant(graph: Graph, node: Node, i: int) -> np.ndarray | None:
    """The floats of a node's input that is constant."""
    name = node.inputs[i] if i < len(node.inputs) else ""
    data = graph.constants.get(name)
    return data if data is not None and data.dtype.num in FLOATS else None


def each(links: Links, *ops: str) -> Iterator[Node]:
    """The nodes of some operators, those left out that another has taken in meanwhile."""
    for node in list(links.graph.nodes):
        if node.op in ops and _plain(node) and id(node) not in links.gone:
            yield node


def _plain(node: Node) -> bool:
    """An operator known here, that does not place its second input along an axis of its first as opset 6 could."""
    return node.domain in ("", "fastnn") and not ("broadcast" in node.attributes and "axis" in node.attributes)


def number(graph: Graph, name: str) -> float | None:
    """The constant under a name, if that is one float."""
    data = graph.constants.get(name)
    return float(data.reshape(())) if data is not None and data.size == 1 and data.dtype.kind == "f" else None
