"""The whole way as its people go it: a user hands documents over, a model comes out and serves.

What is private stays private on it: nothing in the journal tells of the documents, and each unit
sees only what it needs.
"""

import json
import os
import shutil

import pytest

from tests.e2e.conftest import SMALL
from tests.systemd.conftest import ENVIRONMENT
from tests.systemd.jobs import DOCUMENTS, connect
from tests.systemd.machine import Machine

pytestmark = pytest.mark.slow

CANARY = "quagmarine"
"""A word that only the documents of these tests hold, in their text and in their names."""

PROGRAM = (f"{ENVIRONMENT}/bin/python", "-m", "appliance")


@pytest.fixture(scope="module")
def finished(shared_service, base):
    """A machine on which ada, a plain user, has tuned a model; and the result of the job."""
    machine = shared_service
    machine.run("useradd", "--groups", "appliance", "ada")
    store = "/var/lib/appliance/bases"
    shutil.copytree(base, machine.open(f"{store}/small"))
    machine.run("chown", "-R", "appliance:", store)
    write_documents(machine)

    words = ("tune", "/opt/documents", "--base", "small", "--json", *SMALL)
    done = machine.run(*PROGRAM, *words, user="ada", check=False)

    assert done.returncode == 0, done.stderr + machine.tell_all()
    return machine, json.loads(done.stdout)


def write_documents(machine: Machine) -> None:
    """A folder that only ada can read; with good files, broken ones, and names that tell."""
    folder = machine.open("/opt/documents")
    shutil.copytree(machine.open(DOCUMENTS), folder)
    for number in range(8):
        text = (
            f"# The {CANARY} rule\n\nThe {CANARY} of case {number} is {number * 17} litres.\n" * 9
        )
        (folder / f"{CANARY}_{number}.md").write_text(text)
    (folder / f"{CANARY}.pdf").write_bytes(b"%PDF-1.7\n" + CANARY.encode() + os.urandom(500))
    (folder / f"{CANARY}.docx").write_bytes(b"PK\x03\x04" + CANARY.encode() + os.urandom(500))
    (folder / f"{CANARY}.xlsx").write_bytes(CANARY.encode())
    machine.run("chown", "-R", "ada:", "/opt/documents")
    machine.run("chmod", "-R", "go=", "/opt/documents")


def test_user_gets_a_model_of_documents_that_only_they_can_read(finished):
    machine, result = finished

    assert result["bundle"].startswith("/var/lib/appliance/runs/")
    assert machine.open(f"{result['bundle']}/manifest.json").exists()
    ledger = machine.open(f"{result['run']}/corpus/ledger.jsonl").read_text()
    verdicts = [json.loads(line)["verdict"] for line in ledger.splitlines()]
    assert verdicts.count("used") >= 12
    assert verdicts.count("skipped") == 3, "the broken ones"


def test_journal_tells_nothing_of_the_documents(finished):
    machine, _ = finished

    everything = machine.run("journalctl", "--no-pager", "--output=export", "--all").stdout

    assert "job 1: done" in everything
    assert CANARY not in everything.lower()
    assert "documents-" not in everything, "the name of the run holds that of the folder"


def test_state_is_closed_to_other_users(finished):
    machine, _ = finished
    machine.run("useradd", "eve")
    machine.run("useradd", "--groups", "appliance", "bob")
    paths = machine.run("find", "/var/lib/appliance").stdout
    assert len(paths.splitlines()) > 100

    for user in ("eve", "bob"):
        code = (
            "import os, sys; print([p for p in sys.stdin.read().split() if os.access(p, os.R_OK)])"
        )
        seen = machine.run(PROGRAM[0], "-c", code, user=user, text=paths).stdout
        assert seen == "[]\n", f"{user} can read this"


def test_other_users_see_nothing_of_the_job(finished):
    machine, _ = finished
    machine.run("useradd", "--groups", "appliance", "joe")

    done = machine.run(*PROGRAM, "jobs", "list", "--all", "--json", user="joe")

    assert json.loads(done.stdout)["jobs"] == []
    assert len(connect(machine).ask("GET", "/v1/jobs", live=0)["jobs"]) == 1, "root sees it"


SERVING = "APPLIANCE_SERVE_PORT=8799\nAPPLIANCE_SERVE_OPTIONS=--parallel 2 --threads 1\n"


@pytest.fixture(scope="module")
def server(finished):
    """The unit that serves the bundle, ready."""
    machine, result = finished
    run = result["run"].rsplit("/", 1)[1]
    unit = f"appliance-serve@{run}.service"
    machine.run("tee", f"/etc/appliance/serve-{run}.env", text=SERVING)
    machine.run("systemctl", "start", unit)
    machine.wait_until(lambda: ask_server(machine, "/v1/models") is not None, "the first answer")
    return unit


def ask_server(machine: Machine, path: str, body: object = None) -> dict | None:
    """Ask the model server; None while it does not listen."""
    arguments = ["--data", json.dumps(body)] if body is not None else []
    header = "Content-Type: application/json"
    url = f"http://127.0.0.1:8799{path}"
    done = machine.run("curl", "-s", "-H", header, *arguments, url, check=False)
    return json.loads(done.stdout) if done.stdout else None


def test_unit_serves_the_bundle(finished, server):
    machine, _ = finished

    models = ask_server(machine, "/v1/models")["data"]
    question = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
    answer = ask_server(machine, "/v1/chat/completions", question | {"model": models[0]["id"]})

    assert len(models) == 1
    assert answer["choices"][0]["message"]["role"] == "assistant"
    assert machine.show_one(server, "NRestarts") == "0"


def test_server_sees_the_bundle_and_nothing_else_of_the_state(finished, server):
    machine, result = finished
    pid = machine.show_one(server, "MainPID")

    def list_inside(path: str) -> list[str]:
        inside = ("nsenter", "--target", pid, "--mount", "ls", "-A", path)
        return machine.run(*inside, check=False).stdout.split()

    assert list_inside("/var/lib/appliance") == ["runs"]
    assert list_inside("/var/lib/appliance/runs") == [result["run"].rsplit("/", 1)[1]]
    assert list_inside(result["run"]) == ["bundle"]
    assert "manifest.json" in list_inside(result["bundle"])
    assert list_inside("/run/appliance") == []


def test_server_listens_on_this_machine_only(finished, server):
    machine, _ = finished

    listening = machine.open("/proc/1/net/tcp").read_text().splitlines()[1:]

    addresses = {line.split()[1] for line in listening if line.split()[3] == "0A"}
    assert addresses == {f"0100007F:{8799:04X}"}


def test_folder_dropped_into_the_inbox_by_a_user_becomes_a_job(finished):
    machine, _ = finished
    machine.run("useradd", "--groups", "appliance", "may")
    machine.run("tee", "/etc/appliance/daemon.yaml", text="inbox:\n  settle_seconds: 0.5\n")
    machine.run("systemctl", "reload", "appliance-daemon.service")

    inbox = "/var/lib/appliance/inbox"
    machine.run("cp", "-r", DOCUMENTS, f"{inbox}/{CANARY}", user="may")
    machine.wait_until(lambda: list_jobs_of(machine, "may") != [], "the job")

    assert machine.run("ls", inbox, user="may", check=False).returncode != 0, "a drop box"
    (job,) = list_jobs_of(machine, "may")
    machine.run(*PROGRAM, "jobs", "cancel", job["id"], user="may")
    assert CANARY not in machine.run("journalctl", "--no-pager", "--all").stdout


def list_jobs_of(machine: Machine, user: str) -> list[dict]:
    done = machine.run(*PROGRAM, "jobs", "list", "--all", "--json", user=user)
    return json.loads(done.stdout)["jobs"]
