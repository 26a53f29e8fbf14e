"""What is on a stick: names of its files, and the manifest that lists them all.

wheels/            the program and everything it stands on
requirements.txt   every wheel, pinned and with its hash, as pip reads it
bases/             base models, as they lie in a store
licences/          licence files of every wheel
licences.json      the licence of every wheel and base
README.txt         how to install where the program is not there yet
manifest.json      every file with its hash; written last
attestation.json   who vouches for the manifest
"""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import ValidationError

from appliance.bundle.manifest import ATTESTATION, MANIFEST, FileEntry
from appliance.errors import BundleError
from appliance.values import Value

WHEELS, BASES, LICENCES = "wheels", "bases", "licences"
REQUIREMENTS = "requirements.txt"
LICENCE_LIST = "licences.json"
README = "README.txt"

MAX_MANIFEST_BYTES = 16 * 2**20
"""A stick of some thousand files has a manifest of a megabyte."""

PACK_AGAIN = "do not use this stick; pack it again where it was made"


class WheelEntry(Value):
    """A wheel on a stick.

    Attributes:
        name: of the package, normalised.
        file: below the folder of the wheels.
        licence: as the package tells it; "" where it does not.
        licence_files: below the folder of the licences.
    """

    name: str
    version: str
    file: str
    sha256: str
    licence: str
    licence_files: tuple[str, ...]


class BaseEntry(Value):
    """A base model on a stick: its name, its folder and its licence."""

    name: str
    folder: str
    licence: str


class StickManifest(Value):
    """What a stick holds.

    Attributes:
        schema_version: of this record.
        product_version: of the program that packed it.
        created: UTC, ISO 8601.
        files: every file but this one and the attestation, sorted by path.
    """

    schema_version: Literal[1] = 1
    product: Literal["appliance-stick"] = "appliance-stick"
    product_version: str
    created: str
    wheels: tuple[WheelEntry, ...]
    bases: tuple[BaseEntry, ...]
    files: tuple[FileEntry, ...]

    @property
    def num_bytes(self) -> int:
        """Size of all files listed."""
        return sum(entry.num_bytes for entry in self.files)


def read_stick(folder: Path) -> StickManifest:
    """The manifest of a stick, checked in itself but not against the files.

    Raises:
        BundleError: there is none, it is not readable, or it names a path that it must not.
    """
    path = folder / MANIFEST
    try:
        num_bytes = path.stat().st_size
        content = path.read_bytes() if num_bytes <= MAX_MANIFEST_BYTES else b""
    except OSError as exc:
        raise BundleError(
            f"{folder} is not a stick",
            why=f"{MANIFEST}: {exc.strerror}; it is written last, so packing may have been killed",
            fix="name the folder that `appliance airgap pack` filled, or pack it again",
        ) from exc
    try:
        if num_bytes > MAX_MANIFEST_BYTES:
            raise ValueError(f"it has more than {MAX_MANIFEST_BYTES:,} bytes")
        body = json.loads(content)
        if not isinstance(body, dict) or body.get("product") != "appliance-stick":
            raise ValueError("it is the manifest of something else")
        manifest = StickManifest.model_validate_json(content)
    except (ValueError, RecursionError) as exc:
        fault = exc.errors()[0] if isinstance(exc, ValidationError) else None
        where = ".".join(map(str, fault["loc"])) + ": " + fault["msg"] if fault else str(exc)
        raise BundleError(
            "the manifest of the stick cannot be read", why=where, fix=PACK_AGAIN
        ) from exc
    _refuse_paths(manifest)
    return manifest


def _refuse_paths(manifest: StickManifest) -> None:
    names = [entry.path for entry in manifest.files]
    inner = [f"{WHEELS}/{wheel.file}" for wheel in manifest.wheels]
    for name in (*names, *inner, *(f"{BASES}/{base.folder}" for base in manifest.bases)):
        if not _is_inside(name):
            raise _refuse(f"{name!r} is absolute, or leads out of the stick")
    if len(set(names)) < len(names):
        raise _refuse("a path stands there twice")
    if missing := set(inner) - set(names):
        raise _refuse(f"{min(missing)!r} is named as a wheel, and has no hash")


def _refuse(why: str) -> BundleError:
    return BundleError(
        "the manifest of the stick names a path that it must not", why=why, fix=PACK_AGAIN
    )


def _is_inside(name: str) -> bool:
    """Whether a name is a plain relative path, written in its only form."""
    path = PurePosixPath(name)
    plain = not any(letter in name for letter in "\\\0:") and name.isprintable()
    is_relative = not path.is_absolute() and ".." not in path.parts and bool(path.parts)
    return plain and is_relative and path.as_posix() == name and name not in (MANIFEST, ATTESTATION)
