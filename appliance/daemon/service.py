"""The running service: queue, workers, settings, and the loop that goes round.

Two threads share it: the control loop here, and the one that answers on the socket (`api.py`).
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio

from appliance import __version__
from appliance.daemon.child import Child, ProcessChild, UnitChild
from appliance.daemon.crew import Attempt, Crew
from appliance.daemon.handover import remove_partials
from appliance.daemon.inbox import LOOK_SECONDS, LOOK_SHARE, look_into
from appliance.daemon.machine import LocalSensors
from appliance.daemon.parts import Memory, Parts
from appliance.daemon.paths import StateFolder
from appliance.daemon.settings import Settings, load_settings
from appliance.daemon.tick import recover, tick
from appliance.daemon.views import View
from appliance.errors import ApplianceError
from appliance.jobs import WorkOrder
from appliance.notify import READY, STOPPING, WATCHDOG, notify, watchdog_seconds
from appliance.queue.states import Queued
from appliance.queue.store import Store

ROUND_SECONDS = 1.0
"""Between two rounds when nothing happens."""

TIDY_SECONDS = 300.0
"""Between two checkpoints of the queue's log."""

BACK_UP_SECONDS = 24 * 3600.0
"""Between two back-ups of the queue."""

MAX_HAND_OVERS = 4
"""Folders taken at the same time; each holds a thread for as long as its sender likes."""

EXTEND_SECONDS = 30
"""What a draining service asks the service manager for, again and again, while workers leave."""


class Service:
    """Everything that one daemon holds."""

    def __init__(
        self, state: StateFolder, settings_file: Path | None, trainer_socket: Path | None
    ) -> None:
        """Open the queue.

        Args:
            state: folder of this service, locked by the caller.
            settings_file: read now and on reload; None for defaults.
            trainer_socket: where the service manager starts trainers; None: start them here.

        Raises:
            QueueError: the queue cannot be used.
            RecipeError: the settings are wrong.
        """
        self.state = state
        self.settings_file = settings_file
        self.settings: Settings = load_settings(settings_file)
        self.store = Store(state.database, clock=time.time)
        self.memory = Memory()
        self.started_at = time.time()
        self.trouble = ""
        self.settings_fault = ""
        self._trainer_socket = trainer_socket
        self._woken = threading.Event()
        self._leave = threading.Event()
        self._leave_at_once = False
        self._has_recovered = False
        self.has_left = threading.Event()
        self.arriving: set[Path] = set()  # copies of folders that are handed over now
        self.hands = anyio.CapacityLimiter(MAX_HAND_OVERS)
        self.crew = Crew(self._start_child, self.wake)
        for folder in (state.runs, state.documents):
            folder.mkdir(exist_ok=True, mode=0o700)
        state.inbox.mkdir(exist_ok=True, mode=0o700)
        remove_partials(state.documents)
        counts = self.store.count_states()
        self.say(
            f"version {__version__}, pid {os.getpid()}: {counts['running']} jobs were running, "
            f"{counts['queued']} queued, {counts['paused']} paused"
        )

    def say(self, line: str) -> None:
        """One line for the journal: ids and counts, never text or names."""
        prefix = "<6>" if "JOURNAL_STREAM" in os.environ else time.strftime("%H:%M:%S ")
        with contextlib.suppress(OSError):  # the terminal is closed, or the disk of the log full
            sys.stderr.write(f"{prefix}{line}\n")
            sys.stderr.flush()

    def wake(self) -> None:
        """Something happened: look now."""
        self._woken.set()

    def leave(self) -> None:
        """Drain and end; asked twice, end at once."""
        self._leave_at_once = self._leave.is_set()
        self._leave.set()
        self.say("asked to leave" + (" at once" if self._leave_at_once else ""))
        self.wake()

    def reload(self) -> None:
        """Read the settings again; wrong ones change nothing."""
        notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            self.settings = load_settings(self.settings_file)
            self.settings_fault = ""
            self.say("settings: read again")
        except ApplianceError as exc:
            self.settings_fault = exc.why
            self.say(f"settings: not changed: {exc.why}")
        notify(READY)
        self.wake()

    def run(self, on_ready: Callable[[], None]) -> None:
        """Go round until asked to leave and all workers have left.

        Args:
            on_ready: called after the first round.
        """
        looker = threading.Thread(target=self._watch_inbox, name="inbox", daemon=True)
        tidied = backed_up = petted = time.monotonic()
        watchdog = watchdog_seconds()
        is_ready = False
        status = ""
        while True:
            self._woken.clear()
            now = time.monotonic()
            with self._noting_trouble():
                self._go_round(now)
                if (new := self._describe_briefly()) != status:
                    status = new
                    notify(f"STATUS={status}")
                if now - tidied > TIDY_SECONDS:
                    tidied = now
                    self.store.checkpoint_wal()
                if now - backed_up > BACK_UP_SECONDS:
                    backed_up = now
                    self.store.back_up(self.state.path / "queue.backup.sqlite3")
            if not is_ready:
                is_ready = True
                looker.start()
                on_ready()
            if watchdog and now - petted > watchdog / 3:
                notify(WATCHDOG)
                petted = now
            if self._leave.is_set() and self._may_leave():
                break
            self._woken.wait(ROUND_SECONDS)
        looker.join(LOOK_SECONDS)

    def close(self) -> None:
        """Let go of the queue; nobody may ask any more."""
        with contextlib.suppress(ApplianceError):  # a full disk: the log is read at the next start
            self.store.checkpoint_wal()
        self.store.close()

    @contextlib.contextmanager
    def _noting_trouble(self) -> Iterator[None]:
        """A round that failed, for a full disk, say, is reported: the next one may do better."""
        try:
            yield
            self.trouble = ""
        except ApplianceError as exc:
            if not self.trouble:
                self.say(f"queue: {exc.what}: {exc.why}")
            self.trouble = f"{exc.what}: {exc.why}"

    def _go_round(self, now: float) -> None:
        if not self._has_recovered:  # not before: on a full disk it is tried again and again
            recover(self.store, self.say)
            self._has_recovered = True
        parts = Parts(
            store=self.store,
            workers=self.crew,
            sensors=LocalSensors(folder=self.state.path),
            settings=self.settings,
            memory=self.memory,
            say=self.say,
            clock=time.time,
        )
        tick(parts, now, is_draining=self._leave.is_set())

    def _may_leave(self) -> bool:
        attempts = self.crew.list_attempts()
        if not attempts or (self.trouble and all(attempt.end for attempt in attempts)):
            return True  # what the queue could not take is put back at the next start
        notify(STOPPING, f"EXTEND_TIMEOUT_USEC={EXTEND_SECONDS * 1_000_000}")
        if self._leave_at_once:
            for attempt in attempts:
                self.crew.kill(attempt.job_id)
        return False

    def _start_child(self, order: WorkOrder) -> Child:
        if self._trainer_socket is not None:
            return UnitChild(order, self._trainer_socket)
        return ProcessChild(order, in_background=True)

    def _watch_inbox(self) -> None:
        while not self._leave.is_set():
            began = time.monotonic()
            if self.settings.inbox.enabled:
                self._look_into_inbox()
            took = time.monotonic() - began
            self._leave.wait(max(LOOK_SECONDS, took / LOOK_SHARE))

    def _look_into_inbox(self) -> None:
        try:
            look = look_into(
                self.state.inbox, self.state.runs, self.store, time.time(), self.settings.inbox
            )
        except Exception as exc:  # of this look: the next one may do better
            if not self._leave.is_set():
                self.say(f"inbox: cannot be looked into ({type(exc).__name__})")
            return
        for job_id in look.submitted:
            self.say(f"job {job_id}: submitted from the inbox")
            self.wake()
        if look.num_faults:
            self.say(f"inbox: unusable folders: {look.num_faults} (appliance jobs inbox)")

    def describe(self) -> View:
        """The state of the service, for `service status` and the dashboard."""
        live = self.store.list_jobs(live_only=True, limit=None)
        return {
            "version": __version__,
            "pid": os.getpid(),
            "started_at": self.started_at,
            "state_folder": str(self.state.path),
            "is_draining": self._leave.is_set(),
            "trouble": self.trouble,
            "settings_fault": self.settings_fault,
            "jobs": self.store.count_states(),
            "running": [_view_attempt(attempt) for attempt in self.crew.list_attempts()],
            "waits": {
                str(job.id): job.state.waits_for
                for job in live
                if isinstance(job.state, Queued) and job.state.waits_for
            },
            "troubles": {str(job_id): text for job_id, text in dict(self.memory.troubles).items()},
            "num_inbox_faults": sum(bool(drop.fault) for drop in self.store.list_drops()),
            "disk_free_bytes": LocalSensors(folder=self.state.path).measure_disk(),
            "trainers": "units" if self._trainer_socket else "processes",
        }

    def _describe_briefly(self) -> str:
        """One line for the service manager: ids and counts."""
        counts = self.store.count_states()
        words = [f"{counts['queued']} queued"]
        if counts["paused"]:
            words.append(f"{counts['paused']} paused")
        for attempt in self.crew.list_attempts():
            share = f" {attempt.done}/{attempt.total}" if attempt.total else ""
            words.append(f"job {attempt.job_id}: {attempt.stage or 'starts'}{share}")
        if self._leave.is_set():
            words.insert(0, "draining")
        return ", ".join(words)


def _view_attempt(attempt: Attempt) -> View:
    return {
        "id": attempt.job_id,
        "stage": attempt.stage,
        "done": attempt.done,
        "total": attempt.total,
        "seconds_left": attempt.seconds_left,
        "resident_bytes": attempt.resident_bytes,
    }
