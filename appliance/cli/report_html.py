"""The report as a page for people: one file, which fetches nothing and can be mailed or printed.

The layout is `report.html.j2`; this file decides what stands in it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from appliance.cli.report_charts import chart_answers, chart_memory, fits
from appliance.cli.report_data import Report, ReportBase
from appliance.cli.report_machine import (
    describe_cpu,
    describe_disk,
    describe_gpu,
    describe_memory,
)
from appliance.cli.report_text import METHODS
from appliance.cli.report_words import (
    EXPLANATION,
    NIGHT_HOURS,
    find_best_served,
    find_best_tuned,
    format_hours,
    format_size,
    name_method,
    shorten,
)
from appliance.reports.page import format_day, make_environment
from appliance.units import format_bytes
from appliance.values import CapacityRow

ROUND_HOURS = (
    *(seconds / 3600 for seconds in (2, 5, 10, 30)),
    *(minutes / 60 for minutes in (1, 2, 5, 10, 20, 30)),
    *(1.0, 2.0, 4.0, 8.0, NIGHT_HOURS, 24.0, 48.0, 96.0, 240.0),
)
"""Limits between the shades of the heat map, in hours for a million tokens: figures that people
know. Four of them are taken, so that a slow machine has all shades, and a fast one too."""

EXPLAINED = {
    "qlora": "small added weights beside a base in 4 bit: the least memory of the thorough ways",
    "adapter": "small added layers in the upper part of a base in 4 bit: the fastest",
    "lora": "small added weights beside a base in 16 or 32 bit",
    "full": "every weight of the base is trained: the most memory",
    "prompt": "a few learned tokens before every text; the base in 4 bit stays as it is",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Tile:
    """A key figure: its name, the figure, and what it stands on."""

    name: str
    figure: str
    detail: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """A field of the heat map: shade 0 (does not fit) to 5 (fastest), what it says, and why."""

    shade: int
    text: str
    detail: str
    hint: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A base of the heat map, with a cell for each method, and how fast it answers."""

    name: str
    size: str
    is_present: bool
    note: str
    cells: tuple[Cell, ...]
    answers: str


def render_page(report: Report) -> str:
    """The page as HTML; all text is escaped."""
    environment = make_environment(Path(__file__).parent)
    usable = [base for base in report.bases if base.exportable]
    shown = [base for base in usable if base.is_present or fits(report, base)]
    limits = choose_limits([row.hours_per_million_tokens for row in report.capacity if row.fits])
    return environment.get_template("report.html.j2").render(
        report=report,
        headline=re.sub(r"(\d) ([MB])\b", "\\1\u00a0\\2", report.headline),
        made_on=format_day(report.made_at),
        explanation=EXPLANATION,
        tiles=_make_tiles(report),
        methods=[(name_method(method), EXPLAINED[method]) for method in METHODS],
        lines=[_make_line(report, base, limits) for base in shown],
        legend=_make_legend(limits),
        memory=chart_memory(report, usable),
        answers=chart_answers(report, usable),
        unfit=[
            (shorten(base.name), format_size(base.num_parameters), _find_reason(report, base))
            for base in report.bases
            if base not in shown
        ],
        facts=_list_facts(report),
        versions=report.machine.software.versions if report.machine.software else {},
    )


def choose_limits(hours: Sequence[float]) -> tuple[float, ...]:
    """Up to four limits between five shades, at equal ratios from the shortest time to the longest.

    Args:
        hours: of every field that has any.
    """
    if not hours:
        return ()
    shortest, longest = min(hours), max(hours)
    ideal = [shortest * (longest / shortest) ** (part / 5) for part in range(1, 5)]
    nearest = {min(ROUND_HOURS, key=lambda each: abs(math.log(each / limit))) for limit in ideal}
    return tuple(sorted(nearest))


def _make_tiles(report: Report) -> list[Tile]:
    tuned = find_best_tuned(report.bases, report.capacity)
    served = find_best_served(report.bases, report.capacity)
    faults = [each for each in report.findings if each.level != "note"]
    return [
        Tile(
            name="Largest model tuned overnight",
            figure=format_size(tuned.num_parameters) if tuned else "none",
            detail=f"{shorten(tuned.base)}, {name_method(tuned.method)}" if tuned else "",
        ),
        Tile(
            name="A million tokens with it",
            figure=format_hours(tuned.hours_per_million_tokens) if tuned else "–",
            detail=f"{tuned.tokens_per_second:,.0f} tokens a second" if tuned else "",
        ),
        Tile(
            name="Largest model that answers fluently",
            figure=format_size(served.num_parameters) if served else "none",
            detail=f"{shorten(served.base)}, {served.serve_tokens_per_second:,.0f} tokens a second"
            if served
            else "",
        ),
        Tile(
            name="To be mended",
            figure=str(len(faults)) if faults else "nothing",
            detail="see the findings below" if faults else "no errors and no warnings",
        ),
    ]


def _make_line(report: Report, base: ReportBase, limits: Sequence[float]) -> Line:
    rows = {row.method: row for row in report.capacity if row.base == base.name}
    speed = next(iter(rows.values())).serve_tokens_per_second
    notes = {"no": "no commercial use", "conditional": "licence with conditions"}
    return Line(
        name=shorten(base.name),
        size=format_size(base.num_parameters),
        is_present=base.is_present,
        note=notes.get(base.commercial, ""),
        cells=tuple(_make_cell(rows[method], limits) for method in METHODS if method in rows),
        answers=f"{speed:,.0f}/s" if speed >= 1 else f"{speed:.1f}/s" if speed else "–",
    )


def _make_cell(row: CapacityRow, limits: Sequence[float]) -> Cell:
    if not row.fits:
        return Cell(shade=0, text="–", detail="", hint=f"does not fit: {row.reason}")
    hours = row.hours_per_million_tokens
    return Cell(
        shade=5 - sum(hours > limit for limit in limits),
        text=format_hours(hours),
        detail=f"{row.longest_sequence:,}",
        hint=f"{row.tokens_per_second:,.0f} tokens a second, packs of up to "
        f"{row.longest_sequence:,} tokens, {format_bytes(row.memory_bytes)} of memory",
    )


def _make_legend(limits: Sequence[float]) -> list[tuple[int, str]]:
    names = [f"up to {format_hours(hours).replace('.0', '')}" for hours in limits]
    shades = [*zip(range(5, 0, -1), names, strict=False)]
    return [*shades, (5 - len(limits), "longer"), (0, "does not fit")]


def _find_reason(report: Report, base: ReportBase) -> str:
    if not base.exportable:
        return f"cannot be exported: {base.why_not}"
    return next(row.reason for row in report.capacity if row.base == base.name)


def _list_facts(report: Report) -> list[tuple[str, list[str]]]:
    machine = report.machine
    count = len(machine.gpus)
    gpus = [
        ("GPU" if count == 1 else f"GPU {number}", describe_gpu(gpu))
        for number, gpu in enumerate(machine.gpus)
    ]
    return [
        *(gpus or [("GPU", ["none"])]),
        ("Processor", describe_cpu(machine, report.rates)),
        ("Memory", [describe_memory(machine)]),
        ("Disk", [describe_disk(machine, report.rates)]),
    ]
