"""Do a job and show how it goes: by a service where one runs, else by a worker of our own."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from appliance.cli.drawing import draw
from appliance.daemon.child import ProcessChild
from appliance.daemon.client import Client, HandOverNeeded, ServiceSilentError
from appliance.errors import ApplianceError, InterruptedRun, ServiceError, find_error
from appliance.events import Event, Failed, Finished, Line, Note, decode_event
from appliance.jobs import JobRequest, WorkOrder

STATE = "JobState"
"""Kind of the lines between the events that tell the state of the job."""

ENDED = ("done", "failed", "canceled")

RETURN_SECONDS = 15.0
"""How long to wait for a service that went away; its manager starts it again within a second."""

KNOCK_SECONDS = 0.3
"""Between two tries to reach it."""


def follow_worker(request: JobRequest, *, as_json: bool) -> dict[str, Any]:
    """Do a job in a worker of this process and show how it goes.

    Args:
        request: the job.
        as_json: lines for people go to stderr, so that stdout holds one object.

    Returns:
        The result of the job.

    Raises:
        ApplianceError: what the worker failed with.
        InterruptedRun: stopped by Ctrl-C.
    """
    worker = ProcessChild(WorkOrder(request=request), in_background=False)
    try:
        with _hand_interrupts_to(worker):
            ending = draw(map(decode_event, worker.read_lines()), as_json=as_json)
    finally:
        worker.kill()
        end = worker.wait()
    if isinstance(ending, Finished):
        result: dict[str, Any] = json.loads(ending.result)
        return result
    if isinstance(ending, Failed):
        kind = find_error(ending.error)
        raise kind(ending.what, why=ending.why, fix=ending.fix)
    raise ApplianceError(
        "the worker ended without a word",
        why=end,
        fix="run the same command again: it goes on from the last finished stage or checkpoint",
    )


@contextlib.contextmanager
def _hand_interrupts_to(worker: ProcessChild) -> Iterator[None]:
    """The first Ctrl-C asks the worker to stop at the next safe point, the second kills it."""
    times_asked = 0

    def on_interrupt(*_: object) -> None:
        nonlocal times_asked
        times_asked += 1
        if times_asked > 1:
            worker.kill()
            return
        worker.ask_stop()
        sys.stderr.write("\nstopping at the next safe point; Ctrl-C again to stop at once\n")

    old = {
        number: signal.signal(number, on_interrupt) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
    if times_asked > 1:
        raise InterruptedRun("stopped at once", fix="run the same command again: it goes on")


def submit(client: Client, body: dict[str, Any], *, as_json: bool) -> dict[str, Any]:
    """Give a job to the service; hand the documents over where it cannot read them.

    Returns:
        The job.
    """
    from appliance.cli.output import print_row

    try:
        answer = client.ask("POST", "/v1/jobs", body)
    except HandOverNeeded:
        num_files, num_left_out = client.hand_over(Path(body["documents"]))
        left_out = f", {num_left_out} left out (links or unreadable)" if num_left_out else ""
        text = f"copied to the service, which cannot read them in place: {num_files} files"
        print_row("Documents", text + left_out, to_stderr=as_json)
        answer = client.ask("POST", "/v1/jobs", body | {"is_handed_over": True})
    job: dict[str, Any] = answer["job"]
    how = "submitted" if answer["is_new"] else f"known already, {job['state']}"
    print_row("Job", f"{job['id']} · {how} · {client.path}", to_stderr=as_json)
    return job


def follow_job(client: Client, job_id: int, *, as_json: bool) -> dict[str, Any]:
    """Show how a job of the service goes until it ends; Ctrl-C leaves it running.

    Returns:
        The job, ended.

    Raises:
        ApplianceError: what the job failed with.
        ServiceError: the service went away and did not come back.
        InterruptedRun: Ctrl-C, or the job was canceled.
    """
    try:
        draw(_read_states(_follow_through_restarts(client, job_id)), as_json=as_json)
        job = client.ask("GET", f"/v1/jobs/{job_id}")
    except KeyboardInterrupt:
        raise InterruptedRun(
            f"detached: job {job_id} goes on in the service",
            fix=f"come back with: appliance jobs watch {job_id}; "
            f"stop it with: appliance jobs cancel {job_id}",
        ) from None
    if job["state"] == "failed":
        error = job["error"]
        kinds = {kind.exit_code: kind for kind in ApplianceError.__subclasses__()}
        kind = kinds.get(error["exit_code"], ApplianceError)
        raise kind(error["what"], why=error["why"], fix=error["fix"])
    if job["state"] == "canceled":
        raise InterruptedRun(
            f"job {job_id} was canceled", fix=f"go on with: appliance jobs resume {job_id}"
        )
    return job


def _follow_through_restarts(client: Client, job_id: int) -> Iterator[dict[str, Any]]:
    """Rows of a followed job, each once, until it has ended, whatever happens to the service."""
    seen, away_since = 0.0, 0.0
    while True:
        with contextlib.suppress(ServiceSilentError):
            known = seen
            for row in read_rows(client.follow(job_id)):
                away_since = 0.0
                if row["kind"] == STATE:
                    yield row
                    if row["state"] in ENDED:
                        return
                elif row["at"] > known:
                    seen = row["at"]
                    yield row
        if not away_since:
            away_since = time.monotonic()
            yield {"kind": STATE, "state": "away"}
        if time.monotonic() - away_since > RETURN_SECONDS:
            raise ServiceError(
                "the service went away",
                why=f"job {job_id} goes on when it is started again",
                fix=f"then come back with: appliance jobs watch {job_id}",
            )
        time.sleep(KNOCK_SECONDS)


def read_rows(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Events as JSON objects; a line that a crash or a full disk left torn is passed over."""
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and "kind" in row and ("at" in row or row["kind"] == STATE):
            yield row


def _read_states(rows: Iterator[dict[str, Any]]) -> Iterator[Event]:
    """Events of a followed job, with what its state has to say as notes.

    How an attempt ended is left out: the service may start another; the job's state tells the end.
    So is what to do next: the path of a run in the state folder is of no use to most people.
    """
    shown = ""
    for row in rows:
        if row["kind"] == STATE:
            text = describe_waiting(row)
            topic = re.sub(r"[\d.]+", "", text)  # the same with other figures is not news
            if topic and topic != shown:
                yield Note(text=text)
            shown = topic
            continue
        with contextlib.suppress(ValueError):  # of a newer service
            event = decode_event(json.dumps(row))
            is_next = isinstance(event, Line) and event.label in ("Next", "Report")
            if not isinstance(event, Failed | Finished) and not is_next:
                yield event


def describe_waiting(job: dict[str, Any]) -> str:
    """Why a job does not move, in a line; empty when it does."""
    if job.get("waits_for"):
        return f"waits: {job['waits_for']}"
    if job["state"] == "queued":
        return "queued: starts when it is its turn"
    if job["state"] == "paused":
        return f"paused: {job.get('reason', '')}"
    if job["state"] == "stopping":
        return "stopping at the next safe point"
    if job["state"] == "away":
        return "the service went away; waiting for it to come back"
    return str(job.get("trouble") or "")
