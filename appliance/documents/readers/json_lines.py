"""JSON and JSON lines: chats, question-answer records, texts, or any other record as a line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from appliance.documents.readers.encoding import decode_text
from appliance.documents.readers.extract import Conversation, Extract, UnreadableFile
from appliance.documents.readers.records import format_record, read_conversation

_TEXTS = ("text", "content", "body")
_BESIDE_TEXT = frozenset(("id", "title", "source", "url", "meta", "metadata", "date", "lang"))
_MAX_DIGITS = 4_000
_LISTS = ("data", "records", "items", "examples", "conversations", "tickets", "rows")


def read_json(data: bytes, name: PurePath) -> Extract:
    """A JSON file: one record, a list of records, or an object that holds such a list.

    Raises:
        UnreadableFile: it is neither JSON nor JSON lines.
    """
    text = decode_text(data)
    try:
        tree = json.loads(text, parse_int=_read_integer)
    except RecursionError as exc:
        raise UnreadableFile("its brackets are nested too deep", "flatten it") from exc
    except ValueError:
        return read_json_lines(data, name)
    return _collect(_find_records(tree), num_bad=0)


def read_json_lines(data: bytes, name: PurePath) -> Extract:
    """A file with one JSON record a line; broken lines are counted and left out.

    Raises:
        UnreadableFile: most lines are not JSON.
    """
    records, num_bad = [], 0
    for line in decode_text(data).split("\n"):  # not splitlines: U+2028 may stand in a string
        if not line.strip():
            continue
        try:
            records.append(json.loads(line, parse_int=_read_integer))
        except (ValueError, RecursionError):
            num_bad += 1
    if num_bad > len(records):
        raise UnreadableFile(
            f"{num_bad:,} of its {num_bad + len(records):,} lines are not JSON",
            "write one JSON object a line",
        )
    return _collect(records, num_bad)


READS = {".json": read_json, ".jsonl": read_json_lines, ".ndjson": read_json_lines}


def _read_integer(digits: str) -> int | str:
    """A number; as it is spelled if it has more digits than Python would convert."""
    return int(digits) if len(digits) < _MAX_DIGITS else digits


def _find_records(tree: Any) -> list[Any]:
    if isinstance(tree, list):
        return tree
    if isinstance(tree, Mapping):
        for key in _LISTS:
            if isinstance(tree.get(key), list) and all(isinstance(x, dict) for x in tree[key]):
                if key == "conversations" and read_conversation(tree):
                    break
                return list(tree[key])
    return [tree]


def _collect(records: list[Any], num_bad: int) -> Extract:
    conversations: list[Conversation] = []
    pieces: list[str] = []
    for record in records:
        if not isinstance(record, Mapping):
            pieces.append(f"- {record}" if isinstance(record, str | int | float) else "")
            continue
        conversation = read_conversation(record)
        if conversation:
            conversations.append(conversation)
        else:
            pieces.append(_format(record))
    remark = f"{num_bad:,} lines are not JSON and were left out" if num_bad else ""
    text = "\n".join(piece for piece in pieces if piece)
    return Extract(text=text, conversations=tuple(conversations), remark=remark)


def _format(record: Mapping[str, Any]) -> str:
    for key in _TEXTS:
        text = record.get(key)
        is_document = len(record) == 1 or record.keys() <= {key, *_BESIDE_TEXT}
        if isinstance(text, str) and (is_document or len(text) > 200):  # else it is a field
            title = record.get("title")
            return (
                f"\n## {title}\n\n{text}\n" if isinstance(title, str) and title else f"\n{text}\n"
            )
    return format_record(record)
