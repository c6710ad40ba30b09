"""What training leaves behind: the numbers of each epoch, and how it ended."""

from collections.abc import Iterator
from typing import Any


class History:
    """The record of one training, one number per epoch and name.

    `history["loss"]` and `history.loss` are the same list; so for "val_loss", "lr" and the metrics.

    Attributes
    ----------
    records : dict of str to list of float
        All of it.
    best_epoch : int or None
        Index of the epoch with the lowest validation loss (training loss without validation data); None before the
        first.
    steps : int
        Optimizer steps taken.
    seconds : float
        Time spent, of this run only.
    stopped : str
        Why it ended: "epochs", "steps", "patience", "callback" or "interrupted".
    interrupted : bool
        Whether Ctrl-C ended it.

    Examples
    --------
    >>> from fastnn._history import History
    >>> history = History()
    >>> history.add({"loss": 0.5, "val_loss": 0.75})
    >>> history.val_loss, len(history), list(history)
    ([0.75], 1, ['loss', 'val_loss'])
    """

    def __init__(self) -> None:
        self.records: dict[str, list[float]] = {}
        self.best_epoch: int | None = None
        self.steps = 0
        self.seconds = 0.0
        self.stopped = ""

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended the training."""
        return self.stopped == "interrupted"

    def add(self, record: dict[str, float]) -> None:
        """Append the numbers of one epoch."""
        for name, value in record.items():
            self.records.setdefault(name, []).append(value)

    def __getitem__(self, name: str) -> list[float]:
        return self.records[name]

    def __getattr__(self, name: str) -> list[float]:
        records = self.__dict__.get("records", {})
        if name in records:
            return records[name]
        raise AttributeError(f"History has no {name!r}; it has {', '.join(records) or 'no records'}")

    def __iter__(self) -> Iterator[str]:
        return iter(self.records)

    def keys(self) -> list[str]:
        """The names of the records."""
        return list(self.records)

    def __len__(self) -> int:
        """Return the number of epochs."""
        return len(self.records.get("loss", ()))

    def plot(self, ax: Any = None) -> Any:
        """Draw the learning curve; needs the extra "plot" (matplotlib).

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where; a new figure by default.

        Returns
        -------
        matplotlib Axes

        Raises
        ------
        ModuleNotFoundError
            If matplotlib is not installed; the message says how to get it.
        """
        from .plot import learning_curve

        return learning_curve({name: self.records[name] for name in ("loss", "val_loss") if name in self.records}, ax)

    def __repr__(self) -> str:
        if not len(self):
            return "History(no epochs)"
        shown = {name: values[-1] for name, values in self.records.items()}
        numbers = ", ".join(f"{name}={value:.4g}" for name, value in shown.items())
        return f"History({len(self)} epochs, {self.steps} steps, {numbers}, best_epoch={self.best_epoch})"
