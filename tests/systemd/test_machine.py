"""The machine itself: real, apart from its host, and gone without a trace."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.systemd.groups import PREFIX, remove_groups
from tests.systemd.machine import boot, find_obstacle

pytestmark = pytest.mark.skipif(bool(find_obstacle()), reason=find_obstacle() or "none")


def list_groups(pid: int) -> list[Path]:
    return list(Path("/sys/fs/cgroup").rglob(f"{PREFIX}{pid}-*"))


def read_mounts() -> set[str]:
    return {line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()}


def test_machine_is_a_booted_systemd_that_cannot_change_its_host(machine, tmp_path):
    state = machine.run("systemctl", "is-system-running").stdout.strip()
    probe = machine.run("touch", "/usr/share/probe", ROOT / "probe", check=False)

    assert state == "running"
    assert probe.returncode != 0
    machine.run("touch", "/etc/probe", "/var/probe", "/opt/probe", "/usr/local/probe", "/tmp/probe")
    for folder in ("/etc", "/var", "/opt", "/usr/local", "/tmp", "/usr/share", str(ROOT)):
        assert not Path(folder, "probe").exists()


def test_machine_keeps_its_files_over_a_power_cut_and_loses_its_memory(machine):
    machine.run("touch", "/etc/probe", "/var/probe", "/run/probe", "/tmp/probe")

    machine.cut_power()
    machine.start()

    found = machine.run("bash", "-c", "ls /{etc,var,run,tmp}/probe 2>/dev/null || true").stdout
    assert found.split() == ["/etc/probe", "/var/probe"]


def test_machine_leaves_nothing_when_its_block_fails(machine_folder):
    mounts, groups = read_mounts(), list_groups(os.getpid())

    with pytest.raises(ZeroDivisionError), boot(machine_folder) as machine:
        pid = machine.pid
        raise ZeroDivisionError

    assert not Path(f"/proc/{pid}").exists()
    assert list_groups(os.getpid()) == groups
    assert read_mounts() == mounts


def test_two_machines_stand_side_by_side(machine, tmp_path):
    with boot(tmp_path / "second") as second:
        second.run("touch", "/etc/probe")

    assert machine.run("systemctl", "is-system-running").stdout == "running\n"
    assert machine.run("test", "-e", "/etc/probe", check=False).returncode == 1


@pytest.fixture
def machine_folder(tmp_path, machine):
    """A second folder, on a host that can boot; the machine of the fixture is off."""
    machine.cut_power()
    return tmp_path / "second"


def test_machine_dies_with_the_process_that_booted_it(machine_folder):
    program = f"""
import sys
from pathlib import Path
from tests.systemd.groups import PREFIX, remove_groups
from tests.systemd.machine import boot
with boot(Path({str(machine_folder)!r})) as machine:
    print(machine.pid, flush=True)
    sys.stdin.read()
"""
    booted = subprocess.Popen(
        [sys.executable, "-c", f"import tests.conftest{program}"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    with booted:
        assert booted.stdout is not None
        descriptor = os.pidfd_open(int(booted.stdout.readline()))
        booted.send_signal(signal.SIGKILL)
    try:
        assert select.select([descriptor], [], [], 30)[0], "systemd outlived its test"
    finally:
        os.close(descriptor)
        remove_groups(list_groups(booted.pid))
