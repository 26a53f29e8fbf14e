"""How fast a disk takes data: written, and waited for until it is there."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from pathlib import Path

from appliance.units import MIB

BLOCK_BYTES = 4 * MIB
MAX_BYTES = 256 * MIB
"""Enough to get past the disk's own cache for a moment, and little to wear it."""


def measure_disk_write(folder: Path, seconds: float = 1.5, max_bytes: int = MAX_BYTES) -> float:
    """Bytes a second that are on the disk, not only in memory; 0 where nothing can be written.

    The file has no name while it is written, so nothing is left behind, whatever happens.

    Args:
        folder: where runs are written; need not exist yet.
        seconds: when to stop writing.
        max_bytes: most that is written; a tenth of the free space at most.
    """
    place = next((path for path in (folder, *folder.parents) if path.is_dir()), None)
    if place is None:
        return 0.0
    block = os.urandom(BLOCK_BYTES)  # some disks compress
    with contextlib.suppress(OSError), tempfile.TemporaryFile(dir=place, buffering=0) as file:
        state = os.statvfs(file.fileno())
        most = min(max_bytes, state.f_bavail * state.f_frsize // 10)
        written, started = 0, time.perf_counter()
        while written + BLOCK_BYTES <= most and time.perf_counter() - started < seconds:
            written += file.write(block)
        os.fsync(file.fileno())
        return written / (time.perf_counter() - started)
    return 0.0
