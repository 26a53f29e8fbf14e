"""Where the units stand in the tree of control groups, and what they may take of the machine."""

import re

import pytest

from tests.systemd.cage import look_inside, open_cages
from tests.systemd.machine import Machine

pytestmark = pytest.mark.slow

WHERE = 'tell(open("/proc/self/cgroup").read())'


@pytest.fixture(scope="module")
def cages(limited_service):
    open_cages(limited_service)
    return limited_service


@pytest.fixture(scope="module")
def plain_cages(shared_service):
    open_cages(shared_service)
    return shared_service


@pytest.mark.parametrize("unit", ["trainer", "parser"])
def test_unit_has_a_group_of_its_own_below_the_slice_for_background_work(plain_cages, unit):
    groups = look_inside(plain_cages, unit, WHERE).splitlines()

    pattern = rf"/appliance\.slice/appliance-{unit}@[^/]+\.service$"
    assert [line for line in groups if re.search(pattern, line)], groups


def test_background_work_has_a_lower_weight_than_system_and_daemon(cages):
    look_inside(cages, "trainer", WHERE)  # the slice is made with its first unit

    background = read_weight(cages, "appliance.slice")
    system = read_weight(cages, "system.slice")
    daemon = read_weight(cages, "system.slice/appliance-daemon.service")

    assert background / system == pytest.approx(20 / 100, rel=0.05)
    assert daemon / system == pytest.approx(200 / 100, rel=0.05)


def read_weight(machine: Machine, group: str) -> int:
    """Shares of the processor, on whichever version of control groups the machine has."""
    old = machine.open(f"/sys/fs/cgroup/cpu/{group}/cpu.shares")
    new = machine.open(f"/sys/fs/cgroup/{group}/cpu.weight")
    return int((old if old.exists() else new).read_text())


def test_parser_that_takes_too_much_memory_is_killed_alone(cages):
    pid = cages.show_one("appliance-daemon.service", "MainPID")
    code = "tell(1); held = bytearray(4 * 2**30)\nfor i in range(0, len(held), 4096): held[i] = 1"

    assert look_inside(cages, "parser", code) == 1
    killed = re.compile(r"appliance-parser@\S+: Main process exited, code=killed, status=9/KILL")
    cages.wait_until(lambda: killed.search(cages.read_journal()) is not None, "the kill")
    assert cages.show_one("appliance-daemon.service", "MainPID") == pid


def test_parser_starts_few_processes(cages):
    code = """
import threading
def start():
    for _ in range(100):
        threading.Thread(target=__import__("time").sleep, args=(5,), daemon=True).start()
try:
    start()
    tell("done")
except RuntimeError as exc:
    tell(str(exc))
os._exit(0)
"""
    assert look_inside(cages, "parser", code) == "can't start new thread"
