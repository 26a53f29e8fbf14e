"""Names of files that strangers send, made safe to use here."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

from appliance.errors import UsageError

MAX_DEPTH = 12
"""Folders in folders, and the file."""

_MAX_NAME_BYTES = 120
_MAX_SUFFIX_BYTES = 12


def make_safe(name: str, *, default: str) -> Path:
    """A relative path from a name that a stranger sent: plain parts, none hidden, none special.

    Args:
        name: with folders, by slashes of either kind.
        default: where nothing is left of it.

    Raises:
        UsageError: it is nested too deeply.
    """
    parts = [part for part in map(_clean_part, re.split(r"[/\\]+", name)) if part]
    if len(parts) > MAX_DEPTH:
        raise UsageError(
            "a file lies too deep",
            why=f"folders may be nested {MAX_DEPTH - 1} deep",
            fix="send it from a folder further down",
        )
    return Path(*(parts or [default]))


def _clean_part(part: str) -> str:
    """One name: no control or direction characters, no dots or blanks at its ends, not too long."""
    text = "".join(
        c for c in unicodedata.normalize("NFC", part) if unicodedata.category(c)[0] != "C"
    )
    text = text.strip(". ~-")
    stem, dot, suffix = text.rpartition(".")
    if not stem or len(suffix.encode()) > _MAX_SUFFIX_BYTES:
        stem, dot, suffix = text, "", ""
    room = _MAX_NAME_BYTES - len(f"{dot}{suffix}".encode())
    return stem.encode()[:room].decode(errors="ignore") + dot + suffix
