"""The application: the table of routes as pages and calls, the login, and the doors around."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterator
from functools import partial

from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Mount
from starlette.routing import Route as Path
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from appliance.beside.orders import Question
from appliance.errors import ApplianceError
from appliance.web.asks import FileAsk, JobAsk, QuestionAsk
from appliance.web.desk import Desk
from appliance.web.document import make_document
from appliance.web.events import Followers
from appliance.web.guard import Door, Guard, Rates
from appliance.web.jobs import find_models
from appliance.web.login import Login
from appliance.web.receiving import Receiving
from appliance.web.refusals import Refusal, explain, explain_fault, refuse
from appliance.web.rendering import FOLDER, render
from appliance.web.requests import (
    check_form_secret,
    find_visitor,
    parse,
    read_fields,
    require_visitor,
)
from appliance.web.routes import ROUTES, Route

Handler = Callable[[Request], Awaitable[Response]]

PER_SECOND = 20.0
"""Requests of one visitor that are always let through; five times as many at once."""


class App:
    """Handlers of one dashboard."""

    def __init__(self, desk: Desk) -> None:
        """Nobody has asked."""
        self.desk = desk
        self.followers = Followers(desk)
        self._login = Login(desk)
        self._receiving = Receiving()
        self._rates = Rates(PER_SECOND, 5 * PER_SECOND)

    def make(self, door: Door) -> ASGIApp:
        """All routes, behind the guard."""
        paths: list[Path | Mount] = []
        for route in ROUTES:
            page = self._answer_form if route.then else self._answer_page
            paths += [
                self._path(route.path, route.method, partial(page, route)),
                self._path(f"/api{route.path}", route.method, partial(self._answer_call, route)),
            ]
        paths += [
            self._path("/", "GET", self._go_home),
            self._path("/login", "GET", self._login.show),
            self._path("/login", "POST", self._login.log_in),
            self._path("/logout", "POST", self._login.log_out),
            self._path("/api/uploads/{upload}/files", "POST", self._receive_file),
            self._path("/jobs/{id}/bundle", "GET", self._send_bundle),
            self._path("/api/jobs/{id}/bundle", "GET", self._send_bundle),
            self._path("/api/jobs/{id}/events", "GET", self._follow),
            self._path("/api/jobs/{id}/answers", "POST", self._answer_question),
            self._path("/api/openapi.json", "GET", self._tell_document),
            self._path("/metrics", "GET", self._tell_metrics),
            self._path("/health", "GET", self._tell_health),
            Mount("/static", StaticFiles(directory=FOLDER / "static")),
        ]
        app = Starlette(routes=paths, exception_handlers={HTTPException: self._refuse_path})
        app.router.redirect_slashes = False
        return Guard(app, door, self.desk.metrics)

    def _path(self, path: str, method: str, handler: Handler) -> Path:
        return Path(path, partial(self._shell, path, handler), methods=[method])

    async def _shell(self, path: str, handler: Handler, request: Request) -> Response:
        """Every error becomes an answer."""
        request.scope["appliance.route"] = path
        try:
            self._limit(request)
            return await handler(request)
        except Refusal as exc:
            refusal = exc
        except ApplianceError as exc:
            refusal = explain(exc)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        except Exception as exc:  # the shell of a request: what it says may quote
            sys.stderr.write(f"a request failed: {type(exc).__name__} at {path}\n")
            refusal = explain_fault()
        return self._refuse(request, refusal)

    def _limit(self, request: Request) -> None:
        who = find_visitor(self.desk, request)
        address = request.client.host if request.client else ""
        if who is None and "authorization" in request.headers:
            self._login.guess(request)
        self._rates.take(f"{who.name} {who.form_secret}" if who else f"stranger {address}")

    async def _answer_page(self, route: Route, request: Request) -> Response:
        if find_visitor(self.desk, request) is None:
            return RedirectResponse("/login", 303)
        who = require_visitor(self.desk, request, route.scope)
        ask = parse(route.ask, request, await read_fields(request))
        page = await route.load(self.desk, who, ask)
        return HTMLResponse(render(route.template, who, request.url.path, page=page))

    async def _answer_form(self, route: Route, request: Request) -> Response:
        answer = await self._change(route, request)
        return RedirectResponse(route.then.format_map(answer.model_dump()), 303)

    async def _answer_call(self, route: Route, request: Request) -> Response:
        if route.method == "POST":
            answer = await self._change(route, request)
        else:
            who = require_visitor(self.desk, request, route.scope)
            ask = parse(route.ask, request, await read_fields(request))
            answer = await route.load(self.desk, who, ask)
        return Response(answer.model_dump_json(), media_type="application/json")

    async def _change(self, route: Route, request: Request) -> BaseModel:
        who = require_visitor(self.desk, request, route.scope)
        fields = await read_fields(request)
        check_form_secret(who, request, fields)
        return await route.load(self.desk, who, parse(route.ask, request, fields))

    async def _go_home(self, request: Request) -> Response:
        who = find_visitor(self.desk, request)
        return RedirectResponse(who.home if who else "/login", 303)

    async def _follow(self, request: Request) -> Response:
        who = require_visitor(self.desk, request, "read")
        return await self.followers.follow(request, who, parse(JobAsk, request, {}))

    async def _answer_question(self, request: Request) -> Response:
        """What base and tuned model answer, as JSON lines while they do."""
        who = require_visitor(self.desk, request, "run")
        fields = await read_fields(request)
        check_form_secret(who, request, fields)
        ask = parse(QuestionAsk, request, fields)
        run = await find_models(self.desk, ask.id)
        self.desk.beside.require_free()
        await self.desk.do(self.desk.audit.note, who.name, "ask the models", str(ask.id))
        question = Question(text=ask.question, max_tokens=ask.max_tokens, search=ask.search)
        lines = self.desk.beside.ask(run, question)
        return StreamingResponse(lines, media_type="application/x-ndjson")

    async def _receive_file(self, request: Request) -> Response:
        """One file of an upload, as the body."""
        who = require_visitor(self.desk, request, "run")
        check_form_secret(who, request, {})
        ask = parse(FileAsk, request, dict(request.query_params))
        page = await self._receiving.take(self.desk, request, ask.upload, ask.name)
        return Response(page.model_dump_json(), media_type="application/json")

    async def _send_bundle(self, request: Request) -> Response:
        """The bundle of a job that is done, as a tar file."""
        who = require_visitor(self.desk, request, "run")
        job_id = parse(JobAsk, request, {}).id
        blocks = self.desk.client.stream_bundle(job_id)
        first = await self.desk.do(next, blocks, b"")
        await self.desk.do(self.desk.audit.note, who.name, "download", str(job_id))

        def tell() -> Iterator[bytes]:
            yield first
            yield from blocks

        name = f'attachment; filename="bundle-of-job-{job_id}.tar"'
        return StreamingResponse(
            tell(), media_type="application/x-tar", headers={"content-disposition": name}
        )

    async def _tell_document(self, request: Request) -> Response:
        require_visitor(self.desk, request, "read")
        return JSONResponse(make_document())

    async def _tell_metrics(self, request: Request) -> Response:
        require_visitor(self.desk, request, "read")
        try:
            jobs = (await self.desk.ask("GET", "/v1/status"))["jobs"]
        except ApplianceError:
            jobs = None
        return Response(self.desk.metrics.write(jobs), media_type="text/plain; version=0.0.4")

    async def _tell_health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _refuse_path(self, request: Request, exc: Exception) -> Response:
        """No such path, or not with this method."""
        assert isinstance(exc, HTTPException)
        request.scope["appliance.route"] = "unknown"
        what = "there is nothing here" if exc.status_code == 404 else exc.detail.lower()
        return self._refuse(request, refuse(exc.status_code, what, fix="begin at /jobs"))

    def _refuse(self, request: Request, refusal: Refusal) -> Response:
        path = request.url.path
        wants_page = "text/html" in request.headers.get("accept", "")
        if path.startswith("/api/") or not wants_page:
            return JSONResponse(refusal.body, refusal.status, headers=refusal.headers)
        who = find_visitor(self.desk, request)
        page = render("error.html", who, path, error=refusal.error, status=refusal.status)
        return HTMLResponse(page, refusal.status, headers=refusal.headers)
