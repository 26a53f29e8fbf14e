"""How the training of a job went, kept from one look to the next: only what is new is asked for.

Events of all attempts stand in one file: one that was killed and went on tells some steps twice.
What came later counts.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from appliance.daemon.client import Client
from appliance.values.record import Value

MAX_POINTS = 240
"""Of a curve: more than a page has pixels for, is no use."""

MAX_JOBS = 32
"""Jobs whose curves are kept."""


class Step(Value):
    """Means over some optimizer updates, named by the last of them; loss in nats per token."""

    step: int
    loss: float
    tokens_per_second: float


class HeldOutLoss(Value):
    """Loss on held-out documents after a step."""

    step: int
    loss: float
    is_best: bool


class Message(Value):
    """What a stage found, in words: a label and a line. It may name files."""

    label: str
    text: str
    detail: str = ""


class StageRow(Value):
    """A stage that began: `seconds` is None while it is under way."""

    name: str
    seconds: float | None
    restored: bool = False


class Curves(Value):
    """How a job went; `num_steps` are planned, 0 before training."""

    num_steps: int = 0
    steps: tuple[Step, ...] = ()
    held_out: tuple[HeldOutLoss, ...] = ()
    stages: tuple[StageRow, ...] = ()
    messages: tuple[Message, ...] = ()


class History:
    """What the events of one job say so far."""

    def __init__(self) -> None:
        """Nothing is known."""
        self.lock = threading.Lock()
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self.place = -1
        self._num_steps = 0
        self._steps: list[Step] = []
        self._held_out: list[HeldOutLoss] = []
        self._stages: dict[str, StageRow] = {}
        self._messages: dict[str, Message] = {}

    def take(self, event: dict[str, Any]) -> None:
        """Add an event; one of an unknown kind, or of another version, says nothing."""
        kind = event.get("kind")
        try:
            if kind == "StepDone":
                self._take_step(event)
            elif kind == "HeldOut":
                _cut(self._held_out, event["step"])
                self._held_out.append(
                    HeldOutLoss(step=event["step"], loss=event["loss"], is_best=event["is_best"])
                )
            elif kind in ("StageStarted", "StageFinished"):
                row = StageRow(
                    name=event["stage"],
                    seconds=event.get("seconds"),
                    restored=event.get("restored", False),
                )
                self._stages[row.name] = row
            elif kind == "Line" and event["label"] != "Next":  # it names the place of the run
                self._messages[event["label"]] = Message(
                    label=event["label"], text=event["text"], detail=event["detail"]
                )
        except (KeyError, TypeError, ValueError):
            return

    def draw(self) -> Curves:
        """What is known, in at most `MAX_POINTS` points a curve."""
        return Curves(
            num_steps=self._num_steps,
            steps=tuple(_thin(self._steps)),
            held_out=tuple(self._held_out[-MAX_POINTS:]),
            stages=tuple(self._stages.values()),
            messages=tuple(self._messages.values()),
        )

    def _take_step(self, event: dict[str, Any]) -> None:
        self._num_steps = int(event["num_steps"])
        _cut(self._steps, event["step"])
        if event["step"] == 1:  # from the beginning: another training than before
            self._held_out.clear()
        self._steps.append(
            Step(
                step=event["step"],
                loss=event["loss"],
                tokens_per_second=event["tokens_per_second"],
            )
        )


class Histories:
    """Histories of the jobs that were looked at last. Any thread may ask."""

    def __init__(self, client: Client) -> None:
        """None is known."""
        self._client = client
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, History] = OrderedDict()

    def read(self, job_id: int) -> tuple[dict[str, Any], Curves]:
        """A job as the service tells it, and its curves up to now.

        Raises:
            ApplianceError: the service does not know the job, or does not answer.
        """
        with self._lock:
            history = self._kept.setdefault(job_id, History())
            self._kept.move_to_end(job_id)
            while len(self._kept) > MAX_JOBS:
                self._kept.popitem(last=False)
        with history.lock:
            while True:
                answer = ask_history(self._client, job_id, history.place)
                if answer["next"] < history.place:  # the run was begun afresh
                    history.forget()
                    continue
                for event in answer["events"]:
                    history.take(event)
                history.place = answer["next"]
                if not answer["has_more"]:
                    return answer["job"], history.draw()


def ask_history(client: Client, job_id: int, after: int) -> dict[str, Any]:
    """Events of a job behind a place, at most a megabyte of them."""
    return client.ask("GET", f"/v1/jobs/{job_id}/history", after=after)


def _cut(rows: list[Step] | list[HeldOutLoss], step: int) -> None:
    """Forget what an earlier attempt said about this step and those after it."""
    while rows and rows[-1].step >= step:
        rows.pop()


def _thin(steps: Sequence[Step]) -> list[Step]:
    """Means over equal stretches."""
    width = max(1, -(-len(steps) // MAX_POINTS))
    parts = [steps[start : start + width] for start in range(0, len(steps), width)]
    return [
        Step(
            step=part[-1].step,
            loss=fmean(row.loss for row in part),
            tokens_per_second=fmean(row.tokens_per_second for row in part),
        )
        for part in parts
    ]
