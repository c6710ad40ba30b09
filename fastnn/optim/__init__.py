"""Optimizers and learning-rate schedules, under PyTorch's names and with its numbers."""

from . import lr_scheduler as lr_scheduler
from . import swa_utils as swa_utils
from ._algorithms import SGD as SGD
from ._algorithms import Adam as Adam
from ._algorithms import AdamW as AdamW
from ._algorithms import RMSprop as RMSprop
from ._optimizer import Optimizer as Optimizer

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "RMSprop", "lr_scheduler", "swa_utils"]
