"""Text to action for the demo: sentences out of a real assistant's grammar, and a recurrent network that learns them.

The grammar is Home Assistant's (package home-assistant-intents): templates such as "<enciende> las luces de {area}",
parsed by hassil. Sentences are drawn from the templates, and those to test on come from templates that were held out.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import fastnn as fnn
from fastnn import optim
from fastnn.models.intent import IntentClassifier, action_loss

from .._extras import require
from ..decoding import edit_distance
from ._spanish import number, spelled

# Without article, which the templates bring. What the grammar leaves to the house it is installed in:
OPEN = {
    "area": "cocina|salón|dormitorio|cuarto de baño|comedor|garaje|despacho|terraza|pasillo|entrada|jardín|sótano|"
    "estudio|habitación de invitados|cuarto de los niños|lavadero|desván|patio|balcón|oficina",
    "floor": "planta baja|primera planta|segunda planta|ático|sótano|primer piso|segundo piso",
    "name": "lámpara|lámpara de pie|televisor|ventilador|persiana|radio|puerta principal|calefacción|"
    "aire acondicionado|cafetera|aspiradora|altavoz|luz del techo|luz de la mesa|termostato|enchufe|cortina|cerradura|"
    "alarma|horno|lavadora|caldera|tira de luces|humidificador|garaje",
    "message": "la cena está lista|ya estoy en casa|hay que sacar la basura|nos vamos en diez minutos|llegaré tarde",
    "search_query": "los beatles|música clásica|las noticias|mi canción favorita|jazz|el último disco|rock en español",
    "timer_name": "pasta|pizza|huevos|lavadora|siesta|té|arroz|deberes|ejercicio",
    "timer_command": "apaga la luz|enciende la radio|cierra la persiana|abre la puerta|pon música",
    "shopping_list_item": "leche|pan|huevos|manzanas|arroz|café|queso|jabón|tomates|aceite|papel|azúcar",
    "todo_list_item": "llamar al médico|comprar flores|regar las plantas|pagar el alquiler|escribir a mamá|"
    "lavar el coche",
    "zone": "trabajo|colegio|casa|oficina|gimnasio",
}
PARTS = 5  # one template in so many is held out
UNKNOWN = 1  # the number of a word that is not in the vocabulary; 0 is padding
NOTHING = "-"  # the tag of a word that is no argument


@dataclass
class Sentence:
    """Words, the tag of each (an argument's name, or NOTHING), and the intent."""

    words: list[str]
    tags: list[str]
    intent: str


@dataclass
class Grammar:
    """The templates, (intent, text) each, parsed; and what they refer to."""

    templates: list[tuple[str, str]]
    parsed: list[Any]
    rules: dict[str, Any]
    lists: dict[str, Any]


def _grammar_file() -> dict[str, Any]:
    package = require("home_assistant_intents", "demo", "text to action")
    return json.loads((Path(str(package.__file__)).parent / "data" / "es.json").read_text("utf-8"))


def needed() -> None:
    """Raise if a package that the assistant needs is not there."""
    for package in ("home_assistant_intents", "hassil.parse_expression"):
        require(package, "demo", "text to action (--no-action does without it)")


def grammar() -> Grammar:
    """Read and parse the Spanish grammar."""
    data = _grammar_file()
    hassil = require("hassil.parse_expression", "demo", "text to action")
    templates = [
        (intent, text)
        for intent, each in sorted(data["intents"].items())
        for block in each["data"]
        for text in block["sentences"]
    ]
    parsed = [hassil.parse_sentence(text).expression for _, text in templates]
    rules = {name: hassil.parse_sentence(text).expression for name, text in data["expansion_rules"].items()}
    return Grammar(templates, parsed, rules, data["lists"])


def split(of: Grammar, parts: int, seed: int) -> tuple[list[int], list[int]]:
    """Return the numbers of the templates to learn from, and of one in `parts` of each intent to test on."""
    rng = np.random.default_rng(seed)
    held = []
    for intent in sorted({name for name, _ in of.templates}):
        own = [i for i, (name, _) in enumerate(of.templates) if name == intent]
        held += rng.permutation(own)[: len(own) // parts].tolist()
    return [i for i in range(len(of.templates)) if i not in set(held)], sorted(held)


def draw(of: Grammar, template: int, rng: np.random.Generator) -> Sentence:
    """Return a sentence of a template, every choice in it drawn at random."""
    text, marks = "", []
    for piece, slot in _say(of, of.parsed[template], rng, None):
        text += piece
        marks += [slot] * len(piece)
    words, tags, at = [], [], 0
    for raw in text.split(" "):
        slot = next((mark for mark in marks[at : at + len(raw)] if mark), NOTHING)
        at += len(raw) + 1
        for word in spelled(raw).split():
            words.append(word)
            tags.append(slot)
    return Sentence(words, tags, of.templates[template][0])


def _say(of: Grammar, node: Any, rng: np.random.Generator, slot: str | None) -> Iterator[tuple[str, str | None]]:
    """Walk a parsed template: pieces of text, each with the slot that it fills."""
    kind = type(node).__name__
    if kind == "TextChunk":
        yield node.text, slot
    elif kind == "Sequence":
        for item in node.items:
            yield from _say(of, item, rng, slot)
    elif kind == "Alternative":
        yield from _say(of, node.items[rng.integers(len(node.items))], rng, slot)
    elif kind == "Permutation":
        for i in rng.permutation(len(node.items)):
            yield from _say(of, node.items[i], rng, slot)
            yield " ", None
    elif kind == "RuleReference":
        yield from _say(of, of.rules[node.rule_name], rng, slot)
    elif kind == "ListReference":
        yield from _fill(of, node, rng)


def _fill(of: Grammar, node: Any, rng: np.random.Generator) -> Iterator[tuple[str, str | None]]:
    """Fill the slot of a list: a word of the house, a number, or one of the values."""
    name, slot = node.list_name, node.slot_name
    if name in OPEN:
        values = OPEN[name].split("|")
        yield values[rng.integers(len(values))], slot
        return
    if node.is_inline_range:
        low, high, _ = node.get_inline_range()
        yield number(int(rng.integers(low, high + 1))), slot
        return
    told = of.lists[name]
    if "range" in told:
        low, high = int(told["range"]["from"]), int(told["range"]["to"])
        yield number(abs(int(rng.integers(low, high + 1)))), slot
        return
    value = told["values"][rng.integers(len(told["values"]))]
    text = value if isinstance(value, str) else value["in"]
    sentence = require("hassil.parse_expression", "demo", "text to action").parse_sentence(text)
    yield from _say(of, sentence.expression, rng, slot)


def sentences(of: Grammar, templates: list[int], each: int, rng: np.random.Generator) -> list[Sentence]:
    """Return up to `each` different sentences of every template."""
    found: list[Sentence] = []
    for template in templates:
        drawn = {" ".join(s.words): s for s in (draw(of, template, rng) for _ in range(each)) if s.words}
        found += drawn.values()
    return found


def commands(count: int, seed: int) -> list[str]:
    """Return the texts of sentences of the templates that are learned from."""
    of = grammar()
    learned, _ = split(of, PARTS, seed)
    rng = np.random.default_rng(seed)
    return [" ".join(s.words) for s in (draw(of, int(i), rng) for i in rng.choice(learned, count)) if s.words]


class Assistant:
    """The network with its vocabulary: `act("enciende la luz de la cocina")` is an intent and its arguments."""

    def __init__(self, vocabulary: list[str], intents: list[str], tags: list[str]) -> None:
        self.vocabulary, self.intents, self.tags = vocabulary, intents, tags
        self.numbers = {word: i + 2 for i, word in enumerate(vocabulary)}
        self.net = IntentClassifier(len(vocabulary) + 2, len(intents), len(tags), dropout=0.4)

    @classmethod
    def of(cls, learned: list[Sentence]) -> "Assistant":
        """Return one that knows the words of some sentences and has learned nothing."""
        return cls(
            sorted({word for s in learned for word in s.words}),
            sorted({s.intent for s in learned}),
            [NOTHING, *sorted({tag for s in learned for tag in s.tags} - {NOTHING})],
        )

    def numbered(self, many: list[list[str]]) -> np.ndarray:
        """Return words as numbers, (n, longest), zeros behind the end."""
        x = np.zeros((len(many), max(map(len, many))), np.int64)
        for row, words in zip(x, many):
            row[: len(words)] = [self.numbers.get(word, UNKNOWN) for word in words]
        return x

    def targets(self, many: list[Sentence]) -> np.ndarray:
        """Return the intent and the tags of sentences, (n, 1 + longest), -100 behind the end."""
        y = np.full((len(many), 1 + max(len(s.words) for s in many)), -100)
        for row, s in zip(y, many):
            row[0] = self.intents.index(s.intent)
            row[1 : 1 + len(s.tags)] = [self.tags.index(tag) for tag in s.tags]
        return y

    def train(self, learned: list[Sentence], epochs: int, seed: int) -> fnn.fit:
        """Learn sentences; each time a tenth of the words is not heard."""
        batches = _Batches(self, learned, np.random.default_rng(seed))
        total = epochs * len(batches)
        history = fnn.fit(
            self.net,
            action_loss,
            batches,
            epochs=epochs,
            optimizer=lambda parameters: optim.AdamW(parameters, lr=3e-3, weight_decay=1e-2),
            schedule=lambda optimizer: optim.lr_scheduler.OneCycleLR(optimizer, max_lr=6e-3, total_steps=total),
            clip_norm=5.0,
            seed=seed,
        )
        if history.interrupted:
            raise KeyboardInterrupt
        return history

    def scores(self, many: list[list[str]]) -> tuple[np.ndarray, np.ndarray]:
        """Return the numbers of the intents (n,) and of the tags (n, longest) of sentences."""
        with fnn.no_grad():
            intent, tag = self.net(self.numbered(many))
        return intent.numpy().argmax(1), tag.numpy().argmax(2)

    def act(self, text: str) -> str:
        """Return what a text asks for, as `intent(argument=words, ...)`; a word with a slip is read as its nearest."""
        words = [self.nearest(word) for word in text.split()]
        if not words:
            return "nothing was said"
        intent, tags = self.scores([words])
        slots: dict[str, list[str]] = {}
        for word, tag in zip(words, tags[0]):
            if tag:
                slots.setdefault(self.tags[tag], []).append(word)
        return f"{self.intents[intent[0]]}({', '.join(f'{k}={chr(32).join(v)}' for k, v in slots.items())})"

    def nearest(self, word: str) -> str:
        """Return the word of the vocabulary that differs by the fewest letters, if by no more than a third of them."""
        if word in self.numbers:
            return word
        near = [w for w in self.vocabulary if abs(len(w) - len(word)) <= len(word) // 3]
        best = min(near, key=lambda w: edit_distance(w, word), default=word)
        return best if edit_distance(best, word) <= len(word) // 3 else word


class _Batches:
    """Batches of 64 sentences of about one length, in a new order and with other words unheard each time."""

    SIZE = 64

    def __init__(self, assistant: Assistant, learned: list[Sentence], rng: np.random.Generator) -> None:
        self.assistant, self.learned, self.rng = assistant, learned, rng

    def __len__(self) -> int:
        return -(-len(self.learned) // self.SIZE)

    def __iter__(self) -> Iterator[tuple]:
        length = np.array([len(s.words) for s in self.learned])
        order = np.argsort(length + self.rng.uniform(0, 2, len(length)))
        for i in self.rng.permutation(len(self)):
            some = [self.learned[j] for j in order[i * self.SIZE : (i + 1) * self.SIZE]]
            x = self.assistant.numbered([s.words for s in some])
            x[(self.rng.random(x.shape) < 0.1) & (x > 0)] = UNKNOWN
            yield fnn.tensor(x), fnn.tensor(self.assistant.targets(some))


class Rules:
    """The rule-based reference: hassil with the same templates. It knows what it has rules for, and nothing else."""

    def __init__(self, of: Grammar, templates: list[int]) -> None:
        intents = require("hassil.intents", "demo", "text to action")
        self.recognize = require("hassil.recognize", "demo", "text to action").recognize
        by_intent: dict[str, list[str]] = {}
        for i in templates:
            by_intent.setdefault(of.templates[i][0], []).append(of.templates[i][1])
        data = _grammar_file()
        lists = {k: v for k, v in data["lists"].items() if k not in OPEN}
        lists |= {k: {"values": v.split("|")} for k, v in OPEN.items()}
        self.intents = intents.Intents.from_dict(
            {
                "language": "es",
                "intents": {name: {"data": [{"sentences": texts}]} for name, texts in by_intent.items()},
                "lists": lists,
                "expansion_rules": data["expansion_rules"],
                "skip_words": data.get("skip_words", []),
            }
        )

    def intent(self, words: list[str]) -> str | None:
        """Return the intent of a sentence, None if no rule fits."""
        found = self.recognize(" ".join(words), self.intents)
        return None if found is None else found.intent.name
