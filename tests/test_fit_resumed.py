"""fit, interrupted and resumed: checkpoints go on bit for bit, Ctrl-C ends after the step, other threads train too."""

import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from fit_by_hand import adam, net
from states import assert_equal, values

import fastnn as fnn
from fastnn import nn
from fastnn.data import DataLoader
from fastnn.optim import lr_scheduler


@pytest.fixture
def data(rng):
    x = rng.standard_normal((70, 3))
    return x, (x[:, :1] - 2 * x[:, 1:2] + 0.1 * rng.standard_normal((70, 1)))


# ----- checkpoints -----


def run(tmp_path, data, model, **options):
    options |= {"optimizer": adam, "validation": 0.2}
    options["schedule"] = lambda o: lr_scheduler.CosineAnnealingLR(o, 11, per="step")  # rates from a count of its own
    return fnn.fit(model, nn.MSELoss(), data, checkpoint=tmp_path / "checkpoint", batch_size=8, seed=3, **options)


@pytest.mark.parametrize("stop", [{"epochs": 2}, {"steps": 10}, {"steps": 14}])
def test_resuming_goes_on_bit_for_bit(stop, data, tmp_path):
    whole = net(dropout=0.4)
    (tmp_path / "whole").mkdir()
    expected = run(tmp_path / "whole", data, whole, epochs=5)
    first = net(dropout=0.4)
    run(tmp_path, data, first, **stop)
    fnn.manual_seed(99)  # another process
    second = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Dropout(0.4), nn.Linear(8, 1))
    history = run(tmp_path, data, second, epochs=5, resume=True)
    assert_equal(values(second), values(whole))
    assert history.records == expected.records
    assert history.best_epoch == expected.best_epoch
    again = run(tmp_path, data, second, epochs=5, resume=True)  # nothing is left to do
    assert again.records == expected.records
    assert_equal(values(second), values(whole))


@pytest.mark.parametrize("own_seed", [None, 5])
def test_resuming_with_a_loader(own_seed, data, tmp_path):
    x, y = (a.astype(np.float32) for a in data)
    results = []
    for steps in ([20], [7, 20]):
        path = tmp_path / str(len(steps))
        for limit in steps:
            model = net(dropout=0.4)
            loader = DataLoader((x, y), batch_size=8, shuffle=True, seed=own_seed)
            fnn.fit(model, nn.MSELoss(), loader, steps=limit, checkpoint=path, resume=True)
        results.append(values(model))
    assert_equal(*results)


@pytest.mark.parametrize("stop", [3, 8, 13, 16])
def test_metrics_of_the_training_data_are_whole_after_resuming_in_an_epoch(stop, data, tmp_path):
    def go(model, steps, path, resume=False):
        metrics = {"error": lambda p, y: (p - y).abs().mean()}
        return fnn.fit(model, nn.MSELoss(), data, steps=steps, batch_size=8, seed=3, metrics=metrics,
                       checkpoint=path, resume=resume)  # fmt: skip

    whole, model = net(), net()
    expected = go(whole, 16, tmp_path / "whole")
    go(net(), stop, tmp_path / "checkpoint")
    history = go(model, 16, tmp_path / "checkpoint", resume=True)
    assert len(history.records["error"]) == len(history.records["loss"])
    assert history.records == expected.records
    assert_equal(values(model), values(whole))


@pytest.mark.parametrize("validation", [None, 0.2])
def test_what_patience_has_stopped_stays_stopped_when_resumed(validation, data, tmp_path):
    path, model, again = tmp_path / "checkpoint", net(), net()
    options = {"epochs": 9, "patience": 2, "min_delta": 9.0, "seed": 3, "validation": validation, "checkpoint": path}
    expected = fnn.fit(model, nn.MSELoss(), data, **options)
    history = fnn.fit(again, nn.MSELoss(), data, **options, resume=True)
    assert (history.stopped, len(history)) == (expected.stopped, len(expected)) == ("patience", 3)
    assert history.records == expected.records
    assert_equal(values(again), values(model))
    history = fnn.fit(again, nn.MSELoss(), data, **(options | {"patience": 4}), resume=True)  # more of it goes on
    assert (history.stopped, len(history)) == ("patience", 5)


def test_weights_that_nobody_kept_are_not_put_back(data, tmp_path):
    """Those of a run that kept its best are not the best of the run that goes on with `best_weights=False`."""
    options = {"validation": 0.2, "checkpoint": tmp_path / "checkpoint", "resume": True}
    fnn.fit(net(), nn.MSELoss(), data, epochs=2, **options)
    model, kept = net(), []
    keep = [lambda s: kept.append(values(s.model))]
    fnn.fit(model, nn.MSELoss(), data, epochs=4, best_weights=False, callbacks=keep, **options)
    assert_equal(values(model), kept[-1])


@pytest.mark.parametrize(
    ("path", "error"),
    [("", IsADirectoryError), (".", IsADirectoryError), ("missing/file", FileNotFoundError), (3.5, TypeError)],
)
def test_a_checkpoint_that_cannot_be_written_is_refused_before_training(path, error, data):
    model = net()
    before = values(model)
    with pytest.raises(error):
        fnn.fit(model, nn.MSELoss(), data, epochs=1, checkpoint=path)
    assert_equal(values(model), before)


def test_a_path_of_bytes(data, tmp_path):
    path = tmp_path / "checkpoint"
    fnn.fit(net(), nn.MSELoss(), data, epochs=1, checkpoint=os.fsencode(path))
    assert fnn.load(os.fsencode(path))["epoch"] == 1


def test_checkpoints_that_do_not_fit(data, tmp_path):
    path = tmp_path / "checkpoint"
    fnn.save({"a": 1}, path)
    with pytest.raises(ValueError, match="not a checkpoint"):
        fnn.fit(net(), nn.MSELoss(), data, epochs=1, checkpoint=path, resume=True)
    path.write_bytes(b"nonsense")
    with pytest.raises(fnn.FormatError):
        fnn.fit(net(), nn.MSELoss(), data, epochs=1, checkpoint=path, resume=True)
    fnn.fit(net(), nn.MSELoss(), data, epochs=1, checkpoint=path)
    model = net()
    before = values(model)
    with pytest.raises(ValueError, match="is of a training with seed 0, not 1"):  # it holds out other rows
        fnn.fit(model, nn.MSELoss(), data, epochs=2, checkpoint=path, resume=True, seed=1, validation=0.2)
    assert_equal(values(model), before)
    with pytest.raises(ValueError, match="without a schedule"):
        fnn.fit(net(), nn.MSELoss(), data, epochs=2, checkpoint=path, resume=True,
                schedule=lambda o: lr_scheduler.ExponentialLR(o, 0.9))  # fmt: skip
    with pytest.raises(ValueError, match="does not fit"):
        fnn.fit(nn.Linear(3, 1), nn.MSELoss(), data, epochs=2, checkpoint=path, resume=True)


@pytest.mark.parametrize("name", ["model", "optimizer", "best", "records", "epoch", "step", "now"])
@pytest.mark.parametrize("instead", ["gone", 5])
def test_a_damaged_checkpoint_says_so(name, instead, data, tmp_path):
    path = tmp_path / "checkpoint"
    fnn.fit(net(), nn.MSELoss(), data, epochs=1, checkpoint=path)
    saved = fnn.load(path)
    if instead == "gone":
        del saved[name]
    elif name in ("model", "optimizer", "now"):
        saved[name] = instead
    else:
        pytest.skip("a number there is no damage")
    fnn.save(saved, path)
    refused_without_a_trace(path, data)


def refused_without_a_trace(path, data, **options):
    """The weights are what they were, though in the file they stand before what does not fit."""
    model = net()
    before = values(model)
    with pytest.raises((fnn.FormatError, ValueError)):
        fnn.fit(model, nn.MSELoss(), data, epochs=2, checkpoint=path, resume=True, **options)
    assert_equal(values(model), before)


def test_a_checkpoint_of_another_optimizer_changes_nothing(data, tmp_path):
    path = tmp_path / "checkpoint"
    fnn.fit(net(), nn.MSELoss(), data, epochs=1, checkpoint=path)
    refused_without_a_trace(path, data, optimizer=lambda p: fnn.optim.SGD(p, lr=0.1, momentum=0.9))


class Rows(list):
    """Batches that tell what they are."""

    fingerprint = 1


def test_a_training_goes_on_with_its_own_data_only(data, tmp_path):
    path, rows = tmp_path / "checkpoint", Rows([data])
    fnn.fit(net(), nn.MSELoss(), rows, epochs=1, checkpoint=path)
    rows.fingerprint = 2
    with pytest.raises(ValueError, match="is of a training on other data"):
        fnn.fit(net(), nn.MSELoss(), rows, epochs=2, checkpoint=path, resume=True)
    rows.fingerprint = 1
    assert len(fnn.fit(net(), nn.MSELoss(), rows, epochs=2, checkpoint=path, resume=True)) == 2


# ----- Ctrl-C -----

INTERRUPTED = """
import os, signal, sys
import numpy as np
import fastnn as fnn
from fastnn import nn
before = signal.getsignal(signal.SIGINT)
model = nn.Linear(3, 1)
def press(state):
    if state.step == 5:
        os.kill(os.getpid(), signal.SIGINT)
        if sys.argv[1] == "twice":
            os.kill(os.getpid(), signal.SIGINT)
    return state.step == 5  # after Ctrl-C, which is what ended it
press.per = "step"
x = np.ones((64, 3), np.float32)
history = fnn.fit(model, nn.MSELoss(), (x, x[:, :1]), epochs=100, batch_size=8, callbacks=[press],
                  checkpoint=sys.argv[2])
assert signal.getsignal(signal.SIGINT) is before
print(history.interrupted, history.steps, len(history), fnn.load(sys.argv[2])["batch"])
"""


def interrupted(how, tmp_path):
    return subprocess.run(
        [sys.executable, "-P", "-c", INTERRUPTED, how, str(tmp_path / "checkpoint")],
        capture_output=True, text=True, timeout=60, cwd=tmp_path,
    )  # fmt: skip


def test_ctrl_c_stops_after_the_step(tmp_path):
    done = interrupted("once", tmp_path)
    assert done.stdout == "True 5 0 5\n", done.stderr
    assert done.returncode == 0


def test_a_second_ctrl_c_raises(tmp_path):
    done = interrupted("twice", tmp_path)
    assert "KeyboardInterrupt" in done.stderr
    assert done.returncode != 0


def test_the_handler_is_put_back_whatever_happens(data):
    before = signal.getsignal(signal.SIGINT)

    def fail(state):
        assert signal.getsignal(signal.SIGINT) is not before
        raise RuntimeError("from a callback")

    with pytest.raises(RuntimeError, match="from a callback"):
        fnn.fit(net(), nn.MSELoss(), data, epochs=1, callbacks=[fail])
    assert signal.getsignal(signal.SIGINT) is before
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as under nohup
    try:
        fnn.fit(net(), nn.MSELoss(), data, epochs=1,
                callbacks=[lambda s: os.kill(os.getpid(), signal.SIGINT)])  # fmt: skip
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_train_too(data):
    result = []
    thread = threading.Thread(target=lambda: result.append(fnn.fit(net(), nn.MSELoss(), data, epochs=2)))
    thread.start()
    thread.join()
    assert len(result[0]) == 2
