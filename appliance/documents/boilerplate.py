"""Boilerplate: headers, footers, navigation and disclaimers that many files repeat.

Looked for at the edges of documents only, and taken from all files but the first. What means
something where it stands is never taken: headings, table rows, code, an answer below its question,
a list in part, a section as a whole.
"""

from __future__ import annotations

import hashlib
import re
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

MIN_FILES = 10
"""A piece at the edge of so many files is boilerplate; in small folders, of half of them."""

_MIN_FILES_SMALL = 4
_EDGE_PIECES, _EDGE_LINES = 20, 200
_MAX_CHARACTERS = 1_500
_ITEM = re.compile(r"\s*(?:-|\d{1,3}[.)]|[a-zA-Z][.)]) ")
_PROTECTED = re.compile(r"\||```|~~~|(?:Q|A|Question|Answer|Frage|Antwort)\s?\d*[:.)]", re.I)
_PAGE = re.compile(
    r"(?:page|seite|p(?:á|a)gina?|sida|side|strona|copyright|©|\(c\)|printed|stand|rev(?:ision)?)\b"
    r"[^\n]{0,60}|\d{1,4}\s?(?:/|of|von|de|av)\s?\d{1,4}\Z",
    re.I,
)
_DIGITS = re.compile(r"\d+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """A line of text or a whole list, by the lines it takes; judged only where it matters.

    Attributes:
        text: its lines; empty for the wall in a long document.
        start: first line.
        end: line after the last.
    """

    text: str
    start: int
    end: int

    @property
    def kind(self) -> str:
        """Heading; protected (row, code, question, answer); or text, which alone may go."""
        return _name_kind(self.text) if self.text else "protected"

    @property
    def identity(self) -> int:
        """Hash of its words."""
        return _identify(self.text)

    @property
    def asks(self) -> bool:
        """Whether it ends with a question or announces what follows."""
        return _asks(self.text)


class EdgeCounter:
    """Counts pieces at the edges of documents: eight bytes each, forty a document at most."""

    def __init__(self) -> None:
        """Nothing is counted yet."""
        self._identities = array("Q")
        self._num_documents = 0

    def add(self, text: str) -> None:
        """Count the pieces of a document, each once."""
        pieces = list(_list_pieces(text.split("\n")))
        edges = pieces[:_EDGE_PIECES] + pieces[_EDGE_PIECES:][-_EDGE_PIECES:]
        self._identities.extend({piece.identity for piece in edges if piece.kind == "text"})
        self._num_documents += 1

    def find_common(self) -> dict[int, int]:
        """Pieces that are boilerplate, and in how many documents each stands at an edge."""
        half = max(_MIN_FILES_SMALL, -(-self._num_documents // 2))
        least = min(MIN_FILES, half)
        found = np.frombuffer(self._identities, dtype=np.uint64)
        if len(found) < least:
            return {}
        found.sort()  # where it lies: with a large folder a copy would weigh as much again
        last = len(found) - least + 1
        common = np.unique(found[:last][found[:last] == found[least - 1 :]])
        counts = np.searchsorted(found, common, "right") - np.searchsorted(found, common)
        return dict(zip(common.tolist(), counts.tolist(), strict=True))


def strip_edges(
    text: str, common: dict[int, int], should_keep: Callable[[int], bool] = lambda _: False
) -> tuple[str, list[tuple[int, str]]]:
    """Take boilerplate from the top and the bottom of a document.

    Args:
        text: of the document.
        common: what is boilerplate.
        should_keep: whether a piece stays nevertheless (where it stands first).

    Returns:
        The text, and the identity and text of every piece that was taken.
    """
    if not common:
        return text, []
    lines = text.split("\n")
    pieces = list(_list_pieces(lines))
    runs = [*_peel_top(pieces, common), *_peel_bottom(pieces, common)]
    taken = {piece.start: piece for piece in runs if not should_keep(piece.identity)}
    if not taken:
        return text, []
    gone = {line for piece in taken.values() for line in range(piece.start, piece.end)}
    left = "\n".join(line for number, line in enumerate(lines) if number not in gone)
    texts = [
        (piece.identity, "\n".join(lines[piece.start : piece.end]))
        for _, piece in sorted(taken.items())
    ]
    return re.sub(r"\n{3,}", "\n\n", left).strip("\n"), texts


def _peel_top(pieces: list[Piece], common: dict[int, int]) -> list[Piece]:
    """Boilerplate above the first heading, and right below it if more follows in its section."""
    above, rest = _take_run(pieces, common)
    if not rest or rest[0].kind != "heading":
        return above if rest else []
    below, rest = _take_run(rest[1:], common)
    is_whole = not rest or rest[0].kind == "heading"
    return above if is_whole else above + below


def _peel_bottom(pieces: list[Piece], common: dict[int, int]) -> list[Piece]:
    """Boilerplate at the end of the last section, if more stands above it in there."""
    run, rest = _take_run(pieces[::-1], common)
    if run and rest and rest[0].asks:
        del run[-1]  # the answer to what stands above it
        return run
    return run if rest and rest[0].kind != "heading" else []


def _take_run(pieces: list[Piece], common: dict[int, int]) -> tuple[list[Piece], list[Piece]]:
    """The boilerplate that a list of pieces starts with, and the rest."""
    number = 0
    while number < min(len(pieces), _EDGE_PIECES):
        piece = pieces[number]
        if piece.kind != "text" or piece.identity not in common:
            break
        number += 1
    return pieces[:number], pieces[number:]


def _list_pieces(lines: list[str]) -> Iterator[Piece]:
    """Pieces of a document; of a long one, of its first and last lines with a wall between."""
    if len(lines) <= 2 * _EDGE_LINES:
        yield from _cut_pieces(lines, 0, len(lines))
        return
    last = len(lines) - _EDGE_LINES
    yield from _cut_pieces(lines, 0, _EDGE_LINES)
    yield Piece(text="", start=_EDGE_LINES, end=last)
    yield from _cut_pieces(lines, last, len(lines))


def _cut_pieces(lines: list[str], start: int, last: int) -> Iterator[Piece]:
    while start < last:
        end = start + 1
        if lines[start].strip():
            if _ITEM.match(lines[start]):
                while end < last and _ITEM.match(lines[end]):
                    end += 1
            yield Piece(text="\n".join(lines[start:end]), start=start, end=end)
        start = end


def _name_kind(text: str) -> str:
    if text.startswith("#"):
        return "heading"
    is_protected = _PROTECTED.match(text) or len(text) > _MAX_CHARACTERS or _asks(text)
    return "protected" if is_protected else "text"


def _asks(text: str) -> bool:
    return text.rstrip().endswith(("?", ":"))


def _identify(text: str) -> int:
    words = " ".join(text.casefold().split())
    if _PAGE.match(words):
        words = _DIGITS.sub("0", words)  # page 3 of 7 is page 4 of 7
    return int.from_bytes(hashlib.blake2b(words.encode(), digest_size=8).digest())
