"""`appliance report`: what this machine can tune and serve, and what should be mended."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from appliance.planning.capacity import MethodFit
    from appliance.values import BaseChoices, Hardware

EXAMPLE = """
\b
Example:
  appliance report
  appliance report --json | jq .findings
"""


@click.command(epilog=EXAMPLE)
@click.option("--base", help="A model folder, or 'embedded'. Default: all that are present.")
@click.option(
    "--runs",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Where runs are kept: its disk is measured.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, nothing else.")
def report(base: str | None, runs: Path, as_json: bool) -> None:
    """Tell what this machine can tune and serve, and what should be mended."""
    from appliance.bases.catalogue import find_bases
    from appliance.cli.output import print_json
    from appliance.hardware.probe import probe
    from appliance.planning.capacity import list_methods

    hardware = probe(runs)
    bases = find_bases(base)
    fits = {spec.name: list_methods(spec, hardware) for spec in bases.specs}
    if as_json:
        print_json(_collect(hardware, bases, fits))
    else:
        _show(hardware, bases, fits)


def _collect(
    hardware: Hardware, bases: BaseChoices, fits: dict[str, list[MethodFit]]
) -> dict[str, Any]:
    body = hardware.model_dump(mode="json")
    body["bases"] = [
        {
            "name": spec.name,
            "parameters": spec.num_parameters,
            "licence": spec.licence,
            "exportable": spec.exportable,
            "why_not": spec.why_not,
            "methods": [
                {
                    "method": fit.method,
                    "fits": not fit.why_not,
                    "needed_bytes": fit.needed_bytes,
                    "why_not": fit.why_not,
                }
                for fit in fits[spec.name]
            ],
        }
        for spec in bases.specs
    ]
    body["broken_bases"] = [row.model_dump() for row in bases.broken]
    return body


def _show(hardware: Hardware, bases: BaseChoices, fits: dict[str, list[MethodFit]]) -> None:
    from appliance.cli.output import print_row, print_table
    from appliance.units import format_bytes, format_count

    for gpu in hardware.gpus:
        free = f"{format_bytes(gpu.free_bytes)} of {format_bytes(gpu.total_bytes)} free"
        kind = "bfloat16" if gpu.supports_bf16 else "float32"
        state = kind if gpu.usable else f"cannot be used: {gpu.why_not}"
        print_row("GPU", f"{gpu.name} · {free} · capability {gpu.capability} · {state}")
    if not hardware.gpus:
        print_row("GPU", "none")
    cpu = hardware.cpu
    sets = f" · {', '.join(cpu.instruction_sets)}" if cpu.instruction_sets else ""
    plural = "s" if cpu.num_cores != 1 else ""
    print_row(
        "CPU", f"{cpu.name} · {cpu.num_cores} core{plural} · {cpu.gflops_fp32:.0f} GFLOP/s{sets}"
    )
    total = format_bytes(hardware.memory_total_bytes)
    print_row("Memory", f"{format_bytes(hardware.memory_bytes)} of {total} can be used")
    print_row("Disk", f"{format_bytes(hardware.disk_free_bytes)} free where runs are written")
    print_row("Bases", f"{len(bases.specs)} present")
    rows = [
        (spec.name, format_count(spec.num_parameters), fit.method, _tell(fit))
        for spec in bases.specs
        for fit in fits[spec.name]
    ]
    print_table(("base", "parameters", "method", "needs"), rows)
    for row in bases.broken:
        print_row("Broken", f"{row.choice}: {row.reason}")
    for finding in hardware.findings:
        print_row("Finding", finding.what, f"fix: {finding.fix}")


def _tell(fit: MethodFit) -> str:
    from appliance.units import format_bytes

    return f"no: {fit.why_not}" if fit.why_not else format_bytes(fit.needed_bytes)
