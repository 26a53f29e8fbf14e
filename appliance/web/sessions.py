"""Who is logged in: one-time links from the terminal, and sessions behind a cookie.

Sessions live in memory: whoever logged in logs in again when the dashboard was started anew.
"""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass

from appliance.web.tokens import Scope, digest

SESSION_SECONDS = 12 * 3600.0
"""A day's work."""

LINK_SECONDS = 15 * 60.0
"""From the terminal to the browser."""

MAX_SESSIONS = 1000
"""Beyond, the oldest one ends."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """One browser that is logged in.

    Attributes:
        token_id: of the token it logged in with; "" for a link from the terminal.
        form_secret: stands in every form, so that only our own pages can send one.
        ends_at: seconds since 1970.
    """

    token_id: str
    scope: Scope
    form_secret: str
    ends_at: float


class Sessions:
    """All that are logged in. Any thread may ask."""

    def __init__(self) -> None:
        """Nobody is."""
        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}
        self._links: dict[str, float] = {}

    def make_link(self, now: float) -> str:
        """A secret that lets one browser in, once."""
        secret = secrets.token_urlsafe(32)
        with self._lock:
            self._links[digest(secret)] = now + LINK_SECONDS
        return secret

    def follow_link(self, secret: str, now: float) -> str | None:
        """Log in with a link: the cookie of a new session; None if the link is used up or old."""
        with self._lock:
            ends_at = self._links.pop(digest(secret), 0.0)
        return self.begin("", "admin", now + SESSION_SECONDS) if ends_at > now else None

    def begin(self, token_id: str, scope: Scope, ends_at: float) -> str:
        """Begin a session; returns its cookie, of which only the hash is kept."""
        cookie = secrets.token_urlsafe(32)
        session = Session(
            token_id=token_id,
            scope=scope,
            form_secret=secrets.token_urlsafe(32),
            ends_at=ends_at,
        )
        with self._lock:
            self._sessions[digest(cookie)] = session
            while len(self._sessions) > MAX_SESSIONS:
                del self._sessions[next(iter(self._sessions))]
        return cookie

    def find(self, cookie: str, now: float) -> Session | None:
        """The session of a cookie; None if it is unknown or over."""
        key = digest(cookie)
        with self._lock:
            session = self._sessions.get(key)
            if session is not None and session.ends_at <= now:
                del self._sessions[key]
                return None
        return session

    def end(self, cookie: str) -> None:
        """Log out."""
        with self._lock:
            self._sessions.pop(digest(cookie), None)
