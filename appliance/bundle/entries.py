"""Files of a bundle or a stick, listed by hash and held against the list.

Needs nothing but the standard library and the records.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Container, Iterable
from dataclasses import dataclass
from pathlib import Path

from appliance.bundle.manifest import ATTESTATION, MANIFEST, FileEntry, list_files
from appliance.errors import BundleError
from appliance.files import hash_file


@dataclass(frozen=True, kw_only=True, slots=True)
class Holder:
    """What holds the files, in the words of a refusal.

    Attributes:
        name: "bundle" or "stick".
        fix: how to come by a whole one.
        fix_added: what to do about files that nobody listed.
    """

    name: str
    fix: str
    fix_added: str


def list_entries(folder: Path, without: Container[str] = ()) -> tuple[FileEntry, ...]:
    """Size and sha256 of every file below a folder but those named, sorted by name."""
    return tuple(
        FileEntry(path=name, num_bytes=path.stat().st_size, sha256=hash_file(path))
        for name, path in list_files(folder)
        if name not in without
    )


def refuse_odd_files(folder: Path, holder: Holder) -> None:
    """Let only plain files through, manifest and attestation included.

    Raises:
        BundleError: there is a link, a device or the like; it is named.
    """
    beside = [(name, folder / name) for name in (MANIFEST, ATTESTATION)]
    for name, path in (*beside, *list_files(folder)):
        if os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode):
            raise BundleError(
                f"the {holder.name} holds {name!r}, which is not a plain file",
                why=f"a link could lead out of the {holder.name}",
                fix=holder.fix,
            )


def check_entries(folder: Path, entries: Iterable[FileEntry], holder: Holder) -> None:
    """Hold every file below a folder against the list, in pieces: large files take no memory.

    Raises:
        BundleError: a file is missing, changed or was added; it is named.
    """
    present = dict(list_files(folder))
    for entry in entries:
        _check_file(entry, present.pop(entry.path, None), holder)
    if present:
        raise BundleError(
            f"the {holder.name} holds {min(present)!r}, which is not in its manifest",
            why=f"{len(present)} file{'s were' if len(present) > 1 else ' was'} added",
            fix=holder.fix_added,
        )


def _check_file(entry: FileEntry, path: Path | None, holder: Holder) -> None:
    if path is None:
        raise BundleError(
            f"{entry.path} is missing from the {holder.name}",
            why=f"the manifest lists it with {entry.num_bytes:,} bytes",
            fix=holder.fix,
        )
    num_bytes = path.stat().st_size
    if num_bytes != entry.num_bytes:
        why = f"it has {num_bytes:,} bytes, the manifest says {entry.num_bytes:,}"
    elif (sha256 := hash_file(path)) != entry.sha256:
        why = f"its sha256 is {sha256[:12]}…, the manifest says {entry.sha256[:12]}…"
    else:
        return
    raise BundleError(
        f"{entry.path} in the {holder.name} is not what was packed", why=why, fix=holder.fix
    )
