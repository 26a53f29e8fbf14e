"""How many converters a machine can bear."""

from __future__ import annotations

import math
import os
from pathlib import Path

from appliance.cgroup import read_core_limit, read_memory_limit

_MOST = 16
_EACH_BYTES = 2**30
"""What one may take (`convert.MEMORY_BYTES`); nearly always it is a tenth of that."""


def count_converters(system: Path = Path("/")) -> int:
    """One a core, as long as each may have a GiB of the memory that is free; 16 at most.

    Args:
        system: root of the file system that holds `proc` and `sys`.
    """
    cores = min(len(os.sched_getaffinity(0)), _MOST)
    quota = read_core_limit(system)
    if not math.isinf(quota):
        cores = min(cores, int(quota))
    return max(1, min(cores, _read_free_memory(system) // _EACH_BYTES))


def _read_free_memory(system: Path) -> int:
    """What the machine and the tightest control group leave."""
    words = (system / "proc/meminfo").read_text().split()
    free = int(words[words.index("MemAvailable:") + 1]) * 1024 if "MemAvailable:" in words else 0
    limit = read_memory_limit(system).free_bytes
    return free if limit is None else min(free, limit)
