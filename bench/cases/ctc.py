"""CTC loss and embedding, forward and backward."""

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.case import Answer, Case, Inputs, Run


def ctc(frames: int, batch: int, classes: int, letters: int) -> Case:
    """The mean loss of texts of `letters` letters and the gradient to the scores before the log-softmax's output."""

    def inputs() -> Inputs:
        rng = np.random.default_rng(0)
        x = rng.standard_normal((frames, batch, classes))
        x = (x - np.log(np.exp(x).sum(-1, keepdims=True))).astype(np.float32)
        return {"x": x, "target": rng.integers(1, classes, (batch, letters))}

    return Case(
        "ctc",
        f"forward+backward T{frames} B{batch} C{classes} L{letters}",
        inputs,
        _np_ctc,
        {"fastnn": {"backward()": _ctc("fastnn")}, "torch": {"backward()": _ctc("torch")}},
        bound=1e-3,  # PyTorch's own error is 4e-4 of the largest gradient
    )


def _np_ctc(inputs: Inputs) -> Answer:
    """The definition, state by state over the whole batch, in double."""
    x, target = inputs["x"].astype(np.float64), inputs["target"]
    frames, batch, _ = x.shape
    letters = target.shape[1]
    says = np.zeros((batch, 2 * letters + 1), np.int64)
    says[:, 1::2] = target
    passes = np.zeros(says.shape, bool)
    passes[:, 3::2] = target[:, 1:] != target[:, :-1]
    rows = np.arange(batch)[:, None]

    def moved(row: np.ndarray, by: int) -> np.ndarray:
        """The states `by` before (behind, where negative) each."""
        out = np.full(row.shape, -np.inf)
        if by > 0:
            out[:, by:] = row[:, :-by]
        else:
            out[:, :by] = row[:, -by:]
        return out

    alpha = np.full((frames, *says.shape), -np.inf)
    alpha[0, :, :2] = x[0][rows, says[:, :2]]
    for t in range(1, frames):
        before = alpha[t - 1]
        skipped = np.where(passes, moved(before, 2), -np.inf)
        alpha[t] = np.logaddexp(np.logaddexp(before, moved(before, 1)), skipped) + x[t][rows, says]
    total = np.logaddexp(alpha[-1, :, -1], alpha[-1, :, -2])
    beta = np.full(says.shape, -np.inf)
    beta[:, -2:] = 0
    dx = np.exp(x)
    for t in range(frames - 1, -1, -1):
        share = np.exp(alpha[t] + beta - total[:, None])
        np.subtract.at(dx[t], (rows, says), share)
        said = beta + x[t][rows, says]
        skipped = np.where(moved(passes.astype(float), -2) > 0, moved(said, -2), -np.inf)
        beta = np.logaddexp(np.logaddexp(said, moved(said, -1)), skipped)
    return [np.asarray((-total / letters).mean()), dx / letters / batch]


def _ctc(module: str) -> Callable[[Inputs], Run]:
    def setup(inputs: Inputs) -> Run:
        lib = __import__(module)
        x, target = lib.tensor(inputs["x"], requires_grad=True), lib.tensor(inputs["target"])
        frames, batch, _ = inputs["x"].shape
        lengths, letters = lib.tensor([frames] * batch), lib.tensor([target.shape[1]] * batch)

        def call() -> Any:
            x.grad = None
            loss = lib.nn.functional.ctc_loss(x, target, lengths, letters)
            loss.backward()
            return loss

        return Run(call, lambda: [np.asarray(call().detach().numpy()), x.grad.numpy()])

    return setup


def embedding(count: int, rows: int, cols: int) -> Case:
    """`count` rows read, and the gradient of the table."""

    def inputs() -> Inputs:
        rng = np.random.default_rng(0)
        return {
            "table": rng.standard_normal((rows, cols), np.float32),
            "index": rng.integers(0, rows, count),
            "dy": rng.standard_normal((count, cols), np.float32),
        }

    def answer(i: Inputs) -> Answer:
        dw = np.zeros((rows, cols))
        np.add.at(dw, i["index"], i["dy"].astype(np.float64))
        return [i["table"][i["index"]], dw]

    def setup(module: str) -> Callable[[Inputs], Run]:
        def made(inputs: Inputs) -> Run:
            lib = __import__(module)
            table = lib.tensor(inputs["table"], requires_grad=True)
            index, dy = lib.tensor(inputs["index"]), lib.tensor(inputs["dy"])

            def call() -> Any:
                table.grad = None
                y = lib.nn.functional.embedding(index, table)
                y.backward(dy)
                return y

            return Run(call, lambda: [call().detach().numpy(), table.grad.numpy()])

        return made

    return Case(
        "embedding",
        f"forward+backward {count} of {rows}x{cols}",
        inputs,
        answer,
        {"fastnn": {"backward()": setup("fastnn")}, "torch": {"backward()": setup("torch")}},
        bytes=4.0 * cols * (4 * count + rows),
    )


CASES = [ctc(200, 16, 40, 30), ctc(50, 16, 40, 10), embedding(2048, 4000, 128), embedding(64, 30, 64)]
