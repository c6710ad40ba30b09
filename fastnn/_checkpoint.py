"""Checkpoints of a training: everything that the rest of it depends on, in one file that is replaced atomically.

In the middle of an epoch the state of the generators at its start is kept too: with it the same order is drawn again,
the batches that were done are passed over, and the training goes on bit for bit.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import numpy as np

from . import _random
from ._errors import FormatError
from ._io import load, save

_FORMAT = 2


def usable(path: str | os.PathLike) -> str:
    """Return a path at which a checkpoint can be written, as text; raise now and not after an epoch otherwise."""
    text = os.fsdecode(path)
    place = os.path.realpath(text)
    if os.path.isdir(place):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), text)
    if not os.path.isdir(os.path.dirname(place)):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), text)
    return text


def random_states(data: Any) -> dict[str, Any]:
    """Return the states of the generators that a training on `data` draws from."""
    generator = getattr(data, "generator", None)
    own = generator.bit_generator.state if isinstance(generator, np.random.Generator) else None
    return {"fastnn": _random.get_state(), "data": own}


def set_random_states(data: Any, states: dict[str, Any]) -> None:
    """Put the generators back to where `random_states` found them."""
    _random.set_state(states["fastnn"])
    if states["data"] is not None:
        data.generator.bit_generator.state = states["data"]


def write(run: Any, path: str | os.PathLike) -> None:
    """Save the state of a run of `fit`."""
    save(
        {
            "checkpoint": _FORMAT,
            "model": run.model.state_dict(),
            "optimizer": run.optimizer.state_dict(),
            "schedule": None if run.schedule is None else run.schedule.state_dict(),
            "best_values": run.best_values,
            "best": run.best,
            "waited": run.waited,
            "records": run.history.records,
            "best_epoch": run.history.best_epoch,
            "epoch": run.state.epoch,
            "step": run.state.step,
            "seed": run.seed,
            "batch": run.batch,
            "totals": run.totals,
            "kept": [list(parts) for parts in run.kept],
            "rows": run.rows,
            "data": getattr(run.data, "fingerprint", None),
            "now": random_states(run.data),
            "start": run.start if run.batch else None,
        },
        path,
    )


def restore(run: Any, path: str | os.PathLike) -> None:
    """Bring a run of `fit` to the state that was saved.

    Raises
    ------
    FormatError
        If the file is damaged.
    ValueError
        If it is not a checkpoint, or not of such a model, optimizer or schedule, or of another seed or other data.
    """
    try:
        _restore(run, path)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise FormatError(f"{os.fspath(path)!r} is a damaged checkpoint: {error!r}") from None


def _restore(run: Any, path: str | os.PathLike) -> None:
    saved = load(path)
    if saved.get("checkpoint") != _FORMAT:
        raise ValueError(f"fit: {os.fspath(path)!r} is not a checkpoint of fit")
    seed = saved.get("seed")  # by which data were held out, here and by who called
    if seed is not None and run.seed is not None and seed != run.seed:
        raise ValueError(f"fit: {os.fspath(path)!r} is of a training with seed {seed}, not {run.seed}")
    data, given = saved.get("data"), getattr(run.data, "fingerprint", None)
    if data is not None and given is not None and data != given:
        raise ValueError(f"fit: {os.fspath(path)!r} is of a training on other data")
    if (saved["schedule"] is None) is not (run.schedule is None):
        raise ValueError(f"fit: {os.fspath(path)!r} was saved {'without' if run.schedule else 'with'} a schedule")
    with _as_before_on_error(*(part for part in (run.model, run.optimizer, run.schedule) if part is not None)):
        _take_over(run, saved)


@contextmanager
def _as_before_on_error(*parts: Any) -> Iterator[None]:
    """Give models, optimizers and schedules back the state they had if what is done meanwhile fails."""
    before = [deepcopy(part.state_dict()) for part in parts]
    try:
        yield
    except BaseException:
        for part, state in zip(parts, before):
            part.load_state_dict(state)
        raise


def _take_over(run: Any, saved: dict[str, Any]) -> None:
    saved["now"], saved["start"] = _arrays(saved["now"]), _arrays(saved["start"])
    run.model.load_state_dict(saved["model"])
    run.optimizer.load_state_dict(saved["optimizer"])
    if run.schedule is not None:
        run.schedule.load_state_dict(saved["schedule"])
    if run.best_weights:  # else nobody would keep them up to date
        run.best_values = {name: tensor.data for name, tensor in saved["best_values"].items()}
    run.history.records, run.history.best_epoch = saved["records"], saved["best_epoch"]
    run.state.epoch, run.state.step = saved["epoch"], saved["step"]
    for name in ("best", "waited", "batch", "totals", "rows", "start"):
        setattr(run, name, saved[name])
    run.kept = [tuple(parts) for parts in saved.get("kept", [])]
    run.now = saved["now"]
    set_random_states(run.data, run.now)


def _arrays(node: Any) -> Any:
    """Return a nested dict with arrays for Tensors, as the generators want their states."""
    if isinstance(node, dict):
        return {key: _arrays(value) for key, value in node.items()}
    return getattr(node, "data", node)
