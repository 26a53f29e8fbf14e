"""How one state of a job becomes another: pure functions, one a verb.

Each takes the job as it is and the time, and returns what it becomes together with the line for
the history; None when there is nothing to change. A verb that the state does not allow raises
WrongStateError with the command that would work. Whoever speaks for a running job must know the
token of the attempt, else Fenced is raised.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from appliance.queue.refusals import describe, name_outcome, refuse
from appliance.queue.states import (
    Canceled,
    Ended,
    EventKind,
    Failed,
    Fenced,
    Job,
    Outcome,
    Paused,
    Queued,
    Running,
    StopWish,
)

MAX_CRASHES = 3
"""Without progress in between, this many crashes end a job: it would crash for ever."""

MAX_INTERRUPTIONS = 10
"""The same for deaths of the service or the machine; more, for the job is seldom to blame."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """What a job becomes, and the line for the history; no `kind`: not worth a line."""

    job: Job
    kind: EventKind | None
    data: dict[str, str | int] = field(default_factory=dict)


def start(job: Job, now: float, *, events_from: int) -> Change:
    """Queued -> Running, with a token of its own.

    Args:
        job: as it is.
        now: seconds of the clock.
        events_from: size of the run's events file now, bytes.
    """
    if not isinstance(job.state, Queued):
        raise refuse(job, "started")
    token = job.token + 1
    started = replace(
        job,
        state=Running(token=token, since=now),
        token=token,
        attempts=job.attempts + 1,
        events_from=events_from,
        waits_until=0.0,
    )
    return Change(job=started, kind="started", data={"attempt": started.attempts})


def wait(job: Job, now: float, *, waits_for: str, until: float) -> Change | None:
    """A queued job shall not be started before `until`; the history says when waiting begins."""
    if not isinstance(job.state, Queued):
        raise refuse(job, "made to wait")
    if (job.state.waits_for, job.waits_until) == (waits_for, until):
        return None
    begins = waits_for and not job.state.waits_for
    return _queue(job, "waiting" if begins else None, waits_for, until=until)


def note_progress(job: Job, now: float, *, token: int, marker: str) -> Change:
    """A marker that the job has never reached before: earlier deaths no longer count."""
    require_attempt(job, token)
    moved = replace(job, progress=marker, crashes=0, interruptions=0)
    return Change(job=moved, kind="progress", data={"marker": marker})


def ask_stop(job: Job, now: float, *, wish: StopWish) -> Change | None:
    """Cancel or drain: a running job keeps the wish, a job that rests is canceled at once."""
    state = job.state
    if isinstance(state, Running):
        if state.stop in (wish, "cancel"):  # a cancel is never taken back by a drain
            return None
        wished = replace(job, state=replace(state, stop=wish))
        return Change(job=wished, kind="stop_wished", data={"wish": wish})
    if wish == "drain":
        raise refuse(job, "drained")
    if isinstance(state, Ended):
        if isinstance(state.outcome, Canceled):
            return None
        raise refuse(job, "canceled")
    return _end(job, now, Canceled())


def end(job: Job, now: float, *, token: int, outcome: Outcome) -> Change:
    """Running -> Ended."""
    require_attempt(job, token)
    return _end(job, now, outcome)


def crash(job: Job, now: float, *, token: int, how: str) -> Change:
    """The child died: queued again after a pause that doubles, or failed at the third time.

    Args:
        job: as it is.
        now: seconds of the clock.
        token: of the attempt.
        how: it died, in our own words, such as "signal 9".
    """
    if _is_canceled(require_attempt(job, token)):
        return _end(job, now, Canceled())
    crashes = job.crashes + 1
    job = replace(job, crashes=crashes)
    if crashes >= MAX_CRASHES:
        return _end(job, now, _give_up(job, f"crashed {crashes} times", how))
    waits_for = f"a pause after it crashed ({how})"
    return _queue(job, "crashed", waits_for, until=now + 2**crashes, data={"times": crashes})


def interrupt(job: Job, now: float, *, token: int, how: str) -> Change:
    """The service or the machine died under it: queued again, or failed at the tenth time."""
    if _is_canceled(require_attempt(job, token)):
        return _end(job, now, Canceled())
    times = job.interruptions + 1
    job = replace(job, interruptions=times)
    if times >= MAX_INTERRUPTIONS:
        return _end(job, now, _give_up(job, f"interrupted {times} times", how))
    return _queue(job, "interrupted", data={"times": times})


def put_back(job: Job, now: float, *, token: int, waits_for: str, until: float) -> Change:
    """Running -> Queued without blame: drained, or what it needs is not free now."""
    if _is_canceled(require_attempt(job, token)):
        return _end(job, now, Canceled())
    return _queue(job, "put_back", waits_for, until=until)


def pause(job: Job, now: float, *, reason: str, token: int | None, by_person: bool) -> Change:
    """Queued or Running -> Paused; a running job only by who knows the token."""
    if token is not None:
        if _is_canceled(require_attempt(job, token)):
            return _end(job, now, Canceled())
    elif not isinstance(job.state, Queued):
        raise refuse(job, "paused")
    paused = replace(job, state=Paused(reason=reason, by_person=by_person), waits_until=0.0)
    return Change(job=paused, kind="paused", data={"by_person": by_person})


def resume(job: Job, now: float) -> Change:
    """Paused or canceled -> Queued, with nothing held against it."""
    if not isinstance(job.state, Paused) and not _has_ended(job, Canceled):
        raise refuse(job, "resumed")
    return _queue(_forgive(job), "resumed")


def retry(job: Job, now: float) -> Change:
    """Failed or canceled -> Queued, with nothing held against it."""
    if not _has_ended(job, Failed) and not _has_ended(job, Canceled):
        raise refuse(job, "retried")
    return _queue(_forgive(job), "retried")


def require_attempt(job: Job, token: int) -> Running:
    """The running state of this attempt.

    Raises:
        Fenced: the job does not run, or another attempt does.
    """
    if isinstance(job.state, Running) and job.state.token == token:
        return job.state
    raise Fenced(f"job {job.id} is {describe(job)}; token {token} no longer speaks for it")


def _queue(
    job: Job,
    kind: EventKind | None,
    waits_for: str = "",
    *,
    until: float = 0.0,
    data: dict[str, str | int] | None = None,
) -> Change:
    queued = replace(job, state=Queued(waits_for=waits_for), waits_until=until)
    return Change(job=queued, kind=kind, data=data or {})


def _end(job: Job, now: float, outcome: Outcome) -> Change:
    data: dict[str, str | int] = {"outcome": name_outcome(outcome)}
    if isinstance(outcome, Failed):
        data["exit_code"] = outcome.exit_code  # the words may name a file, so they stay out
    ended = replace(job, state=Ended(outcome=outcome, at=now), waits_until=0.0)
    return Change(job=ended, kind="ended", data=data)


def _give_up(job: Job, what: str, how: str) -> Failed:
    return Failed(
        what=f"{what} {f'at {job.progress}' if job.progress else 'before its first step'}",
        why=f"the last time: {how}",
        fix=f"see appliance jobs logs {job.id}; then appliance jobs retry {job.id}",
    )


def _forgive(job: Job) -> Job:
    return replace(job, attempts=0, crashes=0, interruptions=0)


def _is_canceled(running: Running) -> bool:
    return running.stop == "cancel"


def _has_ended(job: Job, outcome: type[Outcome]) -> bool:
    return isinstance(job.state, Ended) and isinstance(job.state.outcome, outcome)
