"""The OpenAPI document, made from the table of routes and the records that it names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from appliance import __version__
from appliance.web.asks import Ask, FileAsk, JobAsk, QuestionAsk
from appliance.web.routes import ROUTES, Route
from appliance.web.shapes import Fault
from appliance.web.start_shapes import UploadPage

ERRORS = {
    "400": "The request cannot be answered as it is.",
    "401": "There is no session and no token, or it has ended.",
    "403": "The scope is too small, or a page of another site asks.",
    "404": "There is no such job, plan or path.",
    "408": "The body did not come in time.",
    "409": "The state of the job does not allow it.",
    "413": "The body is too large.",
    "415": "The body is neither JSON nor a form.",
    "421": "The request names another host.",
    "429": "Too many requests; Retry-After tells when to come back.",
    "503": "The service does not answer, or the dashboard is busy.",
}

_REFERENCE = "#/components/schemas/{model}"


def make_document() -> dict[str, Any]:
    """The document, as OpenAPI 3.1 has it."""
    answers: set[type[BaseModel]] = {route.answer for route in ROUTES} | {Fault}
    _, schemas = models_json_schema(
        [(kind, "serialization") for kind in sorted(answers, key=lambda kind: kind.__name__)],
        ref_template=_REFERENCE,
    )
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(f"/api{route.path}", {})[route.method.lower()] = _describe(route)
    paths["/api/jobs/{id}/events"] = {
        "get": _describe_stream(
            "Events of a job as they come; Last-Event-ID goes on where a stream broke off.",
            "read",
            "text/event-stream",
        )
    }
    paths["/api/jobs/{id}/bundle"] = {
        "get": _describe_stream(
            "The bundle of a job that is done, as a tar file.", "run", "application/x-tar"
        )
    }
    paths["/api/jobs/{id}/answers"] = {
        "post": _describe_stream(
            "What base and tuned model answer, as JSON lines while they do.",
            "run",
            "application/x-ndjson",
        )
        | {"requestBody": _describe_body(QuestionAsk, ("id",))}
    }
    paths["/api/uploads/{upload}/files"] = {"post": _describe_file()}
    return {
        "openapi": "3.1.0",
        "info": {"title": "appliance", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": schemas["$defs"] | {"Error": _describe_error()},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
    }


def _describe(route: Route) -> dict[str, Any]:
    in_path = re.findall(r"{(\w+)}", route.path)
    schema = _describe_fields(route.ask, in_path)
    rest, required = schema["properties"], schema["required"]
    body: dict[str, Any] = {
        "summary": route.summary,
        "description": f"Needs the scope `{route.scope}`.",
        "parameters": [_describe_path_field(route.ask, name) for name in in_path],
        "responses": {"200": _describe_answer(route.answer), **_describe_errors()},
    }
    if route.method == "GET":
        body["parameters"] += [
            {"name": name, "in": "query", "required": name in required, "schema": schema}
            for name, schema in rest.items()
        ]
    elif rest:
        body["requestBody"] = _describe_body(route.ask, in_path)
    return body


def _describe_fields(ask: type[Ask], in_path: Sequence[str]) -> dict[str, Any]:
    """The fields of an ask that do not stand in the path, as a schema."""
    fields = ask.model_json_schema()
    rest = {
        name: each for name, each in fields.get("properties", {}).items() if name not in in_path
    }
    return {
        "type": "object",
        "properties": rest,
        "required": [name for name in fields.get("required", []) if name in rest],
        "additionalProperties": False,
    }


def _describe_body(ask: type[Ask], in_path: Sequence[str]) -> dict[str, Any]:
    schema = _describe_fields(ask, in_path)
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _describe_stream(summary: str, scope: str, kind: str) -> dict[str, Any]:
    return {
        "summary": summary,
        "description": f"Needs the scope `{scope}`.",
        "parameters": [_describe_path_field(JobAsk, "id")],
        "responses": {
            "200": {"description": summary, "content": {kind: {"schema": {"type": "string"}}}},
            **_describe_errors(),
        },
    }


def _describe_file() -> dict[str, Any]:
    name = FileAsk.model_json_schema()["properties"]["name"]
    content = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    return {
        "summary": "One file of an upload, as the body; `name` may have folders in it.",
        "description": "Needs the scope `run`.",
        "parameters": [
            _describe_path_field(FileAsk, "upload"),
            {"name": "name", "in": "query", "required": True, "schema": name},
        ],
        "requestBody": {"required": True, "content": content},
        "responses": {"200": _describe_answer(UploadPage), **_describe_errors()},
    }


def _describe_path_field(ask: type[Ask], name: str) -> dict[str, Any]:
    schema = ask.model_json_schema()["properties"][name]
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _describe_answer(kind: type[BaseModel]) -> dict[str, Any]:
    schema = {"$ref": _REFERENCE.format(model=kind.__name__)}
    return {
        "description": (kind.__doc__ or "").strip().splitlines()[0],
        "content": {"application/json": {"schema": schema}},
    }


def _describe_errors() -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": _REFERENCE.format(model="Error")}}}
    return {status: {"description": text, "content": content} for status, text in ERRORS.items()}


def _describe_error() -> dict[str, Any]:
    parts = {name: {"type": "string"} for name in ("name", "what", "why", "fix")}
    return {
        "type": "object",
        "required": ["error"],
        "properties": {"error": {"type": "object", "properties": parts, "required": list(parts)}},
    }
