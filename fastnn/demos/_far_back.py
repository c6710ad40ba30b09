"""A question about what was said far back, and two networks of one size that read up to it: attention, recurrence.

A sequence is noise with a few facts in it, each "this name has that value" in one token; the last tokens ask for the
values of all names in some order. All facts must be kept, however much noise comes behind them.
"""

import time
from collections.abc import Iterator

import numpy as np

import fastnn as fnn
from fastnn import nn, optim
from fastnn.nn import Module

NAMES, VALUES, NOISE = 4, 8, 16
FACTS = NAMES * VALUES
VOCABULARY = FACTS + NOISE + NAMES
RATE, BATCH = 2e-3, 32


def questions(count: int, length: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return sequences (count, length), which values are right and how far back they stand (count, NAMES)."""
    rows, start = np.arange(count)[:, None], length - NAMES
    tokens = rng.integers(FACTS, FACTS + NOISE, (count, length))
    places = rng.permuted(np.tile(np.arange(start), (count, 1)), axis=1)[:, :NAMES]
    values = rng.integers(VALUES, size=(count, NAMES))
    tokens[rows, places] = np.arange(NAMES) * VALUES + values
    asked = rng.permuted(np.tile(np.arange(NAMES), (count, 1)), axis=1)
    tokens[:, start:] = FACTS + NOISE + asked
    return tokens, values[rows, asked], np.arange(start, length) - places[rows, asked]


class Questions:
    """Batches of new questions, `steps` of them in each pass, each batch of one length, which is `most` at most."""

    def __init__(self, most: int, steps: int, seed: int) -> None:
        self.most, self.steps = most, steps
        self.generator = np.random.default_rng(seed)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for _ in range(self.steps):
            length = int(self.generator.integers(2 * NAMES, self.most, endpoint=True))
            yield questions(BATCH, length, self.generator)[:2]


class Attention(Module):
    """Tokens (B, T) -> scores of the values asked for (B, NAMES, VALUES), by a transformer that looks back only."""

    def __init__(self, width: int = 64, heads: int = 4, layers: int = 2) -> None:
        self.embedding = nn.Embedding(VOCABULARY, width)
        self.position = nn.SinusoidalPositionalEncoding(width, batch_first=True)
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width))
        self.head = nn.Linear(width, VALUES)

    def forward(self, tokens):
        """tokens: (B, T) -> (B, NAMES, VALUES)."""
        return self.head(self.layers(self.position(self.embedding(tokens)), is_causal=True)[:, -NAMES:])


class Recurrence(Module):
    """Tokens (B, T) -> scores of the values asked for (B, NAMES, VALUES), by an LSTM."""

    def __init__(self, width: int = 64, hidden: int = 128) -> None:
        self.embedding = nn.Embedding(VOCABULARY, width)
        self.lstm = nn.LSTM(width, hidden, batch_first=True)
        self.head = nn.Linear(hidden, VALUES)

    def forward(self, tokens):
        """tokens: (B, T) -> (B, NAMES, VALUES)."""
        return self.head(self.lstm(self.embedding(tokens))[0][:, -NAMES:])


def loss(scores, right):
    """scores: (B, NAMES, VALUES), right: (B, NAMES) -> the mean cross-entropy."""
    return fnn.cross_entropy(scores.reshape(-1, VALUES), right.reshape(-1))


def learn(net: Module, most: int, steps: int, seed: int, progress: bool | None = None):
    """Train a network on `steps` batches of questions; both are trained alike."""
    every = min(100, steps)
    history = fnn.fit(
        net,
        loss,
        Questions(most, every, seed),
        steps=steps,
        optimizer=lambda parameters: optim.Adam(parameters, lr=RATE),
        schedule=lambda optimizer: optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=RATE, total_steps=steps, pct_start=0.1, cycle_momentum=False
        ),
        clip_norm=1.0,
        best_weights=False,
        seed=seed,
        progress=progress,
    )
    if history.interrupted:
        raise KeyboardInterrupt
    return history


def answers(net: Module, tokens: np.ndarray) -> np.ndarray:
    """Return the values a network gives, (n, NAMES)."""
    net.eval()
    with fnn.no_grad():
        return np.concatenate([net(tokens[at : at + 256]).numpy().argmax(-1) for at in range(0, len(tokens), 256)])


def step_time(net: Module, length: int, batch: int, rounds: int, seed: int) -> float:
    """Return the seconds of one training step, the best of some."""
    net.train()
    optimizer = optim.Adam(net.parameters(), lr=0.0)
    tokens, right, _ = questions(batch, length, np.random.default_rng(seed))
    best = np.inf
    for _ in range(rounds + 1):
        start = time.perf_counter()
        optimizer.zero_grad()
        loss(net(tokens), fnn.tensor(right)).backward()
        optimizer.step()
        best = min(best, time.perf_counter() - start)
    return best
