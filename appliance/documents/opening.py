"""Opening a file of the folder so that no link is followed, not even one put there meanwhile."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def open_below(root: Path, place: str) -> int:
    """Open a file for reading, folder by folder from the root.

    A pipe is opened without waiting for its other end; whoever reads must look at what it got.

    Args:
        root: what the person named; links in its own path are theirs.
        place: of a file below it, relative to it.

    Returns:
        An open descriptor, which the caller closes.

    Raises:
        OSError: it is gone, a link stands in the way, or it may not be read.
    """
    *folders, name = place.split("/")
    here = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for folder in folders:
            below = os.open(folder, _FOLDER, dir_fd=here)
            os.close(here)
            here = below
        return os.open(name, _FILE, dir_fd=here)
    finally:
        os.close(here)


def hash_descriptor(file: int) -> str:
    """sha256 of an open file from its beginning, in hexadecimal."""
    if not stat.S_ISREG(os.fstat(file).st_mode):
        raise OSError("it is not a plain file")
    os.lseek(file, 0, os.SEEK_SET)
    digest = hashlib.sha256()
    while part := os.read(file, 2**20):
        digest.update(part)
    return digest.hexdigest()


def explain_closed(error: OSError) -> tuple[str, str]:
    """Why a file could not be opened, and what to do about it."""
    if isinstance(error, PermissionError):
        return "no permission to read it", "give this user permission to read it"
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "it was removed or moved while the folder was read", "run the same command again"
    if error.errno == errno.ELOOP:
        return "a link took its place: links are not followed", "copy the document itself"
    reason = error.strerror or type(error).__name__
    return f"the disk says: {reason}", "check the disk or the share"
