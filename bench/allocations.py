"""A steady training step asks the system for no memory: `python -m bench.allocations`.

Counts, over 200 steps after a warm-up: page faults, blocks the arena had to get from the system, and (where strace
is there) the system calls for memory.
"""

import json
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import ROOT

STEPS, WARM_UP = 200, 50
CALLS = ("mmap", "munmap", "mremap", "brk", "madvise")
CASES = ("train_MLP_8_64_64_1_batch_32", "train_MLP_784_256_128_10_batch_128")


def count(step: Callable[[], Any], steps: int = STEPS, warm_up: int = WARM_UP) -> dict[str, int]:
    """Page faults and arena blocks from the system over `steps` calls of `step`, after `warm_up` calls."""
    import fastnn as fnn

    for _ in range(warm_up):
        step()
    blocks = int(fnn.memory_stats()["from_system"])
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(steps):
        step()
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
    return {"steps": steps, "page_faults": faults, "from_system": int(fnn.memory_stats()["from_system"]) - blocks}


def training_step(identity: str) -> Callable[[], Any]:
    """The fastnn side of a training case."""
    from bench import cases

    case = cases.find(identity)
    return next(iter(case.peers["fastnn"].values()))(case.inputs()).call


def system_calls(identity: str, steps: int) -> dict[str, int] | None:
    """Calls for memory of a fresh process that makes so many steps; None without strace (or the right to use it)."""
    if not shutil.which("strace"):
        return None
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "calls"
        trace = ["strace", "-f", "-c", "-U", "calls,name", "-e", "trace=" + ",".join(CALLS), "-o", str(log)]
        program = [sys.executable, "-m", "bench.allocations", identity, str(steps)]
        try:
            subprocess.run([*trace, *program], check=True, capture_output=True, cwd=ROOT)
        except subprocess.CalledProcessError:
            return None
        found = dict.fromkeys(CALLS, 0)
        found.update({name: int(n) for n, name in re.findall(r"^\s*(\d+)\s+(\w+)\s*$", log.read_text(), re.MULTILINE)})
    return {name: found[name] for name in CALLS}


def measure() -> list[dict[str, Any]]:
    """Per training case: counts within a process, and system calls of 200 more steps (two processes' difference)."""
    made = []
    for identity in CASES:
        done = subprocess.run(
            [sys.executable, "-m", "bench.allocations", identity], check=True, capture_output=True, text=True, cwd=ROOT
        )
        row: dict[str, Any] = {"case": identity, **json.loads(done.stdout.splitlines()[-1])}
        few, many = system_calls(identity, WARM_UP), system_calls(identity, WARM_UP + STEPS)
        if few and many:
            row["system_calls"] = {name: many[name] - few[name] for name in CALLS}
        made.append(row)
    return made


if __name__ == "__main__":
    if len(sys.argv) == 3:
        one_step = training_step(sys.argv[1])
        for _ in range(int(sys.argv[2])):
            one_step()
    elif len(sys.argv) == 2:
        print(json.dumps(count(training_step(sys.argv[1]))))
    else:
        for result in measure():
            print(json.dumps(result))
