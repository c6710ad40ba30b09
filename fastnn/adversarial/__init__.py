"""Networks that train against each other: losses, penalties, augmentation that lets gradients through, the loop."""

from ._augment import Augment as Augment
from ._losses import discriminator_loss as discriminator_loss
from ._losses import generator_loss as generator_loss
from ._losses import gradient_penalty as gradient_penalty
from ._losses import r1_penalty as r1_penalty
from ._training import Pair as Pair
from ._training import fit as fit

__all__ = [
    "Augment",
    "Pair",
    "discriminator_loss",
    "fit",
    "generator_loss",
    "gradient_penalty",
    "r1_penalty",
]
