"""Bad bodies: each gets an error of OpenAI's shape, and never an answer of the 500s."""

import copy
import json
import math
import random

import httpx
import pytest

CHAT, COMPLETION = "/v1/chat/completions", "/v1/completions"


@pytest.fixture(scope="module")
def web(serving):
    with httpx.Client(base_url=serving.root, timeout=60) as web:
        yield web


def post(web, path, content):
    return web.post(path, content=content, headers={"content-type": "application/json"})


def require_refusal(response, status=400):
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert error["type"] == "invalid_request_error"
    return error


MESSAGES = [{"role": "user", "content": "x"}]

WRONG_VALUES = {
    "model": [None, 3, "", [], {}, "x" * 300],
    "messages": [
        None, "x", {}, [], [None], ["x"], [[]], [{}], [{"role": "user"}], [{"content": "x"}],
        [{"role": "tool", "content": "x"}], [{"role": 3, "content": "x"}],
        [{"role": "user", "content": 3}], [{"role": "user", "content": {}}],
        [{"role": "user", "content": [3]}], [{"role": "user", "content": [{"type": "text"}]}],
        [{"role": "user", "content": [{"type": "text", "text": None}]}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}],
        [{"role": "user", "content": "x", "chat_template": "{{ 1 }}"}],
        [{"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}],
        MESSAGES * 3000,
    ],
    "max_tokens": [0, -1, 1.5, "3", True, [], 2**70, math.inf],
    "max_completion_tokens": [0, "3"],
    "temperature": [-0.1, 2.1, "1", True, [], math.nan, math.inf, -math.inf],
    "top_p": [-0.1, 1.1, "1", math.nan],
    "top_k": [-2, 0.5, "1"],
    "n": [0, 2, 1.5, "1", True],
    "stream": [0, "true", []],
    "stream_options": [True, [], {"include_usage": 1}, {"unknown": True}],
    "stop": [3, [3], [""], "", ["a"] * 5, ["x" * 300], {}],
    "seed": ["1", 1.5, 2**70, -(2**70)],
    "presence_penalty": [3, "1", math.nan],
    "frequency_penalty": [-3],
    "logit_bias": [[], {"x": 1}, {"-1": 1}, {"8192": 1}, {"1": 101}, {"1": "1"}, {"١": 1},
                   {"1": math.nan}, {str(number): 1 for number in range(2000)}],
    "logprobs": [1, "true", -1],
    "top_logprobs": [-1, 21, "1", 5],
    "response_format": [
        "json", {}, {"type": "xml"}, {"type": "json_schema"},
        {"type": "json_schema", "json_schema": {}},
        {"type": "json_schema", "json_schema": {"schema": []}},
        {"type": "json_schema", "json_schema": {"schema": {"type": "nothing"}}},
        {"type": "json_schema", "json_schema": {"schema": {"$ref": "#/nowhere"}}},
        {"type": "json_schema", "json_schema": {"schema": {"enum": ["x" * 70_000]}}},
    ],
    "structured_outputs": [
        "a", {"regex": 3}, {"regex": "("}, {"grammar": "x"}, {"regex": "x" * 70_000},
    ],
    "tools": [[{"type": "function"}], 1, True],
    "tool_choice": ["auto", "required", {"type": "function"}],
    "functions": [[{}]],
    "unknown": [None, 1, {"a": {}}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value"),
    [
        pytest.param(field, value, id=f"{field}-{number}")
        for field, values in WRONG_VALUES.items()
        for number, value in enumerate(values)
    ],
)
def test_a_wrong_value_is_refused_and_named(web, serving, field, value):
    body = {"model": serving.model, "messages": MESSAGES, field: value}
    status = 404 if field == "model" and isinstance(value, str) and len(value) < 256 else 400
    error = require_refusal(post(web, CHAT, json.dumps(body)), status)
    in_json = not (isinstance(value, float) and not math.isfinite(value))
    if in_json and "NaN" not in json.dumps(value):
        param = error["param"].partition("[")[0].partition(".")[0]
        assert param in (field, "response_format")


@pytest.mark.parametrize(
    "prompt",
    [None, 3, "", [], [""], ["a", "b"], [[]], [1.5], [True], [-1], [8192], [2**70], [[1], [2]],
     {"a": 1}, [[["a"]]], ["a", 1]],
)  # fmt: skip
def test_a_wrong_prompt_is_refused(web, serving, prompt):
    body = {"model": serving.model, "prompt": prompt, "max_tokens": 1}
    assert require_refusal(post(web, COMPLETION, json.dumps(body)))["param"] == "prompt"


@pytest.mark.parametrize("field", ["echo", "suffix", "best_of"])
def test_what_completions_do_not_support_is_refused(web, serving, field):
    body = {"model": serving.model, "prompt": "x", field: 3}
    assert require_refusal(post(web, COMPLETION, json.dumps(body)))["param"] == field


@pytest.mark.parametrize("field", ["model", "messages"])
def test_a_missing_field_is_named(web, serving, field):
    body = {"model": serving.model, "messages": MESSAGES}
    del body[field]
    error = require_refusal(post(web, CHAT, json.dumps(body)))
    assert (error["param"], error["code"]) == (field, "missing_required_parameter")


@pytest.mark.parametrize(
    "content",
    [
        b"", b" ", b"null", b"3", b'"x"', b"[]", b"{", b"{]", b'{"a": }', b"{'a': 1}", b"\x00",
        b"\xff\xfe", b'{"model": "\xff"}', b'{"model": "\\ud800"}', b"[" * 100_000,
        b'{"a":' * 100_000, b'{"a": 1e999999}', b"nan", "{“a”: 1}".encode(),
        b"\xef\xbb\xbf{}", b'{"a": 1} x', b"{" + b'"a": 1,' * 1000 + b'"b": 2}',
    ],
)  # fmt: skip
def test_a_body_that_is_no_request_is_refused(web, content):
    require_refusal(post(web, CHAT, content))


def test_an_error_does_not_quote_what_was_sent(web, serving):
    secret = "Wasserkraftwerk"
    for body in (
        {"model": serving.model, "messages": [{"role": secret, "content": secret}]},
        {"model": secret, "messages": MESSAGES},
        {"model": serving.model, "messages": MESSAGES, "temperature": secret},
        {"model": serving.model, "messages": MESSAGES, "stop": {secret: secret}},
    ):
        assert secret not in post(web, CHAT, json.dumps(body)).text


@pytest.mark.parametrize(
    "content",
    ["\x00", "\u202e", "🙂" * 100, "a\ud7ff", "{{ 7 * 7 }}", "{% for %}", "<|im_start|>system",
     "\n" * 200, "é" * 100, "\ufeff", "\ufffd"],
)  # fmt: skip
def test_any_text_is_a_message(web, serving, content):
    body = {
        "model": serving.model,
        "messages": [{"role": "user", "content": content}],
        "max_tokens": 2,
    }
    assert post(web, CHAT, json.dumps(body)).status_code == 200


def test_a_message_is_no_template(web, serving, engine):
    """Oracle: the tokens of the text as it stands."""
    from appliance.values import Turn

    content = "{{ 7 * 7 }}"
    messages = [{"role": "user", "content": content}]
    body = {"model": serving.model, "messages": messages, "max_tokens": 1}
    usage = post(web, CHAT, json.dumps(body)).json()["usage"]
    expected = engine.encode_prompt([Turn(role="user", content=content)])
    assert usage["prompt_tokens"] == len(expected)


def test_messages_may_come_in_parts_and_by_the_developer(web, serving):
    parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": None},
        {"role": "user", "name": "Ann", "content": "Hello"},
    ]
    body = {"model": serving.model, "messages": messages, "max_tokens": 2}
    assert post(web, CHAT, json.dumps(body)).status_code == 200


VALUES = [None, True, 0, -1, 1, 2**63, 1.5, "", "x", "\x00", [], {}, [[]], {"a": []}, "🙂", 1e308]


def mutate(body, numbers):
    """Change, add or remove something anywhere in a body."""
    places = [(body, key) for key in body]
    for place in places:
        value = place[0][place[1]]
        inner = value if isinstance(value, list | dict) else ()
        keys = range(len(inner)) if isinstance(value, list) else inner
        places += [(value, key) for key in keys]
    holder, key = numbers.choice(places)
    action = numbers.choice(["change", "remove", "add"])
    if action == "remove":
        del holder[key]
    elif action == "add" and isinstance(holder, dict):
        holder[numbers.choice(["a", "role", "type", "schema", ""])] = numbers.choice(VALUES)
    else:
        holder[key] = copy.deepcopy(numbers.choice(VALUES))


@pytest.mark.parametrize("seed", range(20))
def test_changed_bodies_are_answered_or_refused(web, serving, seed):
    """Seeded mutations of a rich, valid body: 200 or a refusal, and the server stays well."""
    numbers = random.Random(seed)
    schema = {"type": "object", "properties": {"a": {"type": "string", "maxLength": 3}}}
    valid = {
        "model": serving.model,
        "messages": [{"role": "system", "content": "x"}, {"role": "user", "content": "y"}],
        "max_tokens": 2, "temperature": 1.0, "top_p": 0.9, "stop": ["z"], "seed": 1,
        "stream": False, "stream_options": {"include_usage": True}, "logprobs": True,
        "top_logprobs": 1, "logit_bias": {"5": 1}, "n": 1, "user": "me",
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}},
    }  # fmt: skip
    for _ in range(10):
        body = copy.deepcopy(valid)
        for _ in range(numbers.randint(1, 3)):
            mutate(body, numbers)
        response = post(web, CHAT, json.dumps(body))
        assert response.status_code in (200, 400, 404), (body, response.text)
        if response.status_code != 200:
            require_refusal(response, response.status_code)
    assert web.get("/health").json() == {"status": "ok"}
