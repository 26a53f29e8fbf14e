"""Measured peak memory of a stage: of the GPU where there is one, else of this process."""

from __future__ import annotations

import re
import resource
from contextlib import suppress
from pathlib import Path

import torch

_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def reset_peak(device: str) -> None:
    """Begin a new measurement."""
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):  # without /proc the peak counts from the start of the process
        _CLEAR.write_text("5")


def read_peak(device: str) -> int:
    """Most bytes held since `reset_peak`: reserved on the GPU, resident (RSS) on the CPU."""
    if device != "cpu":
        return torch.cuda.max_memory_reserved(device)
    with suppress(OSError):
        found = re.search(r"^VmHWM:\s+(\d+) kB", _STATUS.read_text(), re.MULTILINE)
        if found:
            return int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
