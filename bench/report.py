"""`python -m bench.report RESULTS.json ...`: tables of ratios in Markdown, and a chart.

A ratio is a peer's time over fastnn's time in the same run: above 1, fastnn is faster. Reads the files of
bench.compare and of pytest-benchmark (--benchmark-json).
"""

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

OURS = "fastnn"
NAMES = {
    "fastnn:kernel": "raw kernel",
    "fastnn:strict": "strict",
    "fastnn:native": "written in fastnn",
    "numpy": "NumPy",
    "torch": "PyTorch",
    "torch:compile": "PyTorch compiled",
    "jax": "JAX jit",
    "jax:flat": "JAX jit, one array",
    "onnxruntime": "ONNX Runtime",
    "onnxruntime:constant b": "ONNX Runtime, b constant",
    "openvino": "OpenVINO",
    "openvino:constant b": "OpenVINO, b constant",
    "ncnn": "ncnn",
}
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
IN_README = {  # measured by `python -m bench.compare readme`
    ("matmul", "64^3"): "matmul 64 x 64 x 64",
    ("matmul", "256^3"): "matmul 256 x 256 x 256",
    ("matmul", "1024^3"): "matmul 1024 x 1024 x 1024",
    ("linear", "8x1024 W 1024x1024"): "Linear(1024, 1024) on 8 rows",
    ("softmax", "softmax 128x1000"): "softmax 128 x 1000",
    ("adam", "235 thousand parameters"): "Adam, 235 thousand parameters",
    ("overhead", "Linear(8, 8) on a row, taped"): "Linear(8, 8) on a row, recorded",
    ("conv", "3x3 N1 C64 H56 K64"): "3x3 convolution, 64 channels of 56 x 56",
    ("conv", "3x3 N32 C128 H28 K128"): "3x3 convolution, 128 channels of 28 x 28, batch 32",
    ("conv_backward", "3x3 N32 C64 H32 K64"): "3x3 convolution and its gradients, 64 channels of 32 x 32, batch 32",
    ("recurrent", "LSTM T100 B32 128->128"): "LSTM, 100 steps of 128 -> 128, batch 32",
    ("recurrent_backward", "GRU T100 B32 128->128"): "GRU and its gradients, 100 steps of 128 -> 128, batch 32",
    ("attention", "B1 N8 T1024 D64 causal"): "causal attention, 8 heads of 64, 1,024 tokens",
    ("attention_backward", "B8 N8 T128 D64"): "attention and its gradients, 8 heads of 64, 128 tokens, batch 8",
    ("resnet", "ResNet-10 3x64x64 batch 1"): "ResNet-10 on a picture of 64 x 64",
    ("mobilenet", "MobileNetV2 3x224x224"): "MobileNetV2 on a picture of 224 x 224",
    ("bert", "6 layers d384 batch 1 T128"): "six-layer BERT, 384 wide, on 128 tokens",
    ("generation", "d256 4 layers batch 1, 64 tokens"): "64 tokens from a language model, 4 layers of 256",
    ("train", "MLP 8-64-64-1 batch 32"): "training step, MLP 8-64-64-1, batch 32",
    ("train", "MLP 784-256-128-10 batch 128"): "training step, MLP 784-256-128-10, batch 128",
    ("train", "CNN 28x28 batch 64"): "training step, small CNN on 28 x 28, batch 64",
    ("recurrent_train", "GRU 40->128->12 T100 B32"): "training step, GRU 40-128-12, 100 steps, batch 32",
    ("train_transformer", "d128, 2 layers, 4 heads, T64, batch 16"): "training step, transformer 128 wide, 2 layers",
    ("gan", "faces 1x64x64 batch 32, both networks"): "training step, GAN of 64 x 64 faces, both networks",
}
BUSY = 0.15  # CPUs taken by others, above which a run is marked as disturbed
DRAM = 64e6  # a case that moves more bytes than this is held against the memory's bandwidth

Record = Mapping[str, Any]


class Results:
    """One file: what was measured with one number of threads."""

    def __init__(self, path: Path, statistic: str = "min") -> None:
        data = json.loads(path.read_text())
        self.statistic = statistic
        if "benchmarks" in data:
            data = _from_pytest(data)
        self.machine: Mapping[str, Any] = data["machine"]
        self.threads: int = data["threads"]
        self.peak: Mapping[str, Any] = data["peak"]
        self.special: Mapping[str, Any] = data.get("special", {})
        self.busy: float = data.get("busy_cpus", 0.0)
        self.skipped: Mapping[str, str] = data.get("skipped", {})
        self.cases: dict[tuple[str, str], dict[str, Record]] = {}
        for r in data["records"]:
            self.cases.setdefault((r["group"], r["case"]), {})[r["label"]] = r

    def groups(self) -> list[str]:
        return list(dict.fromkeys(group for group, _ in self.cases))

    def time(self, key: tuple[str, str], label: str = OURS) -> float:
        return float(self.cases[key][label][self.statistic])

    def ratios(self, key: tuple[str, str]) -> dict[str, float]:
        """Peer's name -> ratio; of JAX's two ways to dispatch the faster one."""
        found = self.cases[key]
        made: dict[str, float] = {}
        for label, r in found.items():
            if label == OURS or OURS not in found:
                continue
            name = label.removesuffix(":async")
            ratio = float(r.get(f"ratio_{self.statistic}") or r[self.statistic] / self.time(key))
            made[name] = min(ratio, made.get(name, ratio))
        return made

    def best(self, key: tuple[str, str]) -> tuple[str, float] | None:
        """The fastest peer doing the same work, and its ratio."""
        peers = {k: v for k, v in self.ratios(key).items() if not k.startswith(OURS) and ":constant" not in k}
        return min(peers.items(), key=lambda item: item[1]) if peers else None

    def rate(self, key: tuple[str, str]) -> str:
        """'210 GFLOP/s, 93 %' of the measured peak, or GB/s."""
        r, seconds = self.cases[key][OURS], self.time(key)
        if r["flops"]:
            rate = r["flops"] / seconds / 1e9
            return f"{rate:.3g} GFLOP/s, {100 * rate / self.peak['gflops']:.0f} %"
        if r["bytes"]:
            rate = r["bytes"] / seconds / 1e9
            memory = max(self.peak.get("dram_read_gbs", 0), self.peak.get("dram_update_gbs", 0))
            share = f", {100 * rate / memory:.0f} %" if r["bytes"] > DRAM and memory else ""
            return f"{rate:.3g} GB/s{share}"
        return ""


def _from_pytest(data: Mapping[str, Any]) -> dict[str, Any]:
    ours = data["fastnn"]
    records = [
        {**b["extra_info"], "min": b["stats"]["min"], "median": b["stats"]["median"]} for b in data["benchmarks"]
    ]
    return {**ours, "records": [r for r in records if "label" in r]}


def duration(seconds: float) -> str:
    """Three digits with a unit."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; numbers to the right."""
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def _ordered(labels: Iterable[str]) -> list[str]:
    known = list(NAMES)
    return sorted(set(labels), key=lambda x: known.index(x) if x in known else len(known))


def machine_line(results: Results) -> str:
    """What the numbers were measured on."""
    versions = ", ".join(f"{NAMES.get(k, k)} {v}" for k, v in results.machine["versions"].items())
    peak = ", ".join(
        f"{results.peak[key]:.0f} {unit}"
        for key, unit in (
            ("gflops", "GFLOP/s float32"),
            ("dram_read_gbs", "GB/s memory read"),
            ("dram_update_gbs", "GB/s memory read and written"),
        )
        if key in results.peak
    )
    machine = f"{results.machine['cpu']} ({results.machine.get('isa', 'row unknown')}), {_threads(results)}"
    return f"{machine}; measured peak {peak} ({results.peak['method']}). {versions}."


def _threads(results: Results) -> str:
    return "1 thread" if results.threads == 1 else f"{results.threads} threads"


def group_table(results: Results, group: str) -> str:
    """All cases of a group: our time and rate, then every peer's ratio; the best peer's in bold."""
    keys = [k for k in results.cases if k[0] == group and OURS in results.cases[k]]
    labels = _ordered(label for k in keys for label in results.ratios(k))
    rows = []
    for key in keys:
        ratios, best = results.ratios(key), results.best(key)
        cells = [f"{ratios[x]:.2f}" if x in ratios else "" for x in labels]
        cells = [f"**{c}**" if best and x == best[0] else c for x, c in zip(labels, cells, strict=True)]
        rows.append([key[1].replace("|", "\\|"), duration(results.time(key)), results.rate(key), *cells])
    return table([group, "fastnn", "rate, of peak", *(NAMES.get(x, x) for x in labels)], rows)


def losses(results: Results) -> str:
    """Where the best peer is faster than fastnn."""
    found = [(k, best) for k in results.cases if (best := results.best(k)) and best[1] < 1]
    found.sort(key=lambda item: item[1][1])
    return "\n".join(f"- {k[0]}: {k[1]}: {best[1]:.2f} ({NAMES.get(best[0], best[0])})" for k, best in found)


def special_tables(special: Mapping[str, Any]) -> list[str]:
    """Import, neighbour and allocations."""
    parts = []
    if rows := special.get("import"):
        cells = [
            [
                NAMES.get(r["peer"], r["peer"]),
                duration(r["seconds"]),
                f"{r['rss_mib']:.1f}",
                f"{r['installed_mib']:.1f}",
            ]
            for r in rows
        ]
        parts.append(table(["import, above NumPy's", "time", "memory, MiB", "installed, MiB"], cells))
    if rows := special.get("neighbour"):
        cells = [
            [
                f"{NAMES.get(r['peer'], r['peer'])}, {r['case']}",
                f"{r['quiet']['speedup']:.2f}",
                f"{r['busy']['speedup']:.2f}",
                duration(r["busy"]["worst"]),
            ]
            for r in rows
        ]
        head = [f"1 thread's time / {rows[0]['threads']} threads' time", "quiet", "busy neighbour", "slowest call then"]
        parts.append(table(head, cells))
    if rows := special.get("allocations"):
        cells = [
            [
                f"{r['case']}, {r['steps']} steps",
                str(r["page_faults"]),
                str(r["from_system"]),
                str(sum(r["system_calls"].values())) if "system_calls" in r else "not measured",
            ]
            for r in rows
        ]
        parts.append(table(["steady training", "page faults", "arena blocks from the system", "system calls"], cells))
    return parts


def report(all_results: Sequence[Results]) -> str:
    """Everything, in Markdown."""
    parts = []
    for results in all_results:
        parts += [f"## {_threads(results)}", machine_line(results)]
        if results.busy > BUSY:
            parts.append(f"**Disturbed: other processes kept {results.busy:.1f} CPUs busy. Do not quote.**")
        parts += [group_table(results, g) for g in results.groups()]
        if below := losses(results):
            parts += ["The best peer is faster in:", below]
        parts += special_tables(results.special)
        if results.skipped:
            parts.append("Not measured: " + "; ".join(f"{k} ({v})" for k, v in results.skipped.items()) + ".")
    return "\n\n".join(parts) + "\n"


def readme_section(all_results: Sequence[Results]) -> str:
    """A short table for the README: the cases most people ask for, numbers of threads beside each other."""
    labels = ["numpy", "torch", "torch:compile", "jax", "onnxruntime", "openvino", "ncnn"]
    rows = []
    for key, name in IN_README.items():
        found = [r for r in all_results if OURS in r.cases.get(key, {})]
        ratios = [[_short(r.ratios(key).get(x)) for r in found] for x in labels]
        if found:
            cells = [" / ".join(cell) if any(cell) else "" for cell in ratios]
            rows.append([name, " / ".join(duration(r.time(key)) for r in found), *cells])
    threads = " / ".join(_threads(r) for r in all_results)
    parts = [
        f"How many times longer each peer takes, measured side by side (`python -m bench.compare readme`); {threads}:",
        table(["", "fastnn", *(NAMES[x] for x in labels)], rows),
        *(machine_line(r) for r in all_results),
    ]
    for results in all_results:
        parts += special_tables({"import": results.special.get("import")})
    return "\n\n".join(parts)


def _short(ratio: float | None) -> str:
    """Two digits, so that 0.96 is not 1.0."""
    return "" if ratio is None else f"{ratio:.{2 if ratio < 0.995 else 1 if ratio < 9.95 else 0}f}"


def write_readme(path: Path, section: str) -> None:
    """Replaces what stands between the two marks."""
    text = path.read_text()
    begin, end = text.find(BEGIN), text.find(END)
    if not 0 <= begin < end:
        raise SystemExit(f"{path}: expected the lines {BEGIN} and {END}")
    path.write_text(text[: begin + len(BEGIN)] + "\n" + section + "\n" + text[end:])


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the report; --chart and --readme write files."""
    parser = argparse.ArgumentParser(prog="python -m bench.report", description=__doc__)
    parser.add_argument("results", nargs="+", type=Path, metavar="RESULTS.json")
    parser.add_argument("--statistic", choices=("min", "median"), default="min", help="of a turn (default: min)")
    parser.add_argument("--chart", type=Path, metavar="PNG", help="write a picture of the ratios")
    parser.add_argument("--readme", type=Path, metavar="FILE", help=f"fill in {BEGIN} ... {END}")
    options = parser.parse_args(argv)
    all_results = [Results(path, options.statistic) for path in options.results]
    sys.stdout.write(report(all_results))
    if options.chart:
        from bench import chart

        chart.draw(all_results, options.chart)
    if options.readme:
        if disturbed := [r for r in all_results if r.busy > BUSY]:
            raise SystemExit(f"{options.readme} left as it is: {len(disturbed)} of the results were disturbed")
        write_readme(options.readme, readme_section(all_results))


if __name__ == "__main__":
    main()
