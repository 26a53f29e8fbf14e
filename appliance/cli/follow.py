"""Follow a job: start its worker, draw its events, hand Ctrl-C on, turn failures into errors."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import IO, Any

from appliance.errors import ApplianceError, InterruptedRun
from appliance.events import (
    Event,
    Failed,
    Finished,
    HeldOut,
    Line,
    Note,
    Progress,
    StageFinished,
    StageStarted,
    StepDone,
    decode_event,
)
from appliance.jobs import TuneRequest

ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(2**28),
    "MALLOC_TRIM_THRESHOLD_": str(2**28),
    "MALLOC_ARENA_MAX": "2",
}
"""Settings of the C library's allocator: freed activations are kept for the next step instead of
going back to the kernel page by page (10 % more tokens a second on two cores)."""

STAGES = {
    "corpus": "Documents",
    "dataset": "Dataset",
    "tune": "Tune",
    "evaluate": "Evaluate",
    "merge": "Merge",
    "reference": "Export",
    "parity": "Parity",
    "bundle": "Bundle",
}
"""Labels of the stages that take long enough to be seen."""


def follow_job(request: TuneRequest, *, as_json: bool) -> dict[str, Any]:
    """Do a job in a worker and show how it goes.

    Args:
        request: the job.
        as_json: lines for people go to stderr, so that stdout holds one object.

    Returns:
        The result of the job.

    Raises:
        ApplianceError: what the worker failed with.
        InterruptedRun: stopped by Ctrl-C.
    """
    import json

    with _start_worker(request) as worker, _hand_interrupts_to(worker):
        assert worker.stdin is not None and worker.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it died at once: said below
            worker.stdin.write(request.model_dump_json())
            worker.stdin.close()
        ending = _draw(worker.stdout, as_json=as_json)
        code = worker.wait()
    if isinstance(ending, Finished):
        result: dict[str, Any] = json.loads(ending.result)
        return result
    if isinstance(ending, Failed):
        raise _rebuild_error(ending)
    raise ApplianceError(
        "the worker ended without a word",
        why=f"exit code {code}"
        if code >= 0
        else f"killed by signal {-code}" + (" (out of memory?)" if code == -signal.SIGKILL else ""),
        fix="run the same command again: it goes on from the last finished stage or checkpoint",
    )


@contextlib.contextmanager
def _start_worker(request: TuneRequest) -> Iterator[subprocess.Popen[str]]:
    worker = subprocess.Popen(
        [sys.executable, "-m", "appliance.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {key: os.environ.get(key, value) for key, value in ALLOCATOR.items()},
        start_new_session=True,
    )
    try:
        yield worker
    finally:
        if worker.poll() is None:
            worker.kill()
        worker.wait()


@contextlib.contextmanager
def _hand_interrupts_to(worker: subprocess.Popen[str]) -> Iterator[None]:
    """The first Ctrl-C asks the worker to stop at the next safe point, the second kills it."""
    asked = False

    def on_interrupt(*_: object) -> None:
        nonlocal asked
        if asked:
            worker.kill()
            return
        asked = True
        worker.send_signal(signal.SIGINT)
        sys.stderr.write("\nstopping at the next safe point; Ctrl-C again to stop at once\n")

    old = {
        number: signal.signal(number, on_interrupt) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
    if asked and worker.poll() is not None and worker.returncode < 0:
        raise InterruptedRun("stopped at once", fix="run the same command again: it goes on")


def _draw(lines: IO[str], *, as_json: bool) -> Finished | Failed | None:
    from rich.console import Console

    from appliance.cli.output import print_row

    console = Console(stderr=True, highlight=False)
    ending: Finished | Failed | None = None
    with _Bar(console) as bar:
        for text in lines:
            event = decode_event(text)
            if isinstance(event, Finished | Failed):
                ending = event
            elif isinstance(event, Line):
                bar.hide()
                details = (event.detail,) if event.detail else ()
                print_row(event.label, event.text, *details, to_stderr=as_json)
            elif isinstance(event, Note):
                bar.hide()
                print_row("", event.text, to_stderr=True)
            else:
                bar.show(event)
    return ending


class _Bar:
    """One line at the bottom that moves; nothing where nobody watches."""

    def __init__(self, console: Any) -> None:
        from rich.progress import BarColumn, Progress, TextColumn

        self._console = console
        self._columns = (
            TextColumn("[bold]{task.description:<10}[/]"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[text]}"),
        )
        self._kind = Progress
        self._progress: Any = None
        self._task: Any = None
        self._held_out = ""

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self.hide()

    def hide(self) -> None:
        """Take the line away."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def show(self, event: Event) -> None:
        """Move the line as the event says."""
        if not self._console.is_terminal:
            return
        if isinstance(event, StageStarted) and event.stage in STAGES:
            self._open(STAGES[event.stage])
        elif isinstance(event, StageFinished):
            self.hide()
        elif self._progress is None:
            return
        elif isinstance(event, Progress):
            text = f"{event.done}/{event.total} {event.unit} {event.detail}".rstrip()
            self._progress.update(self._task, completed=event.done, total=event.total, text=text)
        elif isinstance(event, HeldOut):
            self._held_out = f"  held-out {event.loss:.3f}"
        elif isinstance(event, StepDone):
            from appliance.units import format_seconds

            share = 100 * event.step / event.num_steps
            text = (
                f"{share:3.0f} %  step {event.step}/{event.num_steps}  loss {event.loss:.3f}"
                f"{self._held_out}  {event.tokens_per_second:,.0f} tok/s"
                f"  {format_seconds(event.seconds_left)} left"
            )
            self._progress.update(
                self._task, completed=event.step, total=event.num_steps, text=text
            )

    def _open(self, label: str) -> None:
        self.hide()
        self._held_out = ""
        self._progress = self._kind(*self._columns, console=self._console, transient=True)
        self._task = self._progress.add_task(label, total=None, text="")
        self._progress.start()


def _rebuild_error(failed: Failed) -> ApplianceError:
    """The error class that has this exit code."""
    kinds = {kind.exit_code: kind for kind in ApplianceError.__subclasses__()}
    kind = kinds.get(failed.exit_code, ApplianceError)
    return kind(failed.what, why=failed.why, fix=failed.fix)
