"""The graph of a file as plain Python: nodes in their order, constants as arrays. What the passes work on."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .._errors import FormatError
from ._reader import attribute_value, take_initialisers


@dataclass
class Node:
    """One operator. `captured` are the outer names its subgraphs read; they follow `inputs` when it runs."""

    op: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any] = field(default_factory=dict)
    domain: str = ""
    version: int = 1
    name: str = ""
    captured: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.op} {self.name!r}" if self.name else f"{self.op} -> {', '.join(self.outputs)}"


@dataclass
class Graph:
    """Nodes, and the constants they read; `weights` are the constants that a file calls initialisers.

    `empty` has for each output an array of its type without elements, with the sizes that the file knows. `turned` says
    of a transposed weight which it is.
    """

    inputs: list[str]
    outputs: list[str]
    nodes: list[Node]
    constants: dict[str, np.ndarray]
    weights: set[str]
    empty: list[np.ndarray] = field(default_factory=list)
    turned: dict[str, str] = field(default_factory=dict)

    def readers(self) -> dict[str, int]:
        """How often each name is read, as an output of the graph too."""
        count: dict[str, int] = {}
        for node in self.nodes:
            for name in (*node.inputs, *node.captured):
                count[name] = count.get(name, 0) + 1
        for name in self.outputs:
            count[name] = count.get(name, 0) + 1
        return count

    def names(self) -> set[str]:
        """Every name that stands for something, what subgraphs read from around them included."""
        read = {name for node in self.nodes for name in (*node.inputs, *node.captured, *node.outputs)}
        return read | set(self.inputs) | set(self.outputs) | set(self.constants)

    def makers(self) -> dict[str, Node]:
        """The node that makes each name."""
        return {name: node for node in self.nodes for name in node.outputs if name}


def build(proto: Any, opsets: dict[str, int], folder: Path | None, outer: frozenset[str] = frozenset()) -> Graph:
    """The graph of a GraphProto, with its subgraphs; `outer` are the names around it.

    Raises
    ------
    FormatError
        If a value is read before it is made (as in a cycle), made twice, or an opset is missing.
    """
    constants = take_initialisers(proto, folder)
    inputs = [v.name for v in proto.input if v.name not in constants]
    known = set(inputs) | set(constants)
    if len(set(inputs)) != len(inputs):
        raise FormatError("two inputs of a graph have one name")
    nodes = []
    for n in proto.node:
        node = _node(n, opsets, folder, outer | known)
        for name in (*node.inputs, *node.captured):
            if name and name not in known and name not in outer:
                raise FormatError(f"{node} reads {name!r}, which nothing before it makes (a cycle, or a missing node)")
        for name in node.outputs:
            if name and name in known:
                raise FormatError(f"{node} makes {name!r}, which is there already")
        known.update(name for name in node.outputs if name)
        nodes.append(node)
    outputs = [v.name for v in proto.output]
    for name in outputs:
        if name not in known and name not in outer:
            raise FormatError(f"output {name!r} of the graph is made by no node")
    return Graph(inputs, outputs, nodes, constants, set(constants), [_empty(v.type) for v in proto.output])


def _empty(kind: Any) -> np.ndarray:
    """No values of a tensor type: (0, sizes), 0 where a size is not known."""
    from onnx import helper

    kind = kind.tensor_type
    dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type) if kind.elem_type else np.dtype(np.float32)
    return np.zeros((0, *(max(0, d.dim_value) for d in kind.shape.dim)), dtype)


def _node(n: Any, opsets: dict[str, int], folder: Path | None, known: frozenset[str]) -> Node:
    domain = "" if n.domain == "ai.onnx" else n.domain
    if domain not in opsets or domain == "fastnn":  # the passes' own operators are not for files
        raise FormatError(f"{n.op_type}: the model names no opset for domain {domain!r}")
    attributes = {}
    for a in n.attribute:
        if a.name in attributes or a.ref_attr_name:
            raise FormatError(f"{n.op_type}: attribute {a.name!r} is there twice, or refers to a function's")
        value = attribute_value(a, folder)
        attributes[a.name] = build(value, opsets, folder, known) if a.HasField("g") else value
    node = Node(n.op_type, list(n.input), list(n.output), attributes, domain, opsets[domain], n.name)
    for value in attributes.values():
        if isinstance(value, Graph):
            node.captured += [name for name in free_names(value) if name not in node.captured]
    return node


def free_names(graph: Graph) -> list[str]:
    """What a subgraph reads from around it, each name once."""
    own = set(graph.inputs) | set(graph.constants)
    free: dict[str, None] = {}
    for node in graph.nodes:
        for name in (*node.inputs, *node.captured):
            if name and name not in own:
                free[name] = None
        own.update(node.outputs)
    for name in graph.outputs:
        if name not in own:
            free[name] = None
    return list(free)
