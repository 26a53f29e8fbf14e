"""Tokens of the dashboard and its API: named, with a scope and an end, kept only as hashes.

    read     figures: machine, jobs, curves; no name of a folder or file
    run      all of a job, its documents by name, its bundle; start and stop jobs
    admin    the audit log too

One may be bound to some jobs: it opens these, with their models and bundles, and nothing else.

A token is 256 random bits, so that a plain sha256 of it cannot be reversed by guessing.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from appliance.errors import ServiceError, UsageError
from appliance.files import replace_file
from appliance.values.record import Value

Scope = Literal["read", "run", "admin"]
SCOPES: tuple[Scope, ...] = ("read", "run", "admin")
"""Each may do what those before it may."""

_NAME = re.compile(r"[\w][\w .@-]{0,63}")
_FILE = "tokens.json"


class Token(Value):
    """What is kept of a token.

    Attributes:
        id: eight hexadecimal digits; stands in the token itself and in the audit log.
        name: for people.
        sha256: of the whole token, hexadecimal.
        created_at: seconds since 1970; `expires_at` likewise.
        jobs: numbers of the only jobs that it opens; all where there is none.
    """

    id: str
    name: str
    scope: Scope
    sha256: str
    created_at: float
    expires_at: float
    jobs: tuple[int, ...] = ()


class _Tokens(Value):
    tokens: tuple[Token, ...] = ()


def has_scope(held: Scope, needed: Scope) -> bool:
    """Whether one scope includes another."""
    return SCOPES.index(held) >= SCOPES.index(needed)


def create_token(
    folder: Path, name: str, scope: Scope, seconds: float, now: float, jobs: tuple[int, ...] = ()
) -> tuple[Token, str]:
    """Make a token.

    Args:
        folder: of the dashboard.
        name: for people.
        scope: what it allows.
        seconds: until it ends.
        now: seconds since 1970.
        jobs: the only ones that it opens; all where there is none.

    Returns:
        What is kept, and the token itself, which is nowhere else.

    Raises:
        UsageError: the name cannot be used, or a token that still holds has it; or the scope is
            more than some jobs.
        ServiceError: the file of tokens cannot be read.
    """
    if _NAME.fullmatch(name) is None:
        raise UsageError(
            f"a token cannot be called {name[:70]!r}",
            why="names have 1 to 64 letters, digits, spaces, and . @ - _",
            fix="name it after who or what uses it: --name 'wall display'",
        )
    token_id = secrets.token_hex(4)
    secret = f"apl_{token_id}_{secrets.token_urlsafe(32)}"
    token = Token(
        id=token_id,
        name=name,
        scope=scope,
        sha256=digest(secret),
        created_at=now,
        expires_at=now + seconds,
        jobs=tuple(sorted(set(jobs))),
    )
    if jobs and scope == "admin":
        raise UsageError(
            "a token for some jobs cannot have the scope admin",
            why="the audit log tells of all jobs",
            fix="--scope run",
        )
    with _lock(folder):
        held = [each for each in list_tokens(folder) if each.expires_at > now]
        if any(each.name == name for each in held):
            raise UsageError(
                f"there is a token called {name!r} already",
                why="two of one name could not be told apart in the audit log",
                fix=f"take another name, or: appliance tokens revoke {name!r}",
            )
        _write(folder, (*held, token))
    return token, secret


def list_tokens(folder: Path) -> tuple[Token, ...]:
    """All tokens, the expired ones too, in the order they were made.

    Raises:
        ServiceError: the file is not what this program writes.
    """
    try:
        content = (folder / _FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return ()
    try:
        return _Tokens.model_validate_json(content).tokens
    except ValidationError as exc:
        raise ServiceError(
            "the tokens cannot be read",
            why=f"{folder / _FILE} is not what this program writes",
            fix="remove that file and make new tokens",
        ) from exc


def revoke_token(folder: Path, name: str) -> Token:
    """Take a token away, by its name or its id; it is refused from the next request on.

    Raises:
        UsageError: there is none.
        ServiceError: the file of tokens cannot be read.
    """
    with _lock(folder):
        tokens = list_tokens(folder)
        found = next((token for token in tokens if name in (token.name, token.id)), None)
        if found is None:
            raise UsageError(f"there is no token {name[:70]!r}", fix="appliance tokens list")
        _write(folder, tuple(token for token in tokens if token is not found))
    return found


def find_token(folder: Path, secret: str, now: float) -> Token | None:
    """The token that somebody brings; None if it is unknown, revoked or expired.

    Every token is compared, in constant time, so that time tells nothing about them.
    """
    given = digest(secret)
    matches = [token for token in list_tokens(folder) if hmac.compare_digest(given, token.sha256)]
    return next((token for token in matches if token.expires_at > now), None)


def digest(secret: str) -> str:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def _write(folder: Path, tokens: tuple[Token, ...]) -> None:
    body = json.dumps(_Tokens(tokens=tokens).model_dump(mode="json"), indent=1)
    with replace_file(folder / _FILE) as temporary:
        temporary.touch(mode=0o600)
        temporary.write_text(body, encoding="utf-8")


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """One writer at a time: the dashboard does not write, but two terminals may."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / f"{_FILE}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
