"""Jobs under the real units: trainer, daemon and machine die under them, and they go on."""

import json
import signal

import pytest

from tests.systemd.conftest import install, uninstall
from tests.systemd.jobs import (
    ENDLESS,
    connect,
    is_checkpoint,
    list_trainers,
    show,
    submit,
    wait_for,
)
from tests.systemd.machine import Machine

pytestmark = pytest.mark.slow

DAEMON = "appliance-daemon.service"


def kill_unit(machine: Machine, unit: str) -> None:
    machine.run("systemctl", "kill", "--kill-whom=main", "--signal=SIGKILL", unit)


def start_training(machine: Machine, base) -> tuple[int, int]:
    """A job that trains; its id and the step of a checkpoint."""
    job_id = submit(machine, base, *ENDLESS)
    return job_id, wait_for(machine, job_id, is_checkpoint)["step"]


def require_second_attempt(machine: Machine, job_id: int, step: int) -> None:
    """The job trains again, from a checkpoint on, in exactly one trainer."""
    later = wait_for(machine, job_id, lambda row: row["kind"] == "StepDone")
    assert later["step"] > step, "it began again from the start"
    job = show(machine, job_id)
    assert (job["state"], job["attempts"]) == ("running", 2)
    assert len(list_trainers(machine)) == 1, "the old trainer still trains"


def test_job_goes_on_after_kill_of_the_trainer(service, base):
    job_id, step = start_training(service, base)
    pid = service.show_one(DAEMON, "MainPID")
    (trainer,) = list_trainers(service)

    kill_unit(service, trainer)

    service.wait_until(lambda: show(service, job_id)["attempts"] == 2, "the second attempt")
    require_second_attempt(service, job_id, step)
    assert show(service, job_id)["crashes"] in (0, 1), "0 once it has moved on"
    assert service.show_one(DAEMON, "MainPID") == pid


def test_job_goes_on_after_kill_of_the_daemon(service, base):
    job_id, step = start_training(service, base)
    (trainer,) = list_trainers(service)

    kill_unit(service, DAEMON)

    service.wait_until(
        lambda: service.show_one(trainer, "ActiveState") != "active", "the end of the old trainer"
    )
    service.wait_until(lambda: show(service, job_id)["attempts"] == 2, "the second attempt")
    require_second_attempt(service, job_id, step)


def test_job_goes_on_after_a_power_cut(service, base):
    job_id, step = start_training(service, base)

    service.cut_power()
    service.start()

    service.wait_until(lambda: show(service, job_id)["attempts"] == 2, "the second attempt")
    require_second_attempt(service, job_id, step)


def test_stop_drains_with_a_checkpoint_and_start_goes_on(service, base):
    job_id, _ = start_training(service, base)
    run = show(service, job_id)["run"]

    service.run("systemctl", "stop", "appliance-daemon.socket", DAEMON)

    assert service.show_one(DAEMON, "Result") == "success"
    assert list_trainers(service) == []
    step = require_checkpoint_at_the_end(service, run)
    service.run("systemctl", "start", "appliance-daemon.socket", DAEMON)
    service.wait_until(lambda: show(service, job_id)["attempts"] == 2, "the second attempt")
    require_second_attempt(service, job_id, step)
    job = show(service, job_id)
    assert (job["crashes"], job["interruptions"]) == (0, 0), "a drained job is to blame for nothing"


def require_checkpoint_at_the_end(machine: Machine, run: str) -> int:
    """The last step that was done is the last that was saved; its number."""
    text = machine.open(f"{run}/events.jsonl").read_text()
    rows = [json.loads(line) for line in text.splitlines()]
    done = [row["step"] for row in rows if row["kind"] == "StepDone"]
    saved = [row["step"] for row in rows if is_checkpoint(row)]
    assert saved[-1] == done[-1]
    return done[-1]


def test_trainer_that_does_not_listen_ends_with_the_daemon(service, base):
    job_id, step = start_training(service, base)
    (trainer,) = list_trainers(service)
    service.run("systemctl", "kill", "--kill-whom=main", f"--signal={signal.SIGSTOP.name}", trainer)

    kill_unit(service, DAEMON)

    service.wait_until(lambda: show(service, job_id)["attempts"] == 2, "the second attempt")
    require_second_attempt(service, job_id, step)


def test_upgrade_with_a_job_at_work_keeps_the_job(service, base):
    job_id, step = start_training(service, base)
    service.run("sed", "-i", "s/^TasksMax=.*/TasksMax=255/", f"/etc/systemd/system/{DAEMON}")

    said = install(service)

    assert "install: stop the daemon; running jobs save a checkpoint and go on afterwards" in said
    service.wait_until(lambda: show(service, job_id)["attempts"] == 2, "the second attempt")
    require_second_attempt(service, job_id, step)


def test_job_waits_for_the_disk_that_the_settings_want_and_starts_after_a_reload(service, base):
    service.run("tee", "/etc/appliance/daemon.yaml", text="min_free_disk_gib: 1000000.0\n")
    service.run("systemctl", "reload", DAEMON)
    job_id = submit(service, base, *ENDLESS)
    service.wait_until(lambda: show(service, job_id)["state"] == "waiting", "the wait")
    assert "disk" in show(service, job_id)["waits_for"]

    service.run("tee", "/etc/appliance/daemon.yaml", text="{}\n")
    service.run("systemctl", "reload", DAEMON)

    service.wait_until(lambda: show(service, job_id)["state"] == "running", "the start")


def test_uninstall_with_a_job_at_work_keeps_its_checkpoint(service, base):
    job_id, _ = start_training(service, base)
    run = show(service, job_id)["run"]

    uninstall(service)

    require_checkpoint_at_the_end(service, run)
    install(service)
    service.wait_until(lambda: show(service, job_id)["attempts"] == 2, "the second attempt")
    assert connect(service).ask("GET", "/v1/status")["jobs"]["running"] == 1
