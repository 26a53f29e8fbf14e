"""A stick installed where there is no network. Oracle: the installed program runs."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from appliance.bundle.keys import create_key
from tests.airgap.sticks import pack, write_wheelhouse
from tests.airgap.test_stick import add_to_store
from tests.conftest import ROOT

pytestmark = pytest.mark.slow


def test_stick_installs_in_a_namespace_without_a_network(tmp_path, monkeypatch):
    probe = ["unshare", "--net", "true"]
    if shutil.which("unshare") is None or subprocess.run(probe, capture_output=True).returncode:
        pytest.skip("needs unshare(1) and the right to make a network namespace")
    monkeypatch.setenv("APPLIANCE_BASES", str(tmp_path / "store"))
    create_key(tmp_path / "keys")
    add_to_store(tmp_path)
    stick, into = tmp_path / "stick", tmp_path / "into"
    pack(stick, write_wheelhouse(tmp_path / "wheelhouse"), tmp_path / "keys", ["Some/base"])
    environment = os.environ | {
        "APPLIANCE_KEYS": str(tmp_path / "keys"),
        "APPLIANCE_BASES": str(tmp_path / "other-store"),
        "PIP_INDEX_URL": "http://192.0.2.1/simple",  # what a person has set must not matter
        "PIP_EXTRA_INDEX_URL": "http://192.0.2.2/simple",
        "HOME": str(tmp_path / "home"),
    }
    command = [sys.executable, "-m", "appliance", "airgap", "install", stick, "--into", into]

    done = subprocess.run(
        ["unshare", "--net", *map(str, command), "--json"],
        capture_output=True, text=True, env=environment, cwd=ROOT,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["num_wheels"], told["bases"]) == (3, ["Some/base"])
    ran = subprocess.run(
        [told["program"]], capture_output=True, text=True, check=True, env={}, cwd=tmp_path
    )
    assert ran.stdout == "appliance 0.1.0\n"
    assert (tmp_path / "other-store" / "Some--base" / "model.safetensors").is_file()
