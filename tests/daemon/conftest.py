"""A control loop with everything real but the workers and the machine: those come as arguments."""

from __future__ import annotations

import dataclasses

import pytest

from appliance.daemon.crew import Attempt
from appliance.daemon.machine import Machine, Place
from appliance.daemon.parts import Memory, Parts
from appliance.daemon.settings import Settings
from appliance.daemon.tick import tick
from appliance.events import Failed, Finished
from appliance.jobs import JobRequest, WorkOrder
from appliance.queue.store import Store
from appliance.recipe import Recipe
from appliance.units import GIB

START = 1_000_000.0


class Workers:
    """Workers that do what a test says; `tick.Workers` is the seam."""

    def __init__(self):
        self.attempts: dict[int, Attempt] = {}
        self.orders: list[tuple[int, WorkOrder]] = []
        self.asked: list[int] = []
        self.killed: list[int] = []
        self.refusal: OSError | None = None
        self.now = 0.0

    def start(self, job_id, token, order):
        if self.refusal is not None:
            raise self.refusal
        self.orders.append((job_id, order))
        self.attempts[job_id] = Attempt(
            job_id=job_id,
            token=token,
            place=Place(cores=order.cores, gpu=order.gpu),
            started=self.now,
            alive=self.now,
            moved=self.now,
        )

    def list_attempts(self):
        return tuple(self.attempts.values())

    def ask_stop(self, job_id):
        self.asked.append(job_id)

    def kill(self, job_id):
        self.killed.append(job_id)
        self.tell(job_id, end="killed by signal 9")

    def dismiss(self, job_id):
        del self.attempts[job_id]

    def tell(self, job_id, **changes):
        """The worker of a job has told this."""
        self.attempts[job_id] = dataclasses.replace(self.attempts[job_id], **changes)


@dataclasses.dataclass
class Sensors:
    """A machine whose figures a test turns by hand."""

    memory: int = 16 * GIB
    disk: int = 100 * GIB
    gpus: tuple = ()
    cores: tuple = (0, 1, 2, 3)

    def measure_disk(self):
        return self.disk

    def measure(self):
        return Machine(
            memory_free_bytes=self.memory,
            disk_free_bytes=self.disk,
            gpus=self.gpus,
            cores=self.cores,
        )


class Loop:
    """The control loop, turned by hand: a round at a time."""

    def __init__(self, folder, settings):
        self.folder = folder
        self.now = START
        self.store = Store(folder / "queue.sqlite3", clock=lambda: self.now)
        self.workers, self.sensors = Workers(), Sensors()
        self.memory, self.settings = Memory(), settings
        self.said: list[str] = []

    def submit(self, name="a", *, priority=0, **request):
        """Queue a job that tunes; its run folder is `name`."""
        body = JobRequest(
            documents=str(self.folder / "documents"),
            base=None,
            recipe=Recipe(),
            run=str(self.folder / name),
            **request,
        )
        job, _ = self.store.submit(
            key=name,
            kind="tune",
            request=body.model_dump_json(),
            run=body.run,
            owner=0,
            label=name,
            priority=priority,
        )
        return job.id

    def turn(self, seconds=1.0, *, is_draining=False):
        """Let time pass, then do one round."""
        self.now += seconds
        self.workers.now = self.now
        parts = Parts(
            store=self.store,
            workers=self.workers,
            sensors=self.sensors,
            settings=self.settings,
            memory=self.memory,
            say=self.said.append,
            clock=lambda: self.now,
        )
        tick(parts, self.now, is_draining=is_draining)

    def begin(self, name="a", **request):
        """A job at work; its id."""
        job_id = self.submit(name, **request)
        self.turn()
        assert self.find_state(job_id) == "Running"
        return job_id

    def finish(self, job_id, ending=None, end="exit code 0", **changes):
        """The worker of a job ends, and a round sees it."""
        self.workers.tell(job_id, ending=ending, end=end, **changes)
        self.turn()

    def find(self, job_id):
        return self.store.find(job_id)

    def find_state(self, job_id):
        return type(self.find(job_id).state).__name__

    def find_outcome(self, job_id):
        return type(self.find(job_id).state.outcome).__name__


DONE = Finished(result="{}")


def fail(error, what="it broke", why="for a reason", fix="mend it"):
    """The last word of a worker that could not go on."""
    return Failed(error=error, what=what, why=why, fix=fix)


@pytest.fixture
def settings():
    return Settings()


@pytest.fixture
def loop(tmp_path, settings):
    loop = Loop(tmp_path, settings)
    yield loop
    loop.store.close()
