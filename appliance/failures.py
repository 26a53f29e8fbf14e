"""What went wrong in a job, as a person is told it: an error with a way out becomes an event.

Libraries that write files by themselves tell of a full or failing disk in their own words and
classes; here they are recognised. A fault of our own keeps its traceback, which might quote a
document, in a private file of the run.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import traceback
from pathlib import Path

from appliance.errors import ApplianceError, DiskFullError, ResourceError
from appliance.events import Failed
from appliance.units import format_bytes


def describe_failure(exc: Exception, run: Path) -> Failed:
    """The end of a job that could not go on, in three parts.

    Args:
        exc: what was raised.
        run: the run's folder.
    """
    if isinstance(exc, ApplianceError):
        return Failed(error=type(exc).__name__, what=exc.what, why=exc.why, fix=exc.fix)
    return (
        _describe_memory_error(exc) or _describe_file_error(exc, run) or _describe_fault(exc, run)
    )


def _describe_memory_error(exc: Exception) -> Failed | None:
    """Out of memory, as Python, torch's CPU allocator and CUDA say it; None for anything else."""
    text = str(exc).lower()
    refusals = ("can't allocate memory", "out of memory")
    is_torch = isinstance(exc, RuntimeError) and any(words in text for words in refusals)
    if not isinstance(exc, MemoryError) and not is_torch:
        return None
    return Failed(
        what="out of memory",
        why="the machine refused more memory than the job already has",
        fix="close other programs, or --set tune.sequence_length=512",
        error=ResourceError.__name__,
    )


def _describe_file_error(exc: Exception, run: Path) -> Failed | None:
    """A file that could not be used; None for anything else."""
    code = _find_code(exc)
    if code == errno.ENOSPC:
        return _describe_full_disk(run)
    if code is None and not isinstance(exc, OSError):
        return None
    filename = getattr(exc, "filename", None)
    name = Path(filename).name if isinstance(filename, str) else ""
    why, fix = _REASONS.get(code or 0, ("", "mend permissions; run the same command again"))
    return Failed(
        what=f"cannot use {name or 'a file of the run'}",
        why=f"{why or (os.strerror(code) if code else type(exc).__name__)} ({run})",
        fix=fix,
        error=ResourceError.__name__,
    )


_OS_ERROR = re.compile(r"\(os error (\d+)\)")
"""How Rust's libraries (safetensors, tokenizers) tell the number."""

_FULL = ("no space left", "storagefull")

_REASONS = {
    errno.EIO: (
        "the disk fails: input/output error",
        "look for disk errors in the journal of the system; on a disk that works, the same command "
        "goes on where this one was",
    ),
    errno.EROFS: (
        "the disk is read-only",
        "mount it for writing (a disk that failed is often made read-only: look into the journal "
        "of the system); the same command goes on where this one was",
    ),
    errno.EDQUOT: (
        "the disk quota of this user is used up",
        "free some space or raise the quota; the same command goes on where this one was",
    ),
}
"""Why, and the way on, by the number of the error."""


def _find_code(exc: Exception) -> int | None:
    """Number of the error of the operating system behind an exception; None if there is none."""
    if isinstance(exc, OSError) and exc.errno:
        return exc.errno
    text = str(exc)
    if found := _OS_ERROR.search(text):
        return int(found[1])
    return errno.ENOSPC if any(words in text.lower() for words in _FULL) else None


def _describe_full_disk(run: Path) -> Failed:
    free = shutil.disk_usage(run).free
    return Failed(
        what="the disk is full",
        why=f"{format_bytes(free)} are free where the run is written ({run.parent})",
        fix="free some space and run the same command again: it goes on from its last checkpoint",
        error=DiskFullError.__name__,
    )


def _describe_fault(exc: Exception, run: Path) -> Failed:
    """A fault of our own: the traceback goes to a private file, never to the screen."""
    with contextlib.suppress(OSError):
        (run / "fault.txt").write_text("".join(traceback.format_exception(exc)))
    return Failed(
        what=f"the program failed ({type(exc).__name__})",
        why=f"a fault of its own; the traceback is in {run / 'fault.txt'}",
        fix="run the same command again; if it fails again, report it with that file",
        error=ApplianceError.__name__,
    )
