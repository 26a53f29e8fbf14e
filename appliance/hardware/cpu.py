"""The processor as this process may use it: cores, instruction sets, measured speed."""

from __future__ import annotations

import math
import os
import platform
import time
from pathlib import Path

from appliance.cgroup import read_core_limit
from appliance.values import Cpu

INSTRUCTION_SETS = {
    "avx2": "avx2",
    "avx512f": "avx512f",
    "avx512_bf16": "avx512_bf16",
    "avx512_vnni": "avx512_vnni",
    "avx_vnni": "avx_vnni",
    "amx_tile": "amx",
    "amx_bf16": "amx_bf16",
    "asimd": "neon",
    "neon": "neon",
    "bf16": "arm_bf16",
    "i8mm": "i8mm",
    "sve": "sve",
}
"""Flags of /proc/cpuinfo that matter for matrix work, and how they are called here."""


def probe_cpu(system: Path = Path("/"), measure_seconds: float = 0.2) -> Cpu:
    """Cores inside affinity and quota, instruction sets, measured matrix speed.

    Args:
        system: root of the file system that holds `proc` and `sys`.
        measure_seconds: time spent on the measurement.
    """
    name, instruction_sets = read_cpu_facts(system)
    return Cpu(
        name=name,
        num_cores=count_cores(read_core_limit(system)),
        instruction_sets=instruction_sets,
        gflops_fp32=measure_gflops(measure_seconds),
    )


def read_cpu_facts(system: Path = Path("/")) -> tuple[str, tuple[str, ...]]:
    """Name and instruction sets.

    Args:
        system: root of the file system that holds `proc`.
    """
    try:
        text = (system / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    name = parse_cpu_name(text) or platform.processor() or platform.machine() or "unknown"
    return name, parse_instruction_sets(text)


def parse_cpu_name(text: str) -> str:
    """Name of the first processor in the text of /proc/cpuinfo; "" where it has none."""
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Hardware", "Model", "cpu model") and value.strip():
            return " ".join(value.split())
    return ""


def parse_instruction_sets(text: str) -> tuple[str, ...]:
    """Instruction sets of the first processor in the text of /proc/cpuinfo, in a fixed order."""
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            flags = set(value.split())
            return tuple(dict.fromkeys(n for f, n in INSTRUCTION_SETS.items() if f in flags))
    return ()


def count_cores(quota: float) -> int:
    """Cores that threads should be started for: affinity, cut by the quota (rounded down)."""
    try:
        visible = len(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # not Linux, or not permitted
        visible = os.cpu_count() or 1
    return max(1, min(visible, visible if math.isinf(quota) else int(quota)))


def measure_gflops(seconds: float = 0.2, size: int = 1024) -> float:
    """Best speed of an fp32 matrix product on the cores at hand, in GFLOP/s.

    The best of several runs is kept, not the mean: another program's burst says nothing about the
    processor.
    """
    import numpy as np

    rng = np.random.default_rng(0)
    left, right = rng.random((2, size, size), dtype=np.float32)
    out = np.empty((size, size), dtype=np.float32)
    np.matmul(left[:256, :256], right[:256, :256])  # starts the threads
    best, deadline = math.inf, time.perf_counter() + seconds
    while True:
        started = time.perf_counter()
        np.matmul(left, right, out=out)
        ended = time.perf_counter()
        best = min(best, ended - started)
        if ended >= deadline:
            return round(2 * size**3 / best / 1e9, 1)
