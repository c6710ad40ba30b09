"""What the README says, done: its Python blocks run, its commands parse, its files exist."""

import re
import shlex
from pathlib import Path

import pytest

import fastnn as fnn
from fastnn.__main__ import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def test_python_blocks(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    blocks = re.findall(r"```python\n(.*?)```", README, re.S)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    error = float(re.search(r"held-out points: (\S+)", capsys.readouterr().out)[1])
    assert error < 0.05


def test_commands_have_options_that_exist(capsys):
    commands = re.findall(r"^fastnn (demo \S+.*?)(?: +#.*)?$", README, re.M)
    assert len(commands) >= 4
    for command in commands:
        with pytest.raises(SystemExit) as leaving:  # --help is acted upon while parsing; what is unknown stops it first
            main([*shlex.split(command), "--help"])
        assert leaving.value.code == 0
        text = capsys.readouterr().out
        for flag in re.findall(r"--[a-z-]+", command):
            assert flag in text


def test_python_blocks_about_onnx(tmp_path, monkeypatch):
    pytest.importorskip("onnx")
    monkeypatch.chdir(tmp_path)
    for file, written in (("onnx-export.md", "net.onnx"), ("onnx.md", "model.onnx")):
        blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / file).read_text(encoding="utf-8"), re.S)
        assert blocks
        for block in blocks:
            exec(compile(block, file, "exec"), {})
        (tmp_path / written).rename("model.onnx")


TEXTS = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "examples/README.md", "bench/README.md"]
DOCS = sorted(f"docs/{file.name}" for file in (ROOT / "docs").glob("*.md"))


@pytest.mark.parametrize("file", [*TEXTS, *DOCS])
def test_links_lead_somewhere(file):
    text = (ROOT / file).read_text(encoding="utf-8")
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert ((ROOT / file).parent / link).exists(), link


def test_every_example_is_listed():
    listed = set(re.findall(r"`(\w+\.py)`", (ROOT / "examples" / "README.md").read_text(encoding="utf-8")))
    assert listed == {file.name for file in EXAMPLES}


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_examples(file, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(compile(file.read_text(encoding="utf-8"), str(file), "exec"), {"__name__": "__main__"})
    text = capsys.readouterr().out
    assert "nan" not in text
    if file.stem == "spirals":
        assert float(text.split()[-1]) > 0.95
    if file.stem == "gradient":
        assert "minimum at [1. 1.]" in text


def test_version_in_the_changelog():
    assert f"## [{fnn.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
