"""Two threads beside a busy neighbour: another process burns one core while a product and a training step run.

The number is the time with one thread over the time with all threads: below 1 the second thread does harm.
"""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bench import ROOT, settings

CASES = ("matmul_1024_3", "train_MLP_784_256_128_10_batch_128")
PEERS = ("fastnn", "torch")


@contextmanager
def busy_core() -> Iterator[None]:
    """Another process that never rests, free to move between the CPUs as any neighbour is."""
    burner = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        burner.kill()
        burner.wait()


def measure(quick: bool = False) -> list[dict[str, Any]]:
    """Per peer and case: one thread and all, alternating, quiet and beside the neighbour."""
    threads = len(settings.all_cpus())
    if threads < 2:
        return []
    rounds = 3 if quick else 8
    made = []
    for peer in (p for p in PEERS if not settings.why_missing(p)):
        for case in CASES:
            row: dict[str, Any] = {"peer": peer, "case": case, "threads": threads}
            row["quiet"] = _ratio(peer, case, threads, rounds)
            with busy_core():
                row["busy"] = _ratio(peer, case, threads, rounds)
            made.append(row)
    return made


def _ratio(peer: str, case: str, threads: int, rounds: int) -> dict[str, float]:
    times: dict[int, list[float]] = {1: [], threads: []}
    worst = 0.0
    for _ in range(rounds):
        for count, measured in times.items():
            result = _fresh(peer, case, count)
            measured.append(result["median"])
            worst = max(worst, result["worst"] if count == threads else 0.0)
    one, many = statistics.median(times[1]), statistics.median(times[threads])
    return {"one_thread": one, "all_threads": many, "speedup": one / many, "worst": worst}


def _fresh(peer: str, case: str, threads: int) -> dict[str, float]:
    """A fresh, unbound process: where its threads run is for the system to decide."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.neighbour", peer, case, str(threads)],
        env={**os.environ, **settings.environment(threads)},
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main(peer: str, identity: str, threads: int) -> None:
    """In the fresh process: half a second of single calls."""
    from time import perf_counter

    from bench import cases

    settings.prepare(peer, threads)
    case = cases.find(identity)
    run = case.setup(peer, case.inputs())
    samples = []
    with run.context():
        end = perf_counter() + 0.6
        while perf_counter() < end or len(samples) < 5:
            start = perf_counter()
            run.call()
            samples.append(perf_counter() - start)
    samples = samples[len(samples) // 6 :]
    print(json.dumps({"median": statistics.median(samples), "worst": max(samples)}))


if __name__ == "__main__":
    if len(sys.argv) == 4:
        main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    else:
        for row in measure():
            print(row)
