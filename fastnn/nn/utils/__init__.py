"""What stands beside the layers, under PyTorch's names."""

from . import rnn as rnn

__all__ = ["rnn"]
