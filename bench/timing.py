"""Timing in turns: a machine is noisy over seconds, so peers alternate every few tens of milliseconds."""

import gc
import math
import statistics
from collections.abc import Sequence
from time import perf_counter

from bench.case import Run

SAMPLE = 100e-6  # a sample is as many calls as take this long, so that reading the clock costs nothing


def calls_per_sample(run: Run) -> int:
    """How many calls make one sample; call inside the run's context."""
    best = math.inf
    for _ in range(5):
        start = perf_counter()
        run.call()
        best = min(best, perf_counter() - start)
        if best > SAMPLE:
            return 1
    return max(1, math.ceil(SAMPLE / best))


def turn(run: Run, seconds: float, calls: int | None = None) -> dict[str, float]:
    """One turn of about `seconds`: the least and the median time of a call. A fifth of the turn warms caches up."""
    call, samples = run.call, []
    gc.collect()
    gc.disable()
    try:
        with run.context():
            calls = calls or calls_per_sample(run)
            start = perf_counter()
            while perf_counter() - start < seconds / 5:
                call()
            end = perf_counter() + seconds
            while not samples or perf_counter() < end:
                start = perf_counter()
                for _ in range(calls):
                    call()
                samples.append((perf_counter() - start) / calls)
    finally:
        gc.enable()
    return {"min": min(samples), "median": statistics.median(samples), "samples": len(samples), "calls": calls}


def fastest(runs: Sequence[Run], seconds: float) -> Run:
    """The run with the least time, in three alternating rounds; one that is twice as slow as another is out."""
    if len(runs) == 1:
        return runs[0]
    best = [math.inf] * len(runs)
    for _ in range(3):
        for i, run in enumerate(runs):
            if best[i] == math.inf or best[i] <= 2 * min(best):
                best[i] = min(best[i], turn(run, seconds / 3)["min"])
    return runs[best.index(min(best))]
