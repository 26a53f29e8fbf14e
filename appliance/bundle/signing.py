"""What a person does with the attestation of a finished bundle: see who signed it, or sign it."""

from __future__ import annotations

from pathlib import Path

from appliance.bundle.attest import Attested, countersign, read_attestation
from appliance.bundle.keys import list_trusted, load_signing_key
from appliance.bundle.manifest import ATTESTATION, MANIFEST
from appliance.bundle.verify import find_bundle, verify_bundle
from appliance.errors import BundleError, UsageError
from appliance.files import hash_file, write_text


def check_attestation(folder: Path, keys: Path, *, must_be_signed: bool) -> Attested | None:
    """What is attested about a bundle whose files have been verified.

    Args:
        folder: the bundle.
        keys: folder of the keys.
        must_be_signed: refuse a bundle that no trusted key signed.

    Raises:
        BundleError: the attestation is broken or wrong, or a signature is missing that must be.
    """
    trusted = list_trusted(keys)
    attested = read_attestation(folder, hash_file(folder / MANIFEST), trusted)
    if must_be_signed and (attested is None or not attested.signers):
        raise BundleError(
            "the bundle is not signed by anybody you trust",
            why=describe_signers(attested),
            fix="get the public key from whoever made it: appliance keys trust FILE --name WHO",
        )
    return attested


def sign_bundle(path: Path, keys: Path) -> tuple[str, ...]:
    """Add this user's signature to a bundle that is whole.

    Args:
        path: a bundle, or the run that made it.
        keys: folder of the keys.

    Returns:
        Names of all trusted signers.

    Raises:
        UsageError: this user has no key.
        BundleError: the bundle is damaged, or tells nothing that could be signed.
    """
    key = load_signing_key(keys)
    if key is None:
        raise UsageError(
            "there is no key to sign with", why=f"none in {keys}", fix="appliance keys create"
        )
    folder = find_bundle(path)
    verify_bundle(folder)
    attested = check_attestation(folder, keys, must_be_signed=False)
    if attested is None:
        raise BundleError(
            f"the bundle has no {ATTESTATION}",
            why="it was made by an earlier version, or the file was taken away",
            fix="make the bundle again: the same tune command",
        )
    write_text(folder / ATTESTATION, countersign((folder / ATTESTATION).read_bytes(), key))
    signed = check_attestation(folder, keys, must_be_signed=True)
    assert signed is not None
    return signed.signers


def tell_signers(path: Path, keys: Path) -> str:
    """Who vouches for a bundle, in words, without holding its files against the manifest.

    Args:
        path: a bundle, or a run; it may have made none yet.
        keys: folder of the keys.

    Returns:
        "" where there is no bundle.
    """
    try:
        folder = find_bundle(path)
    except BundleError:
        return ""
    try:
        return describe_signers(check_attestation(folder, keys, must_be_signed=False))
    except BundleError as exc:
        return f"no: {exc.what}"


def describe_signers(attested: Attested | None) -> str:
    """Who signed, for people."""
    if attested is None:
        return f"no: there is no {ATTESTATION}"
    strangers = ", ".join(f"{key[:16]}…" for key in attested.unknown)
    if attested.signers:
        return f"by {', '.join(attested.signers)}" + (f"; and {strangers}" if strangers else "")
    return f"by {strangers}, which is not trusted here" if strangers else "no"
