"""One round of the service: look at what happened, decide what happens next.

A function of the queue, the time, the workers and the machine: everything it touches comes in as
an argument (`parts.py`), so that a test can be any machine at any time. It is called once a second,
and at once when something happened; killed at any line, the next round of the next daemon finds
the queue as it is and goes on.
"""

from __future__ import annotations

from collections.abc import Callable

from appliance.daemon.crew import Attempt
from appliance.daemon.parts import RESUME_DISK_FACTOR, Parts, Stop
from appliance.daemon.settings import Settings
from appliance.daemon.starts import WAIT_SECONDS, start_ready
from appliance.daemon.views import describe_state
from appliance.errors import (
    ApplianceError,
    BusyError,
    DiskFullError,
    InterruptedRun,
    NotFreeError,
    find_error,
)
from appliance.events import Finished
from appliance.queue.states import Done, Failed, Fenced, Job, Paused, Running, StopWish
from appliance.queue.store import Store
from appliance.units import MIB, format_bytes, format_seconds

NOT_FREE_SECONDS = 60.0
"""Before a job looks again that found, only after it had started, that its memory is taken."""

FULL_DISK_BYTES = 256 * MIB
"""A disk on which less is free is full."""


def tick(parts: Parts, now: float, *, is_draining: bool = False) -> None:
    """Do one round.

    Args:
        parts: the queue, the workers and the machine.
        now: monotonic seconds.
        is_draining: the daemon leaves: nothing starts, and workers save a checkpoint.
    """
    attempts = parts.workers.list_attempts()
    if attempts or parts.memory.is_disk_low:
        _watch_disk(parts)
    for attempt in attempts:
        if attempt.end:
            _settle(parts, attempt)
        else:
            _watch(parts, attempt, now, is_draining=is_draining)
    if not is_draining:
        _resume_paused(parts)
        start_ready(parts)


def recover(store: Store, say: Callable[[str], None]) -> None:
    """Put jobs back whose daemon died under them: once, before the first round."""
    for job in store.list_jobs(live_only=True, limit=None):
        if isinstance(job.state, Running):
            job = store.interrupted(job.id, job.state.token, "the service or the machine went down")
            say(f"job {job.id}: was interrupted; {describe_state(job)}")


def _watch_disk(parts: Parts) -> None:
    limit = parts.settings.min_free_disk_bytes
    free = parts.sensors.measure_disk()
    if free < limit and not parts.memory.is_disk_low:
        parts.say(f"disk: {format_bytes(free)} free, {format_bytes(limit)} wanted: jobs pause")
        parts.memory.is_disk_low = True
    elif free >= parts.resume_disk_bytes:
        parts.memory.is_disk_low = False


def _settle(parts: Parts, attempt: Attempt) -> None:
    """A worker has ended: write down what that means."""
    job_id, token = attempt.job_id, attempt.token
    try:
        wish = parts.store.note_progress(job_id, token, attempt.marker)
        job = _judge(parts, attempt, is_cancelled=wish == "cancel")
        parts.say(f"job {job_id}: {describe_state(job)}")
    except Fenced:
        parts.say(f"job {job_id}: the word of an old worker is not taken")
    parts.workers.dismiss(job_id)
    parts.memory.forget_attempt(job_id)


def _judge(parts: Parts, attempt: Attempt, *, is_cancelled: bool) -> Job:
    store, memory, ending = parts.store, parts.memory, attempt.ending
    job_id, token = attempt.job_id, attempt.token
    if isinstance(ending, Finished):
        return store.end(job_id, token, Done(result=ending.result))
    stop = memory.stops.get(job_id)
    if ending is None:
        if stop is not None and stop.reason == "leave":  # killed so that the daemon can leave
            return store.put_back(job_id, token)
        return store.crashed(job_id, token, memory.hung.get(job_id) or attempt.end)
    kind = find_error(ending.error)
    if kind is InterruptedRun or is_cancelled:
        if memory.is_disk_low and not is_cancelled:
            return store.pause(job_id, "too little room on the disk", token=token)
        return store.put_back(job_id, token)
    if kind is DiskFullError:
        memory.filled[job_id] = max(parts.sensors.measure_disk(), FULL_DISK_BYTES)
        return store.pause(job_id, f"{ending.what}: {ending.why}", token=token)
    if kind is NotFreeError:
        until = parts.clock() + NOT_FREE_SECONDS
        return store.put_back(job_id, token, waits_for=ending.why or ending.what, until=until)
    if kind is BusyError:
        until = parts.clock() + WAIT_SECONDS
        return store.put_back(job_id, token, waits_for=ending.what, until=until)
    if kind is ApplianceError:  # a fault of the program: perhaps of this moment only
        return store.crashed(job_id, token, f"{ending.what}; {ending.why}")
    failure = Failed(what=ending.what, why=ending.why, fix=ending.fix, exit_code=kind.exit_code)
    return store.end(job_id, token, failure)


def _watch(parts: Parts, attempt: Attempt, now: float, *, is_draining: bool) -> None:
    """A worker is at work: keep its progress, pass wishes on, look whether it lives."""
    try:
        wish = parts.store.note_progress(attempt.job_id, attempt.token, attempt.marker)
    except Fenced:
        parts.workers.kill(attempt.job_id)
        return
    _pass_on(parts, attempt.job_id, now, wish, is_draining=is_draining)
    _look_after(parts, attempt, now)


def _pass_on(
    parts: Parts, job_id: int, now: float, wish: StopWish | None, *, is_draining: bool
) -> None:
    """Ask a worker to stop if somebody wants that; kill it when it takes too long to heed it."""
    memory, settings = parts.memory, parts.settings
    if wish == "cancel":
        stop = Stop(reason="cancel", since=now)
    elif wish or is_draining:
        stop = Stop(reason="leave", since=now)
    elif memory.is_disk_low:
        stop = Stop(reason="disk", since=now)
    else:
        return
    before = memory.stops.get(job_id)
    if before is None:
        parts.workers.ask_stop(job_id)
    if before is None or before.reason != stop.reason:
        memory.stops[job_id] = stop
        return
    patience = {"cancel": settings.cancel_seconds, "leave": settings.drain_seconds}
    if now - before.since > patience.get(stop.reason, float("inf")):
        parts.workers.kill(job_id)


def _look_after(parts: Parts, attempt: Attempt, now: float) -> None:
    """Report a worker that does not move; after the limit, end it, so that it starts again."""
    job_id, troubles, hung = attempt.job_id, parts.memory.troubles, parts.memory.hung
    trouble = find_trouble(attempt, now, parts.settings)
    if trouble and job_id not in troubles:
        parts.say(f"job {job_id}: {trouble}")
    elif not trouble and troubles.pop(job_id, ""):
        parts.say(f"job {job_id}: moves again")
    if trouble:
        troubles[job_id] = trouble
        if now - min(attempt.alive, attempt.moved) > parts.settings.hang_seconds:
            if job_id not in hung:
                parts.say(f"job {job_id}: killed: {trouble}")
                hung[job_id] = trouble
            parts.workers.kill(job_id)


def find_trouble(attempt: Attempt, now: float, settings: Settings) -> str:
    """What is wrong with a worker that should be at work; empty when nothing is."""
    silent, still = now - attempt.alive, now - attempt.moved
    if silent > settings.silent_seconds:
        return f"no sign of life for {format_seconds(silent)} (stopped by a signal?)"
    if still > settings.silent_seconds:
        return f"no progress for {format_seconds(still)}, and no processor time used"
    return ""


def _resume_paused(parts: Parts) -> None:
    """Jobs that the disk stopped go on when there is room again."""
    store, memory = parts.store, parts.memory
    if not store.count_states()["paused"]:
        return
    free = parts.sensors.measure_disk()
    if free < parts.resume_disk_bytes:
        return
    memory.is_disk_low = False
    for job in store.list_jobs(live_only=True, limit=None):
        if not isinstance(job.state, Paused) or job.state.by_person:
            continue
        if free > RESUME_DISK_FACTOR * memory.filled.get(job.id, 0):
            memory.filled.pop(job.id, None)
            store.resume(job.id)
            parts.say(f"job {job.id}: there is room on the disk again; goes on")
