"""Whole networks, each on one screen."""

from .mlp import MLP as MLP
from .mlp import Neuron as Neuron

__all__ = ["MLP", "Neuron"]
