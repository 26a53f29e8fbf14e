"""How `appliance plan` shows a plan to people: rows, bars of memory, reasons."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from appliance import describe
from appliance.cli.output import print_row, print_table
from appliance.units import format_bytes, format_count, format_seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from appliance.cli.plan import Outlook
    from appliance.dataset.show import ShownExample, ShownPart
    from appliance.values import MemoryEstimate, TrainPlan

MAX_SKIPPED = 8
"""Skipped files that are named; `--json` has them all."""

OPEN, CLOSE = "⟦", "⟧"
"""Around what counts in the loss, in examples that are shown."""

_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Could steer a terminal."""

BAR_COLUMNS = 24
"""Columns of a bar that stands for all of the memory that a plan may use."""

TERMS = {
    "runtime": "the program and its libraries",
    "weights": "the base, frozen",
    "trainable": "weights that learn",
    "gradients": "of them",
    "optimizer": "two moments each",
    "activations": "kept for the backward pass",
    "head": "logits and their gradients",
    "workspace": "passing through the backward pass",
    "allocator": "what the allocator holds on top",
    "corrected": "what earlier runs here measured beyond",
}
"""What each term of the memory is."""


def show_outlook(outlook: Outlook) -> None:
    """Print a plan with everything that led to it."""
    made = outlook.plan
    skipped = [f"{row.path}: {row.reason}" for row in outlook.skipped[:MAX_SKIPPED]]
    if len(outlook.skipped) > MAX_SKIPPED:
        skipped.append(f"and {len(outlook.skipped) - MAX_SKIPPED} more: --json names them all")
    print_row("Hardware", describe.describe_hardware(outlook.hardware))
    print_row("Documents", describe.describe_corpus(outlook.corpus), *skipped)
    print_row("Dataset", describe.describe_dataset(outlook.dataset))
    print_row("Plan", describe.describe_plan(made), f"why: {made.reason}")
    print_row("Decided", "every value, who decided it, and why")
    rows = [(row.name, row.value, row.by, row.reason or "-") for row in made.decisions]
    print_table(("value", "is", "by", "why"), rows)
    _show_memory(made)
    _show_time(made)
    print_row("Disk", f"{format_bytes(made.disk_bytes)} for the run")
    if made.rejected:
        print_row("Rejected", f"{len(made.rejected)} choices, with what stood against them")
        print_table(("choice", "why not"), [(row.choice, row.reason) for row in made.rejected])
    if outlook.examples:
        print_examples(outlook.examples)


def print_examples(examples: Sequence[ShownExample]) -> None:
    """Print training examples; between brackets (and, on a terminal, in bold) is what counts."""
    print_row("Examples", f"what {OPEN}stands in brackets{CLOSE} counts in the loss")
    for example in examples:
        click.echo(
            f"\n{example.kind} {example.number} · {example.num_tokens:,} tokens, "
            f"{example.num_labels:,} of them count"
        )
        click.echo("".join(map(_mark, example.parts)))


def _mark(part: ShownPart) -> str:
    text = _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", part.text)
    return click.style(f"{OPEN}{text}{CLOSE}", bold=True) if part.supervised else text


def draw_bar(memory: MemoryEstimate, term: str, limit_bytes: int) -> str:
    """A term as a part of what may be used; a dot where it is too small to be drawn."""
    size = memory.list_terms()[term]
    columns = round(BAR_COLUMNS * max(0, size) / max(1, limit_bytes))
    return "█" * min(BAR_COLUMNS, columns) or "·"


def _show_memory(made: TrainPlan) -> None:
    memory, limit = made.memory, made.memory_limit_bytes
    where = {
        "loss": "in the loss",
        "backward": "in the backward pass of the top layer",
        "end": "at the end of the backward pass",
        "update": "in the update",
    }.get(memory.peak_at, "")
    print_row(
        "Memory",
        f"{format_bytes(memory.total_bytes)} of {format_bytes(limit)}, at its peak {where}",
    )
    rows = [
        (name, format_bytes(size), draw_bar(memory, name, limit), TERMS[name])
        for name, size in memory.list_terms().items()
    ]
    print_table(("term", "bytes", "", "what it is"), rows)
    if made.export_memory_bytes:
        print_row("", f"{format_bytes(made.export_memory_bytes)} of RAM while it is exported")


def _show_time(made: TrainPlan) -> None:
    stages = " · ".join(
        f"{name} {format_seconds(seconds)}" for name, seconds in made.seconds.items()
    )
    total = sum(made.seconds.values())
    if made.speed is None:
        print_row("Time", f"about {format_seconds(total)}", stages)
        return
    speed, others = made.speed, total - made.seconds["tune"]
    ends = [
        format_seconds(others + made.seconds["tune"] * speed.tokens_per_second / each)
        for each in (speed.high, speed.low)
    ]
    measured = " (corrected by earlier runs here)" if speed.correction != 1 else ""
    print_row(
        "Time",
        f"about {format_seconds(total)}, between {ends[0]} and {ends[1]} · trains at "
        f"{format_count(speed.tokens_per_second)} tokens/s{measured}",
        stages,
    )
