"""RAM and disk that a job can still take."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from appliance.cgroup import read_memory_limit


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """RAM in bytes: what a job can still take, what there is in all; and swap."""

    free_bytes: int
    total_bytes: int
    swap_free_bytes: int = 0
    swap_total_bytes: int = 0


def probe_memory(system: Path = Path("/")) -> Memory:
    """RAM of the machine, cut by the cgroup limits above this process."""
    free, total, swap_free, swap_total = _read_machine()
    limit = read_memory_limit(system)
    if limit.total_bytes is not None:
        total = min(total, limit.total_bytes)
    if limit.free_bytes is not None:
        free = min(free, limit.free_bytes)
    return Memory(
        free_bytes=min(free, total),
        total_bytes=total,
        swap_free_bytes=swap_free,
        swap_total_bytes=swap_total,
    )


def measure_disk_free(folder: Path) -> int:
    """Bytes free where a folder is, or would be made; 0 where nothing can be asked."""
    for path in (folder.absolute(), *folder.absolute().parents):
        try:
            return shutil.disk_usage(path).free
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            return 0
    return 0


def _read_machine() -> tuple[int, int, int, int]:
    """Free and total bytes of RAM and of swap; sysconf where psutil cannot read /proc."""
    import psutil

    try:
        memory = psutil.virtual_memory()
    except (OSError, RuntimeError, KeyError, ValueError):
        page = os.sysconf("SC_PAGE_SIZE")
        return page * os.sysconf("SC_AVPHYS_PAGES"), page * os.sysconf("SC_PHYS_PAGES"), 0, 0
    try:
        swap = psutil.swap_memory()
    except (OSError, RuntimeError, KeyError, ValueError):
        return int(memory.available), int(memory.total), 0, 0
    return int(memory.available), int(memory.total), int(swap.free), int(swap.total)
