"""What a package costs before it computes: import time and memory above NumPy's, and size on disk."""

import importlib.metadata
import json
import statistics
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench import settings

PROGRAM = """
import json, re, time
import {first}
def rss():
    return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read()).group(1)) / 1024
before, start = rss(), time.perf_counter()
import {module}
print(json.dumps([time.perf_counter() - start, rss() - before]))
"""
ALSO_INSTALLED = {"jax": ("jaxlib",)}  # the half of a package that ships under another name


def measure(repeats: int = 10) -> list[dict[str, Any]]:
    """Medians over fresh processes that alternate; NumPy itself is measured above a bare interpreter."""
    peers = [p for p in settings.MODULES if not settings.why_missing(p)]
    runs: dict[str, list[Any]] = {p: [] for p in peers}
    for number in range(repeats + 1):
        for peer in peers:
            result = _fresh(peer)
            if number:  # the first round reads the files
                runs[peer].append(result)
    return [_summary(peer, runs[peer]) for peer in peers]


def _summary(peer: str, runs: list[Any]) -> dict[str, Any]:
    seconds, mebibytes = (statistics.median(column) for column in zip(*runs, strict=True))
    sizes: Mapping[str, float] = installed(peer)
    return {"peer": peer, "seconds": seconds, "rss_mib": mebibytes, "installed_mib": sum(sizes.values())}


def _fresh(peer: str) -> Any:
    first = "sys" if peer == "numpy" else "numpy"
    program = PROGRAM.format(first=first, module=settings.MODULES[peer])
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd="/")
    return json.loads(done.stdout.splitlines()[-1])


def installed(peer: str) -> dict[str, float]:
    """MiB on disk of a package without its dependencies, by distribution."""
    made = {}
    for name in (settings.MODULES[peer], *ALSO_INSTALLED.get(peer, ())):
        files = importlib.metadata.files(name) or []
        paths = [Path(f.locate()) for f in files if "__pycache__" not in f.parts]
        made[name] = sum(p.stat().st_size for p in paths if p.is_file()) / 2**20
    return made


if __name__ == "__main__":
    for row in measure():
        print(
            f"{row['peer']:12} {row['seconds'] * 1e3:8.1f} ms {row['rss_mib']:8.1f} MiB in memory "
            f"{row['installed_mib']:8.1f} MiB on disk"
        )
