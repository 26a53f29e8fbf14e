"""Limits of the system on this process: files, threads, memory."""

from __future__ import annotations

import resource
from pathlib import Path

from appliance.cgroup import read_process_limit
from appliance.units import GIB, format_bytes
from appliance.values import Finding, Limits

MIN_OPEN_FILES = 1024
"""A server with a hundred clients and a job beside it; the usual limit of a login."""

MIN_PROCESSES = 256
"""Threads of torch, ONNX Runtime and the readers on a machine of 64 cores."""

MIN_FILE_BYTES = 8 * GIB
"""Weights of a base of 4 B parameters in 16 bit, in one file."""


def read_limits(system: Path = Path("/")) -> Limits:
    """Soft limits of this process.

    Args:
        system: root of the file system that holds `proc` and `sys`.
    """
    processes = [
        limit
        for limit in (_read(resource.RLIMIT_NPROC), read_process_limit(system))
        if limit is not None
    ]
    return Limits(
        open_files=_read(resource.RLIMIT_NOFILE),
        processes=min(processes, default=None),
        address_space_bytes=_read(resource.RLIMIT_AS),
        file_bytes=_read(resource.RLIMIT_FSIZE),
        locked_bytes=_read(resource.RLIMIT_MEMLOCK),
        core_dump_bytes=_read(resource.RLIMIT_CORE),
    )


def find_low_limits(limits: Limits, memory_bytes: int) -> list[Finding]:
    """Limits that a job would run into.

    Args:
        limits: of this process.
        memory_bytes: RAM that a job may take.
    """
    findings = []
    if limits.open_files is not None and limits.open_files < MIN_OPEN_FILES:
        what = f"only {limits.open_files} files may be open at a time (want {MIN_OPEN_FILES})"
        findings.append(_advise(what, f"ulimit -n {MIN_OPEN_FILES}", "LimitNOFILE"))
    if limits.processes is not None and limits.processes < MIN_PROCESSES:
        what = f"only {limits.processes} processes and threads may run (want {MIN_PROCESSES})"
        findings.append(_advise(what, f"ulimit -u {MIN_PROCESSES}", "LimitNPROC, TasksMax"))
    if limits.address_space_bytes is not None and limits.address_space_bytes < 2 * memory_bytes:
        what = (
            f"a process may map {format_bytes(limits.address_space_bytes)} of memory: libraries "
            "map several times of what they use"
        )
        findings.append(_advise(what, "ulimit -v unlimited", "LimitAS"))
    if limits.file_bytes is not None and limits.file_bytes < MIN_FILE_BYTES:
        what = f"a file may have {format_bytes(limits.file_bytes)} at most: models are larger"
        findings.append(_advise(what, "ulimit -f unlimited", "LimitFSIZE"))
    return findings


def _advise(what: str, command: str, key: str) -> Finding:
    return Finding(what=what, fix=f"{command} in the shell, or {key}= in the systemd unit")


def _read(limit: int) -> int | None:
    soft, _ = resource.getrlimit(limit)
    return None if soft == resource.RLIM_INFINITY else soft
