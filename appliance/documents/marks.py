"""The marks of masked values that a run remembers: keyed hashes, and their key; never a value.

They lie in the cache of converted texts (`cache.py`). Where a recipe keeps no cache, there are none
and masked values cannot be recognised again.
"""

from __future__ import annotations

import json
import os
import sqlite3
import zlib
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from appliance.documents.cache import FILE_NAME
from appliance.documents.placeholders import KEY_BYTES, find_marks


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownMarks:
    """Marks of masked values, and the key to recognise a value by."""

    key: bytes
    values: frozenset[str]


def read_marks(run: Path) -> KnownMarks:
    """Marks of all values that were masked in the documents of a run.

    Args:
        run: its folder.

    Returns:
        The marks; none, under a key of their own, where the run keeps no converted text.
    """
    nothing = KnownMarks(key=os.urandom(KEY_BYTES), values=frozenset())
    path = run / FILE_NAME
    if not path.exists():
        return nothing
    values: set[str] = set()
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            (key,) = database.execute("SELECT value FROM mark_key").fetchone()
            for (body,) in database.execute("SELECT body FROM texts"):
                text = json.dumps(json.loads(zlib.decompress(body)), ensure_ascii=False)
                values |= find_marks(text)
    except (sqlite3.Error, zlib.error, TypeError, ValueError):  # a damaged cache is no cache
        return nothing
    return KnownMarks(key=key, values=frozenset(values))
