"""Every verb on every state. Oracle: the table below, written by hand from the design."""

import json

import pytest

from appliance.queue.refusals import describe
from appliance.queue.states import (
    Canceled,
    Done,
    Ended,
    Failed,
    Fenced,
    Paused,
    Queued,
    Running,
    WrongStateError,
)
from tests.queue.conftest import START, STATES, bring_to, run, submit

VERBS = {
    "start": lambda store, job: store.start(job, events_from=7),
    "wait": lambda store, job: store.wait(job, "the gpu", START + 9),
    "cancel": lambda store, job: store.ask_stop(job, "cancel"),
    "drain": lambda store, job: store.ask_stop(job, "drain"),
    "pause": lambda store, job: store.pause(job, "disk full"),
    "resume": lambda store, job: store.resume(job),
    "retry": lambda store, job: store.retry(job),
}
BECOMES = {
    ("start", "queued"): Running(token=1, since=START),
    ("wait", "queued"): Queued(waits_for="the gpu"),
    ("cancel", "queued"): Ended(outcome=Canceled(), at=START),
    ("cancel", "running"): Running(token=1, since=START, stop="cancel"),
    ("cancel", "paused"): Ended(outcome=Canceled(), at=START),
    ("cancel", "canceled"): Ended(outcome=Canceled(), at=START),
    ("drain", "running"): Running(token=1, since=START, stop="drain"),
    ("pause", "queued"): Paused(reason="disk full"),
    ("resume", "paused"): Queued(),
    ("resume", "canceled"): Queued(),
    ("retry", "failed"): Queued(),
    ("retry", "canceled"): Queued(),
}
"""What is not here is refused."""

OF_AN_ATTEMPT = {
    "end": (
        lambda store, job, token: store.end(job, token, Done(result="[1]")),
        Ended(outcome=Done(result="[1]"), at=START),
    ),
    "crashed": (
        lambda store, job, token: store.crashed(job, token, "signal 9"),
        Queued(waits_for="a pause after it crashed (signal 9)"),
    ),
    "interrupted": (
        lambda store, job, token: store.interrupted(job, token, "reboot"),
        Queued(),
    ),
    "put_back": (
        lambda store, job, token: store.put_back(job, token, "memory", START + 9),
        Queued(waits_for="memory"),
    ),
    "pause": (
        lambda store, job, token: store.pause(job, "disk full", token=token),
        Paused(reason="disk full"),
    ),
}
"""Verbs of whoever works on the job, and what becomes of a running one."""


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("verb", VERBS)
def test_verb_does_what_the_table_says_or_is_refused(store, verb, state):
    job = bring_to(store, state)
    expected = BECOMES.get((verb, state))

    if expected is None:
        with pytest.raises(WrongStateError, match=f"job {job.id} cannot be"):
            VERBS[verb](store, job.id)
        expected = job.state
    else:
        VERBS[verb](store, job.id)

    assert store.find(job.id).state == expected


@pytest.mark.parametrize("verb", OF_AN_ATTEMPT)
def test_attempt_does_what_the_table_says(store, verb):
    job = run(store)
    do, expected = OF_AN_ATTEMPT[verb]

    assert do(store, job.id, job.token).state == expected
    assert store.find(job.id).state == expected


@pytest.mark.parametrize("state", [state for state in STATES if state != "running"])
@pytest.mark.parametrize("verb", [*OF_AN_ATTEMPT, "note_progress"])
def test_attempt_that_is_over_is_fenced(store, verb, state):
    job = bring_to(store, state)

    with pytest.raises(Fenced, match="token 1 no longer speaks for it"):
        speak(store, verb, job.id, token=1)

    assert store.find(job.id) == job


@pytest.mark.parametrize("verb", [*OF_AN_ATTEMPT, "note_progress"])
def test_older_attempt_is_fenced_while_a_newer_one_runs(store, verb):
    old = run(store)
    store.put_back(old.id, old.token)
    new = store.start(old.id, events_from=0)

    with pytest.raises(Fenced):
        speak(store, verb, old.id, token=old.token)

    assert store.find(old.id) == new


def speak(store, verb, job_id, token):
    if verb == "note_progress":
        return store.note_progress(job_id, token, "step 1")
    return OF_AN_ATTEMPT[verb][0](store, job_id, token)


@pytest.mark.parametrize("verb", ["crashed", "interrupted", "put_back", "pause"])
def test_wished_cancel_wins_however_the_attempt_stops(store, verb):
    job = run(store)
    store.ask_stop(job.id, "cancel")

    after = OF_AN_ATTEMPT[verb][0](store, job.id, job.token)

    assert after.state == Ended(outcome=Canceled(), at=START)


def test_job_that_finished_before_it_saw_the_cancel_is_done(store):
    job = run(store)
    store.ask_stop(job.id, "cancel")

    assert describe(store.end(job.id, job.token, Done(result="{}"))) == "done"


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [("drain", "cancel", "cancel"), ("cancel", "drain", "cancel"), ("drain", "drain", "drain")],
)
def test_cancel_is_stronger_than_drain(store, first, second, kept):
    job = run(store)

    store.ask_stop(job.id, first)
    store.ask_stop(job.id, second)

    assert store.note_progress(job.id, job.token, "") == kept


def test_stop_wish_does_not_outlive_the_attempt(store):
    job = run(store)
    store.ask_stop(job.id, "drain")
    store.put_back(job.id, job.token)

    again = store.start(job.id, events_from=0)

    assert store.note_progress(job.id, again.token, "") is None


def test_every_start_has_a_larger_token_and_counts_an_attempt(store):
    job = submit(store)
    tokens, attempts = [], []
    for _ in range(3):
        job = store.start(job.id, events_from=11)
        tokens.append(job.token)
        attempts.append(job.attempts)
        store.put_back(job.id, job.token)

    assert (tokens, attempts, job.events_from) == ([1, 2, 3], [1, 2, 3], 11)


@pytest.mark.parametrize(("verb", "state"), [("resume", "canceled"), ("retry", "failed")])
def test_resume_and_retry_forgive_but_never_give_a_token_twice(store, verb, state):
    job = run(store)
    store.crashed(job.id, job.token, "signal 9")
    job = store.start(job.id, events_from=0)
    store.interrupted(job.id, job.token, "reboot")
    job = store.start(job.id, events_from=0)
    store.end(job.id, job.token, Canceled() if state == "canceled" else Failed(what="no"))

    queued = VERBS[verb](store, job.id)

    assert (queued.attempts, queued.crashes, queued.interruptions) == (0, 0, 0)
    assert store.start(job.id, events_from=0).token == 4


@pytest.mark.parametrize("verb", ["resume", "retry"])
def test_job_does_not_go_on_while_another_works_in_its_run(store, verb):
    job = bring_to(store, "canceled")
    other, _ = store.submit(
        key="other", kind="tune", request="{}", run=job.run, owner=1, label="again"
    )

    with pytest.raises(WrongStateError) as refused:
        VERBS[verb](store, job.id)

    assert str(refused.value) == (
        "error: job 1 cannot go on\n"
        "why:   job 2 works in the same run and is queued\n"
        "fix:   appliance jobs watch 2"
    )
    store.ask_stop(other.id, "cancel")
    assert describe(VERBS[verb](store, job.id)) == "queued"


@pytest.mark.parametrize(
    ("state", "why", "fix"),
    [
        ("queued", "queued", "appliance jobs watch 1 or appliance jobs cancel 1"),
        ("running", "running (attempt 1)", "appliance jobs watch 1 or appliance jobs cancel 1"),
        ("paused", "paused", "appliance jobs resume 1 or appliance jobs cancel 1"),
        ("done", "done", "appliance jobs show 1"),
        ("failed", "failed", "appliance jobs retry 1 or appliance jobs show 1"),
        ("canceled", "canceled", "appliance jobs resume 1 or appliance jobs show 1"),
    ],
)
def test_refusal_names_the_state_and_what_would_work(store, state, why, fix):
    bring_to(store, state)
    verb, past = ("resume", "resumed") if state == "running" else ("drain", "drained")

    with pytest.raises(WrongStateError) as refused:
        VERBS[verb](store, 1)

    assert str(refused.value) == (
        f"error: job 1 cannot be {past}\nwhy:   it is {why}\nfix:   {fix}"
    )
    suggested = {words.split()[2] for words in fix.split(" or ")}
    assert all((verb, state) in BECOMES for verb in suggested - {"watch", "show"})


def test_waiting_job_is_called_waiting(store):
    job = submit(store)
    store.wait(job.id, "the gpu", START + 1)

    assert describe(store.find(job.id)) == "waiting"


def test_history_tells_what_happened_without_the_words_of_a_fault(store, clock):
    job = submit(store, priority=3)
    store.wait(job.id, "12 GiB of memory", START + 5)
    store.wait(job.id, "13 GiB of memory", START + 10)
    job = store.start(job.id, events_from=0)
    store.note_progress(job.id, job.token, "tune step 40")
    store.crashed(job.id, job.token, "signal 9")
    job = store.start(job.id, events_from=0)
    store.interrupted(job.id, job.token, "reboot")
    store.pause(job.id, "no room in /private", by_person=True)
    store.resume(job.id)
    job = store.start(job.id, events_from=0)
    store.ask_stop(job.id, "drain")
    store.put_back(job.id, job.token)
    clock.now += 60
    job = store.start(job.id, events_from=0)
    store.end(job.id, job.token, Failed(what="secret.pdf is broken", exit_code=4))
    store.retry(job.id)

    history = store.events(job_id=job.id)

    assert [(event.kind, event.token, json.loads(event.data)) for event in history] == [
        ("submitted", 0, {"priority": 3}),
        ("waiting", 0, {}),
        ("started", 1, {"attempt": 1}),
        ("progress", 1, {"marker": "tune step 40"}),
        ("crashed", 1, {"times": 1}),
        ("started", 2, {"attempt": 2}),
        ("interrupted", 2, {"times": 1}),
        ("paused", 2, {"by_person": True}),
        ("resumed", 2, {}),
        ("started", 3, {"attempt": 1}),
        ("stop_wished", 3, {"wish": "drain"}),
        ("put_back", 3, {}),
        ("started", 4, {"attempt": 2}),
        ("ended", 4, {"outcome": "failed", "exit_code": 4}),
        ("retried", 4, {}),
    ]
    assert [event.at - START for event in history[-4:]] == [0, 60, 60, 60]
