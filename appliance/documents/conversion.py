"""What is asked of the converters, and what comes of it."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import Any

from appliance.documents.converter import ConversionFailure
from appliance.documents.readers.archive import Member
from appliance.documents.scrub import ScrubPolicy
from appliance.documents.walk import Entry


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What one file may cost, and what is replaced in it.

    Attributes:
        max_bytes: larger files are not read.
        seconds: time for one attempt.
        policy: which private values are replaced.
        left_out: sha256 of files that must not be used; their text is not kept anywhere.
    """

    max_bytes: int
    seconds: float
    policy: ScrubPolicy
    left_out: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversion:
    """What became of a file, or of a member of an archive.

    Attributes:
        entry: the file; of a member, its name goes on behind that of the archive.
        reply: text and counts (see `convert.convert`), or why there is none.
        sha256: of the bytes; empty if they were not read.
        archive: name of the archive it lies in; empty for a file.
        archive_sha256: of that archive.
        is_last: no further member of the same file follows.
    """

    entry: Entry
    reply: dict[str, Any] | ConversionFailure
    sha256: str = ""
    archive: str = ""
    archive_sha256: str = ""
    is_last: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """A file or a member to be read, or one with a verdict already (`failure`)."""

    entry: Entry
    member: Member | None = None
    archive: str = ""
    archive_sha256: str = ""
    failure: ConversionFailure | None = None
    is_last: bool = True


def is_as_listed(status: os.stat_result, task: Task) -> bool:
    """Whether the file is the one that was listed; an archive's size is not that of its member."""
    if not stat.S_ISREG(status.st_mode) or status.st_mtime_ns != task.entry.modified:
        return False
    return task.member is not None or status.st_size == task.entry.num_bytes


def has_changed(before: os.stat_result, after: os.stat_result) -> bool:
    """Whether a file was written to between two looks."""
    return (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns)
