"""What can be seen of the service from outside: its units, its sockets, and what it answers.

Only looks, changes nothing, and needs no rights: what this person may not see is missing. What it
means is for `troubles.py`.
"""

from __future__ import annotations

import contextlib
import errno
import getpass
import grp
import http.client
import json
import os
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from appliance.daemon.paths import find_sockets
from appliance.daemon.settings import Settings
from appliance.daemon.views import View

DAEMON = "appliance-daemon.service"
CONTROL = "appliance-daemon.socket"
TRAINER = "appliance-trainer.socket"
PARSER = "appliance-parser.socket"
UNITS = (DAEMON, CONTROL, TRAINER, PARSER)
"""What scripts/install enables."""

MANAGER_FOLDER = Path("/run/systemd/system")
"""Exists exactly where systemd manages the machine. Source: sd_booted(3)."""

ANSWER_SECONDS = 10.0
"""A daemon that takes longer for a status hangs: usually it takes milliseconds."""

_PROPERTIES = (
    "Id", "LoadState", "ActiveState", "SubState", "UnitFileState", "Result", "MainPID",
    "NRestarts", "ExecMainStatus", "StatusText", "WatchdogUSec",
)  # fmt: skip

Silence = Literal["", "missing", "closed", "refused", "hangs", "foreign"]
"""Why a socket gives no answer: no such file, no permission, nobody listens, no answer in time, or
an answer that is not ours. Empty: it answers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unit:
    """A unit as systemd sees it.

    Attributes:
        name: with its suffix.
        load: `loaded`, or why not.
        active: `active`, `inactive`, `failed`, `activating` and so on.
        sub: the finer state.
        enabled: whether it starts at boot.
        result: how it ended last; `success` while all is well.
        pid: of its main process; 0 for none.
        restarts: times systemd started it again by itself.
        exit_status: of its last main process: an exit code, or the number of a signal.
        status: what the daemon says about itself.
        watchdog: time without a sign of life after which it is killed, as systemd writes it.
    """

    name: str
    load: str = "not-found"
    active: str = "inactive"
    sub: str = "dead"
    enabled: bool = False
    result: str = "success"
    pid: int = 0
    restarts: int = 0
    exit_status: int = 0
    status: str = ""
    watchdog: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Door:
    """A control socket: what the service behind it answers, or why there is no answer."""

    path: Path
    silence: Silence = ""
    answer: View | None = None
    refusal: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Person:
    """Who asks: by name, and which of the service's groups they are in.

    Attributes:
        name: of the user.
        is_root: root may do everything.
        is_user: in the group of users, in this session.
        is_admin: in the group of administrators, in this session.
        will_be_user: in the group of users from the next log-in on.
    """

    name: str
    is_root: bool
    is_user: bool
    is_admin: bool
    will_be_user: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """All that was seen. `units` is None where no systemd tells about them."""

    units: tuple[Unit, ...] | None
    doors: tuple[Door, ...]
    person: Person

    @property
    def door(self) -> Door | None:
        """The nearest socket that answers."""
        return next((door for door in self.doors if door.answer is not None), None)

    def find_unit(self, name: str) -> Unit | None:
        """A unit that is installed; None if it is not, or cannot be seen."""
        found = [unit for unit in self.units or () if unit.name == name]
        return found[0] if found and found[0].load != "not-found" else None


def look_at_service(environment: Mapping[str, str] = os.environ) -> Standing:
    """Look at everything once."""
    settings = Settings()
    return Standing(
        units=read_units(UNITS),
        doors=tuple(knock(path) for path in find_sockets(environment)),
        person=identify_person(settings.users_group, settings.admins_group),
    )


def read_units(names: tuple[str, ...]) -> tuple[Unit, ...] | None:
    """Ask systemd for units; None where there is no systemd, or it does not tell this person."""
    if not MANAGER_FOLDER.is_dir():
        return None
    command = ["systemctl", "show", f"--property={','.join(_PROPERTIES)}", "--", *names]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return parse_units(done.stdout) if done.returncode == 0 else None


def parse_units(text: str) -> tuple[Unit, ...]:
    """Units from what `systemctl show` prints: a block of KEY=VALUE lines each."""
    blocks = [
        dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        for block in text.strip().split("\n\n")
    ]
    return tuple(
        Unit(
            name=block["Id"],
            load=block["LoadState"],
            active=block["ActiveState"],
            sub=block["SubState"],
            enabled=block.get("UnitFileState") == "enabled",
            result=block.get("Result", "success"),
            pid=int(block.get("MainPID", 0)),
            restarts=int(block.get("NRestarts", 0)),
            exit_status=int(block.get("ExecMainStatus", 0)),
            status=block.get("StatusText", ""),
            watchdog=block.get("WatchdogUSec", ""),
        )
        for block in blocks
        if "Id" in block
    )


def knock(path: Path) -> Door:
    """Ask a control socket for the state of the service behind it."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(ANSWER_SECONDS)
            connection.connect(str(path))
            return _ask(path, connection)
    except TimeoutError:
        return Door(path=path, silence="hangs")
    except (http.client.HTTPException, ValueError):
        return Door(path=path, silence="foreign")
    except OSError as exc:
        kinds: dict[int | None, Silence] = {errno.EACCES: "closed", errno.EPERM: "closed"}
        kinds |= {errno.ENOENT: "missing", errno.ENOTDIR: "missing"}
        return Door(path=path, silence=kinds.get(exc.errno, "refused"))


def _ask(path: Path, connection: socket.socket) -> Door:
    request = http.client.HTTPConnection("localhost")
    request.sock = connection
    request.request("GET", "/v1/status")
    response = request.getresponse()
    answer = json.loads(response.read())
    if response.status == 200:
        return Door(path=path, answer=answer)
    refusal = answer.get("error", {}).get("what", f"status {response.status}")
    return Door(path=path, silence="closed", refusal=str(refusal))


def identify_person(users_group: str, admins_group: str) -> Person:
    """Who runs this program, and what the service will take them for."""
    mine = {os.getegid(), *os.getgroups()}
    users, admins = _find_group(users_group), _find_group(admins_group)
    name = _name_user()
    return Person(
        name=name,
        is_root=os.geteuid() == 0,
        is_user=users is not None and users.gr_gid in mine,
        is_admin=admins is not None and admins.gr_gid in mine,
        will_be_user=users is not None and name in users.gr_mem,
    )


def _find_group(name: str) -> grp.struct_group | None:
    with contextlib.suppress(KeyError):
        return grp.getgrnam(name)
    return None


def _name_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id that no database knows
        return str(os.geteuid())
