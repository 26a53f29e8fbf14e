"""A small daemon on the real store, to be struck at any moment; and what must hold afterwards.

    python -m tests.faults.queue_flow DATABASE FIRST_NUMBER {safe|normal|early}

`normal` opens the database with `synchronous=NORMAL`, `early` acknowledges ten submissions before
it writes them: both are wrong on purpose, to show that the harness notices.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from appliance.errors import ApplianceError
from appliance.queue.states import Done, Ended, Fenced, Job, Running
from appliance.queue.store import Store
from tests.faults.acks import Ack, acknowledge

MAX_BACKLOG = 20
"""Jobs that wait; enough to have some at every moment."""


def main(path: Path, first: int, mode: str) -> None:
    """Take back what a killed process left, then submit and do jobs until struck."""
    acknowledge("opening")
    try:
        store = Store(path, clock=time.time)
        if mode == "normal":
            store._db.execute("PRAGMA synchronous = NORMAL")
        take_back(store)
        threading.Thread(target=do_jobs, args=(store,), daemon=True).start()
        submit_jobs(store, first, ahead=10 if mode == "early" else 0)
    except ApplianceError:  # the disk is gone
        os._exit(3)


def take_back(store: Store) -> None:
    """What ran is queued again, and the killed attempt no longer has a say."""
    for job in store.list_jobs(live_only=True, limit=None):
        if isinstance(job.state, Running):
            store.interrupted(job.id, job.token, "killed")
            try:
                store.end(job.id, job.token, Done(result='"stale"'))
                acknowledge("breach", job.id)
            except Fenced:
                acknowledge("fenced", job.id)


def submit_jobs(store: Store, first: int, *, ahead: int) -> None:
    """Submissions numbered from `first`, acknowledged `ahead` of their time."""
    for number in itertools.count(first):
        store.submit(
            key=f"key {number}",
            kind="tune",
            request="{}",
            run=f"/runs/{number}",
            owner=0,
            label=str(number),
            priority=number % 3,
        )
        acknowledge("submitted", number + ahead)
        while store.count_states()["queued"] > MAX_BACKLOG:
            time.sleep(0.001)


def do_jobs(store: Store) -> None:
    """Start, note progress, end; one job after the other."""
    try:
        while True:
            job = store.next_ready(time.time())
            if job is None:
                time.sleep(0.001)
                continue
            job = store.start(job.id, events_from=0)
            acknowledge("started", job.id, job.token)
            store.note_progress(job.id, job.token, "half")
            store.end(job.id, job.token, Done(result=json.dumps(job.token)))
            acknowledge("ended", job.id, job.token)
    except ApplianceError:  # the disk is gone
        os._exit(3)


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """What is wrong with a queue, measured by what was acknowledged.

    Attributes:
        lost: acknowledged and not there.
        doubled: submissions that became two jobs, jobs that ended twice, tokens given twice, old
            attempts that were heard.
    """

    lost: int
    doubled: int


def check(path: Path, acks: Iterable[Ack]) -> Findings:
    """Open the queue as the daemon would, and hold it against what was acknowledged."""
    store = Store(path, clock=time.time)
    jobs = {job.id: job for job in store.list_jobs(limit=None)}
    events = store.events(limit=10_000_000)
    store.close()
    acks = list(acks)
    labels = Counter(job.label for job in jobs.values())
    ends = Counter(event.job for event in events if event.kind == "ended")
    started = Counter(tuple(words) for words in acks if words[0] == "started")
    doubles = (times - 1 for counter in (labels, ends, started) for times in counter.values())
    return Findings(
        lost=sum(not is_kept(words, jobs, labels) for words in acks),
        doubled=sum(doubles) + sum(words[0] == "breach" for words in acks),
    )


def is_kept(words: Ack, jobs: dict[int, Job], labels: Counter[str]) -> bool:
    """Whether the queue knows what was acknowledged."""
    match words:
        case ["submitted", number]:
            return str(number) in labels
        case ["started", job_id, token]:
            return job_id in jobs and jobs[job_id].token >= token
        case ["ended", job_id, token]:
            wanted = Done(result=json.dumps(token))
            state = jobs[job_id].state if job_id in jobs else None
            return isinstance(state, Ended) and state.outcome == wanted
    return True


def find_next_number(acks: Iterable[Ack]) -> int:
    """The first submission that was not acknowledged: a client would ask again for it."""
    return max((words[1] + 1 for words in acks if words[0] == "submitted"), default=0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
