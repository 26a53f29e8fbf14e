"""Which documents nearly repeat another, and which are relatives that the split must not part.

Of documents that share 70 % of their phrases and are no siblings, one stays; those that share half
are a family. Why these shares: scripts/benches/duplicates.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from appliance.documents.drafts import Drafts
from appliance.documents.near import (
    MIN_PHRASES,
    NUM_HASHES,
    Phrases,
    find_candidates,
    measure_overlap,
    sign,
    split_phrases,
)
from appliance.documents.siblings import are_siblings, are_versions

LEAST_REPEATED = 0.7
LEAST_RELATED = 0.5
_SLACK = 0.15
"""By how much an estimate may miss: four times its standard error (0.04 with 128 hashes)."""

_MOST_COMPARED = 8
"""Kept documents that one is compared with word by word, most alike first."""

_TEXTS_AT_HAND = 64

Candidates = dict[int, list[tuple[float, int]]]
"""For each document: estimated overlap and number of those that it resembles, most alike first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Repeat:
    """A document that nearly repeats one that is kept.

    Attributes:
        of: number of the one that is kept.
        overlap: share of their phrases that both have.
    """

    of: int
    overlap: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Relations:
    """How documents resemble one another, by their numbers.

    Attributes:
        repeats: documents that nearly repeat another.
        families: for each document with relatives, a number that they share.
    """

    repeats: dict[int, Repeat]
    families: dict[int, int]


class SignatureBook:
    """Signatures of documents as they come: 520 bytes each."""

    def __init__(self) -> None:
        """Nothing is signed yet."""
        self._numbers: list[int] = []
        self._signatures = bytearray()

    def add(self, number: int, text: str) -> None:
        """Sign a document; one of a few words resembles too many to resemble any."""
        phrases = split_phrases(text)
        if len(phrases) >= MIN_PHRASES:
            self._numbers.append(number)
            self._signatures += sign(phrases).tobytes()

    def find_candidates(self) -> Candidates:
        """Documents that may be related, by number."""
        signatures = np.frombuffer(self._signatures, dtype=np.uint32).reshape(-1, NUM_HASHES)
        found = find_candidates(signatures, LEAST_RELATED - _SLACK)
        return {
            self._numbers[i]: [(overlap, self._numbers[j]) for overlap, j in others]
            for i, others in found.items()
        }


def relate(
    candidates: Candidates, drafts: Drafts, strip: Callable[[str], str], *, may_drop: bool
) -> Relations:
    """Decide which documents repeat another, and join relatives to families.

    Every repeat is compared with the document that is kept, so that nothing is dropped for a
    likeness of a likeness.

    Args:
        candidates: from `SignatureBook.find_candidates`.
        drafts: where the documents are.
        strip: takes boilerplate from a text.
        may_drop: whether one of several stays; else all do, as a family. Documents with
            conversations always stay: each of these is something of its own.
    """
    compare = _Comparison(drafts, strip)
    repeats: dict[int, Repeat] = {}
    kept: set[int] = set()
    parent: dict[int, int] = {}
    for number in sorted(candidates, key=drafts.rank):
        near = [other for overlap, other in candidates[number] if overlap >= LEAST_RELATED]
        for other in near:
            _join(parent, number, other)
        repeat = compare.find_repeat(number, candidates[number], kept) if may_drop else None
        if repeat is None:
            kept.add(number)
        else:
            repeats[number] = repeat
            _join(parent, number, repeat.of)
    return Relations(repeats=repeats, families={n: _find_root(parent, n) for n in parent})


class _Comparison:
    """Compares documents word by word; keeps the last few at hand."""

    def __init__(self, drafts: Drafts, strip: Callable[[str], str]) -> None:
        self._drafts = drafts
        self._strip = strip
        self._open = lru_cache(maxsize=_TEXTS_AT_HAND)(self._read)

    def find_repeat(
        self, number: int, candidates: list[tuple[float, int]], kept: set[int]
    ) -> Repeat | None:
        least = LEAST_REPEATED - _SLACK
        near = [other for overlap, other in candidates if overlap >= least and other in kept]
        text, phrases, is_plain = self._open(number)
        for other in near[:_MOST_COMPARED] if is_plain else ():
            other_text, other_phrases, _ = self._open(other)
            overlap = measure_overlap(phrases, other_phrases)
            if overlap >= LEAST_REPEATED and (
                are_versions(self._drafts.name(number), self._drafts.name(other))
                or not are_siblings(text, other_text, overlap)
            ):
                return Repeat(of=other, overlap=overlap)
        return None

    def _read(self, number: int) -> tuple[str, Phrases, bool]:
        document = self._drafts.read(number)
        text = self._strip(document.text)
        return text, split_phrases(text), not document.conversations


def _join(parent: dict[int, int], one: int, other: int) -> None:
    """The lesser number stands for both."""
    roots = sorted((_find_root(parent, one), _find_root(parent, other)))
    parent[roots[1]] = roots[0]


def _find_root(parent: dict[int, int], number: int) -> int:
    while parent.setdefault(number, number) != number:
        parent[number] = parent.setdefault(parent[number], parent[number])
        number = parent[number]
    return number
