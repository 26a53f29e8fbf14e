"""Files that are whole or not there: temporary name, fsync, rename, fsync of the folder."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Give a temporary name to write to; on success it becomes `path`, durably and at once."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Replace a file by this text, durably and at once."""
    with replace_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def publish_folder(partial: Path, final: Path) -> None:
    """Make everything in a folder durable, then give the folder its final name.

    An older folder of that name is removed first: between the two moments neither is there.
    """
    for path in partial.rglob("*"):
        sync(path)
    sync(partial)
    shutil.rmtree(final, ignore_errors=True)
    partial.replace(final)
    sync(final.parent)


def hash_file(path: Path) -> str:
    """Sha256 of a file's content, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Wait until a file or a folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
