"""One peer in a process of its own; `python -m bench.worker PEER THREADS [async]`, driven by bench.compare.

Peers in one process would share environment variables, CPU binding and each other's spinning threads. A worker
sleeps on its pipe until it is its turn. One JSON object per line: requests on stdin, replies on stdout.
"""

import json
import os
import sys
import warnings
from typing import Any

from bench import settings


class Worker:
    """Holds the one case that is set up."""

    def __init__(self) -> None:
        self.run: Any = None
        self.calls: int | None = None

    def setup(self, case: str, label: str, seconds: float) -> dict[str, Any]:
        """Builds, checks and calibrates; the reply names the variant chosen."""
        from bench import cases
        from bench.timing import turn

        self.run = None  # free the last one first
        found = cases.find(case)
        self.run = found.setup(label, found.inputs(), seconds)
        first = turn(self.run, seconds / 2)
        self.calls = int(first["calls"])
        return {"variant": self.run.variant, "seconds": first["min"]}

    def turn(self, seconds: float) -> dict[str, Any]:
        """One turn of timing."""
        from bench.timing import turn

        return dict(turn(self.run, seconds, self.calls))


def main(peer: str, threads: int, asynchronous: bool) -> None:
    """Serves requests until stdin closes."""
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a peer prints must not mix with the replies
    warnings.simplefilter("ignore")
    settings.bind(threads)
    settings.prepare(peer, threads, asynchronous)
    worker = Worker()
    for line in sys.stdin:
        request = json.loads(line)
        do = {"setup": worker.setup, "turn": worker.turn}[request.pop("do")]
        try:
            reply = do(**request)
        except Exception as error:  # reported, not raised: the comparison goes on without this peer
            reply = {"error": f"{type(error).__name__}: {error}".splitlines()[0][:300]}
        replies.write(json.dumps(reply) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), "async" in sys.argv[3:])
