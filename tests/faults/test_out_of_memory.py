"""The kernel kills a worker that takes more memory than its control group has.

Oracle: the daemon lives and says so, and tries again.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.daemon.base import make_base
from tests.daemon.service import QUICK, is_state, running, write_documents
from tests.systemd.groups import find_controllers, find_hierarchy

pytestmark = pytest.mark.slow


@pytest.fixture
def group():
    """A control group for memory; processes that are left go back to the root."""
    hierarchy = find_hierarchy()
    controllers = find_controllers(hierarchy) if hierarchy and os.geteuid() == 0 else []
    root = next(
        (path for path in controllers if path.name in ("memory", "unified", "cgroup")), None
    )
    if root is None:
        pytest.skip("limiting memory needs root and control groups")
    group = root / f"appliance-test-{os.getpid()}-oom"
    group.mkdir()
    yield group
    group.rmdir()


def limit(group: Path, num_bytes: int) -> None:
    new, old = group / "memory.max", group / "memory.limit_in_bytes"
    (new if new.exists() else old).write_text(str(num_bytes))


def test_worker_that_is_killed_for_its_memory_is_said_and_tried_again(tmp_path, group):
    base = make_base(tmp_path / "small")
    documents = write_documents(tmp_path / "documents")
    with running(tmp_path, "inbox: {enabled: false}\n") as daemon:
        job_id = daemon.submit(documents, *QUICK, base=str(base))["id"]
        daemon.wait_for(job_id, is_state("running"))
        (worker,) = daemon.list_workers()
        limit(group, 64 * 2**20)  # less than the imports of a worker take
        (group / "cgroup.procs").write_text(str(worker))
        waiting = daemon.wait_for(job_id, is_state("waiting"))
        restarted = daemon.wait_for(job_id, is_state("running"))
        status = daemon.client.ask("GET", "/v1/status")

    assert "killed by signal 9 (out of memory?)" in waiting["waits_for"]
    assert restarted["state"] == "running"
    assert status["trouble"] == ""
