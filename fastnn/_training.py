"""The training loop behind `fit`.

A step does no more than it must: forward, backward, optimizer, and reading the loss as a number. All else (validation,
schedules, best weights, checkpoints) happens once per epoch.
"""

from __future__ import annotations  # np.random in a signature would import it now, which takes milliseconds

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from . import _checkpoint, _feed
from ._evaluate import detached, evaluate, measure
from ._history import History
from ._ops import Tensor
from ._progress import progress_for
from .nn._module import Module
from .nn.clip import clip_grad_norm_
from .optim import Adam, Optimizer


class TrainingState:
    """What callbacks are given.

    Attributes
    ----------
    model : Module
    optimizer : Optimizer
    history : History
        The epochs so far.
    epoch : int
        Epochs before this one.
    step : int
        Optimizer steps so far.
    loss : float
        Of the last step.
    """

    __slots__ = ("epoch", "history", "loss", "model", "optimizer", "step")

    def __init__(self, model: Module, optimizer: Optimizer, history: History) -> None:
        self.model = model
        self.optimizer = optimizer
        self.history = history
        self.epoch = 0
        self.step = 0
        self.loss = math.nan


def _optimizer_of(model: Module, given: Any) -> Optimizer:
    """Return the optimizer that was given, the one that it makes, or Adam."""
    made = Adam if given is None else given
    if not isinstance(made, Optimizer) and callable(made):
        made = made(model.parameters())
    if not isinstance(made, Optimizer):
        raise TypeError(f"fit: optimizer must be an Optimizer or make one, got {type(made).__name__}")
    own = {id(p) for p in model.parameters()}
    if not any(id(p) in own for group in made.param_groups for p in group["params"]):
        raise ValueError("fit: the optimizer has none of the model's parameters")
    return made


def _schedule_of(optimizer: Optimizer, given: Any) -> Any:
    """Return the schedule that was given or the one that it makes."""
    made = given if hasattr(given, "per") or not callable(given) else given(optimizer)
    if getattr(made, "per", None) not in ("epoch", "step"):
        raise TypeError(f"fit: schedule must be a scheduler or make one, got {type(made).__name__}")
    if getattr(made, "optimizer", optimizer) is not optimizer:
        raise ValueError("fit: the schedule is that of another optimizer")
    return made


class Training:
    """One call of fit."""

    def __init__(
        self,
        model: Module,
        loss: Callable,
        optimizer: Optimizer | Callable | None,
        schedule: Any,
        metrics: dict[str, Callable],
        callbacks: Iterable[Callable],
        clip_norm: float | None,
    ) -> None:
        if not isinstance(model, Module):
            raise TypeError(f"fit: model must be a Module, got {type(model).__name__}")
        self.callbacks = list(callbacks)
        for name, function in [("loss", loss), *metrics.items(), *(("a callback", c) for c in self.callbacks)]:
            if isinstance(function, type):
                raise TypeError(f"fit: {name} is the class {function.__name__}; expected {function.__name__}(...)")
            if not callable(function):
                raise TypeError(f"fit: {name} must be callable, got {type(function).__name__}")
        if taken := {"loss", "val_loss", "lr"} & set(metrics):
            raise ValueError(f"fit: a metric must not be called {', '.join(taken)}")
        self.model, self.loss, self.metrics, self.clip_norm = model, loss, metrics, clip_norm
        self.optimizer = _optimizer_of(model, optimizer)
        self.schedule = None if schedule is None else _schedule_of(self.optimizer, schedule)
        self.history = History()
        self.state = TrainingState(model, self.optimizer, self.history)
        # Where in the epoch: batches done, and the sums of losses over rows so far; for `metrics`, predictions kept.
        self.batch, self.rows = 0, 0
        self.totals: dict[str, float] = {}
        self.kept: list[tuple] = []
        self.best, self.waited = math.inf, 0
        self.best_values: dict[str, np.ndarray] = {}
        self.stop = ""
        # Of the generators, for checkpoints: their states at the start of the epoch, and where a resumed run goes on.
        self.start: dict[str, Any] = {}
        self.now: dict[str, Any] = {}

    def set_data(self, data: Any, validation: Any, batch_size: int, rng: np.random.Generator | None) -> None:
        dtype = _feed.dtype_of(self.model)
        data = _feed.in_memory(data, dtype)
        if isinstance(validation, float):
            data, validation = _feed.split_off(data, validation, rng)
        self.data = _feed.batches(data, batch_size, True, rng, "fit: data")
        self.validation = None
        if validation is not None:
            validation = _feed.in_memory(validation, dtype)
            self.validation = _feed.batches(validation, max(batch_size, 256), False, None, "fit: validation")

    def set_limits(
        self,
        epochs: int | None,
        steps: int | None,
        patience: int | None,
        min_delta: float,
        best_weights: bool,
        checkpoint: str | os.PathLike | None,
        seed: int | None,
    ) -> None:
        self.seed = None if seed is None else int(seed)
        self.epochs = math.inf if epochs is None else epochs
        self.steps = math.inf if steps is None else steps
        self.patience = math.inf if patience is None else patience
        self.min_delta, self.best_weights = min_delta, best_weights
        self.checkpoint = None if checkpoint is None else _checkpoint.usable(checkpoint)

    # ----- the loop -----

    def go(self, progress: bool | None) -> History:
        """Train until a limit is reached; returns the History."""
        begin = time.perf_counter()
        state = self.state
        bar = progress_for(progress, self._total_steps())
        if self.batch == 0:  # resumed where it had been stopped
            self._lose_patience()
        try:
            with self._interruptible():
                while not self.stop and not self._finished():
                    self.train_epoch(bar)
                    if self.stop != "interrupted":
                        self.end_epoch(bar, begin)
        except FloatingPointError:
            self._put_back(self.best_values)
            raise
        finally:
            self.model.eval()
            if bar is not None:
                bar.close(state.step)
        if self.validation is not None:
            self._put_back(self.best_values)
        self.history.stopped = self.stop or ("epochs" if state.epoch >= self.epochs else "steps")
        self.history.steps = state.step
        self.history.seconds = time.perf_counter() - begin
        return self.history

    def _finished(self) -> bool:
        # Resumed at the last step in the middle of an epoch, that epoch is still to be recorded.
        return self.state.epoch >= self.epochs or (self.state.step >= self.steps and self.batch == 0)

    def _total_steps(self) -> int | None:
        per_epoch = len(self.data) if isinstance(self.data, Sized) else math.inf
        total = min(self.epochs * per_epoch if self.epochs else 0, self.steps)
        return None if total == math.inf else int(total)

    def train_epoch(self, bar: Any) -> None:
        """Go through the data once, or as far as a limit or Ctrl-C allows."""
        state, totals = self.state, self.totals
        self.parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        per_step = self._per_step()
        keep = bool(self.metrics) and self.validation is None
        if state.step >= self.steps:  # resumed at the end, only to record it
            return
        self.model.train()
        for batch in self._batches():
            inputs, targets = _feed.inputs_and_targets(batch)
            numbers, prediction = self.learn(inputs, targets)
            rows = _feed.rows_of(inputs[0])
            for name, number in numbers.items():
                totals[name] = totals.get(name, 0.0) + number * rows
            self.rows += rows
            self.batch += 1
            state.step += 1
            state.loss = numbers["loss"]
            if keep:
                self.kept.append((detached("fit", prediction), *targets))
            if bar is not None:
                bar.tick(state.step, state.loss)
            for act in per_step:
                act()
            if self.stop or state.step >= self.steps:
                break
        else:
            self._pass_over()
        self.optimizer.zero_grad()
        if self.batch and self.checkpoint is not None:  # before the epoch is recorded: resumed, it goes on
            _checkpoint.write(self, self.checkpoint)

    def learn(self, inputs: tuple, targets: tuple) -> tuple[dict[str, float], Any]:
        """Take one step; returns the numbers to record, "loss" among them, and the prediction."""
        prediction = self.model(*inputs)
        value = self.loss(prediction, *targets)
        if not isinstance(value, Tensor) or value.numel() != 1:
            got = f"shape {value.shape}" if isinstance(value, Tensor) else type(value).__name__
            raise TypeError(f"fit: loss(prediction, target) must give a Tensor of one number, got {got}")
        number = self.checked(float(value))
        self.optimizer.zero_grad()
        value.backward()
        self.move()
        return {"loss": number}, prediction

    def checked(self, number: float) -> float:
        """Return a loss that is a number; raises FloatingPointError for one that is not."""
        if not -math.inf < number < math.inf:
            raise FloatingPointError(
                f"fit: the loss is {number} in step {self.state.step + 1} "
                f"(epoch {self.state.epoch + 1}, batch {self.batch + 1})"
            )
        return number

    def move(self) -> None:
        """Let the optimizer move the parameters that have a gradient."""
        if self.clip_norm is not None:
            clip_grad_norm_(self.parameters, self.clip_norm)
        self.optimizer.step()

    def _pass_over(self) -> None:
        """Take note that the data were gone through to their end."""
        if self.batch == 0:
            raise ValueError("fit: the data gave no batch; give something that can be gone through again")
        self.batch = 0

    def _batches(self) -> Iterator:
        """Return the batches of this epoch that are still to come."""
        if self.batch == 0:
            self.start = _checkpoint.random_states(self.data) if self.checkpoint is not None else {}
            return iter(self.data)
        _checkpoint.set_random_states(self.data, self.start)
        rest = iter(self.data)
        for _ in islice(rest, self.batch):
            pass
        _checkpoint.set_random_states(self.data, self.now)
        return rest

    def _per_step(self) -> list[Callable[[], None]]:
        """Return what is to be done after each step."""
        acts: list[Callable[[], None]] = []
        if self.schedule is not None and self.schedule.per == "step":
            acts.append(self.schedule.step)
        acts += [partial(self._call, c) for c in self.callbacks if getattr(c, "per", "epoch") == "step"]
        return acts

    def _call(self, callback: Callable) -> None:
        answer = callback(self.state)
        if isinstance(answer, bool | np.bool_) and answer:  # not anything true: that may be no answer at all
            self.stop = self.stop or "callback"

    # ----- the end of an epoch -----

    def end_epoch(self, bar: Any, begin: float) -> None:
        """Validate, record, compare with the best, move the schedule, ask the callbacks."""
        state = self.state
        record = {name: total / max(self.rows, 1) for name, total in self.totals.items()}
        record["lr"] = self.optimizer.param_groups[0]["lr"]
        if self.validation is None:
            record |= measure(self.metrics, self.kept)
            watched = record["loss"]
        else:
            found = evaluate(self.model, self.loss, self.validation, self.metrics)
            record |= {f"val_{name}": value for name, value in found.items()}
            watched = record["val_loss"]
            if not math.isfinite(watched):
                raise FloatingPointError(f"fit: the validation loss is {watched} after step {state.step}")
        self.history.add(record)
        self._compare(watched)
        if self.schedule is not None and self.schedule.per == "epoch":
            if hasattr(self.schedule, "num_bad_epochs"):
                self.schedule.step(watched)
            else:
                self.schedule.step()
        whole = self.batch == 0
        for callback in self.callbacks:
            if getattr(callback, "per", "epoch") == "epoch":
                self._call(callback)
        self._lose_patience()
        if bar is not None:
            bar.epoch(state.step, self._summary(record, time.perf_counter() - begin))
        state.epoch += 1
        self.batch, self.rows = 0, 0
        self.totals, self.kept = {}, []
        if whole and self.checkpoint is not None:
            _checkpoint.write(self, self.checkpoint)

    def _compare(self, watched: float) -> None:
        """Take note if this epoch is the best so far, and keep its weights."""
        if watched < self.best - self.min_delta or self.history.best_epoch is None:
            self.best, self.waited = watched, 0
            self.history.best_epoch = len(self.history) - 1
            if self.best_weights:
                for name, tensor in self.model.state_dict().items():
                    if name in self.best_values:
                        np.copyto(self.best_values[name], tensor.data)
                    else:
                        self.best_values[name] = tensor.data.copy()
        else:
            self.waited += 1

    def _lose_patience(self) -> None:
        if self.waited and self.waited >= self.patience:
            self.stop = self.stop or "patience"

    def _put_back(self, values: dict[str, np.ndarray]) -> None:
        if values:
            self.model.load_state_dict(values)

    def _summary(self, record: dict[str, float], seconds: float) -> str:
        of = "" if self.epochs == math.inf else f"/{self.epochs}"
        numbers = " · ".join(f"{name} {value:.4g}" for name, value in record.items() if name != "lr")
        return f"epoch {self.state.epoch + 1}{of} · {numbers} · {seconds:.1f} s"

    # ----- Ctrl-C -----

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Within the block the first Ctrl-C sets `stop`, the second raises; in other threads nothing is changed."""
        before = signal.getsignal(signal.SIGINT)
        if threading.current_thread() is not threading.main_thread() or before in (None, signal.SIG_IGN):
            yield
            return

        def note(signum, frame):
            self.stop = "interrupted"
            signal.signal(signal.SIGINT, before)

        signal.signal(signal.SIGINT, note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
