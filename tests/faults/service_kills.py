"""kill -9 of daemon and workers at random moments, with jobs flowing: `kill_service`.

Every job does the same work on a copy of the same documents, so that each must end with the weights
of one run that nobody disturbed. A client orders one job after the other, asks again with the same
key whenever its connection dies, and writes down what was acknowledged.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from appliance.daemon.client import ServiceSilentError
from appliance.queue.states import Done, Ended, Failed, QueueEvent
from appliance.queue.store import Store
from tests.daemon.service import QUICK, Daemon, write_documents
from tests.e2e.conftest import run_appliance

KINDS = ("daemon", "worker", "both")
"""Who is killed, in turn."""

RESTART_SECONDS = 0.5
"""From a death of the daemon to its next start, as in its unit."""

GAP_SECONDS = 12.0
"""Longest time between two kills; a worker needs about seven of them for its imports."""

LIVE_JOBS = 2
"""Jobs in the queue at any time."""

END_SECONDS = 600.0
"""Longest wait for the jobs that are left when the killing is over."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceKillFigures:
    """What became of the jobs.

    Attributes:
        kills: how often somebody was killed.
        daemon_kills: of the daemon, alone or together with the worker.
        worker_kills: of a worker, alone or together with the daemon.
        acknowledged: jobs whose order was acknowledged.
        done: jobs that are done.
        lost: acknowledged, and not there or not done in the end.
        doubled: orders that became two jobs, tokens that did not grow, attempts that began before
            the last one was over, or steps of two workers mixed in one run.
        wrong_weights: done, with other weights than the undisturbed run.
        given_up: failed after three crashes without progress, as the rule is, and tried again.
        attempts: starts of workers.
        steps: of training, over all attempts.
        steps_again: of these, done before and lost.
        restart_seconds: median time from the start of a daemon to its readiness after a kill.
        longest_restart_seconds: the longest.
        seconds: of the whole campaign.
    """

    kills: int
    daemon_kills: int
    worker_kills: int
    acknowledged: int
    done: int
    lost: int
    doubled: int
    wrong_weights: int
    given_up: int
    attempts: int
    steps: int
    steps_again: int
    restart_seconds: float
    longest_restart_seconds: float
    seconds: float


def kill_service(
    folder: Path, base: Path, *, kills: int, seed: int, gap_seconds: float = GAP_SECONDS
) -> ServiceKillFigures:
    """Kill daemon and workers again and again while jobs flow, then let the rest end.

    Args:
        folder: where everything is made.
        base: a base model, small.
        kills: how often.
        seed: of the moments.
        gap_seconds: longest time between two kills; on a busy machine a worker needs more.
    """
    began = time.monotonic()
    documents = write_documents(folder / "documents")
    expected = tune_undisturbed(folder, documents, base)
    flow = Flow(folder, documents, base)
    chance = random.Random(seed)
    restarts: list[float] = []
    counts = {"daemon": 0, "worker": 0}
    flow.daemon.start()
    try:
        with flow.ordering():
            for number in range(kills):
                time.sleep(chance.uniform(0, gap_seconds))
                for name in strike(flow, KINDS[number % len(KINDS)], restarts):
                    counts[name] += 1
        flow.wait_for_the_rest()
        flow.daemon.stop()
    finally:
        if flow.daemon.process is not None and flow.daemon.process.poll() is None:
            flow.daemon.kill()
    return judge(
        flow,
        expected,
        kills=kills,
        daemon_kills=counts["daemon"],
        worker_kills=counts["worker"],
        restart_seconds=sorted(restarts)[len(restarts) // 2] if restarts else 0.0,
        longest_restart_seconds=max(restarts, default=0.0),
        seconds=time.monotonic() - began,
    )


def hash_weights(run: Path) -> str:
    """sha256 of what training left in a run; empty when there is nothing."""
    files = list((run / "tune" / "weights").glob("*.safetensors"))
    return hashlib.sha256(files[0].read_bytes()).hexdigest() if files else ""


def tune_undisturbed(folder: Path, documents: Path, base: Path) -> str:
    options = [part for setting in QUICK for part in ("--set", setting)]
    runs = folder / "undisturbed"
    done = run_appliance(
        "tune", documents, "--here", "--runs", runs, "--base", base, "--json", *options
    )
    assert done.returncode == 0, done.stderr
    return hash_weights(Path(json.loads(done.stdout)["run"]))


def strike(flow: Flow, kind: str, restarts: list[float]) -> Iterator[str]:
    """Kill, and start a dead daemon again; yields who died."""
    daemon = flow.daemon
    if kind != "daemon":
        pid = find_worker(flow)
        with contextlib.suppress(ProcessLookupError):  # it ended a moment ago
            os.kill(pid, signal.SIGKILL)
            yield "worker"
    if kind != "worker":
        daemon.kill()
        yield "daemon"
        time.sleep(RESTART_SECONDS)
        began = time.monotonic()
        daemon.start()
        restarts.append(time.monotonic() - began)


def find_worker(flow: Flow) -> int:
    """A worker; waits while there is none, between two attempts."""
    while not (pids := flow.daemon.list_workers()):
        flow.require_orders()
        time.sleep(0.02)
    return pids[0]


class Flow:
    """The daemon, and the client that keeps it busy."""

    def __init__(
        self, folder: Path, documents: Path, base: Path, settings: str = "inbox: {enabled: false}\n"
    ) -> None:
        self.folder, self.documents, self.base = folder, documents, base
        self.daemon = Daemon(folder, settings)
        self.acknowledged: dict[str, int] = {}
        self.given_up = 0
        self._is_over = threading.Event()
        self._failures: list[BaseException] = []

    @contextlib.contextmanager
    def ordering(self) -> Iterator[None]:
        """Jobs are ordered as long as the block lasts."""
        thread = threading.Thread(target=self._order_all, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._is_over.set()
            thread.join()
        self.require_orders()

    def require_orders(self) -> None:
        """Raise what went wrong with ordering."""
        if self._failures:
            raise self._failures[0]

    def _order_all(self) -> None:
        try:
            while not self._is_over.wait(0.1):
                self._keep_busy()
        except BaseException as exc:
            self._failures.append(exc)

    def _keep_busy(self) -> None:
        self.daemon.lift_workers()
        with contextlib.suppress(ServiceSilentError):
            live = self._list_live()
            if len(live) < LIVE_JOBS:
                self._order(f"job-{len(self.acknowledged)}")

    def _list_live(self) -> list[dict]:
        """Jobs that have not ended; those that were given up are tried again."""
        jobs = self.daemon.client.ask("GET", "/v1/jobs", limit=1000)["jobs"]
        for job in jobs:
            if job["state"] == "failed":
                assert job["error"]["what"].startswith(("crashed", "interrupted")), job["error"]
                self.daemon.client.ask("POST", f"/v1/jobs/{job['id']}/retry")
                self.given_up += 1
        return [job for job in jobs if job["state"] not in ("done", "canceled")]

    def _order(self, key: str) -> None:
        copy = self.folder / "copies" / key
        if not copy.exists():
            shutil.copytree(self.documents, copy)
        job = self.daemon.submit(copy, *QUICK, base=str(self.base), key=key)
        assert self.acknowledged.setdefault(key, job["id"]) == job["id"]

    def wait_for_the_rest(self) -> None:
        """Until every job has ended."""
        deadline = time.monotonic() + END_SECONDS
        while self._list_live():
            assert time.monotonic() < deadline, "the jobs do not end"
            self.daemon.lift_workers()
            time.sleep(0.1)


def judge(flow: Flow, expected: str, **figures) -> ServiceKillFigures:
    """Hold what lies in queue and runs against what was acknowledged."""
    with Store.open_reader(flow.daemon.state / "queue.sqlite3") as reader:
        jobs = {job.id: job for job in reader.list_jobs(limit=None)}
        events = reader.events(limit=10**9)
    done = {
        job_id: job
        for job_id, job in jobs.items()
        if isinstance(job.state, Ended) and isinstance(job.state.outcome, Done)
    }
    assert not any(
        isinstance(job.state, Ended) and isinstance(job.state.outcome, Failed)
        for job in jobs.values()
    )
    told = {job_id: read_steps(Path(job.run)) for job_id, job in jobs.items()}
    ids = list(flow.acknowledged.values())
    return ServiceKillFigures(
        acknowledged=len(ids),
        done=len(done),
        lost=sum(job_id not in done for job_id in ids),
        doubled=len(ids)
        - len(set(ids))
        + len(jobs.keys() - set(ids))
        + sum(count_doubled([event for event in events if event.job == job_id]) for job_id in jobs)
        + sum(is_mixed(attempts) for attempts in told.values()),
        wrong_weights=sum(hash_weights(Path(job.run)) != expected for job in done.values()),
        given_up=flow.given_up,
        attempts=sum(event.kind == "started" for event in events),
        steps=sum(len(steps) for attempts in told.values() for steps in attempts),
        steps_again=sum(
            sum(map(len, attempts)) - len(set().union(*attempts)) for attempts in told.values()
        ),
        **figures,
    )


def count_doubled(events: list[QueueEvent]) -> int:
    """Attempts at one job that began before the last was over, or whose token is not a new one."""
    doubled, token, is_running = 0, 0, False
    for event in events:
        if event.kind == "started":
            doubled += is_running or event.token <= token
            token, is_running = event.token, True
        elif event.kind in ("crashed", "interrupted", "put_back", "paused", "ended"):
            is_running = False
    return doubled


def read_steps(run: Path) -> list[list[int]]:
    """Steps that each attempt at a run has told; a torn line is passed over."""
    attempts: list[list[int]] = []
    with contextlib.suppress(FileNotFoundError):
        for line in (run / "events.jsonl").read_text().splitlines():
            with contextlib.suppress(ValueError):
                row = json.loads(line)
                if row["kind"] == "Line" and row["label"] == "Hardware":  # the first of an attempt
                    attempts.append([])
                elif row["kind"] == "StepDone":
                    attempts[-1].append(row["step"])
    return attempts


def is_mixed(attempts: list[list[int]]) -> bool:
    """Whether the steps of an attempt do not follow one another: two workers told them."""
    return any(steps != list(range(steps[0], steps[0] + len(steps))) for steps in attempts if steps)
