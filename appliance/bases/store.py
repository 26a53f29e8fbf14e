"""The stores: folders of imported bases, this user's and the system's, and who may change them.

A base lies in a folder of its own, `Qwen--Qwen3-0.6B` for `Qwen/Qwen3-0.6B`. Hidden names are
imports and removals under way; whoever holds the store's lock may clear those that a killed process
left.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from appliance.errors import BaseModelError, BusyError, ResourceError, UsageError

SYSTEM_STORE = Path("/var/lib/appliance/bases")
"""Bases of the machine: the service's own, readable by everyone who may use it."""

EMBEDDED = "embedded"
"""Name of the model that ships inside the package."""

_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_-])?"
_NAME = re.compile(rf"{_PART}(?:/{_PART})?")
_PARTIAL = ".partial-"


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredBase:
    """A base in a store; its folder was not looked into yet."""

    name: str
    folder: Path


def locate_store() -> Path:
    """This user's bases: $APPLIANCE_BASES, $APPLIANCE_HOME/bases, else in the data folder."""
    if chosen := os.environ.get("APPLIANCE_BASES"):
        return Path(chosen).expanduser().absolute()
    if home := os.environ.get("APPLIANCE_HOME"):
        return Path(home).expanduser().absolute() / "bases"
    import platformdirs

    return platformdirs.user_data_path("appliance") / "bases"


def list_stored(store: Path) -> list[StoredBase]:
    """Bases of a store by name; none where it is missing or closed to this user."""
    try:
        folders = [path for path in store.iterdir() if path.is_dir() and path.name[0] != "."]
    except OSError:
        return []
    found = [StoredBase(name=path.name.replace("--", "/", 1), folder=path) for path in folders]
    return sorted(found, key=lambda base: base.name)


def fold_name(name: str) -> str:
    """Folder name of a base in a store.

    Raises:
        UsageError: it is no name: it could lead elsewhere, or could not be told from another.
    """
    if not _NAME.fullmatch(name) or "--" in name or ".." in name or name == EMBEDDED:
        raise UsageError(
            f"{name[:100]!r} cannot be the name of a base",
            why="a name is NAME or ORGANISATION/NAME, of letters, digits, dots, dashes and "
            f"underscores, without '--' or '..'; {EMBEDDED!r} is taken",
            fix="choose another one: --name Qwen/Qwen3-0.6B",
        )
    return name.replace("/", "--")


@contextlib.contextmanager
def lock_store(store: Path) -> Iterator[None]:
    """Be the only one who changes a store, and clear what a killed process left in it.

    Raises:
        ResourceError: it cannot be written.
        BusyError: another process changes it.
    """
    try:
        store.mkdir(parents=True, exist_ok=True)
        lock = (store / ".lock").open("a")
    except OSError as exc:
        raise ResourceError(
            f"cannot write to {store}",
            why=exc.strerror or str(exc),
            fix="mend the permissions, or choose another place: APPLIANCE_BASES=FOLDER",
        ) from exc
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            raise BusyError(
                f"another process adds or removes a base in {store}",
                why="its lock is held",
                fix="wait for it and run the same command again",
            ) from exc
        for rest in store.glob(f"{_PARTIAL}*"):
            _discard(rest)
        yield


def sweep_store(store: Path) -> None:
    """Clear what a killed process left, if the store is there, ours, and at rest."""
    if any(store.glob(f"{_PARTIAL}*")):
        with contextlib.suppress(ResourceError, BusyError), lock_store(store):
            pass


@contextlib.contextmanager
def make_partial(store: Path, folder: str) -> Iterator[Path]:
    """A hidden folder to fill, in a locked store; whatever is still there afterwards is removed."""
    partial = store / f"{_PARTIAL}{folder}"
    partial.mkdir()
    try:
        yield partial
    finally:
        _discard(partial)


def remove_stored(store: Path, name: str) -> None:
    """Remove a base: gone at once by its name, then from the disk.

    Raises:
        BaseModelError: the store has none of this name.
        ResourceError: the store cannot be written.
    """
    folder = next((base.folder for base in list_stored(store) if base.name == name), None)
    if folder is None:
        raise BaseModelError(
            f"{store} holds no base {name}",
            why="only what was added there can be removed",
            fix="see what there is: appliance bases list",
        )
    with lock_store(store):
        hidden = store / f"{_PARTIAL}{folder.name}"
        try:
            folder.rename(hidden)
        except OSError as exc:
            raise ResourceError(
                f"cannot remove {folder}",
                why=exc.strerror or str(exc),
                fix="mend the permissions, and run the same command again",
            ) from exc
        _discard(hidden)


def _discard(path: Path) -> None:
    """Remove a folder; of a link to one, which a person may have put here, only the link."""
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)
