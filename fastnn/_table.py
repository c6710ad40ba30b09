"""A table as text, and on a terminal by rich where it is installed."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass
class Table:
    """Columns of text; a name that begins with ">" is of numbers and aligned to the right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]] = ()
    footer: Sequence[str] = ()

    def __str__(self) -> str:
        names = [name.removeprefix(">") for name in self.columns]
        lines = [names, *self.rows, *([self.footer] if self.footer else [])]
        widths = [max(len(line[i]) for line in lines) for i in range(len(names))]
        texts = ["  ".join(self._cell(i, line[i], widths[i]) for i in range(len(names))).rstrip() for line in lines]
        rule = "-" * max(map(len, texts))
        texts.insert(1, rule)
        if self.footer:
            texts.insert(-1, rule)
        return "\n".join(texts)

    def _cell(self, column: int, text: str, width: int) -> str:
        return text.rjust(width) if self.columns[column].startswith(">") else text.ljust(width)

    def show(self) -> None:
        """Print it."""
        if not sys.stdout.isatty():
            print(self)
            return
        try:
            from rich import box
            from rich.console import Console
            from rich.markup import escape
            from rich.table import Table as Rich
        except ImportError:
            print(self)
            return
        table = Rich(box=box.SIMPLE_HEAD, show_footer=bool(self.footer), header_style="bold", footer_style="bold")
        for i, name in enumerate(self.columns):
            right = name.startswith(">")
            table.add_column(
                name.removeprefix(">"),
                escape(self.footer[i]) if self.footer else "",
                justify="right" if right else "left",
                no_wrap=right,
                overflow="fold",
            )
        for row in self.rows:
            table.add_row(*map(escape, row))
        Console().print(table)


def short(count: int | float | None) -> str:
    """A count of operations: 950, 12.3 k, 4.56 M, 7.89 G; "?" where it is not known.

    Examples
    --------
    >>> from fastnn._table import short
    >>> short(950), short(12_345), short(4_560_000), short(None)
    ('950', '12.3 k', '4.56 M', '?')
    """
    if count is None:
        return "?"
    for unit in ("", " k", " M", " G", " T"):
        if count < 999.5 or unit == " T":
            return f"{count:.3g}{unit}" if unit else f"{count:.0f}"
        count /= 1000
    raise AssertionError
