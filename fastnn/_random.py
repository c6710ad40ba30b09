"""The package's one source of randomness: a NumPy generator for initialisation and shuffling, a counter for dropout.

The counter hands each dropout call a stretch of the Philox stream of its own, so a mask depends on the seed and on how
many calls came before it, never on threads. Both parts make up the state that a checkpoint saves.
"""

from __future__ import annotations  # np.random in a signature would import it now, which takes milliseconds

import os
from _thread import allocate_lock  # threading itself would cost a millisecond of import

import numpy as np

from ._checks import integer

_WORD = (1 << 64) - 1

_lock = allocate_lock()
_generator: np.random.Generator | None = None
_seed = 0
_calls = 0


def _fresh_locks() -> None:
    """In a child of fork: another thread, which is not there, may have held the lock, or that of the generator."""
    global _lock, _generator
    _lock = allocate_lock()
    if _generator is not None:
        fresh = np.random.default_rng(0)
        fresh.bit_generator.state = _generator.bit_generator.state
        _generator = fresh


os.register_at_fork(after_in_child=_fresh_locks)


def manual_seed(seed: int) -> None:
    """Seed everything random in fastnn: initialisation, dropout, `randn`, and shuffling without a seed of its own.

    Parameters
    ----------
    seed : int
        Any integer; it counts modulo 2**64. Without a call, each process starts from the system's entropy.

    Raises
    ------
    TypeError
        If `seed` is not an integer.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.manual_seed(1)
    >>> a = fnn.randn(3)
    >>> fnn.manual_seed(1)
    >>> bool((a == fnn.randn(3)).all())
    True
    """
    global _generator, _seed, _calls
    fresh = from_seed("manual_seed", seed)
    with _lock:
        _generator, _seed, _calls = fresh, seed.__index__() & _WORD, 0


def from_seed(function: str, seed: int) -> np.random.Generator:
    """Return a NumPy generator of its own for any integer.

    Raises
    ------
    TypeError
        If `seed` is not an integer; names `function`.

    Examples
    --------
    >>> from fastnn._random import from_seed
    >>> from_seed("here", -1).uniform() == from_seed("here", 2**64 - 1).uniform()
    True
    """
    return np.random.default_rng(integer(function, "seed", seed, None) & _WORD)


def generator() -> np.random.Generator:
    """Return the NumPy generator that initialisation and shuffling draw from.

    Examples
    --------
    >>> from fastnn._random import generator
    >>> generator().uniform(size=2).shape
    (2,)
    """
    found = _generator
    if found is None:  # made on first use: numpy.random costs import time that inference need not pay
        manual_seed(int.from_bytes(os.urandom(8), "little"))
        return generator()
    return found


def next_seed() -> tuple[int, int]:
    """Return `(seed, offset)` for one dropout call: room for 2**32 Philox counters (2**34 elements) never given twice.

    Examples
    --------
    >>> from fastnn._random import next_seed
    >>> next_seed() != next_seed()
    True
    """
    global _calls
    if _generator is None:
        generator()
    with _lock:
        call = _calls
        _calls = call + 1
        return (_seed + (call >> 32)) & _WORD, (call & 0xFFFFFFFF) << 32


def get_state() -> dict:
    """Return the whole random state as plain numbers and strings; `set_state` takes it back.

    Examples
    --------
    >>> from fastnn._random import generator, get_state, set_state
    >>> state = get_state()
    >>> a = generator().uniform()
    >>> set_state(state)
    >>> a == generator().uniform()
    True
    """
    state = generator().bit_generator.state
    with _lock:
        return {"generator": state, "seed": _seed, "calls": _calls}


def set_state(state: dict) -> None:
    """Continue from a state that `get_state` returned.

    Raises
    ------
    ValueError
        If `state` did not come from `get_state`.
    """
    global _generator, _seed, _calls
    try:
        fresh = np.random.default_rng()
        fresh.bit_generator.state = state["generator"]
        seed, calls = int(state["seed"]), int(state["calls"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"set_state: not a state of get_state: {error}") from None
    with _lock:
        _generator, _seed, _calls = fresh, seed & _WORD, calls
