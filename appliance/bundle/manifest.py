"""The manifest of a bundle: what it is, and the hash of every file in it.

It is written last: a folder without it is no bundle. `pack.py` writes it, `verify.py` reads it.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from appliance.values import Method, Precision, Value

MANIFEST = "manifest.json"
"""Name of the manifest inside a bundle."""

VERDICT = "reports/verdict.json"
"""Name of the verdict inside a bundle; earlier versions wrote none."""

ATTESTATION = "attestation.json"
"""Name of the envelope that vouches for the manifest, and so cannot stand in it."""


class FileEntry(Value):
    """One file of a bundle.

    Attributes:
        path: relative, with forward slashes.
        num_bytes: its size.
        sha256: of its content, hexadecimal.
    """

    path: str
    num_bytes: int
    sha256: str


class Manifest(Value):
    """What a bundle is made of.

    Attributes:
        schema_version: of this record.
        product_version: of the program that made it.
        created: UTC, ISO 8601.
        base: name of the base model.
        licence: of the base model.
        files: every file but this one and the attestation, sorted by path.
        has_documents_text: whether the text of the documents lies in it, in a search index.
    """

    schema_version: Literal[1] = 1
    product: Literal["appliance"] = "appliance"
    product_version: str
    created: str
    base: str
    licence: str
    method: Method
    precision: Precision
    files: tuple[FileEntry, ...]
    has_documents_text: bool = False

    @property
    def num_bytes(self) -> int:
        """Size of all files listed."""
        return sum(entry.num_bytes for entry in self.files)


def list_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Every entry below a bundle but plain folders, manifest and attestation, with relative names.

    Symbolic links are given as they are, never followed.
    """
    for path in sorted(_walk(folder)):
        name = path.relative_to(folder).as_posix()
        if name not in (MANIFEST, ATTESTATION):
            yield name, path


def _walk(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if stat.S_ISDIR(path.lstat().st_mode):
            yield from _walk(path)
        else:
            yield path
