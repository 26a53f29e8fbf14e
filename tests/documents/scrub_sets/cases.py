"""A case of a scrubbing set: a text, and the private value in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

Maker = Callable[[Random], str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A text with one private value, or a look-alike with none.

    Attributes:
        kind: class of the value; of a look-alike, what it is.
        text: what is scrubbed.
        value: what must not remain; empty for a look-alike.
    """

    kind: str
    text: str
    value: str = ""


def make_cases(
    kind: str, makers: tuple[Maker, ...], contexts: tuple[str, ...], number: int, rng: Random
) -> Iterator[Case]:
    """Values of every maker in turn, each in a context drawn at random (`{v}` is the value)."""
    for index in range(number):
        value = makers[index % len(makers)](rng)
        yield Case(kind=kind, text=rng.choice(contexts).replace("{v}", value), value=value)


def make_decoys(
    kind: str, makers: tuple[Maker, ...], contexts: tuple[str, ...], number: int, rng: Random
) -> Iterator[Case]:
    """Look-alikes: texts in which nothing is to be masked."""
    for case in make_cases(kind, makers, contexts, number, rng):
        yield Case(kind=kind, text=case.text)


def draw(rng: Random, pattern: str) -> str:
    """Fill a pattern: `#` digit, `¤` small letter, `^` capital, `*` letter or digit, `~` hex."""
    alphabets = {
        "#": "0123456789",
        "¤": "abcdefghijklmnopqrstuvwxyz",
        "^": "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        "*": "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789",
        "~": "0123456789abcdef",
    }
    return "".join(rng.choice(alphabets[char]) if char in alphabets else char for char in pattern)
