"""The table of what can be exported: the name of an operation -> the function that writes it as nodes.

A writer is called as the operation was, with the graph in front, recorded tensors for tensors and Dims for dynamic
sizes. It returns the name of the result, or one for each result, or an argument that is the result as it is. What the
operation gave in the example is `g.result`.
"""

from collections.abc import Callable
from typing import Any

WRITERS: dict[str, Callable[..., Any]] = {}


def writes(*names: str) -> Callable[[Callable], Callable]:
    """Put the function below into the table under these names."""

    def put(function: Callable) -> Callable:
        WRITERS.update(dict.fromkeys(names, function))
        return function

    return put
