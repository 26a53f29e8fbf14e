"""Workers that hang, and a disk that fills up, while jobs run."""

import pytest

from appliance.units import GIB
from tests.daemon.conftest import fail

SILENT, HANG = 60.0, 600.0
"""Defaults of the settings."""


def test_silent_worker_is_reported_once_and_told_when_it_moves_again(loop):
    job_id = loop.begin()

    loop.turn(SILENT)
    assert job_id not in loop.memory.troubles
    loop.turn(1)
    loop.turn(1)
    assert loop.memory.troubles[job_id].startswith("no sign of life for")
    assert sum("no sign of life" in line for line in loop.said) == 1

    loop.workers.tell(job_id, alive=loop.now, moved=loop.now)
    loop.turn(1)
    assert loop.memory.troubles == {}
    assert loop.said[-1] == f"job {job_id}: moves again"
    assert loop.workers.killed == []


def test_worker_that_lives_but_does_not_move_is_reported(loop):
    job_id = loop.begin()

    loop.workers.tell(job_id, alive=loop.now + SILENT)
    loop.turn(SILENT + 1)

    assert loop.memory.troubles[job_id].startswith("no progress for")


@pytest.mark.parametrize("is_alive", [False, True])
def test_hung_worker_is_killed_and_its_job_started_again(loop, is_alive):
    job_id = loop.begin()

    for _ in range(int(HANG / 60)):
        loop.turn(60)
        if is_alive:
            loop.workers.tell(job_id, alive=loop.now)
    assert loop.workers.killed == []
    loop.turn(1)
    loop.turn(1)

    assert loop.workers.killed == [job_id]
    job = loop.find(job_id)
    assert (loop.find_state(job_id), job.crashes) == ("Queued", 1)
    word = "progress" if is_alive else "sign of life"
    assert f"no {word} for" in job.state.waits_for, "it says why, not only that it was killed"
    loop.turn(60)
    assert loop.find_state(job_id) == "Running"


def test_kill_of_a_hung_worker_is_said_once(loop):
    job_id = loop.begin()
    loop.workers.kill = loop.workers.killed.append  # stuck in the kernel: it does not die yet

    for _ in range(3):
        loop.turn(HANG)

    assert sum("killed" in line for line in loop.said) == 1
    assert set(loop.workers.killed) == {job_id}


def test_low_disk_makes_running_jobs_pause_and_says_why(loop):
    job_id = loop.begin()
    loop.sensors.disk = GIB // 2

    loop.turn()
    assert loop.workers.asked == [job_id]
    loop.finish(job_id, fail("InterruptedRun"))

    assert loop.find(job_id).state.reason == "too little room on the disk"
    assert sum("512 MiB free" in line for line in loop.said) == 1


def test_paused_jobs_go_on_only_when_there_is_clearly_more_room(loop):
    job_id = loop.begin()
    loop.sensors.disk = GIB // 2
    loop.turn()
    loop.finish(job_id, fail("InterruptedRun"))

    loop.sensors.disk = int(1.4 * GIB)
    loop.turn(60)
    assert loop.find_state(job_id) == "Paused"

    loop.sensors.disk = int(1.5 * GIB)
    loop.turn(60)
    assert loop.find_state(job_id) == "Running"
    assert loop.workers.asked == [job_id], "it is not asked to stop again"


def test_no_job_starts_just_to_be_paused_again(loop):
    job_id = loop.begin("a")
    loop.sensors.disk = GIB // 2
    loop.turn()
    other = loop.submit("b")
    loop.finish(job_id, fail("InterruptedRun"))
    loop.sensors.disk = int(1.2 * GIB)

    loop.turn(60)

    assert loop.find_state(other) == "Queued"
    assert loop.find(other).state.waits_for == "disk: 1.2 GiB free, 1.5 GiB wanted"


def test_disk_that_recovers_before_the_worker_left_lets_the_job_go_on(loop):
    job_id = loop.begin()
    loop.sensors.disk = 0
    loop.turn()
    loop.sensors.disk = 10 * GIB

    loop.finish(job_id, fail("InterruptedRun"))
    loop.turn()

    assert loop.find_state(job_id) == "Running"


def test_job_that_a_person_paused_is_not_resumed_by_the_disk(loop):
    job_id = loop.submit()
    loop.store.pause(job_id, "by hand", by_person=True)

    loop.turn(60)

    assert loop.find_state(job_id) == "Paused"
