"""What the dashboard bears: a long history, slow connections, and clients while a job trains.

    scripts/bench load                     all of it: two minutes
    scripts/bench load --seconds 600       clients for ten minutes
    scripts/bench load --only pages        one part

Each figure is printed beside its target. Times of the clock are those of this machine with whatever
else runs on it, so run it alone.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import select
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

NUM_JOBS = 10_000
NUM_ACTS = 2_000
"""Lines of the audit log: each is on the disk when it is written, so more take long to make."""

NUM_SLOW = 1_000
NUM_CLIENTS = 16
CLIENT_PAUSE_SECONDS = 2.0
"""Between two calls of a client: how often a page of the dashboard asks at most."""

WINDOW_SECONDS = 6.0
"""Clients ask and rest in turns of this length, while one training goes on."""

MAX_WINDOWS = 5
"""In a row that may pass with hardly a step: training holds its breath for a held-out loss."""

MAX_PAGE_SECONDS = 0.300
MAX_STATUS_SECONDS = 0.200
MAX_HEALTH_SECONDS = 1.0
MAX_SLOWDOWN = 0.03

LONG_DOCUMENTS = 120
TRAINING = (
    "tune.method=full",
    "tune.lr=1e-6",
    "tune.epochs=1000",
    "tune.sequence_length=512",
    "evaluate.num_questions=0",
)

Row = dict[str, Any]


@click.command()
@click.option(
    "--seconds", default=48.0, show_default=True, help="For the clients; 600 is the goal."
)
@click.option("--only", multiple=True, type=click.Choice(["pages", "slow", "clients"]))
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write all figures.")
def main(seconds: float, only: tuple[str, ...], json_file: Path | None) -> None:
    """Load on the dashboard and its API."""
    from appliance.web.audit import AuditLog
    from tests.daemon.service import QUICK, is_state, running, write_documents

    parts = only or ("pages", "slow", "clients")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="appliance-load-") as name:
        folder = Path(name)
        documents = write_documents(folder / "roots" / "documents")
        with running(folder) as daemon:
            if "pages" in parts:
                job = daemon.submit(documents, *QUICK)["id"]
                daemon.wait_for(job, is_state("done"))
                daemon.stop()
                fill_history(daemon.state / "queue.sqlite3", NUM_JOBS)
                daemon.start()
                log = AuditLog(folder / "dashboard")
                for number in range(NUM_ACTS):
                    log.note("load", "see documents", str(number))
                with showing(folder, daemon.socket) as (port, token):
                    rows += tell(time_pages(port, token))
            with showing(folder, daemon.socket) as (port, token):
                if "slow" in parts:
                    rows += tell(time_health(port))
                if "clients" in parts:
                    many = write_documents(folder / "roots" / "many", LONG_DOCUMENTS)
                    job = daemon.submit(many, *TRAINING)["id"]
                    daemon.wait_for(job, lambda row: row["kind"] == "StepDone")
                    rows += tell(time_clients(port, token, daemon, job, seconds))
                    daemon.client.ask("POST", f"/v1/jobs/{job}/cancel")
    if json_file:
        json_file.write_text(json.dumps(rows, indent=1))
    if any(row["value"] > row["target"] for row in rows):
        sys.exit(1)


def tell(rows: list[Row]) -> list[Row]:
    """Print figures beside their targets."""
    for row in rows:
        mark = "ok" if row["value"] <= row["target"] else "MISSED"
        click.echo(f"{row['what']:<58}{row['value']:>10.4g}  target {row['target']:<8g}{mark}")
    return rows


@contextlib.contextmanager
def showing(folder: Path, control: Path) -> Iterator[tuple[int, str]]:
    """A dashboard in a process of its own: its port, and a token."""
    from appliance.web.tokens import create_token

    state = folder / "dashboard"
    token = create_token(state, os.urandom(4).hex(), "admin", 7200.0, time.time())[1]
    command = [sys.executable, "-m", "appliance", "dashboard", "--port", "0", "--json"]
    process = subprocess.Popen(
        [*command, "--state", str(state), "--documents", str(folder / "roots")],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env=os.environ | {"APPLIANCE_SOCKET": str(control)},
    )
    assert process.stdout is not None
    try:
        if not select.select([process.stdout], [], [], 60)[0]:
            raise click.ClickException("the dashboard does not begin")
        yield int(json.loads(process.stdout.readline())["address"].rpartition(":")[2]), token
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


def fill_history(database: Path, num_jobs: int) -> None:
    """Copies of the last job, as if it had been done so often."""
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(jobs)")]
        names = ", ".join(column for column in columns if column not in ("id", "checksum"))
        connection.execute(
            f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
            f"INSERT INTO jobs ({names}) SELECT {names} FROM jobs, n "
            "WHERE jobs.id = (SELECT max(id) FROM jobs)",
            (num_jobs - 1,),
        )


class Caller:
    """One client with a connection that stays."""

    def __init__(self, port: int, token: str) -> None:
        """Connect with the first call."""
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._headers = {"authorization": f"Bearer {token}", "accept": "text/html"}

    def time(self, path: str) -> float:
        """Seconds of one answer, which has to be a good one.

        A connection that rested for so long that the server closed it is opened again, as every
        HTTP client does.
        """
        began = time.perf_counter()
        try:
            answer = self._ask(path)
        except http.client.RemoteDisconnected:
            self._connection.close()
            answer = self._ask(path)
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status}")
        return time.perf_counter() - began

    def _ask(self, path: str) -> http.client.HTTPResponse:
        self._connection.request("GET", path, headers=self._headers)
        answer = self._connection.getresponse()
        answer.read()
        return answer


def time_pages(port: int, token: str) -> list[Row]:
    """Every page of a history of ten thousand jobs; the slowest of five."""
    caller, last = Caller(port, token), NUM_JOBS
    caller.time("/machine")
    paths = [
        *("/jobs", f"/jobs?before={last // 2}", f"/jobs/{last}", f"/jobs/{last}/documents"),
        *(f"/jobs/{last}/verification", f"/compare?left={last}&right=1", "/start", "/models"),
        *("/machine", "/audit", "/metrics", "/api/jobs", f"/api/jobs/{last}"),
    ]
    return [
        {
            "what": f"page {path}, s",
            "value": max(caller.time(path) for _ in range(5)),
            "target": MAX_PAGE_SECONDS,
        }
        for path in paths
    ]


def time_health(port: int) -> list[Row]:
    """Health, while a thousand connections never finish their request."""
    slow = [socket.create_connection(("127.0.0.1", port), timeout=60) for _ in range(NUM_SLOW)]
    times = []
    try:
        for each in slow:
            each.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: ")
        for _ in range(100):
            began = time.perf_counter()
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            connection.request("GET", "/health")
            if connection.getresponse().status != 200:
                raise RuntimeError("health is not good")
            connection.close()
            times.append(time.perf_counter() - began)
    finally:
        for each in slow:
            each.close()
    what = f"health beside {NUM_SLOW:,} slow connections, p99 s"
    return [{"what": what, "value": cut(times, 0.99), "target": MAX_HEALTH_SECONDS}]


def time_clients(port: int, token: str, daemon: Any, job: int, seconds: float) -> list[Row]:
    """Sixteen clients ask and rest in turns; how fast, and what the training loses."""
    asking, over = threading.Event(), threading.Event()
    times: list[float] = []
    errors: list[str] = []

    def ask(number: int) -> None:
        caller = Caller(port, token)
        paths = (f"/api/jobs/{job}", "/api/jobs", f"/api/jobs/{job}", "/metrics")
        turn = number
        over.wait(number * CLIENT_PAUSE_SECONDS / NUM_CLIENTS)
        while not over.is_set():
            asking.wait()
            try:
                times.append(caller.time(paths[turn % len(paths)]))
            except Exception as exc:
                errors.append(repr(exc))
                caller = Caller(port, token)
            turn += 1
            over.wait(CLIENT_PAUSE_SECONDS)

    clients = [threading.Thread(target=ask, args=(number,)) for number in range(NUM_CLIENTS)]
    for client in clients:
        client.start()
    speeds: dict[bool, list[float]] = {True: [], False: []}
    end = time.monotonic() + 2 * seconds  # half of it is rest
    try:
        while time.monotonic() < end:
            for loaded in (False, True):
                asking.set() if loaded else asking.clear()
                speeds[loaded].append(measure_speed(daemon, job))
    finally:
        over.set()
        asking.set()
        for client in clients:
            client.join()
    for error in sorted(set(errors)):
        click.echo(f"error: {error} ({errors.count(error)} times)", err=True)
    slowdowns = [
        1 - loaded / free for free, loaded in zip(speeds[False], speeds[True], strict=True)
    ]
    return [
        {"what": f"errors in {len(times):,} calls", "value": len(errors), "target": 0},
        {
            "what": f"a status call of {NUM_CLIENTS} clients, p99 s",
            "value": cut(times, 0.99),
            "target": MAX_STATUS_SECONDS,
        },
        {
            "what": f"training slowed (median of {len(slowdowns)} pairs), share",
            "value": statistics.median(slowdowns),
            "target": MAX_SLOWDOWN,
        },
    ]


def measure_speed(daemon: Any, job: int) -> float:
    """Steps a second in a window, by the clock of the events; one without steps is repeated."""
    for _ in range(MAX_WINDOWS):
        began = time.time()
        time.sleep(WINDOW_SECONDS)
        at = [moment for moment in read_steps(daemon, job) if began <= moment]
        if len(at) >= 3:
            return (len(at) - 1) / (at[-1] - at[0])
    raise click.ClickException("the training has ended, or is too slow to measure")


def read_steps(daemon: Any, job: int) -> list[float]:
    """When each step was done."""
    rows = map(json.loads, daemon.client.read_events(job))
    return [row["at"] for row in rows if row["kind"] == "StepDone"]


def cut(times: list[float], share: float) -> float:
    """A quantile."""
    return sorted(times)[min(len(times) - 1, int(share * len(times)))]
