"""The bars of the page: memory beside what there is, and answers beside the speed of reading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from appliance.cli.report_data import Report, ReportBase
from appliance.cli.report_words import READING_TOKENS_PER_SECOND, shorten
from appliance.units import format_bytes

MAX_BARS = 12
"""Of a chart: the largest bases, or those around the limit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """A bar of a chart: its share of the width in percent, its figure, and whether it is enough."""

    name: str
    percent: float
    figure: str
    is_enough: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """Bars beside a limit: its place in percent of the width, and its name."""

    bars: tuple[Bar, ...]
    limit_percent: float
    limit: str


def chart_memory(report: Report, bases: Sequence[ReportBase]) -> Chart:
    """The leanest method of each base that fits, beside what there is."""
    gpu = next((gpu for gpu in report.machine.gpus if gpu.usable), None)
    free = gpu.free_bytes if gpu else report.machine.memory_bytes
    fitting = [row for row in report.capacity if row.fits]
    needs = [
        (base, min(row.memory_bytes for row in fitting if row.base == base.name))
        for base in bases
        if fits(report, base)
    ]
    chosen = sorted(needs, key=lambda pair: pair[0].num_parameters)[-MAX_BARS:]
    most = max([free, *(need for _, need in chosen)])
    return Chart(
        bars=tuple(
            Bar(
                name=shorten(base.name),
                percent=round(100 * need / most, 1),
                figure=format_bytes(need),
                is_enough=True,
            )
            for base, need in chosen
        ),
        limit_percent=round(100 * free / most, 1),
        limit=f"{format_bytes(free)} free {'on the ' + gpu.name if gpu else 'in main memory'}",
    )


def chart_answers(report: Report, bases: Sequence[ReportBase]) -> Chart:
    """Speed of answering, around the speed of reading."""
    speeds = {row.base: row.serve_tokens_per_second for row in report.capacity}
    ordered = sorted(bases, key=lambda base: -speeds[base.name])
    fast = [base for base in ordered if speeds[base.name] >= READING_TOKENS_PER_SECOND]
    slow = [base for base in ordered if 0 < speeds[base.name] < READING_TOKENS_PER_SECOND]
    chosen = fast[3 - MAX_BARS :] + slow[:3]
    most = max([READING_TOKENS_PER_SECOND, *(speeds[base.name] for base in chosen)])
    return Chart(
        bars=tuple(
            Bar(
                name=shorten(base.name),
                percent=round(100 * speeds[base.name] / most, 1),
                figure=f"{speeds[base.name]:,.1f}",
                is_enough=base in fast,
            )
            for base in chosen
        ),
        limit_percent=round(100 * READING_TOKENS_PER_SECOND / most, 1),
        limit=f"{READING_TOKENS_PER_SECOND:g} tokens a second: as fast as people read",
    )


def fits(report: Report, base: ReportBase) -> bool:
    """Whether a base can be tuned by any method."""
    return any(row.fits for row in report.capacity if row.base == base.name)
