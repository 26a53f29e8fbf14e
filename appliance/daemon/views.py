"""Jobs as the control socket tells them: one JSON object a job, for people and programs."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from appliance.daemon.crew import Attempt
from appliance.errors import ApplianceError
from appliance.queue.states import Canceled, Done, Ended, Failed, Job, Paused, Queued, Running

View = dict[str, Any]
"""A JSON object; its keys are documented in docs/reference/service.md."""


def view_job(job: Job, attempt: Attempt | None, trouble: str = "") -> View:
    """A job, with what its worker told last.

    Args:
        job: as the queue has it.
        attempt: what its worker has told; None if none works on it.
        trouble: what is wrong with the worker.
    """
    view: View = {
        "id": job.id,
        "kind": job.kind,
        "label": job.label,
        "state": name_state(job),
        "run": job.run,
        "owner": job.owner,
        "priority": job.priority,
        "submitted_at": job.submitted_at,
        "attempts": job.attempts,
        "crashes": job.crashes,
        "interruptions": job.interruptions,
        "progress": job.progress,
    }
    return view | _view_state(job) | (_view_attempt(attempt, trouble) if attempt else {})


def name_state(job: Job) -> str:
    """One word: queued, waiting, running, stopping, paused, done, failed or canceled."""
    state = job.state
    if isinstance(state, Queued):
        return "waiting" if state.waits_for else "queued"
    if isinstance(state, Running):
        return "stopping" if state.stop else "running"
    if isinstance(state, Paused):
        return "paused"
    names = {Done: "done", Failed: "failed", Canceled: "canceled"}
    return names[type(state.outcome)]


def describe_state(job: Job) -> str:
    """The state of a job as the journal has it: ids and counts, no text, no names."""
    state = job.state
    if isinstance(state, Queued):
        return f"queued (attempt {job.attempts}, crashes {job.crashes})"
    if isinstance(state, Running):
        return f"running (attempt {job.attempts})"
    if isinstance(state, Ended) and isinstance(state.outcome, Failed):
        return f"failed with exit code {state.outcome.exit_code}"
    return name_state(job)


def _view_state(job: Job) -> View:
    state = job.state
    if isinstance(state, Queued):
        return {"waits_for": state.waits_for, "waits_until": job.waits_until}
    if isinstance(state, Running):
        return {"started_at": state.since}
    if isinstance(state, Paused):
        return {"reason": state.reason}
    view: View = {"ended_at": state.at}
    if isinstance(state.outcome, Done):
        view["result"] = json.loads(state.outcome.result)
    elif isinstance(state.outcome, Failed):
        view["error"] = asdict(state.outcome)
    return view


def _view_attempt(attempt: Attempt, trouble: str) -> View:
    return {
        "stage": attempt.stage,
        "done": attempt.done,
        "total": attempt.total,
        "unit": attempt.unit,
        "loss": attempt.loss,
        "held_out": attempt.held_out,
        "tokens_per_second": attempt.tokens_per_second,
        "seconds_left": attempt.seconds_left,
        "resident_bytes": attempt.resident_bytes,
        "trouble": trouble,
    }


def view_error(error: ApplianceError) -> View:
    """An error, so that the client can raise the same."""
    return {
        "error": {
            "name": type(error).__name__,
            "what": error.what,
            "why": error.why,
            "fix": error.fix,
        }
    }
