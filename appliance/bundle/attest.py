"""Who vouches for a bundle, and for what: an in-toto statement in a signed envelope.

The manifest holds the hash of every file, the statement the hash of the manifest and where the
model came from, and the signature covers the statement. It lies beside the manifest, which cannot
list it. Without a key the envelope carries no signature: it tells, but nobody vouches.

Source: in-toto Attestation Framework, Statement v1; SLSA provenance v1; DSSE v1.0 (what is signed
is the "PAE" of type and payload, so that one cannot be taken for another).
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from appliance.bundle.keys import TrustedKey, identify
from appliance.bundle.manifest import ATTESTATION, MANIFEST
from appliance.errors import BundleError
from appliance.values import Value

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
MAX_BYTES = 2**20
"""Of an envelope; ours have a few kilobytes."""


class Signature(Value):
    """A signature of an envelope.

    Attributes:
        keyid: identity of the key; a hint, not believed.
        sig: base64.
    """

    keyid: str
    sig: str


class Envelope(Value):
    """A DSSE envelope.

    Attributes:
        payload: the statement, base64.
        payload_type: what it is.
        signatures: none when nobody signed.
    """

    payload: str
    payloadType: str
    signatures: tuple[Signature, ...] = ()


class Attested(Value):
    """What an envelope turned out to say.

    Attributes:
        statement: the in-toto statement.
        signers: names of trusted keys that signed it.
        unknown: identities, as they claim, of signatures by keys that are not trusted.
    """

    statement: dict[str, Any]
    signers: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def write_statement(manifest_sha256: str, provenance: dict[str, Any]) -> bytes:
    """An in-toto statement about a bundle.

    Args:
        manifest_sha256: hash of its manifest.
        provenance: the SLSA predicate.
    """
    body = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": MANIFEST, "digest": {"sha256": manifest_sha256}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": provenance,
    }
    return json.dumps(body, ensure_ascii=False, indent=1).encode()


def seal(statement: bytes, key: Ed25519PrivateKey | None) -> str:
    """The envelope of a statement, signed where there is a key; JSON."""
    envelope = Envelope(
        payload=_to_base64(statement),
        payloadType=PAYLOAD_TYPE,
        signatures=() if key is None else (_sign(statement, key),),
    )
    return envelope.model_dump_json(indent=1) + "\n"


def countersign(content: bytes, key: Ed25519PrivateKey) -> str:
    """An envelope (JSON, read before) with a signature more, or a newer one by the same key."""
    envelope = Envelope.model_validate_json(content)
    mine = _sign(_from_base64(envelope.payload), key)
    others = tuple(each for each in envelope.signatures if each.keyid != mine.keyid)
    signed = envelope.model_copy(update={"signatures": (*others, mine)})
    return signed.model_dump_json(indent=1) + "\n"


def read_attestation(
    folder: Path, manifest_sha256: str, trusted: list[TrustedKey]
) -> Attested | None:
    """What the envelope of a bundle says; None when there is none.

    Args:
        folder: the bundle.
        manifest_sha256: hash of the manifest that lies there.
        trusted: keys that are believed.

    Raises:
        BundleError: the envelope is broken, is about another manifest, or carries a signature by a
            trusted key that is wrong.
    """
    try:
        envelope = _read_envelope(folder / ATTESTATION)
    except FileNotFoundError:
        return None
    statement = _open_statement(envelope)
    if _find_subject(statement) != manifest_sha256:
        raise BundleError(
            "the attestation belongs to another bundle, or the manifest was changed",
            why=f"it vouches for a manifest with sha256 {str(_find_subject(statement))[:12]}…, "
            f"the manifest here has {manifest_sha256[:12]}…",
            fix="do not use this bundle; copy it again from where it was made",
        )
    signers, unknown = _check_signatures(envelope, trusted)
    return Attested(statement=statement, signers=signers, unknown=unknown)


def encode_for_signing(payload_type: str, payload: bytes) -> bytes:
    """The bytes that a signature covers: DSSE's pre-authentication encoding."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def _sign(statement: bytes, key: Ed25519PrivateKey) -> Signature:
    signed = key.sign(encode_for_signing(PAYLOAD_TYPE, statement))
    return Signature(keyid=identify(key.public_key()), sig=_to_base64(signed))


def _read_envelope(path: Path) -> Envelope:
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise _explain_broken(f"it has more than {MAX_BYTES:,} bytes")
    try:
        envelope = Envelope.model_validate_json(content)
    except ValidationError as exc:
        fault = exc.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        raise _explain_broken(f"{where}: {fault['msg']}" if where else fault["msg"]) from exc
    if envelope.payloadType != PAYLOAD_TYPE:
        raise _explain_broken(f"it holds {envelope.payloadType[:60]!r}, not {PAYLOAD_TYPE!r}")
    return envelope


def _open_statement(envelope: Envelope) -> dict[str, Any]:
    try:
        statement = json.loads(_from_base64(envelope.payload))
    except (ValueError, RecursionError) as exc:
        raise _explain_broken("its payload is not JSON in base64") from exc
    if not isinstance(statement, dict) or statement.get("_type") != STATEMENT_TYPE:
        raise _explain_broken(f"its payload is not an in-toto statement ({STATEMENT_TYPE})")
    if statement.get("predicateType") != PREDICATE_TYPE:
        raise _explain_broken(f"its statement is not about provenance ({PREDICATE_TYPE})")
    return statement


def _find_subject(statement: dict[str, Any]) -> object:
    """Hash of the manifest that a statement is about."""
    match statement.get("subject"):
        case [{"name": name, "digest": {"sha256": sha256}}] if name == MANIFEST:
            return sha256
    raise _explain_broken(f"its subject is not one {MANIFEST} with its sha256")


def _check_signatures(
    envelope: Envelope, trusted: list[TrustedKey]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of trusted signers; identities of the others."""
    from cryptography.exceptions import InvalidSignature

    by_identity = {key.identity: key for key in trusted}
    signed = encode_for_signing(envelope.payloadType, _from_base64(envelope.payload))
    signers, unknown = [], []
    for signature in envelope.signatures:
        known = by_identity.get(signature.keyid)
        if known is None:
            unknown.append(signature.keyid[:64])
            continue
        try:
            known.key.verify(_from_base64(signature.sig), signed)
        except (InvalidSignature, ValueError) as exc:
            raise BundleError(
                f"the signature by {known.name} is wrong",
                why="the attestation was changed after it was signed, or somebody else signed it",
                fix="do not use this bundle; ask the signer for the true one",
            ) from exc
        signers.append(known.name)
    return tuple(signers), tuple(unknown)


def _to_base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _from_base64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _explain_broken(why: str) -> BundleError:
    return BundleError(
        f"the attestation of the bundle ({ATTESTATION}) cannot be read",
        why=why,
        fix="copy the bundle again from where it was made, or make it again",
    )
