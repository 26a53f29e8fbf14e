"""Where an import comes from: a folder or an archive, as a list of entries that can be read.

Names and kinds are told as they stand there; what may be taken is decided in `selection.py`, and
nothing is ever unpacked by its own name.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from appliance.bases.archive import ARCHIVE_FAULTS, open_tar, open_zip
from appliance.bases.hub_cache import find_snapshot
from appliance.bases.refusals import refuse_links
from appliance.errors import BaseModelError

Kind = Literal["file", "folder", "link", "hard link", "special file", "encrypted file"]

MAX_ENTRIES = 10_000
"""Entries of a source; a model has a few dozen."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """Something that lies in a source.

    Attributes:
        name: relative, with forward slashes, as it stands there.
        num_bytes: size that the source claims.
        open: gives its bytes.
    """

    name: str
    kind: Kind
    num_bytes: int
    open: Callable[[], BinaryIO]


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A folder or an archive.

    Attributes:
        label: what the model is called there: folder or archive without its suffix.
        max_bytes: all that may come out of it; None for a folder, which holds what it holds.
    """

    label: str
    entries: tuple[Entry, ...]
    max_bytes: int | None


@contextlib.contextmanager
def open_source(path: Path) -> Iterator[Source]:
    """Look into a folder, a model or snapshot of a hub's cache, or a .zip, .tar or .tar.gz.

    Raises:
        BaseModelError: there is nothing of this name, it is of another kind, or it is damaged.
    """
    path = path.expanduser().absolute()
    if path.is_dir():
        yield _open_folder(path)
        return
    if not path.is_file():
        raise BaseModelError(
            f"{path} is not there",
            why="no folder and no archive has this name",
            fix="name the folder of a model, or a .zip, .tar or .tar.gz of one",
        )
    try:
        with contextlib.ExitStack() as stack:
            yield _open_archive(path, stack)
    except ARCHIVE_FAULTS as exc:
        raise BaseModelError(
            f"{path} cannot be read",
            why=f"the archive is damaged: {str(exc)[:200] or type(exc).__name__}",
            fix="copy it again and compare its checksum, or bring the folder itself",
        ) from exc


def _open_archive(path: Path, stack: contextlib.ExitStack) -> Source:
    label = path.name
    for suffix in (".zip", ".tar.gz", ".tgz", ".tar"):
        label = label.removesuffix(suffix)
    if zipfile.is_zipfile(path):
        archive, max_bytes = stack.enter_context(open_zip(path))
        zipped = (_describe_zip(archive, info) for info in archive.infolist())
        return Source(label=label, entries=_collect(path, zipped), max_bytes=max_bytes)
    opened = stack.enter_context(open_tar(path))
    if opened is None:
        raise BaseModelError(
            f"{path} is no archive that is read here",
            why="it is neither .zip, .tar nor .tar.gz",
            fix="unpack it and name the folder",
        )
    tar, max_bytes = opened
    members = (_describe_tar(tar, member) for member in tar)
    return Source(label=label, entries=_collect(path, members), max_bytes=max_bytes)


def _open_folder(path: Path) -> Source:
    cached = find_snapshot(path)
    if cached is None:
        entries = _collect(path, _walk(path, path))
        return Source(label=path.resolve().name, entries=entries, max_bytes=None)
    refuse_links(cached.folder, cached.inside)
    files = [(item.name, item.resolve()) for item in cached.folder.iterdir() if item.is_file()]
    linked = (_make_file(name, target, target.stat().st_size) for name, target in sorted(files))
    return Source(label=cached.name, entries=_collect(path, linked), max_bytes=None)


def _collect(path: Path, entries: Iterator[Entry]) -> tuple[Entry, ...]:
    found = tuple(itertools.islice(entries, MAX_ENTRIES + 1))
    if len(found) > MAX_ENTRIES:
        raise BaseModelError(
            f"{path} holds too many files",
            why=f"more than {MAX_ENTRIES:,}; a model has a few dozen",
            fix="name the folder of one model",
        )
    return found


def _walk(root: Path, folder: Path) -> Iterator[Entry]:
    with os.scandir(folder) as found:
        items = sorted(found, key=lambda item: item.name)
    for item in items:
        path = Path(item.path)
        name = path.relative_to(root).as_posix()
        if item.is_symlink():
            yield _make(name, "link")
        elif item.name.startswith("."):
            continue  # of version control, and of the tool that downloaded it
        elif item.is_dir(follow_symlinks=False):
            yield from _walk(root, path)
        elif item.is_file(follow_symlinks=False):
            yield _make_file(name, path, item.stat(follow_symlinks=False).st_size)
        else:
            yield _make(name, "special file")


def _make_file(name: str, path: Path, num_bytes: int) -> Entry:
    return Entry(name=name, kind="file", num_bytes=num_bytes, open=lambda: _open_file(path))


def _make(name: str, kind: Kind) -> Entry:
    return Entry(name=name, kind=kind, num_bytes=0, open=_refuse_open)


def _open_file(path: Path) -> BinaryIO:
    """Open a plain file that may have been replaced by something else meanwhile."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BaseModelError(
            f"{path} changed while it was read",
            why="it is not a plain file any more",
            fix="let nothing else write to the folder, and run the same command again",
        )
    return os.fdopen(descriptor, "rb")


def _describe_zip(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Entry:
    mode = info.external_attr >> 16
    kind: Kind = "file"
    if info.filename.endswith("/"):
        kind = "folder"
    elif info.flag_bits & 1:
        kind = "encrypted file"
    elif stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        kind = "link" if stat.S_ISLNK(mode) else "special file"
    return Entry(
        name=info.orig_filename,
        kind=kind,
        num_bytes=info.file_size,
        open=lambda: archive.open(info),  # type: ignore[arg-type, return-value]
    )


def _describe_tar(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Entry:
    kind: Kind = "special file"
    if member.isreg() and not member.issparse():
        kind = "file"
    elif member.isdir():
        kind = "folder"
    elif member.islnk():
        kind = "hard link"
    elif member.issym():
        kind = "link"
    return Entry(
        name=member.name, kind=kind, num_bytes=member.size, open=lambda: _extract(tar, member)
    )


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo) -> BinaryIO:
    opened = tar.extractfile(member)
    assert opened is not None  # it is a plain file
    return opened  # type: ignore[return-value]


def _refuse_open() -> BinaryIO:
    raise AssertionError("only plain files are opened")
