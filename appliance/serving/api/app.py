"""The routes of the server: OpenAI's API for the models of one process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from appliance.serving.api.answering import answer_body
from appliance.serving.api.bodies import ChatBody, CompletionBody, parse_body
from appliance.serving.api.document import make_document
from appliance.serving.api.errors import ApiError, make_fault_error
from appliance.serving.api.guard import Access, Guard
from appliance.serving.api.service import ServedModel, Service
from appliance.serving.api.tasks import Limits

logger = logging.getLogger(__name__)

_READ_ON = 8
"""A body that is too large is read on to so many times the limit, and thrown away: a client that
still writes when the connection ends does not see why."""

STUCK_SECONDS = 120.0
"""A driver that is silent for so long hangs: no step of a model that fits takes this time."""


def make_app(service: Service, access: Access) -> ASGIApp:
    """All routes, behind the guard."""
    routes = [
        Route("/v1/chat/completions", _shell(service, _chat), methods=["POST"]),
        Route("/v1/completions", _shell(service, _complete), methods=["POST"]),
        Route("/v1/models", _shell(service, _list_models), methods=["GET"]),
        Route("/v1/models/{name}", _shell(service, _show_model), methods=["GET"]),
        Route("/openapi.json", _shell(service, _tell_document), methods=["GET"]),
        Route("/health", _shell(service, _tell_health), methods=["GET"]),
        Route("/metrics", _shell(service, _tell_metrics), methods=["GET"]),
    ]
    handlers = {HTTPException: _answer_http_error}
    app = Starlette(routes=routes, exception_handlers=handlers)
    app.router.redirect_slashes = False
    return Guard(app, access)


Endpoint = Callable[[Service, Request], Awaitable[Response]]


def _shell(service: Service, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
    """Every error becomes an answer; what nobody expected is not described, for it may quote."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(service, request)
        except ApiError as exc:
            error = exc
        except ClientDisconnect:
            error = ApiError(400, "The request ended before its body did.")
        except Exception as exc:  # the shell of a request
            logger.error("a request failed: %s", type(exc).__name__)
            error = make_fault_error()
        service.metrics.note_refusal(error.status)
        return error.respond()

    return answer


async def _answer_http_error(request: Request, error: Exception) -> Response:
    """Unknown paths and methods."""
    assert isinstance(error, HTTPException)
    is_unknown = error.status_code == 404
    return ApiError(
        error.status_code,
        "There is nothing here." if is_unknown else f"{error.detail}.",
        code="unknown_url" if is_unknown else None,
        headers=dict(error.headers or {}),
    ).respond()


async def _chat(service: Service, request: Request) -> Response:
    body = parse_body(ChatBody, await _read_body(request, service.limits))
    return await answer_body(service, request, body)


async def _complete(service: Service, request: Request) -> Response:
    body = parse_body(CompletionBody, await _read_body(request, service.limits))
    return await answer_body(service, request, body)


async def _list_models(service: Service, request: Request) -> Response:
    data = [_describe(model) for model in service.models.values()]
    return JSONResponse({"object": "list", "data": data})


async def _show_model(service: Service, request: Request) -> Response:
    return JSONResponse(_describe(service.find(request.path_params["name"])))


async def _tell_document(service: Service, request: Request) -> Response:
    return JSONResponse(make_document())


async def _tell_health(service: Service, request: Request) -> Response:
    is_well = service.driver.silent_seconds < STUCK_SECONDS
    status = "ok" if is_well else "stuck"
    return JSONResponse({"status": status}, 200 if is_well else 503)


async def _tell_metrics(service: Service, request: Request) -> Response:
    return Response(service.metrics.write(), media_type="text/plain; version=0.0.4")


def _describe(model: ServedModel) -> dict[str, str | int | bool]:
    return {
        "id": model.name,
        "object": "model",
        "created": model.created,
        "owned_by": "appliance",
        "max_model_len": model.engine.context,
        "has_search": model.engine.shelf is not None,
    }


async def _read_body(request: Request, limits: Limits) -> bytes:
    """The body, when it is JSON, not too large and not too slow.

    A page of another site can send text without asking, but not JSON.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError(415, "The content type has to be application/json.")
    content, num_bytes = bytearray(), 0
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for part in request.stream():
                num_bytes += len(part)
                if num_bytes <= limits.max_body_bytes:
                    content += part
                elif num_bytes > _READ_ON * limits.max_body_bytes:
                    break
    except TimeoutError:
        raise ApiError(
            408,
            f"The body did not come within {limits.body_seconds:g} s.",
            headers={"connection": "close"},
        ) from None
    if num_bytes > limits.max_body_bytes:
        raise ApiError(
            413,
            f"The body is larger than {limits.max_body_bytes} bytes.",
            headers={"connection": "close"},
        )
    return bytes(content)
