"""kill -9 of the daemon while clients order: `kill_daemon` gives the figures.

No job starts here, so that a kill costs a second; daemons with jobs at work: `service_kills.py`.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from appliance.daemon.client import ServiceSilentError
from appliance.queue.store import Store
from tests.daemon.service import WAITING, Daemon, write_documents


@dataclass(frozen=True, kw_only=True, slots=True)
class DaemonKillFigures:
    """What became of the orders.

    Attributes:
        kills: of the daemon.
        acknowledged: orders that were acknowledged.
        lost: of these, not there in the end.
        doubled: orders that became two jobs.
        longest_restart_seconds: from a start to its readiness.
        seconds: of the whole campaign.
    """

    kills: int
    acknowledged: int
    lost: int
    doubled: int
    longest_restart_seconds: float
    seconds: float


def kill_daemon(folder: Path, *, kills: int, seed: int) -> DaemonKillFigures:
    """Kill it at random moments of its first half second, with a client that never stops ordering.

    Args:
        folder: where everything is made.
        kills: how often.
        seed: of the moments.
    """
    began, chance = time.monotonic(), random.Random(seed)
    documents = write_documents(folder / "documents", 1)
    daemon = Daemon(folder, WAITING)
    acknowledged: dict[str, int] = {}
    is_over = threading.Event()

    def order() -> None:
        """Ask again with the same key until an answer comes."""
        while not is_over.is_set():
            key = f"order-{len(acknowledged)}"
            with contextlib.suppress(ServiceSilentError):
                settings = f"tune.seed={len(acknowledged)}"
                acknowledged[key] = daemon.submit(documents, settings, key=key)["id"]

    client = threading.Thread(target=order)
    restarts = []
    daemon.start()
    client.start()
    try:
        for _ in range(kills):
            time.sleep(chance.uniform(0, 0.5))
            daemon.kill()
            started = time.monotonic()
            daemon.start()
            restarts.append(time.monotonic() - started)
    finally:
        is_over.set()
        client.join()
        daemon.kill()
    with Store.open_reader(daemon.state / "queue.sqlite3") as reader:
        there = {job.id for job in reader.list_jobs(limit=None)}
    ids = list(acknowledged.values())
    return DaemonKillFigures(
        kills=kills,
        acknowledged=len(ids),
        lost=len(set(ids) - there),
        doubled=len(ids) - len(set(ids)) + len(there - set(ids)),
        longest_restart_seconds=round(max(restarts, default=0.0), 2),
        seconds=round(time.monotonic() - began, 1),
    )
