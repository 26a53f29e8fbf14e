"""The queue on disk: every change is one transaction, and on the disk when the call returns.

Only the daemon makes a Store; its threads share it. What a change means is said in
`transitions.py`, what the file needs in `database.py`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from appliance.queue import transitions
from appliance.queue.checksums import SEAL_JOB
from appliance.queue.database import (
    back_up,
    load_migrations,
    open_database,
    open_database_to_read,
    roll_back,
)
from appliance.queue.faults import explain_faults
from appliance.queue.reader import Reader
from appliance.queue.refusals import refuse_second
from appliance.queue.rows import Column, encode_drop, encode_job
from appliance.queue.states import Drop, Job, Outcome, StopWish
from appliance.queue.transitions import Change


class Store(Reader):
    """The queue of the one process that may change it."""

    def __init__(self, path: Path, *, clock: Callable[[], float]) -> None:
        """Open the queue, or make it.

        Args:
            path: of the database; its folder exists.
            clock: gives the seconds that are kept with jobs and events.

        Raises:
            QueueError: it cannot be used; the message says why.
            DiskFullError: no room.
        """
        with explain_faults(path):
            super().__init__(path, open_database(path, load_migrations()))
        self._clock = clock

    @classmethod
    def open_reader(cls, path: Path) -> Reader:
        """A view of the queue, for everybody else and at any time.

        Raises:
            QueueError: it is not there, of another version, or cannot be read.
        """
        with explain_faults(path):
            return Reader(path, open_database_to_read(path, len(load_migrations())))

    def submit(
        self,
        *,
        key: str,
        kind: str,
        request: str,
        run: str,
        owner: int,
        label: str,
        priority: int = 0,
    ) -> tuple[Job, bool]:
        """Queue a job, once.

        Args:
            key: what the client calls this submission; the same key gives the same job for ever,
                so that a client whose connection died may ask again.
            kind: what the child is asked to do.
            request: JSON for the child.
            run: the run folder; a live job with the same one is given instead of a second.
            owner: user id of the person.
            label: for people.
            priority: the highest is started first.

        Returns:
            The job, and whether it was made now.
        """
        with self._change():
            known = self._read_job("find_job_by_key", key=key)
            if known is not None:
                return known, False
            job = self._read_job("find_live_job_of_run", run=run)
            is_new = job is None
            if job is None:
                job = self._insert_job(
                    kind=kind, request=request, run=run, owner=owner, label=label, priority=priority
                )
            self._execute("insert_key", key=key, job=job.id)
            return job, is_new

    def start(self, job_id: int, *, events_from: int) -> Job:
        """Begin an attempt, with a token of its own; `events_from` in bytes."""
        return self._move(job_id, partial(transitions.start, events_from=events_from))

    def note_progress(self, job_id: int, token: int, marker: str) -> StopWish | None:
        """Note how far a running job is, and learn whether it shall stop.

        A marker that this job has never reached before resets its crashes and interruptions. One
        that it reached in an earlier attempt does not: a job that crashes behind it would go on
        for ever.

        Args:
            job_id: of the job.
            token: of the attempt.
            marker: of a stage or a checkpoint, in our own words; "" to ask for the wish only.

        Raises:
            Fenced: the attempt is over.
        """
        with self._change():
            job = self.find(job_id)
            running = transitions.require_attempt(job, token)
            if self._is_new(job, marker):
                now = self._clock()
                self._save(transitions.note_progress(job, now, token=token, marker=marker), now)
            return running.stop

    def wait(self, job_id: int, waits_for: str, until: float) -> None:
        """Let a queued job wait; writes only what is new.

        Args:
            job_id: of the job.
            waits_for: in words for people.
            until: when to look again, seconds of the clock.
        """
        self._move(job_id, partial(transitions.wait, waits_for=waits_for, until=until))

    def ask_stop(self, job_id: int, wish: StopWish) -> Job:
        """Cancel a job, or drain a running one."""
        return self._move(job_id, partial(transitions.ask_stop, wish=wish))

    def end(self, job_id: int, token: int, outcome: Outcome) -> Job:
        """The attempt is over and the job with it. Raises Fenced for an old token."""
        return self._move(job_id, partial(transitions.end, token=token, outcome=outcome))

    def crashed(self, job_id: int, token: int, how: str) -> Job:
        """The child died by itself; `how` in our own words. Raises Fenced for an old token."""
        return self._move(job_id, partial(transitions.crash, token=token, how=how))

    def interrupted(self, job_id: int, token: int, how: str) -> Job:
        """The service or the machine died under it. Raises Fenced for an old token."""
        return self._move(job_id, partial(transitions.interrupt, token=token, how=how))

    def put_back(self, job_id: int, token: int, waits_for: str = "", until: float = 0.0) -> Job:
        """Queue a running job again without blame. Raises Fenced for an old token."""
        move = partial(transitions.put_back, token=token, waits_for=waits_for, until=until)
        return self._move(job_id, move)

    def pause(
        self, job_id: int, reason: str, *, token: int | None = None, by_person: bool = False
    ) -> Job:
        """Lay a queued job aside, or with its token a running one. Raises Fenced for an old one."""
        move = partial(transitions.pause, reason=reason, token=token, by_person=by_person)
        return self._move(job_id, move)

    def resume(self, job_id: int) -> Job:
        """Queue a paused or canceled job again, with nothing held against it."""
        return self._move(job_id, transitions.resume)

    def retry(self, job_id: int) -> Job:
        """Queue a failed or canceled job again, with nothing held against it."""
        return self._move(job_id, transitions.retry)

    def keep_drop(self, drop: Drop) -> None:
        """Remember a folder of the inbox, in place of what was remembered of it."""
        with self._change():
            self._execute("keep_drop", **encode_drop(drop))

    def forget_drop(self, name: str) -> None:
        """Forget a folder of the inbox."""
        with self._change():
            self._execute("forget_drop", name=os.fsencode(name))

    def checkpoint_wal(self) -> None:
        """Move the log into the database now, at a quiet moment; never waits for a reader."""
        with self._lock, explain_faults(self.path):
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def back_up(self, path: Path) -> None:
        """Write a whole copy of the queue to `path`, in place of the one before."""
        with self._lock, explain_faults(path):
            back_up(self._db, path)

    @contextmanager
    def _change(self) -> Iterator[None]:
        """One transaction: all of it is on the disk, or nothing."""
        with self._lock, explain_faults(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                roll_back(self._db)
                raise

    def _move(self, job_id: int, move: Callable[[Job, float], Change | None]) -> Job:
        """Let a job become what `move` says."""
        with self._change():
            job, now = self.find(job_id), self._clock()
            change = move(job, now)
            if change is None:
                return job
            self._require_run(job)
            self._save(change, now)
            return change.job

    def _is_new(self, job: Job, marker: str) -> bool:
        """Whether no attempt at this job has ever reached the marker; "" is none."""
        if marker in ("", job.progress):
            return False
        return not self._execute("was_reached", job=job.id, marker=marker)[0]["was_reached"]

    def _require_run(self, job: Job) -> None:
        """Nobody else works in the run of a job that had ended and shall go on."""
        other = self._read_job("find_live_job_of_run", run=job.run)
        if other is not None and other.id != job.id:
            raise refuse_second(job, other)

    def _insert_job(self, **columns: Column) -> Job:
        now = self._clock()
        job = self._read_job("insert_job", now=now, **columns)
        assert job is not None  # RETURNING
        self._seal(job)
        self._add_event(Change(job=job, kind="submitted", data={"priority": job.priority}), now)
        return job

    def _save(self, change: Change, now: float) -> None:
        self._execute("save_job", **encode_job(change.job, now))
        self._seal(change.job)
        self._add_event(change, now)

    def _seal(self, job: Job) -> None:
        with explain_faults(self.path):
            self._db.execute(SEAL_JOB, {"id": job.id})

    def _add_event(self, change: Change, now: float) -> None:
        if change.kind is None:
            return
        self._execute(
            "insert_event",
            job=change.job.id,
            at=now,
            token=change.job.token,
            kind=change.kind,
            data=json.dumps(change.data),
        )
