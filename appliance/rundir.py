"""A run on disk: one folder a stage, and a receipt that says the stage is done.

A stage works in `NAME.partial/`. When it returns, the folder is made durable and renamed to
`NAME/`, and its receipt, `receipts/NAME.json`, is written last: a stage is done when its receipt
is there. Killed at any line, the same command finds the finished stages by their receipts and goes
on. Private text lies here: the folder is closed to others.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from appliance import __version__
from appliance.errors import BusyError, InterruptedRun, ResourceError
from appliance.events import OnEvent, ShouldStop, StageFinished, StageStarted
from appliance.files import publish_folder, remove_foreign_left, write_text
from appliance.values import Value

V = TypeVar("V", bound=Value)


@dataclass(frozen=True, kw_only=True, slots=True)
class StageFolder:
    """Where a stage works, and how it talks.

    Attributes:
        name: of the stage.
        folder: an existing folder to write into; it gets its final name when the stage is done.
        run: the run's folder.
        on_event: takes events.
        should_stop: True when the person wants to stop.
    """

    name: str
    folder: Path
    run: Path
    on_event: OnEvent
    should_stop: ShouldStop

    def locate(self, name: str) -> str:
        """How a value names a file of this stage: relative to the run, under the final name."""
        return f"{self.name}/{name}"

    def open(self, relative: str) -> Path:
        """Path of a file that a value names (of an earlier stage, or of this one)."""
        stage, _, rest = relative.partition("/")
        return self.folder / rest if stage == self.name else self.run / relative


class RunDir:
    """A run's folder, locked for as long as this object lives."""

    def __init__(
        self, path: Path, on_event: OnEvent, should_stop: ShouldStop, *, fresh: bool = False
    ) -> None:
        """Open or create the folder and lock it.

        Args:
            path: the run's folder.
            on_event: takes events.
            should_stop: True when the person wants to stop.
            fresh: forget what earlier attempts did.

        Raises:
            ResourceError: the folder cannot be written.
            BusyError: another process works on it.
        """
        self.path = path
        self.on_event = on_event
        self.should_stop = should_stop
        self.seconds: dict[str, float] = {}
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = (path / "lock").open("w")
        except OSError as exc:
            raise ResourceError(
                f"cannot write to {path}",
                why=exc.strerror or str(exc),
                fix="choose another place with --runs, or mend the permissions",
            ) from exc
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            self._lock.close()
            raise BusyError(
                f"another process works on {path}",
                why="its lock is held",
                fix="wait for it, or stop it and run the same command again",
            ) from exc
        if fresh:
            _empty(path)

    def close(self) -> None:
        """Give the lock back."""
        self._lock.close()

    def is_done(self, name: str) -> bool:
        """Whether a stage has a receipt (for whatever inputs)."""
        return (self.path / "receipts" / f"{name}.json").exists()

    def stage(self, name: str, function: Callable[..., V], *values: BaseModel) -> V:
        """Run a stage, or return what it returned before from the same inputs.

        Args:
            name: folder of the stage.
            function: called as `function(*values, stage)`; annotated with the value it returns.
            values: its inputs; their fields (but the volatile ones) decide whether it is done.

        Returns:
            The value of the stage.

        Raises:
            InterruptedRun: the person wants to stop, and the stage is not done.
        """
        inputs = hash_inputs(name, function, values)
        kind: type[V] = typing.get_type_hints(function)["return"]
        final, partial = self.path / name, self.path / f"{name}.partial"
        receipt_file = self.path / "receipts" / f"{name}.json"
        marker = self.path / "receipts" / f"{name}.started.json"
        restored = _restore(receipt_file, inputs, kind) if final.is_dir() else None
        if restored is not None:
            value, seconds = restored
            marker.unlink(missing_ok=True)  # of an attempt that was killed behind its receipt
            self.seconds[name] = seconds
            self.on_event(StageFinished(stage=name, seconds=seconds, restored=True))
            return value
        if self.should_stop():
            raise InterruptedRun(
                f"stopped before stage {name}", fix="run the same command again: it goes on"
            )
        _prepare_partial(partial, marker, inputs)
        self.on_event(StageStarted(stage=name))
        started = time.perf_counter()
        value = function(
            *values,
            StageFolder(
                name=name,
                folder=partial,
                run=self.path,
                on_event=self.on_event,
                should_stop=self.should_stop,
            ),
        )
        seconds = time.perf_counter() - started
        receipt_file.unlink(missing_ok=True)  # it would vouch for the folder that comes now
        publish_folder(partial, final)
        body = {"inputs": inputs, "seconds": seconds, "value": value.model_dump(mode="json")}
        write_text(receipt_file, json.dumps(body, indent=1))
        marker.unlink()
        self.seconds[name] = seconds
        self.on_event(StageFinished(stage=name, seconds=seconds, restored=False))
        return value


def _empty(path: Path) -> None:
    """Remove everything but the lock."""
    for entry in path.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != "lock":
            entry.unlink()


def hash_inputs(name: str, function: Callable[..., Any], values: tuple[BaseModel, ...]) -> str:
    """A hash that changes when a stage must be done again."""
    body = {
        "version": __version__,
        "stage": name,
        "function": f"{function.__module__}.{function.__qualname__}",
        "values": [
            [
                type(value).__name__,
                value.model_dump(mode="json", exclude=set(getattr(value, "VOLATILE", ()))),
            ]
            for value in values
        ],
    }
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _restore(path: Path, inputs: str, kind: type[V]) -> tuple[V, float] | None:
    """Value and seconds of a receipt for these inputs; None if there is none to be trusted."""
    try:
        receipt = json.loads(path.read_text(encoding="utf-8"))
        if receipt["inputs"] != inputs:
            return None
        return kind.model_validate(receipt["value"]), float(receipt["seconds"])
    except (OSError, ValueError, KeyError, TypeError):  # a receipt of another version
        return None


def _prepare_partial(partial: Path, marker: Path, inputs: str) -> None:
    """Keep what an interrupted attempt at the same inputs left; remove anything else."""
    marker.parent.mkdir(exist_ok=True, mode=0o700)
    try:
        same = json.loads(marker.read_text(encoding="utf-8"))["inputs"] == inputs
    except (OSError, ValueError, KeyError, TypeError):
        same = False
    if not same:
        shutil.rmtree(partial, ignore_errors=True)
        write_text(marker, json.dumps({"inputs": inputs}))
    partial.mkdir(exist_ok=True, mode=0o700)
    for folder in (partial, *(path for path in partial.rglob("*") if path.is_dir())):
        remove_foreign_left(folder)


def close_to_others() -> None:
    """From now on, files this process makes are readable by their owner alone."""
    os.umask(0o077)
