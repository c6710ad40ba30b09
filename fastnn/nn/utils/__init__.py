"""What stands beside the layers, under PyTorch's names."""

from ..clip import clip_grad_norm_ as clip_grad_norm_
from ..clip import clip_grad_value_ as clip_grad_value_
from . import parametrizations as parametrizations
from . import rnn as rnn
from .parametrizations import spectral_norm as spectral_norm

__all__ = ["clip_grad_norm_", "clip_grad_value_", "parametrizations", "rnn", "spectral_norm"]
