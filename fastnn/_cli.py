"""What every command shares: a parser whose complaints are one line, and the way out for each kind of failure."""

import argparse
import math
import os
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from ._errors import FormatError
from ._extras import MissingExtraError

INTERRUPTED = 130  # what a shell reports for Ctrl-C
BROKEN_PIPE = 141  # and for a reader that went away


class CommandError(Exception):
    """Something the person at the keyboard can mend; the message is the one line they see."""


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults, but not that a switch is off or a list empty."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        nothing = action.default is None or action.default is False or action.default == []
        return action.help if nothing else super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that complains in one line, takes no abbreviations and reads -1e-3 as a number."""

    def __init__(self, **settings) -> None:
        super().__init__(allow_abbrev=False, formatter_class=_Help, **settings)
        self._negative_number_matcher = re.compile(r"-(\d|\.\d|inf$|nan$)")

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and leave with 2."""
        self.exit(2, f"{self.prog}: {message} (--help shows the options)\n")


def _integer(text: str, least: int, wanted: str, below: float = math.inf) -> int:
    """Read an integer from `least` on, and `below` some number; the complaint says what was `wanted`."""
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if not least <= value < below:
        raise argparse.ArgumentTypeError(f"expected {wanted}, got {text}")
    return value


def positive(text: str) -> int:
    """Read an integer of at least one."""
    return _integer(text, 1, "an integer of at least 1")


def count(text: str) -> int:
    """Read an integer that is not negative."""
    return _integer(text, 0, "an integer that is not negative")


def side(text: str) -> int:
    """Read the side of a face in a picture."""
    return _integer(text, 12, "at least 12 pixels")


def seed(text: str) -> int:
    """Read a seed: an integer that every generator takes."""
    return _integer(text, 0, "an integer from 0 to 2**32 - 1", 2**32)


def finite(text: str) -> float:
    """Read a number that is neither infinite nor NaN."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"expected a finite number, got {text!r}")
    return value


def words(text: str) -> str:
    """Read text; bytes that are no UTF-8 come in as halves of letters, with which no tokenizer can do anything."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError(f"expected text in UTF-8, got {text!r}") from None
    return text


def amount(text: str) -> float:
    """Read a number that is not negative."""
    value = finite(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"expected a number that is not negative, got {text}")
    return value


def folder(path: str, *files: str) -> Path:
    """Make the folder and prove that it can be written to, and these files in it, before any work is done."""
    out = Path(path)
    probe = out / f".fastnn-{os.getpid()}"
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise CommandError(f"cannot write to folder {path}: {error.strerror}") from None
    for name in files:
        if (out / name).is_dir():
            raise CommandError(f"cannot write {out / name}: it is a folder")
    return out


def _abandon_stdout() -> None:
    """Give stdout somewhere to go: the interpreter flushes it once more at exit, and would complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def run(prog: str, command: Callable[[], int | None]) -> int:
    """Run a command and return its exit status; what the user can mend becomes one line on stderr."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without m² and █ gets question marks, not a traceback
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from")  # matplotlib draws a box, which says it too
            status = command() or 0
        if sys.stdout is not None:
            sys.stdout.flush()
    except KeyboardInterrupt:
        # One that struck inside an import leaves a mark in CPython 3.11, by which the process would end with -2
        # whatever status is returned here: any code that runs clears it.
        exec("")
        print(file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        _abandon_stdout()
        return BROKEN_PIPE
    except (CommandError, MissingExtraError, FormatError) as error:
        print(f"{prog}: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except MemoryError:
        print(f"{prog}: there is not memory enough for this", file=sys.stderr)
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"{prog}: {where}{error.strerror or error}", file=sys.stderr)
        try:
            sys.stdout.flush()
        except OSError:  # it was stdout that failed
            _abandon_stdout()
        return 1
    return status
