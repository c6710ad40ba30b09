"""fit: two networks that train against each other, by the loop of `fastnn.fit`.

A step: the generator makes examples; the discriminator moves, having seen those and real ones; then the generator moves
by what the discriminator, held still, says of the same examples. Both sit in one Pair with the running mean of the
generator, and in one optimizer as its two groups, of which a group without gradients stays where it is: so checkpoints,
Ctrl-C and resuming are those of every training.
"""

import os
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .. import _checkpoint, _feed, _ops
from .._fit import seeded
from .._history import History
from .._ops import Tensor
from .._random import generator as random_generator
from .._training import Training
from ..nn import functional as F
from ..nn._module import Module
from ..optim import Adam
from ..optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from ._losses import LOSSES, discriminator_loss, generator_loss, gradient_penalty, r1_penalty

PENALTIES = ("gradient", "r1")
Rates = float | tuple[float, float]


class Pair(Module):
    """Two networks and the running mean of one: what `fit` trains and returns.

    Parameters
    ----------
    generator : Module
        `generator(z, *conditions)`, or `generator(*conditions)` if it has no attribute `latent`.
    discriminator : Module
        `discriminator(x, *conditions)`.
    decay : float
        Of the running mean, from 0 to 1.

    Attributes
    ----------
    generator, discriminator : Module
    average : AveragedModel
        Of the generator: what one draws examples with.

    Raises
    ------
    ValueError
        If decay is out of bounds.

    Examples
    --------
    >>> import fastnn as fnn
    >>> net, judge = fnn.models.Generator((8, 4), 8, latent=5), fnn.models.Discriminator((4,), 8)
    >>> fnn.adversarial.Pair(net, judge, 0.99).eval().make(3, ()).shape
    (3, 1, 8, 8)
    """

    def __init__(self, generator: Module, discriminator: Module, decay: float) -> None:
        self.generator, self.discriminator = generator, discriminator
        # The buffers too: the statistics of BatchNorm belong to the weights that they were taken with.
        self.average = AveragedModel(generator, get_ema_multi_avg_fn(decay), use_buffers=True)

    def make(self, count: int, conditions: tuple) -> Tensor:
        """Return `count` new examples by the generator; from noise if it has an attribute `latent`."""
        latent = getattr(self.generator, "latent", 0)
        if not latent:
            return self.generator(*conditions)
        noise = random_generator().standard_normal((count, latent), np.float32)
        return self.generator(_ops.from_numpy(noise.astype(_feed.dtype_of(self.generator))), *conditions)


class _Adversarial(Training):
    """A training of a Pair; what the batches are made of is said in `fit`."""

    def __init__(
        self, pair: Pair, optimizer: Adam, schedule: Any, game: dict[str, Any], callbacks: Iterable[Callable]
    ) -> None:
        super().__init__(pair, generator_loss, optimizer, schedule, {}, callbacks, None)
        self.pair, self.game = pair, game
        # What the caller has frozen in the discriminator stays so.
        self.judging = [p for p in pair.discriminator.parameters() if p.requires_grad]
        if not self.judging:
            raise ValueError("adversarial.fit: no parameter of the discriminator requires a gradient; nothing to learn")

    def judge_learns(self, learns: bool) -> None:
        """Ask for gradients of what the discriminator learns, or for none."""
        for parameter in self.judging:
            parameter.requires_grad_(learns)

    def learn(self, inputs: tuple, targets: tuple) -> tuple[dict[str, float], Any]:
        """Move the discriminator, then the generator."""
        real, *rest = *inputs, *targets
        conditions = tuple(rest)
        fake = self.pair.make(len(real), conditions)
        if fake.shape != real.shape:
            raise ValueError(f"adversarial.fit: the generator makes {fake.shape}, the data are {real.shape}")
        d_loss = self._discriminate(real, fake.detach(), conditions)
        numbers = self._generate(real, fake, conditions)
        self.pair.average.update_parameters(self.pair.generator)
        return numbers | {"d_loss": d_loss}, fake

    def _discriminate(self, real: Tensor, fake: Tensor, conditions: tuple) -> float:
        game, judge = self.game, self.pair.discriminator
        self.judge_learns(True)
        both = game["augment"](_ops.cat([real, fake]))
        said = judge(both, *(_ops.cat([c, c]) for c in conditions))
        loss = discriminator_loss(said[: len(real)], said[len(real) :], game["loss"])
        number = self.checked(float(loss))
        if game["penalty"] is not None and self.state.step % game["penalty_every"] == 0:
            # Asked for every k-th time only, it weighs k-fold.
            weight = game["penalty_weight"] * game["penalty_every"]
            seen = both[: len(real)].detach()
            if game["penalty"] == "r1":
                loss = loss + weight * r1_penalty(judge, seen, *conditions)
            else:
                loss = loss + weight * gradient_penalty(judge, seen, both[len(real) :].detach(), *conditions)
            self.checked(float(loss))
        self.optimizer.zero_grad()
        loss.backward()
        self.move()
        return number

    def _generate(self, real: Tensor, fake: Tensor, conditions: tuple) -> dict[str, float]:
        game, judge = self.game, self.pair.discriminator
        self.judge_learns(False)  # its weights' gradients are a third of the work, and nobody wants them
        loss = generator_loss(judge(game["augment"](fake), *conditions), game["loss"])
        numbers = {"loss": float(loss)}
        if game["l1"]:
            away = F.l1_loss(fake, real)
            numbers["l1"] = float(away)
            # Warming up, it hears nothing of the discriminator, which learns meanwhile.
            heard = self.state.step >= game["warmup"]
            loss = loss + game["l1"] * away if heard else game["l1"] * away
        self.checked(float(loss))
        self.optimizer.zero_grad()
        loss.backward()
        self.move()
        return numbers


def fit(
    generator: Module,
    discriminator: Module,
    data: Any,
    *,
    epochs: int | None = None,
    steps: int | None = None,
    loss: str = "hinge",
    penalty: str | None = None,
    penalty_weight: float = 10.0,
    penalty_every: int = 1,
    l1: float = 0.0,
    warmup: int = 0,
    augment: Callable | None = None,
    lr: Rates = 2e-4,
    betas: tuple[float, float] = (0.5, 0.999),
    schedule: Callable | None = None,
    decay: float = 0.999,
    batch_size: int = 32,
    callbacks: Iterable[Callable] = (),
    progress: bool | None = None,
    seed: int | None = 0,
    checkpoint: str | os.PathLike | None = None,
    resume: bool = False,
) -> tuple[Pair, History]:
    """Train a generator and a discriminator against each other.

    Three games, by what the batches hold and whether the generator has an attribute `latent`, the width of its noise:

    - `(x,)`: examples out of noise, ``generator(z)``, ``discriminator(x)``;
    - `(x, label)`: of a class, ``generator(z, label)``, ``discriminator(x, label)``;
    - `(x, input)`, no `latent`: one picture out of another, ``generator(input)``, ``discriminator(x, input)``.

    Parameters
    ----------
    generator, discriminator : Module
        Trained in place, but for parameters that require no gradient.
    data : array, tuple of arrays, Dataset, DataLoader or iterable of batches
        As in `fastnn.fit`.
    epochs, steps : int
        When to end, whichever comes first; a step moves both networks.
    loss : {"hinge", "non-saturating", "wasserstein"}
        See `discriminator_loss`.
    penalty : {None, "gradient", "r1"}
        On the slope of the discriminator: `gradient_penalty` ("wasserstein" needs it or spectral norm) or `r1_penalty`.
    penalty_weight : float
    penalty_every : int
        Computed in each k-th step alone, and weighs k-fold there.
    l1 : float
        Weight of the mean absolute difference between what is made and x, for the third game.
    warmup : int
        In so many first steps the generator moves by `l1` alone, which must not be zero then.
    augment : callable, optional
        Differentiable; what the discriminator is shown goes through it, see `Augment`.
    lr : float or (float, float)
        Of Adam, for the generator and the discriminator.
    betas : (float, float)
        Of Adam.
    schedule : callable, optional
        Called with that Adam, whose groups are the generator and the discriminator, to make one of
        `fastnn.optim.lr_scheduler`; its `per` says whether it steps per "epoch" or per "step" (of both networks).
    decay : float
        Of the running mean of the generator's weights.
    batch_size : int
        For arrays and Datasets.
    callbacks, progress, seed, checkpoint, resume
        As in `fastnn.fit`; `state.model` is the Pair.

    Returns
    -------
    pair : Pair
        In evaluation mode; `pair.average` makes the best examples.
    history : History
        Per epoch "loss", the generator's, "d_loss", the discriminator's without its penalty, "l1", and "lr", the
        generator's.

    Raises
    ------
    ValueError, TypeError
        If an argument does not make sense, or the checkpoint is of other networks; nothing has been changed then.
    OSError
        If `checkpoint` is a folder or in none, before anything has been changed, or if it cannot be written.
    FloatingPointError
        If a loss becomes infinite or nan.
    FormatError
        If the checkpoint is damaged.

    Notes
    -----
    Real and generated examples go through the discriminator in one batch: it should have no BatchNorm.

    References
    ----------
    Goodfellow and others, "Generative adversarial nets", 2014; Isola and others, "Image-to-image translation with
    conditional adversarial networks", 2017.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn as fnn
    >>> class Line(fnn.nn.Linear):
    ...     latent = 1
    >>> data = np.random.default_rng(0).normal(3, 0.5, (256, 1)).astype(np.float32)
    >>> judge = fnn.nn.Sequential(fnn.nn.Linear(1, 16, activation="leaky_relu"), fnn.nn.Linear(16, 1))
    >>> how = {"loss": "non-saturating", "penalty": "r1", "penalty_weight": 0.1, "lr": (2e-2, 5e-2), "decay": 0.9}
    >>> pair, history = fnn.adversarial.fit(Line(1, 1), judge, data, epochs=40, **how)
    >>> abs(pair.average(fnn.zeros(1, 1)).item() - 3) < 0.5
    True
    """
    _check(epochs, steps, loss, penalty, penalty_weight, penalty_every, l1, warmup, resume, checkpoint)
    rates = lr if isinstance(lr, tuple | list) else (lr, lr)
    if len(rates) != 2:
        raise ValueError(f"adversarial.fit: lr must be one number or two, got {lr!r}")
    for name, network in (("generator", generator), ("discriminator", discriminator)):
        if not isinstance(network, Module):
            raise TypeError(f"adversarial.fit: {name} must be a Module, got {type(network).__name__}")
    game = {
        "loss": loss,
        "penalty": penalty,
        "penalty_weight": penalty_weight,
        "penalty_every": penalty_every,
        "l1": l1,
        "warmup": warmup,
        "augment": augment or (lambda x: x),
    }
    groups = [
        {"params": list(network.parameters()), "lr": rate} for network, rate in zip((generator, discriminator), rates)
    ]
    pair, optimizer = Pair(generator, discriminator, decay), Adam(groups, betas=betas)
    with seeded(seed) as rng:
        run = _Adversarial(pair, optimizer, schedule, game, callbacks)
        run.set_data(data, None, batch_size, rng)
        run.set_limits(epochs, steps, None, 0.0, False, checkpoint, seed)
        if resume and checkpoint is not None and os.path.exists(checkpoint):
            _checkpoint.restore(run, checkpoint)
        try:
            history = run.go(progress)
        finally:
            run.judge_learns(True)
    return pair, history


def _check(
    epochs: Any,
    steps: Any,
    loss: str,
    penalty: str | None,
    penalty_weight: float,
    penalty_every: int,
    l1: float,
    warmup: int,
    resume: bool,
    checkpoint: Any,
) -> None:
    """Raise for arguments of `fit` that make no sense."""
    name = "adversarial.fit"
    if epochs is None and steps is None:
        raise ValueError(f"{name}: give epochs or steps")
    limits = (("epochs", epochs, 0), ("steps", steps, 0), ("penalty_every", penalty_every, 1), ("warmup", warmup, 0))
    for what, limit, least in limits:
        if limit is not None and (isinstance(limit, bool) or not hasattr(limit, "__index__") or limit < least):
            raise ValueError(f"{name}: {what} must be an integer of at least {least}, got {limit!r}")
    if loss not in LOSSES:
        raise ValueError(f"{name}: loss must be one of {', '.join(LOSSES)}, got {loss!r}")
    if penalty is not None and penalty not in PENALTIES:
        raise ValueError(f"{name}: penalty must be None or one of {', '.join(PENALTIES)}, got {penalty!r}")
    if not penalty_weight >= 0 or not l1 >= 0:
        raise ValueError(f"{name}: weights must not be negative, got penalty_weight={penalty_weight}, l1={l1}")
    if warmup and not l1:
        raise ValueError(f"{name}: in its warmup of {warmup} steps the generator moves by l1 alone, which is 0")
    if resume and checkpoint is None:
        raise ValueError(f"{name}: resume needs the path of a checkpoint")
