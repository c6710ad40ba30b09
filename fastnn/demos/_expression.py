"""An activation from the command line: a name, or a formula of z, read without ever evaluating Python code.

Formulas are parsed to Python's syntax tree, of which only numbers, z, + - * / **, signs and calls of the functions
below are understood; everything else is refused by name.
"""

import ast
import operator
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import fastnn as fnn
from fastnn.nn import functional

from .._cli import CommandError

LONGEST = 200

_TENSOR = ("exp", "log", "sqrt", "sin", "cos", "abs", "sign", "square", "erf")
_NETWORK = ("relu", "tanh", "sigmoid", "gelu", "silu", "leaky_relu", "elu", "softplus")
FUNCTIONS: dict[str, Callable] = {
    "identity": lambda z: z * 1.0,
    "step": lambda z: (z > 0).float() + z * 0.0,  # with a slope that is zero everywhere
    **{name: getattr(functional, name) for name in _NETWORK},
    **{name: getattr(fnn, name) for name in _TENSOR},
    "max": fnn.maximum,
    "min": fnn.minimum,
}
NAMES = tuple(name for name in FUNCTIONS if name not in ("max", "min"))
_TWO = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}


def activation(text: str) -> Callable:
    """Return the function of a Tensor that `text` names or spells out.

    Raises
    ------
    CommandError
        For anything that is neither a known name nor a formula of z.

    Examples
    --------
    >>> import fastnn as fnn
    >>> activation("max(z, 0) + z / 2")(fnn.tensor([-1.0, 1.0])).tolist()
    [-0.5, 1.5]
    """
    if text in NAMES:
        return FUNCTIONS[text]
    if len(text) > LONGEST:
        raise CommandError(f"the activation is {len(text)} characters long; at most {LONGEST}")
    tree: ast.AST = ast.Pass()  # for what does not parse: no z in it
    with suppress(SyntaxError, ValueError, RecursionError, MemoryError):
        tree = ast.parse(text.strip(), mode="eval").body
    if not any(isinstance(node, ast.Name) and node.id == "z" for node in ast.walk(tree)):
        known = ", ".join(NAMES)
        raise CommandError(f"unknown activation {text!r}: a formula of z such as 'z**2', or one of {known}")
    function = partial(_value, tree)
    try:
        function(fnn.tensor([0.5]))
    except (ArithmeticError, TypeError, ValueError, RecursionError) as error:
        raise CommandError(f"the activation {text!r} cannot be computed: {error}") from None
    return function


def _value(node: ast.AST, z):
    """Return the value of a node of the tree, a Tensor or a float."""
    match node:
        case ast.Name(id="z"):
            return z
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return float(number)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, z)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _value(operand, z)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _TWO:
            return _TWO[type(op)](_value(left, z), _value(right, z))
        case ast.Call(func=ast.Name(id=name), args=[_, *_] as args, keywords=[]) if name in FUNCTIONS:
            values = (_value(arg, z) for arg in args)
            return FUNCTIONS[name](*(z * 0.0 + value if isinstance(value, float) else value for value in values))
    raise CommandError(f"the activation may hold numbers, z, + - * / ** and functions, but not {ast.unparse(node)!r}")
