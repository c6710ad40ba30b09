"""`python -m bench.compare GROUP ...`: all peers side by side, in turns; the numbers we quote.

Every peer (and mode of a peer) has a process of its own. In each round every peer gets one short turn, in alternating
order; a peer's time is the median over the rounds of the least time in its turn, a ratio the median of the ratios
within the rounds.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench import ROOT, cases, settings
from bench.case import Case, peer_of
from bench.report import BUSY, IN_README

SPECIAL = ("import", "neighbour", "allocations")
OURS = "fastnn"
REST = 0.03  # between turns with several threads: the last peer's pool spins on for some milliseconds
LIMIT = 25.0  # seconds for the rounds of one case; at least MIN_ROUNDS are made
MIN_ROUNDS = 5


class Peer:
    """The other end of bench.worker."""

    def __init__(self, label: str, threads: int) -> None:
        self.label = label
        extra = ["async"] if label.endswith(":async") else []
        self.log = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as the process)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bench.worker", peer_of(label), str(threads), *extra],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            cwd=ROOT,
            env={**os.environ, **settings.environment(threads)},
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        """One request and its reply."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if line:
            return dict(json.loads(line))
        self.log.seek(0)
        last = self.log.read().decode(errors="replace").strip().splitlines()[-1:] or ["no output"]
        return {"error": f"the worker ended: {last[0]}"}

    def close(self) -> None:
        assert self.process.stdin is not None
        try:
            with suppress(BrokenPipeError):
                self.process.stdin.close()
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.log.close()


class Comparison:
    """The workers of one thread count, and what was measured."""

    def __init__(self, threads: int, rounds: int, seconds: float) -> None:
        self.threads, self.rounds, self.seconds = threads, rounds, seconds
        self.peers: dict[str, Peer] = {}
        self.skipped: dict[str, str] = {}

    def close(self) -> None:
        for peer in self.peers.values():
            peer.close()

    def case(self, case: Case, only: Sequence[str] = ()) -> list[dict[str, Any]]:
        """Measures one case; one record per label."""
        labels = [x for x in case.peers if self._wanted(x, only)]
        ready: dict[str, dict[str, Any]] = {}
        for label in labels:
            reply = self._of(label).ask(do="setup", case=case.id, label=label, seconds=self.seconds)
            if "error" in reply:
                self.skipped[f"{case.id} {label}"] = reply["error"]
                print(f"  {label}: {reply['error']}", file=sys.stderr)
            else:
                ready[label] = reply
        turns = self._rounds(ready)
        return [_record(case, label, ready[label], turns, self.threads) for label in ready]

    def _wanted(self, label: str, only: Sequence[str]) -> bool:
        peer = peer_of(label)
        if only and peer not in only:
            return False
        reason = settings.why_missing(peer)
        if reason:
            self.skipped.setdefault(peer, reason)
        return not reason and not (label.endswith(":async") and self.threads == 1)

    def _of(self, label: str) -> Peer:
        if label in self.peers and self.peers[label].process.poll() is not None:  # it crashed on an earlier case
            self.peers.pop(label).close()
        if label not in self.peers:
            self.peers[label] = Peer(label, self.threads)
        return self.peers[label]

    def _rounds(self, ready: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
        turns: dict[str, list[dict[str, Any]]] = {label: [] for label in ready}
        start = time.perf_counter()
        for number in range(self.rounds):
            if number >= MIN_ROUNDS and time.perf_counter() - start > LIMIT:
                break
            for label in list(ready) if number % 2 == 0 else reversed(list(ready)):
                reply = self._of(label).ask(do="turn", seconds=self.seconds)
                if "error" in reply:
                    raise RuntimeError(f"{label}: {reply['error']}")
                turns[label].append(reply)
                if self.threads > 1:
                    time.sleep(REST)
        return turns


def _record(
    case: Case, label: str, setup: Mapping[str, Any], turns: Mapping[str, Sequence[Mapping]], threads: int
) -> dict[str, Any]:
    made: dict[str, Any] = {
        "group": case.group,
        "case": case.name,
        "label": label,
        "variant": setup["variant"],
        "threads": threads,
        "flops": case.flops,
        "bytes": case.bytes,
    }
    for statistic in ("min", "median"):
        times = [t[statistic] for t in turns[label]]
        made[statistic] = statistics.median(times)
        if OURS in turns:
            ratios = sorted(t / ours[statistic] for t, ours in zip(times, turns[OURS], strict=True))
            made[f"ratio_{statistic}"] = statistics.median(ratios)
            made[f"ratio_{statistic}_low"] = ratios[len(ratios) // 4]
            made[f"ratio_{statistic}_high"] = ratios[-1 - len(ratios) // 4]
    return made


def show(records: Sequence[Mapping[str, Any]]) -> None:
    """One case on the terminal: microseconds, and how many times our time."""
    print(f"{records[0]['group']}: {records[0]['case']}  ({records[0]['threads']} threads)")
    for r in sorted(records, key=lambda r: float(r["min"])):
        ratio = f"{r['ratio_min']:7.2f}x" if "ratio_min" in r else ""
        rate = f"{r['flops'] / r['min'] / 1e9:7.0f} GFLOP/s" if r["flops"] else ""
        rate = rate or (f"{r['bytes'] / r['min'] / 1e9:7.1f} GB/s" if r["bytes"] else "")
        print(f"  {r['label']:24}{r['min'] * 1e6:12.2f} us {ratio:9} {rate:16} {r['variant']}")
    print(flush=True)


def selected(names: Sequence[str], pattern: str) -> list[Case]:
    """The cases of the named groups whose name contains the pattern."""
    groups = cases.GROUPS if "all" in names else names
    readme = IN_README if "readme" in names else {}
    return [c for c in cases.CASES if (c.group in groups or (c.group, c.name) in readme) and pattern in c.name]


def special(names: Sequence[str], quick: bool) -> dict[str, Any]:
    """The groups that are no set of timed functions."""
    from bench import allocations, footprint, neighbour

    measures = {
        "import": lambda: footprint.measure(repeats=3 if quick else 10),
        "neighbour": lambda: neighbour.measure(quick),
        "allocations": lambda: allocations.measure(),
    }
    made = {}
    for name, measure in measures.items():
        if name in names or "all" in names:
            made[name] = measure()
            print(name, json.dumps(made[name], indent=1), flush=True)
    return made


def _quiet() -> float:
    busy = settings.busy_cpus()
    if busy > BUSY:
        print(f"Others keep {busy:.1f} CPUs busy: do not quote these numbers.", file=sys.stderr)
    return busy


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description=__doc__)
    parser.add_argument(
        "groups",
        nargs="+",
        choices=[*cases.GROUPS, *SPECIAL, "readme", "all"],
        metavar="GROUP",
        help=f"one or more of: {', '.join([*cases.GROUPS, *SPECIAL])}; readme (those of its table); or all",
    )
    parser.add_argument("--threads", default="1", help="1, 2, ... or all (default: 1)")
    parser.add_argument("--quick", action="store_true", help="few short rounds: to see that it works")
    parser.add_argument("--match", default="", metavar="TEXT", help="only cases whose name contains TEXT")
    parser.add_argument("--peers", default="", metavar="A,B", help="only these peers")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the results")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the groups, prints each case when it is done, writes the results."""
    from bench import peak

    options = parse(argv)
    threads = settings.thread_count(options.threads)
    results: dict[str, Any] = {"machine": settings.machine(), "threads": threads, "peak": peak.measure(threads)}
    busy = _quiet()
    comparison = Comparison(threads, *((5, 0.015) if options.quick else (15, 0.04)))
    results["records"] = []
    try:
        for case in selected(options.groups, options.match):
            records = comparison.case(case, [p for p in options.peers.split(",") if p])
            if records:
                show(records)
            results["records"] += records
    finally:
        comparison.close()
    results["skipped"] = comparison.skipped
    results["busy_cpus"] = max(busy, _quiet())
    results["peak"] = peak.greater(results["peak"], peak.measure(threads))  # a busy moment must not lower it
    results["special"] = special(options.groups, options.quick)
    path = options.json or Path(__file__).parent / "results" / f"threads{threads}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")
    print(f"python -m bench.report {os.path.relpath(path)}")


if __name__ == "__main__":
    main()
