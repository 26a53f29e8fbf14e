"""Logging in and out: a one-time link from the terminal, or a token."""

from __future__ import annotations

import time

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from appliance.web.desk import Desk
from appliance.web.guard import Rates, is_from_own_page
from appliance.web.refusals import refuse
from appliance.web.rendering import render
from appliance.web.requests import (
    check_form_secret,
    find_cookie_name,
    find_visitor,
    read_fields,
)
from appliance.web.sessions import SESSION_SECONDS
from appliance.web.tokens import find_token


class Login:
    """The way in."""

    def __init__(self, desk: Desk) -> None:
        """Nobody has tried."""
        self._desk = desk
        self._tries = Rates(per_second=10 / 60, burst=10)

    async def show(self, request: Request) -> Response:
        """The page that asks for a token; or straight in, with a link from the terminal."""
        link = request.query_params.get("link", "")
        if link:
            cookie = self._desk.sessions.follow_link(link, time.time())
            if cookie:
                await self._desk.do(self._desk.audit.note, "link", "log in")
                return self._let_in(request, cookie)
            return self._ask(request, "This link was used already, or is too old.", 401)
        who = find_visitor(self._desk, request)
        return RedirectResponse(who.home, 303) if who else self._ask(request)

    async def log_in(self, request: Request) -> Response:
        """Begin a session with a token.

        Raises:
            Refusal: too many tries; or the form comes from elsewhere.
        """
        address = request.client.host if request.client else ""
        self._tries.take(address)
        if not is_from_own_page(request.headers):
            raise refuse(403, "log in from the page of this dashboard", fix="open /login")
        secret = str((await read_fields(request)).get("token", "")).strip()
        now = time.time()
        token = find_token(self._desk.folder, secret, now)
        if token is None:
            await self._desk.do(self._desk.audit.note, "", "refused log in", status=401)
            return self._ask(request, "This token is unknown, expired or revoked.", 401)
        ends_at = min(token.expires_at, now + SESSION_SECONDS)
        cookie = self._desk.sessions.begin(token.id, token.scope, ends_at)
        await self._desk.do(self._desk.audit.note, token.id, "log in")
        return self._let_in(request, cookie)

    async def log_out(self, request: Request) -> Response:
        """End a session.

        Raises:
            Refusal: the form comes from elsewhere.
        """
        name = find_cookie_name(request)
        who = find_visitor(self._desk, request)
        if who is not None:
            check_form_secret(who, request, await read_fields(request))
            self._desk.sessions.end(request.cookies.get(name, ""))
            await self._desk.do(self._desk.audit.note, who.name, "log out")
        answer = RedirectResponse("/login", 303)
        answer.delete_cookie(name, secure=request.url.scheme == "https", samesite="strict")
        return answer

    def guess(self, request: Request) -> None:
        """Somebody brought a token that is not good: not too often.

        Raises:
            Refusal: it is one time too many.
        """
        self._tries.take(request.client.host if request.client else "")

    def _let_in(self, request: Request, cookie: str) -> Response:
        answer = RedirectResponse("/", 303)
        answer.set_cookie(
            find_cookie_name(request),
            cookie,
            max_age=int(SESSION_SECONDS),
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )
        return answer

    def _ask(self, request: Request, fault: str = "", status: int = 200) -> Response:
        return HTMLResponse(render("login.html", None, request.url.path, fault=fault), status)
