"""Every case with every peer under pytest-benchmark: the answer is checked first, then timed.

One after another, so only roughly comparable on a noisy machine; bench.compare takes turns and gives the ratios.
"""

from typing import Any

import pytest

from bench import settings
from bench.case import Case, peer_of
from bench.cases import CASES
from bench.report import IN_README

PREPARED: set[str] = set()
PARAMETERS = [pytest.param(c, label, id=f"{c.id}-{label}") for c in CASES for label in c.peers if ":async" not in label]


@pytest.mark.parametrize(("case", "label"), PARAMETERS)
def test_case(benchmark: Any, case: Case, label: str, threads: int) -> None:
    peer = peer_of(label)
    if reason := settings.why_missing(peer):
        pytest.skip(reason)
    if peer not in PREPARED:
        settings.prepare(peer, threads)
        PREPARED.add(peer)
    try:
        inputs = case.inputs()
    except ModuleNotFoundError as error:  # of a package that carries a network's weights
        pytest.skip(str(error))
    try:
        run = case.setup(label, inputs)
    except RuntimeError as error:  # none of the peer's variants runs here; ours must
        if peer == "fastnn":
            raise
        pytest.skip(str(error))
    benchmark.group = case.id
    benchmark.extra_info.update(
        group=case.group, case=case.name, label=label, variant=run.variant, flops=case.flops, bytes=case.bytes
    )
    with run.context():
        benchmark(run.call)


def test_readme_names_cases() -> None:
    assert set(IN_README) <= {(c.group, c.name) for c in CASES}
