"""The proofs of silence. Oracle: programs that do talk, and a home with files in it."""

import shutil
import subprocess
import sys

import pytest
from click.testing import CliRunner

from appliance.airgap import proofs
from appliance.airgap.proofs import Proof, list_calls, list_strays
from appliance.cli.report import report
from appliance.errors import GateError

TALKS = """\
import socket
socket.socket(socket.AF_UNIX).close()
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(("127.0.0.1", 9))
udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
"""


def test_calls_that_name_an_internet_address_are_found(tmp_path):
    trace = [*proofs._TRACE, str(tmp_path / "log")]
    if shutil.which("strace") is None or subprocess.run([*trace, "true"]).returncode:
        pytest.skip("needs strace(1), and the right to trace")
    subprocess.run([*trace, sys.executable, "-c", TALKS], check=True)

    calls = list_calls(tmp_path / "log")

    assert [call.split("(")[0].split()[-1] for call in calls] == ["socket", "socket"]
    assert "AF_INET," in calls[0] and "AF_INET6" in calls[1]


def test_files_outside_the_programs_folders_are_found(tmp_path):
    for name in (".cache/appliance/rates.json", ".cache/onnxruntime/deviceid", "x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    assert list_strays(tmp_path) == [".cache/onnxruntime/deviceid", "x"]


def test_job_of_the_proof_is_not_told_to_be_silent(tmp_path, monkeypatch):
    monkeypatch.setenv("CI", "1")
    monkeypatch.setenv("HTTPS_PROXY", "http://192.0.2.1")

    environment = proofs._make_environment(tmp_path)

    assert not {"CI", "HTTPS_PROXY", "ORT_DISABLE_TELEMETRY", "HF_HUB_OFFLINE"} & set(environment)
    assert environment["HOME"] == str(tmp_path / "home")


def test_what_this_machine_cannot_do_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))

    found = proofs.prove_airgap(0)

    assert [proof.passed for proof in found] == [None, None, None]
    assert found[0].measured == "unshare is not on this machine"


def test_proof_that_fails_is_an_error(monkeypatch):
    failed = Proof(name="tries no connection", passed=False, measured="1 call", wanted="none")
    monkeypatch.setattr(proofs, "prove_airgap", lambda: (failed,))

    result = CliRunner().invoke(report, ["--airgap"])

    assert "FAILED     tries no connection" in result.stdout
    assert isinstance(result.exception, GateError)
    assert result.exception.why == "1 call"
