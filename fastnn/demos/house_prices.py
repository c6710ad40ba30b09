"""A dense network learns what houses cost from real sales, is compared with simpler methods, and answers questions.

The table is that of Ames, Iowa (2,930 sales), or your own CSV file. Every score is of houses held out of the training.
"""

import argparse
import math
import shlex
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import fastnn as fnn

from .. import _cli
from .._cli import CommandError
from .._extras import require
from . import _houses

MODEL, PICTURE = "house-prices.safetensors", "house-prices.png"
FOOT2 = 0.092903  # square metres in a square foot


@dataclass(frozen=True)
class Question:
    """How people speak of a column of the Ames table: `--flag` in `unit`, which is `factor` times the table's."""

    flag: str
    label: str
    unit: str = ""
    factor: float = 1.0


QUESTIONS = {
    "Gr_Liv_Area": Question("square-metres", "living area", " m²", FOOT2),
    "TotRms_AbvGrd": Question("rooms", "rooms"),
    "Bedroom_AbvGr": Question("bedrooms", "bedrooms"),
    "Full_Bath": Question("bathrooms", "bathrooms"),
    "Half_Bath": Question("half-baths", "half baths"),
    "Year_Built": Question("year", "year built"),
    "Garage_Cars": Question("garage-cars", "cars in the garage"),
    "Total_Bsmt_SF": Question("basement", "basement", " m²", FOOT2),
    "Lot_Area": Question("lot", "lot", " m²", FOOT2),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    asked = parser.add_argument_group("your house (what you do not give takes the median of the table)")
    for column, question in QUESTIONS.items():
        text = f"{question.label}{' in square metres' if question.unit else ''}"
        asked.add_argument(
            f"--{question.flag}", type=_cli.amount, metavar="N", dest=column, default=argparse.SUPPRESS, help=text
        )
    asked.add_argument(
        "--ask",
        action="append",
        type=_assignment,
        metavar="COLUMN=N",
        default=argparse.SUPPRESS,
        help="any column by its name in the table, in its own unit",
    )
    work = parser.add_argument_group("training")
    work.add_argument(
        "--columns", choices=("nine", "course"), default="nine", help="course: rooms, area and baths only"
    )
    work.add_argument("--epochs", type=_cli.positive, default=40, metavar="N", help="rounds through the houses")
    work.add_argument("--folds", type=_cli.positive, default=5, metavar="N", help="parts of the cross-validation")
    work.add_argument("--seed", type=_cli.seed, default=0, metavar="N", help="the same seed gives the same net")
    work.add_argument("--table", metavar="FILE.csv", default=argparse.SUPPRESS, help="learn from your own table")
    named = "the column of your table that is the price (default: price)"
    work.add_argument("--target", metavar="COLUMN", default=argparse.SUPPRESS, help=named)
    files = parser.add_argument_group("files")
    files.add_argument("--out", default="fastnn-house-prices", metavar="FOLDER", help="where picture and model go")
    files.add_argument("--no-picture", action="store_true", help="do without matplotlib")
    files.add_argument(
        "--model", metavar="FILE", default=argparse.SUPPRESS, help="answer with a model saved before, without training"
    )


def _assignment(text: str) -> tuple[str, float]:
    """Read COLUMN=NUMBER."""
    column, equals, number = text.rpartition("=")
    if not equals or not column:
        raise argparse.ArgumentTypeError(f"expected COLUMN=NUMBER, got {text!r}")
    return column, _cli.finite(number)


def run(options: argparse.Namespace) -> int:
    """Train and report, or answer with a saved model."""
    asked = {column: getattr(options, column) / q.factor for column, q in QUESTIONS.items() if column in options}
    asked |= dict(getattr(options, "ask", []))
    if "target" in options and "table" not in options:
        raise CommandError("--target names a column of your own table: --table FILE.csv")
    if "model" in options:
        if "table" in options:
            raise CommandError("--model answers with what it has learned, --table is to learn from; give one of them")
        net = _houses.load(options.model)
        _answer(net, asked)
        return 0
    if not options.no_picture:
        require("matplotlib", "demo", "the picture (--no-picture does without it)")
    table = _table(options)
    if not 2 <= options.folds <= len(table.price) // 10:
        raise CommandError(f"--folds must be from 2 to {len(table.price) // 10}, got {options.folds}")
    _check(table.columns, asked)
    out = _cli.folder(options.out)
    net, study = _learn(table, options)
    _scores(table, study, options.folds)
    _importance(table, study)
    _answer(net, asked)
    _houses.save(net, out / MODEL)
    print(f"\nmodel    {out / MODEL}")
    if not options.no_picture:
        draw(table, net, study, out / PICTURE)
        print(f"picture  {out / PICTURE}")
    file = shlex.quote(str(out / MODEL))
    print(f"ask without training: fastnn demo house-prices --model {file} {_example(net)}")
    return 0


def _table(options: argparse.Namespace) -> _houses.Table:
    """Return the table the options name."""
    if "table" in options:
        return _houses.from_csv(options.table, getattr(options, "target", "price"))
    return _houses.ames(_houses.NINE if options.columns == "nine" else _houses.COURSE)


def _check(columns: tuple[str, ...], asked: dict[str, float]) -> None:
    """Refuse questions about columns that are not there."""
    for column in asked:
        if column not in columns:
            flag = f"--{QUESTIONS[column].flag} ({column})" if column in QUESTIONS else repr(column)
            raise CommandError(f"{flag} is not among the columns: {', '.join(columns)}")


def _learn(table: _houses.Table, options: argparse.Namespace) -> tuple[_houses.PriceNet, _houses.Study]:
    """Cross-validate, then train on every house; the network knows the band of the cross-validated errors."""
    sizes = "-".join(map(str, (len(table.columns), *_houses.HIDDEN, 1)))
    print(f"{len(table.price):,} houses sold: {table.title}")
    print(f"columns: {', '.join(_label(column) for column in table.columns)}")
    print(f"a dense network {sizes} learns the logarithm of the price\n")
    study = _houses.study(table, options.folds, options.epochs, options.seed, lambda line: print(line, flush=True))
    start = time.perf_counter()
    net, _ = _houses.train(table, np.arange(len(table.price)), options.epochs, options.seed)
    print(f"  final network: all {len(table.price):,} houses, {time.perf_counter() - start:.1f} s")
    residual = np.log(table.price) - study.scores["fastnn"].log_predicted
    net.band.copy_(np.quantile(residual, (0.1, 0.9)).astype(np.float32))
    return net, study


def _scores(table: _houses.Table, study: _houses.Study, folds: int) -> None:
    """Print how each method did."""
    title = f"on held-out houses, {folds} folds"
    print(f"\n{title:<30}{'R2, log price':>14}{'mean error':>13}{'median error':>15}{'time':>9}")
    for name, score in study.scores.items():
        errors = score.errors(table)
        mean, median = (f"{table.money}{value:,.0f}" for value in (errors.mean(), np.median(errors)))
        print(f"{name:<30}{score.r2(table):>14.3f}{mean:>13}{median:>15}{score.seconds:>7.1f} s")


def _importance(table: _houses.Table, study: _houses.Study) -> None:
    """Print a bar for each input, the longest first."""
    lost = np.mean(study.importance, 0)
    longest = max(lost.max(), 1e-9)
    print("\nhow much each input matters (R2 lost when it is shuffled among held-out houses)")
    for column in np.argsort(-lost):
        bar = "█" * round(30 * max(lost[column], 0) / longest)
        print(f"  {_label(table.columns[column]):<20}{lost[column]:>7.3f}  {bar}".rstrip())


def _label(column: str) -> str:
    """Return what a column is called in print."""
    return QUESTIONS[column].label if column in QUESTIONS else column


def _quantity(column: str, value: float) -> str:
    """Return a value of a column in the unit of its question."""
    question = QUESTIONS.get(column, Question("", column))
    number = value * question.factor
    text = f"{number:.0f}" if question.unit or number >= 1000 else f"{number:.4g}"
    return f"{question.label} {text}{question.unit}"


def _example(net: _houses.PriceNet) -> str:
    """Return a question about another house, as words of the command line."""
    if net.columns[: len(_houses.COURSE)] == _houses.COURSE:
        return "--rooms 7 --bathrooms 2 --square-metres 150"
    return f"--ask {shlex.quote(f'{net.columns[0]}={net.median.tolist()[0]:g}')}"


def _answer(net: _houses.PriceNet, asked: dict[str, float]) -> None:
    """Print the price of the house that was asked about, and what is not known about it."""
    _check(net.columns, asked)
    house = net.median.numpy().astype(np.float64)
    lowest, highest = net.lowest.tolist(), net.highest.tolist()
    given, assumed, strange = [], [], []
    for i, column in enumerate(net.columns):
        if column not in asked:
            assumed.append(_quantity(column, house[i]))
            continue
        house[i] = asked[column]
        given.append(_quantity(column, house[i]))
        if not lowest[i] <= house[i] <= highest[i]:
            strange.append(f"{_label(column)} (the table: {_span(column, lowest[i], highest[i])})")
    log_price = float(net.predict(house[None])[0])
    if not abs(log_price) < 80:
        raise CommandError(f"no answer: the house is too far from all in the table ({', '.join(strange)})")
    low, high = (f"{net.money}{_price(log_price + shift)}" for shift in net.band.tolist())
    print(f"\nyour house: {', '.join(given) or 'the median in everything'}")
    if assumed and given:
        print(f"not given, so the median: {', '.join(assumed)}")
    print(f"price: {net.money}{_price(log_price)}, likely {low} to {high}", end=" ")
    print("(so near was the net for four held-out houses in five)")
    if strange:
        print(f"beware: no such house in the table, the answer is a guess: {', '.join(strange)}")


def _span(column: str, low: float, high: float) -> str:
    """Return "2 to 15", in the unit of the column's question."""
    label = _label(column) + " "
    return f"{_quantity(column, low).removeprefix(label)} to {_quantity(column, high).removeprefix(label)}"


def _price(log_price: float) -> str:
    """Return a price rounded to three digits."""
    price = math.exp(log_price)
    return f"{float(f'{price:.3g}'):,.0f}"


def draw(table: _houses.Table, net: _houses.PriceNet, study: _houses.Study, file: Path) -> None:
    """Write the picture: learning curve, predicted against true, weights of the first layer."""
    figure = require("matplotlib.figure", "demo", "the picture").Figure((14, 4.4), layout="constrained")
    learning, prices, first = figure.subplots(1, 3, width_ratios=(1, 1, 1.35))
    line = 1 - study.scores["linear regression"].r2(table)
    fnn.plot.learning_curve(study.curves, learning, reference={"linear regression": line})
    learning.set_title(f"Learning curve, mean and range of {len(study.importance)} folds")
    learning.set_ylabel("squared error of the log price\n(1 = always the mean)")
    score = study.scores["fastnn"]
    unit = f"thousand {table.money}" if table.money else "thousand"
    fnn.plot.predicted_against_true(table.price / 1e3, np.exp(score.log_predicted) / 1e3, prices, unit=unit, log=True)
    prices.set_title(f"Held-out houses, R² {score.r2(table):.2f}")
    fnn.plot.weights(net.net.layers[0].weight, [_label(column).replace("$", r"\$") for column in table.columns], first)
    figure.savefig(file, dpi=100)
