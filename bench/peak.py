"""The machine's measured float32 peak and memory bandwidths: `python -m bench.peak [THREADS]`.

A loop compiled here by the system's C++ compiler (peak.cpp). Without a compiler the best of a few NumPy products
stands in for the peak: a lower bound, and it is named so.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter

NAMES = ("gflops", "l2_read_gbs", "l3_read_gbs", "dram_read_gbs", "dram_update_gbs")


def measure(threads: int) -> Mapping[str, float | str]:
    """GFLOP/s and GB/s of `threads` threads together, and the method."""
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    if compiler:
        try:
            return dict(zip(NAMES, _compiled(compiler, threads), strict=True)) | {"method": "compiled loop"}
        except (subprocess.CalledProcessError, OSError):
            pass
    return {"gflops": _best_product(), "method": "best NumPy product, a lower bound"}


def greater(one: Mapping[str, float | str], other: Mapping[str, float | str]) -> Mapping[str, float | str]:
    """The greater of two measurements, number by number."""
    both = {k: (v, other[k]) for k, v in one.items() if k in other}
    return {k: max(a, b) if isinstance(a, float) and isinstance(b, float) else a for k, (a, b) in both.items()}


def _compiled(compiler: str, threads: int) -> list[float]:
    source = Path(__file__).with_suffix(".cpp")
    with tempfile.TemporaryDirectory() as folder:
        program = str(Path(folder) / "peak")
        flags = ["-O3", "-march=native", "-ffp-contract=fast", "-std=c++17", "-pthread"]
        subprocess.run([compiler, *flags, str(source), "-o", program], check=True, capture_output=True)
        done = subprocess.run([program, str(threads)], check=True, capture_output=True, text=True)
    return [float(word) for word in done.stdout.split()]


def _best_product(size: int = 2048) -> float:
    import numpy as np

    a = np.ones((size, size), np.float32)
    best = float("inf")
    for _ in range(5):
        start = perf_counter()
        a @ a
        best = min(best, perf_counter() - start)
    return 2 * size**3 / best / 1e9


if __name__ == "__main__":
    print(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 1))
