"""ONNX: networks as files that other programs run."""

import importlib
from typing import Any

# What is imported when first asked for: name -> module.
_LAZY = {
    "ExportError": "._export_errors",
    "export": "._export",
}

__all__ = ["ExportError", "export"]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'fastnn.onnx' has no attribute {name!r}")
    value = getattr(importlib.import_module(_LAZY[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
