"""Errors of our own, where none of Python's fits."""


class FormatError(ValueError):
    """A file is damaged, or lies about what it holds.

    Examples
    --------
    >>> import fastnn as fnn
    >>> issubclass(fnn.FormatError, ValueError)
    True
    """
