"""ONNX's own backend tests, run whole: every case passes but those that docs/onnx.md lists with their reasons."""

import re
import unittest
import warnings
from pathlib import Path

import pytest

onnx = pytest.importorskip("onnx")

DOCS = Path(__file__).parent.parent / "docs" / "onnx.md"
DOCUMENTED = re.search(r"onnx (\d+\.\d+\.\d+)", DOCS.read_text()).group(1)
KINDS = {
    "node": "OnnxBackendNodeModelTest",
    "simple": "OnnxBackendSimpleModelTest",
    "pytorch-converted": "OnnxBackendPyTorchConvertedModelTest",
    "pytorch-operator": "OnnxBackendPyTorchOperatorModelTest",
}
LEAST = {"node": 1000, "simple": 20, "pytorch-converted": 80, "pytorch-operator": 34}


def exceptions():
    """Pattern -> reason, as the docs have them."""
    rows = re.findall(r"^\| (`test_.*?) \| (.*) \|$", DOCS.read_text(), re.M)
    return {pattern: reason for cases, reason in rows for pattern in re.findall(r"`(.+?)`", cases)}


@pytest.fixture(scope="module")
def suite():
    """Kind -> test class."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the suite's generators overflow and divide by zero on purpose
        from onnx.backend.test import BackendTest

        import fastnn.onnx.backend as backend

        cases = BackendTest(backend, __name__).test_cases
    return {kind: cases[name] for kind, name in KINDS.items()}


def run(cls, name):
    """None for a case that passes, else what it raised; "skipped" for one of another device."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # NumPy's, on infinities and the like
            getattr(cls(name), name)()
    except unittest.SkipTest:
        return "skipped"
    except Exception as error:
        return error
    return None


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_cases_pass_but_those_the_docs_list(suite, kind):
    cls = suite[kind]
    names = [n for n in dir(cls) if n.startswith("test_") and n.endswith("_cpu")]
    results = {n.removesuffix("_cpu"): run(cls, n) for n in names}
    listed = exceptions()
    reason = {n: next((r for p, r in listed.items() if re.fullmatch(p, n)), None) for n in results}
    passed = [n for n, error in results.items() if error is None]
    failed = {n: error for n, error in results.items() if error is not None and not reason[n]}
    assert len(passed) >= LEAST[kind]
    if onnx.__version__ == DOCUMENTED:
        assert not failed, "\n".join(f"{n}: {e!r}"[:300] for n, e in failed.items())
        assert [n for n in passed if reason[n] and "Random" not in reason[n]] == []
        numbers = f"{len(passed):,}" + (" pass" if kind == "node" else f" of {len(results)}")
        assert numbers in DOCS.read_text()


@pytest.mark.slow
def test_every_listed_exception_is_a_case(suite):
    names = [n.removesuffix("_cpu") for cls in suite.values() for n in dir(cls) if n.endswith("_cpu")]
    if onnx.__version__ == DOCUMENTED:
        assert [p for p in exceptions() if not any(re.fullmatch(p, n) for n in names)] == []


def test_the_backend_knows_its_device():
    from fastnn.onnx import backend

    assert backend.supports_device("CPU")
    assert not backend.supports_device("CUDA:0")
    with pytest.raises(ValueError, match="device must be 'CPU'"):
        backend.prepare(onnx.ModelProto(), "CUDA")
