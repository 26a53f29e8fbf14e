"""Converted text of a folder, kept in the run: only changed files are read again.

It lies in the run folder, `converted.db`, readable by its owner alone, for it holds what the
documents say (masked, as the corpus does) and the key of the marks of private values. A text is
found by the hash of the bytes, the name, what is masked, and the code of readers and libraries.
At the end of a reading, texts of files that are gone are removed and overwritten.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
import zlib
from dataclasses import asdict
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any

from appliance.documents.converter import ConversionFailure
from appliance.documents.placeholders import KEY_BYTES
from appliance.documents.scrub import ScrubPolicy

FILE_NAME = "converted.db"

_LIBRARIES = ("xberg", "pypdfium2", "python-docx", "python-pptx", "openpyxl", "pyarrow")
"""They decide what a reading gives, and whether it gives anything."""

_SCHEMA = """
PRAGMA auto_vacuum = FULL;
PRAGMA secure_delete = ON;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS mark_key (value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS texts (
    key TEXT PRIMARY KEY, body BLOB NOT NULL, was_used INTEGER NOT NULL
) WITHOUT ROWID;
UPDATE texts SET was_used = 0;
"""


class TextCache:
    """Texts by key; thread-safe. A cache that breaks is given up, never in the way of the job."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        """Open or make it.

        Args:
            folder: the run's.
            max_bytes: of compressed text; 0 for no cache, and none is left from before.
        """
        self._lock = threading.Lock()
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self.num_found = 0
        self.mark_key = os.urandom(KEY_BYTES)
        path = folder / FILE_NAME
        self._database = _open(path) if max_bytes else None
        if self._database is None:
            _remove(path)
        else:
            self._read_state(self._database)

    def __enter__(self) -> TextCache:
        """It is closed with the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it; what is in it stays."""
        if self._database is not None:
            self._database.close()

    def make_key(self, sha256: str, name: str, position: int | None, policy: ScrubPolicy) -> str:
        """All that decides what a reading gives."""
        parts = [sha256, name, position, asdict(policy), hash_readers()]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def find(self, key: str) -> dict[str, Any] | ConversionFailure | None:
        """What a reading gave; None if that is not known."""
        with self._lock:
            if self._database is None:
                return None
            try:
                ask = "SELECT body FROM texts WHERE key = ?"
                row = self._database.execute(ask, (key,)).fetchone()
                self._database.execute("UPDATE texts SET was_used = 1 WHERE key = ?", (key,))
                body = json.loads(zlib.decompress(row[0])) if row else None
            except (sqlite3.Error, zlib.error, ValueError):
                self._give_up()
                return None
            self.num_found += body is not None
        if body is not None and "failure" in body:
            return ConversionFailure(**body["failure"])
        return body

    def keep(self, key: str, reply: dict[str, Any] | ConversionFailure) -> None:
        """Remember a reading, unless it failed for reasons that may pass, or there is no room."""
        if isinstance(reply, ConversionFailure):
            if not reply.is_final:
                return
            reply = {"failure": asdict(reply)}
        body = zlib.compress(json.dumps(reply).encode(), 1)
        with self._lock:
            if self._database is None or self._num_bytes + len(body) > self._max_bytes:
                return
            try:
                self._database.execute("INSERT OR REPLACE INTO texts VALUES (?, ?, 1)", (key, body))
            except sqlite3.Error:  # the disk is full: the job has other things to keep
                self._give_up()
            self._num_bytes += len(body)

    def forget_unused(self) -> None:
        """Remove what this reading did not need: texts of files that changed or are gone."""
        with self._lock:
            if self._database is None:
                return
            try:
                self._database.execute("DELETE FROM texts WHERE was_used = 0")
                self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            except sqlite3.Error:
                self._give_up()

    def _read_state(self, database: sqlite3.Connection) -> None:
        row = database.execute("SELECT value FROM mark_key").fetchone()
        if row is None:
            database.execute("INSERT INTO mark_key VALUES (?)", (self.mark_key,))
        else:
            self.mark_key = row[0]
        (self._num_bytes,) = database.execute(
            "SELECT COALESCE(SUM(LENGTH(body)), 0) FROM texts"
        ).fetchone()

    def _give_up(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None


@cache
def hash_readers() -> str:
    """A hash of the code that turns bytes into text, so that a new version reads anew."""
    digest = hashlib.sha256("".join(map(_find_version, _LIBRARIES)).encode())
    room = Path(__file__).parent
    for path in sorted(room.rglob("*.py")):
        digest.update(f"{path.relative_to(room)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def _find_version(library: str) -> str:
    try:
        return f"{library} {version(library)}\n"
    except PackageNotFoundError:
        return ""


def _open(path: Path) -> sqlite3.Connection | None:
    """The database, empty if what was there is none; None if the disk will not have it."""
    for _ in range(2):
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
            database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error):
            return None
        try:
            database.executescript(_SCHEMA)
            return database
        except sqlite3.Error:
            database.close()
            _remove(path)
    return None


def _remove(path: Path) -> None:
    for ending in ("", "-wal", "-shm"):
        path.with_name(path.name + ending).unlink(missing_ok=True)
