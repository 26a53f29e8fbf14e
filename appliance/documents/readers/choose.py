"""Which reader reads a file: by its first bytes where they speak, else by its suffix."""

from __future__ import annotations

import re
from pathlib import PurePath

from appliance.documents.readers import office
from appliance.documents.readers.encoding import decode_text
from appliance.documents.readers.extract import Extract, Reader, UnreadableFile
from appliance.documents.readers.json_lines import read_json, read_json_lines
from appliance.documents.readers.plain import read_plain, read_restructured
from appliance.documents.readers.tables import read_csv

_TEXT_READERS: dict[str, Reader] = {
    ".md": read_plain,
    ".markdown": read_plain,
    ".mdx": read_plain,
    ".txt": read_plain,
    ".text": read_plain,
    "": read_plain,
    ".rst": read_restructured,
    ".csv": read_csv,
    ".tsv": read_csv,
    ".json": read_json,
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
}
_MAGIC = {
    b"%PDF": ".pdf",
    b"PK\x03\x04": ".zip",
    b"\xd0\xcf\x11\xe0": ".doc",
    b"{\\rtf": ".rtf",
}
_FRONT_MATTER = re.compile(rb"\A\s*---\w*[ \t]*\r?\n.*?\n---[ \t]*(?:\r?\n|\Z)", re.S)
_ZIPPED = (".docx", ".xlsx", ".pptx", ".odt", ".ods", ".odp", ".epub")
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
    if suffix in _TEXT_READERS:
        return _TEXT_READERS[suffix](data, name)
    if suffix in office.SUFFIXES:
        return _read_office_or_text(data, name.with_suffix(suffix), only_fallback)
    raise _explain_kind(suffix)


def _find_suffix(data: bytes, suffix: str) -> str:
    """The suffix that the content deserves, where its first bytes say so."""
    magic = next((kind for start, kind in _MAGIC.items() if data.startswith(start)), "")
    if not magic:
        return suffix
    if magic == ".zip":
        return suffix if suffix in _ZIPPED or suffix in _ARCHIVES else _find_zipped(data)
    if magic == ".doc":
        return suffix if suffix in (".doc", ".xls", ".ppt", ".msg") else ".doc"
    return magic


def _find_zipped(data: bytes) -> str:
    for mark, suffix in ((b"word/", ".docx"), (b"xl/", ".xlsx"), (b"ppt/", ".pptx")):
        if mark in data:
            return suffix
    return ".zip"


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


def _explain_kind(suffix: str) -> UnreadableFile:
    if suffix in _PICTURES:
        return UnreadableFile(
            "it is a picture: no text is read from pictures",
            "run text recognition over it and save it as a searchable pdf",
        )
    if suffix in _SOUNDS:
        return UnreadableFile("it is sound or video", "put a transcript into the folder")
    if suffix in _ARCHIVES:
        return UnreadableFile("it is an archive", "unpack it into the folder")
    return UnreadableFile(
        f"files of type {suffix[:12]} are not read", "export it as text, pdf or an office document"
    )
