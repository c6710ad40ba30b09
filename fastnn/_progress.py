"""The progress of a training: a bar by rich or tqdm on a terminal, plain lines where asked for, else nothing."""

import sys
import time
from typing import Any

_INTERVAL = 0.1  # seconds between two looks at a bar
_PLAIN_INTERVAL = 1.0  # between two plain lines


def progress_for(wanted: bool | None, total: int | None) -> "Any":
    """Return something with `tick`, `epoch` and `close` that shows `total` steps, or None to show nothing.

    `wanted`: False for nothing, True for something in any case, None for a bar if standard error is a terminal.
    """
    if wanted is not None and not isinstance(wanted, bool):
        raise TypeError(f"fit: progress must be True, False or None, got {wanted!r}")
    terminal = bool(sys.stderr) and sys.stderr.isatty()
    if wanted is False or (wanted is None and not terminal):
        return None
    if terminal:
        for make in (_RichBar, _TqdmBar):
            try:
                return make(total)
            except ImportError:
                continue
    return _PlainLine(total, terminal)


class _Bar:
    """What the bars share: they are touched ten times a second at most, since drawing costs more than a small step."""

    def __init__(self) -> None:
        self._next = 0.0
        self._text = ""

    def tick(self, step: int, loss: float) -> None:
        """Take note of a step done."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _INTERVAL
            self._show(step, self._text or f"loss {loss:.4g}")

    def epoch(self, step: int, text: str) -> None:
        """Take note of an epoch done, summed up in `text`."""
        self._text = text

    def close(self, step: int) -> None:
        """Show the last state and end."""
        self._show(step, self._text)
        self._end()

    def _show(self, step: int, text: str) -> None:
        raise NotImplementedError

    def _end(self) -> None:
        raise NotImplementedError


class _RichBar(_Bar):
    def __init__(self, total: int | None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        super().__init__()
        columns = (
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}", markup=False),
        )
        # No thread of rich's own: it would wake ten times a second beside the kernels.
        self._bar = Progress(*columns, console=Console(stderr=True), auto_refresh=False)
        self._bar.start()
        self._task = self._bar.add_task("", total=total)

    def _show(self, step: int, text: str) -> None:
        self._bar.update(self._task, completed=step, description=text, refresh=True)

    def _end(self) -> None:
        self._bar.stop()


class _TqdmBar(_Bar):
    def __init__(self, total: int | None) -> None:
        from tqdm import tqdm

        super().__init__()
        self._bar = tqdm(total=total, file=sys.stderr)

    def _show(self, step: int, text: str) -> None:
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.n = step
        self._bar.refresh()

    def _end(self) -> None:
        self._bar.close()


class _PlainLine:
    """One line that is written over on a terminal; elsewhere a line per second at most, and the last."""

    def __init__(self, total: int | None, terminal: bool) -> None:
        self._of = "" if total is None else f"/{total}"
        self._over = terminal
        self._next = 0.0
        self._last = ""

    def tick(self, step: int, loss: float) -> None:
        """Take note of a step done."""

    def epoch(self, step: int, text: str) -> None:
        """Take note of an epoch done, summed up in `text`."""
        self._last = f"step {step}{self._of}: {text}"
        now = time.monotonic()
        if now >= self._next:
            self._next = now + (_INTERVAL if self._over else _PLAIN_INTERVAL)
            self._write()

    def _write(self) -> None:
        if self._last:
            sys.stderr.write(f"\r\033[K{self._last}" if self._over else f"{self._last}\n")
            sys.stderr.flush()
            self._last = ""

    def close(self, step: int) -> None:
        """Show the last state and end."""
        self._write()
        if self._over:
            sys.stderr.write("\n")
