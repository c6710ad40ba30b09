"""The demo colorize: what photographs it finds, short runs, resuming, what it refuses."""

import os
import signal
import struct

import numpy as np
import pytest
from command_line import failed, shown

import fastnn as fnn
from fastnn.__main__ import main
from fastnn.demos import _photographs, _qt_resources, colorize

Image = pytest.importorskip("PIL.Image")
slow_row = pytest.mark.skipif(fnn.kernels.isa() == "reference", reason="the reference row does not train networks")


def picture(path):
    with Image.open(path) as file:
        return np.asarray(file.convert("RGB"))


# ----- the photographs -----


def test_brightness_and_colour_come_together_again(rng):
    x = rng.integers(0, 256, (9, 7, 3)).astype(np.uint8)
    parts = _photographs.apart(x)
    assert parts.shape == (3, 9, 7)
    assert abs(parts).max() <= 1 + 1e-6
    assert abs(_photographs.together(parts[:1], parts[1:]).astype(int) - x).max() <= 1
    grey = np.repeat(x[..., :1], 3, 2)
    np.testing.assert_allclose(_photographs.apart(grey)[1:], 0, atol=1e-5)


@pytest.fixture
def photographs(tmp_path, rng):
    """A folder of seven made-up photographs, bright things blue and dark ones red, and what should be passed over."""
    folder = tmp_path / "photographs"
    (folder / "more").mkdir(parents=True)
    for i in range(7):
        bright = rng.uniform(0, 1, (8, 10))
        large = np.kron(bright, np.ones((12, 12)))
        x = np.stack([200 - 120 * large, 60 + 40 * large, 255 * large], 2).astype(np.uint8)
        Image.fromarray(x).save(folder / ("more" if i % 2 else ".") / f"{i}.png")
    Image.fromarray(np.full((90, 90, 3), 80, np.uint8)).save(folder / "grey.png")
    Image.fromarray(rng.integers(0, 256, (30, 90, 3)).astype(np.uint8)).save(folder / "tiny.png")
    whole = (folder / "0.png").read_bytes()
    (folder / "broken.png").write_bytes(whole[: len(whole) // 2])
    (folder / "text.jpg").write_text("hello")
    with Image.open(folder / "0.png") as file:
        file.resize((100, 80)).save(folder / "zero.png")
    (folder / "notes.txt").write_text("hello")
    return folder


def test_what_is_collected(photographs):
    found = _photographs.collect([str(photographs)])
    assert sorted(found.names) == [f"{i}.png" for i in range(7)]
    assert {why: sorted(names) for why, names in found.passed.items()} == {
        "broken": ["broken.png", "text.jpg"],
        "small": ["tiny.png"],
        "grey": ["grey.png"],
        "the same again": ["zero.png"],
    }
    colour, grey = next(iter(_photographs.Crops(found.pictures, 64, 3, 5, 0)))
    assert colour.shape == (3, 2, 64, 64)
    assert grey.shape == (3, 1, 64, 64)


def resources(path, files, version=3):
    """Write a Qt resource file: {name: (flags, bytes)} in one folder."""
    names, blobs, nodes = [], [], []
    for name, (flags, content) in [("pictures", (2, b"")), *files.items()]:
        at, blob = sum(map(len, names)), sum(map(len, blobs))
        names.append(struct.pack(">HI", len(name), 0) + name.encode("utf-16-be"))
        nodes.append((at, flags, *((len(files), 2) if flags & 2 else (0, blob))))
        blobs.append(struct.pack(">I", len(content)) + content)
    more = bytes(8 if version > 1 else 0)
    tree = b"".join(struct.pack(">IHII", *node) + more for node in [(0, 2, 1, 1), *nodes])
    blobs, names = b"".join(blobs), b"".join(names)
    head = struct.pack(">4s5I", b"qres", version, 24, 24 + len(tree), 24 + len(tree) + len(blobs), 0)
    path.write_bytes(head + tree + blobs + names)


@pytest.mark.parametrize("version", [1, 3])
def test_qt_resources(tmp_path, version):
    files = {"a.webp": (0, b"first"), "Ä.txt": (1, b"packed"), "b.png": (0, b"")}
    resources(tmp_path / "x.rcc", files, version)
    found = dict(_qt_resources.entries(tmp_path / "x.rcc"))
    assert found == {"pictures/a.webp": b"first", "pictures/b.png": b""}
    whole = (tmp_path / "x.rcc").read_bytes()
    for length in (*range(0, 24 + 14, 5), len(whole) - 8):
        (tmp_path / "x.rcc").write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"damaged|not a Qt"):
            list(_qt_resources.entries(tmp_path / "x.rcc"))
    (tmp_path / "x.rcc").write_bytes(whole[:34] + struct.pack(">I", 0) + whole[38:])  # the root within itself
    with pytest.raises(ValueError, match="damaged"):
        list(_qt_resources.entries(tmp_path / "x.rcc"))


def test_photographs_of_gcompris_are_collected(tmp_path, photographs, capsys):
    content = (photographs / "0.png").read_bytes()
    files = {"one.webp": (0, content), "one.svg": (0, b"<svg/>"), "two.png": (0, b"broken")}
    resources(tmp_path / "erase.rcc", files)
    resources(tmp_path / "lang.rcc", files)  # drawings
    found = _photographs.collect([str(tmp_path)])
    assert "one.webp" in found.names + found.passed["the same again"]
    assert found.passed["broken"].count("two.png") == 1
    (tmp_path / "erase.rcc").write_bytes(b"x" * 50)
    assert "not a Qt resource file" in failed(capsys, "colorize", "--data", tmp_path, "--out", tmp_path / "out")


# ----- learning and colouring -----


@pytest.fixture
def few_weights(monkeypatch):
    monkeypatch.setattr(colorize, "CHANNELS", (8, 8, 8))
    monkeypatch.setattr(colorize, "JUDGE", (8, 8))
    monkeypatch.setattr(colorize, "SIZE", 32)
    monkeypatch.setattr(colorize, "EPOCH", 10)
    monkeypatch.setattr(colorize, "LONG", 2)


@slow_row
def test_colorize_learns_and_colours(capsys, tmp_path, photographs, monkeypatch, few_weights):
    out = tmp_path / "out"
    text = shown(capsys, "colorize", "--data", photographs, "--steps", 300, "--out", out)
    assert "passed over as broken: broken.png, text.jpg" in text
    errors = [float(word) for line in text.splitlines() if line.startswith("all ") for word in line.split()[1:]]
    assert errors[2] < 0.75 * errors[0]  # what is bright is blue: that can be learned
    assert errors[2] < errors[1]
    assert picture(out / "held-out.png").std() > 1
    small = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 81)).astype(np.uint8))
    small.resize((567, 350)).save(tmp_path / "old.png")
    shown(capsys, "colorize", "--model", out / "colorize.safetensors", "--picture", tmp_path / "old.png", "--out", out)
    coloured = picture(out / "old-coloured.png")
    assert coloured.shape == (350, 567, 3)
    assert abs(coloured[..., 0].astype(int) - coloured[..., 2]).mean() > 5
    monkeypatch.setattr(colorize, "CHANNELS", (8, 8, 16))
    words = ("--picture", tmp_path / "old.png", "--out", out)
    assert "not a model" in failed(capsys, "colorize", "--model", out / "colorize.safetensors", *words)
    said = failed(capsys, "colorize", "--data", photographs, "--resume", "--out", out / "new")
    assert "nothing to resume" in said
    said = failed(capsys, "colorize", "--data", photographs, "--resume", "--steps", 350, "--out", out)
    assert "not a checkpoint of this demo" in said


def learned(folder):
    return {name: tensor.numpy() for name, tensor in fnn.load(folder / "colorize.safetensors").items()}


@slow_row
def test_colorize_long_goes_on_where_a_run_ended_or_was_interrupted(
    capsys, tmp_path, photographs, monkeypatch, few_weights
):
    words = ("colorize", "--data", photographs, "--steps", 20)
    text = shown(capsys, *words, "--long", "--out", tmp_path / "whole")
    assert "network 2 of 2: 20 steps" in text
    whole = learned(tmp_path / "whole")
    first, second = ({name[7:]: x for name, x in whole.items() if name.startswith(f"nets.{i}.")} for i in (0, 1))
    assert first.keys() == second.keys()
    assert (first["out.weight"] != second["out.weight"]).all()
    shown(capsys, *words, "--out", tmp_path / "one")
    one = learned(tmp_path / "one")
    for name, x in first.items():
        np.testing.assert_array_equal(one[f"nets.0.{name}"], x)  # the default run is the long one's first network
    watch = colorize._watch

    def press(nets, *rest):
        return lambda state: os.kill(os.getpid(), signal.SIGINT) if nets and state.step == 10 else None

    monkeypatch.setattr(colorize, "_watch", press)
    again = ["demo", *map(str, words), "--long", "--resume", "--out", str(tmp_path / "one")]
    assert main(again) == 130
    assert "network 2 of 2: interrupted after 10 steps; --long --resume goes on" in capsys.readouterr().out
    monkeypatch.setattr(colorize, "_watch", watch)
    assert main(again) == 0
    cut = learned(tmp_path / "one")
    assert cut.keys() == whole.keys()
    for name, x in whole.items():
        np.testing.assert_array_equal(cut[name], x)
    grey = np.zeros((1, 32, 48), np.float32)
    both = colorize.guess(colorize._load(tmp_path / "one" / "colorize.safetensors"), grey)
    assert both.shape == (2, 32, 48)
    shown(capsys, *words, "--out", tmp_path / "one")
    assert not (tmp_path / "one" / "colorize-2.checkpoint").exists()  # no later run goes on with a network of this one


@slow_row
def test_colorize_refuses_files_of_another_form(capsys, tmp_path, photographs, few_weights):
    words = ("colorize", "--data", photographs, "--steps", 10, "--out", tmp_path)
    shown(capsys, *words)
    old = {name.replace("nets.0.", "net."): x for name, x in learned(tmp_path).items()}
    for saved in (old, {"mean": old["mean"], "trust": old["trust"]}, {"nets.0.out": 1}, {3: "x"}):
        fnn.save(saved, tmp_path / "old.safetensors")
        said = failed(capsys, "colorize", "--model", tmp_path / "old.safetensors", "--picture", photographs / "0.png")
        assert "is not a model of the colorize demo" in said
    saved = fnn.load(tmp_path / "colorize.checkpoint")
    fnn.save(saved | {"schedule": None}, tmp_path / "colorize.checkpoint")
    said = failed(capsys, *words, "--resume")
    assert "not a checkpoint of this demo" in said
    assert "without a schedule" in said


class Times(fnn.nn.Module):
    """A colour that is some times the brightness."""

    def __init__(self, blue, red):
        self.blue, self.red = blue, red

    def forward(self, x):
        return fnn.tensor(np.concatenate([x.numpy() * self.blue, x.numpy() * self.red], 1))


def test_colorize_trusts_networks_as_far_as_they_are_right(rng, monkeypatch):
    monkeypatch.setattr(colorize, "SIZE", 32)
    grey = rng.uniform(-0.5, 0.5, (1, 32, 48)).astype(np.float32)
    grey -= grey.mean()  # so that the mean colour is none
    pictures = [np.concatenate([grey, grey * 0.2, grey * 0.4])]
    half, wrong, high, low = Times(0.4, 0.8), Times(-0.4, -0.8), Times(0.3, 0.3), Times(0.1, 0.5)
    for nets, trust in (([half], 0.5), ([wrong], 0), ([high, low], 1)):
        careful = colorize.Careful(nets)
        careful.weigh(pictures, pictures)
        assert careful.trust.item() == pytest.approx(trust)
        made = colorize.guess(careful, grey)
        np.testing.assert_allclose(made, pictures[0][1:] if trust else np.zeros_like(made), atol=1e-5)


@pytest.mark.parametrize("shape", [(32, 48), (96, 131), (20, 300), (33, 31)])
def test_colorize_sees_a_small_copy_of_the_whole(shape, monkeypatch):
    monkeypatch.setattr(colorize, "SIZE", 32)
    seen = []

    def net(x):
        seen.append(x.shape)
        return Times(0.5, -0.25)(x)

    grey = np.linspace(-1, 1, shape[1], dtype=np.float32) * np.ones((1, *shape), np.float32)
    made = colorize.guess(net, grey)
    assert made.shape == (2, *shape)
    height, width = seen[0][2:]
    assert height % 16 == width % 16 == 0
    assert min(height, width) == 32
    within = slice(shape[1] // 8, -(shape[1] // 8))  # a slope stays one but at its ends
    np.testing.assert_allclose(made[0, :, within], 0.5 * grey[0, :, within], atol=0.04)
    np.testing.assert_allclose(made[1], -0.5 * made[0], atol=1e-6)


def test_colorize_says_what_it_is_not_better_than():
    assert "NOT" not in colorize._verdict(20.0, 16.0, 15.0)
    assert "NOT better than the mean colour:" in colorize._verdict(20.0, 16.0, 16.0)
    assert "NOT better than grey and the mean colour:" in colorize._verdict(20.0, 16.0, 21.0)
    assert "NOT better than grey:" in colorize._verdict(15.0, 16.0, 15.5)


def test_colorize_refuses(capsys, tmp_path, photographs):
    out = tmp_path / "out"
    assert "no folder" in failed(capsys, "colorize", "--data", tmp_path / "none", "--out", out)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("hello")
    assert "no pictures" in failed(capsys, "colorize", "--data", tmp_path / "empty", "--out", out)
    few = photographs / "more"
    assert "too few" in failed(capsys, "colorize", "--data", few, "--out", out)
    assert "not a picture" in failed(capsys, "colorize", "--picture", photographs / "text.jpg", "--out", out)
    assert "--picture FILE" in failed(capsys, "colorize", "--model", out / "none", "--out", out)
