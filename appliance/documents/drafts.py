"""Documents as they were read, on disk until all have been seen.

Which documents repeat another, and what is boilerplate, shows only at the end. Until then the text
waits in a file; memory holds the place of each, and the entry that the folder listed.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator
from pathlib import Path, PurePath
from types import TracebackType

from appliance.documents.walk import Entry
from appliance.values import Document

_DAY = 86_400 * 10**9
_NUMBERS = re.compile(r"\d+")
_SET_ASIDE = re.compile(
    r"(?:^|[/ _.-])(?:archived?|old|backups?|copy|superseded|obsolete)(?:[/ _.)-]|$)", re.I
)

Rank = tuple[bool, int, tuple[int, ...], str]


class Drafts:
    """The file of drafts; numbers are given in order, from 0."""

    def __init__(self, path: Path) -> None:
        """Start an empty file."""
        self._path = path
        self._file = path.open("w+b")
        self._places = array("Q")
        self._entries: list[Entry] = []

    def __enter__(self) -> Drafts:
        """The file is gone after the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the file."""
        self._file.close()
        self._path.unlink(missing_ok=True)

    def __len__(self) -> int:
        """How many drafts there are."""
        return len(self._places)

    def add(self, document: Document, entry: Entry) -> None:
        """Put a draft at the end; its number is the next."""
        self._places.append(self._file.seek(0, 2))
        self._file.write(document.model_dump_json().encode() + b"\n")
        self._entries.append(entry)

    def name(self, number: int) -> str:
        """The name of a draft's file."""
        return self._entries[number].name

    def rank(self, number: int) -> Rank:
        """Which of several versions is kept: the least."""
        return rank_entry(self._entries[number])

    def read(self, number: int) -> Document:
        """A draft by its number."""
        self._file.seek(self._places[number])
        return Document.model_validate_json(self._file.readline())

    def read_all(self) -> Iterator[Document]:
        """All drafts in order."""
        for number in range(len(self)):
            yield self.read(number)


def rank_entry(entry: Entry) -> Rank:
    """Which of several versions is kept: the least.

    Not one that was set aside; the newest by day (copying a folder gives all files one day); one
    without a number in its name, then the one with the highest; by name at last.
    """
    numbers = tuple(-int(number[:18]) for number in _NUMBERS.findall(PurePath(entry.name).stem))
    return is_set_aside(entry), -(entry.modified // _DAY), numbers, entry.name


def is_set_aside(entry: Entry) -> bool:
    """Whether the name says archive or copy: of two equal files, the other one is kept."""
    return bool(_SET_ASIDE.search(entry.name))
