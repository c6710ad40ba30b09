"""Pictures of training and of what was learned; each function draws on a matplotlib Axes and returns it.

matplotlib comes with `pip install "fastnn[plot]"` and is imported by the first picture, not before. Without `ax`, a
new figure of pyplot is made.
"""

from ._convolution import feature_maps as feature_maps
from ._convolution import filters as filters
from ._graph import graph as graph
from ._neuron import neuron as neuron
from ._pictures import boxes as boxes
from ._pictures import confusion as confusion
from ._pictures import saliency as saliency
from ._training import learning_curve as learning_curve
from ._training import predicted_against_true as predicted_against_true
from ._training import weights as weights

__all__ = [
    "boxes",
    "confusion",
    "feature_maps",
    "filters",
    "graph",
    "learning_curve",
    "neuron",
    "predicted_against_true",
    "saliency",
    "weights",
]
