"""Where a server listens, and the tokens it knows: checked before anything is loaded."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import stat
from pathlib import Path

from appliance.errors import ServiceError, UsageError
from appliance.serving.api.guard import digest_token

MIN_TOKEN_CHARACTERS = 16
"""Shorter ones can be guessed."""

_BACKLOG = 256


def open_tcp_socket(host: str, port: int, *, has_token: bool) -> socket.socket:
    """Listen on an address.

    Args:
        host: an address or a name of this machine.
        port: 0 for any that is free.
        has_token: whether requests have to bring a token.

    Raises:
        UsageError: others could reach it, and it asks for no token.
        ServiceError: the address is taken, or not ours.
    """
    if not has_token and not is_loopback(host):
        raise UsageError(
            f"the server would listen on {host} without a token",
            why="everybody who reaches this machine could use the model, and what it has learned",
            fix="add --token-file FILE, or leave --host at 127.0.0.1",
        )
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        listening = socket.create_server(address[:2], family=family, backlog=_BACKLOG)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # for what it accepts
    except (OSError, UnicodeError, OverflowError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else None
        raise ServiceError(
            f"the server cannot listen on {host}, port {port}",
            why=(reason or str(exc) or type(exc).__name__).lower(),
            fix="choose another port with --port, or end what listens there",
        ) from exc
    return listening


def open_unix_socket(path: Path) -> socket.socket:
    """Listen on a file; its owner and group may connect.

    Raises:
        ServiceError: the file is something else, in use, or cannot be made.
    """
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.exists() or path.is_symlink():
            _remove_stale(path)
        before = os.umask(0o117)
        try:
            listening.bind(str(path))
        finally:
            os.umask(before)
        listening.listen(_BACKLOG)
    except (OSError, ServiceError) as exc:
        listening.close()
        if isinstance(exc, ServiceError):
            raise
        raise ServiceError(
            f"the server cannot listen on {path}",
            why=(exc.strerror or str(exc)).lower(),
            fix="name a file in a folder that this user may write to, below 100 characters",
        ) from exc
    return listening


def read_tokens(path: Path) -> tuple[bytes, ...]:
    """Digests of the tokens in a file, one a line; empty lines and lines with # do not count.

    Raises:
        UsageError: the file cannot be read, others may read it, or a token is missing or weak.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not text"
        raise UsageError(
            f"the token file {path} cannot be read",
            why=(reason or type(exc).__name__).lower(),
            fix=f"make one: (umask 077; openssl rand -hex 32 > {path})",
        ) from exc
    if mode & stat.S_IROTH:
        raise UsageError(
            f"everybody on this machine may read the token file {path}",
            why=f"its mode is {mode:04o}",
            fix=f"chmod 600 {path}; and use another token",
        )
    tokens = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not tokens or min(map(len, tokens)) < MIN_TOKEN_CHARACTERS:
        raise UsageError(
            f"the token file {path} holds no token"
            if not tokens
            else f"a token in {path} is too short",
            why=f"a token has at least {MIN_TOKEN_CHARACTERS} characters, one token a line",
            fix=f"make one: (umask 077; openssl rand -hex 32 > {path})",
        )
    return tuple(digest_token(token) for token in tokens)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _remove_stale(path: Path) -> None:
    """Remove a socket that nobody listens on any more."""
    if not stat.S_ISSOCK(path.lstat().st_mode):
        raise ServiceError(
            f"the server cannot listen on {path}",
            why="there is a file with this name that is not a socket",
            fix="name another file with --socket",
        )
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe,
        contextlib.suppress(ConnectionRefusedError, FileNotFoundError),
    ):
        probe.connect(str(path))
        raise ServiceError(
            f"the server cannot listen on {path}",
            why="another process listens there",
            fix="end it, or name another file with --socket",
        )
    path.unlink(missing_ok=True)
