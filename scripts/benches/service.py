"""What the service survives, and what it costs.

    scripts/bench service --json FILE                  all of it: half an hour
    scripts/bench service --only idle --only latency   parts of it
    scripts/bench service --kills 12 --cuts 5          fewer faults than 100 and 30

Times of the clock are those of this machine with whatever else runs on it; processor times are what
an undisturbed core would need. Jobs are real and small: the base has 1.2 million random weights.
"""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import os
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from appliance.offline import go_offline  # noqa: E402

STARTS = 5
SUBMITS = 200
"""By each kind of client."""

PAIRS = 3
IDLE_SECONDS = 60.0
LONG_DOCUMENTS = 80
"""Enough of them for a training of some fifteen seconds."""

MAX_RESTART_SECONDS = 1.5
MAX_SUBMIT_SECONDS = 0.050
MAX_SLOWDOWN = 0.02
MAX_IDLE_SHARE = 0.005
MAX_IDLE_BYTES = 60e6

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """What the parts share: a folder to work in, and the number of faults to inject."""

    folder: Path
    base: Path
    kills: int
    cuts: int
    gap_seconds: float
    seed: int


@click.command()
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write all figures.")
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(["kills", "cuts", "start", "latency", "slowdown", "idle"]),
)
@click.option("--kills", default=100, show_default=True)
@click.option("--cuts", default=30, show_default=True)
@click.option("--gap", default=12.0, show_default=True, help="Longest seconds between two kills.")
@click.option("--seed", default=1, show_default=True)
@click.option(
    "--work", type=click.Path(path_type=Path), help="Where to work. Default: a new folder."
)
def main(
    json_file: Path | None,
    only: tuple[str, ...],
    kills: int,
    cuts: int,
    gap: float,
    seed: int,
    work: Path | None,
) -> None:
    """Measure the service on this machine, and hold the figures against their targets."""
    go_offline()
    from tests.daemon.base import make_base

    with tempfile.TemporaryDirectory(prefix="bench-service-", dir=work) as folder:
        base = make_base(Path(folder) / "small")
        place = Place(
            folder=Path(folder), base=base, kills=kills, cuts=cuts, gap_seconds=gap, seed=seed
        )
        figures: Row = {"machine": describe_machine()}
        for name, measure in PARTS.items():
            if name in (only or PARTS):
                click.echo(f"{name} …", err=True)
                figures[name] = measure(place)
    checks = list(list_checks(figures))
    click.echo(make_table(checks))
    if json_file:
        json_file.write_text(json.dumps(figures | {"checks": checks}, indent=1) + "\n")
    sys.exit(0 if all(check["ok"] for check in checks) else 1)


def measure_kills(place: Place) -> Row:
    """Daemon, worker, and both in turn are killed with jobs flowing."""
    from tests.faults.service_kills import kill_service

    folder = place.folder / "kills"
    folder.mkdir()
    figures = kill_service(
        folder, place.base, kills=place.kills, seed=place.seed, gap_seconds=place.gap_seconds
    )
    return dataclasses.asdict(figures)


def measure_cuts(place: Place) -> Row:
    """Power cuts under the queue, and under the publisher of artefacts."""
    from tests.faults.powercut import cut_publisher, cut_queue, find_why_not

    if why_not := find_why_not():
        return {"left_out": why_not}
    return {
        "queue": dataclasses.asdict(cut_queue(cuts=place.cuts, seed=place.seed)),
        "publisher": dataclasses.asdict(cut_publisher(cuts=place.cuts, seed=place.seed)),
    }


def measure_start(place: Place) -> Row:
    """Start to ready; and from kill -9 through a new start to the first answer."""
    from tests.daemon.service import running

    ready: list[float] = []
    answered: list[float] = []
    processor: list[float] = []
    with running(make_folder(place, "start")) as daemon:
        for _ in range(STARTS):
            began = time.perf_counter()
            daemon.kill()
            launched = time.perf_counter()
            daemon.start()
            ready.append(time.perf_counter() - launched)
            daemon.client.ask("GET", "/v1/status")
            answered.append(time.perf_counter() - began)
            processor.append(read_processor_seconds(daemon.pid))
    return {
        "ready_seconds": statistics.median(ready),
        "restart_seconds": statistics.median(answered),
        "longest_restart_seconds": max(answered),
        "processor_seconds": statistics.median(processor),
    }


def measure_latency(place: Place) -> Row:
    """Submissions while a job trains: with a connection that is kept, and with a new one each."""
    from tests.daemon.service import QUICK, running, write_documents

    folder = make_folder(place, "latency")
    documents = write_documents(folder / "documents", LONG_DOCUMENTS)
    with running(folder, "inbox: {enabled: false}\n") as daemon:
        settings = [*QUICK, "tune.epochs=1000", "tune.checkpoint_seconds=5"]
        job = daemon.submit(documents, *settings, base=str(place.base))
        daemon.wait_for(job["id"], lambda row: row["kind"] == "StepDone")
        bodies = [
            json.dumps(
                {
                    "key": f"k{number}",
                    "documents": str(documents),
                    "recipe": {"tune": {"seed": number}},
                }
            )
            for number in range(2 * SUBMITS)
        ]
        with kept_connection(daemon.socket) as connection:
            kept = [time_request(connection, body) for body in bodies[:SUBMITS]]
        fresh = []
        for body in bodies[SUBMITS:]:
            began = time.perf_counter()
            with kept_connection(daemon.socket) as connection:
                time_request(connection, body)
            fresh.append(time.perf_counter() - began)
        assert daemon.show(job["id"])["state"] == "running", "nothing trained meanwhile"
    return {"kept": describe_times(kept), "fresh": describe_times(fresh)}


def measure_slowdown(place: Place) -> Row:
    """Tokens a second of training through the daemon, somebody watching, beside `tune --here`."""
    from tests.daemon.service import QUICK, running, write_documents
    from tests.e2e.conftest import run_appliance

    folder = make_folder(place, "slowdown")
    documents = write_documents(folder / "documents", LONG_DOCUMENTS)
    settings = [*QUICK, "tune.checkpoint_seconds=5"]
    options = [part for setting in settings for part in ("--set", setting)]
    here, service, shares = [], [], []
    with running(folder, "inbox: {enabled: false}\n") as daemon:
        for number in range(PAIRS):
            runs = ("--here", "--runs", folder / f"runs-{number}")
            done = run_appliance("tune", documents, *runs, "--base", place.base, "--json", *options)
            here.append(json.loads(done.stdout)["tokens_per_second"])
            job = daemon.submit(
                documents, *settings, f"export.min_gain_kept=0.{number}", base=str(place.base)
            )
            daemon.wait_for(job["id"], lambda row: row["kind"] == "StepDone")
            began, used = time.perf_counter(), read_processor_seconds(daemon.pid)
            daemon.wait_for(job["id"], lambda row: row["kind"] == "Line" and row["label"] == "Tune")
            spent = time.perf_counter() - began
            shares.append((read_processor_seconds(daemon.pid) - used) / spent)
            daemon.wait_for(job["id"], lambda row: row.get("state") == "done")
            service.append(daemon.show(job["id"])["result"]["tokens_per_second"])
    ratios = [ours / theirs for ours, theirs in zip(service, here, strict=True)]
    return {
        "here_tokens_per_second": here,
        "service_tokens_per_second": service,
        "slowdown": 1 - statistics.median(ratios),
        "daemon_processor_share": statistics.median(shares),
    }


def measure_idle(place: Place) -> Row:
    """Processor share, memory and libraries of a daemon that has nothing to do."""
    from tests.daemon.service import running

    with running(make_folder(place, "idle")) as daemon:
        daemon.client.ask("GET", "/v1/status")
        began, used = time.perf_counter(), read_processor_seconds(daemon.pid)
        threading.Event().wait(IDLE_SECONDS)
        share = (read_processor_seconds(daemon.pid) - used) / (time.perf_counter() - began)
        status = Path(f"/proc/{daemon.pid}/status").read_text()
        maps = Path(f"/proc/{daemon.pid}/maps").read_text()
    (resident,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))
    return {
        "processor_share": share,
        "resident_bytes": int(resident) * 1024,
        "has_torch": "torch" in maps,
    }


PARTS: dict[str, Callable[[Place], Row]] = {
    "start": measure_start,
    "latency": measure_latency,
    "slowdown": measure_slowdown,
    "idle": measure_idle,
    "cuts": measure_cuts,
    "kills": measure_kills,
}


def make_folder(place: Place, name: str) -> Path:
    """A folder of its own for a part."""
    folder = place.folder / name
    folder.mkdir()
    return folder


def kept_connection(path: Path) -> contextlib.closing[http.client.HTTPConnection]:
    """HTTP over a unix socket, closed at the end of the block."""
    connection = http.client.HTTPConnection("localhost", timeout=60)
    connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.sock.connect(str(path))
    return contextlib.closing(connection)


def time_request(connection: http.client.HTTPConnection, body: str) -> float:
    """Seconds from asking to the whole answer."""
    began = time.perf_counter()
    connection.request("POST", "/v1/jobs", body)
    response = connection.getresponse()
    response.read()
    assert response.status == 201, response.status
    return time.perf_counter() - began


def describe_times(seconds: list[float]) -> Row:
    """Median and 99th percentile."""
    ordered = sorted(seconds)
    return {
        "p50_seconds": statistics.median(ordered),
        "p99_seconds": ordered[int(0.99 * len(ordered))],
    }


def read_processor_seconds(pid: int) -> float:
    """Processor time of a process so far, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def list_checks(figures: Row) -> Iterator[Row]:
    """What is promised, for what was measured."""

    def check(what: str, value: float, target: str, ok: bool) -> Row:
        return {"name": what, "value": value, "target": target, "ok": bool(ok)}

    if "kills" in figures:
        kills = figures["kills"]
        for what in ("lost", "doubled", "wrong_weights"):
            name = f"{kills['kills']} kills, {kills['acknowledged']} jobs: {what.replace('_', ' ')}"
            yield check(name, kills[what], "0", kills[what] == 0)
    for name in ("queue", "publisher"):
        if name in figures.get("cuts", {}):
            cuts = figures["cuts"][name]
            for what in ("lost", "torn"):
                words = f"{cuts['cuts']} power cuts, {name}, {cuts['acknowledged']} acknowledged"
                yield check(f"{words}: {what}", cuts[what], "0", cuts[what] == 0)
    if "start" in figures:
        seconds = figures["start"]["restart_seconds"]
        target = f"<= {MAX_RESTART_SECONDS}"
        yield check("seconds, start to ready", figures["start"]["ready_seconds"], "none", True)
        yield check("seconds, kill -9 to answer", seconds, target, seconds <= MAX_RESTART_SECONDS)
    for name, times in figures.get("latency", {}).items():
        seconds = times["p99_seconds"]
        target = f"<= {1000 * MAX_SUBMIT_SECONDS:.0f}"
        words = f"ms, submit p99 while a job trains, {name} connection"
        yield check(words, 1000 * seconds, target, seconds <= MAX_SUBMIT_SECONDS)
    if "slowdown" in figures:
        share = figures["slowdown"]["slowdown"]
        yield check("training slowed by", share, f"< {MAX_SLOWDOWN}", share < MAX_SLOWDOWN)
    if "idle" in figures:
        idle = figures["idle"]
        share, size = idle["processor_share"], idle["resident_bytes"]
        yield check("idle, share of a core", share, f"< {MAX_IDLE_SHARE}", share < MAX_IDLE_SHARE)
        yield check("idle, MB of memory", size / 1e6, "< 60", size < MAX_IDLE_BYTES)
        yield check("idle, torch is loaded", idle["has_torch"], "0", not idle["has_torch"])


def make_table(checks: list[Row]) -> str:
    """One line a promise."""
    lines = ["| | measured | target | |", "|---|---|---|---|"]
    for row in checks:
        mark = "ok" if row["ok"] else "MISSED"
        lines.append(f"| {row['name']} | {row['value']:.4g} | {row['target']} | {mark} |")
    return "\n".join(lines)


def describe_machine() -> str:
    """Cores and how busy they are: the clock's figures depend on it."""
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores, load {os.getloadavg()[0]:.1f}"


if __name__ == "__main__":
    main()
