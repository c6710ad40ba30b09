"""Networks against each other: a step by hand, resumed and interrupted bit for bit, tasks that are learned, memory."""

import gc
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from states import assert_equal, values

import fastnn as fnn
from fastnn import adversarial, nn
from fastnn.adversarial import Augment
from fastnn.models import Discriminator, Generator, PatchDiscriminator, UNet


def networks(**sizes):
    fnn.manual_seed(7)
    net = Generator((8, 4), 8, latent=5, **sizes)
    return net, Discriminator((4, 8), 8, **{k: v for k, v in sizes.items() if k != "latent"})


PICTURES = np.random.default_rng(1).uniform(-1, 1, (40, 1, 8, 8)).astype(np.float32)
LABELS = np.arange(40) % 3


@pytest.mark.parametrize(
    "options",
    [
        {"loss": "hinge", "augment": Augment()},
        {"loss": "non-saturating", "penalty": "r1", "penalty_every": 3},
        {"loss": "wasserstein", "penalty": "gradient", "lr": (1e-3, 2e-3)},
        {"schedule": lambda adam: fnn.optim.lr_scheduler.CosineAnnealingLR(adam, 14, per="step")},
    ],
)
def test_resuming_goes_on_bit_for_bit(options, tmp_path):
    options |= {"batch_size": 8, "checkpoint": tmp_path / "a", "progress": False}
    pair, history = adversarial.fit(*networks(), PICTURES, steps=14, **options)
    options["checkpoint"] = tmp_path / "b"
    adversarial.fit(*networks(), PICTURES, steps=7, **options)
    fnn.manual_seed(99)  # another process
    second, again = adversarial.fit(*networks(), PICTURES, steps=14, resume=True, **options)
    assert_equal(values(second), values(pair))
    assert again.records == history.records
    assert set(history.records) == {"loss", "d_loss", "lr"}


def test_an_interrupted_run_goes_on_bit_for_bit(tmp_path):
    def press(state):
        if state.step == 6:
            os.kill(os.getpid(), signal.SIGINT)

    press.per = "step"
    options = {"batch_size": 8, "progress": False, "augment": Augment()}
    pair, _ = adversarial.fit(*networks(), PICTURES, steps=13, **options)
    options["checkpoint"] = tmp_path / "checkpoint"
    _, history = adversarial.fit(*networks(), PICTURES, steps=13, callbacks=[press], **options)
    assert history.interrupted
    assert history.steps == 6
    second, _ = adversarial.fit(*networks(), PICTURES, steps=13, resume=True, **options)
    assert_equal(values(second), values(pair))


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_do_not_change_a_bit(threads):
    with fnn.threads(threads):
        pair, _ = adversarial.fit(*networks(), PICTURES, steps=4, augment=Augment(), progress=False)
    with fnn.threads(1):
        other, _ = adversarial.fit(*networks(), PICTURES, steps=4, augment=Augment(), progress=False)
    assert_equal(values(pair), values(other))


@pytest.mark.parametrize("per", ["epoch", "step"])
def test_a_schedule_sets_both_rates(per):
    """Once a step of both networks or once an epoch, which has two steps here: one falls by 10 each time."""
    seen = []

    def look(state):
        seen.append([group["lr"] for group in state.optimizer.param_groups])

    look.per = "step"
    pair, _ = adversarial.fit(
        *networks(), PICTURES[:16], steps=4, batch_size=8, lr=(1e-3, 2e-3), callbacks=[look], progress=False,
        schedule=lambda adam: fnn.optim.lr_scheduler.ExponentialLR(adam, 0.1, per=per),
    )  # fmt: skip
    falls = [1, 2, 3, 4] if per == "step" else [0, 0, 1, 1]
    np.testing.assert_allclose(seen, [[1e-3 / 10**n, 2e-3 / 10**n] for n in falls])
    still, _ = adversarial.fit(*networks(), PICTURES[:16], steps=4, batch_size=8, lr=(1e-3, 2e-3), progress=False)
    a, b = values(pair), values(still)
    for part in ("generator", "discriminator"):
        assert any((a[name] != b[name]).any() for name in a if name.startswith(part))


def test_a_step_moves_each_network_by_its_own_loss():
    """One step, by hand, in the order that the loop says."""
    net, judge = networks()
    other, its_judge = networks()
    fnn.manual_seed(0)
    adversarial.fit(net, judge, PICTURES[:8], steps=1, batch_size=8, lr=1e-2, loss="non-saturating", seed=3,
                    progress=False)  # fmt: skip
    fnn.manual_seed(3)
    order = np.random.default_rng(3)
    (x,) = next(iter(fnn.data.DataLoader(fnn.data.TensorDataset(fnn.tensor(PICTURES[:8])), 8, shuffle=True,
                                         generator=order)))  # fmt: skip
    adams = [fnn.optim.Adam(each.parameters(), 1e-2, betas=(0.5, 0.999)) for each in (other, its_judge)]
    z = fnn.tensor(fnn._random.generator().standard_normal((8, 5), np.float32))
    fake = other(z)
    said = its_judge(fnn.cat([x, fake.detach()]))
    (fnn.nn.functional.softplus(-said[:8]).mean() + fnn.nn.functional.softplus(said[8:]).mean()).backward()
    adams[1].step()
    fnn.nn.functional.softplus(-its_judge(fake)).mean().backward()
    adams[0].step()
    assert_equal(values(net), values(other))
    assert_equal(values(judge), values(its_judge))


def test_what_is_frozen_stays_so():
    """The first layers of either network held still, as when few pictures continue a training on many."""
    generator, judge = networks()
    frozen = [next(generator.parameters()), next(judge.parameters())]
    before = [p.data.copy() for p in frozen]
    for p in frozen:
        p.requires_grad_(False)
    wanted = [p.requires_grad for net in (generator, judge) for p in net.parameters()]
    adversarial.fit(generator, judge, PICTURES, steps=2, progress=False)
    assert [p.requires_grad for net in (generator, judge) for p in net.parameters()] == wanted
    for p, old in zip(frozen, before):
        np.testing.assert_array_equal(p.data, old)
    judge.requires_grad_(False)
    with pytest.raises(ValueError, match="no parameter of the discriminator requires a gradient"):
        adversarial.fit(generator, judge, PICTURES, steps=2, progress=False)


def test_the_average_follows_the_generator():
    net, judge = networks()
    pair, _ = adversarial.fit(net, judge, PICTURES, steps=3, decay=0.0, progress=False)
    np.testing.assert_array_equal(pair.average.module.net[1].weight.numpy(), net.net[1].weight.detach().numpy())
    assert not pair.training
    assert all(p.requires_grad for p in judge.parameters())  # held still for the generator's turn alone


@pytest.mark.trains
def test_a_class_conditional_gan_learns_its_classes():
    """Dark and bright pictures, told apart by the label."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 256)
    x = (rng.normal(0, 0.1, (256, 1, 8, 8)) + np.where(y, 0.6, -0.6)[:, None, None, None]).astype(np.float32)
    fnn.manual_seed(0)
    net, judge = Generator((16, 8), 8, latent=4, classes=2), Discriminator((8, 8), 8, classes=2, spectral=False)
    pair, _ = adversarial.fit(net, judge, (x, y), steps=150, lr=2e-3, decay=0.9, penalty="r1", penalty_weight=0.1,
                              loss="non-saturating", progress=False)  # fmt: skip
    z = fnn.randn(50, 4)
    with fnn.no_grad():
        dark, bright = (pair.average(z, np.full(50, k)).numpy().mean() for k in (0, 1))
    assert dark < -0.4
    assert bright > 0.4


@pytest.mark.trains
def test_image_to_image_learns():
    """The negative of a picture."""
    rng = np.random.default_rng(0)
    given = rng.uniform(-0.8, 0.8, (64, 1, 8, 8)).astype(np.float32)
    fnn.manual_seed(0)
    net, judge = UNet(1, 1, (8, 8)), PatchDiscriminator(2, (8,))
    _, history = adversarial.fit(net, judge, (-given, given), steps=120, l1=20.0, lr=(5e-3, 1e-3), batch_size=16,
                                 progress=False)  # fmt: skip
    assert history["l1"][-1] < 0.15 < history["l1"][0]


def test_warming_up_the_generator_hears_nothing_of_the_discriminator():
    """Two steps with other discriminators end in the same generator; the third, after the warm-up, does not."""
    rng = np.random.default_rng(0)
    given = rng.uniform(-0.8, 0.8, (16, 1, 8, 8)).astype(np.float32)

    def learned(steps, seed):
        fnn.manual_seed(0)
        net = UNet(1, 1, (4, 4))
        fnn.manual_seed(seed)
        judge = PatchDiscriminator(2, (4,))
        before = values(judge)
        adversarial.fit(net, judge, (-given, given), steps=steps, l1=0.1, warmup=2, batch_size=16, progress=False)
        assert any((a != b).any() for a, b in zip(before.values(), values(judge).values()))
        return values(net)

    assert_equal(learned(2, 1), learned(2, 2))
    three, other = learned(3, 1), learned(3, 2)
    assert any((three[name] != other[name]).any() for name in three)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({}, ValueError, "give epochs or steps"),
        ({"steps": -1}, ValueError, "steps must be an integer"),
        ({"steps": 1, "loss": "x"}, ValueError, "loss must be one of"),
        ({"steps": 1, "penalty": "x"}, ValueError, "penalty must be None or one of"),
        ({"steps": 1, "penalty_every": 0}, ValueError, "penalty_every"),
        ({"steps": 1, "l1": -1.0}, ValueError, "weights must not be negative"),
        ({"steps": 1, "l1": 1.0, "warmup": -1}, ValueError, "warmup must be an integer"),
        ({"steps": 1, "warmup": 1}, ValueError, "moves by l1 alone, which is 0"),
        ({"steps": 1, "lr": (1, 2, 3)}, ValueError, "lr must be one number or two"),
        ({"steps": 1, "resume": True}, ValueError, "needs the path"),
        ({"steps": 1, "decay": 2.0}, ValueError, "decay"),
        ({"steps": 1, "schedule": 0.1}, TypeError, "schedule must be a scheduler or make one"),
    ],
)
def test_arguments_that_make_no_sense(options, error, words):
    net, judge = networks()
    before = values(net)
    with pytest.raises(error, match=words):
        adversarial.fit(net, judge, PICTURES, progress=False, **options)
    assert_equal(values(net), before)


def test_networks_that_do_not_fit(tmp_path):
    net, judge = networks()
    with pytest.raises(ValueError, match=r"the generator makes \(20, 1, 8, 8\), the data are \(20, 1, 4, 4\)"):
        adversarial.fit(net, judge, np.zeros((20, 1, 4, 4), np.float32), steps=1, progress=False)
    with pytest.raises(TypeError, match="discriminator must be a Module"):
        adversarial.fit(net, abs, PICTURES, steps=1)
    path = tmp_path / "checkpoint"
    adversarial.fit(net, judge, PICTURES, steps=1, checkpoint=path, progress=False)
    other = Generator((4, 4), 8, latent=5)
    before = values(other)
    with pytest.raises(ValueError, match="does not fit"):
        adversarial.fit(other, judge, PICTURES, steps=2, checkpoint=path, resume=True, progress=False)
    assert_equal(values(other), before)
    fnn.fit(nn.Linear(2, 1), nn.MSELoss(), (np.ones((4, 2)), np.ones((4, 1))), epochs=1, checkpoint=path)
    with pytest.raises(ValueError, match="does not fit"):
        adversarial.fit(net, judge, PICTURES, steps=2, checkpoint=path, resume=True, progress=False)
    path.write_bytes(b"nonsense")
    with pytest.raises(fnn.FormatError):
        adversarial.fit(net, judge, PICTURES, steps=2, checkpoint=path, resume=True, progress=False)


def test_a_loss_that_is_no_number():
    net, judge = networks()
    judge.head.bias.data[:] = np.nan
    with pytest.raises(FloatingPointError, match="nan in step 1"):
        adversarial.fit(net, judge, PICTURES, steps=3, progress=False)


@pytest.mark.skipif(fnn.kernels.isa() == "reference", reason="all rows get their memory from the same launchers")
def test_memory_stays_flat():
    """Two thousand steps leave nothing behind: no tensor, no block, no page, no Python object but the records."""
    statm, held = Path("/proc/self/statm"), []

    def look(state):
        if state.step in (200, 2200):
            gc.collect()
            pages = int(statm.read_text().split()[1]) if statm.exists() else 0
            held.append((fnn.memory_stats(), sys.getallocatedblocks(), pages * os.sysconf("SC_PAGE_SIZE")))

    look.per = "step"
    adversarial.fit(*networks(), PICTURES, steps=2200, batch_size=8, penalty="r1", penalty_every=4, augment=Augment(),
                    callbacks=[look], progress=False)  # fmt: skip
    (few, objects, resident), (many, more_objects, more_resident) = held
    assert many["allocations"] > few["allocations"] + 2000  # what is counted is what the steps use
    for name in ("in_use", "cached", "peak", "from_system"):
        assert many[name] == few[name], name
    assert more_objects - objects < 2000  # three records of each of 400 epochs; one object a step would be 2,000
    assert more_resident - resident < 4 << 20
