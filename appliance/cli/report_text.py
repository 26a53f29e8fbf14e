"""The report as people read it on a terminal."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence

import click

from appliance.cli.output import print_row
from appliance.cli.report_data import Report, ReportBase
from appliance.cli.report_machine import (
    describe_cpu,
    describe_disk,
    describe_gpu,
    describe_memory,
    describe_software,
)
from appliance.cli.report_words import EXPLANATION, format_hours, format_size, shorten
from appliance.units import format_bytes
from appliance.values import CapacityRow, Hardware, MeasuredRates, Method

METHODS: tuple[Method, ...] = ("qlora", "adapter", "lora", "full")

WIDE_COLUMNS = 100
"""From this width on, the table has a column of sizes and names are written out."""

MIN_NAME = 12
"""Characters of a base's name that are shown on the narrowest terminal."""


def show_report(report: Report, *, in_detail: bool) -> None:
    """Print the report on stdout.

    Args:
        report: what to tell.
        in_detail: every method of every base with its reasons, for one base; a table otherwise.
    """
    if not in_detail:
        print_row("In short", report.headline, EXPLANATION)
        click.echo()
    if report.what_if:
        print_row("Imagined", f"{report.what_if}; everything else is this machine's")
    _show_machine(report.machine, report.rates)
    if not in_detail:
        print_row("Bases", _count_bases(report))
    for row in report.broken_bases:
        print_row("Left out", f"{row.choice}: {row.reason}")
    click.echo()
    if in_detail:
        _show_methods(report)
    else:
        _show_table(report)
    findings = [each for each in report.findings if each.level != "note" or not in_detail]
    if findings:
        click.echo()
    for finding in findings:
        print_row(finding.level.capitalize(), finding.what, f"fix: {finding.fix}")


def _show_machine(hardware: Hardware, rates: MeasuredRates | None) -> None:
    for number, gpu in enumerate(hardware.gpus):
        print_row("GPU" if len(hardware.gpus) == 1 else f"GPU {number}", *describe_gpu(gpu))
    if not hardware.gpus:
        print_row("GPU", "none")
    print_row("CPU", *describe_cpu(hardware, rates))
    print_row("Memory", describe_memory(hardware))
    print_row("Disk", describe_disk(hardware, rates))
    print_row("Software", describe_software(hardware))


def _count_bases(report: Report) -> str:
    present = sum(base.is_present for base in report.bases)
    known = len(report.bases) - present
    return f"{present} on this machine" + (f", {known} more that could be brought" if known else "")


def _show_table(report: Report) -> None:
    """A row for every base that can be exported: hours by method, then serving."""
    rows = {
        base.name: [row for row in report.capacity if row.base == base.name]
        for base in report.bases
    }
    shown = [
        base for base in report.bases if base.is_present or any(row.fits for row in rows[base.name])
    ]
    is_wide = _count_columns() >= WIDE_COLUMNS
    head: list[str] = ["  base", *METHODS, "longest", "answers", "memory"]
    table = [head, *(_fill_row(base, rows[base.name]) for base in shown)]
    if is_wide:
        sizes = ["size", *(format_size(base.num_parameters) for base in shown)]
        table = [[row[0], size, *row[1:]] for row, size in zip(table, sizes, strict=True)]
    click.echo(click.style("Time to tune on a million tokens, by method", bold=True))
    for line in _align(table, _count_columns()):
        click.echo(line)
    _show_remarks(report, shown)


def _fill_row(base: ReportBase, rows: Sequence[CapacityRow]) -> list[str]:
    by_method = {row.method: row for row in rows}
    hours = [
        format_hours(row.hours_per_million_tokens) if row and row.fits else "–"
        for row in (by_method.get(method) for method in METHODS)
    ]
    longest = max((row.longest_sequence for row in rows), default=0)
    first = rows[0]
    speed = first.serve_tokens_per_second
    return [
        f"{'●' if base.is_present else ' '} {shorten(base.name)}",
        *hours,
        f"{longest:,}" if longest else "–",
        f"{speed:,.0f}/s" if speed >= 1 else f"{speed:.1f}/s" if speed else "–",
        format_bytes(first.serve_memory_bytes),
    ]


def _show_remarks(report: Report, shown: Sequence[ReportBase]) -> None:
    hidden = [base for base in report.bases if base not in shown]
    unfit = sum(base.exportable for base in hidden)
    remarks = [
        "● on this machine · longest: tokens of the longest pack · answers: tokens a second "
        "to one person, from the exported model, and the memory that takes",
    ]
    if unfit:
        remarks.append(f"{unfit} more do not fit: `appliance report --base NAME` tells why")
    if len(hidden) - unfit:
        remarks.append(f"{len(hidden) - unfit} more are known, but cannot be exported yet")
    for remark in remarks:
        print_row("", remark)


def _show_methods(report: Report) -> None:
    for base in report.bases:
        rows = [row for row in report.capacity if row.base == base.name]
        licence = {"no": " (no commercial use)", "conditional": " (with conditions)"}
        print_row(
            "Base",
            f"{base.name} · {format_size(base.num_parameters)} parameters · context "
            f"{base.context:,} · {base.licence}{licence.get(base.commercial, '')}",
        )
        for row in rows:
            print_row(row.method, _describe_method(row))
        if rows and base.exportable:
            speed = rows[0].serve_tokens_per_second
            memory = format_bytes(rows[0].serve_memory_bytes)
            text = f"{speed:,.1f} tokens a second to one person" if speed else "does not fit"
            print_row("serving", f"{text} · {memory} of memory")


def _describe_method(row: CapacityRow) -> str:
    if not row.fits:
        return f"no: {row.reason}"
    return (
        f"{format_hours(row.hours_per_million_tokens)} for a million tokens "
        f"({row.tokens_per_second:,.0f} a second) · packs of up to {row.longest_sequence:,} tokens "
        f"· {format_bytes(row.memory_bytes)} of memory"
    )


def _align(table: Sequence[Sequence[str]], columns: int) -> Iterator[str]:
    """Lines of a table: numbers to the right, names to the left, cut where there is no room."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    room = columns - sum(width + 2 for width in widths[1:])
    widths[0] = max(MIN_NAME, min(widths[0], room))
    for row in table:
        name = row[0] if len(row[0]) <= widths[0] else row[0][: widths[0] - 1] + "…"
        cells = [f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True)]
        yield "  ".join([f"{name:<{widths[0]}}", *cells])


def _count_columns() -> int:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDE_COLUMNS
