"""The same number of threads for every peer, and what else makes the comparison fair.

Environment variables must be set before a peer is imported, so `environment(n)` is for a parent process (or a
conftest before it imports anything) and `prepare(peer, n)` for the process that runs the peer. With n threads the
process is also bound to n CPUs: XLA has no other reliable switch, and all peers are treated alike.
"""

import importlib.metadata
import importlib.util
import os
import platform
import re
import time
from collections.abc import Mapping
from pathlib import Path

MODULES = {
    "fastnn": "fastnn",
    "numpy": "numpy",
    "torch": "torch",
    "jax": "jax",
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "ncnn": "ncnn",
}
ALSO_NEEDED = {"onnxruntime": ("onnx",), "openvino": ("onnx",)}


def all_cpus() -> list[int]:
    """The CPUs this process may use."""
    return sorted(os.sched_getaffinity(0))


def thread_count(text: str) -> int:
    """'1', '2', ... or 'all' as a number of threads; at most the CPUs there are."""
    available = len(all_cpus())
    if text == "all":
        return available
    count = int(text)
    if not 1 <= count <= available:
        raise ValueError(f"--threads: expected 1 to {available} (the CPUs of this process) or 'all', got {text}")
    return count


def environment(threads: int) -> dict[str, str]:
    """What the peers read from the environment while they are imported."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "FASTNN_NUM_THREADS", "NPROC")
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "2", "JAX_PLATFORMS": "cpu", "TORCHINDUCTOR_COMPILE_THREADS": "1"}
    # OpenBLAS's threads spin for 0.1 s after their work: into the next peer's turn. 2**24 ticks are some 10 ms.
    return dict.fromkeys(names, str(threads)) | quiet | {"OPENBLAS_THREAD_TIMEOUT": "24"}


def bind(threads: int) -> None:
    """Binds this process to its last `threads` CPUs (the first one answers most interrupts)."""
    os.sched_setaffinity(0, all_cpus()[-threads:])


def why_missing(peer: str) -> str:
    """An empty string when the peer can be imported, else the reason why not."""
    missing = [m for m in (MODULES[peer], *ALSO_NEEDED.get(peer, ())) if importlib.util.find_spec(m) is None]
    return f"{', '.join(missing)} not installed" if missing else ""


def prepare(peer: str, threads: int, asynchronous: bool = False) -> None:
    """Sets the number of threads through the peer's own interface; ONNX Runtime, OpenVINO, ncnn take it per model."""
    if peer == "torch":
        import torch

        torch.set_num_threads(threads)
    elif peer == "jax":
        import jax

        # Synchronous dispatch runs a small computation in the calling thread: 2x less time at 64^3.
        jax.config.update("jax_cpu_enable_async_dispatch", asynchronous)
    elif peer == "fastnn":
        import fastnn

        fastnn.set_num_threads(threads)


def busy_cpus(seconds: float = 1.0) -> float:
    """How many CPUs other processes keep busy now; call while this process and its children rest."""

    def working() -> float:
        fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
        user, nice, system, _idle, _wait, irq, softirq, steal = map(int, fields[:8])
        return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")

    try:
        before = working()
        time.sleep(seconds)
        return (working() - before) / seconds
    except (OSError, ValueError):
        return 0.0


def cpu_name() -> str:
    """The processor as the system names it."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found.group(1) if found else platform.processor() or platform.machine()


def versions() -> Mapping[str, str]:
    """The version of every peer that is installed."""
    made = {}
    for peer, module in MODULES.items():
        if not why_missing(peer):
            try:
                made[peer] = importlib.metadata.version(module)
            except importlib.metadata.PackageNotFoundError:  # installed under another distribution's name
                made[peer] = "(version unknown)"
    return made


def machine() -> dict[str, object]:
    """What a reader must know of the machine to judge the numbers."""
    from fastnn import kernels

    made = {"cpu": cpu_name(), "isa": kernels.isa(), "cpus": len(all_cpus())}
    return {**made, "system": platform.system(), "versions": versions()}
