"""The demos of sequences: word order, phonemes, speech; on data of our own where the real ones are large."""

import importlib.util
import os
import re
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
from command_line import complaint, failed, shown

from fastnn._cli import CommandError
from fastnn.demos import _assistant, _g2p, _spanish, _speech, _spoken_digits
from fastnn.demos._language import END, Language
from fastnn.demos._speech_model import KIND

needs_grammar = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("hassil", "home_assistant_intents"))),
    reason="hassil or home-assistant-intents is not installed",
)
DIGITS = os.environ.get("FASTNN_FSDD", "")  # the recordings of the Free Spoken Digit Dataset
STAMPS = os.environ.get("FASTNN_STAMPS", "")  # tuxpaint-stamps-default, unpacked


def right(text, name):
    return float(re.search(rf"^{re.escape(name)} +([\d.]+) %", text, re.M)[1])


# ----- word order -----


def test_reading_beats_counting(capsys, tmp_path):
    pytest.importorskip("matplotlib")
    text = shown(capsys, "word-order", "--epochs", "6", "--out", str(tmp_path))
    assert 45 < right(text, "a bag of words") < 55
    assert right(text, "fastnn, word by word (GRU)") > 65
    assert "a bag of words: all 720 are alike" in text
    assert (tmp_path / "word-order.png").read_bytes().startswith(b"\x89PNG")


def test_word_order_refuses(capsys):
    for asked in ("word", "one two three four five six seven", "1 2 3"):
        assert "expected 2 to 6" in failed(capsys, "word-order", "--no-picture", "--ask", asked)


# ----- phonemes -----


@pytest.mark.skipif(_g2p.folder() is None, reason="g2p-en is not installed")
def test_phonemes(capsys, tmp_path):
    pytest.importorskip("matplotlib")
    text = shown(capsys, "phonemes", "hello", "World", "--rounds", "1", "--out", str(tmp_path))
    assert re.search(r"hello +HH EH1 L OW0\n", text)
    assert "same phonemes for 2 of 2 words" in text
    assert float(re.search(r"NumPy code: (\S+)", text)[1]) < 1e-5
    assert (tmp_path / "phonemes.png").read_bytes().startswith(b"\x89PNG")
    assert "letters it has learned" not in text
    text = shown(capsys, "phonemes", "naïve", "x2", "--rounds", "1", "--no-picture")
    assert "not among the letters it has learned, and so guessed: 2 ï\n" in text
    assert "1 to 60" in failed(capsys, "phonemes", "a" * 61, "--no-picture")
    words = ("phonemes", "--out", str(tmp_path / "phonemes.png"))
    assert "cannot write to folder" in complaint(capsys, "demo", *words)  # before any work


def test_phonemes_without_the_package(capsys, monkeypatch):
    monkeypatch.setattr(_g2p, "folder", lambda: None)
    assert "pip install --no-deps g2p-en==2.1.0" in failed(capsys, "phonemes", "--no-picture")


# ----- Spanish -----


@pytest.mark.parametrize(
    ("n", "words"),
    [
        (0, "cero"),
        (21, "veintiuno"),
        (30, "treinta"),
        (47, "cuarenta y siete"),
        (100, "cien"),
        (101, "ciento uno"),
        (999, "novecientos noventa y nueve"),
        (1000, "mil"),
        (2026, "dos mil veintiséis"),
        (21000, "veintiún mil"),
        (131001, "ciento treinta y un mil uno"),
        (500000, "quinientos mil"),
    ],
)
def test_numbers_in_spanish(n, words):
    assert _spanish.number(n) == words


def test_spelling():
    assert _spanish.spelled("¡Una moneda de 1 dólar ($1), n\u0303u!") == "una moneda de uno dólar ñu"
    text = _spanish.spelled("El pingüino número 25.")
    assert _spanish.decode(_spanish.encode(text)) == text == "el pingüino número veinticinco"


def test_no_text_is_on_both_sides():
    clips = [_spanish.Clip(f"texto {i % 20}", np.zeros(1)) for i in range(50)]
    learned, held = _spanish.split(clips, 6, 0)
    assert len(learned) + len(held) == 50
    assert not {c.text for c in learned} & {c.text for c in held}
    assert len({c.text for c in held}) == 3


def test_a_language_s_probabilities_sum_to_one():
    language = Language(["una vela", "una luna", "el sol"], "abelnosuv ", order=4)
    for before in ("", "una", "zzz", "el s"):
        total = sum(language.probability(before, c) for c in "abelnosuv " + END)
        assert total == pytest.approx(1)
    assert language.probability("el so", "l") > 0.5
    assert language.probability("una vela", END) > 0.4


def test_weather_keeps_the_shape():
    frames = np.random.default_rng(0).normal(-5, 2, (30, _speech.BANDS)).astype(np.float32)
    for own in (True, False):
        scale = _speech.Scale.of([frames], own)
        for seed in range(20):
            x = _speech.weathered(frames, scale, np.random.default_rng(seed))
            assert x.shape == frames.shape
            assert x.dtype == np.float32
            assert np.isfinite(x).all()
    assert _speech.weathered(frames[:1], scale, np.random.default_rng(0)).shape == (1, _speech.BANDS)


# ----- text to action -----


@needs_grammar
def test_the_grammar_speaks_sentences_that_its_rules_know():
    grammar = _assistant.grammar()
    learned, held = _assistant.split(grammar, 5, 0)
    assert not set(learned) & set(held)
    assert {grammar.templates[i][0] for i in held} <= {grammar.templates[i][0] for i in learned}
    rng = np.random.default_rng(0)
    drawn = _assistant.sentences(grammar, learned[::9], 2, rng)
    assert all(len(s.words) == len(s.tags) for s in drawn)
    rules = _assistant.Rules(grammar, learned)
    known = [rules.intent(s.words) == s.intent for s in drawn]
    assert np.mean(known) > 0.7  # a sentence may fit rules of two intents, or have lost a hyphen


@needs_grammar
def test_an_assistant_acts():
    grammar = _assistant.grammar()
    some = [i for i, (intent, _) in enumerate(grammar.templates) if intent in ("HassLightSet", "HassGetWeather")]
    learned = _assistant.sentences(grammar, some, 20, np.random.default_rng(0))
    assistant = _assistant.Assistant.of(learned)
    assistant.train(learned, 3, 0)
    intent, _ = assistant.scores([s.words for s in learned])
    assert np.mean([assistant.intents[i] == s.intent for i, s in zip(intent, learned)]) > 0.95
    assert assistant.act("qué tiempo hace").startswith("HassGetWeather(")
    assert assistant.act("que tienpo haze hoy").startswith("HassGetWeather(")
    assert assistant.act("") == "nothing was said"


# ----- speech -----


def say(text, rng, rate=16000):
    """A text as sound: each letter a chord of its own."""
    time = np.arange(round(0.12 * rate)) / rate
    parts = [np.zeros(rate // 50)]
    for c in _spanish.encode(text):
        low, high = (np.sin(2 * np.pi * pitch * time) for pitch in (180 * c, 7500 - 150 * c))
        parts += [low + high, np.zeros(rate // 50)]
    sound = np.concatenate(parts)
    return 0.3 * sound + 0.005 * rng.normal(size=len(sound))


def write_wav(file, sound, rate=16000):
    with wave.open(str(file), "wb") as out:
        out.setparams((1, 2, rate, 0, "NONE", ""))
        out.writeframes((np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes())


@pytest.fixture(scope="module")
def stamps(tmp_path_factory):
    """Twenty-four recordings as the package has them."""
    soundfile = pytest.importorskip("soundfile")
    folder, rng = tmp_path_factory.mktemp("stamps"), np.random.default_rng(0)
    for i in range(24):
        text = "".join(rng.choice(list("aelosn"), 5))
        soundfile.write(folder / f"{i}_desc_es.ogg", say(text, rng, 44100), 44100)
        (folder / f"{i}.txt").write_text(f"thing\nes.utf8={text.upper()}.\n", "utf-8")
    (folder / "none_desc_es.ogg").write_bytes(b"")  # without a text
    return folder


@needs_grammar
@pytest.mark.parametrize("streaming", [False, True])
def test_the_whole_way(capsys, stamps, tmp_path, monkeypatch, streaming):
    pytest.importorskip("matplotlib")
    few = _assistant.sentences
    monkeypatch.setattr(_assistant, "sentences", lambda grammar, which, each, rng: few(grammar, which[::10], 2, rng))
    words = ["speech", "--data", str(stamps), "--epochs", "2", "--voices", "0", "--out", str(tmp_path)]
    text = shown(capsys, *words, *["--streaming"] * streaming)
    assert "24 recordings" in text
    for name in ("always the same text", "fastnn, letter by letter", "fastnn, with a language model"):
        assert right(text, name) <= 400
    assert re.search(r"^action +Hass\w+\(|^action +nothing was said", text, re.M)
    assert (tmp_path / "speech.png").read_bytes().startswith(b"\x89PNG")
    write_wav(tmp_path / "mine.wav", say("sol", np.random.default_rng(1)))
    model = ["speech", "--model", str(tmp_path / "speech.safetensors"), "--no-picture", "--no-action"]
    again = shown(capsys, *model, "--out", str(tmp_path), "--wav", str(tmp_path / "mine.wav"))
    assert re.search(r"^text ", again, re.M)
    assert "action" not in again


def test_recordings_are_learned(stamps):
    """The network and its training: chords become letters, on texts never trained on."""
    from fastnn.demos._speech_model import Recognizer

    clips = _spanish.recordings(stamps)
    assert len(clips) == 24
    rng = np.random.default_rng(0)
    said = ["".join(rng.choice(list("aelosn"), 5)) for _ in range(120)]
    more = [_spanish.Clip(text, _spanish.trimmed(say(text, rng))) for text in said]
    learned = _speech.heard(more, (1.0, 1.0, 1.0))
    scale = _speech.Scale.of([h.frames[1] for h in learned], own_mean=True)
    recognizer = Recognizer.new(False, scale, [clip.text for clip in more])
    batches = _speech.Batches(learned, scale, np.random.default_rng(0), warp=0.0)
    _speech.train(recognizer.net, batches, 14, 0)
    read = [recognizer.hear(clip.samples)[1] for clip in clips]
    characters, _ = _speech.errors(read, [clip.text for clip in clips])
    assert characters < 0.3
    assert _speech.errors([_speech.constant([c.text for c in more], 0)] * 24, [c.text for c in clips])[0] > 0.5


def test_texts_that_are_not_what_is_said(tmp_path):
    soundfile, rng = pytest.importorskip("soundfile"), np.random.default_rng(0)
    for name, text in (("a", "el sol"), ("b", "el sol" + 20 * " y la luna")):
        soundfile.write(tmp_path / f"{name}_desc_es.ogg", say("el sol", rng), 16000)
        (tmp_path / f"{name}.txt").write_text(f"thing\nes.utf8={text}\n", "utf-8")
    assert len(_spanish.stamps(tmp_path)) == 2
    assert [clip.text for clip in _spanish.recordings(tmp_path)] == ["el sol"]


def test_what_speech_says_of_missing_things(capsys, tmp_path, monkeypatch):
    assert "apt-get download tuxpaint-stamps-default" in failed(capsys, "speech", "--no-picture")
    assert "is no folder" in failed(capsys, "speech", "--no-picture", "--data", str(tmp_path / "none"))
    assert "no Spanish recordings" in failed(capsys, "speech", "--no-picture", "--data", str(tmp_path))
    assert "--chunk must be positive" in failed(capsys, "speech", "--no-picture", "--chunk", "0")
    soundfile = pytest.importorskip("soundfile")
    no_number = tmp_path / "nan.wave"
    soundfile.write(no_number, np.full(800, np.nan, np.float32), 16000, format="WAV", subtype="FLOAT")
    assert "infinite or not a number" in failed(capsys, "speech", "--no-picture", "--wav", str(no_number))
    missing = str(tmp_path / "none.ogg")
    assert f"{missing}: No such file" in failed(capsys, "speech", "--no-picture", "--wav", missing)
    (tmp_path / "text.ogg").write_text("hello")
    assert "cannot read" in failed(capsys, "speech", "--no-picture", "--wav", str(tmp_path / "text.ogg"))
    monkeypatch.setattr(_spanish.shutil, "which", lambda name: None)
    assert not _spanish.has_voices()


def test_a_missing_grammar_is_said_before_the_training(capsys, stamps, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "home_assistant_intents", None)
    words = ("speech", "--no-picture", "--data", str(stamps), "--out", str(tmp_path / "out"))
    line = complaint(capsys, "demo", *words)
    assert "--no-action does without it" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "says"), [(b"", "is empty"), (b"RIFFnothing", "no WAV file"), (b"RIFF\0\0\0\0WAVEfmt ", "is cut off")]
)
def test_recordings_that_are_none(capsys, tmp_path, content, says):
    (tmp_path / "a.wav").write_bytes(content)
    line = failed(capsys, "speech", "--no-picture", "--data", str(tmp_path), "--wav", str(tmp_path / "a.wav"))
    assert says in line


def test_models_that_are_none(capsys, tmp_path):
    import fastnn as fnn

    write_wav(tmp_path / "a.wav", say("sol", np.random.default_rng(1)))
    model = tmp_path / "model.safetensors"
    words = ["speech", "--no-picture", "--model", str(model), "--wav", str(tmp_path / "a.wav")]
    fnn.save({"weight": fnn.zeros(3)}, model)
    assert "not a model of the speech demo" in failed(capsys, *words)
    fnn.save({"kind": "fastnn speech demo", "known": ["a"]}, model)  # of frames of 10 ms
    assert "not a model of the speech demo" in failed(capsys, *words)
    fnn.save({"kind": KIND, "known": ["a"]}, model)
    assert "damaged model" in failed(capsys, *words)
    model.write_bytes(b"text")
    assert "safetensors" in failed(capsys, *words)
    assert "--model needs a recording" in failed(capsys, *words[:4])


def test_silence_is_heard_as_something(tmp_path):
    write_wav(tmp_path / "a.wav", np.zeros(8000))
    assert len(_spanish.listen(tmp_path / "a.wav")) == 8000
    pytest.importorskip("soundfile")
    (tmp_path / "a.ogg").write_bytes(b"OggS")
    with pytest.raises(CommandError, match="cannot read"):
        _spanish.listen(tmp_path / "a.ogg")


# ----- spoken digits -----


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Three voices of different size say ten digits, four times each: two tones one after the other."""
    folder, rng = tmp_path_factory.mktemp("digits"), np.random.default_rng(0)
    for s, speaker in enumerate(("anna", "ben", "carl")):
        for digit in range(10):
            for n in range(4):
                time = np.arange(1500) / 8000
                first, second = (300 * 1.8**k * (1 + 0.05 * s) for k in (digit // 3, digit % 5))
                sound = np.concatenate([np.sin(2 * np.pi * first * time), np.sin(2 * np.pi * second * time)])
                write_wav(folder / f"{digit}_{speaker}_{n}.wav", 0.4 * sound + 0.01 * rng.normal(size=3000), 8000)
    return folder


def test_voices_never_heard(capsys, digits):
    file = str(digits / "7_ben_0.wav")
    text = shown(capsys, "speech", "--data", str(digits), "--epochs", "20", "--no-picture", "--wav", file)
    assert "speaker never heard" in text
    (mean,) = re.findall(r"^mean +120 +([\d.]+) % +([\d.]+) %", text, re.M)
    assert float(mean[1]) > 85
    assert re.search(rf"^{re.escape(file)}: 7$", text, re.M)


def test_waiting_and_loudness_are_left_out():
    rng = np.random.default_rng(0)
    said = rng.uniform(-4, 0, (30, _spoken_digits.BANDS)).astype(np.float32)
    wait = np.full((40, _spoken_digits.BANDS), -20, np.float32)
    margin = wait[: _spoken_digits.MARGIN]
    x = _spoken_digits.spoken(np.concatenate([wait, said, wait]))
    np.testing.assert_array_equal(x, np.concatenate([margin, said, margin]))
    pictures = _spoken_digits.normal(x)
    assert pictures.shape == (len(x), 2 * _spoken_digits.BANDS)
    assert pictures.dtype == np.float32
    np.testing.assert_allclose(_spoken_digits.normal(x + 3), pictures, atol=1e-4)
    microphone = np.linspace(0, 1, _spoken_digits.BANDS)
    change = np.abs(_spoken_digits.normal(x + microphone) - pictures)[5:-5].mean(0)  # first picture, then the second
    first, second = change.reshape(2, -1).mean(1)
    assert first < 0.3 * second
    assert np.isfinite(_spoken_digits.normal(wait)).all()


def test_one_speaker_is_too_few(capsys, digits, tmp_path):
    (tmp_path / "3_anna_0.wav").write_bytes((digits / "3_anna_0.wav").read_bytes())
    assert "holding one out needs two" in failed(capsys, "speech", "--no-picture", "--data", str(tmp_path))


@pytest.mark.slow
@pytest.mark.skipif(not DIGITS, reason="FASTNN_FSDD names no folder with the Free Spoken Digit Dataset")
def test_spoken_digits_reach_their_goal():
    found = _spoken_digits.study(_spoken_digits.recordings(Path(DIGITS)), _spoken_digits.EPOCHS, 0)
    assert np.mean([net for _, net in found.values()]) >= 0.90


@pytest.mark.slow
@needs_grammar
@pytest.mark.skipif(not STAMPS, reason="FASTNN_STAMPS names no folder with tuxpaint-stamps-default")
def test_speech_reaches_its_goal(capsys, tmp_path):
    text = shown(capsys, "speech", "--no-picture", "--data", STAMPS, "--out", str(tmp_path))
    assert right(text, "fastnn, with a language model") <= 28
    assert right(text, "fastnn") >= 85  # intents of templates never trained on
