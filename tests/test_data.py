"""Data sets, loaders, splits and metrics."""

import subprocess
import sys
from collections import namedtuple

import numpy as np
import pytest

import fastnn as fnn
from fastnn import metrics
from fastnn.data import DataLoader, Dataset, Subset, TensorDataset, random_split


def rows(loader):
    return [batch[0].tolist() for batch in loader]


def test_batches_in_order_are_views():
    x = np.arange(10.0, dtype=np.float32)
    loader = DataLoader((x, x + 1), batch_size=4)
    assert rows(loader) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert len(loader) == 3
    first = next(iter(loader))
    assert np.shares_memory(first[0].data, x)
    assert [b[0].size for b in DataLoader(x, batch_size=4, drop_last=True)] == [4, 4]
    assert len(DataLoader(x, batch_size=4, drop_last=True)) == 2
    assert rows(DataLoader(x, batch_size=100)) == [x.tolist()]
    for drop_last in (False, True):  # nothing is left over, and there is no empty batch behind
        whole = DataLoader(x, batch_size=5, drop_last=drop_last)
        assert (len(whole), rows(whole)) == (2, [x[:5].tolist(), x[5:].tolist()])
    assert rows(DataLoader(x, batch_size=10, drop_last=True)) == [x.tolist()]
    w = fnn.tensor(x, requires_grad=True)
    (batch,) = next(iter(DataLoader(w, batch_size=4)))  # of data, not of what made them
    assert batch.tolist() == [0, 1, 2, 3]
    assert not batch.requires_grad
    assert not TensorDataset(w)[2:4][0].requires_grad


def test_shuffled_epochs_are_permutations_and_differ():
    x, y = np.arange(50), np.arange(50) * 2
    loader = DataLoader((x, y), batch_size=7, shuffle=True, seed=3)
    epochs = [[v for batch in loader for v in batch[0].tolist()] for _ in range(3)]
    for epoch in epochs:
        assert sorted(epoch) == x.tolist()
    assert epochs[0] != epochs[1] != epochs[2]
    again = DataLoader((x, y), batch_size=7, shuffle=True, seed=3)
    assert [[v for batch in again for v in batch[0].tolist()] for _ in range(3)] == epochs
    for a, b in loader:
        np.testing.assert_array_equal(b.data, 2 * a.data)


def test_shuffling_without_a_seed_follows_manual_seed():
    loader = DataLoader(np.arange(30), batch_size=30, shuffle=True)
    fnn.manual_seed(5)
    a = rows(loader)
    b = rows(loader)
    fnn.manual_seed(5)
    assert rows(loader) == a != b


def test_subsets_are_sliced_too():
    data = TensorDataset(np.arange(10) * 10)
    inner = Subset(data, [9, 1, 5, 3])
    outer = Subset(inner, [3, 0])
    assert rows(DataLoader(outer, batch_size=8)) == [[30, 90]]
    assert sorted(v for batch in rows(DataLoader(inner, 3, shuffle=True, seed=0)) for v in batch) == [10, 30, 50, 90]
    assert [b[0].tolist() for b in DataLoader(inner, 4, shuffle=True, seed=0)] != [[90, 10, 50, 30]]
    assert outer[0][0].item() == outer[np.int64(0)][0].item() == 30
    assert rows(DataLoader(inner[1:], 4)) == [[10, 50, 30]]
    assert rows(DataLoader(Subset(inner, [-1, -4]), 4)) == [[30, 90]]
    for number in (10, -11):
        with pytest.raises(IndexError, match="out of range"):
            Subset(data, [number])
    assert len(Subset(data, [])) == 0
    for indices in (np.arange(10) > 6, [0.5, 1.0]):
        with pytest.raises(TypeError, match="indices must be integers, got"):
            Subset(data, indices)


def test_other_datasets_are_stacked():
    class Rows(Dataset):
        def __len__(self):
            return 5

        def __getitem__(self, i):
            return {"x": np.full(3, i, np.float32), "pair": (i, float(i)), "name": f"row {i}"}

    batch = next(iter(DataLoader(Rows(), batch_size=2)))
    assert batch["x"].shape == (2, 3)
    assert batch["pair"][0].dtype == np.int64
    assert batch["pair"][1].dtype == np.float32
    assert batch["name"] == ["row 0", "row 1"]

    class Many(Rows):
        def __getitems__(self, indices):
            return [{"i": i} for i in indices]

    assert [b["i"].tolist() for b in DataLoader(Many(), batch_size=3)] == [[0, 1, 2], [3, 4]]
    assert list(DataLoader(Rows(), batch_size=2, collate_fn=len)) == [2, 2, 1]
    assert list(DataLoader(Rows(), batch_size=2, collate_fn=len, drop_last=True)) == [2, 2]
    assert list(DataLoader(np.zeros((5, 3)), batch_size=2, collate_fn=len)) == [2, 2, 1]
    assert list(DataLoader([b"a", b"b"], batch_size=2)) == [[b"a", b"b"]]
    Pair = namedtuple("Pair", "x y")
    pairs = next(iter(DataLoader([Pair(np.zeros(2), 3), Pair(np.ones(2), 4)], batch_size=2)))
    assert type(pairs) is Pair
    assert (pairs.x.shape, pairs.y.tolist()) == ((2, 2), [3, 4])
    for items in ([{"a": 1}, {"b": 1}], [{"a": 1}, {"a": 1, "b": 1}], [(1, 2), (3,)], [[1], [2, 3]]):
        with pytest.raises(ValueError, match=r"items have different .*; pass collate_fn"):
            next(iter(DataLoader(items, batch_size=2)))
    ragged = [np.zeros(2), np.zeros(3)]
    with pytest.raises(ValueError, match="different shapes"):
        next(iter(DataLoader(ragged, batch_size=2)))


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: DataLoader((np.zeros(3), np.zeros(4))), ValueError, r"lengths \[3, 4\]"),
        (lambda: DataLoader((np.zeros((0, 3)),)), ValueError, "empty"),
        (lambda: DataLoader(np.zeros(3), batch_size=0), ValueError, "batch_size"),
        (lambda: DataLoader(np.zeros(3), batch_size=2.0), TypeError, "batch_size"),
        (lambda: DataLoader(np.zeros(3), batch_size=True), TypeError, "batch_size"),
        (lambda: DataLoader(np.zeros(3), batch_size=4, drop_last=True), ValueError, "drop_last"),
        (lambda: DataLoader(iter([1])), TypeError, "needs len"),
        (lambda: DataLoader(np.zeros(3), seed=1, generator=np.random.default_rng(1)), ValueError, "not both"),
        (lambda: DataLoader(np.zeros(3), generator=3), TypeError, "Generator"),
        (lambda: DataLoader(np.zeros(3), seed=1.5), TypeError, "integer"),
        (lambda: TensorDataset(), ValueError, "no arrays"),
        (lambda: TensorDataset(np.float32(3)), ValueError, "axis"),
        (lambda: TensorDataset(["a"]), TypeError, "not supported"),
    ],
)
def test_bad_arguments(make, error, match):
    with pytest.raises(error, match=match):
        make()


def test_random_split():
    data = TensorDataset(np.arange(11))
    parts = random_split(data, [0.5, 0.25, 0.25], seed=0)
    assert [len(p) for p in parts] == [6, 3, 2]
    assert sorted(int(i) for p in parts for i in p.indices) == list(range(11))
    again = random_split(data, [6, 3, 2], seed=0)
    for p, q in zip(parts, again):
        np.testing.assert_array_equal(p.indices, q.indices)
    assert [len(p) for p in random_split(data, np.array([0.5, 0.25, 0.25], np.float32))] == [6, 3, 2]
    assert [len(p) for p in random_split(data, [0, 11, 0])] == [0, 11, 0]
    for bad in ([5, 5], [6, 6], [0.5, 0.6], [0.5, 0.4], [12, -1], [1.5, -0.5]):
        with pytest.raises(ValueError, match="random_split"):
            random_split(data, bad)


# ----- metrics -----


def test_regression_metrics_are_scikit_learns(rng):
    sk = pytest.importorskip("sklearn.metrics")
    for shape in [(20,), (20, 3)]:
        p, t = rng.standard_normal(shape), rng.standard_normal(shape)
        assert metrics.r2(p, t) == pytest.approx(sk.r2_score(t, p))
        assert metrics.mae(fnn.tensor(p), t) == pytest.approx(sk.mean_absolute_error(t, p))
        assert metrics.mse(p, fnn.tensor(t)) == pytest.approx(sk.mean_squared_error(t, p))
        assert metrics.rmse(p, t) ** 2 == pytest.approx(metrics.mse(p, t))
    assert metrics.r2([[1.0], [2.0]], [1.0, 2.0]) == 1.0
    assert metrics.r2([0.1, 0.2, 0.4], [0.1, 0.2, 0.3]) == pytest.approx(0.5)  # whatever the unit
    assert metrics.r2([1.0, 2.0], [3.0, 3.0]) == 0.0
    assert metrics.r2([3.0, 3.0], [3.0, 3.0]) == 1.0
    assert metrics.r2([0.2, 0.1, 0.1], [0.1, 0.1, 0.1]) == 0.0
    assert metrics.r2([0.1, 0.1, 0.1], [0.1, 0.1, 0.1]) == 1.0
    assert metrics.r2([np.nan], [1.0]) == 0.0


@pytest.mark.parametrize("average", ["macro", "micro", None])
def test_class_metrics_are_scikit_learns(average, rng):
    sk = pytest.importorskip("sklearn.metrics")
    scores, t = rng.standard_normal((40, 4)), rng.integers(0, 4, 40)
    p = scores.argmax(1)
    assert metrics.accuracy(scores, t) == pytest.approx(sk.accuracy_score(t, p))
    np.testing.assert_array_equal(metrics.confusion_matrix(scores, t), sk.confusion_matrix(t, p))
    for name, theirs in [("precision", sk.precision_score), ("recall", sk.recall_score), ("f1", sk.f1_score)]:
        np.testing.assert_allclose(getattr(metrics, name)(scores, t, average), theirs(t, p, average=average))


def test_as_many_scores_as_classes():
    sk = pytest.importorskip("sklearn.metrics")
    p, t = np.array([0, 1, 1, 0]), np.array([0, 1, 0, 0])  # of four classes only two occur
    for name, theirs in [("precision", sk.precision_score), ("recall", sk.recall_score), ("f1", sk.f1_score)]:
        ours = getattr(metrics, name)
        want = theirs(t, p, average=None, labels=range(4), zero_division=0)
        np.testing.assert_allclose(ours(p, t, None, classes=4), want)
        assert len(ours(p, t, None)) == 2
        assert ours(p, t, "macro", classes=4) == ours(p, t, "macro")


def test_binary_metrics(rng):
    sk = pytest.importorskip("sklearn.metrics")
    logits, t = rng.standard_normal((30, 1)), rng.integers(0, 2, 30)
    p = (logits[:, 0] > 0).astype(int)
    assert metrics.accuracy(logits, t, threshold=0.0) == pytest.approx(sk.accuracy_score(t, p))
    assert metrics.accuracy(logits, t.reshape(-1, 1).astype(float), threshold=0.0) == pytest.approx((p == t).mean())
    for name, theirs in [("precision", sk.precision_score), ("recall", sk.recall_score), ("f1", sk.f1_score)]:
        assert getattr(metrics, name)(logits, t, threshold=0.0) == pytest.approx(theirs(t, p))
    scores, t = [0.2, 0.3, 0.5, 0.6, 0.9], [0, 0, 1, 1, 0]  # a score of one half is not above it
    assert metrics.confusion_matrix(scores, t).tolist() == [[2, 1], [1, 1]]
    assert metrics.accuracy(scores, t) == 0.6
    assert metrics.precision(scores, t) == metrics.recall(scores, t) == metrics.f1(scores, t) == 0.5
    assert metrics.precision([0, 0], [1, 1]) == 0.0
    onehot = np.eye(3)[[0, 2, 1]]
    for dtype in (float, np.float32, int, np.uint8, bool):
        assert metrics.accuracy(onehot * 0.4, onehot.astype(dtype)) == 1.0
    assert metrics.accuracy(onehot * 0.9, [[1, 1, 0], [0, 0, 1], [0, 1, 0]]) == pytest.approx(8 / 9)  # each by itself


def test_classes_of_pixels(rng):
    scores, t = rng.standard_normal((4, 3, 5, 6)), rng.integers(0, 3, (4, 5, 6))
    rows = np.moveaxis(scores, 1, -1).reshape(-1, 3)
    assert metrics.accuracy(scores, t) == metrics.accuracy(rows, t.reshape(-1))
    np.testing.assert_array_equal(metrics.confusion_matrix(scores, t), metrics.confusion_matrix(rows, t.reshape(-1)))


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: metrics.mse([1.0], [1.0, 2.0]), ValueError),
        (lambda: metrics.mse(np.zeros((2, 3)), np.zeros((3, 2))), ValueError),
        (lambda: metrics.mse([], []), ValueError),
        (lambda: metrics.mse(["a"], [1.0]), TypeError),
        (lambda: metrics.accuracy(np.zeros((4, 3)), np.zeros(5, int)), ValueError),
        (lambda: metrics.accuracy([1, 0], [0.5, 1.0]), ValueError),
        (lambda: metrics.accuracy([0.0, 1.0, 2.0], [0, 1, 2]), ValueError),
        (lambda: metrics.accuracy([1, 0], [-1, 0]), ValueError),
        (lambda: metrics.accuracy([-1, 0], [1, 0]), ValueError),
        (lambda: metrics.accuracy(np.ones(4), 1), ValueError),
        (lambda: metrics.accuracy([1, 0], [np.inf, 1.0]), ValueError),
        (lambda: metrics.confusion_matrix([1, 0], [2.0**63, 1.0]), ValueError),
        (lambda: metrics.confusion_matrix(np.array([2**63], np.uint64), [1]), ValueError),
        (lambda: metrics.precision([0, 2], [1, 2]), ValueError),
        (lambda: metrics.f1([0, 1], [1, 1], average="mean"), ValueError),
        (lambda: metrics.f1([0, 1], [0, 2], average=None, classes=2), ValueError),
        (lambda: metrics.recall([0, 1], [0, 1], classes=3), ValueError),
        (lambda: metrics.recall([0, 0], [0, 0], classes=1), ValueError),
        (lambda: metrics.confusion_matrix([0, 3], [0, 1], classes=2), ValueError),
        (lambda: metrics.confusion_matrix([0, 10**9], [0, 1]), ValueError),
    ],
)
def test_bad_metrics(call, error):
    with pytest.raises(error):
        call()


def test_importing_does_not_pay_for_random_numbers(tmp_path):
    program = "import sys, fastnn, fastnn.nn, fastnn.optim, fastnn.data; sys.exit('numpy.random' in sys.modules)"
    subprocess.run([sys.executable, "-P", "-c", program], check=True, cwd=tmp_path)


def test_workers_are_taken_and_not_needed():
    loader = DataLoader(fnn.arange(5), batch_size=2, num_workers=4, pin_memory=True)
    assert [rows.tolist() for (rows,) in loader] == [[0, 1], [2, 3], [4]]


@pytest.mark.parametrize("measure", ["accuracy", "f1", "precision", "recall", "confusion_matrix"])
def test_scores_that_are_nan_are_no_answer(measure):
    for pred, target in ((np.full((4, 3), np.nan), [0, 0, 0, 1]), (np.array([np.nan, 0.9]), [0, 1])):
        with pytest.raises(ValueError, match="pred has NaN"):
            getattr(metrics, measure)(pred, target)
