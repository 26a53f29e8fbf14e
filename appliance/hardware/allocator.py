"""The C library's allocator: whether freed memory is kept for the next step, or given back.

Keeping it is faster, because pages need not be fetched and cleared again; but the heap then grows
to two or three times of what is in use. The plan decides (`TrainPlan.returns_memory`).
"""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt, from glibc's <malloc.h>."""

BLOCK_BYTES = 64 * 2**10
"""Blocks from this size on are mapped each by itself, and unmapped when they are freed.

Source: with it the peak resident set of training was within 1 % of the closed form (embedded base
and 88 M parameters; one x86-64 core, glibc 2.36, 2026-11-23).
"""


def return_freed_memory() -> bool:
    """From now on, give freed memory back to the system at once.

    Returns:
        Whether the C library can do it (glibc can; others keep their own ways).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # not glibc
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, BLOCK_BYTES)) and bool(
        mallopt(M_TRIM_THRESHOLD, 2 * BLOCK_BYTES)
    )
