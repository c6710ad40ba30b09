"""The estimators: every check of scikit-learn, and what its tools do with them on real data."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest

import fastnn as fnn
from fastnn import nn

pytest.importorskip("sklearn")
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_linnerud
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastnn.sklearn import FastnnClassifier, FastnnRegressor


def body(n_features, n_outputs):
    """A network of no usual kind."""
    return nn.Sequential(
        nn.LayerNorm(n_features), nn.Linear(n_features, 64, activation="silu"), nn.Linear(64, n_outputs)
    )


@parametrize_with_checks(
    [
        FastnnClassifier(),
        FastnnRegressor(),
        FastnnClassifier(optimizer="adamw", activation="silu", hidden_sizes=(50, 30), class_weight={}),
        FastnnRegressor(loss="huber", optimizer="adamw", weight_decay=0.01, lr=3e-3),
    ]
)
def test_every_check_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return train_test_split((X / 16).astype(np.float32), y, test_size=0.3, random_state=0)


def test_digits(digits):
    X, X_test, y, y_test = digits
    names = np.array([f"digit {i}" for i in range(10)])
    net = FastnnClassifier(epochs=30, random_state=0).fit(X, names[y])
    assert net.score(X_test, names[y_test]) > 0.96
    assert net.classes_.tolist() == names.tolist()
    p = net.predict_proba(X_test)
    assert p.dtype == np.float32  # as X
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(np.exp(net.predict_log_proba(X_test)), p, rtol=1e-4)
    assert (net.classes_[p.argmax(1)] == net.predict(X_test)).all()
    assert net.n_iter_ == len(net.history_) == 30
    assert isinstance(net.module_, fnn.models.MLP)


class Picture(nn.Module):
    """A convolutional body for rows that are pictures of 8x8."""

    def __init__(self, n_features, n_classes):
        super().__init__()
        self.conv = nn.Conv2d(1, 16, 3, padding=1)
        self.norm = nn.BatchNorm2d(16)
        self.out = nn.Linear(16 * 16, n_classes)

    def forward(self, x):
        x = self.norm(self.conv(x.reshape(-1, 1, 8, 8))).relu()
        return self.out(nn.functional.max_pool2d(x, 2).flatten(1))


def test_any_module_is_a_body(digits):
    X, X_test, y, y_test = digits
    made = FastnnClassifier(Picture, epochs=8, lr=3e-3, random_state=0).fit(X, y)
    assert made.score(X_test, y_test) > 0.96
    template = nn.Sequential(nn.Linear(64, 32, activation="relu"), nn.Linear(32, 10))
    before = {name: value.numpy().copy() for name, value in template.state_dict().items()}
    net = FastnnClassifier(template, epochs=30, random_state=0).fit(X, y)
    assert net.score(X_test, y_test) > 0.93
    assert net.module_ is not template
    for name, value in template.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name])  # it was copied
    assert clone(net).module is not template
    images = FastnnClassifier(Picture, epochs=1, random_state=0).fit(X.reshape(-1, 1, 8, 8), y)
    np.testing.assert_array_equal(images.predict(X_test.reshape(-1, 1, 8, 8)).shape, y_test.shape)
    normed = nn.Sequential(nn.BatchNorm1d(64), nn.Linear(64, 10))
    net = FastnnClassifier(normed, epochs=0).fit(X, y)
    assert not net.module_[0].running_mean.numpy().any()  # looked at with one row, and it took no note of it
    frozen = nn.Sequential(nn.Linear(64, 32), nn.Linear(32, 10)).requires_grad_(False)
    frozen[1].requires_grad_()
    net = FastnnClassifier(frozen, epochs=1).fit(X, y)
    np.testing.assert_array_equal(net.module_[0].weight.numpy(), frozen[0].weight.numpy())


def test_regression_of_one_and_of_several():
    X, y = load_diabetes(return_X_y=True)
    X, y = X * 20, (y - y.mean()) / y.std()
    scores = cross_val_score(FastnnRegressor(hidden_sizes=(32,), epochs=30, random_state=0), X, y, cv=3)
    assert scores.mean() > 0.4
    X, Y = load_linnerud(return_X_y=True)
    X, Y = StandardScaler().fit_transform(X), StandardScaler().fit_transform(Y)
    net = FastnnRegressor(epochs=300, lr=1e-2, patience=None, random_state=0).fit(X, Y)
    assert net.predict(X).shape == Y.shape == (20, 3)
    assert net.n_outputs_ == 3
    assert net.score(X, Y) > 0.9
    one = FastnnRegressor(epochs=3, random_state=0).fit(X, Y[:, :1])
    flat = FastnnRegressor(epochs=3, random_state=0).fit(X, Y[:, 0])
    np.testing.assert_array_equal(one.predict(X)[:, 0], flat.predict(X))
    for loss in ("absolute_error", "huber"):
        assert FastnnRegressor(loss=loss, epochs=200, lr=1e-2, random_state=0).fit(X, Y).score(X, Y) > 0.4


@pytest.mark.parametrize(
    ("loss", "row"),
    [
        ("squared_error", lambda d: d**2),
        ("absolute_error", np.abs),
        ("huber", lambda d: np.where(np.abs(d) < 1, d**2 / 2, np.abs(d) - 0.5)),
    ],
)
def test_losses_are_what_they_are_called(loss, row):
    X, Y = load_linnerud(return_X_y=True)
    X, Y = StandardScaler().fit_transform(X), StandardScaler().fit_transform(Y)
    net = FastnnRegressor(loss=loss, epochs=1, random_state=0)
    wanted = row(clone(net).set_params(epochs=0).fit(X, Y).predict(X) - Y)
    weight = np.arange(20)
    assert net.fit(X, Y).history_.loss == pytest.approx([wanted.mean()])
    assert net.fit(X, Y, weight).history_.loss == pytest.approx([np.average(wanted.mean(1), weights=weight)])


def test_predictions_of_many_rows_are_those_of_each():
    X = np.random.default_rng(0).normal(size=(2049, 3))  # of which 1024 are looked at together
    net = FastnnRegressor(epochs=1, random_state=0).fit(X[:50], X[:50, 0])
    np.testing.assert_allclose(net.predict(X), net.module_(fnn.as_tensor(X)).detach().numpy()[:, 0], rtol=1e-12)


@pytest.mark.parametrize("batch_size", [64, 8])
@pytest.mark.parametrize("make", [FastnnClassifier, FastnnRegressor])
def test_weights_of_rows_are_repetitions(make, batch_size):
    rng = np.random.default_rng(0)
    X, weight = rng.normal(size=(20, 3)), rng.integers(0, 4, 20)
    y = (X[:, 0] > 0).astype(int) if make is FastnnClassifier else X[:, 0] + X[:, 1]
    net = make(epochs=40, batch_size=batch_size, random_state=0)
    weighted = net.fit(X, y, sample_weight=weight).module_(fnn.as_tensor(X)).detach().numpy()
    repeated = clone(net).fit(X.repeat(weight, 0), y.repeat(weight)).module_(fnn.as_tensor(X)).detach().numpy()
    if batch_size == 64:  # all rows at once: the same sums in another order
        np.testing.assert_allclose(weighted, repeated, rtol=1e-9, atol=1e-9)
    else:
        assert np.corrcoef(weighted.ravel(), repeated.ravel())[0, 1] > 0.9
    unweighted = clone(net).fit(X, y).module_(fnn.as_tensor(X)).detach().numpy()
    ones = clone(net).fit(X, y, sample_weight=np.full(20, 7)).module_(fnn.as_tensor(X)).detach().numpy()
    np.testing.assert_allclose(unweighted, ones, rtol=1e-9, atol=1e-9)
    assert not np.allclose(weighted, unweighted, rtol=1e-3)


def test_class_weights():
    X, y = load_breast_cancer(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    rare = np.r_[np.flatnonzero(y == 0)[:15], np.flatnonzero(y == 1)]
    found = {}
    for how in (None, "balanced", {0: 100, 1: 0.01}):
        net = FastnnClassifier(nn.Linear(30, 2), epochs=60, class_weight=how, random_state=0).fit(X[rare], y[rare])
        found[str(how)] = net.predict_proba(X[y == 0])[:, 0].mean()
    assert found["None"] < min(found["balanced"], found["{0: 100, 1: 0.01}"])
    # as if the rows had these weights
    factor = {0: 3.0, 1: 0.5}
    rows = np.arange(len(y)) % 3
    a = FastnnClassifier(epochs=3, class_weight=factor, random_state=0).fit(X, y, sample_weight=rows)
    b = FastnnClassifier(epochs=3, random_state=0).fit(X, y, sample_weight=np.where(y == 0, 3.0, 0.5) * rows)
    np.testing.assert_array_equal(a.predict_proba(X), b.predict_proba(X))
    parts = FastnnClassifier(class_weight=factor, random_state=0).partial_fit(X, y, [0, 1], sample_weight=rows)
    whole = FastnnClassifier(class_weight=factor, epochs=1, random_state=0).fit(X, y, sample_weight=rows)
    np.testing.assert_array_equal(parts.predict_proba(X), whole.predict_proba(X))
    weighted, plain = (FastnnRegressor(random_state=0).partial_fit(X, y, w).predict(X) for w in (rows, None))
    np.testing.assert_array_equal(FastnnRegressor(epochs=1, random_state=0).fit(X, y, rows).predict(X), weighted)
    assert not np.allclose(weighted, plain)


def test_progress_is_shown_if_asked_for(capsys):
    X, y = load_iris(return_X_y=True)
    for verbose in (False, True):
        FastnnClassifier(epochs=1, verbose=verbose).fit(X, y)
        assert ("epoch 1/1" in capsys.readouterr().err) is verbose


def test_early_stopping_keeps_the_best_weights(digits):
    X, X_test, y, y_test = digits
    net = FastnnClassifier(early_stopping=True, patience=3, epochs=500, lr=1e-2, random_state=0).fit(X, y)
    assert net.n_iter_ < 100
    assert net.history_.stopped == "patience"
    assert net.history_.best_epoch == int(np.argmin(net.history_.val_loss))
    assert net.score(X_test, y_test) > 0.94
    weighted = clone(net).fit(X, y, sample_weight=np.ones(len(y)))
    np.testing.assert_allclose(weighted.history_.val_loss, net.history_.val_loss, rtol=1e-3)
    X, y = load_diabetes(return_X_y=True)
    net = FastnnRegressor(early_stopping=True, validation_fraction=0.2, epochs=20, random_state=0).fit(X, y)
    assert len(net.history_.val_loss) == net.n_iter_
    with pytest.raises(ValueError, match="early_stopping"):
        net.partial_fit(X, y)
    with pytest.raises(ValueError, match="early_stopping"):
        FastnnClassifier(early_stopping=True).partial_fit(X, y > 100, [False, True])


def test_weights_count_among_the_rows_held_out(monkeypatch):
    X, y = load_iris(return_X_y=True)
    monkeypatch.setattr(FastnnClassifier, "_held_out", lambda *_: np.split(np.arange(150), [70]))
    net = FastnnClassifier(early_stopping=True, epochs=1, class_weight={0: 1, 1: 2, 2: 4}, random_state=0)
    weight = np.arange(150) * np.array([1, 2, 4])[y]
    losses = -net.fit(X, y, np.arange(150)).predict_log_proba(X)[np.arange(150), y]
    assert net.history_.val_loss == pytest.approx([(weight * losses)[70:].mean() / weight.mean()])


def test_rows_held_out_are_the_share_asked_for():
    y = np.repeat([0, 1], [180, 20])
    for make in (FastnnClassifier, FastnnRegressor):
        net = make(validation_fraction=0.2)
        training, held = net._held_out(y, 0)
        assert (len(training), len(held)) == (160, 40)
        assert sorted([*training, *held]) == list(range(200))
        np.testing.assert_array_equal(net._held_out(y, 0)[1], held)
        assert not np.array_equal(net._held_out(y, 1)[1], held)
    assert np.bincount(y[FastnnClassifier(validation_fraction=0.2)._held_out(y, 0)[1]]).tolist() == [36, 4]


def test_partial_fit(digits):
    X, X_test, y, y_test = digits
    net = FastnnClassifier(random_state=0, lr=3e-3)
    with pytest.raises(ValueError, match="classes must be passed"):
        net.partial_fit(X, y)
    net.partial_fit(X[y < 5], y[y < 5], classes=range(10))  # some classes come later
    for _ in range(15):
        net.partial_fit(X, y)
    assert net.score(X_test, y_test) > 0.95
    assert net.n_iter_ == 1
    with pytest.raises(ValueError, match="not the same as on last call"):
        net.partial_fit(X, y, classes=[1, 2])
    with pytest.raises(ValueError, match=r"but y has \[10\]"):
        net.partial_fit(X[:1], [10])
    with pytest.raises(ValueError, match="balanced"):
        FastnnClassifier(class_weight="balanced").partial_fit(X, y, range(10))
    net = FastnnClassifier(random_state=0, lr=1e-2)
    with pytest.raises(ValueError, match=r"but y has \[10\]"):
        net.partial_fit(X[:1], [10], classes=range(10))
    for _ in range(10):
        net.partial_fit(X[y > 6], y[y > 6])  # the first classes are never seen, and keep their outputs
    assert net.score(X_test[y_test > 6], y_test[y_test > 6]) > 0.9
    X, y = load_diabetes(return_X_y=True)
    net = FastnnRegressor(random_state=0, lr=1e-2)
    for _ in range(30):
        net.partial_fit(X * 20, (y - 150) / 77)
    assert net.score(X * 20, (y - 150) / 77) > 0.5
    with pytest.raises(ValueError, match="1 targets, but y has 2"):
        net.partial_fit(X, np.stack([y, y], 1))


def test_training_in_parts_is_training():
    """Two calls of partial_fit, with a pickle in between, move the weights as two without."""
    X, y = load_iris(return_X_y=True)
    straight = FastnnClassifier(random_state=0).partial_fit(X, y, [0, 1, 2]).partial_fit(X, y)
    first = FastnnClassifier(random_state=0).partial_fit(X, y, [0, 1, 2])
    for copied in (pickle.loads(pickle.dumps(first)), copy.deepcopy(first)):
        np.testing.assert_array_equal(copied.partial_fit(X, y).predict_proba(X), straight.predict_proba(X))


def test_warm_start():
    X, y = load_iris(return_X_y=True)
    net = FastnnClassifier(epochs=5, warm_start=True, random_state=0)
    losses = [net.fit(X, y).history_.loss[-1] for _ in range(6)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.7 * losses[0]
    with pytest.raises(ValueError, match="warm_start goes on with the classes"):
        net.fit(X[y < 2], y[y < 2])
    with pytest.raises(ValueError, match="features"):
        net.fit(X[:, :2], y)
    cold = FastnnClassifier(epochs=5, random_state=0)
    assert cold.fit(X, y).history_.loss == cold.fit(X, y).history_.loss
    net = FastnnRegressor(warm_start=True, epochs=1).fit(X, y)
    with pytest.raises(ValueError, match="warm_start goes on with 1 targets"):
        net.fit(X, X)
    assert net.fit(X, X[:, :1]).predict(X).shape == (150, 1)  # as the last y was
    assert net.partial_fit(X, y).predict(X).shape == (150,)


def test_settings_of_the_optimizer_that_change_count_from_then_on():
    X, y = load_iris(return_X_y=True)
    net = FastnnClassifier(epochs=1, lr=1e-2, warm_start=True, random_state=0).fit(X, y)
    pickled = pickle.loads(pickle.dumps(net)).set_params(lr=1e-3)
    steps = net._optimizer.state_dict()["state"][0]["step"]
    net.set_params(lr=1e-3, weight_decay=0.5)
    assert net.fit(X, y).history_.lr == pickled.fit(X, y).history_.lr == [1e-3]
    assert net._optimizer.param_groups[0]["weight_decay"] == 0.5
    assert net._optimizer.state_dict()["state"][0]["step"] == 2 * steps  # its moments go on
    before = net.predict_proba(X)
    np.testing.assert_allclose(net.set_params(lr=0.0).partial_fit(X, y).predict_proba(X), before)
    net.set_params(optimizer="sgd").partial_fit(X, y)
    assert type(net._optimizer) is fnn.optim.SGD
    with pytest.raises(ValueError, match="lr"):
        net.set_params(lr=-1.0).fit(X, y)


def test_searches_and_pipelines():
    X, y = load_iris(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), FastnnClassifier(epochs=30, lr=1e-2, random_state=0))
    grid = {"fastnnclassifier__hidden_sizes": [(4,), (32, 32)], "fastnnclassifier__module": [None, body]}
    search = GridSearchCV(pipeline, grid, cv=3).fit(X, y)
    assert search.best_score_ > 0.93
    assert pickle.loads(pickle.dumps(search)).score(X, y) == search.score(X, y) > 0.95
    grid = {"fastnnclassifier__hidden_sizes": [(4,), (32, 32)]}
    alone, parallel = (GridSearchCV(pipeline, grid, cv=3, n_jobs=jobs).fit(X, y) for jobs in (1, 2))
    np.testing.assert_array_equal(parallel.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"])


@pytest.mark.parametrize(
    ("name", "kind"),
    [("adam", fnn.optim.Adam), ("adamw", fnn.optim.AdamW), ("sgd", fnn.optim.SGD), ("rmsprop", fnn.optim.RMSprop)],
)
def test_optimizers_have_their_settings(name, kind):
    X, y = load_iris(return_X_y=True)
    for given in (name, lambda parameters, **settings: kind(parameters, **settings)):
        net = FastnnClassifier(optimizer=given, lr=0.25, weight_decay=0.125, epochs=1).fit(X, y)
        assert type(net._optimizer) is kind
        (group,) = net._optimizer.param_groups
        assert (group["lr"], group["weight_decay"]) == (0.25, 0.125)


def test_precision_and_seeds():
    X, y = load_iris(return_X_y=True)
    for dtype, X_dtype, expected in (
        (None, "f4", "f4"),
        (None, "f8", "f8"),
        (None, "i8", "f8"),
        ("float32", "f8", "f4"),
    ):
        net = FastnnClassifier(body, dtype=dtype, epochs=1).fit(X.astype(X_dtype), y)
        assert {p.dtype for p in net.module_.parameters()} == {np.dtype(expected)}
        assert net.predict_proba(X).dtype == expected
    fnn.manual_seed(3)
    expected = fnn.rand(2).tolist()
    fnn.manual_seed(3)
    a, b, c = (FastnnClassifier(epochs=2, dropout=0.2, random_state=seed).fit(X, y) for seed in (1, 1, 2))
    assert fnn.rand(2).tolist() == expected  # nobody else's numbers were drawn
    assert a.history_.loss == b.history_.loss != c.history_.loss
    a, b = (FastnnClassifier(epochs=0, random_state=seed).fit(X, y) for seed in (1, 2))
    assert not np.allclose(a.predict_proba(X), b.predict_proba(X))  # the seed is that of the first weights too
    state = np.random.RandomState(0)
    a, b = (FastnnClassifier(epochs=2, random_state=state).fit(X, y) for _ in range(2))
    assert a.history_.loss != b.history_.loss


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"module": 3}, TypeError, "module must be a Module"),
        ({"module": lambda n, k: "net"}, TypeError, "got str"),
        ({"module": nn.Linear(4, 2)}, ValueError, r"shape \(1, 2\); \(1, 3\) expected"),
        ({"module": nn.Linear(5, 3)}, ValueError, "linear: x is"),
        ({"optimizer": "newton"}, ValueError, "optimizer must be callable or one of adam"),
        ({"dtype": "int32"}, ValueError, "dtype must be None, float32 or float64"),
        ({"epochs": -1}, ValueError, "epochs"),
        ({"patience": -1}, ValueError, "patience"),
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"batch_size": "auto"}, TypeError, "batch_size must be an integer, got str"),
        ({"min_delta": None}, TypeError, "min_delta must be a number, got NoneType"),
        ({"hidden_sizes": 5}, TypeError, "hidden_sizes must be a sequence of int, got 5"),
        ({"class_weight": {0: 0, 1: 0, 2: 0}}, ValueError, "class_weight .* leaves all rows a weight of zero"),
        ({"lr": -1.0}, ValueError, "lr"),
        ({"dropout": 2.0}, ValueError, "Dropout"),
        ({"hidden_sizes": (0,)}, ValueError, "Linear"),
        ({"activation": "bend"}, ValueError, "bend"),
        ({"early_stopping": True, "validation_fraction": 2.0}, ValueError, "test_size"),
    ],
)
def test_bad_parameters(options, error, match):
    X, y = load_iris(return_X_y=True)
    with pytest.raises(error, match=match):
        FastnnClassifier(**options).fit(X, y)


def test_defaults_are_the_same_in_both():
    one, other = FastnnClassifier().get_params(), FastnnRegressor().get_params()
    assert (one.pop("class_weight"), other.pop("loss")) == (None, "squared_error")
    assert one == other
    assert (one["patience"], one["min_delta"], one["validation_fraction"]) == (10, 1e-4, 0.1)


def test_bad_data():
    X, y = load_iris(return_X_y=True)
    for weight, match in ((np.zeros(150), "zero"), (-np.ones(150), "[Nn]egative"), (np.ones(3), "shape")):
        with pytest.raises(ValueError, match=match):
            FastnnClassifier().fit(X, y, sample_weight=weight)
    for fraction, side in ((0.01, "held out"), (0.99, "left to train on")):  # the one row that counts is on the other
        net = FastnnRegressor(early_stopping=True, validation_fraction=fraction, random_state=0)
        with pytest.raises(ValueError, match=f"all rows {side} have a sample_weight of zero"):
            net.fit(X, y, sample_weight=np.arange(150) == 0)
    with pytest.raises(ValueError, match="loss must be one of"):
        FastnnRegressor(loss="hinge").fit(X, y)
    with pytest.raises(ValueError, match="Unknown label type"):
        FastnnClassifier().fit(X, y + 0.5)
    with pytest.raises(NotFittedError):
        FastnnClassifier().predict(X)
    with pytest.raises(FloatingPointError, match="loss is"):
        FastnnRegressor(lr=1e30, optimizer="sgd").fit(X, y)


def test_without_scikit_learn_there_is_one_clear_line():
    program = """
import sys
sys.modules["sklearn"] = None
import fastnn as fnn
try:
    fnn.sklearn
except ModuleNotFoundError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == 'fastnn.sklearn needs sklearn, which is not installed: pip install "fastnn[sklearn]"\n'
    program = "import sys, fastnn; from fastnn import *; print('sklearn' in sys.modules)"
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"  # it costs nobody else a second of import


def test_tensors_and_frames_are_data():
    X, y = load_iris(return_X_y=True, as_frame=True)
    net = FastnnClassifier(epochs=2, random_state=0).fit(X, y)
    assert net.feature_names_in_.tolist() == list(X.columns)
    again = FastnnClassifier(epochs=2, random_state=0).fit(fnn.tensor(X.to_numpy()), fnn.tensor(y.to_numpy()))
    np.testing.assert_array_equal(net.predict_proba(X), again.predict_proba(fnn.tensor(X.to_numpy())))
