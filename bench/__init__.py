"""Benches of fastnn beside its peers; see bench/README.md."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# `python -m bench.compare` and `python -m pytest` put the project root first in sys.path, where the source folder
# fastnn/ (without its compiled modules) would hide the installed package. This package is found by its own path.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]
