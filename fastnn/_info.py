"""Print the CPU, the chosen instruction set, threads, versions and memory."""

import os
import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path


def add_arguments(parser) -> None:
    """`fastnn info` has no options."""


def _field(file: str, name: str) -> str | None:
    """Return the value of the first line `name : value` of a file in /proc, None where there is none."""
    try:
        lines = Path(file).read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return None


def _gigabytes(name: str) -> str:
    """Return a line of /proc/meminfo in GB."""
    value = _field("/proc/meminfo", name)
    return "unknown" if value is None else f"{int(value.split()[0]) / 1e6:.1f} GB"


def _version(package: str) -> str:
    """Return the version of an installed package, "-" for one that is not there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "-"


def _optional() -> list[str]:
    """Return the packages that the extras for users bring."""
    try:
        lines = requires("fastnn") or []
    except PackageNotFoundError:
        return []
    wanted = (re.match(r"""([\w.-]+).*extra == ['"](plot|onnx|sklearn|demo)['"]""", line) for line in lines)
    return sorted({found[1] for found in wanted if found} - {"fastnn"})


def _usable_cores() -> int:
    """Return how many cores the process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _rows():
    """Yield (label, text) for everything there is to say."""
    import numpy as np

    import fastnn as fnn

    chosen, rows = fnn.kernels.isa(), fnn.kernels.isas()
    cpu = _field("/proc/cpuinfo", "model name") or platform.processor() or platform.machine()
    yield "CPU", f"{cpu} ({platform.machine()}), {_usable_cores()} of {os.cpu_count()} cores usable"
    yield "instruction set", ", ".join(f"[{name}]" if name == chosen else name for name in rows)
    why = "FASTNN_ISA" if os.environ.get("FASTNN_ISA") else "the best this machine runs"
    yield "", f"[{chosen}] is used: {why}; FASTNN_ISA=name or fastnn.kernels.use_isa(name) chooses"
    yield "threads", f"{fnn.get_num_threads()}; FASTNN_NUM_THREADS=n or fastnn.set_num_threads(n) sets"
    yield "memory", f"{_gigabytes('MemTotal')}, {_gigabytes('MemAvailable')} available"
    stats = ", ".join(f"{key} {value:,}" for key, value in fnn.memory_stats().items())
    yield "arena", stats
    yield "fastnn", f"{fnn.__version__} in {Path(fnn.__file__).parent}"
    yield "needs", f"Python {sys.version.split()[0]}, NumPy {np.__version__}, safetensors {_version('safetensors')}"
    yield "optional", ", ".join(f"{name} {_version(name)}" for name in _optional())


def run(arguments) -> None:
    """Print the table."""
    for label, text in _rows():
        print(f"{label:<16} {text}")
