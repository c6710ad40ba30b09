"""Evaluation mode for a while."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from ._module import Module


class _While:
    """Of one module: how many evaluate it now, and the parts that were in training mode before."""

    def __init__(self) -> None:
        self.users = 0
        self.training: list[Module] = []


_lock = Lock()
_under_way: dict[int, _While] = {}


@contextmanager
def evaluating(module: Module) -> Iterator[None]:
    """Put a module into evaluation mode for a while; the last thread to leave puts each part back into its own."""
    with _lock:
        now = _under_way.setdefault(id(module), _While())
        now.users += 1
        now.training += [part for part in module.modules() if part.training]
        module.eval()
    try:
        yield
    finally:
        with _lock:
            now.users -= 1
            if not now.users:
                del _under_way[id(module)]
                for part in now.training:
                    part.training = True
