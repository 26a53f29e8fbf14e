"""Limits that the kernel sets on this process: cgroup version 1 and 2, nested to any depth.

A container or a systemd unit may hold less memory and fewer cores than the machine has; a limit set
anywhere above the process counts. Files that are missing or unreadable mean "no limit".
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

NO_LIMIT = 2**60
"""Version 1 writes "no limit" as a number close to 2**63; anything this large is none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryLimit:
    """Memory inside the tightest cgroups above the process.

    Attributes:
        total_bytes: smallest limit of the hierarchy; None without a limit.
        free_bytes: smallest rest (limit - use + file cache that can be dropped); None likewise.
    """

    total_bytes: int | None = None
    free_bytes: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Mount:
    """Where a cgroup hierarchy is mounted: version, its controllers, and which part of it shows."""

    version: int
    controllers: frozenset[str]
    root: str
    point: str


def read_memory_limit(system: Path = Path("/")) -> MemoryLimit:
    """Memory limit of this process.

    Args:
        system: root of the file system that holds `proc` and `sys`.

    Source: Linux kernel, Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst.
    """
    return read_groups(list_memory_groups(system))


def list_memory_groups(system: Path = Path("/")) -> list[tuple[int, Path]]:
    """Version and folder of every group of this process: to look at them often."""
    return list(_walk_up("memory", system))


def read_groups(groups: list[tuple[int, Path]]) -> MemoryLimit:
    """Memory limit of these groups."""
    totals, rests = [], []
    for version, folder in groups:
        names = (
            ("memory.max", "memory.current", "inactive_file")
            if version == 2
            else ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        )
        limit = parse_limit(_read(folder / names[0]))
        if limit is None:
            continue
        used = parse_limit(_read(folder / names[1])) or 0
        cache = parse_statistic(_read(folder / "memory.stat"), names[2])
        totals.append(limit)
        rests.append(max(0, limit - used + min(cache, used)))
    return MemoryLimit(total_bytes=min(totals, default=None), free_bytes=min(rests, default=None))


def read_core_limit(system: Path = Path("/")) -> float:
    """Cores that the CPU quota of this process allows; infinity without a quota."""
    cores = [math.inf]
    for version, folder in _walk_up("cpu", system):
        if version == 2:
            cores.append(parse_quota(_read(folder / "cpu.max")))
        else:
            quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
            cores.append(parse_quota(f"{quota} {period}"))
    return min(cores)


def read_process_limit(system: Path = Path("/")) -> int | None:
    """Processes and threads that the cgroups of this process allow; None without a limit."""
    folders = _walk_up("pids", system)
    limits = (parse_limit(_read(folder / "pids.max")) for _, folder in folders)
    return min((limit for limit in limits if limit is not None), default=None)


def parse_limit(text: str) -> int | None:
    """Number in a limit or usage file; None for "max", for no limit, and for no number."""
    try:
        value = int(text.strip())
    except ValueError:
        return None
    return value if 0 <= value < NO_LIMIT else None


def parse_statistic(text: str, name: str) -> int:
    """A value of `memory.stat` (lines of name and number); 0 where it is missing."""
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if key == name and value.strip().isdigit():
            return int(value)
    return 0


def parse_quota(text: str) -> float:
    """Cores of a quota written as "quota period" in microseconds; infinity for none."""
    parts = text.split()
    if len(parts) != 2 or not parts[0].isdigit() or not parts[1].isdigit() or parts[1] == "0":
        return math.inf  # "max 100000", "-1 100000" (version 1) or nothing
    return int(parts[0]) / int(parts[1]) or math.inf


def parse_memberships(text: str) -> dict[str, str]:
    """Path of the process in each hierarchy of `/proc/self/cgroup`, by controller; "" is version 2.

    `4:memory:/a/b` becomes {"memory": "/a/b"}; `0::/user.slice` becomes {"": "/user.slice"}.
    """
    paths = {}
    for line in text.splitlines():
        number, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if number.isdigit() and path.startswith("/"):
            paths.update({name: path for name in names.split(",")})
    return paths


def parse_mounts(text: str) -> list[Mount]:
    """Cgroup hierarchies of `/proc/self/mountinfo`."""
    mounts = []
    for line in text.splitlines():
        left, dash, right = line.partition(" - ")
        fields, kinds = left.split(), right.split()
        if not dash or len(fields) < 5 or not kinds or kinds[0] not in ("cgroup", "cgroup2"):
            continue
        mounts.append(
            Mount(
                version=2 if kinds[0] == "cgroup2" else 1,
                controllers=frozenset(kinds[-1].split(","))
                if kinds[0] == "cgroup"
                else frozenset(),
                root=fields[3],
                point=fields[4],
            )
        )
    return mounts


def _walk_up(controller: str, system: Path) -> Iterator[tuple[int, Path]]:
    """Version and folder of every cgroup from the process's own up to the mount point."""
    memberships = parse_memberships(_read(system / "proc/self/cgroup"))
    for mount in parse_mounts(_read(system / "proc/self/mountinfo")):
        key = "" if mount.version == 2 else controller
        if key not in memberships or (mount.version == 1 and controller not in mount.controllers):
            continue
        point = system / mount.point.lstrip("/")
        folder = point / _relative_to(memberships[key], mount.root)
        while folder != point:
            yield mount.version, folder
            folder = folder.parent
        yield mount.version, point


def _relative_to(path: str, root: str) -> str:
    """Path of a cgroup below its mount; the mount itself where only a part of the tree shows."""
    if root == "/":
        inside = path
    elif path == root or path.startswith(root + "/"):
        inside = path[len(root) :]
    else:
        inside = ""
    return "" if ".." in inside.split("/") else inside.lstrip("/")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
