"""Checking gradients by central differences, along one random direction at a time.

A random projection turns the whole Jacobian into one number: <u, f(x + h v) - f(x - h v)> / 2h on one side,
<backward(u), v> on the other. One wrong entry anywhere moves it, and a check costs two evaluations of f whatever the
sizes. """

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ._ops import Tensor, tensor
from ._random import from_seed
from ._tape import enable_grad, grad, no_grad


def gradcheck(
    f: Callable[..., Any],
    inputs: Tensor | Sequence[Any],
    *,
    eps: float = 1e-5,
    atol: float = 1e-6,
    rtol: float = 1e-4,
    directions: int = 2,
    order: int = 1,
    seed: int = 0,
) -> bool:
    """Compare the gradients of f with central differences.

    Parameters
    ----------
    f : callable
        Takes the inputs, returns a Tensor or a tuple or list of them. It must be smooth near the inputs, and the same
        at each call.
    inputs : Tensor or sequence
        Float Tensors are checked, in float64; anything else is handed to f as it is.
    eps : float
        The step of the central difference.
    atol, rtol : float
        The two numbers may differ by atol + rtol * their size.
    directions : int
        How many random directions are tried.
    order : {1, 2}
        2 checks the gradients of the gradients as well, and those that backward gives with create_graph=True.
    seed : int
        Of the directions.

    Returns
    -------
    bool
        True; a failure raises.

    Raises
    ------
    AssertionError
        If a gradient is wrong: the message names the input and both numbers.
    TypeError
        If no input, or nothing that f returns, is a float Tensor; if `seed` is no integer.
    ValueError
        If `order` is neither 1 nor 2, or `eps` is not above 0.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.gradcheck(lambda x: (x * x).sum(), fnn.tensor([1.0, 2.0]))
    True
    """
    if order not in (1, 2):
        raise ValueError(f"gradcheck: order must be 1 or 2, got {order}")
    if not (eps := float(eps)) > 0:
        raise ValueError(f"gradcheck: eps must be above 0, got {eps}")
    given = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    places = [i for i, x in enumerate(given) if isinstance(x, Tensor) and x.dtype.kind == "f"]
    if not places:
        raise TypeError("gradcheck: expected at least one float Tensor among the inputs")
    points = [np.asarray(given[i].data, np.float64) for i in places]

    def call(arrays: Sequence[Any]) -> tuple[Tensor, ...]:
        arguments = list(given)
        for i, a in zip(places, arrays):
            arguments[i] = a if isinstance(a, Tensor) else _leaf(a, False)
        result = f(*arguments)
        outputs = result if isinstance(result, tuple | list) else (result,)
        floats = tuple(y for y in outputs if isinstance(y, Tensor) and y.dtype.kind == "f")
        if not floats:
            raise TypeError(f"gradcheck: f returned {type(result).__name__}; expected at least one float Tensor")
        return floats

    rng = from_seed("gradcheck", seed)
    for _ in range(directions):
        _check(call, points, rng, eps, atol, rtol, [f"input {i}" for i in places])
        if order == 2:
            # A recorded backward may be other code, and where that is wrong its own derivatives may fit it.
            _check(call, points, rng, eps, atol, rtol, [f"input {i} (create_graph=True)" for i in places], True)
            _check_second(call, points, rng, eps, atol, rtol, [f"input {i}" for i in places])
    return True


def _leaf(array: np.ndarray, requires_grad: bool) -> Tensor:
    """A tensor with the array's strides: a check of strided inputs must stay one."""
    base = Tensor(array.copy(order="K") if array.flags.forc else _strided_copy(array))
    return base.requires_grad_(requires_grad)


def _strided_copy(array: np.ndarray) -> np.ndarray:
    """A copy that is as little contiguous as the array was: every second element of a larger one."""
    wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
    wide[..., ::2] = array
    return wide[..., ::2]


def _check(
    call: Callable,
    points: list[np.ndarray],
    rng: np.random.Generator,
    eps: float,
    atol: float,
    rtol: float,
    names: list[str],
    create_graph: bool = False,
) -> None:
    leaves = [_leaf(p, True) for p in points]
    outputs = call(leaves)
    weights = [tensor(rng.standard_normal(y.shape), dtype=y.dtype) for y in outputs]
    live = [(y, w) for y, w in zip(outputs, weights) if y.requires_grad]
    if live:
        gradients = grad(
            [y for y, _ in live], leaves, [w for _, w in live], create_graph=create_graph, allow_unused=True
        )
    else:
        gradients = (None,) * len(leaves)
    for k, name in enumerate(names):
        direction = rng.standard_normal(points[k].shape)
        with no_grad():
            ends = []
            for sign in (1, -1):
                moved = [p + sign * eps * direction if i == k else p for i, p in enumerate(points)]
                there = [_leaf(m if i != k else _like(m, points[k]), False) for i, m in enumerate(moved)]
                ends.append(sum(float(np.vdot(w.data, y.data)) for w, y in zip(weights, call(there))))
        numeric = (ends[0] - ends[1]) / (2 * eps)
        g = gradients[k]
        if g is not None and g.shape != points[k].shape:
            raise AssertionError(f"gradcheck: the gradient of {name} has shape {g.shape}; expected {points[k].shape}")
        analytic = 0.0 if g is None else float(np.vdot(g.data, direction))
        if not abs(analytic - numeric) <= atol + rtol * max(abs(analytic), abs(numeric)):
            raise AssertionError(
                f"gradcheck: the gradient of {name} along a random direction is {analytic:.10g}, by central "
                f"differences {numeric:.10g} (difference {abs(analytic - numeric):.3g})"
            )


def _like(moved: np.ndarray, point: np.ndarray) -> np.ndarray:
    """moved, contiguous or not as point is."""
    return moved if point.flags.forc else _strided_copy(moved)


def _check_second(
    call: Callable,
    points: list[np.ndarray],
    rng: np.random.Generator,
    eps: float,
    atol: float,
    rtol: float,
    names: list[str],
) -> None:
    """The gradients of f, as a function of its inputs, checked in their turn."""
    shapes = [y.shape for y in call([_leaf(p, False) for p in points])]
    weights = [tensor(rng.standard_normal(s)) for s in shapes]

    def gradients(leaves: Sequence[Any]) -> tuple[Tensor, ...]:
        with enable_grad():
            arguments = [
                x if isinstance(x, Tensor) and x.requires_grad else Tensor(x, requires_grad=True) for x in leaves
            ]
            outputs = call(arguments)
            live = [(y, w) for y, w in zip(outputs, weights) if y.requires_grad]
            found = grad([y for y, _ in live], arguments, [w for _, w in live], create_graph=True, allow_unused=True)
        return tuple(Tensor(np.zeros(x.shape)) if g is None else g for g, x in zip(found, arguments))

    _check(gradients, points, rng, eps, atol, rtol, [f"{n} (second derivative)" for n in names])
