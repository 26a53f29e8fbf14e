"""The door: who was called, where a page came from, how many knock; and what every answer says.

A page in a browser can send requests to this machine, and can be made to call it by a name that
was pointed at it (DNS rebinding). Neither passes. There is no CORS: no other site ever reads an
answer.
"""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from appliance.serving.api.guard import is_ours
from appliance.web.metrics import Metrics
from appliance.web.refusals import Refusal, refuse

MAX_REQUESTS = 64
"""Answered at the same time."""

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
"""What a page may do: run our script, use our style, speak to us. Nothing inline."""

HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # with no-referrer, forms would send `Origin: null`
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}

SAFE_METHODS = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Door:
    """What this server is called, and how it is reached.

    Attributes:
        hosts: names of it, beside addresses and localhost; in lower case.
        is_secure: it speaks TLS.
    """

    hosts: frozenset[str] = frozenset()
    is_secure: bool = False


class Guard:
    """Lets requests through, or answers them with an error."""

    def __init__(self, app: ASGIApp, door: Door, metrics: Metrics) -> None:
        """Stand before an application."""
        self._app = app
        self._door = door
        self._metrics = metrics
        self._num_requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()

        async def finish(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._add_headers(MutableHeaders(scope=message))
                route = scope.get("appliance.route", "")
                self._metrics.note_answer(route, message["status"], time.perf_counter() - began)
            await send(message)

        try:
            self._check(scope)
        except Refusal as exc:
            self._metrics.note_refusal(str(exc.status))
            await _answer(exc, receive, finish)
            return
        self._num_requests += 1
        try:
            await self._app(scope, receive, finish)
        finally:
            self._num_requests -= 1

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not is_ours(hosts[0], self._door.hosts):
            raise refuse(
                421,
                "the request names another host than this dashboard",
                why="a page elsewhere may have pointed its name at this machine",
                fix="call it by its address, or start it with --allow-host NAME",
            )
        check_source(headers, hosts[0], scope["method"], is_secure=self._door.is_secure)
        if self._num_requests >= MAX_REQUESTS:
            raise refuse(
                503,
                "the dashboard is busy",
                why=f"it answers {MAX_REQUESTS} requests at the same time",
                fix="try again in a moment",
                retry_seconds=2,
            )

    def _add_headers(self, headers: MutableHeaders) -> None:
        for name, value in HEADERS.items():
            headers[name] = value
        headers.setdefault("cache-control", "no-store")
        if self._door.is_secure:
            headers["strict-transport-security"] = "max-age=31536000"


def check_source(headers: Headers, host: str, method: str, *, is_secure: bool) -> None:
    """Refuse what a page of another site sends.

    Raises:
        Refusal: the page does not come from this dashboard.
    """
    origin = headers.get("origin")
    site = headers.get("sec-fetch-site")
    scheme = "https" if is_secure else "http"
    is_foreign = origin is not None and _split(origin) != (scheme, host.lower())
    if site not in (None, "same-origin", "none") and method not in SAFE_METHODS:
        is_foreign = True
    if is_foreign:
        raise refuse(
            403,
            "pages of other sites may not use this dashboard",
            why="the browser says that the request comes from another site",
            fix="open the dashboard by its own address",
        )


def is_from_own_page(headers: Headers) -> bool:
    """Whether a browser vouches for where a request comes from; the guard has looked at both."""
    return "origin" in headers or headers.get("sec-fetch-site") == "same-origin"


def _split(origin: str) -> tuple[str, str]:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return "", ""
    return parts.scheme, parts.netloc.lower()


async def _answer(refusal: Refusal, receive: Receive, send: Send) -> None:
    body = json.dumps(refusal.body).encode()
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        "connection": "close",
    } | refusal.headers
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


class Rates:
    """How often each visitor asks: a bucket that fills at a rate, and each request takes from."""

    MAX_KEYS = 10_000

    def __init__(
        self, per_second: float, burst: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Nobody has asked.

        Args:
            per_second: requests that are always let through.
            burst: that may come at once after a pause.
            clock: seconds.
        """
        self._per_second = per_second
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str) -> None:
        """One more request.

        Raises:
            Refusal: it is one too many.
        """
        now = self._clock()
        left, since = self._buckets.pop(key, (self._burst, now))
        left = min(self._burst, left + (now - since) * self._per_second)
        self._buckets[key] = (max(0.0, left - 1), now)
        while len(self._buckets) > self.MAX_KEYS:
            self._buckets.popitem(last=False)
        if left < 1:
            raise refuse(
                429,
                "too many requests",
                why=f"more than {self._per_second:g} a second, for longer than a moment",
                fix="wait, and ask less often",
                retry_seconds=max(1, round(1 / self._per_second)),
            )
