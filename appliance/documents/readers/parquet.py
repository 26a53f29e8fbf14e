"""Parquet: rows as JSON lines hold them (chats, pairs, texts), read by pyarrow if it is installed.

Rows come in small batches and leave as text, so that memory holds the text of a file and one batch
of its rows, whatever the size of its row groups.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

from appliance.documents.readers.extract import Extract, UnreadableFile
from appliance.documents.readers.records import collect_records

_ROWS_AT_ONCE = 256
_MAX_DECODED_BYTES = 128 * 2**20
"""A value that a million rows share is written once: what is read is counted, not the file."""


def read_parquet(data: bytes, name: PurePath) -> Extract:
    """The rows of a parquet file; columns of bytes, such as pictures, are left out.

    Raises:
        UnreadableFile: pyarrow is not installed, or the file is damaged, encrypted or too large.
    """
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # others reserve a GiB at once
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as exc:
        raise UnreadableFile(
            "parquet files are read with pyarrow, which is not installed",
            "pip install 'appliance[parquet]', or export it as csv or as one JSON object a line",
        ) from exc
    try:
        with pyarrow.parquet.ParquetFile(pyarrow.BufferReader(data)) as file:
            columns, num_left_out = _choose_columns(file.schema_arrow)
            remark = f"{num_left_out:,} of its columns hold bytes: not read" if num_left_out else ""
            return collect_records(_read_rows(file, columns), remark)
    except MemoryError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError) as exc:
        raise UnreadableFile(
            "the parquet file is damaged, encrypted, or packed in a way that is not read",
            "write it again, or export it as csv or as one JSON object a line",
        ) from exc


READS = {".parquet": read_parquet}


def _choose_columns(schema: Any) -> tuple[list[str], int]:
    """Names of the columns that can be text, and how many others there are."""
    import pyarrow.types as types

    bytes_like = (types.is_binary, types.is_large_binary, types.is_fixed_size_binary)
    kept = [field.name for field in schema if not any(is_(field.type) for is_ in bytes_like)]
    return kept, len(schema) - len(kept)


def _read_rows(file: Any, columns: list[str]) -> Iterator[dict[str, Any]]:
    num_bytes = 0
    batches = file.iter_batches(batch_size=_ROWS_AT_ONCE, columns=columns, use_threads=False)
    for batch in batches:
        num_bytes += sum(map(_count_bytes, batch.columns))
        if num_bytes > _MAX_DECODED_BYTES:
            raise UnreadableFile(
                "it unpacks to more than 128 MiB of rows", "divide it into several files"
            )
        yield from batch.to_pylist()


def _count_bytes(column: Any) -> int:
    """What a column takes when every row has its value, shared or not."""
    plain = column.dictionary_decode() if hasattr(column, "dictionary") else column
    return int(plain.nbytes)
