"""Control groups of a test machine: one in each hierarchy of the host, gone when the machine is."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import time
from pathlib import Path

CONTROLLERS = ("memory", "pids", "cpu", "cpuacct", "devices", "freezer", "blkio")
"""Hierarchies of control groups, version 1, that a machine with limits gets."""


PREFIX = "appliance-test-"
"""What all names begin with; then come the numbers of the process and of its machine."""

_numbers = itertools.count(1)


def find_hierarchy() -> Path | None:
    """Where version 2 of control groups is mounted."""
    root = Path("/sys/fs/cgroup")
    return next((p for p in (root, root / "unified") if (p / "cgroup.procs").exists()), None)


def find_controllers(hierarchy: Path) -> list[Path]:
    """Hierarchies that give limits: version 2 itself, or those of version 1."""
    offered = (hierarchy / "cgroup.subtree_control").read_text().split()
    if {"memory", "cpu", "pids"} <= set(offered):
        return [hierarchy]
    old = [Path("/sys/fs/cgroup") / name for name in (*CONTROLLERS, "systemd")]
    return old if all((path / "cgroup.procs").exists() for path in old) else []


def make_groups(limits: bool) -> list[Path]:
    """Control groups for one machine; the first is that of version 2."""
    hierarchy = find_hierarchy()
    assert hierarchy is not None
    hierarchies = [hierarchy]
    if limits:
        hierarchies += [path for path in find_controllers(hierarchy) if path != hierarchy]
    groups = [path / f"{PREFIX}{os.getpid()}-{next(_numbers)}" for path in hierarchies]
    for path in hierarchies:  # what a killed test run left behind
        for old in path.glob(f"{PREFIX}*"):
            if not Path("/proc", old.name.split("-")[2]).exists():
                _remove_empty(old)
    for group in groups:
        group.mkdir(exist_ok=True)
    return groups


def join_groups(groups: list[Path]) -> None:
    for group in groups:
        (group / "cgroup.procs").write_text(str(os.getpid()))


def remove_groups(groups: list[Path], seconds: float = 20) -> None:
    """Remove groups as soon as the kernel has buried their processes."""
    deadline = time.monotonic() + seconds
    for group in groups:
        while group.exists():
            _remove_empty(group)
            if group.exists():
                assert time.monotonic() < deadline, f"processes are left in {group}"
                _kill_members(group)
                time.sleep(0.01)


def _remove_empty(group: Path) -> None:
    for path in (*sorted(group.rglob("*/"), reverse=True), group):
        with contextlib.suppress(OSError):
            path.rmdir()


def _kill_members(group: Path) -> None:
    for path in (group, *group.rglob("*/")):
        with contextlib.suppress(OSError):
            for pid in (path / "cgroup.procs").read_text().split():
                os.kill(int(pid), signal.SIGKILL)
