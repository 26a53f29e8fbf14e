"""A real daemon in a process of its own, and the command line as a person uses it."""

from __future__ import annotations

import contextlib
import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from appliance.daemon.client import Client
from tests.conftest import ROOT

COMMAND = [sys.executable, "-m", "appliance"]
READY_SECONDS = 60.0
END_SECONDS = 60.0

QUICK = (
    "tune.method=full",
    "tune.lr=1e-3",
    "tune.epochs=4",
    "tune.sequence_length=512",
    "tune.checkpoint_seconds=0.1",
    "tune.threads=1",
    "evaluate.num_questions=0",
    "evaluate.max_tokens=256",
    "evaluate.require_improvement=false",
    "export.precision=fp32",
    "export.parity_tokens=256",
)
"""Decisions that make a job on the small base take ten seconds of one core, seven of them for the
imports of a worker, and leave no stage out."""

WAITING = "min_free_memory_gib: 1000000.0\n"
"""Settings under which no job ever starts."""


def write_documents(folder: Path, num_documents: int = 10) -> Path:
    """Documents with enough words for every split, the same in every run."""
    chance = random.Random(1)
    words = ["sensor", "valve", "return", "order", "calibration", "invoice", "engineer", "week"]
    folder.mkdir(parents=True)
    for number in range(num_documents):
        steps = (
            f"## Step {step}\n\n{' '.join(chance.choices(words, k=60))}.\n\n" for step in range(4)
        )
        (folder / f"procedure-{number}.md").write_text(f"# Procedure {number}\n\n" + "".join(steps))
    return folder


class Daemon:
    """One daemon and its folders; it may die and be started again."""

    def __init__(self, folder: Path, settings: str = "") -> None:
        self.folder = folder
        self.state = folder / "state"
        self.socket = folder / "control.sock"
        self.settings = folder / "daemon.yaml"
        self.log = folder / "daemon.log"
        self.client = Client(self.socket)
        self.process: subprocess.Popen[bytes] | None = None
        self.prefix: list[str] = []
        self.settings.write_text(settings)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        with self.starting() as hear:
            hear("READY=1")

    @contextlib.contextmanager
    def starting(self) -> Iterator[Callable[[str], None]]:
        """Start it as systemd does, with a function that waits for one of its words."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
            name = f"appliance-test-{os.getpid()}-{time.monotonic_ns()}"
            ear.bind(f"\0{name}")
            process = self.process = self.launch(NOTIFY_SOCKET=f"@{name}")

            def hear(word: str) -> None:
                deadline = time.monotonic() + READY_SECONDS
                while time.monotonic() < deadline:
                    if not select.select([ear], [], [], 0.1)[0]:
                        assert process.poll() is None, self.log.read_text()
                    elif word in ear.recv(4096).decode():
                        return
                raise AssertionError(f"the daemon does not say {word}")

            yield hear

    def launch(self, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start a process on this state and do not wait."""
        command = [*COMMAND, "daemon", "--state", str(self.state), "--socket", str(self.socket)]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*self.prefix, *command, "--settings", str(self.settings), *arguments],
                stderr=log,
                cwd=ROOT,
                env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
            )

    def list_workers(self) -> list[int]:
        """Process ids of the workers, which are the children of the daemon."""
        tasks = Path(f"/proc/{self.pid}/task").glob("*/children")
        return [int(pid) for task in tasks for pid in task.read_text().split()]

    def lift_workers(self) -> None:
        """Take the low priority from the workers: on a busy machine they would take minutes."""
        for pid in self.list_workers():
            with contextlib.suppress(OSError):
                Path(f"/proc/{pid}/autogroup").write_text("0")

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM, and wait until it has left; its exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(END_SECONDS)

    def run(self, *arguments: object, **options) -> subprocess.CompletedProcess[str]:
        """The command line, talking to this daemon."""
        environment = os.environ | {"APPLIANCE_SOCKET": str(self.socket), "OMP_NUM_THREADS": "1"}
        return subprocess.run(
            [*COMMAND, *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=environment | options.pop("env", {}),
            timeout=options.pop("timeout", 300),
            check=False,
            **options,
        )

    def submit(self, documents: Path, *settings: str, **about) -> dict:
        """Order a job of the daemon as the command line does; the job."""
        from appliance.recipe import load_recipe

        recipe = load_recipe(None, settings).model_dump(mode="json")
        body = {"key": f"k{time.monotonic_ns()}", "documents": str(documents), "recipe": recipe}
        return self.client.ask("POST", "/v1/jobs", body | about)["job"]

    def show(self, job_id: int) -> dict:
        return self.client.ask("GET", f"/v1/jobs/{job_id}")

    def wait_for(self, job_id: int, is_reached, seconds: float = 300.0) -> dict:
        """Follow a job until a line of its events or states is the one that is waited for.

        Args:
            job_id: of the job.
            is_reached: takes a row; True for the one that is waited for.
            seconds: longest wait.
        """
        deadline = time.monotonic() + seconds
        for line in self.client.follow(job_id):
            self.lift_workers()
            row = json.loads(line)
            if is_reached(row):
                return row
            assert time.monotonic() < deadline, f"job {job_id} does not come so far: {row}"
        raise AssertionError(f"job {job_id} ended before: {self.show(job_id)}")


@contextlib.contextmanager
def running(folder: Path, settings: str = "") -> Iterator[Daemon]:
    """A daemon that is ready; killed in the end, with everything that it started."""
    daemon = Daemon(folder, settings)
    try:
        daemon.start()
        yield daemon
    finally:
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.process.send_signal(signal.SIGCONT)
            daemon.kill()


def is_state(*names: str):
    """Whether a followed line says that the job is in one of these states."""
    return lambda row: row["kind"] == "JobState" and row["state"] in names


@contextlib.contextmanager
def acting_as(uid: int) -> Iterator[None]:
    """This process as another user, without any group of ours."""
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(uid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)
