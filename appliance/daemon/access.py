"""Who speaks through the control socket, and what they may do.

The kernel tells uid and groups of the peer; no password is needed. Whoever may open the socket may
submit jobs and see their own; administrators see and steer all.
"""

from __future__ import annotations

import contextlib
import grp
import os
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from appliance.daemon.paths import StateFolder
from appliance.daemon.settings import Settings
from appliance.errors import ServiceError

_SO_PEERGROUPS = 59
"""From <asm-generic/socket.h>, Linux 4.13; not in Python's socket module."""

_MAX_GROUPS_BYTES = 1024
"""Largest answer that getsockopt takes in Python: 256 groups of four bytes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Peer:
    """The process at the other end: user id, and ids of all its groups."""

    uid: int
    groups: frozenset[int]


def identify(connection: socket.socket) -> Peer:
    """Ask the kernel who is at the other end of a unix socket.

    Source: unix(7), SO_PEERCRED; SO_PEERGROUPS for the supplementary groups.
    """
    size = struct.calcsize("3i")
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    _, uid, gid = struct.unpack("3i", credentials)
    groups = {gid}
    with contextlib.suppress(OSError):
        raw = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MAX_GROUPS_BYTES)
        groups |= set(struct.unpack(f"{len(raw) // 4}I", raw))
    return Peer(uid=uid, groups=frozenset(groups))


def is_admin(peer: Peer, settings: Settings) -> bool:
    """Whether a peer may see and steer every job."""
    return peer.uid in (0, os.geteuid()) or find_group(settings.admins_group) in peer.groups


def may_connect(peer: Peer, settings: Settings) -> bool:
    """Whether a peer may ask for anything at all; the socket's mode says the same."""
    return is_admin(peer, settings) or find_group(settings.users_group) in peer.groups


def find_group(name: str) -> int | None:
    """Id of a group; None if this machine has none of that name."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def resolve_documents(documents: Path, peer: Peer, state: StateFolder, settings: Settings) -> Path:
    """The real path of a folder, if this peer may have the service read it.

    The service must not become a way to read what its users cannot: it takes a folder in place
    only from its own user and administrators, or under a root that the settings open to all. The
    copies that others handed over are theirs alone.

    Raises:
        ServiceError: the folder has to be handed over instead.
    """
    resolved = documents.resolve()
    if not is_admin(peer, settings) and not _is_open(resolved, peer, state, settings):
        raise ServiceError(
            "the service does not read this folder in place for you",
            why="it reads only the roots in its settings, and folders that were handed to it",
            fix="the command line hands the folder over by itself; "
            "or ask an administrator to add its root to document_roots",
        )
    if not os.access(resolved, os.R_OK | os.X_OK):
        raise ServiceError(
            "the service cannot read this folder",
            why="it has no permission, or the folder is hidden from it (home folders are)",
            fix="the command line hands the folder over by itself",
        )
    return resolved


def require_base(base: str | None, peer: Peer, state: StateFolder, settings: Settings) -> None:
    """Let only administrators name a base by an arbitrary path.

    Raises:
        ServiceError: the base is a path outside the imported bases and the open roots.
    """
    if base is None or is_admin(peer, settings) or not _is_path(base):
        return
    path = Path(base).resolve()
    is_stored = _is_below(path, [state.bases.resolve()])
    if base.startswith("~") or not (is_stored or _is_open(path, peer, state, settings)):
        raise ServiceError(
            "the service does not read a base model there for you",
            why="only imported bases and the roots in its settings are open to every user",
            fix="ask an administrator: appliance bases add <folder>",
        )


def _is_path(base: str) -> bool:
    """Whether a worker would take a base for a folder, not for the name of a model."""
    return base.startswith(("/", "~", ".")) or ".." in Path(base).parts or Path(base).is_dir()


def _is_open(path: Path, peer: Peer, state: StateFolder, settings: Settings) -> bool:
    """Whether a folder may be read for this peer; the state folder holds what is of others."""
    inside = state.path.resolve()
    if _is_below(path, [inside]):
        return _is_below(path, [inside / "documents" / str(peer.uid)])
    roots = [root.resolve() for root in settings.document_roots]
    return _is_below(path, roots) and not _is_below(inside, [path])


def _is_below(path: Path, roots: Iterable[Path]) -> bool:
    return any(path == root or root in path.parents for root in roots)
