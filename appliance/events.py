"""Typed events: how the core tells what it does.

Core code never prints. It hands events to a function; the command line draws them, a run keeps
them as JSON lines. An event holds numbers and names of stages, never text of a document.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class StageStarted:
    """A stage of the job begins."""

    stage: str


@dataclass(frozen=True, kw_only=True, slots=True)
class StageFinished:
    """A stage is done; `restored` says that its receipt was there already."""

    stage: str
    seconds: float
    restored: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a stage is."""

    stage: str
    done: int
    total: int
    unit: str
    detail: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepDone:
    """One optimizer update: loss in nats per supervised token, speed in tokens per second.

    The norm is that of the gradient before it was clipped.
    """

    step: int
    num_steps: int
    loss: float
    lr: float
    tokens_per_second: float
    seconds_left: float
    gradient_norm: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldOut:
    """Held-out loss during training, in nats per supervised token.

    The rise is that of the loss on general text, as a part of the base's.
    """

    step: int
    loss: float
    is_best: bool
    general_rise: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class WentBack:
    """Training fell ill at a step and goes on from an earlier one, at a part of the rate."""

    step: int
    to_step: int
    reason: str
    rate_factor: float
    times: int
    times_at_most: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Relieved:
    """Memory ran out at a step, which is done again in a way that needs less of it."""

    step: int
    reason: str
    done: str
    times: int
    times_at_most: int


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointSaved:
    """Training can go on from this step after a crash."""

    step: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """What a stage found or made, for people: a label, a line, and perhaps the reason below it."""

    label: str
    text: str
    detail: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Note:
    """A sentence for people."""

    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed:
    """The job ended with an error: the name of its class in `errors.py`, and its three parts."""

    error: str
    what: str
    why: str
    fix: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Alive:
    """A sign of life of a worker, every few seconds; not kept with the run."""

    pid: int
    cpu_seconds: float
    resident_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """The job is done; `result` is what `--json` prints."""

    result: str


Event = (
    StageStarted
    | StageFinished
    | Progress
    | StepDone
    | HeldOut
    | WentBack
    | Relieved
    | CheckpointSaved
    | Line
    | Note
    | Failed
    | Finished
    | Alive
)
OnEvent = Callable[[Event], None]
ShouldStop = Callable[[], bool]

_KINDS: dict[str, type[Event]] = {
    kind.__name__: kind
    for kind in (
        StageStarted,
        StageFinished,
        Progress,
        StepDone,
        HeldOut,
        WentBack,
        Relieved,
        CheckpointSaved,
        Line,
        Note,
        Failed,
        Finished,
        Alive,
    )
}


def ignore_event(_: Event) -> None:
    """An event sink for callers that do not care."""


def encode_event(event: Event) -> str:
    """One line of JSON, with the kind of the event and the wall clock in seconds."""
    row = {"kind": type(event).__name__, "at": round(time.time(), 3)}
    return json.dumps(row | dataclasses.asdict(event), ensure_ascii=False)


def decode_event(line: str) -> Event:
    """The event of a line that `encode_event` wrote.

    Raises:
        ValueError: the line is not an event of this version.
    """
    row = json.loads(line)
    if not isinstance(row, dict) or row.get("kind") not in _KINDS:
        raise ValueError("not an event")
    kind = _KINDS[row.pop("kind")]
    row.pop("at", None)
    try:
        return kind(**row)
    except TypeError as exc:
        raise ValueError(str(exc)) from exc


def write_events_to(path: Path) -> OnEvent:
    """An event sink that appends JSON lines to a file; each is there when it returns."""

    def write(event: Event) -> None:
        with path.open("a", encoding="utf-8") as file:
            file.write(encode_event(event) + "\n")

    return write
