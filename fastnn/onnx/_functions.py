"""Functions that a model brings along: written out where they are called, by the onnx package's own inliner."""

from collections.abc import Iterator
from typing import Any

from .._errors import FormatError
from ._reader import subgraphs


def inlined(model: Any) -> Any:
    """The model without local functions.

    Raises
    ------
    FormatError
        If functions call themselves.
    """
    if not model.functions:
        return model
    calls = {(f.domain, f.name): set(_called(f.node)) for f in model.functions}
    state: dict[tuple[str, str], int] = {}  # 1: being visited, 2: done

    def visit(function: tuple[str, str]) -> None:
        if state.get(function) == 1:
            raise FormatError(f"function {function[1]!r} calls itself")
        if function in state:
            return
        state[function] = 1
        for inner in calls[function]:
            if inner in calls:
                visit(inner)
        state[function] = 2

    for function in calls:
        visit(function)
    _fill_in(model)
    from onnx import inliner

    return inliner.inline_local_functions(model, convert_version=True)  # of functions of another opset


def _fill_in(model: Any) -> None:
    """Write into each call what the function has for attributes left out: the inliner forgets it."""
    standard = {(f.domain, f.name): f.attribute_proto for f in model.functions}

    def fill(nodes: Any) -> None:
        for node in nodes:
            given = {a.name for a in node.attribute}
            node.attribute.extend(a for a in standard.get((node.domain, node.op_type), ()) if a.name not in given)
            for _, graph in subgraphs(node):
                fill(graph.node)

    fill(model.graph.node)
    for function in model.functions:
        fill(function.node)


def _called(nodes: Any) -> Iterator[tuple[str, str]]:
    for node in nodes:
        yield node.domain, node.op_type
        for _, graph in subgraphs(node):
            yield from _called(graph.node)
