"""What the control socket answers: HTTP with JSON bodies.

Who asks is known from the kernel (`access.py`); a job of somebody else is not there. The handlers
only look and order: the control loop decides and starts.
"""

from __future__ import annotations

import contextlib
import json
import traceback
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import anyio.to_thread
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from appliance.daemon.access import (
    Peer,
    is_admin,
    may_connect,
    require_base,
    resolve_documents,
)
from appliance.daemon.bodies import JobOrder, read_body
from appliance.daemon.folders import SAME_VERSION, explain_arriving, list_drops, take_documents
from appliance.daemon.following import read_events
from appliance.daemon.handover import name_copy
from appliance.daemon.orders import Order, locate_run, require_own_text, submit_order
from appliance.daemon.runs import tell_documents, tell_history, tell_stages, verify
from appliance.daemon.service import Service
from appliance.daemon.streams import stream_tar
from appliance.daemon.views import View, name_state, view_error, view_job
from appliance.errors import ApplianceError, ServiceError
from appliance.queue.states import Done, Ended, Job, UnknownJobError

MAX_ID = 2**63 - 1
"""Largest number that the queue can look for."""

MAX_PRIORITY = 10
"""Of the jobs of users; administrators may go beyond."""


def make_app(service: Service) -> Starlette:
    """The application that answers on the control socket."""

    def route(
        path: str, handler: Callable[[Service, Request, Peer], Awaitable[Response]], method: str
    ) -> Route:
        return Route(path, partial(_answer, service, handler), methods=[method])

    return Starlette(
        routes=[
            route("/v1/status", _get_status, "GET"),
            route("/v1/jobs", _list_jobs, "GET"),
            route("/v1/jobs", _submit, "POST"),
            route("/v1/jobs/{id:int}", _show, "GET"),
            route("/v1/jobs/{id:int}/events", _follow, "GET"),
            route("/v1/jobs/{id:int}/bundle", _send_bundle, "GET"),
            route("/v1/jobs/{id:int}/history", _about_job(tell_history), "GET"),
            route("/v1/jobs/{id:int}/stages", _about_job(tell_stages), "GET"),
            route("/v1/jobs/{id:int}/documents", _about_job(tell_documents), "GET"),
            route("/v1/jobs/{id:int}/verification", _about_job(verify), "GET"),
            route("/v1/jobs/{id:int}/{verb}", _steer, "POST"),
            route("/v1/documents", take_documents, "PUT"),
            route("/v1/inbox", list_drops, "GET"),
        ],
        exception_handlers={HTTPException: _refuse_request},
    )


async def _refuse_request(request: Request, exc: Exception) -> Response:
    """No such path, or not with this method."""
    assert isinstance(exc, HTTPException)
    error = ServiceError(f"the service cannot do this: {exc.detail.lower()}", fix=SAME_VERSION)
    return JSONResponse(view_error(error), status_code=exc.status_code)


async def _answer(
    service: Service,
    handler: Callable[[Service, Request, Peer], Awaitable[Response]],
    request: Request,
) -> Response:
    """Know the peer, run the handler, turn errors into answers."""
    peer: Peer = request.scope["peer"]
    try:
        if not may_connect(peer, service.settings):
            raise ServiceError(
                "this user may not use the service",
                why=f"only members of the group {service.settings.users_group} may",
                fix=f"ask an administrator: usermod -aG {service.settings.users_group} <user>",
            )
        return await handler(service, request, peer)
    except UnknownJobError as exc:
        return JSONResponse(view_error(exc), status_code=404)
    except ApplianceError as exc:
        return JSONResponse(view_error(exc), status_code=400)
    except ValidationError as exc:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in exc.errors()
        )
        error = ServiceError("the request is not understood", why=faults, fix=SAME_VERSION)
        return JSONResponse(view_error(error), status_code=400)
    except ClientDisconnect:
        return Response(status_code=400)  # nobody reads it
    except Exception as exc:  # a shell: a message may quote what nobody else should see
        return JSONResponse(view_error(_note_fault(service, exc)), status_code=500)


def _note_fault(service: Service, exc: Exception) -> ApplianceError:
    """A fault of our own: the traceback goes to a private file."""
    file = service.state.path / "fault.txt"
    with contextlib.suppress(OSError):
        file.write_text("".join(traceback.format_exception(exc)))
    service.say(f"a request failed: {type(exc).__name__}, see fault.txt in the state folder")
    return ServiceError(
        "the service failed",
        why=f"a fault of its own ({type(exc).__name__}); the traceback is in {file}",
        fix="try again; if it fails again, report it with that file",
    )


async def _get_status(service: Service, request: Request, peer: Peer) -> Response:
    """The state of the service: version, counts, what runs, what waits."""
    return JSONResponse(await anyio.to_thread.run_sync(service.describe))


async def _list_jobs(service: Service, request: Request, peer: Peer) -> Response:
    """Jobs, the newest first; `live=1`, `limit`, `before` narrow it, `results=1` adds results."""
    query = request.query_params
    try:
        limit = min(1000, max(1, int(query.get("limit", "50"))))
        before = min(MAX_ID, int(query["before"])) if "before" in query else None
    except ValueError as exc:
        raise ServiceError("limit and before are numbers", fix=SAME_VERSION) from exc
    owner = None if is_admin(peer, service.settings) else peer.uid
    jobs = await anyio.to_thread.run_sync(
        partial(
            service.store.list_jobs,
            owner=owner,
            live_only=query.get("live") == "1",
            limit=limit,
            before=before,
        )
    )
    views = [_view(service, job) for job in jobs]
    for view in views if query.get("results") != "1" else ():
        view.pop("result", None)  # long; GET /v1/jobs/N tells it
    return JSONResponse({"jobs": views})


async def _submit(service: Service, request: Request, peer: Peer) -> Response:
    """Queue a job, once per `key`; 201 when it is new."""
    body = JobOrder.model_validate_json(await read_body(request))
    if not is_admin(peer, service.settings):
        body.priority = min(body.priority, MAX_PRIORITY)
    return await anyio.to_thread.run_sync(_submit_order, service, body, peer)


def _submit_order(service: Service, body: JobOrder, peer: Peer) -> Response:
    require_base(body.base, peer, service.state, service.settings)
    require_own_text(body.recipe)
    copy = service.state.documents / str(peer.uid) / name_copy(str(body.documents))
    refusal: ServiceError | None = None
    try:
        documents = resolve_documents(body.documents, peer, service.state, service.settings)
    except ServiceError as exc:
        documents, refusal = copy, exc
    order = Order(
        key=body.key,
        documents=documents,
        base=body.base,
        recipe=body.recipe,
        owner=peer.uid,
        priority=body.priority,
        fresh=body.fresh,
        force=body.force,
        kind=body.kind,
        by_person=body.by_person,
    )
    if refusal and not (body.is_handed_over and copy.is_dir()):
        live = _find_live(service, locate_run(order, service.state.runs))
        if live is None:  # the client hands the folder over and asks again
            return JSONResponse(view_error(refusal), status_code=409)
    if copy in service.arriving:
        raise explain_arriving()
    job, is_new = submit_order(order, service.state.runs, service.store)
    if is_new:
        service.say(f"job {job.id}: submitted by uid {peer.uid}")
        service.wake()
    return JSONResponse(
        {"job": _view(service, job), "is_new": is_new}, status_code=201 if is_new else 200
    )


def _find_live(service: Service, run: Path) -> Job | None:
    live = service.store.list_jobs(live_only=True, limit=None)
    return next((job for job in live if job.run == str(run)), None)


async def _show(service: Service, request: Request, peer: Peer) -> Response:
    """One job."""
    job = await _find_job(service, request, peer)
    return JSONResponse(_view(service, job))


async def _steer(service: Service, request: Request, peer: Peer) -> Response:
    """`cancel`, `resume` or `retry` a job."""
    job = await _find_job(service, request, peer)
    verb = request.path_params["verb"]
    verbs: dict[str, Callable[[], Job]] = {
        "cancel": lambda: service.store.ask_stop(job.id, "cancel"),
        "resume": lambda: service.store.resume(job.id),
        "retry": lambda: service.store.retry(job.id),
    }
    if verb not in verbs:
        known = ", ".join(verbs)
        raise ServiceError(f"jobs cannot {verb[:20]!r}", why=f"they can {known}", fix=SAME_VERSION)
    job = await anyio.to_thread.run_sync(verbs[verb])
    service.say(f"job {job.id}: {verb} by uid {peer.uid}")
    service.wake()
    return JSONResponse(_view(service, job))


async def _follow(service: Service, request: Request, peer: Peer) -> Response:
    """Events of a job as JSON lines: what there is and, with follow=1, what comes."""
    job = await _find_job(service, request, peer)
    lines = read_events(
        service,
        job.id,
        only_attempt=request.query_params.get("from") == "attempt",
        is_followed=request.query_params.get("follow") == "1",
    )
    return StreamingResponse(lines, media_type="application/x-ndjson")


async def _send_bundle(service: Service, request: Request, peer: Peer) -> Response:
    """The bundle of a job that is done, as a tar stream."""
    job = await _find_job(service, request, peer)
    if not (isinstance(job.state, Ended) and isinstance(job.state.outcome, Done)):
        raise ServiceError(
            f"job {job.id} has no bundle",
            why=f"it is {name_state(job)}",
            fix=f"appliance jobs watch {job.id}",
        )
    result = json.loads(job.state.outcome.result)
    if "bundle" not in result:
        raise ServiceError(
            f"job {job.id} has no bundle",
            why="it was an assessment, which makes none",
            fix=f"appliance jobs show {job.id}",
        )
    folder = Path(result["bundle"])
    if not folder.is_dir():
        raise ServiceError(
            f"the bundle of job {job.id} is no longer there",
            why="its run was begun afresh, or removed",
            fix="submit the folder again",
        )
    return StreamingResponse(stream_tar(folder), media_type="application/x-tar")


def _about_job(
    handler: Callable[[Service, Request, Job], Awaitable[Response]],
) -> Callable[[Service, Request, Peer], Awaitable[Response]]:
    """A handler for a job that the peer may see."""

    async def answer(service: Service, request: Request, peer: Peer) -> Response:
        return await handler(service, request, await _find_job(service, request, peer))

    return answer


async def _find_job(service: Service, request: Request, peer: Peer) -> Job:
    """The job that the path names; one of somebody else is not there."""
    job_id = min(MAX_ID, request.path_params["id"])
    sees_all = is_admin(peer, service.settings)
    with contextlib.nullcontext() if sees_all else contextlib.suppress(UnknownJobError):
        job = await anyio.to_thread.run_sync(service.store.find, job_id)
        if sees_all or job.owner == peer.uid:
            return job
    raise UnknownJobError(f"there is no job {job_id}", fix="appliance jobs list")


def _view(service: Service, job: Job) -> View:
    return view_job(job, service.crew.find_attempt(job.id), service.memory.troubles.get(job.id, ""))
