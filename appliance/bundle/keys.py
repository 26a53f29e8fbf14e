"""Keys that sign bundles, and keys whose signatures are believed: ed25519, files of this user.

    signing.pem          the private key, readable by its owner alone
    trusted/NAME.pem     public keys of others

One's own key is trusted without being named.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.errors import BundleError, UsageError
from appliance.files import replace_file

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

SIGNING_KEY = "signing.pem"
OWN = "this user"
"""Name of one's own key among the trusted ones."""

_NAME = re.compile(r"[\w][\w .@-]{0,63}")


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """A public key that is believed.

    Attributes:
        name: whose it is, as the person who trusted it said.
        identity: sha256 of the key in DER, hexadecimal.
        key: ed25519.
    """

    name: str
    identity: str
    key: Ed25519PublicKey


def locate_keys() -> Path:
    """Folder of this user's keys: APPLIANCE_KEYS, or beside other settings of the user."""
    if named := os.environ.get("APPLIANCE_KEYS"):
        return Path(named)
    import platformdirs

    return platformdirs.user_config_path("appliance") / "keys"


def create_key(folder: Path) -> str:
    """Make the key that signs from now on.

    Returns:
        Its identity.

    Raises:
        UsageError: there is one already: bundles were signed with it.
        OSError: it cannot be written.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    path = folder / SIGNING_KEY
    if path.exists():
        raise UsageError(
            f"there is a key already: {path}",
            why="bundles that it signed would lose their signer",
            fix="keep it; or move it away first, and export it so that others can still trust it",
        )
    key = Ed25519PrivateKey.generate()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with replace_file(path) as temporary:
        temporary.touch(mode=0o600)
        temporary.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return identify(key.public_key())


def load_signing_key(folder: Path) -> Ed25519PrivateKey | None:
    """The key that signs; None where there is none.

    Raises:
        BundleError: it cannot be read, is no ed25519 key, or others can read it.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    path = folder / SIGNING_KEY
    try:
        mode = path.stat().st_mode
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise _explain_key(path, exc.strerror or type(exc).__name__) from exc
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise BundleError(
            f"others can read the signing key {path}",
            why=f"its mode is {stat.S_IMODE(mode):o}: anybody could have signed with it",
            fix=f"chmod 600 {path}, if you are sure that nobody did; else make another",
        )
    try:
        key = load_pem_private_key(content, password=None)
    except (ValueError, TypeError) as exc:
        raise _explain_key(path, "it is no unencrypted key in PEM") from exc
    if not isinstance(key, Ed25519PrivateKey):
        raise _explain_key(path, "it is not an ed25519 key")
    return key


def export_key(folder: Path) -> str:
    """The public half of the signing key, in PEM.

    Raises:
        UsageError: there is no key.
        BundleError: it cannot be used.
    """
    key = load_signing_key(folder)
    if key is None:
        raise UsageError(
            "there is no key to export",
            why=f"{folder / SIGNING_KEY} is not there",
            fix="appliance keys create",
        )
    return write_pem(key.public_key())


def trust_key(folder: Path, pem: bytes, name: str) -> TrustedKey:
    """Believe what this key signs from now on.

    Args:
        folder: of the keys.
        pem: the public key.
        name: whose it is.

    Raises:
        UsageError: the name cannot be a file name, or is taken by another key.
        BundleError: it is not a public ed25519 key.
        OSError: it cannot be written.
    """
    if _NAME.fullmatch(name) is None or name == OWN:
        raise UsageError(
            f"a key cannot be called {name[:70]!r}",
            why="names have 1 to 64 letters, digits, spaces, and . @ - _",
            fix="--name 'who signs with it'",
        )
    trusted = TrustedKey(name, identify(key := read_public_key(pem)), key)
    path = folder / "trusted" / f"{name}.pem"
    if path.exists() and identify(read_public_key(path.read_bytes())) != trusted.identity:
        raise UsageError(
            f"another key is trusted under the name {name!r}",
            why=f"it lies in {path}",
            fix="take another name, or remove that file",
        )
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with replace_file(path) as temporary:
        temporary.write_text(write_pem(key), encoding="ascii")
    return trusted


def list_trusted(folder: Path) -> list[TrustedKey]:
    """Keys that are believed, one's own first.

    Raises:
        BundleError: a file among them is no key.
    """
    trusted = []
    if own := load_signing_key(folder):
        public = own.public_key()
        trusted.append(TrustedKey(OWN, identify(public), public))
    for path in sorted((folder / "trusted").glob("*.pem")):
        key = read_public_key(path.read_bytes(), f"the trusted key {path}")
        trusted.append(TrustedKey(path.stem, identify(key), key))
    return trusted


def read_public_key(pem: bytes, what: str = "the key") -> Ed25519PublicKey:
    """A public key from PEM.

    Args:
        pem: its text.
        what: how an error names it.

    Raises:
        BundleError: it is not a public ed25519 key.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    with contextlib.suppress(ValueError, UnsupportedAlgorithm):
        key = load_pem_public_key(pem)
        if isinstance(key, Ed25519PublicKey):
            return key
    raise BundleError(
        f"{what} cannot be used",
        why="it is not a public ed25519 key in PEM",
        fix="take what `appliance keys export` printed where the bundle was made",
    )


def write_pem(key: Ed25519PublicKey) -> str:
    """A public key in PEM."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")


def identify(key: Ed25519PublicKey) -> str:
    """Identity of a public key: sha256 of its DER form, hexadecimal."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def _explain_key(path: Path, why: str) -> BundleError:
    return BundleError(
        f"the signing key {path} cannot be used",
        why=why,
        fix="mend it, or move it away and make another: appliance keys create",
    )
