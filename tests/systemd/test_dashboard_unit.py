"""The dashboard as a unit: asked for, it answers; it sees what it needs, and writes one folder."""

import json

import pytest

from tests.systemd.conftest import ENVIRONMENT, install, uninstall
from tests.systemd.machine import Machine

pytestmark = pytest.mark.slow

DASHBOARD = "appliance-dashboard.service"

LOOK = """
import json, os, sys
def try_to(call, *arguments):
    try:
        call(*arguments)
    except OSError as exc:
        return __import__("errno").errorcode[exc.errno]
    return "done"
places = {
    "queue": (open, "/var/lib/appliance/queue.sqlite3"),
    "handed over": (os.listdir, "/var/lib/appliance/documents"),
    "runs": (os.listdir, "/var/lib/appliance/runs"),
    "write runs": (os.mkdir, "/var/lib/appliance/runs/mine"),
    "write uploads": (os.mkdir, "/var/lib/appliance/dashboard/uploads-test"),
    "home": (os.listdir, "/home"),
    "trainer": (open, "/run/appliance/trainer.sock"),
}
print(json.dumps({name: try_to(*call) for name, call in places.items()}))
"""


def ask(machine: Machine, path: str, *options: str) -> str:
    """What the dashboard answers, with the status of HTTP on the last line."""
    code = (
        "import sys, urllib.request, urllib.error\n"
        "request = urllib.request.Request(sys.argv[1], headers=dict(h.split(': ', 1) "
        "for h in sys.argv[2:]))\n"
        "try: answer = urllib.request.urlopen(request, timeout=30)\n"
        "except urllib.error.HTTPError as exc: answer = exc\n"
        "print(answer.read().decode(), answer.status, sep='\\n')"
    )
    url = f"http://127.0.0.1:8766{path}"
    return machine.run(f"{ENVIRONMENT}/bin/python", "-c", code, url, *options).stdout.strip()


def test_dashboard_is_installed_where_asked_for_answers_and_is_caged(machine):
    install(machine)
    assert machine.show_one(DASHBOARD, "UnitFileState") == "disabled"

    said = install(machine, "--dashboard")

    assert f"install: start {DASHBOARD}" in said
    shown = machine.show(DASHBOARD, "ActiveState", "UnitFileState")
    assert shown == {"ActiveState": "active", "UnitFileState": "enabled"}
    assert install(machine, "--dashboard")[-1] == (
        "install: nothing to change: this checkout is installed"
    )

    command = f"{ENVIRONMENT}/bin/python -m appliance tokens create --json --name anna --scope run"
    made = machine.run(
        *command.split(), "--state", "/var/lib/appliance/dashboard", user="appliance"
    )
    token = made.stdout.split('"token": "')[1].split('"')[0]
    assert ask(machine, "/health").endswith("200")
    assert ask(machine, "/api/jobs").endswith("401")
    jobs = ask(machine, "/api/jobs", f"Authorization: Bearer {token}")
    assert jobs.endswith("200") and '"jobs":[]' in jobs
    assert "login?link=" not in machine.read_journal("-u", DASHBOARD)

    pid = machine.show_one(DASHBOARD, "MainPID")
    inside = machine.run(
        *("nsenter", "--target", pid, "--mount", "setpriv", "--reuid", "appliance"),
        *("--regid", "appliance", "--init-groups", f"{ENVIRONMENT}/bin/python", "-c", LOOK),
    )
    assert json.loads(inside.stdout) == {
        "queue": "ENOENT",
        "handed over": "ENOENT",
        "runs": "done",
        "write runs": "EROFS",
        "write uploads": "done",
        "home": "EACCES",
        "trainer": "EACCES",
    }

    assert any(DASHBOARD in line for line in uninstall(machine))
    assert machine.show_one(DASHBOARD, "LoadState") == "not-found"
