"""For the engineer: who decided what, where the run was made, and what proves it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from appliance.reports.blocks import Block, Section, Table
from appliance.reports.figures import list_figures
from appliance.reports.record import Origin, RunReport, StageDone
from appliance.units import format_bytes
from appliance.values import TrainPlan

ELSEWHERE = {
    "evaluation": ("evaluate", ""),
    "pretraining": ("judge", ""),
    "parity": ("parity", "parity"),
    "leaks": ("leaks", ""),
    "verdict": ("verdict", ""),
}
"""Parts of the result that are values of stages and stand there: the stage, and the field of it."""


def make_origin_pages(report: RunReport) -> tuple[Section, ...]:
    """Decisions and recipe, machine, hashes, and every figure."""
    sections = [
        _tell_decisions(report.plan, report.origin),
        _tell_machine(report.origin),
        _tell_proofs(report),
        _tell_figures(report),
    ]
    return tuple(section for section in sections if section is not None and section.blocks)


def _tell_decisions(plan: TrainPlan | None, origin: Origin) -> Section:
    blocks: list[Block] = []
    if plan is not None and plan.decisions:
        blocks.append(
            Table(
                caption="What was decided, by whom, and why",
                head=("key", "value", "by", "why"),
                rows=tuple((row.name, row.value, row.by, row.reason) for row in plan.decisions),
                align="mlnx",
            )
        )
    if plan is not None and plan.rejected:
        blocks.append(
            Table(
                caption="What was not taken",
                head=("choice", "why not"),
                rows=tuple((row.choice, row.reason) for row in plan.rejected),
                align="lx",
            )
        )
    if origin.settings:
        order = {"person": 0, "recipe": 1, "default": 2}
        blocks.append(
            Table(
                caption="The recipe, key by key",
                head=("key", "value", "from"),
                rows=tuple(
                    (row.key, row.value, row.origin)
                    for row in sorted(origin.settings, key=lambda row: order[row.origin])
                ),
                align="mxn",
                is_dense=True,
            )
        )
    return Section(title="Recipe and decisions", blocks=blocks)


def _tell_machine(origin: Origin) -> Section:
    blocks: list[Block] = []
    if origin.hardware:
        rows = tuple(_describe_hardware(origin.hardware))
        blocks.append(Table(head=("part", ""), rows=rows, align="ll"))
    if origin.versions:
        versions = {
            "appliance": origin.appliance_version,
            "Python": origin.python,
            "system": origin.system,
            **origin.versions,
        }
        blocks.append(
            Table(
                caption="Versions",
                head=("package", "version"),
                rows=tuple(versions.items()),
                align="lm",
                is_dense=True,
            )
        )
    return Section(
        title="Where it was made",
        lead="No name of a machine or a person stands here.",
        blocks=blocks,
    )


def _describe_hardware(hardware: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for gpu in hardware.get("gpus", ()):
        yield "GPU", f"{gpu['name']}, {format_bytes(gpu['total_bytes'])}, driver {gpu['driver']}"
    cpu = hardware["cpu"]
    yield (
        "processor",
        f"{cpu['name']}, {cpu['num_cores']} cores that the job could use, "
        f"{cpu['gflops_fp32']:,.0f} GFLOP/s (fp32)",
    )
    yield (
        "memory",
        f"{format_bytes(hardware['memory_bytes'])} of "
        f"{format_bytes(hardware['memory_total_bytes'])} free",
    )
    yield "disk", f"{format_bytes(hardware['disk_free_bytes'])} free where runs are kept"


def _tell_proofs(report: RunReport) -> Section:
    named = {
        "base model": report.base.sha256 if report.base else "",
        "documents, as text": report.corpus.sha256 if report.corpus else "",
        "examples": report.dataset.sha256 if report.dataset else "",
        "manifest of the bundle": report.bundle.manifest_sha256 if report.bundle else "",
    }
    rows = [(name, sha256) for name, sha256 in named.items() if sha256]
    blocks: list[Block] = []
    if rows:
        blocks.append(
            Table(
                head=("sha256 of", ""),
                rows=rows,
                align="lm",
                note=f"Signed: {report.signed}."
                if report.signed
                else "appliance verify BUNDLE "
                "holds every file against the manifest, and tells who signed it.",
            )
        )
    if report.stages:
        blocks.append(
            Table(
                caption="Receipts",
                head=("stage", "seconds", "sha256 of what went in"),
                rows=tuple(
                    (stage.name, f"{stage.seconds:,.3f}", stage.inputs) for stage in report.stages
                ),
                align="lrm",
                is_dense=True,
            )
        )
    return Section(title="Hashes and signature", blocks=blocks)


def _leave_out(stage: StageDone) -> dict[str, Any]:
    """A value without the parts that are sentences, told under Recipe and decisions."""
    return {
        name: part for name, part in stage.value.items() if name not in ("decisions", "rejected")
    }


def _tell_figures(report: RunReport) -> Section:
    blocks: list[Block] = [
        Table(
            caption=stage.name,
            head=("field", "value"),
            rows=tuple(list_figures(_leave_out(stage))),
            align="mx",
            is_dense=True,
        )
        for stage in report.stages
    ]
    if report.result is not None:
        names = {stage.name for stage in report.stages}
        told = {name for name, (stage, _) in ELSEWHERE.items() if stage in names}
        body = report.result.model_dump(mode="json", exclude=told)
        rows = tuple(list_figures(body))
        blocks.append(
            Table(caption="result", head=("field", "value"), rows=rows, align="mx", is_dense=True)
        )
    return Section(
        title="Every figure",
        lead="The values of all stages as they are, to six digits; in full: appliance report RUN "
        "--json. Bytes, tokens and seconds; loss in nats per supervised token.",
        blocks=blocks,
        in_columns=True,
    )
