"""The daemon as a unit: ready, killed, hung, reloaded, crashing, alone; without any job."""

import json
import signal
import subprocess

import pytest

from tests.systemd.conftest import ENVIRONMENT, write_dropin
from tests.systemd.jobs import connect
from tests.systemd.machine import Machine

pytestmark = pytest.mark.slow

DAEMON = "appliance-daemon.service"


def read_pid(machine: Machine) -> int:
    return int(machine.show_one(DAEMON, "MainPID"))


def kill_daemon(machine: Machine, number: signal.Signals) -> int:
    """Send a signal to the daemon's main process; its pid."""
    pid = read_pid(machine)
    machine.run("kill", f"-{number.value}", pid)
    return pid


def wait_for_restart(machine: Machine, old_pid: int) -> None:
    """Until another process is the daemon, and has said that it is ready."""

    def is_ready_again() -> bool:
        shown = machine.show(DAEMON, "MainPID", "ActiveState")
        return shown["ActiveState"] == "active" and int(shown["MainPID"]) not in (0, old_pid)

    machine.wait_until(is_ready_again, "the restart of the daemon")


def test_daemon_is_ready_and_says_what_it_does(service):
    shown = service.show(DAEMON, "ActiveState", "StatusText", "MainPID", "NRestarts")
    answer = connect(service).ask("GET", "/v1/status")

    assert shown["ActiveState"] == "active"
    assert shown["StatusText"] == "0 queued"
    assert shown["NRestarts"] == "0"
    assert answer["pid"] == int(shown["MainPID"])
    assert answer["trainers"] == "units"


def test_daemon_comes_back_after_kill(service):
    pid = kill_daemon(service, signal.SIGKILL)

    wait_for_restart(service, pid)

    assert service.show_one(DAEMON, "NRestarts") == "1"


def test_client_is_served_and_not_refused_while_the_daemon_starts_again(service):
    for _ in range(3):
        pid = kill_daemon(service, signal.SIGKILL)

        answer = connect(service).ask("GET", "/v1/status")

        assert answer["pid"] != pid
    assert service.show_one("appliance-daemon.socket", "ActiveState") == "active"


def test_watchdog_ends_a_daemon_that_does_not_move(machine_with_short_watchdog):
    machine = machine_with_short_watchdog
    pid = kill_daemon(machine, signal.SIGSTOP)

    wait_for_restart(machine, pid)

    assert "Watchdog timeout" in machine.read_journal("-u", DAEMON)
    assert machine.show_one(DAEMON, "NRestarts") == "1"


@pytest.fixture
def machine_with_short_watchdog(service):
    write_dropin(service, DAEMON, "[Service]\nWatchdogSec=2s\n")
    service.run("systemctl", "restart", DAEMON)
    return service


def test_watchdog_leaves_a_daemon_alone_that_moves(machine_with_short_watchdog):
    machine = machine_with_short_watchdog
    pid = read_pid(machine)

    machine.wait_until(lambda: count_seconds_active(machine) > 6, "six quiet seconds")

    assert read_pid(machine) == pid
    assert machine.show_one(DAEMON, "NRestarts") == "0"


def count_seconds_active(machine: Machine) -> float:
    """How long the daemon has been ready: three watchdog times are long enough."""
    since = int(machine.show_one(DAEMON, "ActiveEnterTimestampMonotonic")) / 1e6
    return float(machine.open("/proc/uptime").read_text().split()[0]) - since


def test_daemon_that_keeps_crashing_is_stopped_and_explained(service):
    write_dropin(service, DAEMON, "[Service]\nExecStartPre=/bin/false\n")
    kill_daemon(service, signal.SIGKILL)

    service.wait_until(
        lambda: service.show_one(DAEMON, "ActiveState") == "failed", "the end of the crash loop"
    )
    status = run_status(service)

    assert "Start request repeated too quickly" in service.read_journal("-u", DAEMON)
    assert int(service.show_one(DAEMON, "NRestarts")) <= 6, "StartLimitBurst= and the last try"
    assert status["is_healthy"] is False
    assert status["troubles"][0]["what"] == "the daemon has failed"
    assert "systemctl reset-failed appliance-daemon.service" in status["troubles"][0]["fix"]


def run_status(machine: Machine) -> dict:
    program = f"{ENVIRONMENT}/bin/python"
    done = machine.run(program, "-m", "appliance", "service", "status", "--json", check=False)
    return json.loads(done.stdout)


def test_reload_reads_the_settings_again(service):
    pid = read_pid(service)
    service.run("tee", "/etc/appliance/daemon.yaml", text="admins_group: root\n")

    service.run("systemctl", "reload", DAEMON)

    assert "settings: read again" in service.read_journal("-u", DAEMON)
    assert service.show(DAEMON, "ActiveState", "MainPID") == {
        "ActiveState": "active",
        "MainPID": str(pid),
    }


def test_reload_with_wrong_settings_keeps_the_old_ones_and_goes_on(service):
    service.run("tee", "/etc/appliance/daemon.yaml", text="jobs_at_once: many\n")

    service.run("systemctl", "reload", DAEMON)

    assert "settings: not changed" in service.read_journal("-u", DAEMON)
    assert service.show_one(DAEMON, "ActiveState") == "active"
    assert connect(service).ask("GET", "/v1/status")["trouble"] == ""


def test_second_daemon_on_the_same_state_is_refused_with_the_pid_of_the_first(service):
    pid = read_pid(service)

    done = run_second_daemon(service)

    assert done.returncode == 11
    assert "error: another daemon works on /var/lib/appliance" in done.stderr
    assert f"its pid is {pid}" in done.stderr
    assert read_pid(service) == pid


def run_second_daemon(machine: Machine) -> subprocess.CompletedProcess[str]:
    arguments = ("daemon", "--state", "/var/lib/appliance", "--socket", "/tmp/second.sock")
    program = (f"{ENVIRONMENT}/bin/python", "-m", "appliance", *arguments)
    return machine.run(*program, user="appliance", check=False)


def test_stop_ends_the_daemon_in_good_order(service):
    service.run("systemctl", "stop", "appliance-daemon.socket", DAEMON)

    shown = service.show(DAEMON, "ActiveState", "Result", "ExecMainStatus")
    assert shown == {"ActiveState": "inactive", "Result": "success", "ExecMainStatus": "0"}


def test_service_starts_at_boot(service):
    service.cut_power()
    service.start()

    assert service.show_one(DAEMON, "ActiveState") == "active"
    assert connect(service).ask("GET", "/v1/status")["pid"] == read_pid(service)
