"""Which function computes which operator, for which opset versions.

A function takes the operator's inputs in their order (None for one left out) and its attributes by name, with ONNX's
defaults; one that asks for `outputs` is told how many are wanted. What it does not name, it does not know: a node with
another attribute is refused, not run without it.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .._errors import FormatError
from ._values import widened

LATEST = {"": 28, "ai.onnx.ml": 5, "ai.onnx.preview": 1, "ai.onnx.preview.training": 1}  # opsets these functions follow


@dataclass(frozen=True)
class Operator:
    """One function and the opset versions [since, until] it holds for."""

    function: Callable
    since: int
    until: int
    attributes: frozenset[str]
    inputs: tuple[int, int]  # fewest, most


OPERATORS: dict[tuple[str, str], list[Operator]] = {}


CONTROL: dict[tuple[str, str], tuple[int, ...]] = {}  # inputs that are read as numbers, never trained
RANDOM: set[tuple[str, str]] = set()  # operators whose results differ from run to run


def control_inputs(node: Any) -> tuple[int, ...]:
    """Which inputs of a node are read as numbers and never trained."""
    from . import ops  # noqa: F401  (fills the table)

    return CONTROL.get((node.domain, node.op), ())


def op(
    *names: str,
    since: int = 1,
    until: int = 1000,
    domain: str = "",
    half: bool = False,
    control: tuple[int, ...] = (),
    random: bool = False,
) -> Callable:
    """Register a function as the operators `names`.

    `half`: 16-bit floats are computed in float32. `control`: which inputs are read as numbers and never trained.
    `random`: its results differ from run to run.
    """

    def register(function: Callable) -> Callable:
        attributes, least, most = _signature(function)
        run = widened(function) if half else function
        for name in names:
            made = Operator(run, since, until, attributes, (least, most))
            OPERATORS.setdefault((domain, name), []).append(made)
            if control:
                CONTROL[domain, name] = control
            if random:
                RANDOM.add((domain, name))
        return function

    return register


def _signature(function: Callable) -> tuple[frozenset[str], int, int]:
    """The attributes a function knows, and the fewest and most inputs it takes."""
    names, least, most = [], 0, 0
    for p in inspect.signature(function).parameters.values():
        if p.kind is p.KEYWORD_ONLY:
            names.append(p.name)
        elif p.kind is p.VAR_POSITIONAL:
            most = 1 << 31
        elif p.kind is p.POSITIONAL_OR_KEYWORD:
            most += 1
            least += p.default is p.empty
    return frozenset(names), least, most


def find(domain: str, name: str, version: int) -> Operator:
    """The operator of an opset version.

    Raises
    ------
    FormatError
        If it is not there.
    """
    from . import ops  # noqa: F401  (fills the table)

    found = OPERATORS.get((domain, name), ())
    for operator in found:
        if operator.since <= version <= operator.until:
            return operator
    where = f"domain {domain!r}" if domain else "ONNX"
    if found:
        raise FormatError(f"operator {name} of {where} is not supported in opset {version}")
    raise FormatError(f"operator {name} of {where} is not supported")


def check_attributes(operator: Operator, name: str, attributes: dict[str, Any]) -> None:
    """Refuse attributes that the function does not know."""
    unknown = sorted(set(attributes) - operator.attributes)
    if unknown:
        raise FormatError(f"{name}: attribute {unknown[0]!r} is not supported")
