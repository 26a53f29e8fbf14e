"""The time of day jumps under a daemon, by years. Oracle: what was ordered, in its order."""

from __future__ import annotations

import pytest

from tests.daemon.service import WAITING, Daemon, write_documents
from tests.faults import shim
from tests.faults.soak import Clock

WHY_NOT = shim.find_why_not()
YEAR = 365 * 86_400

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]


def test_clock_that_jumps_by_years_loses_no_job_and_keeps_the_order(tmp_path):
    documents = write_documents(tmp_path / "documents", 1)
    clock = Clock(tmp_path / "clock")
    daemon = Daemon(tmp_path, WAITING)
    daemon.prefix = clock.prefix
    daemon.start()
    ids = []
    try:
        for number, years in enumerate((0, -2, 2, 0)):
            clock.shift(years * YEAR)
            ids.append(daemon.submit(documents, f"tune.seed={number}")["id"])
            if years:  # and one that wakes up in another year
                daemon.kill()
                daemon.start()
        jobs = daemon.client.ask("GET", "/v1/jobs", limit=10)["jobs"]
    finally:
        daemon.kill()

    assert [job["id"] for job in jobs] == ids[::-1] == [4, 3, 2, 1]
    assert {job["state"] for job in jobs} <= {"queued", "waiting"}
    first, early, late, _ = (job["submitted_at"] for job in jobs[::-1])
    assert early < first - YEAR and late > first + YEAR, "the clock did not jump"
