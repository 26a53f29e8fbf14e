"""What a request says: who asks, and the fields of its path, query and body."""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from pydantic import ValidationError
from starlette.requests import Request

from appliance.web.asks import Ask
from appliance.web.desk import Desk, Visitor
from appliance.web.guard import SAFE_METHODS, is_from_own_page
from appliance.web.refusals import (
    ask_to_log_in,
    explain_fields,
    explain_jobs,
    explain_scope,
    refuse,
)
from appliance.web.tokens import Scope, find_token, list_tokens

A = TypeVar("A", bound=Ask)

MAX_BODY_BYTES = 2**16
"""Forms and orders are small."""

BODY_SECONDS = 10.0
"""Until all of a body has come."""

FORM_SECRET = "form_secret"
"""Field of every form, and header (with x- and a hyphen) of calls by our script."""


def find_cookie_name(request: Request) -> str:
    """Name of the session cookie: cookies know no ports, so that the name has to.

    Over TLS its prefix makes the browser refuse one that was not set by this very host.
    """
    if request.url.scheme == "https":
        return "__Host-appliance"
    return f"appliance_{request.url.port or 80}"


def find_visitor(desk: Desk, request: Request) -> Visitor | None:
    """Who asks; None for a stranger."""
    now = time.time()
    kind, _, secret = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        token = find_token(desk.folder, secret.strip(), now)
        return Visitor(name=token.id, scope=token.scope, jobs=token.jobs) if token else None
    session = desk.sessions.find(request.cookies.get(find_cookie_name(request), ""), now)
    if session is None:
        return None
    jobs: tuple[int, ...] = ()
    if session.token_id:
        held = {token.id: token for token in list_tokens(desk.folder)}
        if session.token_id not in held or held[session.token_id].expires_at <= now:
            return None
        jobs = held[session.token_id].jobs
    return Visitor(
        name=session.token_id or "link",
        scope=session.scope,
        form_secret=session.form_secret,
        jobs=jobs,
    )


def require_visitor(desk: Desk, request: Request, scope: Scope) -> Visitor:
    """Who asks, if they may.

    Raises:
        Refusal: a stranger, a scope that is too small, or a job that their token does not open.
    """
    who = find_visitor(desk, request)
    if who is None:
        raise ask_to_log_in()
    if not who.may(scope):
        raise explain_scope(scope, who.scope)
    if who.jobs and request.path_params.get("id", "") not in list(map(str, who.jobs)):
        raise explain_jobs(who.jobs)
    return who


async def read_fields(request: Request) -> dict[str, Any]:
    """The fields of the query, or of the body: a form or JSON.

    Raises:
        Refusal: the body is too large, too slow, or neither.
    """
    if request.method in SAFE_METHODS:
        return {name: text for name, text in request.query_params.items() if text}
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await _read_body(request)
    if kind == "application/x-www-form-urlencoded":
        try:
            fields = parse_qsl(body.decode(), max_num_fields=100)
        except ValueError as exc:
            raise refuse(400, "the form is not understood", fix="send it from its page") from exc
        return dict(fields)
    if kind == "application/json":
        return _parse_object(body)
    if body:
        raise refuse(
            415,
            "the body is neither JSON nor a form",
            fix="send it with: Content-Type: application/json",
        )
    return {}


def check_form_secret(who: Visitor, request: Request, fields: dict[str, Any]) -> None:
    """Let a browser only change something from a page of ours; takes the secret off the fields.

    Raises:
        Refusal: the secret is missing or wrong, or the browser does not say where it comes from.
    """
    given = str(fields.pop(FORM_SECRET, request.headers.get("x-form-secret", "")))
    if not who.form_secret:  # a program with a token: no page can send that
        return
    is_right = hmac.compare_digest(given.encode(), who.form_secret.encode())
    if not is_right or not is_from_own_page(request.headers):
        raise refuse(
            403,
            "this form is no longer good",
            why="it does not come from a page of this login",
            fix="open the page again, and send it from there",
        )


def parse(kind: type[A], request: Request, fields: dict[str, Any]) -> A:
    """What a request asks, checked.

    Raises:
        Refusal: a field is missing, wrong or unknown.
    """
    path = request.path_params
    try:
        return kind.model_validate(fields | path)
    except ValidationError as exc:
        raise explain_fields(exc, frozenset(path)) from None


async def _read_body(request: Request) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > MAX_BODY_BYTES:
                    raise refuse(
                        413, "the body is too large", why=f"it may have {MAX_BODY_BYTES:,} bytes"
                    )
    except TimeoutError:
        raise refuse(
            408, "the body did not come in time", why=f"it had {BODY_SECONDS:g} s"
        ) from None
    return bytes(body)


def _parse_object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise refuse(400, "the body is not a JSON object", fix="see /api/openapi.json")
    return value
