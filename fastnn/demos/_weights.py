"""What every demo that reads a model of its own asks of the weights: safetensors has no checksum."""

import numpy as np

from ..nn import Module


def check_finite(net: Module) -> None:
    """Raise ValueError if a weight is infinite or NaN."""
    for name, tensor in net.state_dict().items():
        if not np.isfinite(tensor.data).all():
            raise ValueError(f"{name} has numbers that are infinite or NaN")
