"""Function: an operation whose backward is written in Python."""

from typing import Any

from . import _ops
from ._ops import Tensor


class Context:
    """What `forward` leaves for `backward`. Any attribute may be set on it; tensors go through `save_for_backward`.

    Attributes
    ----------
    saved_tensors : tuple of Tensor
    needs_input_grad : tuple of bool
        Per argument of `forward`, whether its gradient is wanted; known in `backward`.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._saved: tuple[Tensor | None, ...] = ()
        self._versions: list[int] = []
        self._outputs: list[tuple[int, int, Tensor]] = []  # what is saved that is an output: place, number, the tensor
        self._recorded: dict[int, Tensor] = {}  # the same with their history, while a backward is recorded
        self.needs_input_grad: tuple[bool, ...] = ()

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep tensors for `backward`, which raises if one of them was changed in place meanwhile."""
        for t in tensors:
            if t is not None and not isinstance(t, Tensor):
                raise TypeError(f"save_for_backward: expected Tensors or None, got {type(t).__name__}")
        self._saved = tensors
        self._versions = [0 if t is None else _ops.version_of(t) for t in tensors]

    @property
    def saved_tensors(self) -> tuple[Tensor | None, ...]:
        """What `save_for_backward` was given."""
        _ops.check_saved(self._versions, self._saved, self._name)
        return tuple(self._recorded.get(at, t) for at, t in enumerate(self._saved))


class Function:
    """Base class of custom operations: subclass it, write `forward` and `backward`, call ``apply``.

    Both are static methods. ``forward(ctx, *args)`` computes and returns one Tensor or a tuple of Tensors; nothing in
    it is recorded. ``backward(ctx, *grads)`` gets the gradient of each output and returns one gradient per argument of
    forward (None for those that have none). Written with fastnn's operations it can itself be differentiated.

    Examples
    --------
    >>> import fastnn as fnn
    >>> class Double(fnn.Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         return x + x
    ...     @staticmethod
    ...     def backward(ctx, dy):
    ...         return 2 * dy
    >>> x = fnn.ones(2, requires_grad=True)
    >>> Double.apply(x).sum().backward()
    >>> x.grad
    tensor([2., 2.])
    """

    @staticmethod
    def forward(ctx: Context, *args: Any) -> Any:
        """Compute the outputs; to be written by the subclass."""
        raise NotImplementedError("a Function needs a static method forward(ctx, *args)")

    @staticmethod
    def backward(ctx: Context, *grads: Tensor) -> Any:
        """Compute the gradients of the arguments; to be written by the subclass."""
        raise NotImplementedError("a Function needs a static method backward(ctx, *grads)")

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Run `forward` on args and record `backward`.

        Raises
        ------
        TypeError
            If forward returns something else than Tensors.
        ValueError
            If backward returns the wrong number of gradients, or one of a wrong shape (raised in the backward pass).
        """
        return _ops.apply_function(cls, Context(cls.__name__), args)
