"""A real queue in a temporary folder, a clock that is turned by hand, and jobs in every state."""

from __future__ import annotations

import pytest

from appliance.queue.states import Canceled, Done, Failed
from appliance.queue.store import Store

START = 1_000_000.0


class HandClock:
    """Stands still until it is turned."""

    def __init__(self):
        self.now = START

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "queue.sqlite3"


@pytest.fixture
def store(path, clock):
    store = Store(path, clock=clock)
    yield store
    store.close()


def submit(store, name="a", **others):
    """Queue a job whose key, run and label come from one name."""
    about = {"kind": "tune", "request": "{}", "owner": 1000, "label": name} | others
    return store.submit(key=f"key-{name}", run=f"/runs/{name}", **about)[0]


def run(store, name="a", **others):
    """Queue a job and start it."""
    return store.start(submit(store, name, **others).id, events_from=0)


STATES = ("queued", "running", "paused", "done", "failed", "canceled")


def bring_to(store, state):
    """A new job in this state; if it ever ran, its token is 1."""
    if state == "queued":
        return submit(store)
    if state == "paused":
        return store.pause(submit(store).id, "by hand", by_person=True)
    job = run(store)
    outcomes = {
        "done": Done(result="{}"),
        "failed": Failed(what="it broke", exit_code=7),
        "canceled": Canceled(),
    }
    return job if state == "running" else store.end(job.id, job.token, outcomes[state])
