"""What the end of a worker means for its job. Oracle: the rules of `docs/decisions/0013`."""

import pytest

from appliance.daemon.tick import recover
from appliance.units import GIB
from tests.daemon.conftest import DONE, fail


def crash(loop, job_id, **changes):
    """The worker dies, and the job is started again when its pause is over."""
    loop.finish(job_id, end="killed by signal 9", **changes)
    loop.turn(60)


def test_third_crash_without_progress_ends_the_job(loop):
    job_id = loop.begin()
    crash(loop, job_id)
    crash(loop, job_id)
    assert loop.find_state(job_id) == "Running"
    loop.finish(job_id, end="killed by signal 11")

    outcome = loop.find(job_id).state.outcome
    assert outcome.what == "crashed 3 times before its first step"
    assert "killed by signal 11" in outcome.why
    assert f"appliance jobs retry {job_id}" in outcome.fix


def test_pause_after_a_crash_doubles(loop):
    job_id = loop.begin()

    loop.finish(job_id, end="killed by signal 9")
    first = loop.find(job_id).waits_until - loop.now
    loop.turn(60)
    loop.finish(job_id, end="killed by signal 9")

    assert (first, loop.find(job_id).waits_until - loop.now) == (2, 4)


def test_progress_between_crashes_forgives_them(loop):
    job_id = loop.begin()

    for step in range(5):
        crash(loop, job_id, marker=f"tune step {step}")

    assert loop.find_state(job_id) == "Running"
    assert loop.find(job_id).attempts == 6


def test_same_progress_again_forgives_nothing(loop):
    job_id = loop.begin()

    crash(loop, job_id, marker="tune step 3")
    crash(loop, job_id, marker="tune step 3")
    crash(loop, job_id, marker="tune step 3")

    assert loop.find(job_id).state.outcome.what == "crashed 3 times at tune step 3"


def test_fault_of_the_program_counts_as_a_crash(loop):
    job_id = loop.begin()

    loop.finish(job_id, fail("ApplianceError"))

    assert (loop.find_state(job_id), loop.find(job_id).crashes) == ("Queued", 1)


def test_done_job_keeps_its_result(loop):
    job_id = loop.begin()

    loop.finish(job_id, DONE)

    assert loop.find(job_id).state.outcome.result == "{}"
    assert loop.workers.attempts == {}


@pytest.mark.parametrize(("error", "code"), [("GateError", 9), ("DocumentsError", 4)])
def test_refusal_ends_the_job_with_its_message_and_code(loop, error, code):
    job_id = loop.begin()

    loop.finish(job_id, fail(error))

    outcome = loop.find(job_id).state.outcome
    assert (outcome.what, outcome.why, outcome.fix) == ("it broke", "for a reason", "mend it")
    assert outcome.exit_code == code


def test_busy_run_is_waited_for(loop):
    job_id = loop.begin()

    loop.finish(job_id, fail("BusyError", what="another process works on it"))

    assert loop.find(job_id).state.waits_for == "another process works on it"
    assert loop.find(job_id).crashes == 0


def test_full_disk_pauses_the_job_until_there_is_more_room(loop):
    job_id = loop.begin()
    loop.sensors.disk = 3 * GIB  # what is free again once the worker took its file away

    loop.finish(job_id, fail("DiskFullError", what="the disk is full", why="3 GiB are free"))
    loop.turn(3600)
    job = loop.find(job_id)
    assert job.state.reason == "the disk is full: 3 GiB are free"
    assert job.token == 1, "3 GiB were too little a moment ago"

    loop.sensors.disk = 5 * GIB
    loop.turn()
    loop.turn()
    assert loop.find_state(job_id) == "Running"


def test_full_disk_does_not_make_a_job_start_for_ever_without_a_limit(loop):
    loop.settings = loop.settings.model_copy(update={"min_free_disk_gib": 0.0})
    loop.sensors.disk = 0
    job_id = loop.begin()

    for _ in range(5):
        if loop.find_state(job_id) == "Running":
            loop.finish(job_id, fail("DiskFullError"))
        loop.turn(60)

    assert loop.find(job_id).token == 1, "it was never started again"


def test_cancel_is_asked_first_and_then_done(loop):
    job_id = loop.begin()
    loop.store.ask_stop(job_id, "cancel")

    loop.turn()
    assert (loop.workers.asked, loop.workers.killed) == ([job_id], [])
    loop.finish(job_id, fail("InterruptedRun"), end="exit code 130")

    assert loop.find_outcome(job_id) == "Canceled"


def test_cancel_is_asked_once_and_kills_after_the_grace(loop):
    job_id = loop.begin()
    loop.store.ask_stop(job_id, "cancel")

    loop.turn()
    loop.turn(loop.settings.cancel_seconds)
    assert (loop.workers.asked, loop.workers.killed) == ([job_id], [])
    loop.turn(1)
    loop.turn(1)

    assert loop.workers.killed == [job_id]
    assert loop.find_outcome(job_id) == "Canceled"


def test_cancel_after_a_drain_wish_has_the_whole_grace(loop):
    job_id = loop.begin()
    loop.sensors.disk = 0
    loop.turn()
    loop.turn(10 * loop.settings.cancel_seconds)
    loop.store.ask_stop(job_id, "cancel")

    loop.turn()

    assert loop.workers.killed == []


def test_canceled_job_that_finishes_all_the_same_is_done(loop):
    job_id = loop.begin()
    loop.store.ask_stop(job_id, "cancel")
    loop.turn()

    loop.finish(job_id, DONE)

    assert loop.find_outcome(job_id) == "Done"


def test_drained_job_is_queued_without_blame(loop):
    job_id = loop.begin()

    loop.turn(is_draining=True)
    assert loop.workers.asked == [job_id]
    loop.workers.tell(job_id, ending=fail("InterruptedRun"), end="exit code 130")
    loop.turn(is_draining=True)

    job = loop.find(job_id)
    assert (loop.find_state(job_id), job.crashes, job.interruptions) == ("Queued", 0, 0)


def test_worker_killed_while_the_service_leaves_is_not_blamed(loop):
    job_id = loop.begin()
    loop.turn(is_draining=True)

    loop.workers.kill(job_id)  # a second signal: leave at once
    loop.turn(is_draining=True)

    assert (loop.find_state(job_id), loop.find(job_id).crashes) == ("Queued", 0)


def test_worker_that_does_not_leave_is_killed_so_that_the_service_can(loop):
    job_id = loop.begin()

    loop.turn(is_draining=True)
    loop.turn(loop.settings.drain_seconds, is_draining=True)
    assert loop.workers.killed == []
    loop.turn(1, is_draining=True)
    loop.turn(1, is_draining=True)

    assert loop.workers.killed == [job_id]
    assert (loop.find_state(job_id), loop.find(job_id).crashes) == ("Queued", 0)


def test_word_of_an_old_worker_is_not_taken(loop):
    job_id = loop.begin()
    loop.store.put_back(job_id, loop.find(job_id).token)  # somebody spoke for it: its token is old

    loop.turn()
    assert loop.workers.killed == [job_id]
    loop.turn()

    assert loop.find(job_id).attempts == 2
    assert any("old worker" in line for line in loop.said)


def test_end_of_a_fenced_worker_changes_nothing(loop):
    job_id = loop.begin()
    loop.store.put_back(job_id, loop.find(job_id).token)
    loop.sensors.memory = 0

    loop.finish(job_id, DONE)

    assert loop.find_state(job_id) == "Queued"


def test_recovery_puts_back_what_ran_and_counts_it(loop):
    job_id, queued = loop.begin("a"), loop.submit("b")

    recover(loop.store, loop.said.append)

    job = loop.find(job_id)
    assert (loop.find_state(job_id), job.interruptions, job.crashes) == ("Queued", 1, 0)
    assert loop.find(queued).interruptions == 0


def test_journal_holds_no_names_of_folders(loop):
    job_id = loop.submit("SECRET-NAME")
    loop.turn()
    loop.finish(job_id, fail("GateError", what="SECRET", why="SECRET"))

    assert loop.said
    assert not any("SECRET" in line for line in loop.said)
