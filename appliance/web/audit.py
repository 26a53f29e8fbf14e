"""Who did what, in a file that tells when somebody changed it.

    audit.jsonl      one line an act; each holds the hash of the line before it
    head.json        number and hash of the last line, signed with ed25519
    keys/            the key that signs, of this dashboard alone

A line that is edited, taken out or moved breaks the chain; lines cut off at the end miss the head.
Whoever may write all three files could begin anew: only a head that was kept elsewhere
(`appliance audit head`) shows that. Lines hold ids and words of ours: no name of a file or folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from appliance.bundle.keys import SIGNING_KEY, create_key, load_signing_key
from appliance.errors import ServiceError
from appliance.files import write_text
from appliance.values.record import Value

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

LOG = "audit.jsonl"
HEAD = "head.json"
START = "0" * 64
"""What the first line names as the hash before it."""


class Entry(Value):
    """One act.

    Attributes:
        n: counts from 1.
        at: seconds since 1970.
        who: id of a token, "link" for a browser let in from the terminal, "terminal", or "".
        what: such as "log in" or "cancel".
        about: number of a job, id of a token, or "".
        status: of HTTP; 0 where there is none.
        before: hash of the line before.
        hash: of this line, without this field.
    """

    n: int
    at: float
    who: str
    what: str
    about: str = ""
    status: int = 0
    before: str
    hash: str = ""


class Head(Value):
    """How far the log goes, signed.

    Attributes:
        signature: ed25519 over `n hash at`, hexadecimal.
        key: identity of the public key.
    """

    n: int
    hash: str
    at: float
    signature: str
    key: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _Checked:
    """The beginning of a log that was found whole.

    Attributes:
        digest: sha256 of its lines as they lie there: the same bytes need no second look.
        hashes: of its lines.
    """

    digest: bytes = hashlib.sha256().digest()
    hashes: tuple[str, ...] = ()


class AuditLog:
    """The log of one dashboard. Processes may share it."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        """Nothing is opened yet.

        Args:
            folder: of the dashboard.
            clock: seconds since 1970.
        """
        self.folder = folder
        self._clock = clock
        self._checked = _Checked()

    def note(self, who: str, what: str, about: str = "", status: int = 0) -> None:
        """Add a line; it is on the disk when this returns.

        Raises:
            ServiceError: the log is damaged, or its key cannot be used.
            OSError: it cannot be written.
        """
        key = self._require_key()
        with self._open() as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            last = _read_last(file.fileno(), self.folder / LOG)
            entry = _seal(
                Entry(
                    n=last.n + 1 if last else 1,
                    at=round(self._clock(), 3),
                    who=who,
                    what=what,
                    about=about,
                    status=status,
                    before=last.hash if last else START,
                )
            )
            _append(file.fileno(), (entry.model_dump_json() + "\n").encode())
            write_text(self.folder / HEAD, sign_head(entry, key).model_dump_json())

    def read(self, *, limit: int, before: int | None = None) -> list[Entry]:
        """Lines, the newest first.

        Raises:
            ServiceError: the log is damaged.
        """
        lines = self._read_lines()
        end = len(lines) if before is None else min(len(lines), before - 1)
        start = max(0, end - limit)
        return [_parse(lines[at], at + 1) for at in range(start, end)][::-1]

    def verify(self, *kept: Head) -> int:
        """Check the whole log; lines that were found whole before are compared as bytes.

        Args:
            kept: heads that were kept elsewhere; the log must contain them.

        Returns:
            Number of lines.

        Raises:
            ServiceError: somebody changed it, with the place.
        """
        lines, checked = self._read_lines(), self._checked
        known = len(checked.hashes)
        hashes = list(checked.hashes) if _digest(lines[:known]) == checked.digest else []
        for number, line in enumerate(lines[len(hashes) :], start=len(hashes) + 1):
            entry = _parse(line, number)
            before = hashes[-1] if hashes else START
            if entry.n != number or entry.before != before or _seal(entry) != entry:
                raise _explain_change(
                    f"line {number} is not what was written after line {number - 1}"
                )
            hashes.append(entry.hash)
        for head in filter(None, (self.read_head(), *kept)):
            self._check_head(head, hashes)
        self._checked = _Checked(digest=_digest(lines), hashes=tuple(hashes))
        return len(hashes)

    def read_head(self) -> Head | None:
        """The signed head; None where nothing was logged.

        Raises:
            ServiceError: it is missing beside a log, or no head.
        """
        try:
            return Head.model_validate_json((self.folder / HEAD).read_bytes())
        except FileNotFoundError:
            if self._read_lines():
                raise _explain_change(f"{HEAD} is missing") from None
            return None
        except ValidationError as exc:
            raise _explain_change(f"{HEAD} is no head") from exc

    def _check_head(self, head: Head, hashes: Sequence[str]) -> None:
        from cryptography.exceptions import InvalidSignature

        try:
            signature = bytes.fromhex(head.signature)
            key = load_signing_key(self.folder / "keys")
            if key is None:
                raise _explain_change("the key that signed it is missing")
            key.public_key().verify(signature, _describe_head(head))
        except (InvalidSignature, ValueError) as exc:
            raise _explain_change("the signature of a head is not ours") from exc
        if head.n > len(hashes):
            raise _explain_change(f"it ends at line {len(hashes)}; line {head.n} was written once")
        if head.n and hashes[head.n - 1] != head.hash:
            raise _explain_change(f"line {head.n} is not the one that a head was signed for")

    def _open(self) -> FileIO:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.folder / LOG, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        return FileIO(descriptor, "r+")

    def _require_key(self) -> Ed25519PrivateKey:
        keys = self.folder / "keys"
        if not (keys / SIGNING_KEY).exists():
            create_key(keys)
        key = load_signing_key(keys)
        assert key is not None
        return key

    def _read_lines(self) -> list[bytes]:
        try:
            body = (self.folder / LOG).read_bytes()
        except FileNotFoundError:
            return []
        return body[: body.rfind(b"\n") + 1].splitlines()  # a crash may have torn the last one


def sign_head(entry: Entry, key: Ed25519PrivateKey) -> Head:
    """The head of a log that ends with this line."""
    from appliance.bundle.keys import identify

    head = Head(
        n=entry.n, hash=entry.hash, at=entry.at, signature="", key=identify(key.public_key())
    )
    return head.model_copy(update={"signature": key.sign(_describe_head(head)).hex()})


def _describe_head(head: Head) -> bytes:
    return f"appliance audit {head.n} {head.hash} {head.at!r}".encode()


def _seal(entry: Entry) -> Entry:
    body = json.dumps(entry.model_dump(exclude={"hash"}), sort_keys=True).encode()
    return entry.model_copy(update={"hash": hashlib.sha256(body).hexdigest()})


_TAIL_BYTES = 4096
"""More than any line has."""


def _append(descriptor: int, line: bytes) -> None:
    """Add a whole line, on the disk when this returns, or nothing.

    Raises:
        OSError: the disk is full or fails.
    """
    size = os.fstat(descriptor).st_size
    try:
        left = line
        while left:  # a disk that fills up takes a part of it, and says so at the next
            left = left[os.write(descriptor, left) :]
        os.fsync(descriptor)
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, size)
        raise


def _read_last(descriptor: int, path: Path) -> Entry | None:
    """The last whole line; what a crash left torn behind it is cut off."""
    size = os.fstat(descriptor).st_size
    start = max(0, size - _TAIL_BYTES)
    tail = os.pread(descriptor, size - start, start)
    end = tail.rfind(b"\n") + 1
    if end < len(tail):
        os.ftruncate(descriptor, start + end)
    lines = tail[:end].splitlines()
    return _parse(lines[-1], 0) if lines else None


def _digest(lines: Sequence[bytes]) -> bytes:
    return hashlib.sha256(b"".join(line + b"\n" for line in lines)).digest()


def _parse(line: bytes, number: int) -> Entry:
    try:
        return Entry.model_validate_json(line)
    except ValidationError as exc:
        place = f"line {number}" if number else "the last line"
        raise _explain_change(f"{place} is not one of ours") from exc


def _explain_change(why: str) -> ServiceError:
    return ServiceError(
        "the audit log was changed",
        why=why,
        fix="keep the files as they are, and compare them with a back-up and the heads you kept",
    )
