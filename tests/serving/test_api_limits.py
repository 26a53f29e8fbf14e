"""What keeps the server up and to itself: names, tokens, limits, slow and vanishing clients."""

import contextlib
import json
import re
import signal
import socket
import threading
import time

import httpx
import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families

MESSAGES = [{"role": "user", "content": "Tell me all about pumps."}]
NO_END = {"3": -100}


def make_body(serving, **options):
    return {"model": serving.model, "messages": MESSAGES, "logit_bias": NO_END} | options


@pytest.fixture(scope="module")
def web(serving):
    with httpx.Client(base_url=serving.root, timeout=60) as web:
        yield web


def read_metrics(web, headers=None):
    """Sums over all labels but the model's, by name and labels."""
    text = web.get("/metrics", headers=headers).raise_for_status().text
    return {
        (sample.name, tuple(v for k, v in sorted(sample.labels.items()) if k != "model")):
            sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }  # fmt: skip


def wait_until_idle(web, headers=None):
    """Until no answer runs: the server tells by itself, so its word is asked for again."""
    deadline = time.monotonic() + 30
    while read_metrics(web, headers)[("appliance_running", ())]:
        assert time.monotonic() < deadline, "an answer that nobody waits for still runs"


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8765", "localhost.evil.example", "127.0.0.1.evil.example",
     "[::1", "localhost:x", "", "evil.example@localhost.x", "*"],
)  # fmt: skip
def test_another_host_is_refused(web, host):
    """A page whose name was pointed at this machine sends its own name."""
    response = web.get("/v1/models", headers={"host": host})
    assert response.status_code in (400, 421)  # 400 where it is not even a host
    if response.status_code == 421:
        assert response.json()["error"]["code"] == "misdirected_request"


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1:1", "[::1]:8765", "10.0.0.7", "LOCALHOST"]
)
def test_our_names_and_any_address_are_ours(web, host):
    assert web.get("/v1/models", headers={"host": host}).status_code == 200


def test_a_request_without_a_host_is_refused(serving):
    port = int(serving.root.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET /v1/models HTTP/1.0\r\n\r\n")
        assert b" 421 " in connection.recv(1000)


@pytest.mark.parametrize(
    ("origin", "status"),
    [("http://evil.example", 403), ("null", 403), ("http://localhost:3000", 200)],
)
def test_pages_of_other_sites_are_refused(web, origin, status):
    assert web.get("/v1/models", headers={"origin": origin}).status_code == status


def test_no_page_may_read_answers(web):
    response = web.get("/v1/models", headers={"origin": "http://localhost:3000"})
    assert not [name for name in response.headers if name.startswith("access-control")]
    assert web.options("/v1/chat/completions").status_code == 405


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_what_a_page_can_send_without_asking_is_refused(web, serving, kind):
    content = json.dumps(make_body(serving))
    response = web.post("/v1/chat/completions", content=content, headers={"content-type": kind})
    assert response.status_code == 415


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/chat/completions/", "/v1/models/x/y", "/../etc"])
def test_other_paths_are_not_found(web, path):
    response = web.get(path)
    assert response.status_code in (404, 405)
    assert response.json()["error"]["type"] == "invalid_request_error"


def test_a_body_that_is_too_large_is_refused(web):
    headers = {"content-type": "application/json"}
    response = web.post("/v1/chat/completions", content=b" " * 5 * 2**20, headers=headers)
    assert response.status_code == 413


def test_a_body_without_an_end_is_not_read_to_its_end(web):
    sent = 0

    def parts():
        nonlocal sent
        while sent < 1000 * 2**20:
            yield b" " * 2**20
            sent += 2**20

    headers = {"content-type": "application/json"}
    with contextlib.suppress(httpx.HTTPError):  # the connection may end before the answer is read
        assert web.post("/v1/chat/completions", content=parts(), headers=headers).is_error
    assert sent < 100 * 2**20


def post_raw(serving, stack, body, **options):
    """A connection that has sent a request and reads nothing."""
    content = json.dumps(body).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    connection = stack.enter_context(socket.socket())
    for option, value in options.items():
        connection.setsockopt(socket.SOL_SOCKET, getattr(socket, option), value)
    connection.connect(("127.0.0.1", int(serving.root.rpartition(":")[2])))
    connection.sendall(head.encode() + content)
    return connection


@pytest.mark.parametrize("is_streamed", [True, False])
def test_clients_that_go_away_free_their_rows(web, serving, is_streamed):
    """Eight at once, so that their answers would take long."""
    before = read_metrics(web)
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            post_raw(serving, stack, make_body(serving, stream=is_streamed))
        while read_metrics(web)[("appliance_running", ())] < 8:
            pass
    wait_until_idle(web)
    after = read_metrics(web)
    cancelled, written = ("appliance_answers_total", ("cancelled",)), ("written",)
    assert after[cancelled] == before.get(cancelled, 0) + 8
    tokens = ("appliance_tokens_total", written)
    assert after[tokens] - before.get(tokens, 0) < 8 * 900


def test_a_client_that_does_not_read_keeps_nobody_else_waiting(web, serving, client):
    body = make_body(serving, stream=True, logprobs=True, top_logprobs=20)
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            post_raw(serving, stack, body, SO_RCVBUF=4096)
        reply = client.chat.completions.create(**make_body(serving, max_tokens=4))
        assert reply.usage.completion_tokens == 4
        wait_until_idle(web)  # all eight were answered, though nobody reads


def test_metrics_count_tokens_and_hold_no_text(web, client, serving):
    before = read_metrics(web)
    secret = "Wasserkraftwerk-Nordhang"
    messages = [{"role": "user", "content": secret}]
    client.chat.completions.create(**make_body(serving, messages=messages, max_tokens=7))
    after = read_metrics(web)

    def grew(name, *labels):
        return after[(name, labels)] - before.get((name, labels), 0)

    assert grew("appliance_tokens_total", "written") == 7
    assert grew("appliance_answers_total", "length") == 1
    assert grew("appliance_first_token_seconds_count") == 1
    assert secret not in web.get("/metrics").text
    assert after[("process_resident_memory_bytes", ())] > 2**20


@pytest.fixture
def token_file(tmp_path):
    path = tmp_path / "tokens"
    path.write_text("# ours\nfirst-token-of-sixteen\n\nsecond-token-of-many\n")
    path.chmod(0o600)
    return path


def test_a_token_is_needed_where_there_are_some(start_serving, packed, token_file):
    serving = start_serving(packed, "--port", 0, "--token-file", token_file)
    for path in ("/v1/models", "/metrics", "/v1/nothing"):
        for header in (None, "", "Bearer", "Bearer wrong", "Basic first-token-of-sixteen",
                       "first-token-of-sixteen", "Bearer first-token-of-sixteenX"):  # fmt: skip
            headers = {} if header is None else {"authorization": header}
            response = httpx.get(serving.root + path, headers=headers)
            assert response.status_code == 401
            assert response.json()["error"]["code"] == "invalid_api_key"
    assert httpx.get(serving.root + "/health").status_code == 200
    for token in ("first-token-of-sixteen", "second-token-of-many"):
        with openai.OpenAI(base_url=serving.address, api_key=token) as client:
            assert client.models.list().data


def test_what_one_token_asked_is_not_in_the_cache_of_another(start_serving, packed, token_file):
    serving = start_serving(packed, "--port", 0, "--token-file", token_file)
    cached = []
    for token in ("first-token-of-sixteen", "second-token-of-many", "second-token-of-many"):
        with openai.OpenAI(base_url=serving.address, api_key=token) as client:
            reply = client.chat.completions.create(**make_body(serving, max_tokens=2))
            cached.append(reply.usage.prompt_tokens_details.cached_tokens)
    assert cached[:2] == [0, 0]
    assert cached[2] > 0


def test_a_full_queue_is_told_with_the_time_to_come_back(start_serving, packed):
    serving = start_serving(packed, "--port", 0, "--parallel", 1)
    statuses, retries, kinds = [], [], []

    web = httpx.Client(base_url=serving.root, timeout=120, limits=httpx.Limits())

    def ask():
        with contextlib.suppress(httpx.HTTPError):  # cut short in the end
            response = web.post("/v1/chat/completions", json=make_body(serving))
            statuses.append(response.status_code)
            if response.status_code == 429:
                retries.append(int(response.headers["retry-after"]))
                kinds.append(response.json()["error"]["type"])
                done.set()

    done = threading.Event()
    threads = [threading.Thread(target=ask) for _ in range(70)]
    for thread in threads:
        thread.start()
    assert done.wait(60)
    serving.stop(signal.SIGKILL)
    for thread in threads:
        thread.join()
    web.close()
    assert min(retries) >= 1
    assert set(kinds) == {"rate_limit_error"}
    assert set(statuses) <= {200, 429}


def test_tokens_of_an_answer_can_be_limited_for_all(start_serving, packed):
    serving = start_serving(packed, "--port", 0, "--max-tokens-per-request", 5)
    for options in ({}, {"max_tokens": 100}, {"max_completion_tokens": 100}):
        body = make_body(serving, **options)
        reply = httpx.post(serving.address + "/chat/completions", json=body).json()
        assert reply["usage"]["completion_tokens"] == 5
        assert reply["choices"][0]["finish_reason"] == "length"


@pytest.mark.slow
def test_headers_that_do_not_come_end_the_connection(serving):
    port = int(serving.root.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX")
        assert connection.recv(100) == b""  # closed, after ten seconds


@pytest.mark.slow
def test_the_server_is_well_among_a_thousand_slow_connections(serving, web):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 1200:
        pytest.skip("the limit on open files is too low here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    port = int(serving.root.rpartition(":")[2])
    with contextlib.ExitStack() as stack:
        for _ in range(1000):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: loc")
        for _ in range(20):
            assert web.get("/health", timeout=10).status_code == 200
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_ids_of_answers_are_not_guessed(client, serving):
    ids = {client.chat.completions.create(**make_body(serving, max_tokens=1)).id for _ in range(5)}
    assert len(ids) == 5
    assert all(re.fullmatch("chatcmpl-[0-9a-f]{24}", one) for one in ids)
