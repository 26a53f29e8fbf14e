"""Between rows of the database and the values of `states.py`."""

from __future__ import annotations

import dataclasses
import json
import os
import sqlite3
from typing import TypeAlias, assert_never

from appliance.queue.states import (
    Canceled,
    Done,
    Drop,
    Ended,
    Failed,
    Job,
    Outcome,
    Paused,
    Queued,
    QueueEvent,
    Running,
    State,
)

Column: TypeAlias = str | int | float | bytes | None
Columns: TypeAlias = dict[str, Column]


def decode_job(row: sqlite3.Row) -> Job:
    """The job in a row of `jobs`."""
    plain = {
        name: row[name]
        for name in (
            "id", "kind", "request", "run", "owner", "label", "priority", "submitted_at", "token",
            "attempts", "crashes", "interruptions", "progress", "events_from", "waits_until",
        )
    }  # fmt: skip
    return Job(state=_decode_state(row), **plain)


def encode_job(job: Job, now: float) -> Columns:
    """What changes in a row of `jobs`; `now` is when the state was written, if it does not say."""
    columns: Columns = {
        "id": job.id,
        "token": job.token,
        "attempts": job.attempts,
        "crashes": job.crashes,
        "interruptions": job.interruptions,
        "progress": job.progress,
        "events_from": job.events_from,
        "waits_until": job.waits_until,
        "since": now,
        "waits_for": "",
        "stop": None,
        "pause_reason": None,
        "by_person": False,
        "outcome": None,
        "report": None,
    }
    return columns | _encode_state(job.state)


def _encode_state(state: State) -> Columns:
    match state:
        case Queued():
            return {"state": "queued", "waits_for": state.waits_for}
        case Running():
            return {"state": "running", "since": state.since, "stop": state.stop}
        case Paused():
            reason = state.reason
            return {"state": "paused", "pause_reason": reason, "by_person": state.by_person}
        case Ended():
            return {"state": "ended", "since": state.at, **_encode_outcome(state.outcome)}
        case never:
            assert_never(never)


def _encode_outcome(outcome: Outcome) -> Columns:
    match outcome:
        case Done():
            return {"outcome": "done", "report": outcome.result}
        case Failed():
            return {"outcome": "failed", "report": json.dumps(dataclasses.asdict(outcome))}
        case Canceled():
            return {"outcome": "canceled"}
        case never:
            assert_never(never)


def _decode_state(row: sqlite3.Row) -> State:
    match row["state"]:
        case "queued":
            return Queued(waits_for=row["waits_for"])
        case "running":
            return Running(token=row["token"], since=row["since"], stop=row["stop"])
        case "paused":
            return Paused(reason=row["pause_reason"], by_person=bool(row["by_person"]))
        case _:
            return Ended(outcome=_decode_outcome(row), at=row["since"])


def _decode_outcome(row: sqlite3.Row) -> Outcome:
    match row["outcome"]:
        case "done":
            return Done(result=row["report"])
        case "failed":
            return Failed(**json.loads(row["report"]))
        case _:
            return Canceled()


def decode_event(row: sqlite3.Row) -> QueueEvent:
    """The line of history in a row of `events`."""
    return QueueEvent(**dict(row))


def decode_drop(row: sqlite3.Row) -> Drop:
    """What is remembered of a folder in the inbox."""
    return Drop(**dict(row) | {"name": os.fsdecode(row["name"])})


def encode_drop(drop: Drop) -> Columns:
    """A row of `drops`; the name as bytes, for it need not be text."""
    return dataclasses.asdict(drop) | {"name": os.fsencode(drop.name)}
