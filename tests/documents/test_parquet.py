"""Parquet files, written by pyarrow itself: what JSON lines would give, in bounded memory."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path, PurePath
from typing import Any

import pytest

from appliance.documents.converter import ConversionFailure, Converter
from appliance.documents.readers.choose import read_file
from appliance.documents.readers.extract import UnreadableFile
from appliance.documents.scrub import ScrubPolicy

from .conftest import ReadFolder, ask

RECORDS: dict[str, list[dict[str, Any]]] = {
    "messages": [
        {"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]}
    ],
    "pair": [{"prompt": "Q", "completion": "A"}],
    "alpaca": [{"instruction": "Translate", "input": "Hund", "output": "dog"}],
    "sharegpt": [
        {"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]}
    ],
    "text": [{"text": "The pump is checked weekly.", "title": "Pump"}],
    "fields": [{"part": "P-7", "price": 3.5, "tags": ["a", "b"]}],
}


LIBRARY = ("pyarrow", "pyarrow.parquet")
NEEDED = "parquet needs the extra: appliance[parquet]"


def write_parquet(rows: list[dict[str, Any]], **options: Any) -> bytes:
    pyarrow, parquet = (pytest.importorskip(name, reason=NEEDED) for name in LIBRARY)
    buffer = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows), buffer, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", RECORDS)
def test_rows_of_parquet_read_as_the_same_records_in_json_lines(kind: str):
    # oracle: the reader of JSON lines
    records = RECORDS[kind]
    lines = "\n".join(map(json.dumps, records)).encode()
    assert read_file(write_parquet(records), PurePath("a.parquet")) == read_file(
        lines, PurePath("a.jsonl")
    )


def test_parquet_is_read_in_a_converter_whatever_its_name(docs: Path, read_folder: ReadFolder):
    (docs / "table.dat").write_bytes(
        write_parquet([{"text": "Ask desk@example.org about the pump."}])
    )
    reading = read_folder(docs)
    assert reading.documents["table.dat"].text == "Ask <EMAIL_1> about the pump."


def test_columns_of_bytes_are_left_out_and_said():
    rows = [{"picture": b"\x89PNG", "caption": "A pump in hall three", "place": "north"}]
    extract = read_file(write_parquet(rows), PurePath("a.parquet"))
    assert extract.text == "- Caption: A pump in hall three; Place: north"
    assert extract.remark == "1 of its columns hold bytes: not read"


def test_damaged_parquet_gets_a_verdict():
    data = write_parquet(RECORDS["fields"])
    with pytest.raises(UnreadableFile) as refused:
        read_file(data[:-20] + bytes(20), PurePath("a.parquet"))
    assert "damaged" in refused.value.reason


@pytest.mark.parametrize("knows_dictionary", [True, False])
def test_value_that_all_rows_share_does_not_fill_the_memory(tmp_path: Path, knows_dictionary: bool):
    # oracle: 20,000 rows of 100 kB are 2 GB; the file has a few kilobytes, a converter 1 GiB
    pyarrow, parquet = (pytest.importorskip(name, reason=NEEDED) for name in LIBRARY)
    shared = pyarrow.DictionaryArray.from_arrays([0] * 20_000, ["pump " * 20_000])
    path = tmp_path / "bomb.parquet"
    parquet.write_table(pyarrow.table({"text": shared}), path, store_schema=knows_dictionary)
    assert path.stat().st_size < 2**20
    with Converter(lambda: False) as converter:
        made = ask(converter, path, max_bytes=2**26, seconds=60.0, policy=ScrubPolicy())
        assert isinstance(made, ConversionFailure)
    assert made.reason == "it unpacks to more than 128 MiB of rows"


def test_parquet_without_its_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UnreadableFile) as refused:
        read_file(b"PAR1" + bytes(20) + b"PAR1", PurePath("a.parquet"))
    assert "pip install 'appliance[parquet]'" in refused.value.fix
