"""How training went, from the events of a run: a few hundred points, whatever its length.

Events of all attempts stand in one file: one that was killed and went on tells some steps twice,
and so does one that fell ill and went back. What came later counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean

from appliance.events import (
    Event,
    Failed,
    Finished,
    HeldOut,
    StageFinished,
    StageStarted,
    StepDone,
    WentBack,
    decode_event,
)
from appliance.reports.record import Curves, Ending, HeldOutLoss, State, Step, WayBack

EVENTS = "events.jsonl"
"""Name of the file inside a run."""

MAX_POINTS = 300
"""Of a curve: more than a page has pixels for, is no use."""

TRAINING_STAGES = ("pretrain", "tune")

FIRST_STAGE = "corpus"
"""With which every attempt begins."""

_NEEDED = (StageStarted, StageFinished, StepDone, HeldOut, WentBack, Failed, Finished)
_STATES: dict[str, State] = {"GateError": "refused", "InterruptedRun": "stopped"}


def read_events(run: Path) -> list[Event]:
    """Events of a run that a report needs; a line that a crash left torn is passed over."""
    events: list[Event] = []
    try:
        with (run / EVENTS).open(encoding="utf-8") as lines:
            for line in lines:
                try:
                    event = decode_event(line)
                except ValueError:
                    continue
                if isinstance(event, _NEEDED):
                    events.append(event)
    except FileNotFoundError:
        pass
    return events


def find_ending(events: Sequence[Event]) -> tuple[State, Ending | None, str | None]:
    """How a run ended, its error, and its result as JSON."""
    last = events[-1] if events else None
    if isinstance(last, Finished):
        return "finished", None, last.result
    if isinstance(last, Failed):
        ending = Ending(error=last.error, what=last.what, why=last.why, fix=last.fix)
        return _STATES.get(last.error, "failed"), ending, None
    return "unfinished", None, None


def list_reached(events: Iterable[Event]) -> tuple[set[str], set[str]]:
    """Stages that the last attempt began or found done, and those of them that it has done.

    Receipts of later stages may lie there from an attempt with other documents: they tell nothing
    about this one.
    """
    begun: set[str] = set()
    done: set[str] = set()
    for event in events:
        if isinstance(event, StageStarted | StageFinished):
            if event.stage == FIRST_STAGE:
                begun, done = set(), set()
            begun.add(event.stage)
            if isinstance(event, StageFinished):
                done.add(event.stage)
    return begun, done


def draw_curves(events: Iterable[Event]) -> Curves:
    """Curves of the last training stage that began.

    Args:
        events: of all attempts, in their order.
    """
    stage = ""
    num_steps = 0
    steps: list[StepDone] = []
    held_out: list[HeldOut] = []
    ways_back: list[WentBack] = []
    for event in events:
        if isinstance(event, StageStarted) and event.stage in TRAINING_STAGES:
            if event.stage != stage:
                stage, steps, held_out, ways_back = event.stage, [], [], []
        elif isinstance(event, StepDone):
            num_steps = event.num_steps
            _cut(steps, event.step)
            if event.step == 1:  # from the beginning: another training than before
                held_out = [row for row in held_out if row.step == 0]
            steps.append(event)
        elif isinstance(event, HeldOut):
            _cut(held_out, event.step)
            held_out.append(event)
        elif isinstance(event, WentBack):
            ways_back.append(event)
    return Curves(
        num_steps=num_steps,
        steps=tuple(_thin(steps)),
        held_out=tuple(
            HeldOutLoss(step=row.step, loss=row.loss, is_best=row.is_best) for row in held_out
        ),
        ways_back=tuple(
            WayBack(
                step=row.step,
                to_step=row.to_step,
                reason=row.reason,
                rate_factor=row.rate_factor,
            )
            for row in ways_back
        ),
    )


def _cut(rows: list[StepDone] | list[HeldOut], step: int) -> None:
    """Forget what an earlier attempt said about this step and those after it."""
    while rows and rows[-1].step >= step:
        rows.pop()


def _thin(steps: Sequence[StepDone]) -> Iterable[Step]:
    """Means over equal stretches."""
    width = max(1, -(-len(steps) // MAX_POINTS))
    for start in range(0, len(steps), width):
        part = steps[start : start + width]
        yield Step(
            step=part[-1].step,
            loss=fmean(row.loss for row in part),
            lr=part[-1].lr,
            tokens_per_second=fmean(row.tokens_per_second for row in part),
            gradient_norm=fmean(row.gradient_norm for row in part),
        )
