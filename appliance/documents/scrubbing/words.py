"""Names and code words that a person listed: what no pattern can know."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import pairwise

from appliance.documents.scrubbing.finding import Find, Finding, Piece

_WORD = re.compile(r"\w+")


@lru_cache(maxsize=4)
def make_word_family(words: tuple[str, ...]) -> Find:
    """A family that finds these words and phrases, whole and in any capitals.

    A list of ten thousand names costs no more than one of ten: the words of the text are looked up,
    not the names searched.
    """
    by_first: dict[str, list[tuple[str, ...]]] = {}
    for phrase in words:
        parts = tuple(_split(phrase))
        if parts:
            by_first.setdefault(parts[0], []).append(parts)
    for phrases in by_first.values():
        phrases.sort(key=len, reverse=True)

    def find_words(piece: Piece) -> Iterator[Finding]:
        if by_first.keys().isdisjoint(_split(piece.lower)):
            return
        found = list(_WORD.finditer(piece.lower))
        place = 0
        while place < len(found):
            length = _match_length(found, place, by_first.get(found[place][0], ()))
            if length:
                end = found[place + length - 1].end()
                yield Finding(kind="name", start=found[place].start(), end=end)
            place += max(1, length)

    return find_words


def _split(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _match_length(
    found: list[re.Match[str]], place: int, phrases: Iterable[tuple[str, ...]]
) -> int:
    """Words of the longest phrase that stands here, parted by nothing but spaces and signs."""
    for parts in phrases:
        here = found[place : place + len(parts)]
        if len(here) < len(parts) or any(m[0] != part for m, part in zip(here, parts, strict=True)):
            continue
        gaps = (after.start() - before.end() for before, after in pairwise(here))
        if all(gap <= 3 for gap in gaps):
            return len(parts)
    return 0
