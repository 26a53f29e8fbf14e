"""JSON and JSON lines: chats, question-answer records, texts, or any other record as a line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from appliance.documents.readers.encoding import decode_text
from appliance.documents.readers.extract import Extract, UnreadableFile
from appliance.documents.readers.records import collect_records, read_conversation

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
    return collect_records(_find_records(tree))


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
    remark = f"{num_bad:,} lines are not JSON and were left out" if num_bad else ""
    return collect_records(records, remark)


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
