"""Whether a bundle is what its manifest says: every file there, none changed, none added.

Needs nothing but the standard library and the records; works on a copy of a bundle anywhere.
"""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

from pydantic import ValidationError

from appliance.bundle.entries import Holder, check_entries, refuse_odd_files
from appliance.bundle.manifest import ATTESTATION, MANIFEST, VERDICT, Manifest
from appliance.errors import BundleError
from appliance.values import Verdict

_COPY_AGAIN = "copy the bundle again from where it was made, or make it again"

_BUNDLE = Holder(
    name="bundle", fix=_COPY_AGAIN, fix_added="remove what was added, or copy the bundle again"
)


def find_bundle(path: Path) -> Path:
    """The folder of a bundle, from itself or from the run that made it.

    Raises:
        BundleError: there is no bundle.
    """
    for folder in (path, path / "bundle"):
        if (folder / MANIFEST).is_file():
            return folder
    if not path.exists():
        why = "nothing has this name"
    elif (path / "bundle.partial").exists() or (path / "events.jsonl").exists():
        why = "it is a run that has not made its bundle yet"
    else:
        why = f"it holds no {MANIFEST}, and no folder 'bundle' with one"
    raise BundleError(
        f"{path} is not a bundle",
        why=why,
        fix="name a bundle, or a finished run: appliance tune ./company_docs makes one",
    )


def verify_bundle(path: Path) -> Manifest:
    """Hold every file of a bundle against the manifest.

    Args:
        path: a bundle, or the run that made it.

    Returns:
        The manifest, when everything is as it says.

    Raises:
        BundleError: there is no bundle; the manifest is broken; a file is missing, changed or was
            added (it is named); or an entry points out of the bundle.
    """
    folder = find_bundle(path)
    refuse_odd_files(folder, _BUNDLE)
    manifest = read_manifest(folder)
    check_entries(folder, manifest.files, _BUNDLE)
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a bundle, checked in itself but not against the files.

    Raises:
        BundleError: it is not readable, not of this version, or names a path that it must not.
    """
    try:
        text = (folder / MANIFEST).read_text(encoding="utf-8")
        version = json.loads(text).get("schema_version")
        if version != 1:
            raise BundleError(
                "the bundle was made by another version of the program",
                why=f"its manifest has the schema {version!r}, this version reads 1",
                fix="use the version that made it, or install the current one",
            )
        manifest = Manifest.model_validate_json(text)
    except (OSError, ValueError, AttributeError) as exc:
        fault = exc.errors()[0] if isinstance(exc, ValidationError) else None
        where = ".".join(map(str, fault["loc"])) + ": " + fault["msg"] if fault else str(exc)
        raise BundleError(
            "the manifest of the bundle cannot be read", why=where, fix=_COPY_AGAIN
        ) from exc
    names = [entry.path for entry in manifest.files]
    for name in names:
        if not _is_inside(name) or names.count(name) > 1:
            raise BundleError(
                "the manifest of the bundle names a path that it must not",
                why=f"{name!r} is absolute, leads out of the bundle, or stands there twice",
                fix="do not use this bundle: it was not made by this program",
            )
    return manifest


def read_verdict(folder: Path) -> Verdict | None:
    """The verdict that a bundle carries, whose files have been verified; None of older bundles.

    Raises:
        BundleError: it is not readable.
    """
    try:
        return Verdict.model_validate_json((folder / VERDICT).read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as exc:
        raise BundleError(
            f"the verdict of the bundle ({VERDICT}) cannot be read",
            why=exc.errors()[0]["msg"],
            fix="use the version of the program that made the bundle",
        ) from exc


def _is_inside(name: str) -> bool:
    """Whether a name is a plain relative path, written in its only form."""
    path = PurePosixPath(name)
    plain = "\\" not in name and "\0" not in name and ":" not in name
    inside = not path.is_absolute() and ".." not in path.parts and path.parts
    return bool(
        plain and inside and path.as_posix() == name and name not in (MANIFEST, ATTESTATION)
    )
