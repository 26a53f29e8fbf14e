"""No connection that nobody asked for: the whole job without a network, and under strace."""

import json
import os
import re
import shutil
import subprocess

import pytest

from tests.conftest import ROOT
from tests.e2e.conftest import SMALL, build_command

pytestmark = pytest.mark.slow


def run_without_ci(command, **options):
    """ONNX Runtime hides its calls when CI is set: the proof must run without it."""
    environment = {key: value for key, value in os.environ.items() if key != "CI"}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=ROOT, timeout=500, **options
    )


def test_job_passes_in_a_network_namespace_without_interface(small_base, documents, tmp_path):
    probe = ["unshare", "--net", "true"]
    if shutil.which("unshare") is None or subprocess.run(probe, capture_output=True).returncode:
        pytest.skip("needs unshare(1) and the right to make a network namespace")

    arguments = ("tune", documents, "--base", small_base, "--runs", tmp_path, "--json", *SMALL)
    done = run_without_ci(["unshare", "--net", *build_command(*arguments)])

    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    answer = run_without_ci(
        ["unshare", "--net", *build_command("chat", result["bundle"], "-m", "Hello")]
    )
    assert answer.returncode == 0, answer.stderr


def test_job_attempts_no_internet_address(small_base, documents, tmp_path):
    if shutil.which("strace") is None:
        pytest.skip("needs strace(1)")
    log = tmp_path / "strace.log"
    trace = ["strace", "-f", "-q", "-e", "trace=socket,connect,sendto,sendmsg", "-o", str(log)]
    if subprocess.run([*trace, "true"], capture_output=True).returncode:
        pytest.skip("strace is not allowed to trace here")

    arguments = ("tune", documents, "--base", small_base, "--runs", tmp_path / "runs", *SMALL)
    done = run_without_ci([*trace, *build_command(*arguments, "--json")])

    assert done.returncode == 0, done.stderr
    bundle = json.loads(done.stdout)["bundle"]
    chat_log = tmp_path / "chat.log"
    trace[-1] = str(chat_log)
    answer = run_without_ci([*trace, *build_command("chat", bundle, "-m", "Hello")])
    assert answer.returncode == 0, answer.stderr
    internet = re.compile(r"AF_INET6?\b")
    calls = [
        line
        for path in (log, chat_log)
        for line in path.read_text().splitlines()
        if internet.search(line)
    ]
    assert calls == []
