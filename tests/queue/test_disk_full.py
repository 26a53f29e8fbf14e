"""A disk that is really full: nothing is lost, the message helps, the store goes on."""

import json
import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.faults.private_mount import IN_PRIVATE, find_why_no_mounts

WHY_NOT = find_why_no_mounts()


@pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)
def test_full_disk_loses_nothing_and_the_same_store_goes_on(tmp_path):
    done = subprocess.run(
        [*IN_PRIVATE, sys.executable, "-m", "tests.queue.fill_disk", tmp_path],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)

    assert told["acknowledged"]
    assert told["present"] == told["acknowledged"]
    assert told["reopened"] == [*told["acknowledged"], *told["still_full"], *told["later"]]
    assert re.fullmatch(
        rf"error: the disk is full\n"
        rf"why:   the queue cannot be written \({tmp_path}/queue\.sqlite3\): .+ are free\n"
        rf"fix:   free some space and give the same command again; nothing acknowledged is lost",
        told["message"],
    )
