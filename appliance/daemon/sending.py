"""Sending a folder through the control socket as a tar stream: documents in, a bundle out.

How it is taken at the other end: `handover.py`.
"""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Protocol

from appliance.errors import ServiceError

END = "."
"""Name of the last entry, which says that all of it has come."""


class _Writable(Protocol):
    def write(self, block: bytes, /) -> int: ...


def write_tar(folder: Path, output: _Writable) -> int:
    """Write the plain files of a folder as a tar stream.

    A file that grows meanwhile is sent as long as it was at first.

    Returns:
        Number of files left out: links, devices, and what cannot be read.

    Raises:
        ServiceError: a file became shorter while it was sent; the stream has no end.
        OSError: nobody takes the stream any more.
    """
    num_left_out = 0
    with tarfile.open(fileobj=output, mode="w|", format=tarfile.PAX_FORMAT) as tar:  # type: ignore[call-overload]
        for path in _list_files(folder):
            file = _open_plain(path)
            if file is None:
                num_left_out += 1
                continue
            with file:
                _add(tar, path.relative_to(folder).as_posix(), file)
        end = tarfile.TarInfo(END)
        end.type = tarfile.DIRTYPE
        tar.addfile(end)
    return num_left_out


def _list_files(folder: Path) -> Iterator[Path]:
    """Everything that is no folder, in a stable order, without following links."""
    for root, folders, names in os.walk(folder):
        links = [name for name in folders if Path(root, name).is_symlink()]
        folders.sort()
        yield from (Path(root, name) for name in sorted(names + links))


def _open_plain(path: Path) -> IO[bytes] | None:
    """A plain file, opened; None for a link, a device, or what cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    return None


def _add(tar: tarfile.TarFile, name: str, file: IO[bytes]) -> None:
    status = os.fstat(file.fileno())
    member = tarfile.TarInfo(name)
    member.size, member.mtime = status.st_size, int(status.st_mtime)
    tar.addfile(member, _Whole(file))  # type: ignore[arg-type]


class _Whole:
    """A file that must not end before its time."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, size: int) -> bytes:
        block = self._file.read(size)
        if len(block) < size:
            raise ServiceError(
                "a file changed while it was sent",
                why="it became shorter",
                fix="run the same command again when nothing writes into the folder",
            )
        return block
