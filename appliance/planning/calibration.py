"""What no formula knows: how far earlier runs on this machine were from their plans.

A note holds sizes and speeds, no names and no text. Notes lie in the user's cache folder, for one
machine as `hardware/rates.py` identifies it: a new driver or another torch starts afresh.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path

from appliance.files import replace_file
from appliance.planning.training import Training
from appliance.values import MemoryEstimate, RunNote, RunNotes, SpeedEstimate, TrainPlan, TunedModel

MAX_NOTES = 64
"""Notes that are kept."""

RECENT = 8
"""Notes of a kind that count."""

ENOUGH = 3
"""Runs it takes to believe that a plan may be lower, or to narrow the range of a speed."""

SPEED_RANGE = (0.7, 1.3)
"""Range of a speed that no run has confirmed, as multiples of the estimate."""


def locate_notes(machine: str) -> Path:
    """File of the notes of this machine.

    Args:
        machine: what `hardware.rates.identify_machine` says.
    """
    import platformdirs

    return platformdirs.user_cache_path("appliance") / f"runs-{machine}.json"


def load_notes(path: Path) -> RunNotes:
    """Notes of earlier runs; none where the file is missing or cannot be read."""
    try:
        return RunNotes.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return RunNotes()


def record_run(path: Path, plan: TrainPlan, tuned: TunedModel) -> None:
    """Note what a finished training measured, for the plans that come.

    Args:
        path: of the notes.
        plan: what was expected.
        tuned: what it came to.

    Raises:
        OSError: the file cannot be written.
    """
    cached_bytes = tuned.planned_memory_bytes - plan.memory.total_bytes
    measured_bytes = tuned.peak_memory_bytes - cached_bytes
    expected = plan.speed.tokens_per_second / plan.speed.correction if plan.speed else 0.0
    if tuned.reliefs:  # the plan was not carried out: it needs what it wanted, at least
        measured_bytes = max(measured_bytes, tuned.wanted_memory_bytes, plan.memory.total_bytes)
        expected = 0.0
    note = RunNote(
        kind="cpu" if plan.device == "cpu" else "cuda",
        method=plan.method,
        returns_memory=plan.returns_memory,
        planned_bytes=plan.memory.total_bytes - plan.memory.corrected_bytes,
        moving_bytes=plan.memory.moving_bytes,
        measured_bytes=measured_bytes,
        planned_tokens_per_second=expected,
        tokens_per_second=tuned.tokens_per_second,
    )
    notes = load_notes(path)
    keep_notes(path, notes.model_copy(update={"runs": (*notes.runs, note)[-MAX_NOTES:]}))


def record_probe(path: Path, kind: str, extra_bytes: int) -> None:
    """Note what a probe of a device measured beyond the closed form.

    Raises:
        OSError: the file cannot be written.
    """
    notes = load_notes(path)
    known = notes.probed_bytes | {kind: extra_bytes}
    keep_notes(path, notes.model_copy(update={"probed_bytes": known}))


def keep_notes(path: Path, notes: RunNotes) -> None:
    """Write the notes, readable by their owner alone.

    Raises:
        OSError: the file cannot be written.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with replace_file(path) as temporary:
        temporary.touch(mode=0o600)
        temporary.write_text(notes.model_dump_json(), encoding="utf-8")


def correct_memory(
    raw: MemoryEstimate, training: Training, notes: RunNotes | None
) -> MemoryEstimate:
    """Add what like runs measured beyond their plans; without any, what a probe measured.

    The largest of the recent differences counts; a plan is lowered only when several runs agree.
    A difference found at another size is scaled with the square root of the sizes, between the two
    extremes: that it is constant, and that it grows with what a step takes.
    """
    if notes is None:
        return raw
    extra = [
        (note.measured_bytes - note.planned_bytes)
        * (raw.moving_bytes / max(1, note.moving_bytes)) ** 0.5
        for note in _find_like(notes, training)
        if note.returns_memory == training.returns_memory
    ]
    most = max(extra, default=0.0)
    if len(extra) < ENOUGH:
        most = max(0.0, most)
    least = -0.5 * raw.moving_bytes
    probed = notes.probed_bytes.get(training.kind, 0)
    corrected = round(max(least, most)) if extra else probed
    return raw.model_copy(update={"corrected_bytes": corrected})


def correct_speed(
    tokens_per_second: float, training: Training, notes: RunNotes | None
) -> SpeedEstimate:
    """The estimate, multiplied by what like runs measured, with a range."""
    ratios = [
        note.tokens_per_second / note.planned_tokens_per_second
        for note in (_find_like(notes, training) if notes else ())
        if note.planned_tokens_per_second > 0
    ]
    correction = statistics.median(ratios) if ratios else 1.0
    low, high = SPEED_RANGE
    if len(ratios) >= ENOUGH:
        low = min(0.95, min(ratios) / correction)
        high = max(1.05, max(ratios) / correction)
    speed = tokens_per_second * correction
    return SpeedEstimate(
        tokens_per_second=speed, low=low * speed, high=high * speed, correction=correction
    )


def _find_like(notes: RunNotes, training: Training) -> list[RunNote]:
    """The recent notes of the same method on the same kind of device."""
    like = [n for n in notes.runs if n.kind == training.kind and n.method == training.method]
    return like[-RECENT:]
