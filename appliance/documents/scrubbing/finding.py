"""A private value in a text, and the piece of text in which a family looks for them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple, get_args

Kind = Literal[
    "private_key", "jwt", "connection_string", "api_key", "password",
    "iban", "card", "national_id", "email", "phone", "ip", "name",
]  # fmt: skip

KINDS: tuple[Kind, ...] = get_args(Kind)
"""In order of rank: where two findings overlap, the earlier kind names both."""

CONTACTS: frozenset[Kind] = frozenset(("email", "phone", "ip"))
"""Where a person or a machine is reached; the others but names are secrets."""

SECRETS: frozenset[Kind] = frozenset(KINDS) - CONTACTS - {"name"}

_CONTEXT = 40
_NUMBER = re.compile(r"[0-9](?:[ ().\-/]{0,3}[0-9]){2,}[A-Z]?")
_MIN_DIGITS = 6
_WORD = re.compile(r"[^\W\d_]+|[§#$€£]")
HEAD = 4
"""Letters by which a word before a number is looked up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """Where a private value stands: characters from `start` up to `end`."""

    kind: Kind
    start: int
    end: int


class Number(NamedTuple):
    """A run of digits: its place, and how the words before it begin."""

    start: int
    end: int
    heads: frozenset[str]


@dataclass(frozen=True)
class Piece:
    """A piece of text, and what several families look at in it (found once, on demand)."""

    text: str

    @cached_property
    def lower(self) -> str:
        """The text in small letters, each in its place (`İ` alone would become two)."""
        return self.text.replace("\u0130", "i").lower()

    @cached_property
    def numbers(self) -> tuple[Number, ...]:
        """Every run of six digits or more, of three or more before a capital, or with three dots.

        A little punctuation may part the digits.
        """
        return tuple(
            Number(match.start(), match.end(), self._list_heads(match.start()))
            for match in _NUMBER.finditer(self.text)
            if _may_be_private(match[0])
        )

    def _list_heads(self, start: int) -> frozenset[str]:
        return frozenset(word[:HEAD] for word in _WORD.findall(self.look_before(start)))

    def find_all(self, word: str) -> Iterator[int]:
        """Every place of a word in small letters."""
        place = self.lower.find(word)
        while place >= 0:
            yield place
            place = self.lower.find(word, place + len(word))

    def look_before(self, start: int) -> str:
        """The words before a place, in small letters, from the same line."""
        return self.lower[max(0, start - _CONTEXT) : start].rpartition("\n")[2]


def _may_be_private(run: str) -> bool:
    return (
        run[-1].isalpha()
        or (len(run) >= _MIN_DIGITS and sum(map(str.isdigit, run)) >= _MIN_DIGITS)
        or run.count(".") >= 3
    )


Find = Callable[[Piece], Iterator[Finding]]
"""A family: yields what it finds in a piece."""
