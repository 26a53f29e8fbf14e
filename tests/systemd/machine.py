"""A machine for tests: the real systemd of this host, booted in about a second, in namespaces.

Nothing of the host changes. The root file system is read-only inside; /etc, /var, /opt and
/usr/local are overlays whose upper layers lie in the machine's folder, so they outlive a power cut
and are there at the next boot. Of the host's units only a few exist (`mounts.py`). The Python that
runs the tests, its packages and this checkout appear under /opt, because the units hide /root,
/home and /tmp.

Needs root and Linux with overlayfs and cgroup2; `boot` raises CannotBoot with the reason otherwise.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.systemd.groups import (
    find_controllers,
    find_hierarchy,
    join_groups,
    make_groups,
    remove_groups,
)
from tests.systemd.mounts import copy_stock_units, find_systemd, list_variables, write_script

BOOT_SECONDS = 60
"""A machine that has not come up by then never will; usually it takes one."""


class CannotBoot(Exception):  # noqa: N818  (a fact about the host)
    """This host cannot run such a machine; the message says why."""


class Machine:
    """A booted systemd, and the way in.

    Attributes:
        folder: keeps what is written between boots.
        pid: of systemd, as the host sees it; 0 before the first boot.
    """

    def __init__(self, folder: Path, *, limits: bool = False) -> None:
        """Nothing starts before `start`.

        Args:
            folder: empty, on a real file system; keeps what is written between boots.
            limits: memory, cpu and task limits work (control groups, version 1, where the host
                keeps the controllers there).
        """
        self.folder = folder
        self._limits = limits
        self._groups: list[Path] = []
        self._process: subprocess.Popen[bytes] | None = None
        self.pid = 0
        for name in ("host", "units", "stock"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        copy_stock_units(folder / "stock")

    def start(self) -> None:
        """Boot; returns when everything that starts at boot has started.

        Raises:
            CannotBoot: with the last words of the attempt.
        """
        self._groups = make_groups(self._limits)
        script = write_script(self.folder, limits=self._limits)
        notify_path = self.folder / "host" / "notify"
        notify_path.unlink(missing_ok=True)
        log = self.folder / "console.log"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify, log.open("ab") as console:
            notify.bind(str(notify_path))
            self._process = subprocess.Popen(
                [
                    *("setpriv", "--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--mount"),
                    *("--propagation", "private", "--cgroup", "--uts", "--ipc", "--net"),
                    *("--kill-child", "bash", "-euc", script),
                ],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
                preexec_fn=lambda: join_groups(self._groups),
            )
            try:
                self.pid = self._wait_for_boot(notify)
            except CannotBoot:
                self.cut_power()
                raise

    def cut_power(self) -> None:
        """End every process at once; files stay as they are."""
        if self._process is None:
            return
        if self.pid:  # the kernel ends all of a namespace with its first process
            os.kill(self.pid, signal.SIGKILL)
        else:
            self._process.kill()
        self._process.wait(BOOT_SECONDS)
        self._process, self.pid = None, 0
        remove_groups(self._groups)

    def run(
        self, *command: object, user: str = "", check: bool = True, text: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside.

        Args:
            command: program and arguments.
            user: whose rights it gets, with all of that user's groups; root's by default.
            check: fail when it does.
            text: its standard input.
        """
        done = subprocess.run(
            self.build_command(*command, user=user),
            input=text,
            stdin=subprocess.DEVNULL if text is None else None,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done

    def build_command(self, *command: object, user: str = "") -> list[str]:
        """A command of the host that runs another one inside."""
        rights: tuple[str, ...] = ()
        if user:
            group = self.run("id", "--group", user).stdout.strip()
            rights = ("setpriv", "--reuid", user, "--regid", group, "--init-groups")
        return [
            *("nsenter", "--target", str(self.pid), "--mount", "--uts", "--ipc", "--net"),
            *("--pid", "--cgroup", "--wd=/", "env", "-i", *list_variables(), *rights),
            *map(str, command),
        ]

    def show(self, unit: str, *names: str) -> dict[str, str]:
        """Properties of a unit."""
        wanted = [f"--property={name}" for name in names]
        lines = self.run("systemctl", "show", *wanted, "--", unit).stdout.splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def show_one(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.show(unit, name)[name]

    def read_journal(self, *arguments: str) -> str:
        """Lines of the journal since this boot."""
        self.run("journalctl", "--sync")
        return self.run("journalctl", "--no-pager", "--output=short-monotonic", *arguments).stdout

    def open(self, path: str) -> Path:
        """A file of the machine, as the host reaches it while the machine runs."""
        return Path(f"/proc/{self.pid}/root/{path.lstrip('/')}")

    def wait_until(self, is_true: Callable[[], bool], what: str, seconds: float = 60) -> None:
        """Look until something is so; systemd tells nobody outside of its changes."""
        deadline = time.monotonic() + seconds
        while not is_true():
            if time.monotonic() > deadline:
                raise AssertionError(f"{what} did not happen in {seconds:g} s\n{self.tell_all()}")
            time.sleep(0.02)

    def tell_all(self) -> str:
        """What helps to understand a failure: units that matter, and the end of the journal."""
        units = self.run("systemctl", "--no-pager", "--all", "list-units", "appliance*").stdout
        return units + self.read_journal("--lines=60")

    def _wait_for_boot(self, notify: socket.socket) -> int:
        """Process number of systemd once it says that everything has started."""
        assert self._process is not None
        deadline = time.monotonic() + BOOT_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise CannotBoot(f"systemd did not boot: {self._read_last_words()}")
            if not select.select([notify], [], [], 0.1)[0]:
                continue
            if b"READY=1" in notify.recv(4096):
                children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
                return int(children.read_text().split()[0])
        raise CannotBoot(f"systemd did not boot in {BOOT_SECONDS} s: {self._read_last_words()}")

    def _read_last_words(self) -> str:
        text = (self.folder / "console.log").read_text(errors="replace").strip()
        return text.splitlines()[-1] if text else "it said nothing"


@contextlib.contextmanager
def boot(folder: Path, *, limits: bool = False) -> Iterator[Machine]:
    """A machine for as long as the block; nothing of it stays but its folder.

    Raises:
        CannotBoot: this host cannot.
    """
    obstacle = find_obstacle(limits=limits)
    if obstacle:
        raise CannotBoot(obstacle)
    machine = Machine(folder, limits=limits)
    try:
        machine.start()
        yield machine
    finally:
        machine.cut_power()


def find_obstacle(*, limits: bool = False) -> str:
    """Why this host cannot boot a machine; empty when nothing is known that stands in the way."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs root on Linux"
    for program in ("unshare", "nsenter", "setpriv", "systemctl"):
        if shutil.which(program) is None:
            return f"needs {program}"
    if find_systemd() is None:
        return "needs systemd"
    hierarchy = find_hierarchy()
    if hierarchy is None or not os.access(hierarchy, os.W_OK):
        return "needs cgroup2 that can be written"
    if limits and not find_controllers(hierarchy):
        return "this host gives out no controllers of control groups"
    return ""
