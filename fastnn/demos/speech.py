"""A recurrent network writes down what is said in Spanish, and a second one turns the words into an action.

Trained on recordings of one speaker (and on machine voices, where espeak-ng is installed), tested on texts never
trained on. With a folder of spoken English digits, it is tested on voices never heard.
"""

import argparse
import time
from pathlib import Path

import numpy as np

import fastnn as fnn

from .. import _cli
from .._cli import CommandError
from .._extras import require
from ..models.speech import STRIDE
from . import _assistant, _spanish, _speech, _spoken_digits
from ._speech_model import Recognizer

MODEL, PICTURE = "speech.safetensors", "speech.png"
HELD = 6  # one text in so many is kept for the test
COMMANDS = 400  # sentences for the assistant that machine voices speak in training
DIGITS = "git clone https://github.com/Jakobovski/free-spoken-digit-dataset, then --data .../recordings"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    data = parser.add_argument_group("what to listen to")
    data.add_argument(
        "--data",
        metavar="FOLDER",
        default=argparse.SUPPRESS,
        help="with the recordings of tuxpaint-stamps-default, or with spoken digits (fsdd)",
    )
    data.add_argument("--wav", metavar="FILE", action="append", default=[], help="to write down; may be repeated")
    data.add_argument("--chunk", type=_cli.amount, default=0.1, metavar="SECONDS", help="what is streamed at once")
    work = parser.add_argument_group("training")
    rounds = "rounds through the recordings (60; of digits 25)"
    work.add_argument("--epochs", type=_cli.positive, default=argparse.SUPPRESS, metavar="N", help=rounds)
    voices = "machine-spoken texts in a round; 0: none"
    work.add_argument("--voices", type=_cli.count, default=300, metavar="N", help=voices)
    work.add_argument("--streaming", action="store_true", help="a network that hears while somebody speaks")
    work.add_argument("--no-action", action="store_true", help="do without the second network")
    work.add_argument("--seed", type=_cli.seed, default=0, metavar="N", help="the same seed gives the same net")
    files = parser.add_argument_group("files")
    files.add_argument("--model", metavar="FILE", default=argparse.SUPPRESS, help="a model saved before, no training")
    files.add_argument("--out", default="fastnn-speech", metavar="FOLDER", help="where picture and model go")
    files.add_argument("--no-picture", action="store_true", help="do without matplotlib")


def run(options: argparse.Namespace) -> None:
    """Find out what is in the folder, learn it, report; or answer with a saved model."""
    if not options.no_picture:
        require("matplotlib", "demo", "the picture (--no-picture does without it)")
    if options.chunk <= 0:
        raise CommandError(f"--chunk must be positive, got {options.chunk:g}")
    recordings = [(file, _heard(file)) for file in options.wav]  # before the long work
    if "model" in options:
        if not recordings:
            raise CommandError("--model needs a recording to write down: --wav FILE")
        recognizer = Recognizer.load(options.model)
        out = _ready(options)
    else:
        folder = _folder(options)
        if _spoken_digits.files(folder):
            _digits(folder, options)
            return
        found = _spanish.stamps(folder)
        out = _ready(options)
        print(f"{len(found)} recordings of one Spanish speaker (Tux Paint stamps, GPL); reading them ...", flush=True)
        recognizer, examples = _learn(folder, options)
        recognizer.save(out / MODEL)
        recordings = recordings or examples
        print(f"\nmodel    {out / MODEL}")
    _answer(recognizer, recordings, out, options)


def _ready(options: argparse.Namespace) -> Path:
    """Return the folder that is written to; what is missing is said now and not after the training."""
    if not options.no_action:
        _assistant.needed()
    return _cli.folder(options.out, MODEL, PICTURE)


def _folder(options: argparse.Namespace) -> Path:
    """Return the folder of recordings, or say how to get one."""
    if "data" not in options:
        raise CommandError(f"speech needs recordings: {_spanish.HOW_TO_GET}; or spoken digits: {DIGITS}")
    folder = Path(options.data)
    if not folder.is_dir():
        raise CommandError(f"{folder} is no folder; recordings come by {_spanish.HOW_TO_GET}")
    return folder


def _heard(file: str) -> np.ndarray:
    try:
        return _spanish.listen(Path(file))
    except ValueError as error:
        raise CommandError(str(error)) from None


# ----- the Spanish recordings -----


def _learn(folder: Path, options: argparse.Namespace) -> tuple[Recognizer, list[tuple[str, np.ndarray]]]:
    """Train a recogniser, print its errors beside simpler ways, and return it with recordings it has not heard."""
    learned, held = _spanish.split(_spanish.recordings(folder), HELD, options.seed)
    known = [clip.text for clip in learned]
    clips = _speech.heard(learned)
    if not (clips and held):
        raise CommandError(f"too few recordings under {folder} to learn from some and hold others out")
    commands = [] if options.no_action else _assistant.commands(COMMANDS, options.seed)
    machine = _machine_voices(known, commands, options)
    scale = _speech.Scale.of([clip.frames[1] for clip in clips], own_mean=not options.streaming)
    fnn.manual_seed(options.seed)
    recognizer = Recognizer.new(options.streaming, scale, known + commands)
    weights = sum(parameter.numel() for parameter in recognizer.net.parameters())
    print(f"learning from {len(clips)} recordings, {weights:,} weights; held out: {len(held)} of other texts\n")
    start = time.perf_counter()
    some = min(options.voices, len(machine))
    batches = _speech.Batches(clips, scale, np.random.default_rng(options.seed), machine, some)
    _speech.train(recognizer.net, batches, getattr(options, "epochs", 60), options.seed)
    print(f"trained in {time.perf_counter() - start:.0f} s\n")
    _report(recognizer, held, known, options)
    examples = [(f"held-out recording of {held[0].text!r}", held[0].samples)]
    if machine and commands:
        sound = _spanish.spoken(_spanish.COMMAND)
        examples.append((f"a machine voice that was in no training says {_spanish.COMMAND!r}", sound))
    return recognizer, examples


def _machine_voices(known: list[str], commands: list[str], options: argparse.Namespace) -> list[_speech.Heard]:
    """Return the training's texts and sentences for the assistant spoken by machines, where there are any."""
    if not options.voices:
        return []
    if not _spanish.has_voices():
        print("no machine voices: espeak-ng is not installed (apt-get install espeak-ng)")
        return []
    rng = np.random.default_rng(options.seed)
    print(f"espeak-ng speaks the {len(known)} training texts and {len(commands)} commands, as extra training data")
    return _speech.heard(_spanish.synthetic(known + commands, rng), speeds=(1.0,))


def _report(recognizer: Recognizer, held: list, known: list[str], options: argparse.Namespace) -> None:
    """Print the error rates on texts never trained on, and a few readings."""
    frames = [recognizer.frames(clip.samples) for clip in held]
    log_probs = _speech.outputs(recognizer.net, recognizer.scale, frames)
    true = [clip.text for clip in held]
    readings = {
        "always the same text": [_speech.constant(known, options.seed)] * len(true),
        "fastnn, letter by letter": [_speech.greedy(y) for y in log_probs],
        "fastnn, with a language model": [recognizer.read(y) for y in log_probs],
    }
    print(f"{'on texts never trained on':<32}{'characters wrong':>18}{'words wrong':>14}")
    for name, read in readings.items():
        characters, words = _speech.errors(read, true)
        print(f"{name:<32}{100 * characters:>16.1f} %{100 * words:>12.1f} %")
    print("\nsome of them, as they are and as they were read:")
    for i in np.random.default_rng(options.seed).permutation(len(true))[:5]:
        print(f"  {true[i]}\n    {read[i]}")


def _answer(recognizer: Recognizer, recordings: list, out: Path, options: argparse.Namespace) -> None:
    """Write down each recording, say what an assistant would do, draw the last."""
    assistant = None if options.no_action else _assistant_of(options)
    log_probs = np.zeros((0, 1))
    for name, samples in recordings:
        print(f"\n{name}: {len(samples) / _spanish.RATE:.1f} s")
        if not recognizer.net.bidirectional:
            _stream(recognizer, samples, options.chunk)
        log_probs, text = recognizer.hear(samples)
        print(f"text     {text}")
        if assistant is not None:
            print(f"action   {assistant.act(text)}")
    if not options.no_picture:
        draw(recognizer.frames(samples), log_probs, text, out / PICTURE)
        print(f"\npicture  {out / PICTURE}")


def _stream(recognizer: Recognizer, samples: np.ndarray, chunk: float) -> None:
    """Print what is heard when, chunk by chunk."""
    before = ""
    for seconds, text in recognizer.stream(samples, chunk):
        if text != before:
            print(f"  {seconds:5.1f} s  {text}", flush=True)
            before = text


# ----- text to action -----


def _assistant_of(options: argparse.Namespace) -> _assistant.Assistant:
    """Train the second network on an assistant's grammar; print how it does on templates never trained on."""
    grammar = _assistant.grammar()
    learned_from, held = _assistant.split(grammar, _assistant.PARTS, options.seed)
    rng = np.random.default_rng(options.seed)
    learned = _assistant.sentences(grammar, learned_from, 25, rng)
    asked = _assistant.sentences(grammar, held, 4, rng)
    fnn.manual_seed(options.seed)
    assistant = _assistant.Assistant.of(learned)
    start = time.perf_counter()
    assistant.train(learned, 4, options.seed)
    seconds = time.perf_counter() - start
    intent, tags = assistant.scores([s.words for s in asked])
    right = np.array([assistant.intents[i] == s.intent for i, s in zip(intent, asked)])
    marks = [assistant.tags[t] == tag for row, s in zip(tags, asked) for t, tag in zip(row, s.tags)]
    intents = [s.intent for s in learned]
    common = max(sorted(set(intents)), key=intents.count)
    rules = _assistant.Rules(grammar, learned_from)
    some = rng.permutation(len(asked))[:150]
    ruled = np.mean([rules.intent(asked[i].words) == asked[i].intent for i in some])
    print(f"\nwhat an assistant would do (grammar of Home Assistant, {len(assistant.intents)} intents):")
    print(f"learned from {len(learned):,} sentences of {len(learned_from)} templates in {seconds:.0f} s")
    print(f"{f'{len(asked)} sentences of {len(held)} other templates':<42}{'intent':>9}{'word tags':>11}")
    print(f"{f'always {common}':<42}{100 * np.mean([s.intent == common for s in asked]):>7.1f} %")
    print(f"{'rules of the same templates (hassil)':<42}{100 * ruled:>7.1f} %")
    print(f"{'fastnn':<42}{100 * right.mean():>7.1f} %{100 * np.mean(marks):>9.1f} %")
    return assistant


# ----- spoken digits -----


def _digits(folder: Path, options: argparse.Namespace) -> None:
    """Leave one speaker out at a time, then write down what was named."""
    print("spoken English digits (Free Spoken Digit Dataset, CC BY-SA 4.0); reading them ...", flush=True)
    digits = _spoken_digits.recordings(folder)
    asked = [(file, _spoken_digits.heard(Path(file))) for file in options.wav]  # what is no WAV file says so now
    epochs = getattr(options, "epochs", _spoken_digits.EPOCHS)
    _spoken_digits.study(digits, epochs, options.seed)
    if asked:
        nets = _spoken_digits.learn(digits, epochs, options.seed)
        for file, sound in asked:
            print(f"{file}: {_spoken_digits.read(nets, [sound])[0]}")


# ----- the picture -----


def draw(frames: np.ndarray, log_probs: np.ndarray, text: str, file: Path) -> None:
    """Write the picture: the spectrogram, and over it what the network says at each of its steps."""
    figure = require("matplotlib.figure", "demo", "the picture").Figure((14, 5), layout="constrained")
    ax = figure.subplots()
    seconds = _speech.HOP * len(frames)
    ax.imshow(frames.T, origin="lower", aspect="auto", cmap="gray_r", extent=(0, seconds, 0, frames.shape[1]))
    ax.set(title=f"heard: {text}", xlabel="seconds", ylabel="mel band")
    over = ax.twinx()
    over.set(ylim=(0, 1.08), ylabel="probability")  # a letter stands above its peak
    times = STRIDE**2 * _speech.HOP * (np.arange(len(log_probs)) + 1)
    probabilities = np.exp(log_probs)
    over.plot(times, probabilities[:, 0], color="0.6", linewidth=1, label="blank")
    for c in range(1, probabilities.shape[1]):
        if probabilities[:, c].max() < 0.3:
            continue
        over.plot(times, probabilities[:, c], linewidth=1.5)
        peaks = np.flatnonzero((probabilities[:, c] >= 0.3) & (log_probs.argmax(1) == c))
        for step in peaks:
            letter = "␣" if _spanish.LETTERS[c - 1] == " " else _spanish.LETTERS[c - 1]
            over.text(times[step], probabilities[step, c], letter, ha="center", va="bottom", fontsize=11)
    over.legend(loc="upper right")
    figure.savefig(file, dpi=90)
