"""What can only be decided when every file has been read: boilerplate, near duplicates, families.

Drafts and first verdicts come from `read.py`; here they become documents.jsonl and ledger.jsonl.
The texts are read three times from disk (to sign, to compare the few that look alike, to write);
memory holds about a kilobyte a document, whatever their size.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from appliance.documents.boilerplate import EdgeCounter, strip_edges
from appliance.documents.drafts import Drafts
from appliance.documents.families import Relations, Repeat, SignatureBook, relate
from appliance.recipe import DocumentsRecipe
from appliance.values import Document, FileVerdict

MIN_CHARACTERS = 20
"""Fewer are no document."""

CheckStop = Callable[[], None]
"""Raises if the person wants to stop."""


@dataclass(kw_only=True, slots=True)
class Settled:
    """What was written.

    Attributes:
        num_documents: documents that are used.
        num_characters: their characters, conversations included.
        num_near_duplicates: documents left out because they nearly repeat another.
        num_emptied: documents left out because nothing but boilerplate was in them.
        num_boilerplate_lines: lines taken out of documents.
    """

    num_documents: int = 0
    num_characters: int = 0
    num_near_duplicates: int = 0
    num_emptied: int = 0
    num_boilerplate_lines: int = 0


@dataclass(kw_only=True, slots=True)
class _Boilerplate:
    """What is taken from the edges, and which of it has been seen where."""

    common: dict[int, int]
    kept_in: dict[int, str] = field(default_factory=dict)
    num_taken: Counter[int] = field(default_factory=Counter)
    texts: dict[int, str] = field(default_factory=dict)

    def strip(self, text: str) -> str:
        """A text without any boilerplate, to compare it."""
        return strip_edges(text, self.common)[0]

    def strip_repeated(self, text: str, name: str) -> tuple[str, int]:
        """A text without boilerplate that an earlier file keeps; the number of lines taken."""
        for identity, _ in strip_edges(text, self.common)[1]:
            self.kept_in.setdefault(identity, name)
        left, taken = strip_edges(text, self.common, lambda piece: self.kept_in.get(piece) == name)
        self.num_taken.update(identity for identity, _ in taken)
        self.texts |= dict(taken)
        return left, sum(piece.count("\n") + 1 for _, piece in taken)


def settle(
    drafts: Drafts,
    verdicts: Path,
    recipe: DocumentsRecipe,
    folder: Path,
    check_stop: CheckStop,
) -> Settled:
    """Write documents.jsonl, ledger.jsonl and boilerplate.jsonl.

    Args:
        drafts: all documents that were read, exact duplicates left out.
        verdicts: JSON lines of FileVerdict, one for every file, in the order of the drafts.
        recipe: whether boilerplate and near duplicates are dropped.
        folder: where the files are written.
        check_stop: asked before every document.
    """
    boilerplate = _find_boilerplate(drafts, recipe, check_stop)
    relations = _find_relations(drafts, boilerplate, recipe, check_stop)
    settled = Settled()
    with (
        verdicts.open(encoding="utf-8") as first,
        (folder / "documents.jsonl").open("w", encoding="utf-8") as documents,
        (folder / "ledger.jsonl").open("w", encoding="utf-8") as ledger,
    ):
        writer = _Writer(drafts, boilerplate, relations, settled, documents)
        numbers = iter(range(len(drafts)))
        for line in first:
            check_stop()
            verdict = FileVerdict.model_validate_json(line)
            if verdict.verdict == "used":
                verdict = writer.write(next(numbers), verdict)
            ledger.write(verdict.model_dump_json() + "\n")
    _list_boilerplate(boilerplate, folder / "boilerplate.jsonl")
    return settled


def _find_boilerplate(
    drafts: Drafts, recipe: DocumentsRecipe, check_stop: CheckStop
) -> _Boilerplate:
    counter = EdgeCounter()
    if recipe.boilerplate == "drop":
        for document in _read_each(drafts, check_stop):
            counter.add(document.text)
    return _Boilerplate(common=counter.find_common())


def _find_relations(
    drafts: Drafts, boilerplate: _Boilerplate, recipe: DocumentsRecipe, check_stop: CheckStop
) -> Relations:
    book = SignatureBook()
    for document in _read_each(drafts, check_stop):
        book.add(document.number, boilerplate.strip(document.text))
    may_drop = recipe.near_duplicates == "drop"
    return relate(book.find_candidates(), drafts, boilerplate.strip, may_drop=may_drop)


def _read_each(drafts: Drafts, check_stop: CheckStop) -> Iterator[Document]:
    for document in drafts.read_all():
        check_stop()
        yield document


class _Writer:
    """Writes the documents that stay, numbered anew."""

    def __init__(
        self,
        drafts: Drafts,
        boilerplate: _Boilerplate,
        relations: Relations,
        settled: Settled,
        documents: TextIO,
    ) -> None:
        self._drafts = drafts
        self._boilerplate = boilerplate
        self._relations = relations
        self._settled = settled
        self._documents = documents
        self._first_of_family: dict[int, int] = {}

    def write(self, number: int, verdict: FileVerdict) -> FileVerdict:
        """Write a draft if it stays; the verdict on its file."""
        repeat = self._relations.repeats.get(number)
        if repeat is not None:
            self._settled.num_near_duplicates += 1
            return _judge_repeat(verdict, repeat, self._drafts.name(repeat.of))
        draft = self._drafts.read(number)
        text, num_lines = self._boilerplate.strip_repeated(draft.text, draft.source)
        self._settled.num_boilerplate_lines += num_lines
        changes = {"text": text, "number": self._settled.num_documents}
        document = draft.model_copy(update=changes)
        num_characters = document.num_characters
        if num_characters < MIN_CHARACTERS:
            self._settled.num_emptied += 1
            return _judge_empty(verdict, num_lines)
        document = document.model_copy(update={"family": self._name_family(number)})
        self._documents.write(document.model_dump_json() + "\n")
        self._settled.num_documents += 1
        self._settled.num_characters += num_characters
        return verdict.model_copy(
            update={"num_characters": num_characters, "num_boilerplate_lines": num_lines}
        )

    def _name_family(self, number: int) -> int | None:
        """The new number of the first relative that stays; none for a document without any."""
        family = self._relations.families.get(number)
        if family is None:
            return None
        return self._first_of_family.setdefault(family, self._settled.num_documents)


def _judge_repeat(verdict: FileVerdict, repeat: Repeat, kept: str) -> FileVerdict:
    return verdict.model_copy(
        update={
            "verdict": "duplicate",
            "reason": f"{repeat.overlap:.0%} of its phrases stand in {kept}, which is kept",
            "fix": "remove the outdated one, or --set documents.near_duplicates=keep",
            "duplicate_of": kept,
            "num_characters": 0,
        }
    )


def _judge_empty(verdict: FileVerdict, num_lines: int) -> FileVerdict:
    return verdict.model_copy(
        update={
            "verdict": "skipped",
            "reason": "it holds nothing but lines that many other files repeat",
            "fix": "nothing, or --set documents.boilerplate=keep",
            "num_characters": 0,
            "num_boilerplate_lines": num_lines,
        }
    )


def _list_boilerplate(boilerplate: _Boilerplate, path: Path) -> None:
    """What was taken, from how many files, and which file keeps it."""
    rows = [
        {"text": text, "num_files": boilerplate.num_taken[identity],
         "kept_in": boilerplate.kept_in[identity]}
        for identity, text in boilerplate.texts.items()
    ]  # fmt: skip
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(lines, encoding="utf-8")
