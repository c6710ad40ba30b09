"""`--threads`, applied before any peer is imported, and the fixtures of the benches."""

import os
import warnings
from collections.abc import Iterator

import pytest

from bench import settings


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--threads", default="1", help="benches: threads of every peer, 1, 2, ... or all (default: 1)")


def pytest_configure(config: pytest.Config) -> None:
    """Runs before the test modules, and with them the peers, are imported."""
    try:
        threads = settings.thread_count(config.getoption("--threads"))
    except ValueError as error:
        raise pytest.UsageError(str(error)) from None
    os.environ.update(settings.environment(threads))
    settings.bind(threads)


@pytest.fixture
def threads(pytestconfig: pytest.Config) -> int:
    """How many threads each peer may use."""
    return int(os.environ["OMP_NUM_THREADS"])


@pytest.fixture(autouse=True)
def _peers_may_warn() -> Iterator[None]:
    """Warnings of other packages are not ours to fail on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def pytest_benchmark_update_json(config: pytest.Config, benchmarks: list, output_json: dict) -> None:
    """The saved file also says what the machine can do."""
    from bench import peak

    threads = int(os.environ["OMP_NUM_THREADS"])
    output_json["fastnn"] = {"machine": settings.machine(), "threads": threads, "peak": dict(peak.measure(threads))}
