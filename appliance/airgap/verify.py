"""Whether a stick is what was packed, and who says so. Reads every file in pieces."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from appliance.airgap.pack import write_requirements
from appliance.airgap.stick import PACK_AGAIN, REQUIREMENTS, StickManifest, read_stick
from appliance.bundle.attest import Attested
from appliance.bundle.manifest import ATTESTATION, MANIFEST, FileEntry, list_files
from appliance.bundle.signing import check_attestation, describe_signers
from appliance.errors import BundleError
from appliance.files import hash_file


def verify_stick(
    folder: Path, keys: Path, *, must_be_signed: bool
) -> tuple[StickManifest, Attested | None]:
    """Hold every file of a stick against its manifest, and that against its signature.

    The signature comes first: nothing else of a stick by a stranger needs to be read.

    Args:
        folder: of the stick.
        keys: folder of the keys.
        must_be_signed: refuse a stick that no trusted key signed.

    Raises:
        BundleError: something is missing, changed, added, or leads elsewhere (it is named); or a
            signature is wrong, or missing that must be there.
    """
    _refuse_odd_files(folder)
    manifest = read_stick(folder)
    attested = check_attestation(folder, keys, must_be_signed=False)
    if must_be_signed and (attested is None or not attested.signers):
        raise BundleError(
            "the stick is not signed by anybody you trust",
            why=f"signed: {describe_signers(attested)}",
            fix="get the public key from whoever packed it: appliance keys trust FILE --name WHO; "
            "or compare the sha256 of its manifest with them, and install with --unsigned",
        )
    present = dict(list_files(folder))
    for entry in manifest.files:
        _check_file(entry, present.pop(entry.path, None))
    if present:
        raise BundleError(
            f"the stick holds {min(present)!r}, which is not in its manifest",
            why=f"{len(present)} file{'s were' if len(present) > 1 else ' was'} added",
            fix="remove what was added, or pack the stick again",
        )
    _check_requirements(folder, manifest)
    return manifest, attested


def _refuse_odd_files(folder: Path) -> None:
    beside = [(name, folder / name) for name in (MANIFEST, ATTESTATION)]
    for name, path in (*beside, *list_files(folder)):
        if os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode):
            raise BundleError(
                f"the stick holds {name!r}, which is not a plain file",
                why="a link could lead out of the stick",
                fix=PACK_AGAIN,
            )


def _check_file(entry: FileEntry, path: Path | None) -> None:
    if path is None:
        raise BundleError(
            f"{entry.path} is missing from the stick",
            why=f"the manifest lists it with {entry.num_bytes:,} bytes",
            fix=PACK_AGAIN,
        )
    num_bytes = path.stat().st_size
    if num_bytes != entry.num_bytes:
        why = f"it has {num_bytes:,} bytes, the manifest says {entry.num_bytes:,}"
    elif (sha256 := hash_file(path)) != entry.sha256:
        why = f"its sha256 is {sha256[:12]}…, the manifest says {entry.sha256[:12]}…"
    else:
        return
    raise BundleError(f"{entry.path} on the stick is not what was packed", why=why, fix=PACK_AGAIN)


def _check_requirements(folder: Path, manifest: StickManifest) -> None:
    """What pip is told must be what the manifest tells: it could name an index, or other hashes."""
    hashes = {entry.path: entry.sha256 for entry in manifest.files}
    told = (folder / REQUIREMENTS).read_text(encoding="utf-8")
    agree = all(hashes[f"wheels/{wheel.file}"] == wheel.sha256 for wheel in manifest.wheels)
    if not agree or told != write_requirements(manifest.wheels):
        raise BundleError(
            f"{REQUIREMENTS} of the stick is not what its manifest says",
            why="pip would install something else than the wheels that are listed",
            fix=PACK_AGAIN,
        )
