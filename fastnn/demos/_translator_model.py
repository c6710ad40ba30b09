"""What the translate demo keeps in a file: the network, its size, and the pieces its words are made of."""

from dataclasses import asdict, dataclass
from pathlib import Path

import fastnn as fnn
from fastnn.models import Translator

from .._cli import CommandError
from ._translation import Vocabulary, translate
from ._weights import check_finite

KIND = "fastnn translate demo"


@dataclass
class Size:
    """Of a translator."""

    vocabulary: int
    d_model: int
    heads: int
    layers: int
    dropout: float


@dataclass
class Model:
    """A translator and its vocabulary."""

    size: Size
    vocabulary: Vocabulary
    net: Translator

    @classmethod
    def new(cls, size: Size, vocabulary: Vocabulary) -> "Model":
        """Return one that has learned nothing."""
        tokens = len(vocabulary)
        net = Translator(tokens, tokens, size.d_model, size.heads, size.layers, size.dropout, tied=True)
        return cls(size, vocabulary, net)

    def translate(self, texts: list[str], beams: int) -> list[str]:
        """Spanish texts -> English ones."""
        return translate(self.net, self.vocabulary, texts, beams)

    def save(self, file: Path) -> None:
        """Write everything to a file."""
        kept = {"kind": KIND, "size": asdict(self.size), "vocabulary": str(self.vocabulary)}
        fnn.save({**kept, "net": self.net.state_dict()}, file)

    @classmethod
    def load(cls, file: str) -> "Model":
        """Read one from a file."""
        saved = fnn.load(file)
        if not isinstance(saved, dict) or saved.get("kind") != KIND:
            raise CommandError(f"{file} is not a model of the translate demo")
        try:
            made = cls.new(Size(**saved["size"]), Vocabulary.read(saved["vocabulary"]))
            made.net.load_state_dict(saved["net"])
            check_finite(made.net)
        except (KeyError, TypeError, ValueError, AttributeError, MemoryError) as error:
            raise CommandError(f"{file} is a damaged model of the translate demo: {error}") from None
        made.net.eval()
        return made
