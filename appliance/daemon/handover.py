"""Taking a folder that crosses the control socket as a tar stream: documents in, a bundle out.

Needed where the service runs as a user of its own, and neither side may read the other's files.
What comes in is untrusted: plain files and folders only, written beside the old copy and put in
its place when all of it has arrived. The last entry says so (`sending.py`): a tar stream that is
cut between two files looks whole.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Protocol

from appliance.daemon.sending import END
from appliance.errors import ApplianceError, DiskFullError, ResourceError, ServiceError
from appliance.files import publish_folder
from appliance.units import format_bytes

_BLOCK_BYTES = 2**20

_MAX_HEADER_BYTES = 2**16
"""Of the headers before an entry; the longest holds a path of 4,096 bytes."""


def name_copy(source: str) -> str:
    """Name of the copy of a folder: the same source always has the same."""
    label = re.sub(r"[^A-Za-z0-9_-]+", "-", PurePosixPath(source).name).strip("-")[:32]
    digest = hashlib.sha256(source.encode(errors="surrogateescape")).hexdigest()
    return f"{label or 'documents'}-{digest[:8]}"


class Readable(Protocol):
    """A stream of bytes."""

    def read(self, size: int, /) -> bytes:
        """At most so many bytes; none at its end."""


def take_folder(stream: Readable, target: Path, *, keep_free_bytes: int) -> int:
    """Unpack a tar stream of documents and put it in the place of an older copy.

    Args:
        stream: the tar stream.
        target: folder that the copy becomes.
        keep_free_bytes: disk that must stay free.

    Returns:
        Number of files.

    Raises:
        ServiceError: the stream is not ours, or was cut.
        DiskFullError: there is no room for it.
        ResourceError: the copy cannot be written.
    """
    with _arriving(target) as partial:
        num_files, _ = _unpack(stream, partial, keep_free_bytes)
    return num_files


def take_tar(stream: Readable, target: Path) -> int:
    """Unpack a tar stream into a new folder.

    Args:
        stream: the tar stream.
        target: folder that must not be there yet.

    Returns:
        Bytes of its files.

    Raises:
        ServiceError: the stream was cut.
        DiskFullError: there is no room.
        ResourceError: the folder cannot be written.
    """
    require_absent(target)
    with _arriving(target) as partial:
        _, num_bytes = _unpack(stream, partial, 0)
    return num_bytes


def require_absent(target: Path) -> None:
    """Refuse a place that is taken, before anything is asked for.

    Raises:
        ServiceError: something is there.
    """
    if os.path.lexists(target):
        raise ServiceError(
            f"{target} is there already",
            why="nothing is overwritten",
            fix="name a folder that does not exist yet",
        )


@contextlib.contextmanager
def _arriving(target: Path) -> Iterator[Path]:
    """A folder to unpack into, which becomes `target` when all of it has come."""
    partial = target.with_name(f".{target.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True, mode=0o700)
        yield partial
        publish_folder(partial, target)
    except (tarfile.TarError, EOFError) as exc:
        raise ServiceError(
            "the folder did not arrive whole",
            why=f"its stream was cut or is not a tar stream ({type(exc).__name__})",
            fix="run the same command again",
        ) from exc
    except (ValueError, OverflowError) as exc:  # a time or a name that no file system can hold
        raise _refuse() from exc
    except OSError as exc:
        raise _explain(exc, target) from exc
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def remove_partials(folder: Path) -> None:
    """Remove what a hand-over left half-done when the service died under it."""
    for partial in folder.glob("*/.*.partial"):
        shutil.rmtree(partial, ignore_errors=True)


def _explain(exc: OSError, target: Path) -> ApplianceError:
    if isinstance(exc, ConnectionError | TimeoutError):  # the other side went away
        return ServiceError(
            "the folder did not arrive whole",
            why=f"the connection broke ({type(exc).__name__})",
            fix="run the same command again",
        )
    if exc.errno in (errno.ENOSPC, errno.EDQUOT):
        return _refuse_for_room(f"the disk is full where {target.parent} is")
    return ResourceError(
        f"cannot write {target}",
        why=exc.strerror or type(exc).__name__,
        fix="mend the permissions, or choose another place",
    )


class _Bounded:
    """A stream that ends with an error when more of it is read than was to be expected.

    The tar format has headers of any length and number before an entry; read as they come, they
    would fill the memory.
    """

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self.num_bytes_left = _MAX_HEADER_BYTES

    def read(self, size: int) -> bytes:
        block = self._stream.read(size)
        self.num_bytes_left -= len(block)
        if self.num_bytes_left < 0:
            raise _refuse()
        return block


def _unpack(stream: Readable, folder: Path, keep_free_bytes: int) -> tuple[int, int]:
    """Files and bytes of a stream."""
    num_files = num_bytes = 0
    bounded = _Bounded(stream)
    with tarfile.open(fileobj=bounded, mode="r|") as tar:  # type: ignore[call-overload]
        while (member := tar.next()) is not None:
            if member.isdir() and member.name == END:
                while stream.read(_BLOCK_BYTES):  # what fills the last block
                    pass
                return num_files, num_bytes
            path = _resolve_member(member, folder)
            _require_room(folder, member.size + keep_free_bytes)
            bounded.num_bytes_left = member.size + _MAX_HEADER_BYTES
            source = tar.extractfile(member)
            assert source is not None
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with source, path.open("xb") as file:
                shutil.copyfileobj(source, file, _BLOCK_BYTES)
            os.utime(path, (member.mtime, member.mtime))
            num_files += 1
            num_bytes += member.size
    raise EOFError


def _resolve_member(member: tarfile.TarInfo, folder: Path) -> Path:
    name = PurePosixPath(member.name)
    is_plain = member.isreg() and not member.issparse()
    if not is_plain or name.is_absolute() or ".." in name.parts or not name.parts:
        raise _refuse()
    return folder / name


def _refuse() -> ServiceError:
    return ServiceError(
        "the folder was not taken",
        why="its stream holds something else than plain files below one folder",
        fix="hand it over with this program's own command line",
    )


def _require_room(folder: Path, num_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < num_bytes:
        raise _refuse_for_room(
            f"{format_bytes(free)} are free on the disk, {format_bytes(num_bytes)} are needed"
        )


def _refuse_for_room(why: str) -> DiskFullError:
    return DiskFullError(
        "there is no room for a copy of this folder",
        why=why,
        fix="free some space; a service can also read documents where they are: "
        "document_roots in its settings",
    )
