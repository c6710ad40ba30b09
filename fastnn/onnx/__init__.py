"""ONNX: models of other packages run on fastnn's kernels, and fastnn's in other programs. Needs the extra `onnx`.

    model = fastnn.onnx.load("model.onnx")  # a Module
    y = model(x)
    fastnn.onnx.export(net, example, "net.onnx", dynamic_axes={"x": {0: "batch"}})

`fastnn.onnx.backend` is the interface of ONNX's own test suite. Which operators there are stands in docs/onnx.md.
"""

import importlib
from typing import Any

# What is imported when first asked for: name -> (module, attribute; None for the module itself).
_LAZY = {
    "ExportError": ("._export_errors", "ExportError"),
    "OnnxModule": ("._module", "OnnxModule"),
    "backend": (".backend", None),
    "export": ("._export", "export"),
    "load": ("._module", "load"),
}

__all__ = ["ExportError", "OnnxModule", "backend", "export", "load"]


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
