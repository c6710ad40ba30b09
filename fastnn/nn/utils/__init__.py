"""What stands beside the layers, under PyTorch's names."""

from . import parametrizations as parametrizations
from . import rnn as rnn
from .parametrizations import spectral_norm as spectral_norm

__all__ = ["parametrizations", "rnn", "spectral_norm"]
