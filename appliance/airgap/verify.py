"""Whether a stick is what was packed, and who says so. Reads every file in pieces."""

from __future__ import annotations

from pathlib import Path

from appliance.airgap.pack import write_requirements
from appliance.airgap.stick import PACK_AGAIN, REQUIREMENTS, StickManifest, read_stick
from appliance.bundle.attest import Attested
from appliance.bundle.entries import Holder, check_entries, refuse_odd_files
from appliance.bundle.signing import check_attestation, describe_signers
from appliance.errors import BundleError

_STICK = Holder(
    name="stick", fix=PACK_AGAIN, fix_added="remove what was added, or pack the stick again"
)


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
    refuse_odd_files(folder, _STICK)
    manifest = read_stick(folder)
    attested = check_attestation(folder, keys, must_be_signed=False)
    if must_be_signed and (attested is None or not attested.signers):
        raise BundleError(
            "the stick is not signed by anybody you trust",
            why=f"signed: {describe_signers(attested)}",
            fix="get the public key from whoever packed it: appliance keys trust FILE --name WHO; "
            "or compare the sha256 of its manifest with them, and install with --unsigned",
        )
    check_entries(folder, manifest.files, _STICK)
    _check_requirements(folder, manifest)
    return manifest, attested


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
