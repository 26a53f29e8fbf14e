"""Full-text search over the passages of a corpus: one SQLite file, no model, no service.

It is what fine-tuning is compared with, and, where a person wants it, what a bundle carries.
The file holds the text of the documents: it is as private as they are.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.errors import BundleError
from appliance.files import replace_file

if TYPE_CHECKING:
    from appliance.search.cut import Piece

_FORMAT = 1
_MAX_WORDS = 64
"""Words of a question that are looked for; a long one says the same things again."""
_SCHEMA = """
CREATE VIRTUAL TABLE passages USING fts5(
    title, heading, text, source UNINDEXED, tokenize = "porter unicode61 remove_diacritics 2"
);
"""
_FIND = """
SELECT rowid, source, title, heading, text, bm25(passages, 2.0, 2.0, 1.0) AS rank
FROM passages WHERE passages MATCH ? ORDER BY rank, rowid LIMIT ?
"""
"""Words of titles and headings count twice: they say what a passage is about."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A passage that a question found.

    Attributes:
        number: of the passage in its index, from 1.
        source: path of its file, relative to the documents folder.
        title: of the document.
        heading: headings that it stands below.
        text: its own text.
        score: how well it fits; higher is better, comparable within one question only.
    """

    number: int
    source: str
    title: str
    heading: str
    text: str
    score: float


def build_index(path: Path, pieces: Iterable[Piece]) -> int:
    """Write an index, whole or not at all.

    Args:
        path: of the file; one that is there is replaced.
        pieces: read once, in bounded memory.

    Returns:
        Passages in it.
    """
    with (
        replace_file(path) as temporary,
        closing(sqlite3.connect(temporary)) as database,
        database,
    ):
        database.execute("PRAGMA journal_mode = OFF")  # the file is new or not there
        database.execute(f"PRAGMA user_version = {_FORMAT}")
        database.executescript(_SCHEMA)
        database.executemany(
            "INSERT INTO passages (title, heading, text, source) VALUES (?, ?, ?, ?)",
            ((piece.title, piece.heading, piece.text, piece.source) for piece in pieces),
        )
        database.execute("INSERT INTO passages (passages) VALUES ('optimize')")
        ((number,),) = database.execute("SELECT count(*) FROM passages")
    return int(number)


class Index:
    """An index that answers; it is opened for reading only.

    Not shared between threads: SQLite's connection is not.
    """

    def __init__(self, path: Path) -> None:
        """Open an index.

        Raises:
            BundleError: the file is missing, damaged, or of another version of this program.
        """
        try:
            self._database = sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True)
            ((version,),) = self._database.execute("PRAGMA user_version")
            if version == _FORMAT:
                self._database.execute("SELECT count(*) FROM passages").fetchone()
        except sqlite3.DatabaseError as exc:
            raise BundleError(
                f"the search index {path.name} cannot be read",
                why="it is missing or damaged",
                fix="build the bundle again, or take the copy that `appliance verify` accepts",
            ) from exc
        if version != _FORMAT:
            raise BundleError(
                f"the search index {path.name} cannot be read",
                why=f"its format is {version}, this program reads {_FORMAT}",
                fix="use the version of the program that made the bundle",
            )

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def find(self, question: str, number: int) -> list[Found]:
        """The passages that fit a question best, best first; none where no word occurs.

        Args:
            question: any text; nothing in it is a command to the database.
            number: of passages at most.
        """
        words = dict.fromkeys(re.findall(r"\w+", question.casefold()))
        if not words:
            return []
        wanted = " OR ".join(f'"{word}"' for word in list(words)[:_MAX_WORDS])
        return [
            Found(number=row, source=source, title=title, heading=heading, text=text, score=-rank)
            for row, source, title, heading, text, rank in self._database.execute(
                _FIND, (wanted, number)
            )
        ]
