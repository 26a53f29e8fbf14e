"""A job that crashes for ever is given up, a job that gets on is not. Oracle: the contract."""

import pytest

from appliance.queue.states import Ended, Failed, Queued
from tests.queue.conftest import START, run, submit


def crash(store, job_id, *markers, how="signal 9"):
    """One attempt that passes these markers and crashes."""
    job = store.start(job_id, events_from=0)
    for marker in markers:
        store.note_progress(job_id, job.token, marker)
    return store.crashed(job_id, job.token, how)


def interrupt(store, job_id, *markers):
    job = store.start(job_id, events_from=0)
    for marker in markers:
        store.note_progress(job_id, job.token, marker)
    return store.interrupted(job_id, job.token, "the machine was restarted")


def test_third_crash_without_progress_fails_the_job(store):
    job = submit(store)

    crash(store, job.id, "tune step 40")
    crash(store, job.id)
    last = crash(store, job.id, how="signal 11")

    assert last.state == Ended(
        outcome=Failed(
            what="crashed 3 times at tune step 40",
            why="the last time: signal 11",
            fix="see appliance jobs logs 1; then appliance jobs retry 1",
            exit_code=1,
        ),
        at=START,
    )


def test_job_that_never_began_says_so(store):
    job = submit(store)

    for _ in range(3):
        last = crash(store, job.id)

    assert last.state.outcome.what == "crashed 3 times before its first step"


def test_crashes_with_progress_never_fail_the_job(store):
    job = submit(store)

    for step in range(20):
        after = crash(store, job.id, f"tune step {step}")

    assert (type(after.state), after.crashes, after.attempts) == (Queued, 1, 20)


def test_markers_that_were_reached_before_are_no_progress(store):
    """Each attempt passes the early stages again; only what is behind the crash would count."""
    job = submit(store)

    for _ in range(3):
        last = crash(store, job.id, "stage corpus", "stage dataset", "stage tune")

    assert last.state.outcome.what == "crashed 3 times at stage tune"
    assert [event.kind for event in store.events()].count("progress") == 3


def test_pause_after_a_crash_doubles(store, clock):
    job = submit(store)

    pauses = []
    for _ in range(2):
        after = crash(store, job.id)
        pauses.append(after.waits_until - clock.now)
        assert store.next_ready(after.waits_until - 0.1) is None
        assert store.next_ready(after.waits_until).id == job.id

    assert pauses == [2.0, 4.0]


def test_tenth_interruption_without_progress_fails_the_job(store):
    job = submit(store)

    interrupt(store, job.id, "stage tune")
    for _ in range(8):
        assert isinstance(interrupt(store, job.id).state, Queued)
    last = interrupt(store, job.id)

    assert str(last.state.outcome.what) == "interrupted 10 times at stage tune"
    assert last.state.outcome.why == "the last time: the machine was restarted"


def test_interruptions_with_progress_never_fail_the_job(store):
    job = submit(store)

    for step in range(25):
        after = interrupt(store, job.id, f"tune step {step}")

    assert (type(after.state), after.interruptions) == (Queued, 1)


def test_crashes_and_interruptions_are_counted_apart(store):
    job = submit(store)

    for _ in range(2):
        crash(store, job.id)
    for _ in range(9):
        interrupt(store, job.id)

    after = store.find(job.id)
    assert (after.crashes, after.interruptions) == (2, 9)


@pytest.mark.parametrize("marker", ["", "stage tune"])
def test_progress_that_is_not_new_writes_nothing(store, marker):
    job = run(store)
    store.note_progress(job.id, job.token, "stage tune")
    before = store.events()

    store.note_progress(job.id, job.token, marker)

    assert store.events() == before
    assert store.find(job.id).progress == "stage tune"


def test_retried_job_has_three_crashes_again(store):
    job = submit(store)
    for _ in range(3):
        crash(store, job.id)
    store.retry(job.id)

    for _ in range(2):
        assert isinstance(crash(store, job.id).state, Queued)
    assert isinstance(crash(store, job.id).state, Ended)
