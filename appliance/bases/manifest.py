"""What was imported: the hash of every file of a base in a store, and whether it still holds.

A model of a hub's cache has no manifest; there the names of the blobs are hashes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from appliance.bases.catalogue import Place
from appliance.bases.config import read_json
from appliance.bases.refusals import refuse_links
from appliance.errors import BaseModelError
from appliance.files import hash_file, write_text
from appliance.units import MIB
from appliance.values import Value

MANIFEST = "appliance-base.json"
"""Name of the manifest in a base's folder."""

MAX_MANIFEST_BYTES = 16 * MIB

OnProgress = Callable[[int, int], None]
"""Takes the bytes that are done, and all there are."""


class BaseFile(Value):
    """One file of a base: name, size, and sha256 of its content, hexadecimal."""

    name: str
    num_bytes: int
    sha256: str


class BaseManifest(Value):
    """What an import took.

    Attributes:
        schema_version: of this record.
        name: of the base.
        licence: as its folder states it, else as the catalogue knows it.
        added: UTC, ISO 8601.
        files: every file but this one, sorted by name.
    """

    schema_version: Literal[1] = 1
    name: str
    licence: str
    added: str
    files: tuple[BaseFile, ...]

    @property
    def num_bytes(self) -> int:
        """Size of all files."""
        return sum(file.num_bytes for file in self.files)


def ignore_progress(done: int, total: int) -> None:
    """Tell nobody."""


def hash_folder(folder: Path) -> tuple[BaseFile, ...]:
    """Every file of a base's folder but the manifest, with its hash."""
    paths = sorted(path for path in folder.iterdir() if path.name != MANIFEST)
    return tuple(
        BaseFile(name=path.name, num_bytes=path.stat().st_size, sha256=hash_file(path))
        for path in paths
    )


def write_manifest(
    folder: Path, name: str, licence: str, files: tuple[BaseFile, ...]
) -> BaseManifest:
    """Write down what a base's folder holds, durably."""
    added = datetime.now(UTC).isoformat(timespec="seconds")
    manifest = BaseManifest(name=name, licence=licence, added=added, files=files)
    write_text(folder / MANIFEST, manifest.model_dump_json(indent=1) + "\n")
    return manifest


def verify_place(place: Place, on_progress: OnProgress = ignore_progress) -> tuple[BaseFile, ...]:
    """Hold every file of a base against its hash.

    Returns:
        The files, all as they were imported or downloaded.

    Raises:
        BaseModelError: one was changed, added or is missing, or there are no hashes.
    """
    refuse_links(place.folder, place.inside)
    if place.where == "cache":
        return _verify_blobs(place, on_progress)
    manifest = read_manifest(place.folder)
    present = {path.name: path for path in place.folder.iterdir() if path.name != MANIFEST}
    added = sorted(set(present) - {file.name for file in manifest.files})
    if added:
        raise _differs(place, f"{added[0]!r} is there, and was not imported")
    done = 0
    for file in manifest.files:
        _check_file(place, file, present.get(file.name))
        done += file.num_bytes
        on_progress(done, manifest.num_bytes)
    return manifest.files


def read_manifest(folder: Path) -> BaseManifest:
    """The manifest of a base.

    Raises:
        BaseModelError: there is none, or it cannot be read.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise BaseModelError(
            f"{folder} has no hashes to compare with",
            why="it was not imported by this program",
            fix=f"import it, which keeps them: appliance bases add {folder}",
        )
    body: dict[str, Any] = read_json(path, MAX_MANIFEST_BYTES)
    try:
        return BaseManifest.model_validate(body)
    except ValueError as exc:
        raise BaseModelError(
            f"{path} cannot be read",
            why="it is not a manifest of this version",
            fix="remove the base and add it again",
        ) from exc


def _check_file(place: Place, file: BaseFile, path: Path | None) -> None:
    if path is None:
        raise _differs(place, f"{file.name} is missing")
    status = path.lstat()
    if path.is_symlink() or status.st_nlink > 1:
        raise _differs(place, f"{file.name} has another name, by which it could be changed")
    if status.st_size != file.num_bytes:
        raise _differs(
            place, f"{file.name} has {status.st_size:,} bytes; {file.num_bytes:,} were imported"
        )
    sha256 = hash_file(path)
    if sha256 != file.sha256:
        raise _differs(
            place, f"the sha256 of {file.name} is {sha256[:12]}…; {file.sha256[:12]}… was imported"
        )


def _verify_blobs(place: Place, on_progress: OnProgress) -> tuple[BaseFile, ...]:
    """Hold the files of a snapshot against the names of their blobs."""
    blobs = {path.name: path.resolve() for path in place.folder.iterdir() if path.is_file()}
    total, done = sum(blob.stat().st_size for blob in blobs.values()), 0
    files = []
    for name, blob in sorted(blobs.items()):
        num_bytes, sha256 = blob.stat().st_size, hash_file(blob)
        if re.fullmatch(r"[0-9a-f]{64}", blob.name):
            is_whole = sha256 == blob.name
        elif re.fullmatch(r"[0-9a-f]{40}", blob.name):
            is_whole = _hash_as_git(blob, num_bytes) == blob.name
        else:
            raise BaseModelError(
                f"{place.folder} has no hashes to compare with",
                why=f"{name} is no link to a blob, whose name would be its hash",
                fix=f"import it, which keeps them: appliance bases add {place.folder}",
            )
        if not is_whole:
            raise _differs(place, f"the hash of {name} is not the name of its blob")
        files.append(BaseFile(name=name, num_bytes=num_bytes, sha256=sha256))
        done += num_bytes
        on_progress(done, total)
    return tuple(files)


def _hash_as_git(path: Path, num_bytes: int) -> str:
    digest = hashlib.sha1(b"blob %d\0" % num_bytes, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(MIB):
            digest.update(chunk)
    return digest.hexdigest()


def _differs(place: Place, why: str) -> BaseModelError:
    return BaseModelError(
        f"{place.name} is not what was brought here",
        why=why,
        fix="remove it and bring it again from where it was published",
    )
