"""Following a job: the events of its run as they come, and a line whenever its state changes."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

import anyio
import anyio.to_thread

from appliance.daemon.service import Service
from appliance.daemon.views import View, view_job
from appliance.errors import ApplianceError
from appliance.queue.states import Ended, Job

FOLLOW_SECONDS = 0.2
"""Between two looks for new events of a job that somebody follows."""

BLOCK_BYTES = 2**20
"""Read at once."""


async def read_events(
    service: Service, job_id: int, *, only_attempt: bool, is_followed: bool
) -> AsyncIterator[bytes]:
    """Lines of a job's events, and one line of kind JobState whenever its state changes.

    Args:
        service: that has the job.
        job_id: of the job.
        only_attempt: leave out what earlier attempts told.
        is_followed: go on until the job has ended, or the service leaves.
    """
    last_state, offset = b"", -1
    with contextlib.suppress(ApplianceError):  # the queue is in trouble: who follows asks again
        while True:
            job = await anyio.to_thread.run_sync(service.store.find, job_id)
            is_last = not is_followed or isinstance(job.state, Ended) or service.has_left.is_set()
            block = b""
            if job.token > 0:  # before its first attempt, what lies there is of earlier jobs
                read = partial(read_block, job, offset, only_attempt=only_attempt)
                block, offset, _ = await anyio.to_thread.run_sync(read)
            if block:
                yield block
            state = json.dumps({"kind": "JobState", **_view_briefly(service, job)}).encode()
            if state != last_state:
                last_state = state
                yield state + b"\n"
            if block:
                continue
            if is_last:
                return
            await anyio.sleep(FOLLOW_SECONDS)


def read_block(job: Job, offset: int, *, only_attempt: bool) -> tuple[bytes, int, bool]:
    """Whole lines from an offset on, where they end, and whether there may be more behind them.

    An offset below 0 is not known yet.
    """
    try:
        with (Path(job.run) / "events.jsonl").open("rb") as file:
            if offset < 0:
                offset = job.events_from if only_attempt else find_first(file, job.submitted_at)
            if offset > os.fstat(file.fileno()).st_size:  # the run was begun afresh
                offset = 0
            file.seek(offset)
            block = file.read(BLOCK_BYTES)
    except FileNotFoundError:
        return b"", offset, False
    is_full = len(block) == BLOCK_BYTES
    block = block[: block.rfind(b"\n") + 1]
    return block, offset + len(block), is_full and bool(block)


def find_first(file: BinaryIO, since: float) -> int:
    """Where in a file of events those since a moment begin: a run may have served jobs before."""
    offset = 0
    for line in file:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            if json.loads(line)["at"] >= since:
                break
        offset += len(line)
    return offset


def _view_briefly(service: Service, job: Job) -> View:
    trouble = service.memory.troubles.get(job.id, "")
    view = view_job(job, service.crew.find_attempt(job.id), trouble)
    keys = ("id", "state", "waits_for", "reason", "trouble", "error")
    return {key: view[key] for key in keys if view.get(key)}
