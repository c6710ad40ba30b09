"""fastnn as a backend of ONNX's own test suite (`onnx.backend.test`)."""

from typing import Any

import numpy as np
from onnx.backend.base import Backend, BackendRep

from .._ops import Tensor
from .._tape import no_grad
from ._module import OnnxModule, load


class FastnnRep(BackendRep):
    """A loaded model, whose `run` takes and returns arrays."""

    def __init__(self, module: OnnxModule) -> None:
        self.module = module

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """The outputs for inputs in the graph's order, or by name from a dict."""
        with no_grad():
            named = (
                dict(inputs) if isinstance(inputs, dict) else dict(zip(self.module.input_names, inputs, strict=True))
            )
            return tuple(_plain(o) for o in self.module.named(**named).values())


def _plain(out: Any) -> Any:
    if isinstance(out, list):
        return [_plain(o) for o in out]
    return out.data if isinstance(out, Tensor) else out if out is None else np.asarray(out)


class FastnnBackend(Backend):
    """Runs models on the CPU.

    Examples
    --------
    >>> FastnnBackend.supports_device("CPU"), FastnnBackend.supports_device("CUDA")
    (True, False)
    """

    @classmethod
    def prepare(cls, model: Any, device: str = "CPU", **kwargs: Any) -> FastnnRep:
        """Load a ModelProto."""
        if not cls.supports_device(device):
            raise ValueError(f"prepare: device must be 'CPU', got {device!r}")
        return FastnnRep(load(model))

    @classmethod
    def run_model(cls, model: Any, inputs: Any, device: str = "CPU", **kwargs: Any) -> tuple[Any, ...]:
        """Load a ModelProto and run it once."""
        return cls.prepare(model, device, **kwargs).run(inputs)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """The CPU alone."""
        return device.split(":")[0] == "CPU"


prepare = FastnnBackend.prepare
run_model = FastnnBackend.run_model
supports_device = FastnnBackend.supports_device
