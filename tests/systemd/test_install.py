"""scripts/install and scripts/uninstall, on a machine of their own."""

import re
import shutil
import subprocess

import pytest

from tests.conftest import ROOT
from tests.systemd.conftest import ENVIRONMENT, install, uninstall
from tests.systemd.mounts import CHECKOUT

pytestmark = pytest.mark.slow

UNITS = (
    "appliance-daemon.service",
    "appliance-daemon.socket",
    "appliance-trainer.socket",
    "appliance-parser.socket",
)
SUFFIXES = {".service", ".socket", ".slice"}

FOLDERS = {
    "/etc/appliance": "root:root 755",
    "/var/lib/appliance": "appliance:appliance 710",
    "/var/lib/appliance/bases": "appliance:appliance 700",
    "/var/lib/appliance/inbox": "appliance:appliance 1730",
}


def read_tree(machine) -> str:
    """Every file of the folders that an installation touches: mode, owner, size, time, name."""
    places = "/etc /opt/appliance /usr/local /var/lib/appliance"
    skip = "-not -path '*/appliance/queue.sqlite3*' -not -path '/etc/.pwd.lock'"
    command = f"find {places} {skip} -printf '%M %u:%g %s %T@ %p %l\\n' | sort -k5"
    return machine.run("bash", "-c", command).stdout


def test_install_starts_the_service_with_its_users_and_folders(machine):
    install(machine)

    states = {unit: machine.show_one(unit, "ActiveState") for unit in UNITS}
    enabled = {unit: machine.show_one(unit, "UnitFileState") for unit in UNITS}
    folders = {path: machine.run("stat", "-c", "%U:%G %a", path).stdout.strip() for path in FOLDERS}
    assert states == dict.fromkeys(UNITS, "active")
    assert enabled == dict.fromkeys(UNITS, "enabled")
    assert folders == FOLDERS
    assert machine.run("getent", "group", "appliance-admin").returncode == 0


def test_install_leaves_units_that_systemd_finds_clean(service):
    names = [path.name for path in (ROOT / "systemd").iterdir() if path.suffix in SUFFIXES]
    assert len(names) == 9

    done = service.run("systemd-analyze", "verify", "--man=no", *names)

    assert done.stdout + done.stderr == ""


def test_install_changes_nothing_the_second_time(service):
    before = read_tree(service)
    pid = service.show_one("appliance-daemon.service", "MainPID")

    said = install(service)

    assert said == ["install: nothing to change: this checkout is installed"]
    assert read_tree(service) == before
    assert service.show_one("appliance-daemon.service", "MainPID") == pid


def test_install_changes_nothing_in_a_dry_run(machine):
    before = read_tree_of_etc(machine)

    said = install(machine, "--dry-run")

    assert said[-1] == "install: this was a dry run: nothing was changed"
    assert "install: would start appliance-daemon.service" in said
    assert read_tree_of_etc(machine) == before
    assert machine.show_one("appliance-daemon.service", "LoadState") == "not-found"


def read_tree_of_etc(machine) -> str:
    return machine.run("find", "/etc", "/opt/appliance", "-printf", "%p %T@\\n", check=False).stdout


def test_install_keeps_settings_and_restarts_when_a_unit_differs(service):
    service.run("tee", "/etc/appliance/daemon.yaml", text="jobs_at_once: 2\n")
    service.run("sed", "-i", "s/WatchdogSec=30s/WatchdogSec=31s/", UNIT_FILE)
    service.run("systemctl", "daemon-reload")
    pid = service.show_one("appliance-daemon.service", "MainPID")

    said = install(service)

    assert f"install: write {UNIT_FILE}" in said
    assert service.run("cat", "/etc/appliance/daemon.yaml").stdout == "jobs_at_once: 2\n"
    assert service.show_one("appliance-daemon.service", "WatchdogUSec") == "30s"
    assert service.show_one("appliance-daemon.service", "MainPID") != pid
    assert service.show_one("appliance-daemon.service", "ActiveState") == "active"


UNIT_FILE = "/etc/systemd/system/appliance-daemon.service"


def test_install_finishes_what_a_broken_off_installation_left(service):
    pid = service.show_one("appliance-daemon.service", "MainPID")
    service.run("sed", "-i", "s/WatchdogSec=30s/WatchdogSec=31s/", UNIT_FILE)
    service.run("systemctl", "daemon-reload")
    service.run("cp", f"{CHECKOUT}/systemd/appliance-daemon.service", UNIT_FILE)
    service.run("rm", "/opt/appliance/started")

    said = install(service)

    assert "install: tell systemd of the new units" in said
    assert service.show_one("appliance-daemon.service", "WatchdogUSec") == "30s"
    assert service.show_one("appliance-daemon.service", "MainPID") != pid
    assert install(service) == ["install: nothing to change: this checkout is installed"]


def test_install_with_no_start_starts_nothing(machine):
    install(machine, "--no-start")

    assert machine.show_one("appliance-daemon.service", "UnitFileState") == "enabled"
    assert machine.show_one("appliance-daemon.service", "ActiveState") == "inactive"
    assert machine.show_one("appliance-daemon.socket", "ActiveState") == "inactive"


def test_install_puts_the_program_where_the_prefix_says(machine):
    install(machine, "--prefix", "/opt/other")

    command = machine.run("cat", UNIT_FILE).stdout
    assert "ExecStart=/opt/other/venv/bin/python -m appliance daemon" in command
    assert machine.show_one("appliance-daemon.service", "ActiveState") == "active"
    assert machine.run("test", "-e", "/opt/appliance", check=False).returncode != 0


def test_uninstall_keeps_data_and_settings(service):
    service.run("touch", "/var/lib/appliance/runs/kept", "/etc/appliance/kept")

    said = uninstall(service)

    assert "uninstall: kept: /var/lib/appliance /etc/appliance" in "\n".join(said)
    for path in ("/var/lib/appliance/runs/kept", "/etc/appliance/kept"):
        assert service.run("test", "-e", path, check=False).returncode == 0
    for unit in UNITS:
        assert service.show_one(unit, "LoadState") == "not-found"
    assert service.run("ls", "/opt/appliance", check=False).returncode != 0
    assert service.run("test", "-d", ENVIRONMENT, check=False).returncode == 0, "not ours"
    assert service.run("pgrep", "-u", "appliance", check=False).stdout == ""


def test_uninstall_with_purge_leaves_nothing(service):
    uninstall(service, "--purge")

    places = ("/etc", "/opt", "/var/lib", "/var/cache", "/run", "/usr/local")
    left = service.run("find", *places, "-path", CHECKOUT, "-prune", "-o", "-name", "*appliance*")
    assert left.stdout.splitlines() == [CHECKOUT]
    for name in ("passwd", "group"):
        assert "appliance" not in service.run("getent", name).stdout


@pytest.mark.parametrize("arguments", [(), ("--purge",)])
def test_uninstall_removes_nothing_the_second_time(service, arguments):
    uninstall(service, *arguments)

    said = uninstall(service, *arguments)

    assert said[0] == "uninstall: nothing to remove: the service is not installed"


def test_uninstall_changes_nothing_in_a_dry_run(service):
    before = read_tree(service)

    said = uninstall(service, "--purge", "--dry-run")

    assert said[-1] == "uninstall: this was a dry run: nothing was changed"
    assert "uninstall: would remove user appliance" in said
    assert read_tree(service) == before
    assert service.show_one("appliance-daemon.service", "ActiveState") == "active"


def test_service_comes_back_with_its_data_after_uninstall_and_install(service):
    service.run("touch", "/var/lib/appliance/runs/kept")
    uninstall(service)

    install(service)

    assert service.show_one("appliance-daemon.service", "ActiveState") == "active"
    assert service.run("stat", "-c", "%U", "/var/lib/appliance/runs/kept").stdout == "root\n"


@pytest.mark.parametrize(
    ("arguments", "what", "fix"),
    [
        (("--wheels",), "--wheels needs a value", "--wheels FOLDER"),
        (("--colour",), "unknown option: --colour", "scripts/install --help"),
        (("--prefix", "opt"), "the prefix must be an absolute path", "--prefix /opt/appliance"),
        (("--prefix", "/home/x"), "the program cannot live in /home/x", "--prefix /opt/appliance"),
        (("--prefix", "/opt/a b"), "the prefix has characters", "use letters"),
        (("--environment", "/opt/a b"), "the environment has characters", "use letters"),
        (("--wheels", "/nowhere"), "no folder of wheels at /nowhere", "that pip wheel filled"),
        (("--environment", "/nowhere"), "no virtual environment at /nowhere", "python3 -m venv"),
    ],
)
def test_install_refuses_what_cannot_be_and_says_why(shared_machine, arguments, what, fix):
    done = shared_machine.run(f"{CHECKOUT}/scripts/install", *arguments, check=False)

    error, why, way_out = done.stderr.splitlines()
    assert done.returncode == 1
    assert done.stdout == ""
    assert error.startswith(f"error: {what}")
    assert why.startswith("why:   ") and len(why) > 12
    assert fix in way_out


def test_install_refuses_an_environment_that_the_units_hide(machine):
    machine.run("mkdir", "/tmp/e")
    machine.run("cp", "-a", f"{ENVIRONMENT}/bin", f"{ENVIRONMENT}/pyvenv.cfg", "/tmp/e")
    machine.run("ln", "-s", f"{ENVIRONMENT}/lib", "/tmp/e/lib")

    done = machine.run(
        f"{CHECKOUT}/scripts/install", "--environment", "/tmp/e", "--dry-run", check=False
    )

    assert done.returncode == 1
    assert "error: the service cannot see /tmp/e" in done.stderr


def test_install_refuses_an_environment_without_the_package(machine):
    machine.run("mkdir", "/opt/empty")
    machine.run("cp", "-a", f"{ENVIRONMENT}/bin", f"{ENVIRONMENT}/pyvenv.cfg", "/opt/empty")

    done = machine.run(
        "bash", "-c", f"cd {CHECKOUT} && scripts/install --environment /opt/empty", check=False
    )

    assert done.returncode == 1
    assert "error: the package is not in /opt/empty" in done.stderr
    assert "pip install --constraint constraints.txt ." in done.stderr


def test_install_shows_the_parser_a_program_that_lies_elsewhere(service):
    shown = service.show_one("appliance-parser@1.service", "BindReadOnlyPaths")

    assert {CHECKOUT, ENVIRONMENT} <= {path.split(":")[0] for path in shown.split()}


def test_install_needs_root(shared_machine):
    done = shared_machine.run(f"{CHECKOUT}/scripts/install", user="nobody", check=False)

    assert done.returncode == 1
    assert "error: root is needed" in done.stderr
    assert "--dry-run" in done.stderr


def test_install_without_systemd_names_the_daemon_by_hand(tmp_path):
    if shutil.which("bash") is None:
        pytest.skip("needs bash")
    script = 'source scripts/environment; source scripts/service; check_systemd "$1"'
    done = subprocess.run(
        ["bash", "-euc", script, "install", str(tmp_path / "none")],
        capture_output=True, text=True, cwd=ROOT, timeout=60,
    )  # fmt: skip

    assert done.returncode == 1
    assert "fix:   run the daemon by hand instead: appliance daemon" in done.stderr


@pytest.mark.parametrize("script", ["install", "uninstall"])
def test_help_names_every_option(script):
    text = (ROOT / "scripts" / script).read_text(encoding="utf-8")
    options = re.findall(r"^ +(--[a-z-]+)\)", text, re.MULTILINE)

    done = subprocess.run(
        ["bash", f"scripts/{script}", "--help"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    assert options
    assert all(option in done.stdout for option in options)
