"""The workers at work: what each told last, kept by one reading thread a worker.

The control loop looks at attempts and decides; only the threads here wait for a worker's words.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from appliance.daemon.child import Child
from appliance.daemon.machine import Place
from appliance.events import (
    Alive,
    CheckpointSaved,
    Event,
    Failed,
    Finished,
    HeldOut,
    Progress,
    StageFinished,
    StageStarted,
    StepDone,
    decode_event,
)
from appliance.jobs import WorkOrder

CPU_SECONDS_THAT_COUNT = 0.05
"""Processor time between two signs of life that is more than the sign itself takes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """One try at a job, as its worker has told so far. Times are of the monotonic clock.

    Attributes:
        job_id: the job.
        token: of this try; the queue takes no word from an older one.
        place: where it computes.
        started: when.
        alive: when it last gave a sign of life.
        moved: when it last told of progress or used processor time.
        cpu_seconds: processor time so far.
        resident_bytes: memory it holds.
        stage: what it does.
        done: how far the stage is, of `total`.
        total: 0 while unknown.
        unit: of the two.
        loss: last training loss, in nats per supervised token.
        held_out: last held-out loss.
        tokens_per_second: speed of training.
        seconds_left: of the stage, where known.
        marker: newest point from which it can go on; changes only with real progress.
        ending: what it said last, if it said it.
        end: how it ended; empty while it runs.
    """

    job_id: int
    token: int
    place: Place
    started: float
    alive: float
    moved: float
    cpu_seconds: float = 0.0
    resident_bytes: int = 0
    stage: str = ""
    done: int = 0
    total: int = 0
    unit: str = ""
    loss: float | None = None
    held_out: float | None = None
    tokens_per_second: float | None = None
    seconds_left: float | None = None
    marker: str = ""
    ending: Finished | Failed | None = None
    end: str = ""


class Crew:
    """All workers of a daemon."""

    def __init__(
        self,
        start_child: Callable[[WorkOrder], Child],
        wake: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nobody works yet.

        Args:
            start_child: starts a worker.
            wake: called when a worker has ended or said something that matters.
            clock: monotonic seconds.
        """
        self._start_child = start_child
        self._wake = wake
        self._clock = clock
        self._lock = threading.Lock()
        self._children: dict[int, Child] = {}
        self._attempts: dict[int, Attempt] = {}

    def start(self, job_id: int, token: int, order: WorkOrder) -> None:
        """Start a worker.

        Raises:
            OSError: it cannot be started.
        """
        child = self._start_child(order)
        now = self._clock()
        attempt = Attempt(
            job_id=job_id,
            token=token,
            place=Place(cores=order.cores, gpu=order.gpu),
            started=now,
            alive=now,
            moved=now,
        )
        with self._lock:
            self._children[job_id] = child
            self._attempts[job_id] = attempt
        threading.Thread(
            target=self._read, args=(job_id, child), name=f"job-{job_id}", daemon=True
        ).start()

    def list_attempts(self) -> tuple[Attempt, ...]:
        """What all workers have told, the ended ones too until they are dismissed."""
        with self._lock:
            return tuple(self._attempts.values())

    def find_attempt(self, job_id: int) -> Attempt | None:
        """What the worker of a job has told; None if there is none."""
        with self._lock:
            return self._attempts.get(job_id)

    def ask_stop(self, job_id: int) -> None:
        """Ask a worker to leave at the next safe point."""
        self._children[job_id].ask_stop()

    def kill(self, job_id: int) -> None:
        """End a worker at once."""
        self._children[job_id].kill()

    def dismiss(self, job_id: int) -> None:
        """Forget a worker that has ended."""
        with self._lock:
            del self._attempts[job_id], self._children[job_id]

    def _read(self, job_id: int, child: Child) -> None:
        """Hear a worker until it ends; nothing that it says may hide that."""
        try:
            for line in child.read_lines():
                with contextlib.suppress(ValueError, TypeError, RecursionError):  # not our words
                    self._hear(job_id, child, line)
        except Exception:  # it can no longer be heard: an end is better than a job for ever
            child.kill()
        end = child.wait()
        with self._lock:
            self._attempts[job_id] = dataclasses.replace(self._attempts[job_id], end=end)
        self._wake()

    def _hear(self, job_id: int, child: Child, line: str) -> None:
        event = decode_event(line)
        if isinstance(event, Alive):
            child.know_pid(event.pid)
        with self._lock:
            before = self._attempts[job_id]
            after = learn(before, event, self._clock())
            self._attempts[job_id] = after
        if after.marker != before.marker or after.ending is not before.ending:
            self._wake()


def learn(attempt: Attempt, event: Event, now: float) -> Attempt:
    """What is known of an attempt after an event."""
    if isinstance(event, Alive):
        used = event.cpu_seconds - attempt.cpu_seconds
        return dataclasses.replace(
            attempt,
            alive=now,
            moved=now if used > CPU_SECONDS_THAT_COUNT else attempt.moved,
            cpu_seconds=event.cpu_seconds,
            resident_bytes=event.resident_bytes,
        )
    attempt = dataclasses.replace(attempt, alive=now, moved=now)
    if isinstance(event, StageStarted):
        return dataclasses.replace(
            attempt, stage=event.stage, done=0, total=0, unit="", seconds_left=None
        )
    if isinstance(event, StageFinished) and not event.restored:
        return dataclasses.replace(attempt, marker=event.stage)
    if isinstance(event, CheckpointSaved):
        return dataclasses.replace(attempt, marker=f"{attempt.stage} step {event.step}")
    if isinstance(event, Progress):
        return dataclasses.replace(attempt, done=event.done, total=event.total, unit=event.unit)
    if isinstance(event, StepDone):
        return dataclasses.replace(
            attempt,
            done=event.step,
            total=event.num_steps,
            unit="steps",
            loss=event.loss,
            tokens_per_second=event.tokens_per_second,
            seconds_left=event.seconds_left,
        )
    if isinstance(event, HeldOut):
        return dataclasses.replace(attempt, held_out=event.loss)
    if isinstance(event, Failed | Finished):
        return dataclasses.replace(attempt, ending=event)
    return attempt
