"""`appliance service status`: what it makes of what it sees, and the exit code it gives."""

import json
import os
import socket
import subprocess
import sys
import threading

import pytest

from appliance.daemon.paths import SYSTEM_SOCKET
from appliance.daemon.status import (
    DAEMON,
    PARSER,
    TRAINER,
    Door,
    Person,
    Standing,
    Unit,
    knock,
    parse_units,
    read_units,
)
from appliance.daemon.troubles import find_troubles, is_healthy
from tests.conftest import ROOT
from tests.systemd.conftest import ENVIRONMENT

ANSWER = {
    "version": "0.1.0",
    "pid": 7,
    "started_at": 0.0,
    "trouble": "",
    "troubles": {},
    "num_inbox_faults": 0,
    "trainers": "units",
}
PERSON = Person(name="ada", is_root=False, is_user=True, is_admin=False, will_be_user=True)
WELL = Unit(name=DAEMON, load="loaded", active="active", sub="running", enabled=True, pid=7)


def stand(*, daemon=WELL, door=None, person=PERSON, others=True) -> Standing:
    """A standing like that of a service that is well, but for what is given."""
    listening = [
        Unit(name=name, load="loaded", active="active", sub="listening", enabled=True)
        for name in (TRAINER, PARSER)
    ]
    door = door or Door(path=SYSTEM_SOCKET, answer=ANSWER)
    units = (daemon, *(listening if others else ()))
    return Standing(units=units, doors=(door,), person=person)


def change(unit: Unit, **values) -> Unit:
    names = {name: getattr(unit, name) for name in unit.__dataclass_fields__}
    return Unit(**(names | values))


def test_service_that_is_well_has_no_trouble():
    assert find_troubles(stand()) == ()


@pytest.mark.parametrize(
    ("standing", "what", "why", "fix"),
    [
        (
            stand(
                daemon=change(WELL, active="failed", result="exit-code", exit_status=3),
                door=Door(path=SYSTEM_SOCKET, silence="missing"),
            ),
            "the daemon has failed",
            "it ended with exit code 3",
            "systemctl reset-failed appliance-daemon.service",
        ),
        (
            stand(daemon=change(WELL, active="failed", result="watchdog", watchdog="30s")),
            "the daemon has failed",
            "no sign of life for 30s",
            "journalctl -u appliance-daemon.service",
        ),
        (
            stand(daemon=change(WELL, active="failed", result="start-limit-hit")),
            "the daemon has failed",
            "systemd gave up",
            "systemctl start",
        ),
        (
            stand(daemon=change(WELL, active="inactive")),
            "the daemon does not run",
            "it was stopped",
            "systemctl start appliance-daemon.socket",
        ),
        (
            stand(others=False),
            "appliance-trainer.socket does not listen",
            "no job can start",
            "scripts/install",
        ),
        (
            stand(door=Door(path=SYSTEM_SOCKET, silence="hangs")),
            "the daemon does not answer",
            "took the call",
            "systemctl restart appliance-daemon.service",
        ),
        (
            stand(door=Door(path=SYSTEM_SOCKET, silence="foreign")),
            "something else answers",
            "not of this program",
            "APPLIANCE_SOCKET",
        ),
        (
            stand(door=Door(path=SYSTEM_SOCKET, silence="refused")),
            "the control socket is not there",
            "/run/appliance/control.sock",
            "systemctl start appliance-daemon.socket",
        ),
        (
            stand(
                daemon=Unit(name=DAEMON), door=Door(path=SYSTEM_SOCKET, silence="missing")
            ),
            "no service runs here",
            "nobody listens on /run/appliance/control.sock",
            "scripts/install",
        ),
        (
            stand(
                door=Door(path=SYSTEM_SOCKET, silence="closed"),
                person=Person(
                    name="eve", is_root=False, is_user=False, is_admin=False, will_be_user=False
                ),
            ),
            "you may not use the service",
            "eve is not a member of the group appliance",
            "usermod --append --groups appliance eve",
        ),
        (
            stand(
                door=Door(path=SYSTEM_SOCKET, silence="closed"),
                person=Person(
                    name="eve", is_root=False, is_user=False, is_admin=False, will_be_user=True
                ),
            ),
            "you may not use the service yet",
            "eve joined the group appliance after this log-in",
            "newgrp appliance",
        ),
        (
            stand(door=Door(path=SYSTEM_SOCKET, answer=ANSWER | {"trouble": "the disk is full"})),
            "the queue is in trouble",
            "the disk is full",
            "free disk space",
        ),
    ],
)  # fmt: skip
def test_trouble_is_told_with_its_cause_and_a_way_out(standing, what, why, fix):
    troubles = find_troubles(standing)

    assert what in troubles[0].what
    assert why in troubles[0].why
    assert fix in troubles[0].fix
    assert not is_healthy(troubles)


@pytest.mark.parametrize(
    ("standing", "what"),
    [
        (stand(daemon=change(WELL, restarts=2)), "the daemon was started again 2 times"),
        (stand(daemon=change(WELL, enabled=False)), "the service does not start at boot"),
        (
            stand(door=Door(path=SYSTEM_SOCKET, answer=ANSWER | {"troubles": {"4": "no life"}})),
            "job 4 does not move",
        ),
        (
            stand(door=Door(path=SYSTEM_SOCKET, answer=ANSWER | {"num_inbox_faults": 1})),
            "1 folder in the inbox cannot be used",
        ),
        (
            stand(door=Door(path=SYSTEM_SOCKET, answer=ANSWER | {"version": "9.9"})),
            "the daemon is version 9.9, this command 0.1.0",
        ),
        (
            stand(door=Door(path=SYSTEM_SOCKET, answer=ANSWER | {"trainers": "processes"})),
            "trainers run as plain processes",
        ),
    ],
)
def test_note_does_not_make_the_service_unhealthy(standing, what):
    troubles = find_troubles(standing)

    assert [what in trouble.what for trouble in troubles] == [True]
    assert is_healthy(troubles)
    assert troubles[0].why and troubles[0].fix


def test_daemon_by_hand_without_systemd_is_well():
    standing = Standing(
        units=None,
        doors=(Door(path=SYSTEM_SOCKET.with_name("own.sock"), answer=ANSWER | {"trainers": "x"}),),
        person=PERSON,
    )

    assert find_troubles(standing) == ()


def test_units_are_read_from_what_systemctl_prints():
    text = (
        "Id=appliance-daemon.service\nLoadState=loaded\nActiveState=failed\nSubState=failed\n"
        "UnitFileState=enabled\nResult=exit-code\nMainPID=0\nNRestarts=5\nExecMainStatus=11\n"
        "StatusText=1 queued, job 3: tune 4/9\nWatchdogUSec=30s\n\n"
        "Id=appliance-trainer.socket\nLoadState=not-found\nActiveState=inactive\nSubState=dead\n"
    )

    daemon, trainer = parse_units(text)

    assert daemon == Unit(
        name="appliance-daemon.service", load="loaded", active="failed", sub="failed",
        enabled=True, result="exit-code", restarts=5, exit_status=11,
        status="1 queued, job 3: tune 4/9", watchdog="30s",
    )  # fmt: skip
    assert (trainer.load, trainer.enabled, trainer.restarts) == ("not-found", False, 0)


def test_units_are_unknown_where_no_systemd_runs(monkeypatch, tmp_path):
    monkeypatch.setattr("appliance.daemon.status.MANAGER_FOLDER", tmp_path / "none")

    assert read_units((DAEMON,)) is None


def test_knock_tells_a_missing_socket_from_a_dead_and_a_foreign_one(tmp_path):
    dead, foreign = tmp_path / "dead.sock", tmp_path / "foreign.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(dead))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(foreign))
        server.listen()
        threading.Thread(target=answer_once, args=(server,)).start()

        assert knock(tmp_path / "none.sock").silence == "missing"
        assert knock(dead).silence == "refused"
        assert knock(foreign).silence == "foreign"


def answer_once(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        connection.recv(4096)
        connection.sendall(b"SSH-2.0-nothing of ours\r\n")


def test_knock_gives_up_on_a_daemon_that_hangs(tmp_path, monkeypatch):
    monkeypatch.setattr("appliance.daemon.status.ANSWER_SECONDS", 0.05)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "hangs.sock"))
        server.listen()

        assert knock(tmp_path / "hangs.sock").silence == "hangs"


def test_verb_explains_that_there_is_no_service_and_fails(tmp_path):
    environment = os.environ | {"APPLIANCE_SOCKET": str(tmp_path / "none.sock")}
    done = subprocess.run(
        [sys.executable, "-m", "appliance", "service", "status"],
        capture_output=True, text=True, cwd=ROOT, timeout=60, env=environment,
    )  # fmt: skip

    assert done.returncode == 13
    assert "Service    not well · no daemon answers" in done.stdout
    assert "Trouble    no service runs here" in done.stdout
    assert "fix: sudo scripts/install" in done.stdout


# ---------------------------------------------------------------- on a machine


def run_status(machine, *arguments, user=""):
    program = (f"{ENVIRONMENT}/bin/python", "-m", "appliance", "service", "status")
    return machine.run(*program, *arguments, user=user, check=False)


def test_verb_tells_that_the_service_is_well(shared_service):
    pid = shared_service.show_one(DAEMON, "MainPID")

    done = run_status(shared_service)

    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"Service    well · version 0.1.0 · pid {pid} · up ")
    assert "Socket     /run/appliance/control.sock · you are root: all jobs" in lines
    assert "Watchdog   restarts a daemon that hangs for 30s" in lines
    assert not [line for line in lines if line.startswith(("Trouble", "Note"))]


def test_verb_prints_one_object_with_everything(shared_service):
    done = run_status(shared_service, "--json")

    body = json.loads(done.stdout)
    assert body["is_healthy"] is True
    assert body["troubles"] == []
    assert body["socket"] == "/run/appliance/control.sock"
    assert body["daemon"]["state_folder"] == "/var/lib/appliance"
    assert {unit["active"] for unit in body["units"]} == {"active"}


def test_verb_tells_outsiders_how_to_become_users(shared_service):
    machine = shared_service
    machine.run("useradd", "eve")

    outside = run_status(machine, user="eve")
    machine.run("usermod", "--append", "--groups", "appliance", "eve")
    inside = run_status(machine, user="eve")

    assert outside.returncode == 13
    assert "eve is not a member of the group appliance" in outside.stdout
    assert inside.returncode == 0, inside.stdout
    assert "eve may use it: own jobs" in inside.stdout


def test_verb_explains_a_service_that_was_stopped(service):
    service.run("systemctl", "stop", "appliance-daemon.socket", DAEMON)

    done = run_status(service)

    assert done.returncode == 13
    assert "Trouble    the daemon does not run" in done.stdout
    assert "fix: systemctl start appliance-daemon.socket appliance-daemon.service" in done.stdout


def test_verb_counts_restarts(service):
    pid = service.show_one(DAEMON, "MainPID")
    service.run("kill", "-9", pid)
    service.wait_until(lambda: service.show_one(DAEMON, "MainPID") not in (pid, "0"), "the restart")

    done = run_status(service)

    assert done.returncode == 0
    assert "Note       the daemon was started again 1 time" in done.stdout
