"""Where the service keeps its state, and where its control socket is found.

Under the service manager its own variables name the folders; started by a person, the service
lives in that person's state folder.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SYSTEM_SOCKET = Path("/run/appliance/control.sock")
"""Control socket of the service that scripts/install sets up."""

TRAINER_SOCKET = Path("/run/appliance/trainer.sock")
"""Each connection to it starts a trainer as a unit of its own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StateFolder:
    """The folders and files of one service."""

    path: Path

    @property
    def database(self) -> Path:
        """The queue."""
        return self.path / "queue.sqlite3"

    @property
    def lock(self) -> Path:
        """Held by the one daemon of this state; holds its pid."""
        return self.path / "daemon.lock"

    @property
    def runs(self) -> Path:
        """One folder a run."""
        return self.path / "runs"

    @property
    def documents(self) -> Path:
        """Copies of folders that the service cannot read where they are."""
        return self.path / "documents"

    @property
    def inbox(self) -> Path:
        """Folders dropped here become jobs."""
        return self.path / "inbox"

    @property
    def bases(self) -> Path:
        """Imported base models."""
        return self.path / "bases"


def find_state(environment: Mapping[str, str] = os.environ) -> StateFolder:
    """The state folder: of the unit, or of this person."""
    unit = environment.get("STATE_DIRECTORY")
    if unit:
        return StateFolder(path=Path(unit.split(":")[0]))
    import platformdirs

    return StateFolder(path=platformdirs.user_state_path("appliance") / "service")


def find_own_socket(state: StateFolder, environment: Mapping[str, str] = os.environ) -> Path:
    """Where a daemon listens when no socket was passed to it."""
    unit = environment.get("RUNTIME_DIRECTORY")
    if unit:
        return Path(unit.split(":")[0]) / "control.sock"
    return _find_user_socket(environment) or state.path / "control.sock"


def find_sockets(environment: Mapping[str, str] = os.environ) -> tuple[Path, ...]:
    """Control sockets where a service may listen, the nearest first."""
    named = environment.get("APPLIANCE_SOCKET")
    if named is not None:
        return (Path(named),) if named else ()
    user = _find_user_socket(environment) or find_state({}).path / "control.sock"
    return (user, SYSTEM_SOCKET)


def _find_user_socket(environment: Mapping[str, str]) -> Path | None:
    runtime = environment.get("XDG_RUNTIME_DIR")
    return Path(runtime) / "appliance" / "control.sock" if runtime else None
