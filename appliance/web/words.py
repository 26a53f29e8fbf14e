"""The words of the pages: states, stages, times and memory as people read them."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from appliance.units import format_seconds
from appliance.values import CapacityRow
from appliance.web.machine_shapes import BaseRow, MachineReport
from appliance.web.shapes import JobPage, JobRow

STAGES = {
    "corpus": "Read the documents",
    "base": "Choose the base",
    "replay": "Read general text",
    "text": "Read the text",
    "pretrain": "Pretrain",
    "judge": "Evaluate",
    "pretrained": "Take as base",
    "questions": "Let the base ask",
    "dataset": "Make examples",
    "plan": "Plan",
    "tune": "Tune",
    "trial": "Tune briefly",
    "ways": "Compare ways to answer",
    "evaluate": "Evaluate",
    "audit": "Look for leaks",
    "merge": "Merge",
    "reference": "Export",
    "parity": "Prove parity",
    "verdict": "Reach a verdict",
    "bundle": "Pack the bundle",
}
"""Names of stages, in the order in which they come."""

STATES = {
    "queued": "queued",
    "waiting": "waiting",
    "running": "running",
    "stopping": "stopping",
    "paused": "paused",
    "done": "done",
    "failed": "failed",
    "canceled": "canceled",
}

VERBS = {
    "queued": "cancel",
    "waiting": "cancel",
    "running": "cancel",
    "paused": "resume",
    "failed": "retry",
    "canceled": "resume",
}
"""What can be done with a job in a state."""

MEMORY_TERMS = {
    "runtime": "program and libraries",
    "weights": "frozen weights",
    "trainable": "weights that learn",
    "gradients": "gradients",
    "optimizer": "optimizer",
    "activations": "activations",
    "head": "logits and loss",
    "workspace": "workspace",
    "allocator": "allocator",
    "corrected": "measured beyond",
}
"""Terms of a memory estimate, as a legend has them."""

DAY_SECONDS = 24 * 3600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class StageLine:
    """A stage of a job: how it stands ("done", "now", "next"), planned and measured seconds."""

    name: str
    label: str
    standing: str
    planned: float | None
    measured: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Capacity:
    """What the machine can do with one base: a cell for each method, None where it does not fit."""

    base: BaseRow
    cells: tuple[CapacityRow | None, ...]
    answers: float


def describe_state(job: JobRow) -> str:
    """One word; one of a newer service stands for itself."""
    return STATES.get(job.state, job.state)


def describe_doing(job: JobRow) -> str:
    """What a job does or waits for, in a line; empty when nothing is to be said."""
    if job.error:
        return job.error.what
    if job.waits_for:
        return f"waits: {job.waits_for}"
    if job.state == "queued":
        return "starts when it is its turn"
    if job.state == "paused":
        return job.reason
    if job.state == "stopping":
        return "stops at the next safe point"
    if job.state != "running":
        return ""
    parts = [STAGES.get(job.stage, job.stage) or "starts"]
    if job.total:
        parts.append(f"{job.done:,} of {job.total:,} {job.unit}")
    if job.seconds_left:
        parts.append(f"{format_seconds(job.seconds_left)} left")
    return " · ".join(parts)


def describe_stages(page: JobPage) -> list[StageLine]:
    """Stages of a job, in the order in which they come: those that began, and those of its plan."""
    planned = page.plan.seconds if page.plan else {}
    began = {row.name for row in page.curves.stages}
    named = began | set(planned)
    names = [name for name in STAGES if name in named] + sorted(named - set(STAGES))
    lines = []
    for name in names:
        measured = page.stage_seconds.get(name)
        is_now = page.job.is_live and page.job.stage == name and measured is None
        lines.append(
            StageLine(
                name=name,
                label=STAGES.get(name, name.capitalize()),
                standing="done" if measured is not None else "now" if is_now else "next",
                planned=planned.get(name),
                measured=measured,
            )
        )
    return lines


def list_capacity(report: MachineReport) -> tuple[list[Capacity], list[str]]:
    """Bases that fit this machine, the largest first, and the methods that were reckoned."""
    rows: dict[tuple[str, str], CapacityRow] = {
        (row.base, row.method): row for row in report.capacity if row.fits
    }
    methods: list[str] = list(dict.fromkeys(row.method for row in report.capacity))
    lines = []
    for base in sorted(report.bases, key=lambda base: -base.num_parameters):
        cells = tuple(rows.get((base.name, method)) for method in methods)
        answers = max((row.serve_tokens_per_second for row in cells if row), default=0.0)
        if any(cells):
            lines.append(Capacity(base=base, cells=cells, answers=answers))
    return lines, methods


def bind_units(text: str) -> str:
    """Keep a number and its unit on one line: `494 M`."""
    return re.sub(r"(\d) ([MB])\b", "\\1\u00a0\\2", text)


def format_age(moment: float, now: float) -> str:
    """`5 min ago`, `2026-11-03 14:12`."""
    seconds = max(0.0, now - moment)
    if seconds > DAY_SECONDS:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(moment))
    return "just now" if seconds < 10 else f"{format_seconds(seconds)} ago"


def format_day(moment: float) -> str:
    """`2026-11-03 14:12:07`."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))
