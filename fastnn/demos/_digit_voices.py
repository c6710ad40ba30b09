"""English digits in machine voices: speakers to learn from where recordings of people are few.

flite puts its four people's recorded sounds together (kal and kal16 are one man at two qualities); espeak-ng makes all
its voices from formulas, whose vowels its variants move. The first helps more: see _spoken_digits.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from .._cli import CommandError

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
FLITE = {"awb": 130, "kal": 110, "kal16": 110, "rms": 95, "slt": 175}  # how high they are, Hz
# fmt: off
ACCENTS = ("en-us", "en-us-nyc", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029")
VARIANTS = (
    "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "f1", "f2", "f3", "f4", "f5", "Alicia", "Andrea", "Andy", "Annie",
    "Denis", "Diogo", "Gene", "Hugo", "Marco", "Michael", "adam", "anika", "belinda", "boris", "david", "grandma",
    "steph",
)
# fmt: on


def programs() -> list[str]:
    """Return which of the two are installed."""
    return [name for name in ("flite", "espeak-ng") if shutil.which(name)]


def flite(i: int, rng: np.random.Generator) -> list[str]:
    """Return a command of the i-th voice, at a pace and a height drawn at random."""
    voice = list(FLITE)[i % len(FLITE)]
    stretch, pitch = rng.uniform(0.8, 1.3), FLITE[voice] * rng.uniform(0.8, 1.25)
    settings = f"--setf duration_stretch={stretch:.2f} --setf int_f0_target_mean={pitch:.0f}"
    return ["flite", "-voice", voice, *settings.split(), "-o", "{file}", "-t"]


def espeak(i: int, rng: np.random.Generator) -> list[str]:
    """Return a command of the i-th variant, with an accent and at a pace and a height drawn at random."""
    voice = f"{rng.choice(ACCENTS)}+{VARIANTS[i % len(VARIANTS)]}"
    return ["espeak-ng", "-v", voice, f"-s{rng.integers(110, 200)}", f"-p{rng.integers(20, 80)}", "-w", "{file}"]


def spoken(program: str, count: int, heard: Callable[[Path], Any]) -> list[tuple[int, Any]]:
    """Return so many digits, 0 to 9 by each voice in turn, and what `heard` makes of their files."""
    command, rng = {"flite": flite, "espeak-ng": espeak}[program], np.random.default_rng(0)
    jobs = [(i % 10, command(i // 10, rng)) for i in range(count)]
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda job: (job[0], _said(job[1], WORDS[job[0]], heard)), jobs))


def _said(command: list[str], word: str, heard: Callable[[Path], Any]) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "a.wav"
        words = [str(file) if part == "{file}" else part for part in command]
        done = subprocess.run([*words, word], check=False, capture_output=True, text=True)
        if done.returncode or not file.exists():
            raise CommandError(f"{command[0]} does not speak (--voices 0 does without it): {done.stderr.strip()}")
        return heard(file)
