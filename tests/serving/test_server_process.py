"""The life of the server's process: start, systemd, sockets, stop."""

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading

import httpx
import pytest
from click.testing import CliRunner

from appliance.cli.serve import serve
from appliance.errors import BundleError, ServiceError, UsageError

MESSAGES = [{"role": "user", "content": "Tell me all about pumps."}]


def make_body(serving, **options):
    return {"model": serving.model, "messages": MESSAGES, "logit_bias": {"3": -100}} | options


def read_events(response):
    """Bodies of the events of a stream, and whether it came to its end."""
    lines = [line[6:] for line in response.iter_lines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"], lines[-1] == "[DONE]"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_answers_come_to_their_end(start_serving, packed, number):
    serving = start_serving(packed, "--port", 0)
    body = make_body(serving, stream=True, max_tokens=700)
    with httpx.stream(
        "POST", serving.address + "/chat/completions", json=body, timeout=60
    ) as reply:
        serving.process.send_signal(number)
        events, is_whole = read_events(reply)
    assert is_whole
    assert events[-1]["choices"][0]["finish_reason"] == "length"
    assert serving.stop() == (0, "")


def test_no_request_is_taken_after_a_signal(start_serving, packed):
    serving = start_serving(packed, "--port", 0)
    body = make_body(serving, stream=True, max_tokens=900)
    with httpx.stream(
        "POST", serving.address + "/chat/completions", json=body, timeout=60
    ) as reply:
        serving.process.send_signal(signal.SIGTERM)
        _, is_whole = read_events(reply)
        with pytest.raises(httpx.HTTPError):
            httpx.get(serving.root + "/health")
    assert is_whole


def test_a_second_signal_ends_it_at_once(start_serving, packed):
    serving = start_serving(packed, "--port", 0, "--parallel", 1)
    body = make_body(serving, stream=True, logprobs=True, top_logprobs=20)
    with httpx.stream(
        "POST", serving.address + "/chat/completions", json=body, timeout=60
    ) as reply:
        next(reply.iter_lines())
        serving.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(httpx.HTTPError):
            while True:  # until it no longer listens: the first signal has come
                httpx.get(serving.root + "/health")
        assert serving.stop()[0] == 0


def test_the_process_that_renders_templates_ends_too(start_serving, packed):
    import psutil

    serving = start_serving(packed, "--port", 0)
    children = psutil.Process(serving.process.pid).children(recursive=True)
    assert len(children) == 1
    assert serving.stop() == (0, "")
    assert not any(child.is_running() for child in children)


def test_serving_needs_neither_torch_nor_transformers(start_serving, packed):
    """Oracle: the interpreter's own list of imports, with a chat and a grammar behind it."""
    serving = start_serving(packed, "--port", 0, python=("-X", "importtime"))
    body = make_body(serving, max_tokens=5, response_format={"type": "json_object"})
    assert httpx.post(serving.address + "/chat/completions", json=body).status_code == 200
    code, errors = serving.stop()
    names = {line.rpartition("|")[2].strip().partition(".")[0] for line in errors.splitlines()}
    assert code == 0
    assert {"onnxruntime", "llguidance", "starlette"} <= names
    assert not names & {"torch", "transformers", "peft", "bitsandbytes", "onnxruntime_genai"}


def test_systemd_is_told_ready_alive_and_stopping(start_serving, packed, tmp_path):
    """Oracle: sd_notify(3); a real datagram socket stands for systemd."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "600000"}
        serving = start_serving(packed, "--port", 0, environment=environment)
        told = [manager.recv(1000).decode() for _ in range(4)]
        assert serving.stop() == (0, "")
        while not told[-1].startswith("STOPPING=1"):
            told.append(manager.recv(1000).decode())
    assert told[0] == "READY=1"
    assert set(told[1:-1]) == {"WATCHDOG=1"}
    assert "EXTEND_TIMEOUT_USEC=" in told[-1]


def test_a_unix_socket_is_for_owner_and_group(start_serving, packed, tmp_path):
    path = tmp_path / "serve.sock"
    serving = start_serving(packed, "--socket", path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as web:
        assert web.get("http://any.name/v1/models").status_code == 200
        body = make_body(serving, max_tokens=2)
        assert web.post("http://x/v1/chat/completions", json=body).status_code == 200
    assert serving.stop() == (0, "")
    assert not path.exists()


def test_a_unix_socket_that_was_left_behind_is_taken_over(start_serving, packed, tmp_path):
    path = tmp_path / "serve.sock"
    start_serving(packed, "--socket", path).stop(signal.SIGKILL)
    assert path.exists()
    start_serving(packed, "--socket", path)


def test_several_bundles_are_served_under_their_names(start_serving, packed, tmp_path):
    import shutil

    other = tmp_path / "other-run"
    shutil.copytree(packed, other / "bundle")
    serving = start_serving(packed, other, "--port", 0)
    assert serving.models == [packed.parent.name, "other-run"]
    replies = {}

    def ask(model):
        body = make_body(serving, max_tokens=8) | {"model": model}
        replies[model] = httpx.post(serving.address + "/chat/completions", json=body).json()

    threads = [threading.Thread(target=ask, args=(model,)) for model in serving.models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    texts = [replies[model]["choices"][0]["message"]["content"] for model in serving.models]
    assert texts[0] == texts[1] != ""
    assert [replies[model]["model"] for model in serving.models] == serving.models


def test_nothing_is_written_about_requests(start_serving, packed, tmp_path):
    secret = "Wasserkraftwerk-Nordhang"
    serving = start_serving(packed, "--port", 0)
    body = make_body(serving, messages=[{"role": "user", "content": secret}], max_tokens=2)
    assert httpx.post(serving.address + "/chat/completions", json=body).status_code == 200
    httpx.post(serving.address + "/chat/completions", content=secret)
    with socket.create_connection(("127.0.0.1", int(serving.root.rpartition(":")[2]))) as raw:
        raw.sendall(secret.encode() + b"\r\n\r\n")
        raw.recv(1000)
    assert serving.stop() == (0, "")


def refuse(*arguments):
    """The error that a command line is refused with."""
    result = CliRunner().invoke(serve, [str(argument) for argument in arguments])
    assert result.exception is not None, result.output
    return result.exception


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])
def test_serve_refuses_to_be_open_to_others_without_a_token(packed, host):
    error = refuse(packed, "--host", host)
    assert isinstance(error, UsageError)
    assert "without a token" in error.what
    assert error.why
    assert "--token-file" in error.fix


def test_serve_says_that_a_port_is_taken(packed):
    with socket.create_server(("127.0.0.1", 0)) as other:
        error = refuse(packed, "--port", other.getsockname()[1])
    assert isinstance(error, ServiceError)
    assert "in use" in error.why
    assert "--port" in error.fix


def test_serve_says_that_an_address_is_not_ours(packed, tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text("x" * 32)
    tokens.chmod(0o600)
    error = refuse(packed, "--host", "203.0.113.7", "--port", 0, "--token-file", tokens)
    assert isinstance(error, ServiceError)
    assert error.why


@pytest.mark.parametrize(
    ("content", "mode", "what"),
    [("", 0o600, "no token"), ("# x\n\n", 0o600, "no token"), ("short", 0o600, "too short"),
     ("x" * 32, 0o604, "everybody"), (b"\xff" * 32, 0o600, "cannot be read")],
)  # fmt: skip
def test_serve_refuses_a_weak_token_file(packed, tmp_path, content, mode, what):
    path = tmp_path / "tokens"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(mode)
    error = refuse(packed, "--token-file", path)
    assert isinstance(error, UsageError)
    assert what in error.what
    assert error.why
    assert error.fix
    assert "xxxx" not in str(error)


def test_serve_refuses_a_token_file_that_is_not_there(packed, tmp_path):
    error = refuse(packed, "--token-file", tmp_path / "nothing")
    assert isinstance(error, UsageError)
    assert "no such file" in error.why


def test_serve_refuses_two_bundles_of_one_name(packed):
    error = refuse(packed, packed.parent, "--port", 0)
    assert isinstance(error, UsageError)
    assert packed.parent.name in error.what


def test_serve_refuses_what_is_no_bundle(tmp_path):
    assert isinstance(refuse(tmp_path, "--port", 0), BundleError)


def test_serve_refuses_a_socket_that_is_another_file(packed, tmp_path):
    path = tmp_path / "file"
    path.write_text("precious")
    error = refuse(packed, "--socket", path)
    assert isinstance(error, ServiceError)
    assert "not a socket" in error.why
    assert path.read_text() == "precious"


def test_serve_refuses_a_socket_that_somebody_listens_on(packed, tmp_path):
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        error = refuse(packed, "--socket", path)
    assert isinstance(error, ServiceError)
    assert "another process" in error.why


def test_serve_refuses_a_socket_name_that_is_too_long(packed, tmp_path):
    error = refuse(packed, "--socket", tmp_path / ("x" * 200))
    assert isinstance(error, ServiceError)


def test_importing_the_verb_imports_nothing_heavy():
    code = """
import sys
import appliance.cli.serve
heavy = {"torch", "numpy", "onnx", "onnxruntime", "starlette", "uvicorn", "pydantic"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ))
