"""Sequences from models: greedy, beams, draws; cached and uncached steps; the models of sequences learn small tasks."""

import copy
import itertools
from typing import NamedTuple

import numpy as np
import pytest

import fastnn as fnn
from fastnn import generation
from fastnn.nn import functional as F

VOCABULARY = 5


def table_model(seed):
    """Logits that depend on all tokens so far; the state is what came before."""

    def step(tokens, state):
        seen = tokens if state is None else np.concatenate([state[0], tokens], 1)
        key = (seen * 7 ** np.arange(seen.shape[1])).sum(1) + seed
        return np.stack([np.random.default_rng(k).normal(0, 2, VOCABULARY) for k in key]), [seen]

    return step


def log_p(step, tokens):
    logits = step(tokens, None)[0]
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def test_greedy_takes_the_likeliest_and_stops():
    step = table_model(1)
    out = generation.greedy(step, [[0, 1], [2, 3]], 6, end=4)
    for row in out:
        for t in range(2, len(row)):
            want = 4 if 4 in row[2:t] else step(row[None, :t], None)[0][0].argmax()
            assert row[t] == want
    assert out.shape[1] <= 8
    assert generation.greedy(step, [[0]], 0).tolist() == [[0]]


@pytest.mark.parametrize("seed", range(8))
def test_wide_beams_find_the_best_of_all(seed):
    """With as many beams as there are beginnings the search is exhaustive."""
    step, length, end = table_model(seed), 3, 4
    scores = {}
    for n in range(1, length + 1):
        for body in itertools.product(range(4), repeat=n - 1):
            new = [*body, end]
            total = sum(log_p(step, np.array([[0, *new[:i]]]))[0, new[i]] for i in range(n))
            scores[tuple(new)] = total / n
    best = max(scores, key=scores.get)
    tokens, score = generation.beam_search(step, [[0], [0]], length, end, beams=100)
    assert tuple(tokens[0, 1:]) == best
    np.testing.assert_allclose(score, scores[best])
    np.testing.assert_array_equal(tokens[0], tokens[1])


def test_one_beam_is_greedy_where_it_ends():
    step = table_model(3)
    greedy = generation.greedy(step, [[0]], 30, end=4)
    beam, _ = generation.beam_search(step, [[0]], 30, 4, beams=1, length_penalty=0.0)
    n = min(greedy.shape[1], beam.shape[1])
    before = list(beam[0]).index(4)
    np.testing.assert_array_equal(greedy[0, : min(n, before)], beam[0, : min(n, before)])


def test_draws_have_the_frequencies():
    logits = np.log(np.array([0.5, 0.25, 0.15, 0.1]))

    def step(tokens, state):
        return np.tile(logits, (len(tokens), 1)), state

    def frequencies(**options):
        rng = np.random.default_rng(0)
        drawn = generation.sample(step, np.zeros((20000, 1), int), 1, rng=rng, **options)[:, 1]
        return np.bincount(drawn, minlength=4) / 20000

    np.testing.assert_allclose(frequencies(), [0.5, 0.25, 0.15, 0.1], atol=0.02)
    np.testing.assert_allclose(frequencies(top_k=2), [2 / 3, 1 / 3, 0, 0], atol=0.02)
    np.testing.assert_allclose(frequencies(top_p=0.8), [0.5 / 0.9, 0.25 / 0.9, 0.15 / 0.9, 0], atol=0.02)
    np.testing.assert_allclose(frequencies(top_p=1e-9), [1, 0, 0, 0])
    np.testing.assert_allclose(frequencies(temperature=0.0), [1, 0, 0, 0])
    cold = np.array([0.5, 0.25, 0.15, 0.1]) ** 2
    np.testing.assert_allclose(frequencies(temperature=0.5), cold / cold.sum(), atol=0.02)


def test_a_temperature_near_zero_takes_the_likeliest():
    out = generation.sample(lambda t, s: (np.float32([[1, 3, 2]]), s), [[0]], 4, temperature=1e-320)
    assert out.tolist() == [[0, 1, 1, 1, 1]]


@pytest.mark.parametrize("how", [generation.greedy, generation.sample, lambda *a: generation.beam_search(*a, 299)[0]])
def test_bytes_do_not_wrap_round(how):
    """A vocabulary larger than the type of the tokens has room for."""
    out = how(lambda t, s: (1000.0 * np.eye(300)[[299] * len(t)], s), np.array([[1]], np.uint8), 2)
    assert set(out[0, 1:].tolist()) == {299}


def test_beams_go_on_where_a_longer_one_may_win_below_zero():
    """With a penalty of -1 the score is the sum times the number: log 0.3 at one token loses to 2 log 0.7 at two."""

    def step(tokens, state):
        n = 1 if state is None else state + 1
        return np.tile(np.log([0.3, 0.7] if n == 1 else [0.999, 0.001]), (len(tokens), 1)), n

    tokens, score = generation.beam_search(step, [[1]], 8, 0, beams=2, length_penalty=-1.0)
    assert tokens.tolist() == [[1, 1, 0]]
    np.testing.assert_allclose(score, 2 * np.log(0.7 * 0.999))


def test_draws_follow_the_seed():
    step = table_model(5)
    draws = []
    for seed in (1, 1, 2):
        fnn.manual_seed(seed)
        draws.append(generation.sample(step, [[0]] * 4, 12).tolist())
    assert draws[0] == draws[1] != draws[2]


def test_the_coldest_draw_is_the_likeliest():
    step = table_model(5)
    coldest = generation.sample(step, [[0], [1]], 12, temperature=1e-310)  # by which all other logits overflow
    np.testing.assert_array_equal(coldest, generation.greedy(step, [[0], [1]], 12))


BAD = [
    (lambda: generation.greedy(table_model(0), [1, 2], 3), r"greedy: tokens is \(2,\)"),
    (lambda: generation.greedy(table_model(0), [[0.5]], 3), "float64"),
    (lambda: generation.greedy(table_model(0), np.zeros((1, 0), int), 3), "expected integers"),
    (lambda: generation.greedy(table_model(0), [[1]], -1), "length"),
    (lambda: generation.sample(table_model(0), [[1]], 1, top_p=0.0), "top_p is 0.0"),
    (lambda: generation.sample(table_model(0), [[1]], 1, top_k=0), "top_k must be at least 1, got 0"),
    (lambda: generation.sample(table_model(0), [[1]], 1, temperature=-1.0), "temperature is -1"),
    (lambda: generation.sample(table_model(0), [[1]], 1, temperature=np.inf), "temperature is inf"),
    (lambda: generation.beam_search(table_model(0), [[1]], 1, 4, beams=0), "beams"),
    (lambda: generation.beam_search(table_model(0), [[1]], 1, -1), "end is -1; expected one of the 5 tokens"),
    (lambda: generation.beam_search(table_model(0), [[1]], 1, 5), "end is 5"),
    *[
        (lambda end=end, how=how: how(table_model(0), [[1]], 1, end), "end is .*; expected one of the 5 tokens")
        for how in (generation.greedy, generation.sample)
        for end in (5, -1, 2.5, "a")
    ],
    (lambda: generation.greedy(lambda t, s: (np.zeros((1, 2, 5)), s), [[1, 2]], 1), r"greedy: step gave logits \(1, 2"),
    *[
        (lambda how=how, bad=bad: how(lambda t, s: (np.float32([bad]), s), [[1]], 2, 0), "step gave logits of which")
        for how in (generation.greedy, generation.sample, generation.beam_search)
        for bad in ([0, np.nan], [np.nan, 9], [0, np.inf], [-np.inf, -np.inf])
    ],
]


@pytest.mark.parametrize("case", range(len(BAD)))
def test_refused(case):
    call, text = BAD[case]
    with pytest.raises(ValueError, match=text):
        call()


def test_arguments_of_other_types_are_refused():
    with pytest.raises(TypeError, match="top_k must be an integer, got float"):
        generation.sample(table_model(0), [[1]], 1, top_k=2.0)
    for name in ("top_p", "temperature"):
        with pytest.raises(TypeError, match=f"{name} must be a number, got str"):
            generation.sample(table_model(0), [[1]], 1, **{name: "a"})
    with pytest.raises(TypeError, match="greedy: length must be an integer, got float"):
        generation.greedy(table_model(0), [[1]], 2.0)
    with pytest.raises(TypeError, match="beams must be an integer"):
        generation.beam_search(table_model(0), [[1]], 1, 4, beams=2.0)


# ---- models


def train(net, batch, steps, lr):
    optimizer = fnn.optim.Adam(net.parameters(), lr=lr)
    for _ in range(steps):
        logits, target = batch()
        loss = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), target.reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


@pytest.mark.trains
def test_language_model_learns_to_repeat():
    """The second half repeats the first: only attention to the right distance tells the next token."""
    rng = np.random.default_rng(0)
    net = fnn.models.LanguageModel(8, 32, heads=2, layers=2)

    def batch():
        half = rng.integers(0, 8, (32, 6))
        tokens = np.concatenate([half, half], 1)
        return net(fnn.tensor(tokens[:, :-1]))[:, 5:], fnn.tensor(tokens[:, 6:])

    assert train(net, batch, 400, 3e-3) < 0.05
    half = rng.integers(0, 8, (50, 6))
    out = net.generate(half, 6)
    assert (out[:, 6:] == half).mean() > 0.98
    with fnn.no_grad():  # the same tokens without a cache
        tokens = half
        for _ in range(6):
            tokens = np.concatenate([tokens, net(fnn.tensor(tokens)).data[:, -1].argmax(-1)[:, None]], 1)
    np.testing.assert_array_equal(out, tokens)
    assert net.training
    assert net.generate(half, 3, temperature=1.0, top_k=3).shape == (50, 9)


@pytest.mark.parametrize("most", [1, 4, 1024])
def test_what_generates_makes_room_once_for_all_but_long_sequences(most, monkeypatch):
    net = fnn.models.LanguageModel(7, 8, 2, 2).eval()
    want = generation.greedy(net.step, [[1, 2, 3]], 9)
    rooms = []

    def begun(room):
        rooms.append(room)
        return fnn.nn.KeyValues(room)

    monkeypatch.setattr("fastnn.models.language_model.MOST_ROOM", most)
    monkeypatch.setattr("fastnn.models.language_model.KeyValues", begun)
    np.testing.assert_array_equal(net.generate([[1, 2, 3]], 9), want)
    assert rooms == 2 * [min(most, 12)]


def test_what_goes_on_from_a_state_is_greedy_too():
    net, tokens = fnn.models.LanguageModel(7, 8, 2, 2).eval(), np.array([[1, 2, 3, 4]])
    want = net.generate(tokens, 9)
    _, state = net.step(tokens[:, :2])
    np.testing.assert_array_equal(net.generate(tokens[:, 2:], 9, state=copy.deepcopy(state)), want[:, 2:])
    drawn = net.generate(tokens[:, 2:], 9, state=state, temperature=9.0, rng=np.random.default_rng(0))
    assert drawn.shape == (1, 11)
    assert net.step([[1, 2]])[0].shape == (1, 7)
    for wrong in (np.zeros((1, 0), int), [1, 2]):
        with pytest.raises(ValueError, match=r"LanguageModel.step: tokens are .*; expected \(B, t\), t at least 1"):
            net.step(wrong)


@pytest.mark.parametrize("mode", [True, False])
def test_writing_leaves_every_part_in_its_mode(mode):
    """A part that was put into evaluation mode for good is not trained from then on, nor the other way round."""
    language, translator = fnn.models.LanguageModel(8, 8, 2, 1), fnn.models.Translator(8, 8, 8, 2, 1)
    source, target = np.array([[3, 4]]), np.array([[1, 5]])
    calls = (
        (language, lambda: language.generate(source, 2)),
        (translator, lambda: translator.translate(source, 1, 2, 3)),
        (translator, lambda: translator.attention(source, target)),
    )
    for net, call in calls:
        net.train(mode)
        net.dropout.train(not mode)
        before = [part.training for part in net.modules()]
        call()
        assert [part.training for part in net.modules()] == before


@pytest.mark.trains
def test_translator_learns_to_reverse():
    """Sources of different lengths, filled up with 0; 1 starts, 2 ends."""
    rng = np.random.default_rng(0)
    net = fnn.models.Translator(12, 12, 32, heads=2, layers=1)

    def pairs(n):
        source, target = np.zeros((n, 6), int), np.full((n, 8), 2)
        target[:, 0] = 1
        for row in range(n):
            length = rng.integers(2, 7)
            words = rng.integers(3, 12, length)
            source[row, :length], target[row, 1 : 1 + length] = words, words[::-1]
        return source, target

    def batch():
        source, target = pairs(32)
        return net(fnn.tensor(source), fnn.tensor(target[:, :-1])), fnn.tensor(target[:, 1:])

    # After 600 steps a batch has a loss of up to 0.13 (six seeds, plain loops and AVX-512), after 800 of 0.01.
    assert train(net, batch, 800, 3e-3) < 0.1
    source, target = pairs(50)
    for beams in (1, 3):
        out = net.translate(fnn.tensor(source), 1, 2, 7, beams)
        out = np.pad(out, ((0, 0), (0, 7 - out.shape[1])), constant_values=2)
        assert (out == target[:, 1:]).all(1).mean() > 0.9


def test_states_may_be_named_tuples_and_numbers_of_numpy():
    class State(NamedTuple):
        seen: np.int64
        kept: np.ndarray

    state = generation.select_rows(State(np.int64(3), np.arange(2)), [1, 1, 0])
    assert type(state) is State
    assert state.seen == 3
    assert state.kept.tolist() == [1, 1, 0]


def test_a_state_goes_on_once_and_its_copy_once_more():
    language, translator = fnn.models.LanguageModel(9, 8, 2, 2).eval(), fnn.models.Translator(9, 9, 8, 2, 2).eval()
    for net, first in ((language, None), (translator, translator.begin([[3, 4]]))):
        _, state = net.step(np.array([[1, 2]]), first)
        kept = copy.deepcopy(state)
        want = net.step(np.array([[5]]), state)[0].numpy()
        with pytest.raises(ValueError, match="of 2 tokens has gone on to 3; copy"):
            net.step(np.array([[6]]), state)
        np.testing.assert_array_equal(net.step(np.array([[5]]), kept)[0].numpy(), want)


def test_what_generates_leaves_its_parts_in_their_modes():
    model, translator = fnn.models.LanguageModel(5, 8, 2, 1), fnn.models.Translator(5, 5, 8, 2, 1)
    for net, write in (
        (model, lambda: model.generate([[1]], 2)),
        (translator, lambda: translator.translate([[3, 4]], 1, 2, 2)),
        (translator, lambda: translator.attention([[3, 4]], [[1, 3]])),
    ):
        net.dropout.eval()
        write()
        assert [net.training, net.dropout.training, net.head.training] == [True, False, True]
