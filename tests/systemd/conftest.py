"""Machines for tests: an empty one, and one on which scripts/install has been run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import small_base as base
from tests.systemd.machine import CannotBoot, Machine, boot
from tests.systemd.mounts import CHECKOUT, PYTHON

__all__ = ["base"]

ENVIRONMENT = str(Path(PYTHON).parent.parent)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A machine that has just booted for the first time."""
    yield from _boot_or_skip(tmp_path / "machine")


@pytest.fixture(scope="module")
def shared_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """The same for all tests of a file: for those that change nothing."""
    yield from _boot_or_skip(tmp_path_factory.mktemp("bare") / "machine")


@pytest.fixture
def service(machine: Machine) -> Machine:
    """A machine on which the service has been installed and runs."""
    install(machine)
    return machine


@pytest.fixture(scope="module")
def shared_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """The same for all tests of a file: for those that only look."""
    for machine in _boot_or_skip(tmp_path_factory.mktemp("shared") / "machine"):
        install(machine)
        yield machine


@pytest.fixture(scope="module")
def limited_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """The same, where limits on memory, processor and tasks are in force."""
    for machine in _boot_or_skip(tmp_path_factory.mktemp("limited") / "machine", limits=True):
        install(machine)
        yield machine


def _boot_or_skip(folder: Path, *, limits: bool = False) -> Iterator[Machine]:
    with contextlib.ExitStack() as stack:
        try:
            machine = stack.enter_context(boot(folder, limits=limits))
        except CannotBoot as exc:
            pytest.skip(f"no machine can be booted here: {exc}")
        yield machine


def install(machine: Machine, *arguments: str, check: bool = True) -> list[str]:
    """Run scripts/install with the tests' environment; what it says, a line each."""
    script = f"{CHECKOUT}/scripts/install"
    done = machine.run(script, "--environment", ENVIRONMENT, *arguments, check=check)
    return (done.stdout + done.stderr).splitlines()


def uninstall(machine: Machine, *arguments: str) -> list[str]:
    """Run scripts/uninstall; what it says, a line each."""
    return machine.run(f"{CHECKOUT}/scripts/uninstall", *arguments).stdout.splitlines()


def write_dropin(machine: Machine, unit: str, text: str) -> None:
    """Change a unit as an administrator would."""
    folder = f"/etc/systemd/system/{unit}.d"
    machine.run("mkdir", "-p", folder)
    machine.run("tee", f"{folder}/test.conf", text=text)
    machine.run("systemctl", "daemon-reload")
