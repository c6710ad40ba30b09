"""A transformer learns to translate Spanish into English from the pages of LibreOffice's help.

Tested on pages never learned from, by BLEU and chrF, beside translating word by word; then it translates what you
type and draws where each English word looked in the Spanish sentence.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

import fastnn as fnn
from fastnn.models import Translator

from .. import _cli
from .._cli import CommandError
from .._extras import require
from . import _parallel, _translation, _word_tables
from ._translation import START, Vocabulary
from ._translator_model import Model, Size

MODEL, CHECKPOINT, PICTURE = "translate.safetensors", "translate-checkpoint.safetensors", "translate.png"
TEXT = "Pulse en el botón Aceptar para guardar los cambios en el documento."
QUICK = Size(vocabulary=4000, d_model=192, heads=4, layers=2, dropout=0.1)
LONG = Size(vocabulary=6000, d_model=256, heads=4, layers=3, dropout=0.2)
MOST = 100  # beams: memory and time grow with them
MOST_DRAWN = 60  # words of either sentence: 500 by 1,000 are a picture of gigabytes
STEPS, LONG_STEPS = 2400, 12000  # 0.23 s a step on two cores of a Zen 3: nine minutes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    data = parser.add_argument_group("what to translate")
    data.add_argument(
        "--data", metavar="FOLDER", default=argparse.SUPPRESS, help="with the unpacked packages of LibreOffice's help"
    )
    data.add_argument(
        "--text", type=_cli.words, metavar="SENTENCE", action="append", default=[], help="Spanish; may be repeated"
    )
    data.add_argument("--beams", type=_cli.positive, default=4, metavar="N", help="beginnings kept while translating")
    work = parser.add_argument_group("training")
    steps = f"batches to learn from ({STEPS}; --long {LONG_STEPS})"
    work.add_argument("--steps", type=_cli.positive, default=argparse.SUPPRESS, metavar="N", help=steps)
    work.add_argument("--long", action="store_true", help="a larger network for longer")
    work.add_argument("--resume", action="store_true", help="go on with a training that was interrupted")
    work.add_argument("--seed", type=_cli.seed, default=0, metavar="N", help="the same seed gives the same net")
    files = parser.add_argument_group("files")
    files.add_argument("--model", metavar="FILE", default=argparse.SUPPRESS, help="a model saved before, no training")
    files.add_argument("--out", default="fastnn-translate", metavar="FOLDER", help="where picture and model go")
    files.add_argument("--no-picture", action="store_true", help="do without matplotlib")


def run(options: argparse.Namespace) -> None:
    """Learn and report, or load; then translate what was asked."""
    if not options.no_picture:
        require("matplotlib", "demo", "the picture (--no-picture does without it)")
    require("tokenizers", "demo", "this demo")
    if options.beams > MOST:
        raise CommandError(f"--beams must be at most {MOST}, got {options.beams}")
    if not all(text.strip() for text in options.text):
        raise CommandError("--text is empty")
    if "model" in options:
        model = Model.load(options.model)
        out = _cli.folder(options.out, PICTURE)
    else:
        require("sacrebleu", "demo", "measuring translations")
        folder = _folder(options)
        out = _cli.folder(options.out, MODEL, PICTURE)
        model = _learned(folder, out, options)
    piped = "model" in options and sys.stdin is not None and not sys.stdin.isatty()
    texts = options.text or (_typed() if piped else [TEXT])
    for text in texts:
        print(f"\nSpanish  {text}\nEnglish  {model.translate([text], options.beams)[0]}", flush=True)
    if texts and not options.no_picture:
        draw(model, texts[-1], out / PICTURE, options.beams)
        print(f"\npicture  {out / PICTURE}")


def _folder(options: argparse.Namespace) -> Path:
    """Return the folder of pages, or say how to get one."""
    if "data" not in options:
        raise CommandError(f"translate needs sentences in both languages: {_parallel.HOW_TO_GET}")
    folder = Path(options.data)
    if not folder.is_dir():
        raise CommandError(f"{folder} is no folder; sentences come by {_parallel.HOW_TO_GET}")
    return folder


def _typed() -> list[str]:
    """Return the lines of standard input."""
    try:
        lines = [line.strip() for line in sys.stdin if line.strip()]
        "".join(lines).encode()  # without a locale, bytes that are no text come in as halves of letters
        return lines
    except UnicodeError:
        raise CommandError("what came in on standard input is not text in UTF-8") from None


# ----- learning -----


def _learned(folder: Path, out: Path, options: argparse.Namespace) -> Model:
    """Train a translator, save it, print how good it is on pages never learned from."""
    found = _parallel.pairs(folder)
    parts = _parallel.split(found, options.seed)
    if not all((parts.learn, parts.check, parts.test)):
        raise CommandError(f"too few pages under {folder} to hold some out")
    pages = len({pair.page for pair in found})
    print(f"LibreOffice's help (MPL-2.0): {pages} pages, {len(found)} sentences of at most {_parallel.WORDS} words")
    size = LONG if options.long else QUICK
    steps = getattr(options, "steps", LONG_STEPS if options.long else STEPS)
    model = _new(size, parts, options.seed)
    weights = sum(parameter.numel() for parameter in model.net.parameters())
    held = f"held out: {len(parts.test)} of other pages"
    print(f"learning from {len(parts.learn)}, {weights:,} weights; {held}\n", flush=True)
    start = time.perf_counter()
    _train(model, parts, steps, out / CHECKPOINT, options)
    print(f"trained in {time.perf_counter() - start:.0f} s\n", flush=True)
    model.save(out / MODEL)
    _report(model, parts, folder, options.beams)
    print(f"\nmodel    {out / MODEL}")
    return model


def _new(size: Size, parts: _parallel.Split, seed: int) -> Model:
    """Return a translator that has learned nothing but which pieces words are made of."""
    texts = [text for pair in parts.learn for text in (pair.spanish, pair.english)]
    vocabulary = Vocabulary.of(texts, size.vocabulary)
    fnn.manual_seed(seed)
    return Model.new(size, vocabulary)


def _train(model: Model, parts: _parallel.Split, steps: int, checkpoint: Path, options: argparse.Namespace) -> None:
    """Train, from the start or from where it stopped; what was interrupted can be resumed."""
    if options.resume:
        if not checkpoint.is_file():
            raise CommandError(f"nothing to resume: there is no {checkpoint}")
        planned = _planned(checkpoint)
        if getattr(options, "steps", planned) != planned:
            raise CommandError(f"--resume goes on to the {planned} steps that were planned, not to {options.steps}")
        steps = planned
    elif checkpoint.exists():
        raise CommandError(f"{checkpoint} is of a training that was interrupted: --resume, or take the file away")
    batches = _translation.Batches.of(parts.learn, model.vocabulary, np.random.default_rng(options.seed))
    check = _translation.Batches.of(parts.check, model.vocabulary, None)
    try:
        history = _translation.train(
            model.net, batches, check, steps, options.seed, checkpoint=checkpoint, resume=options.resume
        )
    except (ValueError, FloatingPointError) as error:
        if not options.resume:
            raise
        raise CommandError(f"cannot resume from {checkpoint}: {error}") from None
    if history.interrupted:
        print(f"interrupted after {history.steps} of {steps} steps; --resume goes on", file=sys.stderr)
        raise KeyboardInterrupt
    checkpoint.unlink()


def _planned(checkpoint: Path) -> int:
    """Return how many steps the training in a checkpoint was to have: the rate follows a curve of that length."""
    schedule = fnn.load(checkpoint).get("schedule")
    if not isinstance(schedule, dict) or not isinstance(schedule.get("total_steps"), int):
        raise CommandError(f"{checkpoint} is no checkpoint of this demo")
    return schedule["total_steps"]


def _report(model: Model, parts: _parallel.Split, folder: Path, beams: int) -> None:
    """Print BLEU and chrF of translations of held-out pages, beside those of simpler ways, and a few of them."""
    spanish, english = ([getattr(pair, name) for pair in parts.test] for name in ("spanish", "english"))
    print(f"translating the {len(spanish)} held-out sentences ...\n", flush=True)  # minutes, if many beams are kept
    ways = {"the Spanish as it is": spanish}
    dictionary = _word_tables.freedict(folder)
    if dictionary is not None:
        ways["word by word, FreeDict"] = [_word_tables.word_by_word(dictionary, text) for text in spanish]
    table = _word_tables.counted(parts.learn)
    ways["word by word, counted (IBM model 1)"] = [_word_tables.word_by_word(table, text) for text in spanish]
    for n in sorted({1, beams}):
        name = "fastnn, the likeliest word each time" if n == 1 else f"fastnn, {n} beams"
        ways[name] = model.translate(spanish, n)
    unseen = parts.unseen()
    print(f"{'':<38}{f'{len(spanish)} sentences of':>20}{f'{len(unseen)} of them seen':>22}")
    print(f"{'':<38}{'other pages':>20}{'on no learned page':>22}")
    print(f"{'':<38}{'BLEU':>12}{'chrF':>8}{'BLEU':>14}{'chrF':>8}")
    for name, said in ways.items():
        cells = [score for rows in (range(len(said)), unseen) for score in scores(said, english, rows)]
        print(f"{name:<38}{cells[0]:>12.1f}{cells[1]:>8.1f}{cells[2]:>14.1f}{cells[3]:>8.1f}")
    print("\nsome of them: the Spanish, the translation, the page's English")
    for i in np.random.default_rng(0).permutation(unseen)[:5]:
        print(f"  {spanish[i]}\n    {said[i]}\n    {english[i]}")


def scores(said: list[str], true: list[str], rows) -> tuple[float, float]:
    """Return BLEU and chrF of some translations, by sacrebleu's definitions; 0 if there are none."""
    sacrebleu = require("sacrebleu", "demo", "measuring translations")
    if not len(rows):
        return 0.0, 0.0
    hypotheses, references = [said[i] for i in rows], [[true[i] for i in rows]]
    measures = sacrebleu.corpus_bleu, sacrebleu.corpus_chrf
    bleu, chrf = (measure(hypotheses, references).score for measure in measures)
    return bleu, chrf


# ----- the picture -----


def looks(
    net: Translator, vocabulary: Vocabulary, spanish: str, english: str
) -> tuple[list[str], list[str], np.ndarray]:
    """Return the words of both sentences, and how much each English one looked at each Spanish one when it was said."""
    (source, read, column), (target, said, row) = vocabulary.words(spanish), vocabulary.words(english)
    weights = net.attention(np.array([source]), np.array([[START, *target[:-1]]]))[0].mean(0)  # (T, S)
    table = np.zeros((len(said), len(read)))
    np.add.at(table, (row[:, None], column[None]), weights)
    return read, said, table / np.bincount(row)[:, None]


def draw(model: Model, spanish: str, file: Path, beams: int) -> None:
    """Write the picture: the first English words down, the Spanish across, dark where one looked at the other."""
    (english,) = model.translate([spanish], beams)
    read, said, table = looks(model.net, model.vocabulary, spanish, english)
    read, said, table = read[:MOST_DRAWN], said[:MOST_DRAWN], table[:MOST_DRAWN, :MOST_DRAWN]
    figure = require("matplotlib.figure", "demo", "the picture").Figure(
        (2.5 + 0.5 * len(read), 2.5 + 0.36 * len(said)), layout="constrained"
    )
    ax = figure.subplots()
    shown = ax.imshow(table, cmap="Blues", vmin=0, aspect="auto")
    ax.set_xticks(range(len(read)), read, rotation=45, ha="left", parse_math=False)
    ax.set_yticks(range(len(said)), said, parse_math=False)
    ax.xaxis.tick_top()
    ax.xaxis.set_label_position("top")
    ax.set(xlabel="where it looked", ylabel="what was said")
    figure.colorbar(shown, ax=ax, label="share of attention")
    figure.savefig(file, dpi=90)
