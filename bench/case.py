"""A case: one task, its inputs, the right answer, and how each peer does it.

A peer's entry has one or more variants (say, a fresh output or a preallocated one). All of them are checked against
the float64 answer, the fastest is measured: every peer at its best. A label is a peer and, after a colon, a mode:
"torch:compile".
"""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

Inputs = Mapping[str, np.ndarray]
Answer = Sequence[np.ndarray]


class WrongAnswer(AssertionError):
    """A peer's answer is further from float64 than the case allows."""


@dataclass(frozen=True)
class Run:
    """A peer ready to work: `call` is timed inside `context`, `answer` gives what is checked.

    `inputs` keeps the arrays alive for peers that only hold their address (by default the case's).
    """

    call: Callable[[], Any]
    answer: Callable[[], Answer]
    context: Callable[[], AbstractContextManager] = nullcontext
    variant: str = ""
    inputs: Inputs | None = None


Setup = Callable[[Inputs], Run]
Variants = Mapping[str, Setup]


@dataclass(frozen=True)
class Case:
    """One task for all peers. `flops` and `bytes` count what the task needs at least."""

    group: str
    name: str
    inputs: Callable[[], Inputs]
    answer: Callable[[Inputs], Answer]
    peers: Mapping[str, Variants] = field(repr=False)
    bound: Callable[[Inputs, Answer], Sequence[Any]] | float = 1e-5
    rms: Sequence[float] = ()  # of each array, the RMS error allowed over the RMS of the answer; (): `bound` alone
    flops: float = 0.0
    bytes: float = 0.0

    @property
    def id(self) -> str:
        """Of letters, digits, points and _ only, so that pytest -k can name it."""
        return re.sub(r"[^0-9A-Za-z.]+", "_", f"{self.group}_{self.name}").strip("_")

    def check(self, got: Answer, inputs: Inputs) -> None:
        """Raises WrongAnswer unless every array is within the bound of the float64 answer."""
        want = self.answer(inputs)
        if callable(self.bound):
            bounds = self.bound(inputs, want)
        else:
            bounds = [self.bound * (np.max(np.abs(w), initial=0.0) + np.abs(w)) for w in want]
        if len(got) != len(want):
            raise WrongAnswer(f"{self.id}: expected {len(want)} arrays, got {len(got)}")
        for w, g, bound in zip(want, got, bounds, strict=True):
            if np.shape(g) != np.shape(w):
                raise WrongAnswer(f"{self.id}: expected shape {np.shape(w)}, got {np.shape(g)}")
            error = np.abs(np.asarray(g, np.float64) - w)
            if not np.all(error <= bound):
                raise WrongAnswer(f"{self.id}: error {np.max(error - bound):.3g} above the bound")
        for w, g, allowed in zip(want, got, self.rms, strict=False):
            if not (error := rms_error(g, w)) <= allowed:
                raise WrongAnswer(f"{self.id}: RMS error {error:.3g}, allowed {allowed:.3g}")

    def setup(self, label: str, inputs: Inputs, seconds: float = 0.02) -> Run:
        """The fastest of the label's variants, all of them checked. A variant that cannot run is passed over."""
        from bench.timing import fastest

        inputs = {name: aligned(array) for name, array in inputs.items()}
        runs, reasons = [], []
        for variant, make in self.peers[label].items():
            try:
                run = make(inputs)
                run = replace(run, variant=variant, inputs=run.inputs or inputs)
                with run.context():
                    got = run.answer()
            except Exception as error:  # a peer's own failure: any type
                if peer_of(label) == "fastnn":
                    raise
                reasons.append(f"{variant or label}: {type(error).__name__}: {error}".splitlines()[0])
                continue
            self.check(got, inputs)
            runs.append(run)
        if not runs:
            raise RuntimeError("; ".join(reasons))
        return fastest(runs, seconds)


def aligned(array: np.ndarray) -> np.ndarray:
    """A copy at a multiple of 64 bytes, as every peer's own memory is; NumPy's large arrays split every cache line."""
    block = np.empty(array.nbytes + 64, np.uint8)
    start = -block.ctypes.data % 64
    made = block[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    made[...] = array
    return made


def rms_error(got: np.ndarray, want: np.ndarray) -> float:
    """The root mean square of the error over that of the answer."""
    error = np.asarray(got, np.float64) - want
    return float(np.linalg.norm(error.ravel()) / max(np.linalg.norm(want.ravel()), np.finfo(float).tiny))


def random_inputs(**shapes: tuple[int, ...]) -> Callable[[], Inputs]:
    """Standard normal float32 arrays, the same in every process."""

    def make() -> Inputs:
        rng = np.random.default_rng(0)
        return {name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}

    return make


def peer_of(label: str) -> str:
    """'torch:compile' -> 'torch'."""
    return label.partition(":")[0]
