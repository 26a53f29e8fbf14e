"""The OpenAPI document of the server, made from the very types that read its requests."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from appliance import __version__
from appliance.serving.api.bodies import Body, ChatBody, CompletionBody

_ERRORS = {
    "400": "The request cannot be answered as it is.",
    "401": "The API key is missing or wrong.",
    "403": "The request comes from a page of another site.",
    "404": "There is no such model or path.",
    "408": "The body did not come in time.",
    "413": "The body is too large.",
    "415": "The body is not declared to be JSON.",
    "421": "The request names another host.",
    "429": "The queue is full; Retry-After tells when to come back.",
    "503": "The answer did not begin in time.",
}

_ANSWER = (
    "The answer, or with `stream` its events. Where documents were searched, `citations` beside "
    "`choices` (of a stream: in the first event) holds the passages that stood before the question:"
    " `number`, `source` (file name), `place` (with headings), `text`."
)

_ERROR_SCHEMA = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}


def make_document() -> dict[str, Any]:
    """The document, as OpenAPI 3.1 has it."""
    _, schemas = models_json_schema(
        [(ChatBody, "validation"), (CompletionBody, "validation")],
        ref_template="#/components/schemas/{model}",
    )
    return {
        "openapi": "3.1.0",
        "info": {"title": "appliance", "version": __version__},
        "paths": {
            "/v1/chat/completions": {"post": _post("Answer a conversation.", ChatBody)},
            "/v1/completions": {"post": _post("Go on with a text.", CompletionBody)},
            "/v1/models": {"get": _get("Models that are served.")},
            "/v1/models/{name}": {"get": _get("One of them.", "name")},
            "/health": {"get": _get("Whether the server is well.")},
            "/metrics": {"get": _get("Figures in the text format of Prometheus.")},
        },
        "components": {
            "schemas": schemas["$defs"] | {"Error": _ERROR_SCHEMA},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}, {}],
    }


def _post(summary: str, body: type[Body]) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{body.__name__}"}
    content = {"application/json": {"schema": schema}}
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": content},
        "responses": {
            "200": {"description": _ANSWER},
            **{status: _describe_error(text) for status, text in _ERRORS.items()},
        },
    }


def _get(summary: str, parameter: str = "") -> dict[str, Any]:
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in [parameter]
        if name
    ]
    return {
        "summary": summary,
        "parameters": parameters,
        "responses": {
            "200": {"description": summary},
            **{status: _describe_error(_ERRORS[status]) for status in ("401", "404", "421")},
        },
    }


def _describe_error(text: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {"description": text, "content": content}
