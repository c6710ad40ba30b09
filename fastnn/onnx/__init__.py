"""ONNX: networks as files that other programs run. Needs the extra `onnx`.

fastnn.onnx.export(net, example, "net.onnx", dynamic_axes={"x": {0: "batch"}})
"""

import importlib
from typing import Any

# What is imported when first asked for: name -> (module, attribute; None for the module itself).
_LAZY = {
    "ExportError": ("._export_errors", "ExportError"),
    "export": ("._export", "export"),
}

__all__ = ["ExportError", "export"]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'fastnn.onnx' has no attribute {name!r}")
    module, attribute = _LAZY[name]
    value = importlib.import_module(module, __name__)
    value = value if attribute is None else getattr(value, attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
