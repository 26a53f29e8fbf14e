"""Siblings: documents of one mould, such as the contracts of two customers.

By their phrases they look like two versions of a document. They are not: to drop one is to lose
what only it says. What they differ in tells them apart: siblings in their heading, or in numbers,
codes and names, each its own; versions in ordinary words as well, or one only says more.
"""

from __future__ import annotations

import re
from pathlib import PurePath

_LEAST_SHARE = 0.6
_SAME_SUBJECT = 0.9
"""Overlap above which another heading does not make another document."""

_WORD = re.compile(r"[^\W_]+")
_VERSION = re.compile(
    r"[\W_]*(?:v(?:er(?:sion)?)?[\W_]*\d[\d.]*|rev[\W_]*\w{1,3}|(?:19|20)\d\d(?:[-_.]?\d\d){0,2}|\(\d+\)|\d+"
    r"|copy(?: of)?|final|draft|old|new|neu|alt|entwurf|latest|backup)(?![a-z])",
    re.I,
)


def are_siblings(one: str, other: str, overlap: float) -> bool:
    """Whether two texts that share most phrases are two documents rather than two versions of one.

    Args:
        one: a text.
        other: another.
        overlap: share of their phrases that both have.
    """
    if overlap < _SAME_SUBJECT and _read_heading(one) != _read_heading(other):
        return True
    words, others = set(_WORD.findall(one)), set(_WORD.findall(other))
    only_one, only_other = words - others, others - words
    if not only_one or not only_other:
        return False
    differing = only_one | only_other
    return sum(map(_is_fact, differing)) >= _LEAST_SHARE * len(differing)


def are_versions(one: str, other: str) -> bool:
    """Whether two file names are the same but for a version, a date or a word such as `copy`."""
    return _name_stem(one) == _name_stem(other) != ""


def _read_heading(text: str) -> list[str]:
    """The words of the heading that a document starts with."""
    line = text.split("\n", 1)[0]
    return _WORD.findall(line.casefold()) if line.startswith("#") else []


def _is_fact(word: str) -> bool:
    """Whether a word is a number, a code or a name."""
    return not word.islower() or len(word) == 1 or any(map(str.isdigit, word))


def _name_stem(name: str) -> str:
    return re.sub(r"[\W_]+", " ", _VERSION.sub(" ", PurePath(name).stem)).strip().casefold()
