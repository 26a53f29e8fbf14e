"""How many converters a machine can bear."""

from __future__ import annotations

import os
from pathlib import Path

_MOST = 16
_EACH_BYTES = 2**30
"""What one may take (`convert.MEMORY_BYTES`); nearly always it is a tenth of that."""


def count_converters() -> int:
    """One a core, as long as each may have a GiB of the memory that is free; 16 at most."""
    free = min(filter(None, (_read_free_memory(), _read_memory_limit())), default=0)
    return max(1, min(len(os.sched_getaffinity(0)), _MOST, free // _EACH_BYTES))


def _read_free_memory() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def _read_memory_limit() -> int:
    """The limit of the control group, 0 without one."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        path = Path("/sys/fs/cgroup") / name
        if path.exists() and (words := path.read_text().strip()).isdigit():
            return int(words)
    return 0
