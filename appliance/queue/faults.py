"""Troubles of the database, told as a person can use them: what, why, and the way on."""

from __future__ import annotations

import errno
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from appliance.errors import ApplianceError, DiskFullError, QueueError
from appliance.units import MIB, format_bytes

_ROOM_BYTES = MIB
"""With less than this free, SQLite's plain "disk I/O error" means that the disk is full."""


@contextmanager
def explain_faults(path: Path) -> Iterator[None]:
    """Turn what SQLite raises about the database at `path` into our errors.

    Raises:
        DiskFullError: no room to write.
        QueueError: damaged, locked, read-only, not to be opened, or failing otherwise.
    """
    try:
        yield
    except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
        raise  # a bug of our own
    except UnicodeDecodeError as exc:  # SQLite keeps text as it is given; a flipped bit is no text
        raise refuse_damaged(path, "a text in it is none") from exc
    except (sqlite3.DatabaseError, OSError) as exc:
        raise _explain(path, exc) from exc


def refuse_damaged(path: Path, why: str) -> QueueError:
    """The database is not what SQLite wrote."""
    return _refuse(path, sqlite3.SQLITE_CORRUPT, why)


def _explain(path: Path, exc: Exception) -> ApplianceError:
    code = _find_code(exc)
    free_bytes = _find_free_bytes(path)
    if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and free_bytes < _ROOM_BYTES):
        return DiskFullError(
            "the disk is full",
            why=f"the queue cannot be written ({path}): {format_bytes(free_bytes)} are free",
            fix="free some space and give the same command again; nothing acknowledged is lost",
        )
    return _refuse(path, code, str(exc))


def _refuse(path: Path, code: int, why: str) -> QueueError:
    what, fix = _MESSAGES.get(code, _UNKNOWN)
    return QueueError(f"the queue {what}: {path}", why=why, fix=fix)


def _find_code(exc: Exception) -> int:
    """SQLite's primary code, also of what the operating system refused."""
    if isinstance(exc, OSError):
        codes = {
            errno.ENOSPC: sqlite3.SQLITE_FULL,
            errno.EROFS: sqlite3.SQLITE_READONLY,
            errno.EIO: sqlite3.SQLITE_IOERR,
        }
        return codes.get(exc.errno or 0, sqlite3.SQLITE_CANTOPEN)
    return getattr(exc, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF


def _find_free_bytes(path: Path) -> int:
    """Free space where the queue lies; unknown is taken for enough."""
    try:
        return shutil.disk_usage(path.parent).free
    except OSError:
        return _ROOM_BYTES


_UNKNOWN = ("fails", "look for disk errors in the journal of the system, else report this message")
_CLOSED = (
    "cannot be opened",
    "look whether its folder is there; the file belongs to the user of the service",
)
_DAMAGED = (
    "is damaged",
    "stop the service and move the file and its -wal away; put a back-up in its place, or start "
    "empty: a run goes on when its command is given again",
)
_MESSAGES = {
    sqlite3.SQLITE_BUSY: (
        "is locked by another program",
        "close the program that has it open (fuser tells which)",
    ),
    sqlite3.SQLITE_READONLY: (
        "cannot be written",
        "mount its disk for writing, or give the file back to the user of the service",
    ),
    sqlite3.SQLITE_CANTOPEN: _CLOSED,
    sqlite3.SQLITE_PERM: _CLOSED,
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
}
"""What happened and the way on, by SQLite's primary result code."""
