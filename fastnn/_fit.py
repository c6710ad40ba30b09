"""fit: the one way to train a model."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from . import _checkpoint, _random
from ._history import History
from ._training import Training
from .nn._module import Module
from .optim import Optimizer


def fit(
    model: Module,
    loss: Callable,
    data: Any,
    *,
    epochs: int | None = None,
    steps: int | None = None,
    optimizer: Optimizer | Callable | None = None,
    batch_size: int = 32,
    validation: Any = None,
    metrics: Mapping[str, Callable] | None = None,
    patience: int | None = None,
    min_delta: float = 0.0,
    schedule: Any = None,
    clip_norm: float | None = None,
    callbacks: Iterable[Callable] = (),
    best_weights: bool = True,
    progress: bool | None = None,
    seed: int | None = 0,
    checkpoint: str | os.PathLike | None = None,
    resume: bool = False,
) -> History:
    """Train a model.

    Each step takes a batch `(x, y)`, computes `loss(model(x), y)` and its gradients, and lets the optimizer move the
    parameters. A batch of more parts `(x1, x2, ..., y)` goes in as `model(x1, x2, ...)`; of one part alone,
    `loss(model(x))` is computed. Afterwards the model is in evaluation mode.

    Parameters
    ----------
    model : Module
        What to train, in place.
    loss : callable or Module
        `loss(prediction, target)`, a scalar.
    data : tuple of arrays, Dataset, DataLoader or iterable of batches
        Arrays `(x, y)` (first axes equal; floats are brought to the model's dtype) and Datasets are shuffled anew for
        each epoch; a DataLoader or an iterable says itself what it gives. An iterable must be one that can be gone
        through again.
    epochs, steps : int
        When to end: after so many passes through the data or so many optimizer steps, whichever comes first.
    optimizer : Optimizer, callable or None
        Ready made, or called with the parameters to make one; `Adam(lr=1e-3)` if None.
    batch_size : int
        Rows per batch, for arrays and Datasets.
    validation : data like `data`, float or None
        Held-out data, looked at after each epoch, or the random fraction of `data` to hold out.
    metrics : dict of str to callable
        `metric(prediction, target) -> number` over all validation predictions at the end of an epoch (recorded as
        "val_<name>"), or over those made while training (recorded as "<name>") if there are no validation data. The
        predictions of a model that returns a tuple come as a tuple.
    patience : int, optional
        Stop after so many epochs in which the validation loss (without validation data the training loss) got no
        better.
    min_delta : float
        By how much it must get better to count.
    schedule : scheduler, callable or None
        One of `fastnn.optim.lr_scheduler`, or called with the optimizer to make one. Its `per` says whether it steps
        per "epoch" or per "step".
    clip_norm : float, optional
        Bound for the norm of all gradients together.
    callbacks : iterable of callable
        Called after each epoch (after each step if they have an attribute `per = "step"`) with a TrainingState; when
        one returns True, training stops.
    best_weights : bool
        With validation data, put back the weights of the best epoch in the end.
    progress : bool, optional
        None: a bar by rich or tqdm (one plain line without them) if standard error is a terminal, else nothing. True:
        in any case, as plain lines if it is no terminal. False: nothing.
    seed : int or None
        Seeds the shuffling and, for the time of the call, everything else random in fastnn (dropout); afterwards the
        generator of `fastnn.manual_seed` goes on as if nothing had happened. None: draw from that generator.
    checkpoint : path, optional
        A file to write everything to after each epoch and on Ctrl-C, atomically (see `save`).
    resume : bool
        Go on from `checkpoint` if that file exists: bit for bit as if it had never stopped. The seed must be the same.

    Returns
    -------
    History
        The numbers of each epoch: "loss", "lr", with validation data "val_loss", and the metrics.

    Raises
    ------
    ValueError, TypeError
        If an argument does not make sense; nothing has been changed then.
    OSError
        If `checkpoint` is a folder or in none, before anything has been changed, or if it cannot be written.
    FloatingPointError
        If the loss becomes infinite or nan; names the step. The model has the best weights so far.
    FormatError
        If the file to resume from is damaged or not a checkpoint.

    Notes
    -----
    Ctrl-C (in the main thread) ends the training after the step it is at, and the History says `interrupted`; a
    second one raises KeyboardInterrupt at once. Data that draw from generators of their own resume bit for bit only
    if they depend on nothing but `fastnn`'s generator. Several trainings at once in threads of one process share that
    generator: their dropout masks then depend on who comes first.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn as fnn
    >>> x = np.linspace(-1, 1, 64).reshape(-1, 1)
    >>> net = fnn.nn.Sequential(fnn.nn.Linear(1, 16, activation="tanh"), fnn.nn.Linear(16, 1))
    >>> history = fnn.fit(net, fnn.nn.MSELoss(), (x, x**2), epochs=200, optimizer=lambda p: fnn.optim.Adam(p, lr=1e-2))
    >>> history.loss[-1] < 0.01 < history.loss[0]
    True
    """
    if epochs is None and steps is None:
        raise ValueError("fit: give epochs or steps")
    for name, limit in (("epochs", epochs), ("steps", steps), ("patience", patience)):
        if limit is not None and (isinstance(limit, bool) or not hasattr(limit, "__index__") or limit < 0):
            raise ValueError(f"fit: {name} must be an integer that is not negative, got {limit!r}")
    if resume and checkpoint is None:
        raise ValueError("fit: resume needs the path of a checkpoint")
    if resume and seed is None and isinstance(validation, float):
        raise ValueError("fit: resume needs a seed to hold out the same fraction again")
    if metrics is not None and not isinstance(metrics, Mapping):
        raise TypeError(f"fit: metrics must be a dict of name to function, got {type(metrics).__name__}")
    if not isinstance(callbacks, Iterable):
        raise TypeError(f"fit: callbacks must be an iterable of functions, got {type(callbacks).__name__}")
    if isinstance(min_delta, bool) or not hasattr(min_delta, "__float__"):
        raise TypeError(f"fit: min_delta must be a number, got {type(min_delta).__name__}")
    if clip_norm is not None and not clip_norm > 0:
        raise ValueError(f"fit: clip_norm must be positive, got {clip_norm}")
    with seeded(seed) as rng:
        run = Training(model, loss, optimizer, schedule, dict(metrics or {}), callbacks, clip_norm)
        run.set_data(data, validation, batch_size, rng)
        run.set_limits(epochs, steps, patience, min_delta, best_weights, checkpoint, seed)
        if resume and checkpoint is not None and os.path.exists(checkpoint):
            _checkpoint.restore(run, checkpoint)
        return run.go(progress)


@contextmanager
def seeded(seed: int | None) -> Iterator[Any]:
    """Seed fastnn for the time of a block and put its generator back to where it was; gives another for the data."""
    if seed is None:
        yield None
        return
    rng = _random.from_seed("fit", seed)
    before = _random.get_state()
    _random.manual_seed(seed)
    try:
        yield rng
    finally:
        _random.set_state(before)
