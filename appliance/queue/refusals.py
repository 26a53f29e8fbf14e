"""What a person is told when the state of a job does not allow what was asked."""

from __future__ import annotations

from typing import assert_never

from appliance.queue.states import (
    Canceled,
    Done,
    Ended,
    Failed,
    Job,
    Outcome,
    Paused,
    Queued,
    Running,
    State,
    WrongStateError,
)

_WAYS_ON: dict[type[State | Outcome], tuple[str, ...]] = {
    Queued: ("watch", "cancel"),
    Running: ("watch", "cancel"),
    Paused: ("resume", "cancel"),
    Done: ("show",),
    Failed: ("retry", "show"),
    Canceled: ("resume", "show"),
}
"""Verbs of `appliance jobs` that make sense in a state."""


def refuse(job: Job, done: str) -> WrongStateError:
    """The job's state does not allow it to be `done` ("paused", "retried"): say what it allows."""
    state = job.state
    verbs = _WAYS_ON[type(state.outcome if isinstance(state, Ended) else state)]
    return WrongStateError(
        f"job {job.id} cannot be {done}",
        why=f"it is {describe(job)}",
        fix=" or ".join(f"appliance jobs {verb} {job.id}" for verb in verbs),
    )


def refuse_second(job: Job, other: Job) -> WrongStateError:
    """Two live jobs would work in one run folder."""
    return WrongStateError(
        f"job {job.id} cannot go on",
        why=f"job {other.id} works in the same run and is {describe(other)}",
        fix=f"appliance jobs watch {other.id}",
    )


def describe(job: Job) -> str:
    """The state in a word or two."""
    match job.state:
        case Queued(waits_for=""):
            return "queued"
        case Queued():
            return "waiting"
        case Running():
            return f"running (attempt {job.attempts})"
        case Paused():
            return "paused"
        case Ended(outcome=outcome):
            return name_outcome(outcome)
        case never:
            assert_never(never)


def name_outcome(outcome: Outcome) -> str:
    """`done`, `failed` or `canceled`."""
    return type(outcome).__name__.lower()
