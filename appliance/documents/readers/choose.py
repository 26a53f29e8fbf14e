"""Which reader reads a file: by its first bytes where they speak, else by its suffix.

A reader is a module of this folder that says in `READS` which suffixes it reads. What nobody reads
by suffix is read as plain text if it is text.
"""

from __future__ import annotations

import importlib
import io
import pkgutil
import re
import zipfile
import zlib
from functools import cache
from pathlib import PurePath
from typing import BinaryIO

from appliance.documents import readers
from appliance.documents.readers import office
from appliance.documents.readers.encoding import decode_text
from appliance.documents.readers.extract import Extract, Reader, UnreadableFile
from appliance.documents.readers.plain import read_unknown

_OLE = b"\xd0\xcf\x11\xe0"
_ENCRYPTED_PART = "EncryptedPackage".encode("utf-16-le")
_MAGIC = {
    b"%PDF": ".pdf",
    b"PK\x03\x04": ".zip",
    _OLE: ".doc",
    b"{\\rtf": ".rtf",
    b"PAR1": ".parquet",
}
_FRONT_MATTER = re.compile(rb"\A\s*---\w*[ \t]*\r?\n.*?\n---[ \t]*(?:\r?\n|\Z)", re.S)
_ZIPPED = (".docx", ".xlsx", ".pptx", ".odt", ".ods", ".odp", ".epub")
_PARTS = {
    "word/document.xml": ".docx",
    "xl/workbook.xml": ".xlsx",
    "ppt/presentation.xml": ".pptx",
}
_MIMETYPES = {
    b"application/epub": ".epub",
    b"application/vnd.oasis.opendocument.text": ".odt",
    b"application/vnd.oasis.opendocument.spreadsheet": ".ods",
    b"application/vnd.oasis.opendocument.presentation": ".odp",
}
_PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".tif", ".tiff", ".bmp", ".webp", ".heic", ".svg")
_SOUNDS = (".mp3", ".wav", ".ogg", ".m4a", ".flac", ".mp4", ".mov", ".avi", ".mkv", ".webm")
_ARCHIVES = (".zip", ".gz", ".tar", ".tgz", ".7z", ".rar", ".bz2", ".xz", ".zst")


def read_file(data: bytes, name: PurePath, *, only_fallback: bool = False) -> Extract:
    """Read the bytes of a file.

    Args:
        data: all of them.
        name: the file's name, a hint only.
        only_fallback: leave the first reader out, because it hung or crashed on this file.

    Raises:
        UnreadableFile: it is empty, of a kind that is not read, or damaged.
    """
    if not data.strip(b" \t\r\n\0\xef\xbb\xbf"):
        raise UnreadableFile("the file is empty", "fill it or remove it")
    suffix = _find_suffix(data, name.suffix.lower())
    if data.startswith(_OLE) and _ENCRYPTED_PART in data:
        raise UnreadableFile("it is protected by a password", "save a copy without the password")
    reader = find_readers().get(suffix)
    if reader:
        return reader(data, name)
    if suffix in office.SUFFIXES:
        return _read_office_or_text(data, name.with_suffix(suffix), only_fallback)
    refusal = _explain_kind(suffix)
    if refusal:
        raise refusal
    try:
        return read_unknown(data, name)
    except UnreadableFile as exc:
        raise UnreadableFile(
            f"files of type {suffix[:12]} are not read",
            "export it as text, pdf or an office document",
        ) from exc


@cache
def find_readers() -> dict[str, Reader]:
    """Readers by suffix, from every module of this folder that has a `READS`."""
    found: dict[str, Reader] = {}
    for module in pkgutil.iter_modules(readers.__path__, f"{readers.__name__}."):
        found |= getattr(importlib.import_module(module.name), "READS", {})
    return found


def _find_suffix(data: bytes, suffix: str) -> str:
    """The suffix that the content deserves, where its first bytes say so."""
    magic = next((kind for start, kind in _MAGIC.items() if data.startswith(start)), "")
    if not magic:
        return suffix
    if magic == ".zip":
        return _find_zipped(io.BytesIO(data)) or (suffix if suffix in _ZIPPED else ".zip")
    if magic == ".doc":
        return suffix if suffix in (".doc", ".xls", ".ppt", ".msg") else ".doc"
    return magic


def is_zipped_document(file: BinaryIO) -> bool:
    """Whether a zip is an office file or an e-book, whatever its name says."""
    return bool(_find_zipped(file))


def _find_zipped(file: BinaryIO) -> str:
    """The suffix of a zipped office file or e-book; empty for anything else, damaged or not."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = set(archive.namelist())
            kind = archive.open("mimetype").read(100) if "mimetype" in names else b""
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, RuntimeError, EOFError):
        return ""
    for mark, suffix in _PARTS.items():
        if mark in names:
            return suffix
    return next((suffix for mark, suffix in _MIMETYPES.items() if kind.startswith(mark)), "")


def _read_office_or_text(data: bytes, name: PurePath, only_fallback: bool) -> Extract:
    if name.suffix in (".html", ".htm"):
        data = _FRONT_MATTER.sub(b"", data, count=1)
    try:
        return office.read_office(data, name, only_fallback=only_fallback)
    except UnreadableFile as refusal:
        if b"\0" in data[:4096] or data.startswith(tuple(_MAGIC)):
            raise
        beginning = data[:1024].lstrip().lower()
        try:
            if beginning.startswith((b"<!doctype", b"<html")):
                return office.read_office(data, name.with_suffix(".html"), only_fallback=True)
            text = decode_text(data)
        except UnreadableFile:
            raise refusal from None
        if name.suffix in (".pdf", ".docx", ".doc", ".odt"):
            return Extract(text=text, remark="it is plain text, whatever its name says")
        raise


def _explain_kind(suffix: str) -> UnreadableFile | None:
    """Why a known kind is not read; None for an unknown one."""
    if suffix in _PICTURES:
        return UnreadableFile(
            "it is a picture: no text is read from pictures",
            "run text recognition over it and save it as a searchable pdf",
        )
    if suffix in _SOUNDS:
        return UnreadableFile("it is sound or video", "put a transcript into the folder")
    if suffix in _ARCHIVES:
        return UnreadableFile("it is an archive", "unpack it into the folder")
    return None
