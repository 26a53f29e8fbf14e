"""The words of the report: its headline, and numbers and names as people read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from appliance.cli.report_data import ReportBase
    from appliance.values import CapacityRow

NIGHT_HOURS = 12.0
"""What people call feasible: done by the next morning."""

READING_TOKENS_PER_SECOND = 5.0
"""About 230 words a minute: an answer that comes slower than this is waited for."""

EXPLANATION = (
    f"Overnight: a million tokens, about 750,000 words, in {NIGHT_HOURS:g} hours. "
    f"Faster than people read: {READING_TOKENS_PER_SECOND:g} tokens a second."
)


def write_headline(
    bases: Sequence[ReportBase], rows: Sequence[CapacityRow], *, is_imagined: bool
) -> str:
    """What a machine can do, in one sentence.

    Args:
        bases: of the report.
        rows: its capacity.
        is_imagined: whether it is only thought of.
    """
    tuned, served = find_best_tuned(bases, rows), find_best_served(bases, rows)
    subject, can = ("Such a machine", "could") if is_imagined else ("This machine", "can")
    parts = []
    if tuned:
        parts.append(
            f"tune models of up to {format_size(tuned.num_parameters)} parameters overnight"
        )
    if served:
        parts.append(
            f"serve models of up to {format_size(served.num_parameters)} faster than people read"
        )
    if not parts:
        return f"{subject} {can} neither tune nor serve any of these models in useful time."
    return f"{subject} {can} {' and '.join(parts)}."


def find_best_tuned(bases: Sequence[ReportBase], rows: Sequence[CapacityRow]) -> CapacityRow | None:
    """The largest base that is tuned overnight and may be used, by the fastest method."""
    usable = {base.name for base in bases if base.exportable and base.commercial != "no"}
    done = [row for row in rows if row.base in usable and row.fits]
    done = [row for row in done if row.hours_per_million_tokens <= NIGHT_HOURS]
    return max(
        done, key=lambda row: (row.num_parameters, -row.hours_per_million_tokens), default=None
    )


def find_best_served(
    bases: Sequence[ReportBase], rows: Sequence[CapacityRow]
) -> CapacityRow | None:
    """The largest base that answers faster than people read, and may be used."""
    usable = {base.name for base in bases if base.exportable and base.commercial != "no"}
    fast = [row for row in rows if row.serve_tokens_per_second >= READING_TOKENS_PER_SECOND]
    fast = [row for row in fast if row.base in usable]
    return max(fast, key=lambda row: row.num_parameters, default=None)


def format_size(num_parameters: int) -> str:
    """`0.6 B`, `8 B`, `135 M`."""
    if num_parameters < 0.5e9:
        return f"{num_parameters / 1e6:.0f} M"
    billions = num_parameters / 1e9
    return f"{billions:.0f} B" if billions >= 10 else f"{billions:.1f} B".replace(".0 B", " B")


def format_hours(hours: float) -> str:
    """`32 s`, `4 min`, `2.1 h`, `41 h`, `9 days`."""
    if hours < 1 / 60:
        return f"{3600 * hours:.0f} s" if hours >= 1 / 3600 else "1 s"
    if hours < 1:
        return f"{60 * hours:.0f} min"
    if hours < 100:
        return f"{hours:.1f} h" if hours < 10 else f"{hours:.0f} h"
    return f"{hours / 24:,.0f} days"


def name_method(method: str) -> str:
    """As people write it."""
    return {"qlora": "QLoRA", "lora": "LoRA", "full": "full training"}.get(method, method)


def shorten(base: str) -> str:
    """`Qwen3-8B` of `Qwen/Qwen3-8B`."""
    return base.rpartition("/")[2]
