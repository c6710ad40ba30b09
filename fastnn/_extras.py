"""Optional packages: each is imported where it is used, and its absence is one clear line."""

from importlib import import_module
from types import ModuleType


class MissingExtraError(ModuleNotFoundError):
    """An optional package is not installed; the message says how to get it."""


def require(module: str, extra: str, who: str) -> ModuleType:
    """Import and return `module`, on which `who` depends and which `pip install "fastnn[extra]"` brings.

    Raises
    ------
    MissingExtraError
        If it is not installed.

    Examples
    --------
    >>> require("json", "demo", "this example").__name__
    'json'
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        missing = (error.name or module).partition(".")[0]  # or what the package itself misses
        message = f'{who} needs {missing}, which is not installed: pip install "fastnn[{extra}]"'
        raise MissingExtraError(message, name=error.name) from None
