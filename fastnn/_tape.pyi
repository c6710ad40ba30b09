"""Types of the compiled module fastnn._tape."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ._ops import Tensor

_F = TypeVar("_F", bound=Callable[..., Any])

class GradMode:
    def __enter__(self) -> GradMode: ...
    def __exit__(self, *exc: Any) -> None: ...
    def __call__(self, function: _F) -> _F: ...

class no_grad(GradMode): ...
class enable_grad(GradMode): ...

def is_grad_enabled() -> bool: ...
def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Any, ...]: ...
