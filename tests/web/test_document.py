"""The API against its own OpenAPI document: every call answers in its shape, whatever is sent.

Oracle: the document itself, and that no answer is a 5xx.
"""

from __future__ import annotations

import json
import random

import jsonschema
import pytest

from appliance.web.document import ERRORS, make_document
from appliance.web.routes import ROUTES

DOCUMENT = make_document()
SEED = 20_261_123
NUM_TRIES = 8
COSTLY = ("/bundle", "/verification", "/events")
"""Calls that read a whole bundle or run: asked about odd jobs alone."""

ODD = (
    *("", "0", "1", "-1", "1.5", "1e9", "null", "true", "[]", "{}", "a" * 5000, "\u202e", "%00"),
    *("' OR 1=1 --", "../../etc/passwd", "<script>", "{{7*7}}", "\U0001f4a5", "9" * 30),
)
ODD_VALUES = (*ODD, 0, -1, 2**70, 1.5, True, None, [], {}, [[]], {"a": {"b": []}})


def check(answer, path, method):
    """Hold an answer against what the document says about its status."""
    described = DOCUMENT["paths"][path][method]["responses"]
    assert str(answer.status_code) in described, (path, method, answer.status_code, answer.text)
    schema = described[str(answer.status_code)]["content"].get("application/json")
    if schema is not None:
        components = {"components": DOCUMENT["components"]}
        jsonschema.validate(answer.json(), schema["schema"] | components)


def list_calls():
    return [(path, method) for path, methods in DOCUMENT["paths"].items() for method in methods]


def test_document_describes_every_route():
    described = set(list_calls())

    assert {(f"/api{route.path}", route.method.lower()) for route in ROUTES} <= described
    assert all(
        call["summary"] for methods in DOCUMENT["paths"].values() for call in methods.values()
    )


def test_document_is_served_as_it_is_made(visit):
    assert visit("read").get("/api/openapi.json").json() == json.loads(json.dumps(DOCUMENT))


@pytest.mark.parametrize("route", [r for r in ROUTES if r.method == "GET"], ids=lambda r: r.path)
def test_answers_have_the_shape_that_the_document_says(visit, office, route):
    path = f"/api{route.path}".replace("{id}", str(office.job)).replace("{plan}", "0" * 32)

    answer = visit("admin").get(path)

    check(answer, f"/api{route.path}", "get")
    assert answer.status_code == (404 if "{plan}" in route.path else 200)


@pytest.mark.parametrize(("path", "method"), list_calls())
def test_odd_requests_are_answered_as_the_document_says(visit, office, path, method):
    chance = random.Random(f"{SEED}{path}{method}")
    client = visit("admin")
    call = DOCUMENT["paths"][path][method]

    for number in range(NUM_TRIES):
        target = path
        for field in call["parameters"]:
            if field["in"] == "path":
                is_known = number % 2 and not path.endswith(COSTLY)
                value = str(office.job) if is_known else chance.choice(ODD).replace("/", "%2F")
                target = target.replace("{" + field["name"] + "}", value or "x")
        query = {
            field["name"]: chance.choice(ODD)
            for field in call["parameters"]
            if field["in"] == "query" and chance.random() < 0.8
        }
        if chance.random() < 0.2:
            query["unknown"] = chance.choice(ODD)
        body = None
        if method == "post":
            names = call.get("requestBody", {}).get("content", {}).get("application/json", {})
            known = list(names.get("schema", {}).get("properties", {"x": {}}))
            body = {name: chance.choice(ODD_VALUES) for name in known if chance.random() < 0.9}
            if path.endswith("retry") and number % 2:
                body = None
        answer = client.request(method, target, params=query or None, json=body)
        if answer.headers.get("content-type", "").startswith(("text/event", "application/x-tar")):
            continue
        if answer.status_code in (404, 405) and target.count("/") != path.count("/"):
            continue
        assert answer.status_code < 500, (target, query, body, answer.text)
        check(answer, path, method)


def test_every_status_that_is_described_says_why():
    assert all(text.endswith(".") for text in ERRORS.values())
