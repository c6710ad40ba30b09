"""A reader of pickles that can do nothing but build lists, dicts, tuples, numbers and strings.

A pickle is a program for a small stack machine. Python's own runs any function that the program names; this one knows
the opcodes that files of tensors use and calls only what its caller lists by name: nothing is imported, nothing else is
called, and no length in the file is believed before it is compared with what is there.
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ._errors import FormatError

_DEEPEST = 10_000  # open marks
_LEVELS = 100  # lists and dicts inside one another: whoever walks through them may recurse


@dataclass(frozen=True)
class Name:
    """A global of some module, named by the pickle and never looked up."""

    text: str


def read(
    content: bytes, start: int, functions: Mapping[str, Callable | None], persistent: Callable[[Any], Any] | None = None
) -> tuple[Any, int]:
    """Return the object pickled at `start` and the position behind it.

    Parameters
    ----------
    content : bytes
        The file.
    start : int
        Where the pickle begins.
    functions : mapping of str to callable
        What the pickle may call, by "module.name". A None means that it may be named but not called.
    persistent : callable, optional
        Makes an object of a persistent id.

    Raises
    ------
    FormatError
        If the pickle is damaged, or names anything else (the message says what).

    Examples
    --------
    >>> import pickle
    >>> read(pickle.dumps({"a": [1, 2.5, "x"]}, 2), 0, {})[0]
    {'a': [1, 2.5, 'x']}
    >>> try:
    ...     read(b"cos\\nsystem\\n.", 0, {})
    ... except FormatError as error:
    ...     print(error)
    names os.system, which is not loaded: only tensors are, as of a state dict
    """
    machine = _Machine(content, start, functions, persistent)
    try:
        made = machine.run()
        _check_walk(made, 16 * (machine.at - start))
        return made, machine.at
    except FormatError:
        raise
    except (TypeError, ValueError, KeyError, IndexError, OverflowError, struct.error) as error:
        raise FormatError(f"has a damaged pickle: {type(error).__name__} {error}") from None


def _check_walk(made: Any, most: int) -> None:
    """Refuse what a walk through it would not come back from: what holds itself, or the same things over and over."""
    walk = [iter((made,))]
    while walk:
        for part in walk[-1]:
            if type(part) in (dict, list, tuple):
                most -= len(part)
                if most < 0 or len(walk) > _LEVELS:
                    raise FormatError("has a pickle that is nested too deep, holds itself, or the same over and over")
                walk.append(iter(part.values() if type(part) is dict else part))
                break
        else:
            walk.pop()


class _Machine:
    """The stack machine; a method for each opcode, listed in _OPCODES below."""

    def __init__(self, content: bytes, start: int, functions: Mapping, persistent: Callable | None) -> None:
        self.content, self.at = content, start
        self.functions, self.persistent = functions, persistent
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.copied = 0  # items of dicts made from lists: the one thing that could make much out of a short file

    def run(self) -> Any:
        """Go on until STOP and return what is on top of the stack."""
        while True:
            code = self.take(1)[0]
            if code == ord("."):
                return self.pop()
            step = _OPCODES.get(code)
            if step is None:
                raise FormatError(f"has the pickle opcode {bytes([code])!r}, which files of tensors do not use")
            step(self)

    # ----- the file and the stack -----

    def take(self, n: int) -> bytes:
        """Return the next `n` bytes."""
        if not 0 <= n <= len(self.content) - self.at:
            raise FormatError("ends in the middle of a pickle")
        self.at += n
        return self.content[self.at - n : self.at]

    def number(self, form: str) -> int:
        """Return the next number, little-endian."""
        return struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))[0]

    def line(self) -> str:
        """Return the text up to the end of the line."""
        end = self.content.find(b"\n", self.at, self.at + 1000)
        if end < 0:
            raise FormatError("ends in the middle of a pickle")
        return self.take(end + 1 - self.at)[:-1].decode()

    def pop(self) -> Any:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise FormatError("has a damaged pickle: nothing on the stack")
        return self.stack.pop()

    def popped(self, n: int) -> list[Any]:
        """Return the `n` items on top, in order."""
        return [self.pop() for _ in range(n)][::-1]

    def since_mark(self) -> list[Any]:
        mark = self.marks.pop()
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    # ----- building -----

    def mark(self) -> None:
        if len(self.marks) >= _DEEPEST:
            raise FormatError("has a pickle that is nested too deep")
        self.marks.append(len(self.stack))

    def append(self, items: list[Any]) -> None:
        target = self.pop()
        if type(target) is not list:
            raise FormatError(f"has a damaged pickle: items for a {type(target).__name__}")
        target.extend(items)
        self.stack.append(target)

    def set_items(self, items: list[Any]) -> None:
        target = self.pop()
        if type(target) is not dict or len(items) % 2:
            raise FormatError(f"has a damaged pickle: {len(items)} keys and values for a {type(target).__name__}")
        for key, value in zip(items[::2], items[1::2]):
            self.put(target, key, value)
        self.stack.append(target)

    def put(self, target: dict, key: Any, value: Any) -> None:
        # Text is hashed with a secret, small integers are themselves: no file can choose keys that collide.
        if type(key) is not str and not (type(key) is int and abs(key) < 2**31):
            raise FormatError(
                f"has a dict with a {type(key).__name__} as a key; only strings and small integers are read"
            )
        target[key] = value

    def named(self, module: str, name: str) -> None:
        text = f"{module}.{name}"
        if text not in self.functions and text != "collections.OrderedDict":
            raise FormatError(f"names {text}, which is not loaded: only tensors are, as of a state dict")
        self.stack.append(Name(text))

    def named_by_stack(self) -> None:
        module, name = self.popped(2)
        self.named(*(str(part) if type(part) is str else "?" for part in (module, name)))

    def call(self) -> None:
        name, args = self.popped(2)
        if type(name) is not Name or type(args) is not tuple:
            raise FormatError("has a damaged pickle: a call of what is no function")
        if name.text == "collections.OrderedDict":
            self.stack.append(self.ordered_dict(*args))
            return
        function = self.functions[name.text]
        if function is None:
            raise FormatError(f"calls {name.text}, which may only be named")
        self.stack.append(function(*args))

    def ordered_dict(self, pairs: Any = ()) -> dict:
        """Return a dict; Python 2 pickled the pairs as an argument, Python 3 adds them later."""
        if type(pairs) not in (list, tuple):
            raise FormatError("has a damaged pickle: an OrderedDict of what is no list")
        self.copied += len(pairs)
        if self.copied > len(self.content):
            raise FormatError("has a pickle that makes more of itself than the file is long")
        result: dict = {}
        for key, value in pairs:
            self.put(result, key, value)
        return result

    def build(self) -> None:
        """Leave out the attributes of a dict: PyTorch keeps versions of modules there."""
        target, _ = self.popped(2)
        if type(target) is not dict:
            raise FormatError(f"has a pickle that sets attributes of a {type(target).__name__}")
        self.stack.append(target)

    def persist(self) -> None:
        if self.persistent is None:
            raise FormatError("has a damaged pickle: a persistent id where none can be")
        self.stack.append(self.persistent(self.pop()))

    def memoize(self, index: int) -> None:
        top = self.pop()
        self.stack.append(top)
        self.memo[index] = top

    def integer(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little", signed=True)


def _pushes(value: Callable[[_Machine], Any]) -> Callable[[_Machine], None]:
    """Return the opcode that pushes what `value` makes."""
    return lambda m: m.stack.append(value(m))


_OPCODES: dict[int, Callable[[_Machine], Any]] = {
    ord(opcode): step
    for opcode, step in {
        "\x80": lambda m: m.take(1),  # the protocol; what matters is which opcodes there are
        "\x95": lambda m: m.take(8),  # a frame
        "(": _Machine.mark,
        "0": _Machine.pop,
        "1": _Machine.since_mark,
        "2": lambda m: m.stack.extend(m.popped(1) * 2),
        "N": _pushes(lambda m: None),
        "\x88": _pushes(lambda m: True),
        "\x89": _pushes(lambda m: False),
        "J": _pushes(lambda m: m.number("i")),
        "K": _pushes(lambda m: m.number("B")),
        "M": _pushes(lambda m: m.number("H")),
        "\x8a": _pushes(lambda m: m.integer(m.number("B"))),
        "\x8b": _pushes(lambda m: m.integer(m.number("i"))),
        "G": _pushes(lambda m: struct.unpack(">d", m.take(8))[0]),
        "X": _pushes(lambda m: m.take(m.number("I")).decode("utf-8", "surrogatepass")),
        "\x8c": _pushes(lambda m: m.take(m.number("B")).decode("utf-8", "surrogatepass")),
        "\x8d": _pushes(lambda m: m.take(m.number("Q")).decode("utf-8", "surrogatepass")),
        "U": _pushes(lambda m: m.take(m.number("B")).decode("latin-1")),  # texts of Python 2
        "T": _pushes(lambda m: m.take(m.number("i")).decode("latin-1")),
        "B": _pushes(lambda m: m.take(m.number("I"))),
        "C": _pushes(lambda m: m.take(m.number("B"))),
        "]": _pushes(lambda m: []),
        "}": _pushes(lambda m: {}),
        ")": _pushes(lambda m: ()),
        "\x85": _pushes(lambda m: tuple(m.popped(1))),
        "\x86": _pushes(lambda m: tuple(m.popped(2))),
        "\x87": _pushes(lambda m: tuple(m.popped(3))),
        "t": _pushes(lambda m: tuple(m.since_mark())),
        "l": _pushes(lambda m: m.since_mark()),
        "a": lambda m: m.append(m.popped(1)),
        "e": lambda m: m.append(m.since_mark()),
        "s": lambda m: m.set_items(m.popped(2)),
        "u": lambda m: m.set_items(m.since_mark()),
        "q": lambda m: m.memoize(m.number("B")),
        "r": lambda m: m.memoize(m.number("I")),
        "\x94": lambda m: m.memoize(len(m.memo)),
        "h": _pushes(lambda m: m.memo[m.number("B")]),
        "j": _pushes(lambda m: m.memo[m.number("I")]),
        "c": lambda m: m.named(m.line(), m.line()),
        "\x93": _Machine.named_by_stack,
        "R": _Machine.call,
        "b": _Machine.build,
        "Q": _Machine.persist,
    }.items()
}
