"""The demos of transformers: translation on pages of our own, questions about what is far back, sentences by meaning."""

import os
import re

import numpy as np
import pytest

import fastnn as fnn
from fastnn.__main__ import main
from fastnn.demos import _parallel, _translation, _word_tables, translate

HELP = os.environ.get("FASTNN_HELP", "")  # LibreOffice's help in both languages, unpacked
THINGS = [("celda", "cell"), ("tabla", "table"), ("página", "page"), ("imagen", "picture"), ("carta", "letter")]
THINGS += [("lista", "list"), ("línea", "line"), ("letra", "character")]
HOWS = [("nueva", "new"), ("vacía", "empty"), ("roja", "red"), ("grande", "large"), ("oculta", "hidden")]
SMALL = translate.Size(vocabulary=350, d_model=32, heads=2, layers=1, dropout=0.0)
ACTS = [("Abra", "Open"), ("Borre", "Delete"), ("Copie", "Copy"), ("Guarde", "Save")]


def shown(capsys, *words):
    """Run a demo that must succeed; return what it printed."""
    assert main(["demo", *words]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def failed(capsys, *words):
    """Run a demo that must fail; return its one line."""
    assert main(["demo", *words]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1, err
    return err


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
    gzip = pytest.importorskip("gzip")
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
