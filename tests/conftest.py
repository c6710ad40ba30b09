"""Shared fixtures: every instruction set that runs here, and a reproducible source of numbers."""

import os
import platform
import random
import signal

import numpy as np
import pytest

import fastnn as fnn


def pytest_configure(config):
    """Started in the background, a shell has us ignore Ctrl-C, and so would every command under test."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header(config):
    isas = f"{fnn.kernels.isa()} of {fnn.kernels.isas()}"
    return f"fastnn {fnn.__version__}, {isas}, numpy {np.__version__}, {platform.machine()}"


def pytest_collection_modifyitems(config, items):
    """With FASTNN_EVERY=2, one test in two, the same ones each time: drawn at random, as parameters come in turns.

    Plain loops take minutes to learn a task, and show nothing that the kernels' tests do not.
    """
    every = int(os.environ.get("FASTNN_EVERY", "1"))
    if every > 1:
        kept = set(random.Random(0).sample(range(len(items)), -(-len(items) // every)))
        config.hook.pytest_deselected(items=[item for i, item in enumerate(items) if i not in kept])
        items[:] = [item for i, item in enumerate(items) if i in kept]
    if fnn.kernels.isa() == "reference":
        for item in items:
            if item.get_closest_marker("trains"):
                item.add_marker(pytest.mark.skip(reason="the reference row trains no networks"))


def _isas():
    return [fnn.kernels.isa()] if os.environ.get("FASTNN_ISA") else fnn.kernels.isas()


@pytest.fixture(params=_isas())
def isa(request):
    """Runs the test once per instruction set that runs on this machine; once, on the one that FASTNN_ISA names."""
    before = fnn.kernels.isa()
    fnn.kernels.use_isa(request.param)
    yield request.param
    fnn.kernels.use_isa(before)


@pytest.fixture
def rng():
    """NumPy's generator with a fixed seed."""
    return np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _seed():
    fnn.manual_seed(0)
