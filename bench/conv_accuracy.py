"""What Winograd's rounding does to what a network learns: `python -m bench.conv_accuracy [SEEDS]`.

Nothing, is the claim. A network of four 3x3 convolutions learns half of scikit-learn's digits and is asked about the
other half, from the same start and with the same batches as fastnn is (Winograd where its cost model takes it) and with
precision="strict" (every product of the definition). Beside the difference of the two stands what the seed alone does.
"""

import sys
from statistics import mean, stdev

import numpy as np

import fastnn as fnn
from fastnn import nn, optim

EPOCHS, BATCH, SIDE = 20, 64, 8


def network(precision: str) -> nn.Sequential:
    """Four convolutions, 32 to 64 filters, the first of one channel (which is direct either way)."""

    def conv(channels: int, filters: int) -> nn.Conv2d:
        return nn.Conv2d(channels, filters, 3, padding=1, activation="relu", precision=precision)

    return nn.Sequential(
        *(conv(1, 32), conv(32, 32), nn.MaxPool2d(2)),
        *(conv(32, 64), conv(64, 64), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(64 * (SIDE // 4) ** 2, 10)),
    )


def data(seed: int) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """The digits, halved by the seed."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    x, y = (digits.images / 16).astype(np.float32)[:, None], digits.target.astype(np.int64)
    order = np.random.default_rng(seed).permutation(len(x))
    first, second = np.array_split(order, 2)
    return (x[first], y[first]), (x[second], y[second])


def train(precision: str, seed: int) -> tuple[float, np.ndarray]:
    """The share of held-out digits that are read right, and the first convolution's weights."""
    learned, asked = data(seed)
    fnn.manual_seed(seed)
    net = network(precision)
    fnn.fit(
        net,
        nn.CrossEntropyLoss(),
        learned,
        epochs=EPOCHS,
        batch_size=BATCH,
        optimizer=lambda parameters: optim.Adam(parameters, lr=2e-3),
        best_weights=False,
        progress=False,
        seed=seed,
    )
    with fnn.no_grad():
        scores = net(fnn.tensor(asked[0])).numpy()
    return fnn.metrics.accuracy(scores, asked[1]), net[0].weight.detach().numpy()


def main(seeds: int = 10) -> None:
    """A row for each seed, then the means."""
    print(f"{'seed':>6}{'fastnn':>12}{'strict':>12}{'difference':>12}")
    fast, strict = [], []
    for seed in range(seeds):
        (one, weights), (other, strict_weights) = (train(precision, seed) for precision in ("fast", "strict"))
        if np.array_equal(weights, strict_weights):
            raise RuntimeError("the two networks are the same to the bit: no convolution went by Winograd")
        fast.append(100 * one)
        strict.append(100 * other)
        print(f"{seed:>6}{100 * one:>10.2f} %{100 * other:>10.2f} %{100 * (one - other):>+10.2f} %", flush=True)
    differences = [a - b for a, b in zip(fast, strict, strict=True)]
    print(f"{'mean':>6}{mean(fast):>10.2f} %{mean(strict):>10.2f} %{mean(differences):>+10.2f} %")
    if seeds > 1:
        print(f"{'s.d.':>6}{stdev(fast):>10.2f} %{stdev(strict):>10.2f} %{stdev(differences):>10.2f} %")
        print(f"standard error of the mean difference: {stdev(differences) / seeds**0.5:.2f} %")


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:2]))
