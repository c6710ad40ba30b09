"""Spanish speech for the demo: recordings of the Tux Paint stamps by one speaker, and voices that a machine makes.

Every text is spelled in small letters as it is said: figures become words, signs fall away.
"""

import re
import shutil
import subprocess
import tempfile
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import audio
from .._cli import CommandError
from .._extras import require

LETTERS = " abcdefghijklmnopqrstuvwxyzáéíñóúü"  # class 1 on; class 0 is CTC's blank
RATE = 16000
FASTEST = 40  # letters a second: nobody speaks so fast, such a text is not what is said
HOW_TO_GET = (
    "apt-get download tuxpaint-stamps-default && dpkg -x tuxpaint-stamps-default_*.deb stamps, "
    "then --data stamps (161 MB)"
)
# fmt: off
UNITS = [
    "cero", "uno", "dos", "tres", "cuatro", "cinco", "seis", "siete", "ocho", "nueve", "diez", "once", "doce", "trece",
    "catorce", "quince", "dieciséis", "diecisiete", "dieciocho", "diecinueve", "veinte", "veintiuno", "veintidós",
    "veintitrés", "veinticuatro", "veinticinco", "veintiséis", "veintisiete", "veintiocho", "veintinueve",
]
TENS = ["treinta", "cuarenta", "cincuenta", "sesenta", "setenta", "ochenta", "noventa"]
HUNDREDS = [
    "ciento", "doscientos", "trescientos", "cuatrocientos", "quinientos", "seiscientos", "setecientos", "ochocientos",
    "novecientos",
]
# fmt: on


@dataclass
class Clip:
    """One recording: its text as it is spelled, and its sound at RATE."""

    text: str
    samples: np.ndarray


def number(n: int) -> str:
    """Return a whole number below a million in Spanish words.

    Examples
    --------
    >>> number(1985)
    'mil novecientos ochenta y cinco'
    >>> number(21_000), number(301_001)
    ('veintiún mil', 'trescientos un mil uno')
    """
    if n < 30:
        return UNITS[n]
    if n < 100:
        return TENS[n // 10 - 3] + (f" y {UNITS[n % 10]}" if n % 10 else "")
    if n == 100:
        return "cien"
    if n < 1000:
        return HUNDREDS[n // 100 - 1] + (f" {number(n % 100)}" if n % 100 else "")
    many = number(n // 1000)
    if many.endswith("uno"):  # which is short before what is counted
        many = many[:-3] + ("ún" if many.endswith("veintiuno") else "un")
    thousands = "mil" if n < 2000 else f"{many} mil"
    return thousands + (f" {number(n % 1000)}" if n % 1000 else "")


def spelled(text: str) -> str:
    """Return a text in the letters of LETTERS.

    Examples
    --------
    >>> spelled("¡Una moneda de 1 dólar ($1)!")
    'una moneda de uno dólar'
    """
    text = re.sub(r"\([^)]*\)", " ", unicodedata.normalize("NFC", text.lower()))
    text = re.sub(r"\d{1,6}", lambda found: f" {number(int(found[0]))} ", text)
    return " ".join("".join(c if c in LETTERS else " " for c in text).split())


def encode(text: str) -> np.ndarray:
    """Return the classes of a spelled text."""
    return np.array([LETTERS.index(c) + 1 for c in text], np.int64)


def decode(classes) -> str:
    """Return the text of classes."""
    return "".join(LETTERS[c - 1] for c in classes)


def stamps(folder: Path) -> list[tuple[str, Path]]:
    """Return (text, file) of every Spanish recording under a folder, in the order of their names."""
    found = []
    for file in sorted(folder.rglob("*_desc_es.ogg")):
        note = file.with_name(file.name.replace("_desc_es.ogg", ".txt"))
        if not note.is_file():
            continue
        lines = [line for line in note.read_text("utf-8", "replace").splitlines() if line.startswith("es.utf8=")]
        if lines and (text := spelled(lines[0].partition("=")[2])):
            found.append((text, file))
    if not found:
        raise CommandError(f"no Spanish recordings (*_desc_es.ogg) under {folder}; get them by: {HOW_TO_GET}")
    return found


def listen(file: Path) -> np.ndarray:
    """Return the sound of a file as one channel at RATE, without the silence at its ends."""
    if file.suffix.lower() == ".wav":
        samples, rate = audio.read_wav(file)
    else:
        soundfile = require("soundfile", "demo", f"reading {file.suffix or 'such'} files")
        with file.open("rb") as opened:  # libsndfile has no words for what keeps a file from being opened
            try:
                samples, rate = soundfile.read(opened, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError as error:
                raise CommandError(f"cannot read {file}: {error.error_string}") from None
        samples = samples.mean(1)
    if not len(samples):
        raise CommandError(f"{file} has no samples")
    if not np.isfinite(samples).all():
        raise CommandError(f"{file} has samples that are infinite or not a number")
    return trimmed(audio.resample(samples, rate, RATE))


def trimmed(samples: np.ndarray, below: float = 0.02, margin: float = 0.1) -> np.ndarray:
    """Cut what is quieter than a fiftieth of the loudest off both ends, but for a tenth of a second, and level it."""
    size = np.abs(samples)
    if not size.max() > 0:
        return samples
    loud = np.flatnonzero(size > below * size.max())
    edge = round(margin * RATE)
    return samples[max(loud[0] - edge, 0) : loud[-1] + edge] / size.max()


def recordings(folder: Path) -> list[Clip]:
    """Return the Spanish recordings under a folder that say their text: of two, 2 words of 14 are said."""
    found = stamps(folder)
    with ThreadPoolExecutor(2) as pool:  # reading and FFTs let other threads run
        sounds = pool.map(listen, [file for _, file in found])
        clips = [Clip(text, sound) for (text, _), sound in zip(found, sounds)]
    return [clip for clip in clips if len(clip.text) < FASTEST * len(clip.samples) / RATE]


def split(clips: list[Clip], parts: int, seed: int) -> tuple[list[Clip], list[Clip]]:
    """Return clips to train on and clips to test on: one text in `parts`, none of which is trained on."""
    texts = sorted({clip.text for clip in clips})
    held = set(np.random.default_rng(seed).permutation(texts)[: max(1, len(texts) // parts)].tolist())
    return [clip for clip in clips if clip.text not in held], [clip for clip in clips if clip.text in held]


VOICES = ("es", "es-419")
VARIANTS = ("m1", "m2", "m3", "m4", "m5", "m6", "m7", "f1", "f2", "f3", "f5", "klatt2", "klatt3", "steph", "max")
OTHER = "es-419+f4"  # a voice that is in no training
COMMAND = "enciende la luz de la cocina"


def has_voices() -> bool:
    """Say whether espeak-ng is there, which speaks in machine voices."""
    return shutil.which("espeak-ng") is not None


def synthetic(texts: list[str], rng: np.random.Generator) -> list[Clip]:
    """Return each text spoken by a machine, in a voice, speed and pitch drawn at random."""
    jobs = [
        (text, f"{rng.choice(VOICES)}+{rng.choice(VARIANTS)}", int(rng.integers(120, 190)), int(rng.integers(20, 80)))
        for text in texts
    ]
    with ThreadPoolExecutor(2) as pool:
        return [Clip(job[0], sound) for job, sound in zip(jobs, pool.map(lambda job: spoken(*job), jobs))]


def spoken(text: str, voice: str = OTHER, speed: int = 150, pitch: int = 50) -> np.ndarray:
    """Return a text spoken by espeak-ng."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "a.wav"
        words = ["espeak-ng", "-v", voice, f"-s{speed}", f"-p{pitch}", "-w", str(file), text]
        done = subprocess.run(words, check=False, capture_output=True, text=True)
        if done.returncode or not file.exists():
            raise CommandError(f"espeak-ng does not speak (--voices 0 does without it): {done.stderr.strip()}")
        return listen(file)
