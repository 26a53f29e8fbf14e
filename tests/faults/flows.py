"""Durable changes of the program, each as a few steps that a sweep strikes at every system call.

A flow makes the same change from the same state as often as it is asked, tells each step that it
would tell a person is done, and reads how many of them are there. Afterwards a step is there wholly
or not at all, and what was told is there.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from appliance import files
from appliance.errors import ApplianceError
from appliance.failures import describe_failure
from appliance.queue.states import Done, Ended, Running
from appliance.queue.store import Store
from appliance.rundir import RunDir, StageFolder
from appliance.values import RateTrial, Rejected

Acknowledge = Callable[[], None]


class Flow(Protocol):
    """One change."""

    name: str
    num_steps: int

    def prepare(self, folder: Path) -> None:
        """Make what is there before."""

    def work(self, folder: Path, acknowledge: Acknowledge) -> None:
        """Do what is not yet done, acknowledging every step."""

    def read(self, folder: Path) -> int:
        """How many steps are there. Raises whatever it likes where something is torn."""

    def explain(self, exc: Exception, folder: Path) -> str:
        """What a person is told; "" where that is no help."""


def explain_error(exc: Exception) -> str:
    """An error with a way out, or one of the operating system for the shells to dress."""
    if isinstance(exc, ApplianceError):
        return str(exc) if exc.what and exc.why and exc.fix else ""
    return f"{type(exc).__name__}: {exc.strerror}" if isinstance(exc, OSError) else ""


def explain_run(exc: Exception, run: Path) -> str:
    """What the worker tells; a fault of our own is no help."""
    failed = describe_failure(exc, run)
    is_helpful = failed.what and failed.why and failed.fix and failed.error != "ApplianceError"
    return f"{failed.what}: {failed.why}".replace(str(run), "RUN") if is_helpful else ""


class FileFlow:
    """One file that is replaced three times: receipts, manifests, tokens and reports."""

    name = "file"
    num_steps = 3

    def prepare(self, folder: Path) -> None:
        files.write_text(folder / "file.json", _frame(0))

    def work(self, folder: Path, acknowledge: Acknowledge) -> None:
        for number in range(1, self.num_steps + 1):
            files.write_text(folder / "file.json", _frame(number))
            acknowledge()

    def read(self, folder: Path) -> int:
        return int(json.loads((folder / "file.json").read_text())["number"])

    def explain(self, exc: Exception, folder: Path) -> str:
        return explain_error(exc)


class InPlaceFlow(FileFlow):
    """The same, wrong on purpose: written in place, to show that the sweep notices."""

    name = "in-place"

    def prepare(self, folder: Path) -> None:
        (folder / "file.json").write_text(_frame(0))

    def work(self, folder: Path, acknowledge: Acknowledge) -> None:
        for number in range(1, self.num_steps + 1):
            (folder / "file.json").write_text(_frame(number))
            acknowledge()


def _frame(number: int) -> str:
    """A JSON text that shows when a piece of it is missing."""
    return json.dumps({"number": number, "filler": "x" * 20_000, "end": True})


class StageFlow:
    """A run of two stages; the first was done before, from other inputs."""

    name = "stage"
    num_steps = 2

    def prepare(self, folder: Path) -> None:
        run = RunDir(folder / "run", lambda _: None, lambda: False)
        run.stage("first", _write_stage, Rejected(choice="first", reason="old"))
        run.close()

    def work(self, folder: Path, acknowledge: Acknowledge) -> None:
        run = RunDir(folder / "run", lambda _: None, lambda: False)
        try:
            for name in ("first", "second"):
                run.stage(name, _write_stage, Rejected(choice=name, reason="new"))
                acknowledge()
        finally:
            run.close()

    def read(self, folder: Path) -> int:
        return sum(self._is_new(folder / "run", name) for name in ("first", "second"))

    def _is_new(self, run: Path, name: str) -> bool:
        """Whether the new stage is there; what a receipt vouches for must be whole."""
        receipt = run / "receipts" / f"{name}.json"
        if not receipt.exists():
            return False
        value = json.loads(receipt.read_text())["value"]
        if not (run / name).is_dir():  # the new one is about to come: no receipt counts without it
            return False
        bodies = {path.read_text() for path in sorted((run / name).glob("**/*.txt"))}
        assert len(bodies) == 1, f"{name} is mixed"
        assert len(list((run / name).glob("**/*.txt"))) == 2, f"{name} is not whole"
        (body,) = bodies
        assert len(body) == value["loss"], f"{name} is not what its receipt says"
        return body.startswith("new")

    def explain(self, exc: Exception, folder: Path) -> str:
        return explain_run(exc, folder / "run")


def _write_stage(given: Rejected, stage: StageFolder) -> RateTrial:
    """A stage of two files, one of them in a folder of its own."""
    body = given.reason * (2000 if given.reason == "new" else 3000)
    (stage.folder / "deep").mkdir(exist_ok=True)
    for name in ("a.txt", "deep/b.txt"):
        (stage.folder / name).write_text(body)
    return RateTrial(lr=1.0, loss=float(len(body)))


class QueueFlow:
    """A queue is opened, a job submitted, started, brought on and ended, beside an older one."""

    name = "queue"
    num_steps = 4

    def prepare(self, folder: Path) -> None:
        store = Store(folder / "queue.sqlite3", clock=time.time)
        self._submit(store, "old")
        store.close()

    def work(self, folder: Path, acknowledge: Acknowledge) -> None:
        store = Store(folder / "queue.sqlite3", clock=time.time)
        try:
            job = self._submit(store, "new")
            acknowledge()
            if isinstance(job.state, Ended):
                for _ in range(3):
                    acknowledge()
                return
            if not isinstance(job.state, Running):
                job = store.start(job.id, events_from=0)
            acknowledge()
            store.note_progress(job.id, job.token, "half")
            acknowledge()
            store.end(job.id, job.token, Done(result='"done"'))
            acknowledge()
        finally:
            store.close()

    def read(self, folder: Path) -> int:
        store = Store(folder / "queue.sqlite3", clock=time.time)
        jobs = {job.label: job for job in store.list_jobs(limit=None)}
        store.close()
        assert "old" in jobs, "an older job is lost"
        if "new" not in jobs:
            return 0
        match jobs["new"]:
            case job if isinstance(job.state, Ended):
                return 4
            case job if job.progress == "half":
                return 3
            case job if isinstance(job.state, Running):
                return 2
        return 1

    def explain(self, exc: Exception, folder: Path) -> str:
        return explain_error(exc)

    def _submit(self, store: Store, name: str):
        job, _ = store.submit(
            key=name, kind="tune", request="{}", run=f"/{name}", owner=0, label=name
        )
        return job


class NewQueueFlow:
    """The first start of a service: the database is made, and a back-up of it."""

    name = "new-queue"
    num_steps = 2

    def prepare(self, folder: Path) -> None:
        pass

    def work(self, folder: Path, acknowledge: Acknowledge) -> None:
        store = Store(folder / "queue.sqlite3", clock=time.time)
        try:
            acknowledge()
            store.back_up(folder / "backup.sqlite3")
            acknowledge()
        finally:
            store.close()

    def read(self, folder: Path) -> int:
        path = folder / "backup.sqlite3"
        if path.exists():
            with sqlite3.connect(path) as db:
                assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
                assert db.execute("PRAGMA user_version").fetchone()[0] > 0
        Store(folder / "queue.sqlite3", clock=time.time).close()
        return 1 + path.exists()

    def explain(self, exc: Exception, folder: Path) -> str:
        return explain_error(exc)


class AuditFlow:
    """Two lines in the log of a dashboard."""

    name = "audit"
    num_steps = 2

    def prepare(self, folder: Path) -> None:
        self._open(folder).note("ada", "first")

    def work(self, folder: Path, acknowledge: Acknowledge) -> None:
        log = self._open(folder)
        there = log.verify() - 1
        for number in range(self.num_steps):
            if number >= there:
                log.note("ada", f"line {number}")
            acknowledge()
        log.note("ada", "the next line clears away what a killed one left")

    def read(self, folder: Path) -> int:
        return min(self.num_steps, self._open(folder).verify() - 1)

    def explain(self, exc: Exception, folder: Path) -> str:
        return explain_error(exc)

    def _open(self, folder: Path):
        from appliance.web.audit import AuditLog

        return AuditLog(folder, clock=lambda: 1.0)


class CheckpointFlow:
    """A checkpoint that is replaced twice, as training does it."""

    name = "checkpoint"
    num_steps = 2

    def __init__(self) -> None:
        import torch

        torch.set_num_threads(1)
        self.weights = {"a": torch.ones(50, 30), "b": torch.ones(7)}
        self._make()  # before any fork: an optimizer takes seconds to import what it needs

    def prepare(self, folder: Path) -> None:
        self._save(folder, 0)

    def work(self, folder: Path, acknowledge: Acknowledge) -> None:
        for number in range(1, self.num_steps + 1):
            self._save(folder, number)
            acknowledge()

    def read(self, folder: Path) -> int:
        from appliance.tuning.checkpoint import restore_checkpoint

        step = restore_checkpoint(folder / "latest.safetensors", *self._make()).step
        assert all((value == step).all() for value in self.weights.values()), "weights of another"
        return step

    def explain(self, exc: Exception, folder: Path) -> str:
        return explain_run(exc, folder)

    def _save(self, folder: Path, number: int) -> None:
        import torch

        from appliance.tuning.checkpoint import Counters, save_checkpoint

        parameters, optimizer = self._make()
        with torch.no_grad():
            for value in parameters.values():
                value.fill_(number)
        save_checkpoint(folder / "latest.safetensors", parameters, optimizer, Counters(step=number))

    def _make(self):
        import torch

        return self.weights, torch.optim.AdamW(self.weights.values(), lr=0.1)


FLOWS: dict[str, Callable[[], Flow]] = {
    flow.name: flow
    for flow in (FileFlow, StageFlow, QueueFlow, NewQueueFlow, AuditFlow, CheckpointFlow)
}
"""By name; made when it is needed, for one of them imports torch."""

BROKEN: dict[str, Callable[[], Flow]] = {InPlaceFlow.name: InPlaceFlow}
"""Wrong on purpose."""
