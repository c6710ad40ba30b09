"""The command line: `fastnn` (or `python -m fastnn`) lists what there is; `fastnn info`, `fastnn demo NAME`, and
`fastnn convert` and `fastnn summary` for files of weights.

Everything is imported where it is used, so that asking for help costs no more than importing the package.
"""

import shutil
import sys
import textwrap
from collections.abc import Sequence
from importlib import import_module

from . import _cli
from .demos import DEMOS

_COMMANDS = {  # name -> (module, its arguments, what it does)
    "info": ("._info", "", "the CPU, the chosen instruction set, threads, versions, memory"),
    "convert": ("._convert", "SRC DST", "weights of PyTorch, ONNX, NumPy, safetensors as .safetensors or .npz"),
    "summary": ("._summarize", "FILE", "what a file of weights or an ONNX model holds; --picture draws its graph"),
}
_MORE = """\
in Python:  import fastnn as fnn        names and behaviour are PyTorch's; help(fnn.fit) is a good first page
reading:    README.md, docs/design.md and examples/ in the source folder"""


def _entry(start: str, summary: str) -> str:
    """Return a line of the overview, broken below where the summary starts if the terminal is too narrow for it."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    return textwrap.fill(summary, max(width, len(start) + 30), initial_indent=start, subsequent_indent=" " * len(start))


def _overview(prog: str) -> str:
    """Return the text that `fastnn` alone prints."""
    from . import __version__

    lines = [f"fastnn {__version__}: a small, fast neural-network package for CPUs", "", "commands:"]
    what = {f"{name} {words}": summary for name, (_, words, summary) in _COMMANDS.items()}
    what |= {f"demo {name}": summary for name, summary in DEMOS.items()}
    lines += [_entry(f"  {prog} {words:<23} ", summary) for words, summary in what.items()]
    return "\n".join([*lines, "", f"{prog} demo NAME --help shows a demo's options", "", _MORE])


def _command(prog: str, words: Sequence[str]):
    """Return what to run for the words of the command line, wrong ones refused."""
    parser = _cli.Parser(prog=prog, add_help=False)
    parser.add_argument("command", nargs="?", choices=(*_COMMANDS, "demo"))
    parser.add_argument("words", nargs="...")
    parser.add_argument("-h", "--help", action="store_true")  # the overview is the help
    parser.add_argument("--version", action="store_true")
    chosen = parser.parse_args(words)
    if chosen.version:
        from . import __version__

        return lambda: print(f"fastnn {__version__}")
    if chosen.command in _COMMANDS:
        name, rest = chosen.command, chosen.words
        module = _COMMANDS[name][0]
    elif chosen.command == "demo" and chosen.words and not chosen.words[0].startswith("-"):
        name, *rest = chosen.words
        if name not in DEMOS:
            parser.error(f"there is no demo {name!r}; there are {', '.join(DEMOS)}")
        module, name = f".demos.{name.replace('-', '_')}", f"demo {name}"
    else:
        return lambda: print(_overview(prog))
    program = import_module(module, __package__)
    options = _cli.Parser(prog=f"{prog} {name}", description=(program.__doc__ or "").partition("\n")[0])
    program.add_arguments(options)
    arguments = options.parse_args(rest)
    return lambda: program.run(arguments)


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status.

    Parameters
    ----------
    words : sequence of str
        The arguments without the program's name; those of the process by default.

    Examples
    --------
    >>> from fastnn.__main__ import main
    >>> main(["--version"])  # doctest: +ELLIPSIS
    fastnn ...
    0
    """
    prog = "python -m fastnn" if sys.argv[0].endswith("__main__.py") else "fastnn"
    if words is None:
        words = sys.argv[1:]
    return _cli.run(prog, lambda: _command(prog, words)())


if __name__ == "__main__":
    sys.exit(main())
