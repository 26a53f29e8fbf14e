"""Archives that come from strangers: opened with limits on every count that could flood.

Only .zip (stored or deflated), .tar and .tar.gz. What an archive claims is checked again while it
is read: the bytes that come out are counted against the bytes of the archive.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO, cast

from appliance.errors import BaseModelError
from appliance.units import MIB, format_bytes

MAX_RATIO = 20
"""Bytes that may come out of a byte of an archive; weights hardly shrink, text to a tenth."""

FREE_BYTES = 64 * MIB
"""Bytes that may come out of any archive, however small."""

MAX_READ_BYTES = 8 * MIB
"""Longest single read: only a header that lies about its length asks for more."""

MAX_PLACE = 2**50
"""Beyond the end of any file."""

ARCHIVE_FAULTS = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    OverflowError,
    ValueError,
)
"""What the readers of the standard library raise on archives that are damaged or odd."""

_GZIP = b"\x1f\x8b"


def limit_output(archive_bytes: int) -> int:
    """Bytes that may come out of an archive of this size."""
    return MAX_RATIO * archive_bytes + FREE_BYTES


def refuse_bomb(max_bytes: int) -> BaseModelError:
    """The error for an archive that unpacks to more than its size allows."""
    return BaseModelError(
        "the archive unpacks to more than a model could",
        why=f"more than {format_bytes(max_bytes)} come out of it: over {MAX_RATIO} times its size",
        fix="bring the folder itself, from where it was published",
    )


@contextlib.contextmanager
def open_zip(path: Path) -> Iterator[tuple[zipfile.ZipFile, int]]:
    """A zip archive and the bytes that may come out of it.

    Raises:
        BaseModelError: it packs with a method that is not read.
    """
    max_bytes = limit_output(path.stat().st_size)
    with path.open("rb") as file, zipfile.ZipFile(_limit(file, None)) as archive:
        for info in archive.infolist():
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise BaseModelError(
                    f"{path} is packed in a way that is not read here",
                    why=f"method {info.compress_type} of a zip archive",
                    fix="pack it as usual, or bring the folder itself",
                )
        yield archive, max_bytes


@contextlib.contextmanager
def open_tar(path: Path) -> Iterator[tuple[tarfile.TarFile, int] | None]:
    """A tar archive, plain or gzipped, and the bytes that may come out of it; None for no tar."""
    max_bytes = limit_output(path.stat().st_size)
    with path.open("rb") as file:
        is_packed = file.read(2) == _GZIP
        file.seek(0)
        unpacked = _limit(gzip.GzipFile(fileobj=file), max_bytes) if is_packed else None
        try:
            tar = tarfile.TarFile(fileobj=unpacked or _limit(file, None), mode="r")
        except tarfile.ReadError:
            yield None
            return
        with tar:
            yield tar, max_bytes


def _limit(file: BinaryIO | gzip.GzipFile, max_bytes: int | None) -> IO[bytes]:
    return cast("IO[bytes]", _Limited(file, max_bytes))


class _Limited(io.BufferedIOBase):
    """A file that refuses to go beyond a place, and to read too much at once."""

    def __init__(self, file: BinaryIO | gzip.GzipFile, max_bytes: int | None) -> None:
        """Read from `file`, and no further than `max_bytes`, if that is given."""
        self._file = file
        self._max_bytes = max_bytes

    def read(self, size: int | None = -1) -> bytes:
        """Read as a file does."""
        wanted = MAX_READ_BYTES + 1 if size is None or size < 0 else size
        data = self._file.read(min(wanted, MAX_READ_BYTES + 1))
        if len(data) > MAX_READ_BYTES:
            raise BaseModelError(
                "the archive has a header of more than any header needs",
                why=f"more than {format_bytes(MAX_READ_BYTES)} of it would be read at once",
                fix="bring the folder itself, from where it was published",
            )
        self._check(self._file.tell())
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        """Seek as a file does."""
        if whence == 0:
            self._check(offset)
            if not 0 <= offset < MAX_PLACE:
                raise tarfile.ReadError("it names a place outside of itself")
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Tell as a file does."""
        return self._file.tell()

    def seekable(self) -> bool:
        """Archives are read in any order."""
        return True

    def readable(self) -> bool:
        """Archives are only read."""
        return True

    def _check(self, place: int) -> None:
        if self._max_bytes is not None and place > self._max_bytes:
            raise refuse_bomb(self._max_bytes)
