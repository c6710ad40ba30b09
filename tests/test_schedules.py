"""Schedules of the learning rate against PyTorch, step by step, and against frozen numbers without it."""

import inspect

import numpy as np
import pytest

import fastnn as fnn
from fastnn.optim import lr_scheduler

SCHEDULES = [
    ("StepLR", {"step_size": 3, "gamma": 0.5}),
    ("MultiStepLR", {"milestones": [2, 2, 5], "gamma": 0.5}),
    ("ExponentialLR", {"gamma": 0.9}),
    ("CosineAnnealingLR", {"T_max": 7, "eta_min": 0.01}),
    ("CosineAnnealingWarmRestarts", {"T_0": 4}),
    ("CosineAnnealingWarmRestarts", {"T_0": 3, "T_mult": 2, "eta_min": 0.01}),
    ("LinearLR", {"start_factor": 0.2, "end_factor": 0.9, "total_iters": 7}),
    ("ConstantLR", {"factor": 0.5, "total_iters": 4}),
    ("LambdaLR", {"lr_lambda": lambda step: 1 / (1 + step)}),
    ("OneCycleLR", {"max_lr": 1.0, "total_steps": 25}),
    (
        "OneCycleLR",
        {"max_lr": 1.0, "epochs": 5, "steps_per_epoch": 5, "three_phase": True, "anneal_strategy": "linear"},
    ),
    ("OneCycleLR", {"max_lr": [1.0, 2.0], "total_steps": 25, "pct_start": 0.1, "cycle_momentum": False}),
]


def both(name, options, optimizer="SGD", **more):
    torch = pytest.importorskip("torch")
    ours, theirs = ([make(1, requires_grad=True) for _ in range(2)] for make in (fnn.zeros, torch.zeros))
    groups = [{"params": ours[:1], "lr": 0.3}, {"params": ours[1:]}]
    his = [{"params": theirs[:1], "lr": 0.3}, {"params": theirs[1:]}]
    a, b = getattr(fnn.optim, optimizer)(groups, lr=0.1, **more), getattr(torch.optim, optimizer)(his, lr=0.1, **more)
    return (
        getattr(lr_scheduler, name)(a, **options),
        getattr(torch.optim.lr_scheduler, name)(b, **options),
        a.param_groups,
        b.param_groups,
    )


def assert_groups(ours, theirs):
    for g, h in zip(ours, theirs):
        for key in ("lr", "momentum", "betas"):
            if key in g:
                np.testing.assert_allclose(g[key], h[key], rtol=1e-9, err_msg=key)


@pytest.mark.parametrize(("name", "options"), SCHEDULES)
@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler")
def test_schedules_are_pytorchs(name, options, optimizer):
    ours, theirs, mine, his = both(name, options, optimizer, **({"momentum": 0.9} if optimizer == "SGD" else {}))
    assert_groups(mine, his)
    for _ in range(24):
        ours.step()
        theirs.step()
        assert_groups(mine, his)
        np.testing.assert_allclose(ours.get_last_lr(), theirs.get_last_lr(), rtol=1e-9)


@pytest.mark.parametrize(("name", "options"), [case for case in SCHEDULES if case[0] != "OneCycleLR"])
def test_a_new_schedule_goes_on_behind_last_epoch(name, options):
    whole = getattr(lr_scheduler, name)(fnn.optim.SGD([fnn.zeros(1, requires_grad=True)], lr=0.1), **options)
    for _ in range(3):
        whole.step()
    group = {"params": [fnn.zeros(1, requires_grad=True)], "lr": whole.get_last_lr()[0]}
    with pytest.raises(KeyError, match="'initial_lr' is missing"):
        getattr(lr_scheduler, name)(fnn.optim.SGD([group], lr=0.1), **options, last_epoch=3)
    again = getattr(lr_scheduler, name)(fnn.optim.SGD([{**group, "initial_lr": 0.1}], lr=0.1), **options, last_epoch=3)
    for _ in range(6):
        whole.step()
        assert again.get_last_lr() == pytest.approx(whole.get_last_lr(), rel=1e-9)
        again.step()


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
def test_plateau_is_pytorchs(mode, threshold_mode, rng):
    options = {"mode": mode, "factor": 0.5, "patience": 2, "threshold": 0.01, "threshold_mode": threshold_mode,
               "cooldown": 1, "min_lr": [0.02, 0.005]}  # fmt: skip
    ours, theirs, mine, his = both("ReduceLROnPlateau", options)
    for value in rng.standard_normal(40).cumsum():
        ours.step(value)
        theirs.step(value)
        assert_groups(mine, his)


def test_plateau_by_default_is_pytorchs():
    """A share of 1e-4 counts as better, ten epochs are waited for, and changes of 1e-8 are left undone."""
    ours, theirs, mine, his = both("ReduceLROnPlateau", {})
    better = 0.9995 ** np.arange(15)
    for value in [*better, *better[-1] * (1 - 9e-5) * np.ones(90)]:
        ours.step(value)
        theirs.step(value)
        assert_groups(mine, his)
    assert mine[0]["lr"] == his[0]["lr"] < 1e-7
    optimizer = fnn.optim.SGD([fnn.zeros(1, requires_grad=True)], lr=0.5)
    schedule = lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0, eps=0.25)
    for _ in range(3):
        schedule.step(1.0)
    assert schedule.get_last_lr() == [0.5]  # not by more than eps


@pytest.mark.parametrize("name", [name for name in lr_scheduler.__all__ if name not in ("LRScheduler", "SequentialLR")])
def test_defaults_are_pytorchs(name):
    torch = pytest.importorskip("torch")
    ours, theirs = (inspect.signature(getattr(m, name)).parameters for m in (lr_scheduler, torch.optim.lr_scheduler))
    shared = [key for key in ours if key in theirs]
    assert [key for key in ours if key not in theirs] in ([], ["per"])
    assert {key: ours[key].default for key in shared} == {key: theirs[key].default for key in shared}


@pytest.mark.parametrize(("name", "options"), [*SCHEDULES, ("ReduceLROnPlateau", {"patience": 1})])
@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler")
def test_schedules_resume(name, options):
    def make():
        w = [fnn.zeros(1, requires_grad=True), fnn.zeros(1, requires_grad=True)]
        optimizer = fnn.optim.SGD([{"params": w[:1]}, {"params": w[1:]}], lr=0.1, momentum=0.9)
        return optimizer, getattr(lr_scheduler, name)(optimizer, **options)

    def step(schedule):
        schedule.step(1.0) if name == "ReduceLROnPlateau" else schedule.step()

    a, schedule = make()
    for _ in range(5):
        step(schedule)
    b, other = make()
    b.load_state_dict(a.state_dict())
    other.load_state_dict(schedule.state_dict())
    for _ in range(10):
        step(schedule)
        step(other)
        assert [g["lr"] for g in a.param_groups] == [g["lr"] for g in b.param_groups]
    with pytest.raises(ValueError, match="load_state_dict"):
        other.load_state_dict({"what": 1})


def test_one_cycle_frozen_numbers():
    optimizer = fnn.optim.SGD([fnn.zeros(1, requires_grad=True)], lr=0.1, momentum=0.9)
    schedule = lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=4, pct_start=0.5)
    rates, momenta = [], []
    for _ in range(4):
        rates.append(optimizer.param_groups[0]["lr"])
        momenta.append(optimizer.param_groups[0]["momentum"])
        schedule.step()
    np.testing.assert_allclose(rates, [0.04, 1.0, 0.500002, 4e-6], rtol=1e-12)
    np.testing.assert_allclose(momenta, [0.95, 0.85, 0.9, 0.95], rtol=1e-12)
    with pytest.raises(ValueError, match="step 5 of a cycle of 4"):
        schedule.step()
    schedule = lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=4, pct_start=0.25)  # no step to go up in
    assert (schedule.get_last_lr(), optimizer.param_groups[0]["momentum"]) == ([1.0], 0.85)


def test_schedule_arguments_are_checked():
    optimizer = fnn.optim.SGD([fnn.zeros(1, requires_grad=True)], lr=0.1)
    for make, match in [
        (lambda: lr_scheduler.StepLR(optimizer, 0), "step_size"),
        (lambda: lr_scheduler.CosineAnnealingLR(optimizer, 0), "T_max"),
        (lambda: lr_scheduler.ExponentialLR(optimizer, 0.9, per="batch"), "per"),
        (lambda: lr_scheduler.OneCycleLR(optimizer, 1.0), "total_steps"),
        (lambda: lr_scheduler.OneCycleLR(optimizer, 1.0, 10, anneal_strategy="sine"), "anneal"),
        (lambda: lr_scheduler.OneCycleLR(optimizer, [1.0, 2.0], 10), "max_lr"),
        (lambda: lr_scheduler.OneCycleLR(optimizer, 1.0, 10, div_factor=0), "div_factor .* above 0"),
        (lambda: lr_scheduler.OneCycleLR(optimizer, 1.0, 10, final_div_factor=0), "div_factor .* above 0"),
        (lambda: lr_scheduler.OneCycleLR(fnn.optim.RMSprop([{"params": fnn.zeros(1)}]), 1.0, 0), "total_steps"),
        (lambda: lr_scheduler.LambdaLR(optimizer, [lambda s: 1.0] * 2), "one per group"),
        (lambda: lr_scheduler.ReduceLROnPlateau(optimizer, factor=1.0), "factor"),
        (lambda: lr_scheduler.ReduceLROnPlateau(optimizer, mode="mid"), "mode"),
        (lambda: lr_scheduler.ReduceLROnPlateau(optimizer, threshold_mode="mid"), "mode"),
        (lambda: lr_scheduler.ReduceLROnPlateau(optimizer, min_lr=[0.0, 0.0]), "min_lr"),
        (lambda: lr_scheduler.OneCycleLR(optimizer, 1.0, 10, pct_start=1.5), "pct_start"),
        (lambda: lr_scheduler.LinearLR(optimizer, 0.0), "start_factor"),
        (lambda: lr_scheduler.LinearLR(optimizer, 1.5), "start_factor"),
        (lambda: lr_scheduler.LinearLR(optimizer, end_factor=1.5), "end_factor"),
        (lambda: lr_scheduler.LinearLR(optimizer, total_iters=0), "total_iters"),
        (lambda: lr_scheduler.ConstantLR(optimizer, 1.5), "factor"),
        (lambda: lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 0), "T_0"),
        (lambda: lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 1.5), "T_0"),
        (lambda: lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 2, 0), "T_mult"),
        (lambda: fnn.optim.swa_utils.get_ema_multi_avg_fn(1.5), "decay"),
    ]:
        with pytest.raises(ValueError, match=match):
            make()
    with pytest.raises(TypeError, match="Optimizer"):
        lr_scheduler.StepLR([0.1], 1)


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler")
@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step")
@pytest.mark.parametrize("milestones", [[3, 7], [0, 3], [4, 4], [0, 0]])  # without a warm-up, without the second
def test_one_after_the_other_is_pytorchs(milestones):
    torch = pytest.importorskip("torch")

    def chain(schedules, optimizer):
        parts = [
            schedules.LinearLR(optimizer, 0.1, total_iters=3),
            schedules.CosineAnnealingLR(optimizer, 5),
            schedules.ExponentialLR(optimizer, 0.5),
        ]
        return schedules.SequentialLR(optimizer, parts, milestones=milestones)

    a = fnn.optim.SGD([{"params": [fnn.zeros(1, requires_grad=True)], "lr": 0.3}], lr=0.1)
    b = torch.optim.SGD([{"params": [torch.zeros(1, requires_grad=True)], "lr": 0.3}], lr=0.1)
    ours, theirs = chain(lr_scheduler, a), chain(torch.optim.lr_scheduler, b)
    for step in range(12):
        assert_groups(a.param_groups, b.param_groups)
        if step == 5:  # stopped here, gone on with in new objects
            state, rates = ours.state_dict(), a.state_dict()
            a = fnn.optim.SGD([{"params": [fnn.zeros(1, requires_grad=True)], "lr": 0.3}], lr=0.1)
            ours = chain(lr_scheduler, a)
            a.load_state_dict(rates)
            ours.load_state_dict(state)
        ours.step()
        theirs.step()
        np.testing.assert_allclose(ours.get_last_lr(), theirs.get_last_lr(), rtol=1e-6)


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler")
@pytest.mark.parametrize(
    "names",
    [("ConstantLR", "ExponentialLR"), ("LinearLR", "CosineAnnealingLR"), ("StepLR", "CosineAnnealingLR", "LinearLR")],
)
def test_schedules_at_once_are_pytorchs(names):
    """Each scales the rate that the others, or the user, left."""
    options = {"StepLR": (3, 0.5), "ConstantLR": (0.5, 4), "LinearLR": (0.2, 0.9, 6), "ExponentialLR": (0.9,)}
    torch = pytest.importorskip("torch")
    a = fnn.optim.SGD([{"params": [fnn.zeros(1, requires_grad=True)], "lr": 0.3}], lr=0.1)
    b = torch.optim.SGD([{"params": [torch.zeros(1, requires_grad=True)], "lr": 0.3}], lr=0.1)
    ours = [getattr(lr_scheduler, name)(a, *options.get(name, (7, 0.01))) for name in names]
    theirs = [getattr(torch.optim.lr_scheduler, name)(b, *options.get(name, (7, 0.01))) for name in names]
    for step in range(7):  # PyTorch's cosine, too, goes on from its start when it has reached the bottom
        assert_groups(a.param_groups, b.param_groups)
        if step == 2:
            a.param_groups[0]["lr"] *= 0.5
            b.param_groups[0]["lr"] *= 0.5
        for schedule in ours + theirs:
            schedule.step()


def test_a_constant_of_zero_ends():
    optimizer = fnn.optim.SGD([fnn.zeros(1, requires_grad=True)], lr=0.5)
    schedule = lr_scheduler.ConstantLR(optimizer, factor=0.0, total_iters=2)
    rates = []
    for _ in range(4):
        rates += schedule.get_last_lr()
        schedule.step()
    assert rates == [0, 0, 0.5, 0.5]


def test_chains_that_do_not_fit():
    a, b = (fnn.optim.SGD([fnn.zeros(1, requires_grad=True)], lr=0.1) for _ in range(2))
    first, second = lr_scheduler.ConstantLR(a), lr_scheduler.ConstantLR(b)
    with pytest.raises(ValueError, match="one milestone between"):
        lr_scheduler.SequentialLR(a, [first, first], [])
    with pytest.raises(ValueError, match="in order"):
        lr_scheduler.SequentialLR(a, [first] * 3, [4, 2])
    chain = lr_scheduler.SequentialLR(a, [first, lr_scheduler.ConstantLR(a)], [2])
    state = chain.state_dict()
    with pytest.raises(ValueError, match="1 schedules; expected 2"):
        chain.load_state_dict({**state, "_schedulers": state["_schedulers"][:1]})
    with pytest.raises(ValueError, match="another optimizer"):
        lr_scheduler.SequentialLR(a, [first, second], [2])
    with pytest.raises(TypeError, match="schedules"):
        lr_scheduler.SequentialLR(a, [first, 3], [2])


@pytest.mark.parametrize("decay", [0.0, 0.9, 1.0, None])
def test_averaged_models_are_pytorchs(decay, rng):
    torch = pytest.importorskip("torch")
    models = [fnn.nn.Linear(2, 1), torch.nn.Linear(2, 1)]
    start, later = rng.standard_normal((1, 2)).astype(np.float32), rng.standard_normal((3, 1, 2)).astype(np.float32)
    means = []
    for library, model in zip((fnn, torch), models):
        swa = library.optim.swa_utils
        model.load_state_dict({"weight": library.tensor(start), "bias": library.zeros(1)})
        mean = swa.AveragedModel(model, multi_avg_fn=None if decay is None else swa.get_ema_multi_avg_fn(decay))
        for weight in later:
            model.load_state_dict({"weight": library.tensor(weight), "bias": library.ones(1)})
            mean.update_parameters(model)
        means.append(np.concatenate([p.detach().numpy().ravel() for p in mean.module.parameters()]))
    np.testing.assert_allclose(*means, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("use_buffers", [False, True])
def test_buffers_of_averaged_models_are_pytorchs(use_buffers, rng):
    torch = pytest.importorskip("torch")
    later, means = rng.standard_normal((3, 4, 2)).astype(np.float32), []
    for library in (fnn, torch):
        model = library.nn.BatchNorm1d(2)
        mean = library.optim.swa_utils.AveragedModel(model, use_buffers=use_buffers)
        for i, values in enumerate(later):
            names = ("weight", "bias", "running_mean", "running_var")
            state = {name: library.tensor(value) for name, value in zip(names, values)}
            model.load_state_dict({**state, "num_batches_tracked": library.tensor(3 * i)})
            mean.update_parameters(model)
        means.append(mean.state_dict())
    assert not any(p.requires_grad for p in fnn.optim.swa_utils.AveragedModel(fnn.nn.Linear(2, 1)).parameters())
    assert set(means[0]) == set(means[1])
    for name, value in means[0].items():
        if not name.endswith("num_batches_tracked"):
            np.testing.assert_allclose(value.numpy(), means[1][name].numpy(), rtol=1e-5, atol=1e-6, err_msg=name)
    assert means[0]["module.num_batches_tracked"].item() == 6  # a count is no mean
    for other in (fnn.nn.BatchNorm1d(3), fnn.nn.BatchNorm1d(2, track_running_stats=False), fnn.nn.Linear(2, 1)):
        with pytest.raises(ValueError, match="not built like"):
            fnn.optim.swa_utils.AveragedModel(fnn.nn.BatchNorm1d(2)).update_parameters(other)
