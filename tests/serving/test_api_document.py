"""The OpenAPI document, and requests made up from it."""

import json
import random

import httpx
import pytest


@pytest.fixture(scope="module")
def web(serving):
    with httpx.Client(base_url=serving.root, timeout=60) as web:
        yield web


@pytest.fixture(scope="module")
def document(web):
    return web.get("/openapi.json").raise_for_status().json()


def test_every_path_of_the_document_is_there(web, document, serving):
    for path, methods in document["paths"].items():
        for method in methods:
            response = web.request(method, path.replace("{name}", serving.model))
            assert response.status_code not in (404, 405), path


def test_the_document_names_every_field_that_is_read(document):
    """Oracle: the types themselves."""
    from appliance.serving.api.bodies import ChatBody

    schema = document["components"]["schemas"]["ChatBody"]
    assert set(schema["properties"]) == set(ChatBody.model_fields)
    assert set(schema["required"]) == {"model", "messages"}


class Maker:
    """Makes values that fit a schema, and now and then one that does not."""

    def __init__(self, document, seed):
        self.schemas = document["components"]["schemas"]
        self.numbers = random.Random(seed)

    def make(self, schema, depth=0):
        numbers = self.numbers
        if numbers.random() < 0.02:
            return numbers.choice([None, -1, 1e9, "x", [], {}, True])
        if "$ref" in schema:
            return self.make(self.schemas[schema["$ref"].rpartition("/")[2]], depth)
        if "anyOf" in schema:
            return self.make(numbers.choice(schema["anyOf"]), depth)
        if "enum" in schema:
            return numbers.choice(schema["enum"])
        kind = schema.get("type")
        if kind == "object":
            return self.make_object(schema, depth)
        if kind == "array":
            size = numbers.randint(schema.get("minItems", 0), 3)
            return [self.make(schema.get("items", {}), depth + 1) for _ in range(size)]
        if kind in ("integer", "number"):
            low, high = schema.get("minimum", -3), min(schema.get("maximum", 5), 5)
            return numbers.randint(int(low), int(high)) if kind == "integer" else low
        if kind == "boolean":
            return numbers.random() < 0.5
        if kind == "string":
            return numbers.choice(["", "a", "Größe 🙂", "x y", "\n", "[a-z]{3}", "(", "yes|no"])
        return None if kind == "null" else numbers.choice([None, 1, "x", [1], {"a": 1}])

    def make_object(self, schema, depth):
        made = {}
        for name, inner in schema.get("properties", {}).items():
            if name in schema.get("required", ()) or self.numbers.random() < 0.25:
                made[name] = self.make(inner, depth + 1)
        if schema.get("additionalProperties") not in (None, False) and depth < 4:
            made |= {"type": self.numbers.choice(["string", "integer", "object", "x"])}
        return made


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
@pytest.mark.parametrize("seed", range(8))
def test_requests_made_up_from_the_document_are_answered_or_refused(
    web, document, serving, path, seed
):
    content = document["paths"][path]["post"]["requestBody"]["content"]
    maker = Maker(document, seed)
    for _ in range(25):
        body = maker.make(content["application/json"]["schema"])
        if isinstance(body, dict):
            body |= {"model": serving.model, "max_tokens": 2}
            body.pop("max_completion_tokens", None)
        headers = {"content-type": "application/json"}
        response = web.post(path, content=json.dumps(body), headers=headers)
        assert response.status_code in (200, 400), (body, response.text)
        if response.status_code == 400:
            assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    assert web.get("/health").json() == {"status": "ok"}
