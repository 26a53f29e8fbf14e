"""Files that are whole or not there: temporary name, fsync, rename, fsync of the folder."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Give a temporary name to write to; on success it becomes `path`, durably and at once."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    remove_left(path)
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):  # a disk that fails would hide why it was not written
            temporary.unlink(missing_ok=True)
        raise


def remove_left(path: Path) -> None:
    """Remove what processes that were killed left of this file: a checkpoint may be large."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.partial*"):
        pid = left.name.removeprefix(f".{path.name}.").partition(".")[0]
        if pid.isdecimal() and not Path(f"/proc/{pid}").exists():
            with contextlib.suppress(OSError):
                left.unlink()


def remove_foreign_left(folder: Path) -> None:
    """Remove what killed writers of safetensors left in a folder that this process has for itself.

    The library writes to `.tmpXXXXXX` beside the file before it renames; as large as the file.
    """
    for left in folder.glob(".tmp??????"):
        left.unlink()


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
    if final.exists():
        shutil.rmtree(final)
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
