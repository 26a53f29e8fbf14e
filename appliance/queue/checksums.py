"""A checksum in every job's row: a value that a disk or a memory changed is not taken for an order.

SQLite's own check finds pages and rows that are out of order; it cannot know that a request asks
for another folder than it did. Every change of a row seals it again, in the same transaction.
"""

from __future__ import annotations

import sqlite3
import zlib
from pathlib import Path

from appliance.queue.faults import refuse_damaged

COLUMNS = (
    "id", "kind", "request", "run", "owner", "label", "priority", "submitted_at", "token",
    "attempts", "crashes", "interruptions", "progress", "events_from", "state", "since",
    "waits_for", "waits_until", "stop", "pause_reason", "by_person", "outcome", "report",
)  # fmt: skip
"""Of a job, in the order in which they are summed; all but the checksum itself."""

SEAL_JOB = f"UPDATE jobs SET checksum = row_checksum({', '.join(COLUMNS)}) WHERE id = :id"

_FIND_CHANGED = f"""
SELECT id FROM jobs
WHERE checksum IS NOT NULL AND checksum IS NOT row_checksum({", ".join(COLUMNS)}) LIMIT 1
"""


def offer_checksums(db: sqlite3.Connection) -> None:
    """Let statements of this connection call `row_checksum`."""
    db.create_function("row_checksum", -1, _sum, deterministic=True)


def require_unchanged(db: sqlite3.Connection, path: Path) -> None:
    """Refuse a queue in which a job is not as it was written.

    Raises:
        QueueError: a row does not fit its checksum, or cannot be read at all.
    """
    try:
        row = db.execute(_FIND_CHANGED).fetchone()
    except sqlite3.OperationalError as exc:  # "user-defined function raised": text that is none
        raise refuse_damaged(path, f"a job cannot be read ({exc})") from exc
    if row is not None:
        raise refuse_damaged(path, f"job {row['id']} is not as it was written")


def _sum(*values: str | int | float | None) -> int:
    """CRC-32 of the values; `repr` keeps types and borders apart."""
    return zlib.crc32(repr(values).encode())
