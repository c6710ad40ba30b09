"""fit: that it is the loop it says it is, its data, metrics and schedules, and how it ends: limits, patience, nan."""

import math
import sys
import time

import numpy as np
import pytest
from fit_by_hand import adam, net
from states import assert_equal, values

import fastnn as fnn
from fastnn import metrics, nn
from fastnn._evaluate import evaluate
from fastnn._random import get_state
from fastnn.data import DataLoader, TensorDataset
from fastnn.nn._evaluating import evaluating
from fastnn.optim import lr_scheduler


@pytest.fixture
def data(rng):
    x = rng.standard_normal((70, 3))
    return x, (x[:, :1] - 2 * x[:, 1:2] + 0.1 * rng.standard_normal((70, 1)))


def test_it_is_the_plain_loop(data):
    model, twin = net(), net()
    begin = time.perf_counter()
    history = fnn.fit(model, nn.MSELoss(), data, epochs=3, batch_size=16, optimizer=adam, seed=4)
    assert 0 < history.seconds < time.perf_counter() - begin
    x, y = (fnn.tensor(a, dtype=np.float32) for a in data)
    optimizer, order = adam(twin.parameters()), np.random.default_rng(4)
    losses = []
    for _ in range(3):
        rows, total = order.permutation(70), 0.0
        for i in range(0, 70, 16):
            chosen = rows[i : i + 16]
            loss = fnn.mse_loss(twin(x[chosen]), y[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(chosen)
        losses.append(total / 70)
    assert_equal(values(model), values(twin))
    assert history.loss == pytest.approx(losses, rel=1e-12)
    assert history["lr"] == [0.01] * 3
    assert (history.steps, history.stopped, len(history), history.interrupted) == (15, "epochs", 3, False)
    assert history.best_epoch == 2
    assert not model.training


def test_seeds_decide_and_the_generator_outside_is_left_alone(data):
    runs = []
    for seed in (0, 0, 1):
        model = net(dropout=0.5)
        before = get_state()
        fnn.fit(model, nn.MSELoss(), data, epochs=2, seed=seed)
        assert get_state() == before
        runs.append(values(model))
    assert_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0]["0.weight"], runs[2]["0.weight"])
    model = net(dropout=0.5)
    before = get_state()
    fnn.fit(model, nn.MSELoss(), data, epochs=1, seed=None)
    assert get_state() != before


def test_any_integer_is_a_seed(data):
    assert fnn.fit(net(), nn.MSELoss(), data, epochs=1, seed=-1).loss[0] > 0


def test_threads_change_no_bit(data):
    runs = []
    before = fnn.get_num_threads()
    try:
        for n in (1, 2):
            fnn.set_num_threads(n)
            model = net(dropout=0.3)
            fnn.fit(model, nn.MSELoss(), data, epochs=3, clip_norm=0.5)
            runs.append(values(model))
    finally:
        fnn.set_num_threads(before)
    assert_equal(*runs)


def test_kinds_of_data(data):
    x, y = data[0].astype(np.float32), data[1].astype(np.float32)
    batches = [(x[:35], y[:35]), (x[35:], y[35:])]
    for source, steps in [
        ((x, y), 3),
        ((fnn.tensor(x), fnn.tensor(y)), 3),
        (TensorDataset(x, y), 3),
        (DataLoader((x, y), batch_size=10), 7),
        (batches, 2),
    ]:
        assert fnn.fit(net(), nn.MSELoss(), source, epochs=1).steps == steps

    class Two(nn.Module):
        def __init__(self):
            self.w = nn.Parameter(fnn.zeros(1))

        def forward(self, a, b=None):
            return (a if b is None else a + b) * self.w

    fnn.fit(Two(), nn.MSELoss(), (x, x, x), epochs=1)
    fnn.fit(Two(), lambda out: (out - 1.0).square().mean(), x, epochs=1)

    def endless():
        while True:
            yield x[:8], y[:8]

    assert fnn.fit(net(), nn.MSELoss(), endless(), steps=5).steps == 5


def test_metrics_and_validation(data):
    x, y = data
    history = fnn.fit(
        net(), nn.MSELoss(), (x[:50], y[:50]), epochs=3, validation=(x[50:], y[50:]), metrics={"r2": metrics.r2}
    )
    assert set(history) == {"loss", "lr", "val_loss", "val_r2"}
    assert all(len(history[name]) == 3 for name in history)
    model = net()
    history = fnn.fit(model, nn.MSELoss(), (x, y), epochs=2, validation=0.3, metrics={"mae": metrics.mae})
    assert history.steps == 2 * math.ceil(49 / 32)
    history = fnn.fit(net(), nn.MSELoss(), (x[:2], y[:2]), epochs=1, validation=0.1)
    assert len(history.val_loss) == 1  # of two rows one is held out
    history = fnn.fit(net(), nn.MSELoss(), (x, y), epochs=2, metrics={"mae": metrics.mae})
    assert set(history) == {"loss", "lr", "mae"}
    found = evaluate(model, nn.MSELoss(), (x, y), {"mae": metrics.mae}, batch_size=13)
    out = model(fnn.tensor(x, dtype=np.float32)).data
    assert found["loss"] == pytest.approx(np.mean((out - y) ** 2), rel=1e-5)
    assert found["mae"] == pytest.approx(np.mean(np.abs(out - y)), rel=1e-5)
    assert not model.training


def test_evaluate_wants_a_module(data):
    with pytest.raises(TypeError, match="evaluate: model must be a Module, got function"):
        evaluate(lambda x: x, nn.MSELoss(), data)


def test_evaluations_at_once_end_with_the_last():
    """The first to leave put the module back into training mode under the others' hands."""
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5).eval())
    first, second = evaluating(model), evaluating(model)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not any(part.training for part in model.modules())
    second.__exit__(None, None, None)
    assert [part.training for part in model.modules()] == [True, True, False]


def test_evaluate_leaves_every_module_in_its_mode(data):
    model = net(dropout=0.5)
    model[0].eval()
    before = [module.training for module in model.modules()]
    assert len(set(before)) == 2
    assert len({evaluate(model, nn.MSELoss(), data)["loss"] for _ in range(3)}) == 1
    assert [module.training for module in model.modules()] == before


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arrays_get_the_dtype_of_the_model(data, dtype):
    seen = set()
    model = nn.Sequential(nn.Lambda(lambda x: seen.add(x.dtype) or x), nn.Linear(3, 1).to(dtype))
    fnn.fit(model, nn.MSELoss(), data, epochs=1, validation=data)
    evaluate(model, nn.MSELoss(), tuple(a.astype(np.float32) for a in data))
    assert seen == {np.dtype(dtype)}


def test_metrics_of_tuples(data):
    """A model may return several Tensors, also inside one another: metrics get the same, of all rows."""

    class Heads(nn.Module):
        def __init__(self):
            self.first, self.second = nn.Linear(3, 1), nn.Linear(3, 1)

        def forward(self, x):
            return self.first(x), [self.second(x), x]

    x, y = data[0].astype(np.float32), data[1]
    error, found = nn.MSELoss(), []
    for options, name in (({"validation": (x, y)}, "val_shapes"), ({}, "shapes")):
        history = fnn.fit(
            Heads(), lambda p, y: error(p[0], y) + error(p[1][0], y), (x, y), epochs=1, **options,
            metrics={"shapes": lambda p, y: found.append((p[0].shape, p[1][0].shape, p[1][1].shape, y.shape)) or 1},
        )  # fmt: skip
        assert history[name] == [1]
        assert found.pop() == ((len(x), 1), (len(x), 1), x.shape, y.shape)
    named, model = nn.Lambda(lambda x: {"y": model(x)}), nn.Linear(3, 1)
    named.model = model
    with pytest.raises(TypeError, match="predictions that are Tensors or tuples, got dict"):
        fnn.fit(named, lambda p, y: error(p["y"], y), (x, y), epochs=1, metrics={"mae": metrics.mae})


def test_classes():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 2))
    model = nn.Sequential(nn.Linear(2, 16, activation="relu"), nn.Linear(16, 2))
    history = fnn.fit(
        model, nn.CrossEntropyLoss(), (x, (x[:, 0] * x[:, 1] > 0).astype(int)), epochs=60, optimizer=adam,
        validation=0.2, metrics={"accuracy": metrics.accuracy},
    )  # fmt: skip
    assert max(history.val_accuracy) > 0.9


def test_patience_and_best_weights(data):
    x, y = data
    model = net()
    kept = []
    history = fnn.fit(
        model, nn.MSELoss(), (x[:40], y[:40]), epochs=500, validation=(x[40:], y[40:]), patience=3,
        optimizer=lambda p: fnn.optim.Adam(p, lr=0.3), callbacks=[lambda s: kept.append(values(s.model))],
    )  # fmt: skip
    assert history.stopped == "patience"
    assert len(history) < 500
    assert history.best_epoch == int(np.argmin(history.val_loss)) == len(history) - 1 - 3
    assert_equal(values(model), kept[history.best_epoch])
    last = net()
    fnn.fit(last, nn.MSELoss(), (x[:40], y[:40]), epochs=len(history), validation=(x[40:], y[40:]), best_weights=False,
            optimizer=lambda p: fnn.optim.Adam(p, lr=0.3))  # fmt: skip
    assert_equal(values(last), kept[-1])


def planned(numbers):
    """A loss whose values are these, one after the other, and whose gradients are those of the mean square."""
    numbers = iter(numbers)

    def loss(prediction, target):
        out = fnn.mse_loss(prediction, target)
        return out - out.item() + next(numbers)

    return loss


@pytest.mark.parametrize(
    ("losses", "options", "best"),
    [
        ([1, 0.75, 0.5, 0.5, 0.25], {"patience": 2, "min_delta": 0.25}, 2),  # better by more than it
        ([2, 1, 1], {"patience": 0}, 1),
        ([1, 2, 0.5, 0.5, 3], {"patience": 2}, 2),
    ],
)
def test_what_counts_as_better(losses, options, best, data):
    history = fnn.fit(net(), planned(losses), data, epochs=99, batch_size=70, **options)
    assert history.loss == losses
    assert (history.stopped, history.best_epoch) == ("patience", best)


def test_without_validation_the_last_weights_stay(data):
    model, kept = net(), []
    history = fnn.fit(model, planned([1, 2, 3]), data, epochs=3, batch_size=70,
                      callbacks=[lambda s: kept.append(values(s.model))])  # fmt: skip
    assert history.best_epoch == 0
    assert_equal(values(model), kept[-1])
    assert not np.array_equal(kept[0]["0.weight"], kept[-1]["0.weight"])


def test_why_it_ended(data):
    for limits, ended in [
        ({"epochs": 9, "steps": 4}, ("steps", 4, 2)),
        ({"epochs": 1, "steps": 3}, ("epochs", 3, 1)),
        ({"epochs": 0}, ("epochs", 0, 0)),
        ({"epochs": 9, "patience": 0, "min_delta": 99, "callbacks": [lambda s: s.epoch == 1]}, ("callback", 6, 2)),
    ]:
        history = fnn.fit(net(), nn.MSELoss(), data, **limits)
        assert (history.stopped, history.steps, len(history)) == ended
    batches = iter(lambda: data, None)  # nobody knows how many
    assert fnn.fit(net(), nn.MSELoss(), batches, epochs=0).steps == 0


def test_modes_and_gradients(data):
    """Training steps are in training mode, whatever the model was in; validation is not, and records nothing."""
    model, seen = net().eval(), []

    def loss(prediction, target):
        seen.append((model.training, prediction.requires_grad))
        return fnn.mse_loss(prediction, target).reshape(1)  # one number, of whatever shape

    fnn.fit(model, loss, data, epochs=2, validation=data)
    assert seen == ([(True, True)] * 3 + [(False, False)]) * 2
    assert all(p.grad is None for p in model.parameters())


def test_the_generator_is_put_back_after_an_error(data):
    model = net(dropout=0.5)
    before = get_state()
    with pytest.raises(ZeroDivisionError):
        fnn.fit(model, lambda p, y: 1 / 0, data, epochs=1)
    assert get_state() == before
    assert not model.training


def test_what_is_no_validation(data):
    model = net()
    with pytest.raises(FloatingPointError, match="the validation loss is nan after step 3"):
        fnn.fit(model, nn.MSELoss(), data, epochs=1, validation=(data[0], data[1] * math.nan))
    with pytest.raises(ValueError, match="there are no data"):
        evaluate(model, nn.MSELoss(), [])


def test_schedules_step_as_they_declare(data):
    per_epoch = fnn.fit(net(), nn.MSELoss(), data, epochs=3, schedule=lambda o: lr_scheduler.ExponentialLR(o, 0.5))
    assert per_epoch.lr == pytest.approx([1e-3, 5e-4, 2.5e-4])
    two = fnn.fit(
        net(), nn.MSELoss(), data, epochs=1,
        optimizer=lambda p: fnn.optim.Adam([{"params": [q], "lr": 1 / n} for n, q in enumerate(p, 2)]),
    )  # fmt: skip
    assert two.lr == [0.5]  # of the first group
    model = net()
    optimizer = adam(model.parameters())
    one_cycle = lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=9)
    fnn.fit(model, nn.MSELoss(), data, epochs=3, optimizer=optimizer, schedule=one_cycle)
    assert one_cycle.last_epoch == 9
    plateau = fnn.fit(
        net(), lambda p, y: (p * 0).sum() + 1.0, data, epochs=4,
        schedule=lambda o: lr_scheduler.ReduceLROnPlateau(o, factor=0.5, patience=0),
    )  # fmt: skip
    assert plateau.lr == [1e-3, 1e-3, 5e-4, 2.5e-4]
    watching = fnn.fit(
        net(), planned([4, 1, 3, 1, 2, 1, 1, 1]), data, epochs=4, batch_size=70, validation=data,
        schedule=lambda o: lr_scheduler.ReduceLROnPlateau(o, factor=0.5, patience=0),
    )  # fmt: skip
    assert (watching.loss, watching.val_loss) == ([4, 3, 2, 1], [1, 1, 1, 1])
    assert watching.lr == plateau.lr


def test_clip_norm(data):
    model, twin = net(), net()
    for m, clip in ((model, 1e-3), (twin, None)):
        before = values(m)
        fnn.fit(m, nn.MSELoss(), data, steps=1, clip_norm=clip, optimizer=lambda p: fnn.optim.SGD(p, lr=1.0))
        moved = math.sqrt(sum(((values(m)[k] - before[k]) ** 2).sum() for k in before))
        assert moved == pytest.approx(1e-3, rel=1e-2) if clip else moved > 0.1


def test_callbacks_stop(data):
    seen = []

    def each_step(state):
        seen.append((state.epoch, state.step, state.loss))
        return state.step == 5

    each_step.per = "step"
    history = fnn.fit(net(), nn.MSELoss(), data, epochs=9, callbacks=[each_step])
    assert [s[:2] for s in seen] == [(0, 1), (0, 2), (0, 3), (1, 4), (1, 5)]
    assert (history.stopped, history.steps, len(history)) == ("callback", 5, 2)
    history = fnn.fit(net(), nn.MSELoss(), data, epochs=9, callbacks=[lambda s: len(s.history) == 3])
    assert (history.stopped, len(history)) == ("callback", 3)
    history = fnn.fit(net(), nn.MSELoss(), data, epochs=9, callbacks=[lambda s: np.float32(s.epoch) == 1])  # np.True_
    assert (history.stopped, len(history)) == ("callback", 2)
    assert len(fnn.fit(net(), nn.MSELoss(), data, epochs=2, callbacks=[lambda s: seen])) == 2


# ----- nan -----


def test_nan_names_the_step_and_leaves_the_best_weights(data):
    model = net()
    kept = []

    def loss(prediction, target):
        out = fnn.mse_loss(prediction, target)
        return out * math.nan if len(kept) == 2 else out

    with pytest.raises(FloatingPointError, match=r"the loss is nan in step 7 \(epoch 3, batch 1\)"):
        fnn.fit(model, loss, data, epochs=9, callbacks=[lambda s: kept.append(values(s.model))])
    assert_equal(values(model), kept[1])
    before = values(model)
    with pytest.raises(FloatingPointError, match="the loss is inf in step 1"):
        fnn.fit(model, lambda p, y: (p / 0.0).abs().sum(), data, epochs=1)
    assert_equal(values(model), before)


def test_nan_in_the_middle_of_an_epoch_leaves_the_best_weights(data):
    model, kept, seen = net(), [], []

    def note(state):
        seen.append(state.loss)

    note.per = "step"
    with pytest.raises(FloatingPointError, match=r"the loss is nan in step 6 \(epoch 3, batch 2\)"):
        fnn.fit(model, planned([1, 1, 2, 3, 2, math.nan]), data, epochs=9, batch_size=35,
                callbacks=[note, lambda s: kept.append(values(s.model))])  # fmt: skip
    assert seen == [1, 1, 2, 3, 2]
    assert len(kept) == 2
    assert_equal(values(model), kept[0])


# ----- progress and bad arguments -----


def test_silent_without_a_terminal_and_lines_when_asked(data, capfd):
    fnn.fit(net(), nn.MSELoss(), data, epochs=3)
    fnn.fit(net(), nn.MSELoss(), data, epochs=3, progress=False)
    assert capfd.readouterr() == ("", "")
    fnn.fit(net(), nn.MSELoss(), data, epochs=3, progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "step 9/9: epoch 3/3 · loss" in err.splitlines()[-1]


@pytest.mark.parametrize("without", [(), ("rich",), ("rich", "tqdm")])
def test_bars_on_a_terminal(without, data, monkeypatch, capfd):
    for name in without:
        monkeypatch.setitem(sys.modules, name, None)
    if without == ("rich",):
        pytest.importorskip("tqdm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    fnn.fit(net(), nn.MSELoss(), data, epochs=3)
    err = capfd.readouterr().err
    assert "9/9" in err
    assert "epoch 3/3" in err


def test_history_plots(data, monkeypatch):
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("agg")
    history = fnn.fit(net(), nn.MSELoss(), data, epochs=3, validation=0.2)
    _, ax = plt.subplots()
    assert history.plot(ax) is ax
    assert len(ax.lines) >= 2
    plt.close("all")
    with pytest.raises(AttributeError, match="it has loss, lr, val_loss"):
        history.accuracy  # noqa: B018


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({}, ValueError, "epochs or steps"),
        ({"epochs": -1}, ValueError, "epochs"),
        ({"epochs": 1.5}, ValueError, "epochs"),
        ({"steps": True}, ValueError, "steps"),
        ({"epochs": 1, "patience": -1}, ValueError, "patience"),
        ({"epochs": 1, "clip_norm": 0}, ValueError, "clip_norm"),
        ({"epochs": 1, "min_delta": "small"}, TypeError, "min_delta must be a number, got str"),
        ({"epochs": 1, "validation": 1.5}, ValueError, "fraction"),
        ({"epochs": 1, "validation": 0.0}, ValueError, "fraction"),
        ({"epochs": 1, "validation": 3}, TypeError, "validation must be"),
        ({"epochs": 1, "batch_size": 0}, ValueError, "batch_size"),
        ({"epochs": 1, "optimizer": lambda p: 3}, TypeError, "optimizer must be an Optimizer or make one, got int"),
        ({"epochs": 1, "optimizer": "adam"}, TypeError, "optimizer must be an Optimizer or make one, got str"),
        ({"epochs": 1, "optimizer": adam(net().parameters())}, ValueError, "none of the model's parameters"),
        ({"epochs": 1, "schedule": lambda o: 3}, TypeError, "scheduler"),
        ({"epochs": 1, "schedule": "cosine"}, TypeError, "schedule must be a scheduler or make one, got str"),
        ({"epochs": 1, "schedule": lr_scheduler.StepLR(adam(net().parameters()), 1)}, ValueError, "another optimizer"),
        ({"epochs": 1, "metrics": ["loss"]}, TypeError, "metrics must be a dict"),
        ({"epochs": 1, "metrics": {"loss": metrics.mae}}, ValueError, "must not be called loss"),
        ({"epochs": 1, "metrics": {"m": 3}}, TypeError, "m must be callable"),
        ({"epochs": 1, "callbacks": [3]}, TypeError, "callback"),
        ({"epochs": 1, "callbacks": print}, TypeError, "callbacks must be an iterable"),
        ({"epochs": 1, "resume": True}, ValueError, "checkpoint"),
        ({"epochs": 1, "resume": True, "checkpoint": "x", "seed": None, "validation": 0.2}, ValueError, "needs a seed"),
        ({"epochs": 1, "progress": "yes"}, TypeError, "progress"),
        ({"epochs": 1, "seed": "x"}, TypeError, "seed"),
        ({"epochs": 1, "data": iter(())}, ValueError, "no batch"),
        ({"epochs": 1, "data": 3}, TypeError, "data must be"),
        ({"epochs": 1, "data": (np.zeros((3, 3)), np.zeros(4))}, ValueError, "lengths"),
        ({"epochs": 1, "data": (np.zeros((1, 3)), np.zeros((1, 1))), "validation": 0.5}, ValueError, "1 rows are"),
        ({"epochs": 1, "data": {"x": 1}}, TypeError, "data must be"),
        ({"epochs": 1, "loss": 3}, TypeError, "loss must be callable"),
        ({"epochs": 1, "loss": nn.MSELoss}, TypeError, r"loss is the class MSELoss; expected MSELoss\(...\)"),
        ({"epochs": 1, "loss": nn.MSELoss("none")}, TypeError, r"a Tensor of one number, got shape \(32, 1\)"),
        ({"epochs": 1, "loss": lambda y, t: 3.0}, TypeError, "a Tensor of one number, got float"),
        ({"epochs": 1, "model": lambda x: x}, TypeError, "Module"),
    ],
)
def test_bad_arguments(options, error, match, data):
    model = net()
    before = values(model)
    options = {"model": model, "loss": nn.MSELoss(), "data": data, **options}
    with pytest.raises(error, match=match):
        fnn.fit(options.pop("model"), options.pop("loss"), options.pop("data"), **options)
    assert_equal(values(model), before)
