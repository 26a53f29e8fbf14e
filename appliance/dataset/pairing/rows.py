"""Rows of tables and records: what does the table give in one column for a named row.

The first column names a row; it must do so for one row only. Which column is asked for is drawn by
the name of the row, so that it stays the same when other rows come.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from appliance.dataset.blocks import Block, is_record
from appliance.dataset.pairing.drafts import Draft, Page
from appliance.dataset.pairing.words import read_set

_RULE = re.compile(r"^\|(?: --- \|)+$")
_HEADER = re.compile(r"^[^\W\d_][^\W\d_ ()/%-]*(?: [^\W\d_()/%-]+){0,3}$")
_NOUNS = read_set(
    "action address amount area batch building capacity category code colour contact cost country "
    "currency date day days deadline department depth description director duration email "
    "extension fee form frequency function group height hours interval kind language leader "
    "length level "
    "limit location manager material meaning measure method minimum maximum months name number "
    "office offset order owner part percentage period person phase phone position power pressure "
    "price priority procedure product project property purpose quantity range rate reason region "
    "resource responsibility result role room salary schedule score section service size slope "
    "source stage standard status step supplier team temperature time timeline title tool topic "
    "type unit units usage value version volume warranty week weight width year years"
)
"""What the last word of a column may be where "what is the <column>" is asked."""
_PROPERTIES = read_set("property feature parameter specification characteristic attribute item")
_EMPTY = read_set("- – — none n/a na tbd tba ? x yes no vacant open unknown")
_MIN_ROWS = 3
_LONGEST_ABBREVIATION = 3
_MAX_NAME_WORDS = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    """The cells of a row by their columns, and where it stands."""

    cells: tuple[tuple[str, str], ...]
    start: int
    end: int

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(column for column, _ in self.cells)

    @property
    def name(self) -> str:
        return self.cells[0][1]


def find_rows(page: Page) -> Iterator[Draft]:
    """A draft for every row that its first cell names."""
    for section in page.sections:
        rows = [row for block in section.body for row in _read_rows(page, block)]
        names = Counter(row.name.casefold() for row in rows)
        sizes = Counter(row.columns[0] for row in rows)
        for row in rows:
            is_table = sizes[row.columns[0]] >= _MIN_ROWS and page.title
            if is_table and names[row.name.casefold()] == 1 and _names_a_row(row.name):
                yield from _ask(page.title, row)


def _read_rows(page: Page, block: Block) -> Iterator[_Row]:
    """The row of a block, if its columns are named; a record is a row too."""
    text = page.text[block.start : block.end].strip()
    cells: tuple[tuple[str, str], ...] = ()
    if block.kind == "text" and is_record(text) and "\n" not in text:
        fields = (field.partition(": ") for field in text.removeprefix("- ").split("; "))
        cells = tuple((name, value) for name, _, value in fields)
    elif block.kind == "row":
        lines = text.split("\n")
        is_ruled = len(lines) == 3 and bool(_RULE.match(lines[1]))
        header = _cut(lines[0] if is_ruled else block.header.split("\n", 1)[0])
        if all(map(_HEADER.match, filter(None, header))):
            cells = tuple(zip(header, _cut(lines[-1]), strict=False))
    if len(cells) > 1 and cells[0][1]:
        yield _Row(cells=cells, start=block.start, end=block.end)


def _cut(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split(" | ")]


def _names_a_row(name: str) -> bool:
    is_short = len(name.split()) <= _MAX_NAME_WORDS
    return is_short and any(map(str.isalpha, name)) and name.casefold() not in _EMPTY


def _ask(title: str, row: _Row) -> Iterator[Draft]:
    usable = [
        (column, value)
        for column, value in row.cells[1:]
        if column and value != row.name and value.casefold() not in _EMPTY
    ]
    if not usable:
        return
    column, value = usable[zlib.crc32(row.name.encode()) % len(usable)]
    asks_itself = row.name.endswith("?") and len(row.cells) == 2
    yield Draft(
        question=row.name if asks_itself else f"According to {title}, {_phrase(row, column)}?",
        answer=value,
        start=row.start,
        end=row.end,
    )


def _phrase(row: _Row, column: str) -> str:
    """What is asked, as far as columns are words that a question can be built with."""
    first = row.columns[0]
    if first.casefold() in _PROPERTIES and len(row.cells) == 2:
        return f"what is the {_lower(row.name)}"
    label = f"{_lower(first)} {row.name}" if _is_noun(first) and first != "Name" else row.name
    if _is_noun(column):
        return f"what is the {_lower(column)} for {label}"
    return f'what stands under "{column}" for {label}'


def _is_noun(column: str) -> bool:
    return bool(column) and column.casefold().split()[-1] in _NOUNS


def _lower(words: str) -> str:
    """Words inside a sentence; names and abbreviations stay as they are, capitals for show go."""
    first = words.split()[0]
    if words.isupper() and len(words) > _LONGEST_ABBREVIATION:
        return words.lower()
    return words[:1].lower() + words[1:] if first[1:] == first[1:].lower() else words
