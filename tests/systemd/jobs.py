"""Jobs on a test machine: submit them over the control socket, and wait for what they tell."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from appliance.daemon.client import Client
from appliance.recipe import load_recipe
from tests.e2e.conftest import SMALL
from tests.systemd.machine import Machine
from tests.systemd.mounts import CHECKOUT

DOCUMENTS = f"{CHECKOUT}/samples/company_docs/faq"
"""Four files; a job on them takes seconds, most of them for imports."""

BASE = "/opt/base"

ENDLESS = ("tune.epochs=1000", "tune.lr=1e-6")
"""Settings of a job that trains for minutes: so slowly that it never stops learning."""

Row = dict[str, Any]


def connect(machine: Machine) -> Client:
    """A client of the daemon, with root's rights."""
    return Client(machine.open("/run/appliance/control.sock"))


def submit(machine: Machine, base: Path, *settings: str, documents: str = DOCUMENTS) -> int:
    """Submit a small job; returns its id."""
    if not machine.open(BASE).exists():
        shutil.copytree(base, machine.open(BASE))
        machine.run("chmod", "-R", "a+rX", BASE)
    recipe = load_recipe(None, (*SMALL[1::2], *settings)).model_dump(mode="json")
    order = {"key": uuid.uuid4().hex, "documents": documents, "base": BASE, "recipe": recipe}
    job = connect(machine).ask("POST", "/v1/jobs", order)["job"]
    return int(job["id"])


def show(machine: Machine, job_id: int) -> Row:
    """A job as the daemon sees it."""
    return connect(machine).ask("GET", f"/v1/jobs/{job_id}")


def wait_for(machine: Machine, job_id: int, is_reached: Callable[[Row], bool]) -> Row:
    """Follow the newest attempt at a job to the first event for which this is so."""
    rows = []
    for line in connect(machine).follow(job_id):
        rows.append(json.loads(line))
        if is_reached(rows[-1]):
            return rows[-1]
    raise AssertionError(f"the job ended without it: {rows[-3:]}\n{machine.tell_all()}")


def is_checkpoint(row: Row) -> bool:
    """Whether an event says that training can go on from here."""
    return row["kind"] == "CheckpointSaved"


def list_trainers(machine: Machine) -> list[str]:
    """Units of the trainers at work."""
    pattern = "appliance-trainer@*.service"
    shown = machine.run("systemctl", "list-units", "--plain", "--no-legend", "--", pattern)
    return [line.split()[0] for line in shown.stdout.splitlines()]
