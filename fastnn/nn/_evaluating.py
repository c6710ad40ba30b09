"""Evaluation mode for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

from ._module import Module


@contextmanager
def evaluating(module: Module) -> Iterator[None]:
    """Put a module into evaluation mode for a while, each part of it back into its own afterwards."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True
