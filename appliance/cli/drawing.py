"""Draw the events of a job: rows for what a stage found, and one line at the bottom that moves."""

from __future__ import annotations

from collections.abc import Iterable
from time import monotonic
from typing import Any

from appliance.cli.pace import Pace
from appliance.events import (
    Event,
    Failed,
    Finished,
    HeldOut,
    Line,
    Note,
    Progress,
    Relieved,
    StageFinished,
    StageStarted,
    StepDone,
    WentBack,
)

STAGES = {
    "corpus": "Documents",
    "replay": "General text",
    "text": "Text",
    "pretrain": "Pretrain",
    "judge": "Evaluate",
    "pretrained": "Merge",
    "questions": "Questions",
    "dataset": "Dataset",
    "tune": "Tune",
    "trial": "Trial",
    "ways": "Evaluate",
    "evaluate": "Evaluate",
    "merge": "Merge",
    "reference": "Export",
    "parity": "Parity",
    "bundle": "Bundle",
}
"""Labels of the stages that take long enough to be seen."""

WIDE_COLUMNS = 100
"""From here on a terminal has room for a long bar."""


def draw(events: Iterable[Event], *, as_json: bool) -> Finished | Failed | None:
    """Draw events as they come.

    Args:
        events: of one job.
        as_json: rows for people go to stderr, so that stdout holds one object.

    Returns:
        The last event that says how the job ended; None if none did.
    """
    from rich.console import Console

    from appliance.cli.output import print_row

    ending: Finished | Failed | None = None
    with Bar(Console(stderr=True, highlight=False)) as bar:
        for event in events:
            if isinstance(event, Finished | Failed):
                ending = event
            elif isinstance(event, Line):
                bar.hide()
                details = event.detail.splitlines()
                print_row(event.label, event.text, *details, to_stderr=as_json)
            elif isinstance(event, Note | WentBack | Relieved):
                text = describe_news(event)
                bar.hide()
                print_row("", text, to_stderr=True)
                bar.come_back()
            else:
                bar.show(event)
    return ending


class Bar:
    """One line at the bottom that moves; nothing where nobody watches."""

    def __init__(self, console: Any) -> None:
        """Nothing is drawn yet; `console` is rich's."""
        from rich.progress import BarColumn, Progress, TextColumn

        bar_columns = 24 if console.width >= WIDE_COLUMNS else 10
        self._console = console
        self._columns = (
            TextColumn("[bold]{task.description:<10}[/]"),
            BarColumn(bar_width=bar_columns),
            TextColumn("{task.fields[text]}"),
        )
        self._text_columns = console.width - bar_columns - len("Documents   ") - 1
        self._kind = Progress
        self._progress: Any = None
        self._task: Any = None
        self._held_out = self._label = self._row_label = ""
        self._tenth = -1
        self._pace = Pace()

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self.hide()

    def hide(self) -> None:
        """Take the line away."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def come_back(self) -> None:
        """Draw the line again, if its stage goes on."""
        if self._label:
            self._start()

    def show(self, event: Event) -> None:
        """Move the line as the event says."""
        if not self._console.is_terminal:
            return
        if self._console.is_dumb_terminal:  # it cannot take a line back: a row now and then
            self._tell(event)
        elif isinstance(event, StageStarted) and event.stage in STAGES:
            self._open(STAGES[event.stage])
        elif isinstance(event, StageFinished):
            self.hide()
            self._label = ""
        elif self._progress is None:
            return
        elif isinstance(event, Progress):
            pace = self._pace.describe(monotonic(), event.done, event.total, event.unit)
            text = f"{pace} {event.detail}".rstrip()
            self._progress.update(self._task, completed=event.done, total=event.total, text=text)
        elif isinstance(event, HeldOut):
            self._held_out = f"held-out {event.loss:.3f}"
        elif isinstance(event, StepDone):
            text = describe_step(event, self._held_out, self._text_columns)
            self._progress.update(
                self._task, completed=event.step, total=event.num_steps, text=text
            )

    def _tell(self, event: Event) -> None:
        """Print a row for every tenth of a training."""
        if isinstance(event, StageStarted):
            self._held_out, self._tenth = "", -1
            self._row_label = STAGES.get(event.stage, "")
        elif isinstance(event, HeldOut):
            self._held_out = f"held-out {event.loss:.3f}"
        elif isinstance(event, StepDone) and 10 * event.step // event.num_steps > self._tenth:
            from appliance.cli.output import print_row

            self._tenth = 10 * event.step // event.num_steps
            text = describe_step(event, self._held_out, self._console.width - 12)
            print_row(self._row_label, text, to_stderr=True)

    def _open(self, label: str) -> None:
        self.hide()
        self._held_out, self._label, self._pace = "", label, Pace()
        self._start()

    def _start(self) -> None:
        self._progress = self._kind(*self._columns, console=self._console, transient=True)
        self._task = self._progress.add_task(self._label, total=None, text="")
        self._progress.start()


def describe_news(event: Note | WentBack | Relieved) -> str:
    """What happened on the way, in a sentence."""
    if isinstance(event, Note):
        return event.text
    return describe_return(event) if isinstance(event, WentBack) else describe_relief(event)


def describe_relief(event: Relieved) -> str:
    """Why memory ran out, and what is done about it."""
    return (
        f"out of memory at step {event.step} ({event.reason}): the step is done again, "
        f"{event.done} ({event.times} of {event.times_at_most})"
    )


def describe_return(event: WentBack) -> str:
    """Why training went back, where to, and how often it may."""
    return (
        f"{event.reason} at step {event.step}: goes on from step {event.to_step} "
        f"at {event.rate_factor:g} times the rate ({event.times} of {event.times_at_most})"
    )


def describe_step(event: StepDone, held_out: str, columns: int) -> str:
    """How training goes, in so many columns: what matters least is left out first."""
    from appliance.units import format_seconds

    share = f"{100 * event.step / event.num_steps:3.0f} %"
    step = f"step {event.step}/{event.num_steps}"
    loss = f"loss {event.loss:.3f}"
    speed = f"{event.tokens_per_second:,.0f} tok/s"
    left = f"{format_seconds(event.seconds_left)} left"
    parts, text = [share, step, loss, held_out, speed, left], ""
    for left_out in ("", speed, step, held_out, loss):
        parts = [part for part in parts if part and part != left_out]
        text = "  ".join(parts)
        if len(text) <= columns:
            break
    return text
