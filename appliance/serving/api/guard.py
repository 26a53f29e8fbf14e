"""Who may ask: the name that was called, where a page came from, and the token.

A page in a browser can send requests to this machine. It cannot read a file, so a token stops it;
and it cannot choose the Host header, so a server without a token is not fooled by a name that was
pointed at it (DNS rebinding).
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from appliance.serving.api.errors import ApiError

OPEN_PATHS = frozenset({"/health"})
"""Paths that need no token."""

OWNER = "appliance.owner"
"""Where the owner of a request stands in its scope: the number of the token, "" without one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Access:
    """Who may ask.

    Attributes:
        hosts: names of this server, beside the loopback ones; in lower case.
        digests: sha256 of every token; empty when none is needed.
        is_local: the server listens on a unix socket, which no browser reaches.
    """

    hosts: frozenset[str] = frozenset()
    digests: tuple[bytes, ...] = ()
    is_local: bool = False


class Guard:
    """Lets requests through, or answers them with an error."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        """Stand before an application."""
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        headers = Headers(scope=scope)
        try:
            if not self._access.is_local:
                check_host(headers.getlist("host"), self._access.hosts)
                check_origin(headers.get("origin"), self._access.hosts)
            if scope["path"] not in OPEN_PATHS:
                scope[OWNER] = find_owner(headers.get("authorization"), self._access.digests)
        except ApiError as exc:
            await exc.respond()(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def check_host(values: Sequence[str], hosts: frozenset[str]) -> None:
    """Refuse a request that was sent to another name than ours.

    An address is no name: nobody can point it elsewhere.

    Raises:
        ApiError: the header is missing, stands there twice, or names somebody else.
    """
    if len(values) != 1 or not is_ours(values[0], hosts):
        raise ApiError(
            421,
            "The request names another host than this server. Call it by its address, or start it "
            "with --allow-host NAME.",
            code="misdirected_request",
        )


def check_origin(origin: str | None, hosts: frozenset[str]) -> None:
    """Refuse what a page of another site sends.

    Raises:
        ApiError: the page does not come from this server.
    """
    if origin is not None and not is_ours(urlsplit(origin).netloc, hosts):
        raise ApiError(403, "Pages of other sites may not use this server.", code="foreign_origin")


def is_ours(netloc: str, hosts: frozenset[str]) -> bool:
    """Whether a host, with or without a port, is this server's."""
    try:
        name = urlsplit(f"//{netloc}").hostname or ""
        _ = urlsplit(f"//{netloc}").port
    except ValueError:
        return False
    if name == "localhost" or name in hosts:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def find_owner(authorization: str | None, digests: Sequence[bytes]) -> str:
    """Whose token a request brings.

    Every token is compared, in constant time, so that time tells nothing about them.

    Raises:
        ApiError: it is missing or wrong.
    """
    if not digests:
        return ""
    kind, _, token = (authorization or "").partition(" ")
    given = digest_token(token.strip())
    matches = [hmac.compare_digest(given, digest) for digest in digests]
    if kind.lower() != "bearer" or True not in matches:
        raise ApiError(
            401,
            "The API key is missing or wrong. Send it as: Authorization: Bearer KEY.",
            code="invalid_api_key",
            headers={"www-authenticate": "Bearer"},
        )
    return str(matches.index(True))


def digest_token(token: str) -> bytes:
    """What is kept of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
