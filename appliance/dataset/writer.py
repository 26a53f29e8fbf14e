"""The files of a dataset, each growing at its end; what was committed is never lost.

Beside the splits lie the origins of their examples, the ledger, candidates for held-out questions,
and the sources of the test split. A killed job goes on behind the last commit.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from appliance.dataset.origins import ORIGINS
from appliance.dataset.questions import Candidate
from appliance.dataset.split import SPLITS, SplitName
from appliance.dataset.tokens import ANSWER, Example, Marks, SplitWriter, open_at
from appliance.files import write_text
from appliance.values import ExampleKind, TokenVerdict

LEDGER = "ledger.jsonl"
_CURSOR = "cursor.json"
_CANDIDATES = "candidates.jsonl"
_SOURCES = "sources.jsonl"


@dataclass(kw_only=True, slots=True)
class Tally:
    """Counts of one split.

    Attributes:
        num_units: documents and records.
        num_asked: examples that answer.
        longest: tokens of an example.
        kinds: examples by what they are.
    """

    num_units: int = 0
    num_asked: int = 0
    longest: int = 0
    kinds: dict[ExampleKind, int] = field(default_factory=dict)


@dataclass(kw_only=True, slots=True)
class Cursor:
    """How far a dataset has been written, for certain.

    Attributes:
        corpus_bytes: of the file of documents.
        num_units: of the corpus, up to there.
        num_dropped: tokens in no example.
        num_repeated: tokens in a passage and in an answer.
        file_bytes: of every file that grows, by name.
        marks: of every split.
        tallies: of every split.
    """

    corpus_bytes: int = 0
    num_units: int = 0
    num_dropped: int = 0
    num_repeated: int = 0
    file_bytes: dict[str, int] = field(default_factory=dict)
    marks: dict[SplitName, Marks] = field(default_factory=lambda: {n: Marks() for n in SPLITS})
    tallies: dict[SplitName, Tally] = field(default_factory=lambda: {n: Tally() for n in SPLITS})


class DatasetWriter:
    """A dataset that grows, in bounded memory."""

    def __init__(self, folder: Path, vocab_size: int) -> None:
        """Go on behind the last commit in a folder, or begin.

        Args:
            folder: of the dataset.
            vocab_size: tokens in the vocabulary of the base.
        """
        self.cursor = _read_cursor(folder / _CURSOR)
        self._folder = folder
        self._stack = ExitStack()
        self.splits: dict[SplitName, SplitWriter] = {
            name: self._stack.enter_context(
                SplitWriter(folder / name, vocab_size, self.cursor.marks[name])
            )
            for name in SPLITS
        }
        names = (LEDGER, _CANDIDATES, _SOURCES, *(f"{name}/{ORIGINS}" for name in SPLITS))
        self._files: dict[str, BinaryIO] = {
            name: self._stack.enter_context(
                open_at(folder / name, self.cursor.file_bytes.get(name, 0))
            )
            for name in names
        }

    def __enter__(self) -> DatasetWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def append(self, name: SplitName, examples: Iterable[Example]) -> None:
        """Add examples to a split, each with its origin."""
        tally, origins = self.cursor.tallies[name], self._files[f"{name}/{ORIGINS}"]
        for example in examples:
            assert example.origin is not None
            self.splits[name].append(example)
            origins.write(example.origin.model_dump_json().encode() + b"\n")
            kind = example.origin.kind
            tally.kinds[kind] = tally.kinds.get(kind, 0) + 1
            tally.num_asked += example.kind == ANSWER
            tally.longest = max(tally.longest, len(example.token_ids))

    def ask(self, candidates: Iterable[Candidate]) -> None:
        """Keep questions that may be held out."""
        for candidate in candidates:
            self._files[_CANDIDATES].write(json.dumps(asdict(candidate)).encode() + b"\n")

    def name_source(self, number: int, source: str) -> None:
        """Keep which file a document of the test split came from."""
        self._files[_SOURCES].write(json.dumps([number, source]).encode() + b"\n")

    def settle(self, verdicts: Iterable[TokenVerdict]) -> None:
        """Add lines to the ledger."""
        for verdict in verdicts:
            self._files[LEDGER].write(verdict.model_dump_json().encode() + b"\n")
            self.cursor.num_dropped += verdict.num_dropped
            self.cursor.num_repeated += verdict.num_repeated

    def commit(self, corpus_bytes: int, num_units: int) -> None:
        """Put what was added on the disk, and remember how far it reaches.

        Args:
            corpus_bytes: of the file of documents.
            num_units: of the corpus, up to there.
        """
        cursor = self.cursor
        cursor.corpus_bytes, cursor.num_units = corpus_bytes, cursor.num_units + num_units
        cursor.marks = {name: writer.commit() for name, writer in self.splits.items()}
        for name, file in self._files.items():
            file.flush()
            os.fsync(file.fileno())
            cursor.file_bytes[name] = file.tell()
        write_text(self._folder / _CURSOR, json.dumps(asdict(cursor)))

    def finish(self) -> tuple[list[Candidate], dict[int, str]]:
        """Close all files, and remove what only a writer that goes on would need.

        Returns:
            Candidates for held-out questions; the file of every document of the test split.
        """
        for writer in self.splits.values():
            writer.finish()
            writer.drop_rows()
        self._stack.close()
        candidates = [Candidate(**row) for row in self._read(_CANDIDATES)]
        sources = dict(self._read(_SOURCES))
        for name in (_CURSOR, _CANDIDATES, _SOURCES):
            (self._folder / name).unlink(missing_ok=True)
        return candidates, sources

    def _read(self, name: str) -> list[Any]:
        with (self._folder / name).open("rb") as lines:
            return [json.loads(line) for line in lines]


def _read_cursor(path: Path) -> Cursor:
    if not path.exists():
        return Cursor()
    body = json.loads(path.read_text(encoding="utf-8"))
    body["marks"] = {name: Marks(**row) for name, row in body["marks"].items()}
    body["tallies"] = {name: Tally(**row) for name, row in body["tallies"].items()}
    return Cursor(**body)
