"""Limits of the system. Oracle: limits that a child was given."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.hardware.limits import find_low_limits, read_limits
from appliance.units import GIB
from appliance.values import Limits

ROOT = Path(__file__).parents[2]
SCRIPT = (
    "import json, sys, resource\n"
    "from pathlib import Path\n"
    "from appliance.hardware.limits import read_limits\n"
    "for name, value in json.loads(sys.argv[1]).items():\n"
    "    limit = getattr(resource, name)\n"
    "    resource.setrlimit(limit, (value, resource.getrlimit(limit)[1]))\n"
    "print(read_limits(Path(sys.argv[2])).model_dump_json())\n"
)


def read_in_child(folder, **limits):
    command = [sys.executable, "-c", SCRIPT, json.dumps(limits), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return json.loads(done.stdout)


def test_limits_of_the_process_are_read(tmp_path):
    found = read_in_child(
        tmp_path, RLIMIT_NOFILE=200, RLIMIT_FSIZE=GIB, RLIMIT_CORE=0, RLIMIT_AS=40 * GIB
    )

    assert found["open_files"] == 200
    assert found["file_bytes"] == GIB
    assert found["core_dump_bytes"] == 0
    assert found["address_space_bytes"] == 40 * GIB


def test_limit_of_the_container_counts_when_it_is_lower(tmp_path):
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/box\n")
    (tmp_path / "proc/self/mountinfo").write_text("30 1 0:26 / /cg rw - cgroup2 cgroup2 rw\n")
    (tmp_path / "cg/box").mkdir(parents=True)
    (tmp_path / "cg/pids.max").write_text("max\n")
    (tmp_path / "cg/box/pids.max").write_text("64\n")

    assert read_limits(tmp_path).processes == 64


def test_no_limit_is_none(tmp_path):
    if resource.getrlimit(resource.RLIMIT_FSIZE)[1] != resource.RLIM_INFINITY:
        pytest.skip("files are limited here, and the limit cannot be lifted")
    found = read_in_child(tmp_path, RLIMIT_FSIZE=-1)

    assert found["file_bytes"] is None


def test_low_limits_are_findings_with_the_key_of_the_unit():
    low = Limits(
        open_files=256, processes=32, address_space_bytes=8 * GIB, file_bytes=GIB, locked_bytes=0
    )

    found = find_low_limits(low, 16 * GIB)

    assert [each.what.split(" ", 2)[1] for each in found] == ["256", "32", "process", "file"]
    assert all("in the systemd unit" in each.fix for each in found)


def test_common_limits_are_none():
    common = Limits(open_files=1024, processes=96_000, locked_bytes=8 * 2**20)

    assert find_low_limits(common, 16 * GIB) == []
