"""What anybody may ask of the queue, while the service runs or not."""

from __future__ import annotations

import os
import sqlite3
import threading
from pathlib import Path
from typing import Self

from appliance.queue.faults import explain_faults
from appliance.queue.rows import Column, decode_drop, decode_event, decode_job
from appliance.queue.sql import sql
from appliance.queue.states import Drop, Job, QueueEvent, UnknownJobError


class Reader:
    """A view of the queue; threads may share it."""

    def __init__(self, path: Path, db: sqlite3.Connection) -> None:
        """Take an open connection to the database at `path`."""
        self.path = path
        self._db = db
        self._lock = threading.RLock()

    def close(self) -> None:
        """Give the file back."""
        with self._lock:
            self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def find(self, job_id: int) -> Job:
        """The job of this id.

        Raises:
            UnknownJobError: there is none.
        """
        job = self._read_job("find_job", id=job_id)
        if job is None:
            last_id = self._execute("find_last_id")[0]["last_id"]
            raise UnknownJobError(
                f"there is no job {job_id}",
                why=f"the newest is job {last_id}" if last_id else "no job was ever submitted",
                fix="appliance jobs list",
            )
        return job

    def list_jobs(
        self,
        *,
        owner: int | None = None,
        live_only: bool = False,
        limit: int | None = 50,
        before: int | None = None,
    ) -> tuple[Job, ...]:
        """Jobs, the newest first.

        Args:
            owner: only jobs of this user id.
            live_only: leave out what has ended.
            limit: at most so many; None for all.
            before: only ids smaller than this: the next page.
        """
        name = "list_live_jobs" if live_only else "list_jobs"
        most = -1 if limit is None else limit
        return tuple(map(decode_job, self._execute(name, owner=owner, before=before, limit=most)))

    def count_states(self) -> dict[str, int]:
        """How many jobs are queued, running, paused, ended."""
        counted = {row["state"]: row["num_jobs"] for row in self._execute("count_states")}
        return {state: counted.get(state, 0) for state in ("queued", "running", "paused", "ended")}

    def next_ready(self, now: float) -> Job | None:
        """The queued job to start next: highest priority, then lowest id; None if all wait."""
        return self._read_job("next_ready", now=now)

    def events(
        self, *, after: int = 0, job_id: int | None = None, limit: int = 1000
    ) -> tuple[QueueEvent, ...]:
        """The history in order, from the line behind `after`; of one job or of all."""
        if job_id is None:
            rows = self._execute("list_events", after=after, limit=limit)
        else:
            rows = self._execute("list_events_of_job", job=job_id, after=after, limit=limit)
        return tuple(map(decode_event, rows))

    def find_drop(self, name: str) -> Drop | None:
        """What is remembered of a folder in the inbox."""
        rows = self._execute("find_drop", name=os.fsencode(name))
        return decode_drop(rows[0]) if rows else None

    def list_drops(self) -> tuple[Drop, ...]:
        """Everything remembered of the inbox, by name."""
        return tuple(map(decode_drop, self._execute("list_drops")))

    def _execute(self, name: str, /, **values: Column) -> list[sqlite3.Row]:
        with self._lock, explain_faults(self.path):
            return self._db.execute(sql(name), values).fetchall()

    def _read_job(self, name: str, /, **values: Column) -> Job | None:
        rows = self._execute(name, **values)
        return decode_job(rows[0]) if rows else None
