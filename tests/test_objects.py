"""The object files of the kernels, of a build directory that FASTNN_BUILD_DIR names.

The linker keeps one copy of an inline function that several objects define: were it the one compiled for AVX-512, the
whole process would crash on an older CPU. So an object compiled for an instruction set defines nothing outside its own
namespace, and runs nothing when it is loaded.
"""

import importlib.metadata
import os
import pathlib
import re
import shutil
import subprocess
import zlib

import pytest

BUILD = os.environ.get("FASTNN_BUILD_DIR")
pytestmark = [
    pytest.mark.skipif(not BUILD, reason="FASTNN_BUILD_DIR names no build directory"),
    pytest.mark.skipif(not (shutil.which("nm") and shutil.which("readelf")), reason="binutils are not installed"),
]
ROWS = ["x86_64_v4", "x86_64_v3", "arm64_neon"]


def objects():
    """(row, file) of every object compiled for an instruction set."""
    found = pathlib.Path(BUILD).rglob("*.o") if BUILD else []
    return [(row, f) for f in sorted(found) for row in ROWS if f"kernels_{row}.dir" in f.parts]


def output(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


CASES = [pytest.param(row, file, id=f"{row}-{file.stem}") for row, file in objects()]


def test_there_are_objects():
    assert {row for row, _ in objects()} in ({"x86_64_v4", "x86_64_v3"}, {"arm64_neon"})


@pytest.mark.parametrize(("row", "file"), CASES)
def test_defines_nothing_outside_its_namespace(row, file):
    for line in output("nm", "-C", "--defined-only", file).splitlines():
        kind, name = re.match(r"[0-9a-f]+ (\S) (.+)", line).groups()
        if kind in "tdbrn":  # local: no other object sees it
            continue
        assert f"fastnn::{row}::" in name, line
        assert "std::" not in name, line


@pytest.mark.parametrize(("row", "file"), CASES)
def test_weak_symbols_are_its_own(row, file):
    for line in output("nm", "-C", file).splitlines():
        kind, name = re.match(r"[0-9a-f ]+ (\S) (.+)", line).groups()
        if kind in "wWvVu":
            assert f"fastnn::{row}::" in name, line


@pytest.mark.parametrize("row", sorted({row for row, _ in objects()}))
def test_a_name_means_one_thing(row):
    """Two structs of one name would run each other's functions: the linker keeps one of two, which differ in size."""
    sizes = {}
    for other, file in objects():
        if other == row:
            for line in output("nm", "-S", "--defined-only", file).splitlines():
                fields = line.split()
                if len(fields) == 4 and fields[2] in "wWvVu":
                    sizes.setdefault(fields[3], {}).setdefault(int(fields[1], 16), file.name)
    assert sizes
    assert {name: files for name, files in sizes.items() if len(files) > 1} == {}


@pytest.mark.parametrize(("row", "file"), CASES)
def test_runs_nothing_when_loaded(row, file):
    sections = output("readelf", "-SW", file)
    assert ".init_array" not in sections
    assert ".ctors" not in sections


@pytest.mark.parametrize(("row", "file"), CASES)
def test_calls_only_kernels_and_plain_mathematics(row, file):
    """No allocation, no exceptions, no threads: only memory functions and the C library's functions of doubles."""
    allowed = {"memset", "memcpy", "memmove", "_GLOBAL_OFFSET_TABLE_"}
    allowed |= {"exp", "exp2", "expm1", "log", "log1p", "tanh", "erf", "erfc", "pow", "sqrt", "sin", "cos"}
    named = {f"fastnn::{row}::"}
    if (row, file.name) == ("x86_64_v4", "table.cpp.o"):
        named.add("fastnn::x86_64_v3::")  # doubles
    for line in output("nm", "-C", "--undefined-only", file).splitlines():
        name = line.split(maxsplit=1)[1]
        assert name in allowed or any(space in name for space in named), line


def test_the_reference_is_compiled_for_any_cpu():
    found = [f for f in pathlib.Path(BUILD).rglob("reference.cpp.o") if "fastnn_core.dir" in f.parts]
    assert found
    for file in found:
        assert not re.search(r"%[yz]mm\d", output("objdump", "-d", file))


def test_a_wheel_of_what_is_installed_has_at_most_3_mb():
    files = [f for f in importlib.metadata.files("fastnn") or [] if "__pycache__" not in f.parts]
    assert files
    size = sum(len(zlib.compress(f.locate().read_bytes())) + 2 * len(str(f)) + 130 for f in files)  # what a zip adds
    assert size <= 3_000_000
