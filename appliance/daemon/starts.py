"""Starting jobs: the next one whose turn it is and that finds on the machine what it needs."""

from __future__ import annotations

import contextlib
from pathlib import Path

from pydantic import ValidationError

from appliance.daemon.machine import (
    Claim,
    Machine,
    choose_place,
    find_obstacle,
    forget_events,
    measure_events,
    read_need,
    subtract_claims,
)
from appliance.daemon.parts import Parts
from appliance.daemon.views import describe_state
from appliance.errors import ServiceError
from appliance.jobs import JobRequest, WorkOrder
from appliance.queue.states import Failed, Job, WrongStateError

WAIT_SECONDS = 10.0
"""Before a job that waits for something looks again."""

MAX_LOOKS = 8
"""Waiting jobs looked at in one round."""


def start_ready(parts: Parts) -> None:
    """Start jobs while there is a place; those that lack something wait, and say for what."""
    for _ in range(MAX_LOOKS):
        if len(parts.workers.list_attempts()) >= parts.settings.jobs_at_once:
            return
        job = parts.store.next_ready(parts.clock())
        if job is None:
            return
        with contextlib.suppress(WrongStateError):  # canceled a moment ago
            _start_or_wait(parts, job)


def _start_or_wait(parts: Parts, job: Job) -> None:
    machine = subtract_claims(parts.sensors.measure(), _list_claims(parts), parts.settings)
    limit = parts.settings.min_free_disk_bytes
    wanted = parts.resume_disk_bytes if parts.memory.is_disk_low else limit
    obstacle = find_obstacle(Path(job.run), machine, parts.settings, min_disk_bytes=wanted)
    if obstacle:
        parts.store.wait(job.id, obstacle, parts.clock() + WAIT_SECONDS)
    else:
        _start(parts, job, machine)


def _list_claims(parts: Parts) -> list[Claim]:
    """What was promised to the workers that started before."""
    return [
        Claim(
            place=attempt.place,
            need=read_need(Path(parts.store.find(attempt.job_id).run)),
            resident_bytes=attempt.resident_bytes,
            has_taken=attempt.loss is not None,
        )
        for attempt in parts.workers.list_attempts()
    ]


def _start(parts: Parts, job: Job, machine: Machine) -> None:
    try:
        request = _read_request(job)
    except ServiceError as exc:
        _refuse(parts, job, exc)
        return
    if request.fresh:
        forget_events(Path(job.run))
    job = parts.store.start(job.id, events_from=measure_events(Path(job.run)))
    taken = tuple(attempt.place for attempt in parts.workers.list_attempts())
    place = choose_place(machine, parts.settings, taken)
    _send(parts, job, WorkOrder(request=request, cores=place.cores, gpu=place.gpu))


def _read_request(job: Job) -> JobRequest:
    """What the worker is to do.

    Raises:
        ServiceError: it must not be done, though it was accepted.
    """
    try:
        request = JobRequest.model_validate_json(job.request)
    except ValidationError:  # its words may name files: they stay out
        raise ServiceError(
            "this version of the service cannot do the job",
            why="it was submitted to another version, with decisions that this one does not know",
            fix="give the same command again",
        ) from None
    documents = Path(request.documents)
    if documents.resolve() != documents:
        raise ServiceError(
            "the documents are not where they were",
            why="a link stands in their path now: it could lead to files that are not the owner's",
            fix="submit the folder again under its real path",
        )
    if job.progress:  # a fresh start was made: what was achieved since then is kept
        return request.model_copy(update={"fresh": False})
    return request


def _refuse(parts: Parts, job: Job, error: ServiceError) -> None:
    job = parts.store.start(job.id, events_from=measure_events(Path(job.run)))
    failure = Failed(what=error.what, why=error.why, fix=error.fix, exit_code=error.exit_code)
    job = parts.store.end(job.id, job.token, failure)
    parts.say(f"job {job.id}: {describe_state(job)}")


def _send(parts: Parts, job: Job, order: WorkOrder) -> None:
    try:
        parts.workers.start(job.id, job.token, order)
        parts.say(f"job {job.id}: {describe_state(job)}")
    except OSError as exc:
        cause = exc.strerror or type(exc).__name__
        why = f"a worker that can be started ({cause})"
        until = parts.clock() + WAIT_SECONDS
        parts.store.put_back(job.id, job.token, waits_for=why, until=until)
        parts.say(f"job {job.id}: no worker: {cause}")
