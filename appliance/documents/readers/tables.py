"""CSV and TSV, and the rows of spreadsheets that `office.py` took out of a workbook."""

from __future__ import annotations

import csv
import io
import re
from pathlib import PurePath

from appliance.documents.readers.encoding import decode_text
from appliance.documents.readers.extract import Conversation, Extract, UnreadableFile
from appliance.documents.readers.records import (
    find_pair_columns,
    format_record,
    read_conversation,
)

_DELIMITERS = ",;\t|"
_MAX_COLUMNS = 256
_NUMBER = re.compile(r"[\s\d.,:%€$£/+-]+")
Rows = list[list[str]]


def read_csv(data: bytes, name: PurePath) -> Extract:
    """A table of text: conversations if it has question and answer columns, else lines.

    Raises:
        UnreadableFile: a row has more columns than a table for people would have.
    """
    text = decode_text(data).replace("\0", "")
    csv.field_size_limit(16 * 2**20)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=_guess_delimiter(text)))
    except csv.Error as exc:
        raise UnreadableFile(
            "the rows of the table cannot be told apart", "save it again as csv in utf-8"
        ) from exc
    return convert_rows(rows)


READS = {".csv": read_csv, ".tsv": read_csv}


def convert_rows(rows: Rows) -> Extract:
    """Rows of a table as conversations, or as one line of text a row.

    Raises:
        UnreadableFile: a row has more than 256 cells.
    """
    rows = [cells for row in rows if any(cells := [" ".join(cell.split()) for cell in row])]
    width = max((len(row) for row in rows), default=0)
    if width > _MAX_COLUMNS:
        raise UnreadableFile(
            f"a row of the table has {width:,} cells, at most {_MAX_COLUMNS} are read",
            "save one record a row, or check the separator",
        )
    intro, header, body = _split_header(rows)
    if not header:
        lines = [" ; ".join(cell for cell in row if cell) for row in body]
        return Extract(text="\n".join([*intro, "", *(f"- {line}" for line in lines)]).strip())
    records = [dict(zip(header, row, strict=False)) for row in body]
    if find_pair_columns(header):
        found = [(record, read_conversation(record)) for record in records]
        conversations: tuple[Conversation, ...] = tuple(c for _, c in found if c)
        records = [record for record, conversation in found if not conversation]
    else:
        conversations = ()
    lines = [line for record in records if (line := format_record(record))]
    text = "\n".join([*intro, "", *lines]).strip()
    return Extract(text=text, conversations=conversations)


def parse_markdown_table(lines: list[str]) -> Rows:
    """Cells of a markdown table, without its line of dashes."""
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines]
    return [row for row in rows if not all(re.fullmatch(r":?-+:?", cell) for cell in row)]


def _guess_delimiter(text: str) -> str:
    """The separator that splits most of the first lines into the same number of cells."""
    lines = [line for line in text[:20_000].splitlines()[:20] if line.strip()]

    def score(delimiter: str) -> tuple[int, int]:
        counts = [len(row) for row in csv.reader(lines, delimiter=delimiter)]
        usual = max(set(counts), key=counts.count, default=1)
        return (counts.count(usual) if usual > 1 else 0, usual)

    return max(_DELIMITERS, key=score)


def _split_header(rows: Rows) -> tuple[list[str], list[str], Rows]:
    """Lines above the header, the header (empty if there is none), the rows below it."""
    filled = [sum(1 for cell in row if cell) for row in rows]
    usual = max(filled, default=0)
    first = next((i for i, count in enumerate(filled[:8]) if count > max(1, usual // 2)), None)
    if first is None:
        return [], [], rows
    intro = [" ".join(cell for cell in row if cell) for row in rows[:first]]
    header = rows[first]
    names = [cell for cell in header if cell]
    is_header = (
        len(rows) > first + 1
        and len(set(names)) == len(names)
        and not any(_NUMBER.fullmatch(name) or len(name) > 80 for name in names)
    )
    if not is_header:
        return intro, [], rows[first:]
    width = max(len(row) for row in rows)
    header = [*header, *[""] * (width - len(header))]
    named = [name or f"Column {number}" for number, name in enumerate(header, start=1)]
    return intro, named, rows[first + 1 :]
