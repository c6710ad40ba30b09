"""The networks of sequences: each learns a small task in seconds, streams, answers as its definition says."""

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest

import fastnn as fnn
from fastnn import decoding, optim
from fastnn._errors import FormatError
from fastnn.demos import _g2p
from fastnn.models import IntentClassifier, Pronouncer, SpeechRecognizer
from fastnn.models.intent import action_loss
from fastnn.models.pronouncer import BEGIN, LETTERS, NAMES, STOP, UNKNOWN
from fastnn.models.speech import text_loss

G2P = Path(__file__).parent / "data" / "g2p.npz"
needs_g2p = pytest.mark.skipif(_g2p.folder() is None, reason="g2p-en is not installed")


def beeps(rng, count=24):
    """Sounds of 2 to 4 beeps of three pitches with gaps, (n, 60, 12), lengths, and what they say."""
    x, lengths, said = rng.normal(0, 0.3, (count, 60, 12)).astype(np.float32), [], []
    for row in x:
        text, at = rng.integers(1, 4, rng.integers(2, 5)), 2
        for c in text:
            row[at : at + 8, 4 * c - 4 : 4 * c] += 2
            at += 13
        lengths.append(at)
        said.append(text)
    return x, np.array(lengths), said


class Beeps:
    """Batches of them, without end."""

    def __init__(self):
        self.rng = np.random.default_rng(0)

    def __iter__(self):
        for _ in range(20):
            x, lengths, said = beeps(self.rng)
            yield fnn.tensor(x), lengths, (np.concatenate(said), np.array([len(text) for text in said]))


@pytest.mark.parametrize(("cell", "both"), [("gru", True), ("gru", False), ("lstm", False)])
def test_a_recogniser_learns_to_count_beeps(cell, both):
    net = SpeechRecognizer(4, 12, channels=(16, 24), hidden=24, layers=1, cell=cell, bidirectional=both)
    history = fnn.fit(net, text_loss, Beeps(), epochs=8, optimizer=lambda p: optim.Adam(p, lr=1e-2), clip_norm=5.0)
    assert history.loss[-1] < 0.3 < history.loss[0]
    x, lengths, said = beeps(np.random.default_rng(1))
    with fnn.no_grad():
        y, steps = net(x, lengths)
    read = [decoding.ctc_greedy(y.numpy()[:n, i]) for i, n in enumerate(steps)]
    assert decoding.error_rate(read, [text.tolist() for text in said]) < 0.1


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_chunks_of_any_size_are_heard_as_the_whole(cell):
    net = SpeechRecognizer(5, 8, channels=(8, 16), hidden=16, layers=2, cell=cell, bidirectional=False).eval()
    net.mean.data[...], net.std.data[...] = 0.5, 2
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 203, 8)).astype(np.float32)
    with fnn.no_grad():
        whole = net(x)[0].numpy().transpose(1, 0, 2)
        for most in (2, 5, 50):
            state, heard, at = None, [], 0
            while at < x.shape[1]:
                n = int(rng.integers(1, most))
                y, state = net.step(x[:, at : at + n], state)
                heard.append(y.numpy())
                at += n
            np.testing.assert_allclose(np.concatenate(heard, 1), whole, atol=2e-6)


def test_what_stands_beside_a_recording_does_not_matter():
    """A batch pads its short recordings; padding changes nothing, forward or backward."""
    net = SpeechRecognizer(5, 8, channels=(8, 16), hidden=16, layers=2).eval()
    net.mean.data[...], net.std.data[...] = 0.5, 2
    x = np.random.default_rng(0).normal(size=(2, 40, 8)).astype(np.float32)
    with fnn.no_grad():
        alone = net(x[1:, :21])[0].numpy()
        x[1, 21:] = 99
        both, steps = net(x, [40, 21])
    assert steps.tolist() == [10, 5]
    np.testing.assert_allclose(both.numpy()[:5, 1:], alone, atol=2e-6)
    net.mean.data[...], net.std.data[...] = 0, 1
    with fnn.no_grad():
        np.testing.assert_allclose(net((x[1:, :21] - 0.5) / 2)[0].numpy(), alone, atol=2e-6)


def test_a_text_too_long_for_its_frames_counts_for_nothing():
    """Two steps have no room for three letters; the loss of one letter in two steps of thirds is log 3."""
    frames = fnn.tensor(np.zeros((2, 2, 3), np.float32), requires_grad=True)
    log_probs = fnn.log_softmax(frames, -1)
    loss = text_loss((log_probs, [2, 2]), (np.array([[1, 2, 1], [1, 0, 0]]), [3, 1]))
    assert loss.item() == pytest.approx(np.log(3) / 2)  # the mean of both texts
    loss.backward()
    assert not frames.grad.numpy()[:, 0].any()
    assert frames.grad.numpy()[:, 1].any()


def test_the_recogniser_refuses():
    net = SpeechRecognizer(5, 8, channels=(8, 8), hidden=8)
    with pytest.raises(ValueError, match="needs the whole recording"):
        net.step(fnn.zeros(1, 4, 8))
    one_way = SpeechRecognizer(5, 8, channels=(8, 8), hidden=8, bidirectional=False)
    for x in (fnn.zeros(4, 8), fnn.zeros(1, 4, 7)):
        with pytest.raises(ValueError, match=r"SpeechRecognizer.step: x is .* expected \(N, k, 8\)"):
            one_way.step(x)
    with pytest.raises(ValueError, match=r"x is \(1, 4, 8\); expected \(2, k, 8\)"):
        one_way.step(fnn.zeros(1, 4, 8), one_way.start(2))
    with pytest.raises(ValueError, match="cell must be"):
        SpeechRecognizer(5, cell="rnn")
    for x in (fnn.zeros(1, 3, 8), fnn.zeros(1, 9, 7), fnn.zeros(9, 8)):
        with pytest.raises(ValueError, match=r"expected \(N, T, 8\)"):
            net(x)
    for lengths in ([9], [3, 9], [10, 9], [4.0, 5.0]):
        with pytest.raises(ValueError, match="lengths"):
            net(fnn.zeros(2, 9, 8), lengths)
    for channels in ((8,), (8, 8, 8)):
        with pytest.raises(ValueError, match="channels must be two"):
            SpeechRecognizer(5, 8, channels)
    heard = SpeechRecognizer(5, 8, channels=(8, 8), hidden=8, bidirectional=False)
    for x, state in ((fnn.zeros(9, 8), None), (fnn.zeros(1, 9, 7), None), (fnn.zeros(2, 9, 8), heard.start(1))):
        with pytest.raises(ValueError, match=r"SpeechRecognizer.step: x is .*expected \((N|1), k, 8\)"):
            heard.step(x, state)


def test_everything_dropped_leaves_the_bias():
    """Dropout stands behind the recurrent layers too."""
    heard, read = SpeechRecognizer(5, 8, (8, 8), 8, dropout=1.0), IntentClassifier(9, 2, 3, 4, 4, dropout=1.0)
    expected = fnn.log_softmax(heard.out.bias, 0).data
    np.testing.assert_allclose(heard(fnn.randn(1, 4, 8))[0].data[0, 0], expected, rtol=1e-6)
    for said, layer in zip(read([[1, 2]]), (read.intent, read.tag)):
        np.testing.assert_allclose(said.data.reshape(-1, len(layer.bias))[0], layer.bias.data, rtol=1e-6)


# ----- text to action -----


def test_padding_stands_behind_the_words():
    """In front or between it would be read as a shorter sentence, and the last words not at all."""
    net = IntentClassifier(9, 2, 3, width=4, hidden=4)
    assert net([[1, 2, 0], [3, 4, 5]])[1].shape == (2, 3, 3)
    for row in ([0, 1, 2], [1, 0, 2]):
        with pytest.raises(ValueError, match="a word behind a zero"):
            net([[1, 2, 3], row])


def test_what_stands_beside_a_sentence_does_not_matter():
    """Also where all that its words say is below zero, as which the places behind them count."""
    net = IntentClassifier(9, 2, 3, width=4, hidden=4)
    x = np.array([[1, 2, 0, 0], [3, 4, 5, 6]])
    with fnn.no_grad():
        for weight in net.recurrent.parameters():
            weight.data[...] = -np.abs(weight.data)  # states that are pulled below zero
        net.embedding.weight.data[1:3] = 1
        (intent, tag), (alone, tags) = net(x), net(x[:1, :2])
        assert net.recurrent(net.embedding(x[:1, :2]))[0].numpy().max() < 0
    np.testing.assert_allclose(intent.numpy()[:1], alone.numpy(), atol=1e-6)
    np.testing.assert_allclose(tag.numpy()[:1, :2], tags.numpy(), atol=1e-6)


def test_the_loss_is_that_of_the_intent_and_of_the_tags(rng):
    intent, tag = (fnn.tensor(rng.normal(size=shape)) for shape in ((2, 4), (2, 3, 5)))
    y = np.array([[3, 0, 4, -100], [1, 2, 0, 1]])
    expected = fnn.cross_entropy(intent, y[:, 0]) + fnn.cross_entropy(
        tag.reshape(6, 5)[np.array([0, 1, 3, 4, 5])], np.array([0, 4, 2, 0, 1])
    )
    assert action_loss((intent, tag), fnn.tensor(y)).item() == pytest.approx(expected.item(), rel=1e-6)


def test_a_classifier_learns_what_order_says():
    """'a b' and 'b a' want different things, and the word behind 'at' is the argument."""
    rng = np.random.default_rng(0)

    def some(count):
        x, y = np.zeros((count, 6), np.int64), np.full((count, 7), -100)
        for row, out in zip(x, y):
            first = rng.integers(2)
            n = rng.integers(4, 7)
            row[:n] = rng.integers(5, 20, n)
            row[:2] = [2, 3] if first else [3, 2]
            at = rng.integers(2, n - 1)
            row[at] = 4
            out[0] = first
            out[1 : n + 1] = 0
            out[at + 2] = 1
        return x, y

    net = IntentClassifier(20, 2, 2, width=12, hidden=12)
    fnn.fit(net, action_loss, some(600), epochs=12, optimizer=lambda p: optim.Adam(p, lr=1e-2))
    x, y = some(200)
    with fnn.no_grad():
        intent, tag = net(x)
    assert (intent.numpy().argmax(1) == y[:, 0]).mean() > 0.97
    known = y[:, 1:] >= 0
    assert (tag.numpy().argmax(2) == y[:, 1:])[known].mean() > 0.97
    for wrong in (np.zeros(3, int), np.array([[1, 2], [0, 0]]), [[1, 0, 2]]):
        with pytest.raises(ValueError, match="IntentClassifier: "):
            net(wrong)


# ----- spelling to phonemes -----


@needs_g2p
def test_the_pronouncer_agrees_with_the_package():
    frozen = np.load(G2P)
    words = frozen["words"].tolist()
    net = Pronouncer().load(_g2p.folder() / "checkpoint20.npz").eval()
    assert sum(p.numel() for p in net.parameters()) == 834890
    with fnn.no_grad():
        state = net.encode(words)
        scores, _ = net(np.full(len(words), BEGIN), state)
    np.testing.assert_allclose(state.numpy()[0], frozen["states"], atol=1e-5)
    np.testing.assert_allclose(scores.numpy(), frozen["scores"], rtol=1e-5, atol=1e-5)
    assert [" ".join(said) for said in net.pronounce(words)] == frozen["said"].tolist()
    assert [net.pronounce([word])[0] for word in words[:5]] == net.pronounce(words)[:5]


@needs_g2p
def test_the_pronouncer_s_frozen_weights_say_the_same():
    """Frozen, embeddings are multiplied into the weights that read them."""
    frozen = np.load(G2P)
    words = frozen["words"].tolist()
    net = Pronouncer().load(_g2p.folder() / "checkpoint20.npz")
    names = list(net.state_dict())
    net.freeze()
    state = net.encode(words)
    np.testing.assert_allclose(state.numpy()[0], frozen["states"], atol=1e-5)
    scores, _ = net._next(np.full(len(words), BEGIN), state)
    np.testing.assert_allclose(scores.numpy(), frozen["scores"], rtol=1e-5, atol=1e-5)
    assert [" ".join(said) for said in net.pronounce(words)] == frozen["said"].tolist()
    assert [net.pronounce([word])[0] for word in words[:5]] == net.pronounce(words)[:5]
    assert list(net.state_dict()) == names  # what is made of the weights is none of them


def test_a_frozen_pronouncer_follows_what_is_changed():
    net, other = Pronouncer(width=8).freeze(), Pronouncer(width=8)
    words, read = ["hello", "you"], []
    assert net._spelled_parts()

    def states(net):
        with fnn.no_grad():
            return net.encode(words).numpy()

    def plain(net):  # without what freezing made
        x = np.full((2, 6), STOP)
        x[0, :5], x[1, :3] = ([LETTERS.index(c) for c in word] for word in words)
        with fnn.no_grad():
            return net.reader(net.letter_embedding(x), lengths=[6, 4])[1].numpy()

    np.testing.assert_allclose(states(net), plain(net), rtol=1e-5, atol=1e-6)
    net.reader = other.reader
    assert not net._spelled_parts()
    np.testing.assert_array_equal(states(net), plain(net))
    net.freeze()
    assert net._spelled_parts()
    np.testing.assert_allclose(states(net), plain(net), rtol=1e-5, atol=1e-6)
    for copied in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert not copied._spelled_parts()  # copies are not frozen
        copied.letter_embedding.weight.data[:] = 0
        np.testing.assert_array_equal(states(copied), plain(copied))
    net.reader.register_forward_hook(lambda *given: read.append(1))
    states(net)
    assert read == [1]


@needs_g2p
def test_the_frozen_answers_are_the_package_s():
    frozen, original = np.load(G2P), _g2p.Original()
    words = frozen["words"].tolist()
    assert [" ".join(said) for said in original.pronounce(words)] == frozen["said"].tolist()


def test_words_of_any_kind():
    net = Pronouncer(width=8)
    assert net.pronounce(["HeLLo"]) == net.pronounce(["hello"])
    assert not np.allclose(net.encode(["hello"]).data, net.encode(["heööo"]).data)
    with fnn.no_grad():  # of which the second is not known
        state = net.reader(net.letter_embedding([[LETTERS.index("f"), UNKNOWN, STOP]]))[1]
        np.testing.assert_array_equal(net.encode(["fö"]).numpy(), state.numpy())
    assert net.pronounce([]) == net.pronounce(np.array([], str)) == []
    assert net.pronounce(np.array(["hello", "you"])) == net.pronounce(["hello", "you"])
    assert len(net.pronounce(["", "ñandú", "a" * 100, "x"])) == 4
    with pytest.raises(TypeError, match="expected a list"):
        net.pronounce("word")


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04" + b"\0" * 50])
def test_what_are_no_weights(tmp_path, content):
    file = tmp_path / "checkpoint20.npz"
    file.write_bytes(content)
    with pytest.raises(FormatError, match="not the weights of g2p-en"):
        Pronouncer().load(file)


def test_weights_of_another_shape(tmp_path):
    file = tmp_path / "checkpoint20.npz"
    np.savez(file, enc_emb=np.zeros(3))
    with pytest.raises(FormatError, match="not the weights of g2p-en"):
        Pronouncer().load(file)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_damaged_weights(tmp_path, save):
    file, net = tmp_path / "checkpoint20.npz", Pronouncer(width=4)
    state = net.state_dict()
    save(file, **{theirs: state[name].data for theirs, name in NAMES.items()})
    good = file.read_bytes()
    net.load(file)
    refused = 0
    for at in [*range(0, len(good), 61), *range(len(good) - 120, len(good))]:
        damaged = bytearray(good)
        damaged[at] ^= 0xFF
        file.write_bytes(damaged)
        try:
            net.load(file)
        except FormatError:
            refused += 1
    assert refused > 50
    with pytest.raises(FileNotFoundError):
        net.load(tmp_path / "none.npz")
