"""A real daemon with one real job on documents with hostile names, and a dashboard in front."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import tempfile
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from appliance.daemon.client import Client
from appliance.web.app import App
from appliance.web.desk import Desk
from appliance.web.guard import Door
from appliance.web.tokens import create_token
from tests.daemon.service import WAITING, is_state, running, write_documents

NAME_CANARY = "kestrel7391"
TEXT_CANARY = "ptarmigan4482"
FILE_CANARY = "heron5526"
NUM_CANARIES = 200
"""Documents that carry the canaries: in their text, and in their name."""

HOSTILE = (
    f"<img src=x onerror=alert(1)> {NAME_CANARY}.md",
    f"{NAME_CANARY}' \"><script>alert(2)</script>.bin".replace("/", "∕"),
    f"\u202e{NAME_CANARY} reversed.md",
    f"{NAME_CANARY}\nnew line.md",
    f"{{{{ 7919 * 7907 }}}} {NAME_CANARY}.md",
)
QUICK = (
    "tune.method=full",
    "tune.lr=1e-3",
    "tune.epochs=1",
    "tune.sequence_length=512",
    "tune.threads=1",
    "evaluate.num_questions=0",
    "evaluate.max_tokens=256",
    "evaluate.require_improvement=false",
    "export.precision=fp32",
    "export.parity_tokens=256",
)
"""A job on the embedded base that leaves no stage out."""

BASE = "http://localhost:8766"


class Office:
    """The daemon, its one finished job, and folders to start with."""

    def __init__(self, daemon, roots: Path, job: int) -> None:
        self.daemon, self.roots, self.job = daemon, roots, job


@pytest.fixture(scope="session")
def office():
    """One job that is done; those that come after it wait for ever."""
    folder = Path(tempfile.mkdtemp(prefix="appliance-web-"))
    roots = folder / "roots"
    documents = write_documents(roots / f"{NAME_CANARY} <b>docs</b>")
    for number, name in enumerate(HOSTILE):
        text = f"# Note {number}\n\n{TEXT_CANARY} stands in this document, number {number}.\n"
        (documents / name).write_text(text * 4)
    chance = random.Random(2)
    for number in range(NUM_CANARIES - len(HOSTILE)):
        words = "".join(chance.choices("abcdefgh", k=24))  # or they would be near duplicates
        (documents / f"{FILE_CANARY}-{number}.md").write_text(f"{TEXT_CANARY} {words} {number}\n")
    (documents / "empty.md").touch()
    with running(folder) as daemon:
        job = daemon.submit(documents, *QUICK)["id"]
        daemon.wait_for(job, is_state("done"))
        daemon.settings.write_text(WAITING)
        daemon.signal(signal.SIGHUP)
        yield Office(daemon, roots, job)
    shutil.rmtree(folder)


@pytest.fixture
def desk(office, tmp_path):
    return Desk(tmp_path / "dashboard", Client(office.daemon.socket), (office.roots.resolve(),))


@pytest.fixture
def visit(desk):
    """Visitors of a dashboard: a function from a scope, or None for a stranger, to a client."""
    app = App(desk).make(Door(hosts=frozenset({"box.office"})))
    with contextlib.ExitStack() as stack:
        portal = stack.enter_context(TestClient(app, base_url=BASE))

        def make(scope=None, **headers):
            client = TestClient(app, base_url=BASE, follow_redirects=False, headers=headers)
            client.portal = portal.portal  # one event loop for all of them
            if scope is not None:
                client.headers["authorization"] = f"Bearer {make_token(desk, scope)}"
            return client

        yield make
        portal.portal.call(desk.close)


def make_token(desk, scope, *, seconds=3600.0, now=None, jobs=()):
    """A token of a scope, under a name of its own."""
    import time

    moment = time.time() if now is None else now
    return create_token(desk.folder, os.urandom(4).hex(), scope, seconds, moment, jobs)[1]


def log_in(client, desk, scope, *, jobs=()):
    """Begin a session as a browser does; the secret of its forms."""
    answer = client.post(
        "/login", data={"token": make_token(desk, scope, jobs=jobs)}, headers={"origin": BASE}
    )
    assert answer.status_code == 303, answer.text
    (session,) = desk.sessions._sessions.values()
    return session.form_secret


def read_events(text):
    """Events of a stream: (id, kind, data)."""
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "data" in fields:
            place = int(fields["id"]) if "id" in fields else None
            yield place, fields.get("event", "message"), json.loads(fields["data"])
