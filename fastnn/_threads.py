"""Threads: a context manager for their number, and their entry in threadpoolctl, if somebody uses that."""

import os
import sys
from types import TracebackType

from . import _kernels
from ._checks import integer


class threads:  # a context manager, named like the function it reads as
    """Use n threads within a ``with`` block.

    Results are the same bits for every number. The number counts for the whole process, not for one Python thread.

    Parameters
    ----------
    n : int
        At least 1.

    Raises
    ------
    TypeError, ValueError
        If n is no integer, or less than 1.

    Examples
    --------
    >>> import fastnn as fnn
    >>> with fnn.threads(1):
    ...     fnn.get_num_threads()
    1
    """

    def __init__(self, n: int) -> None:
        self._n = integer("threads", "n", n)
        self._before: list[int] = []

    def __enter__(self) -> "threads":
        self._before.append(_kernels.get_num_threads())
        _kernels.set_num_threads(self._n)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _kernels.set_num_threads(self._before.pop())


def register_threadpoolctl() -> None:
    """Make fastnn's pool visible to threadpoolctl: listed by ``threadpool_info()``, limited by ``threadpool_limits``.

    Done when fastnn is imported, if threadpoolctl is there already; call it where that is imported later, as by
    scikit-learn. A second call changes nothing.

    Raises
    ------
    ImportError
        If threadpoolctl is not installed.

    Examples
    --------
    >>> import threadpoolctl
    >>> import fastnn as fnn
    >>> fnn.register_threadpoolctl()
    >>> "fastnn" in {pool["internal_api"] for pool in threadpoolctl.threadpool_info()}
    True
    """
    import threadpoolctl

    class FastnnController(threadpoolctl.LibController):
        user_api = "fastnn"
        internal_api = "fastnn"
        filename_prefixes = ("_kernels",)

        def check_symbols_in_library(self) -> bool:  # its symbols are hidden; others may have a file of this name
            return os.path.realpath(self.filepath) == os.path.realpath(_kernels.__file__)

        def get_num_threads(self) -> int:
            return _kernels.get_num_threads()

        def set_num_threads(self, num_threads: int) -> None:
            _kernels.set_num_threads(num_threads)

        def get_version(self) -> str | None:
            import fastnn

            return fastnn.__version__

        def set_additional_attributes(self) -> None:
            pass

    threadpoolctl.register(FastnnController)


if "threadpoolctl" in sys.modules:
    register_threadpoolctl()
