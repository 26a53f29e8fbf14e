"""Zip archives: what lies in them, and the bytes of one member.

Nothing is ever unpacked to a disk. What an archive says about itself is not believed: sizes are
counted while reading. Members that must not be read are listed with the reason.
"""

from __future__ import annotations

import stat
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import BinaryIO

from appliance.documents.readers.extract import UnreadableFile

MAX_MEMBERS = 2_000
MAX_UNPACKED_BYTES = 2**30
"""Of all members together."""

_MAX_RATIO = 100
_HONEST_BYTES = 2**20
"""Below this size a high ratio harms nobody: a table of zeros packs well."""

_ARCHIVES = (".zip", ".gz", ".tar", ".tgz", ".7z", ".rar", ".bz2", ".xz", ".zst", ".jar", ".cab")
_ENCRYPTED = 0x1
_PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_BOMB = (
    "it unpacks to far more than its size, as attacks on readers do",
    "check where it comes from; if it is honest, unpack it into the folder",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """A file in an archive.

    Attributes:
        position: in the archive's list.
        name: as the archive spells it, its folders divided by `/`.
        num_bytes: unpacked, as the archive says.
        reason: why it is not read; empty if it is to be read.
        fix: what the owner can do about that.
    """

    position: int
    name: str
    num_bytes: int
    reason: str = ""
    fix: str = ""


def list_members(file: BinaryIO) -> list[Member]:
    """The files in an archive, folders left out.

    Raises:
        UnreadableFile: it is damaged, empty, or holds too much to be read.
    """
    with _open(file) as archive:
        items = archive.infolist()
    if len(items) > MAX_MEMBERS:
        raise UnreadableFile(
            f"it holds {len(items):,} files, at most {MAX_MEMBERS:,} are read from an archive",
            "unpack it into the folder",
        )
    if sum(item.file_size for item in items) > MAX_UNPACKED_BYTES:
        raise UnreadableFile(*_BOMB)
    files = [_describe(number, item) for number, item in enumerate(items) if not item.is_dir()]
    if not files:
        raise UnreadableFile("there is no file in the archive", "fill it or remove it")
    return files


def read_member(file: BinaryIO, position: int, max_bytes: int) -> bytes:
    """The bytes of one member.

    Raises:
        UnreadableFile: it is damaged, or larger than `max_bytes` or than it said.
    """
    with _open(file) as archive:
        item = archive.infolist()[position]
        try:
            with archive.open(item) as part:
                data = part.read(max_bytes + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError) as exc:
            raise UnreadableFile(
                "it is damaged inside its archive", "pack it again, or unpack it into the folder"
            ) from exc
    if len(data) > max_bytes:
        raise UnreadableFile(*_BOMB)
    return data


def _open(file: BinaryIO) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError) as exc:
        raise UnreadableFile(
            "the zip is damaged or not what its name says", "pack it again"
        ) from exc


def _describe(position: int, item: zipfile.ZipInfo) -> Member:
    reason, fix = _refuse(item)
    return Member(
        position=position, name=item.filename, num_bytes=item.file_size, reason=reason, fix=fix
    )


def _refuse(item: zipfile.ZipInfo) -> tuple[str, str]:
    """Why a member is not read, and what to do; two empty texts if it is to be read."""
    path = PurePosixPath(item.filename.replace("\\", "/"))
    mode = item.external_attr >> 16
    if not path.parts or path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        return "its name points outside the archive", "pack it again with a plain name"
    if any(part.startswith(".") or part == "__MACOSX" for part in path.parts):
        return "its name starts with a dot: hidden files are left alone", "rename it"
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return "it is a link or a device: these are not read", "pack the document itself"
    if item.flag_bits & _ENCRYPTED:
        return "it is protected by a password", "unpack it into the folder, with the password"
    if path.suffix.lower() in _ARCHIVES:
        return "it is an archive inside an archive", "unpack it into the folder"
    if item.compress_type not in _PACKED:
        return "it is packed in a way that is not read", "pack it again as a usual zip"
    if item.file_size > max(_HONEST_BYTES, _MAX_RATIO * item.compress_size):
        return _BOMB
    return "", ""
