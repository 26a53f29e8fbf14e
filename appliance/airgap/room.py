"""Whether there is room for a stick where a person wants it, before anything is copied."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from appliance.errors import ResourceError, UsageError
from appliance.units import MIB, format_bytes

FAT_BYTES = 2**32 - 1
"""Longest file of FAT32."""

FAT_NAMES = ("vfat", "msdos", "fat")
SPARE_BYTES = 16 * MIB
"""Left free on a stick: for what is written beside the copies."""


def require_empty(folder: Path) -> None:
    """Refuse a folder that holds something.

    Raises:
        UsageError: it does.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(
            f"{folder} is not empty",
            why="what lies there would be taken for a part of the stick",
            fix=f"name a new folder, such as {folder / 'appliance'}",
        )


def require_room(folder: Path, copies: dict[str, Path], max_file_bytes: int | None) -> None:
    """Refuse what a disk cannot take.

    Args:
        folder: to copy into.
        copies: files, by their names in it.
        max_file_bytes: longest file that it takes; None to look at its file system.

    Raises:
        ResourceError: the disk is too small, or takes no files of such a length.
    """
    limit = find_limit(folder) if max_file_bytes is None else max_file_bytes
    sizes = {name: path.stat().st_size for name, path in copies.items()}
    for name, num_bytes in sizes.items():
        if limit is not None and num_bytes > limit:
            raise ResourceError(
                f"the stick takes no file as long as {name}",
                why=f"it has {format_bytes(num_bytes)}, the file system of {folder} takes files of "
                f"{format_bytes(limit)} at most (FAT32?)",
                fix="format the stick as exFAT or ext4, or bring a base in smaller shards",
            )
    needed, free = sum(sizes.values()) + SPARE_BYTES, shutil.disk_usage(folder).free
    if needed > free:
        raise ResourceError(
            f"{folder} is too small",
            why=f"{format_bytes(needed)} are needed, {format_bytes(free)} are free",
            fix="take a larger stick, or fewer bases",
        )


def find_limit(folder: Path) -> int | None:
    """Longest file that the file system of a folder takes; None where there is no such limit."""
    best, kind = "", ""
    where = os.fspath(folder.resolve())
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
        _, mount, name, *_ = line.split(" ")
        mount = mount.replace("\\040", " ")
        if (where + "/").startswith(mount.rstrip("/") + "/") and len(mount) >= len(best):
            best, kind = mount, name
    return FAT_BYTES if kind in FAT_NAMES else None
