"""For the engineer: what was planned and what came of it, and how training went."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.reports.blocks import (
    Bar,
    Bars,
    Block,
    Note,
    Part,
    Plots,
    Section,
    Stack,
    Table,
)
from appliance.reports.charts import plot_losses, plot_rate, plot_speed, plot_trials
from appliance.reports.record import RunReport, StageDone
from appliance.reports.words import NOT_MEASURED
from appliance.units import format_bytes, format_seconds
from appliance.values import TrainPlan, TunedModel

LEAST_SECONDS = 0.05
"""A stage that nobody planned and that took less is not drawn; its receipt tells it."""


def make_training_pages(report: RunReport) -> tuple[Section, ...]:
    """Plan against reality, then the curves."""
    return tuple(filter(None, (_compare_plan(report), _show_curves(report))))


def _compare_plan(report: RunReport) -> Section | None:
    if report.plan is None:
        return None
    blocks: list[Block] = [_stack_memory(report.plan, report.tuned)]
    blocks.append(_tabulate_totals(report.plan, report.tuned))
    if report.stages:
        blocks.append(_compare_seconds(report.plan, report.stages))
    return Section(
        title="Plan against reality",
        lead="What the planner said before training, and what was measured.",
        blocks=blocks,
    )


def _stack_memory(plan: TrainPlan, tuned: TunedModel | None) -> Stack:
    """Memory by term above what was measured, on one scale."""
    terms = {name: size for name, size in plan.memory.list_terms().items() if size > 0}
    planned = tuned.planned_memory_bytes if tuned else plan.memory.total_bytes
    other = planned - plan.memory.total_bytes
    if other > 0:
        terms["hidden states"] = other
    measured = tuned.peak_memory_bytes if tuned else 0
    most = max(measured, sum(terms.values()), 1)
    bar = Bar(name="measured", start=0, end=100 * measured / most, figure=format_bytes(measured))
    return Stack(
        name="planned",
        figure=format_bytes(planned),
        parts=tuple(
            Part(name=name, percent=100 * size / most, figure=format_bytes(size), shade=number % 8)
            for number, (name, size) in enumerate(sorted(terms.items(), key=lambda row: -row[1]))
        ),
        other=bar if tuned else None,
        note=f"Peak of memory while training, by term; {format_bytes(plan.memory_limit_bytes)} "
        "were there.",
    )


def _tabulate_totals(plan: TrainPlan, tuned: TunedModel | None) -> Table:
    measured = _list_measured(tuned) if tuned else [NOT_MEASURED] * 4
    speed = plan.speed
    planned = [
        format_bytes(tuned.planned_memory_bytes if tuned else plan.memory.total_bytes),
        f"{speed.tokens_per_second:,.0f} ({speed.low:,.0f} to {speed.high:,.0f})" if speed else "–",
        f"{plan.num_steps:,}",
        format_seconds(sum(plan.seconds.values())),
    ]
    names = ("peak memory", "tokens a second", "steps", "training")
    planned[3] = format_seconds(plan.seconds.get("tune", plan.seconds.get("pretrain", 0.0)))
    return Table(
        head=("", "planned", "measured"),
        rows=tuple(zip(names, planned, measured, strict=True)),
        align="lrr",
    )


def _list_measured(tuned: TunedModel) -> list[str]:
    share = f", {tuned.utilisation:.0%} of the machine" if tuned.utilisation is not None else ""
    return [
        format_bytes(tuned.peak_memory_bytes),
        f"{tuned.tokens_per_second:,.0f}{share}",
        f"{tuned.num_steps:,}, kept {tuned.step:,}",
        f"{format_seconds(tuned.seconds)} without the trials of rates",
    ]


def _compare_seconds(plan: TrainPlan, stages: Sequence[StageDone]) -> Bars:
    """A bar a stage, in front of what was planned."""
    measured = {stage.name: stage.seconds for stage in stages}
    most = max([1e-9, *measured.values(), *plan.seconds.values()])
    rows = []
    for name, seconds in measured.items():
        planned = plan.seconds.get(name)
        if planned is None and seconds < LEAST_SECONDS:
            continue
        told = "" if planned is None else f", planned {planned:,.1f} s"
        rows.append(
            Bar(
                name=name,
                start=0,
                end=100 * seconds / most,
                ghost=100 * (planned or 0) / most,
                figure=f"{seconds:,.1f} s{told}",
            )
        )
    total = sum(measured.values())
    return Bars(
        rows=rows,
        caption="Time by stage",
        note=f"In all {total:,.0f} s, where {sum(plan.seconds.values()):,.0f} s were planned. A "
        "stage that an earlier attempt finished counts what it took then.",
    )


def _show_curves(report: RunReport) -> Section | None:
    trials = report.tuned.trials if report.tuned else ()
    drawn = (
        plot_losses(report.curves, report.tuned),
        plot_trials(trials),
        plot_speed(report.curves, report.plan),
        plot_rate(report.curves),
    )
    plots = tuple(filter(None, drawn))
    if not plots:
        return None
    blocks: list[Block] = [Plots(plots=plots)]
    for row in report.curves.ways_back:
        blocks.append(
            Note(
                text=f"{row.reason} at step {row.step}: went on from step {row.to_step} at "
                f"{row.rate_factor:g} times the rate."
            )
        )
    return Section(title="How training went", blocks=blocks)
