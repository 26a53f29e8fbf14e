"""What a job of the queue is: a sum type of its states, with the outcome apart.

The queue knows nothing of tuning: a job is a kind, a request as JSON, and a run folder. How one
state becomes another is said in `transitions.py`; nothing here touches the database.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from appliance.errors import ServiceError

StopWish: TypeAlias = Literal["cancel", "drain"]
"""`cancel`: a person wants the job gone. `drain`: the service stops; the job goes on later."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Queued:
    """It will be started.

    Attributes:
        waits_for: "" when it is ready; else what it waits for, in words for people.
    """

    waits_for: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """A child process works on it.

    Attributes:
        token: of this attempt; whoever speaks for the job must know it.
        since: seconds of the clock when the attempt began.
        stop: what the child shall be asked, if anything.
    """

    token: int
    since: float
    stop: StopWish | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Paused:
    """It goes on when a person says so, or what stopped it is mended.

    Attributes:
        reason: in words for people.
        by_person: a person asked for it.
    """

    reason: str
    by_person: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """It did what was asked. `result` is JSON."""

    result: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed:
    """It could not do what was asked; the three parts of the message and its exit code."""

    what: str
    why: str = ""
    fix: str = ""
    exit_code: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Canceled:
    """A person wanted it gone."""


Outcome: TypeAlias = Done | Failed | Canceled


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """Nothing more happens unless a person asks. `at`: seconds of the clock."""

    outcome: Outcome
    at: float


State: TypeAlias = Queued | Running | Paused | Ended


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One job as the queue keeps it.

    Attributes:
        id: counts from 1; never given twice.
        kind: what the child is asked to do.
        request: JSON that the child reads.
        run: folder in which the job is done; at most one live job has it.
        owner: user id of the person.
        label: for people.
        priority: the highest is started first.
        submitted_at: seconds of the clock.
        state: what it is now.
        token: number of the latest attempt ever; grows with every start.
        attempts: starts since it was submitted, resumed or retried.
        crashes: since the last progress.
        interruptions: since the last progress.
        progress: the farthest marker that the job has reached; "" before the first.
        events_from: where the events of the latest attempt begin in the run's file, bytes.
        waits_until: not to be started before; seconds of the clock, 0 for now.
    """

    id: int
    kind: str
    request: str
    run: str
    owner: int
    label: str
    priority: int
    submitted_at: float
    state: State
    token: int = 0
    attempts: int = 0
    crashes: int = 0
    interruptions: int = 0
    progress: str = ""
    events_from: int = 0
    waits_until: float = 0.0


EventKind: TypeAlias = Literal[
    "submitted",
    "waiting",
    "started",
    "progress",
    "stop_wished",
    "crashed",
    "interrupted",
    "put_back",
    "paused",
    "resumed",
    "retried",
    "ended",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueEvent:
    """One line of the queue's history, which only ever grows.

    Attributes:
        n: counts from 1 over all jobs.
        job: id of the job.
        at: seconds of the clock.
        token: of the job's latest attempt.
        kind: what happened.
        data: JSON with ids, counts and words of ours; never text of a document or a file name.
    """

    n: int
    job: int
    at: float
    token: int
    kind: EventKind
    data: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Drop:
    """What is remembered of one folder in the inbox.

    Attributes:
        name: of the folder.
        fingerprint: of its content when it was last looked at.
        since: seconds of the clock when it began to look so.
        submitted: the fingerprint that was made a job; None before the first.
        job_id: of that job.
        fault: why it cannot be made a job; "" if it can.
    """

    name: str
    fingerprint: str
    since: float
    submitted: str | None = None
    job_id: int | None = None
    fault: str = ""


class UnknownJobError(ServiceError):
    """No job has this id."""


class WrongStateError(ServiceError):
    """The job's state does not allow what was asked."""


class Fenced(Exception):  # noqa: N818  (a signal to the caller, not a fault)
    """Whoever speaks with this token no longer speaks for the job, and must stop."""
