"""What `appliance report` tells, as one value: the text, the page and `--json` all draw from it."""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from appliance import __version__
from appliance.cli.report_words import shorten, write_headline
from appliance.units import GIB
from appliance.values import BaseSpec, CapacityRow, Finding, Hardware, MeasuredRates, Rejected
from appliance.values.record import Value

if TYPE_CHECKING:
    from appliance.bases.known import KnownBase

SCHEMA_VERSION = 2
"""Counts up when a field is renamed, removed or means something else; new fields do not count."""


class ReportBase(Value):
    """A base model of the report.

    Attributes:
        name: as it is given to --base.
        context: positions it was made for.
        commercial: whether its licence permits commercial use.
        is_present: whether it is on this machine.
        exportable: whether what is tuned from it can be exported; `why_not` says why it cannot.
    """

    name: str
    num_parameters: int
    context: int
    licence: str
    commercial: Literal["yes", "no", "conditional", "unknown"]
    is_present: bool
    exportable: bool
    why_not: str = ""


class Report(Value):
    """What this machine is, what is wrong with it, and what it can tune and serve.

    Attributes:
        schema_version: of this layout.
        made_at: seconds since 1970.
        appliance_version: of the program that made it.
        host: name of the machine.
        what_if: what was imagined, such as "RTX 4090"; "" for the machine as it is.
        headline: what the machine can do, in a sentence.
        machine: as probed; its findings stand beside it, not in it.
        rates: what was measured with --measure, now or earlier; None for nothing.
        findings: the worst first.
        bases: present ones first, then known ones; each group by size.
        broken_bases: that are there and are left out, with the reason.
        capacity: a row for every base and method.
    """

    schema_version: int = SCHEMA_VERSION
    made_at: float
    appliance_version: str
    host: str
    what_if: str
    headline: str
    machine: Hardware
    rates: MeasuredRates | None
    findings: tuple[Finding, ...]
    bases: tuple[ReportBase, ...]
    broken_bases: tuple[Rejected, ...]
    capacity: tuple[CapacityRow, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Imagined:
    """What to imagine instead of what is there; None for nothing.

    Attributes:
        card: name of a GPU.
        ram_gib: main memory.
        disk_gib: free where runs are kept.
    """

    card: str | None = None
    ram_gib: float | None = None
    disk_gib: float | None = None

    def describe(self, hardware: Hardware) -> str:
        """In words; "" for nothing.

        Args:
            hardware: as imagined.
        """
        parts = [hardware.gpus[0].name] if self.card is not None else []
        parts += [f"{self.ram_gib:g} GiB of memory"] if self.ram_gib is not None else []
        parts += [f"{self.disk_gib:g} GiB of disk"] if self.disk_gib is not None else []
        return ", ".join(parts)


def make_report(runs: Path, base: str | None, imagined: Imagined, *, measure: bool) -> Report:
    """Look at this machine, or imagine another one, and tell what it can do.

    Args:
        runs: where runs are kept.
        base: one base only; None for all that are present or known.
        imagined: what to take for granted.
        measure: measure speeds first.

    Raises:
        ApplianceError: the card or the base is unknown, or the measurement failed.
    """
    from appliance.bases.known import imagine_spec
    from appliance.hardware.probe import inspect
    from appliance.hardware.rates import load_rates
    from appliance.hardware.rates import measure as measure_rates
    from appliance.planning.capacity import tabulate_capacity

    present, known, broken = _find_bases(base)
    rates = measure_rates(runs) if measure else load_rates()
    hardware = imagine(inspect(runs, rates), imagined)
    capacity = tabulate_capacity(hardware, [*present, *map(imagine_spec, known)], rates)
    bases = (*map(_describe_present, present), *map(_describe_known, known))
    return Report(
        made_at=time.time(),
        appliance_version=__version__,
        host=platform.node(),
        what_if=imagined.describe(hardware),
        headline=write_headline(bases, capacity, is_imagined=imagined != Imagined()),
        machine=hardware.model_copy(update={"findings": ()}),
        rates=rates,
        findings=hardware.findings,
        bases=bases,
        broken_bases=broken,
        capacity=capacity,
    )


def imagine(hardware: Hardware, imagined: Imagined) -> Hardware:
    """This machine with other parts; as much memory is in use as now."""
    from appliance.hardware.cards import imagine_card

    if imagined.card is not None:
        hardware = imagine_card(hardware, imagined.card)
    changes: dict[str, int] = {}
    if imagined.ram_gib is not None:
        total = int(imagined.ram_gib * GIB)
        used = hardware.memory_total_bytes - hardware.memory_bytes
        changes |= {"memory_total_bytes": total, "memory_bytes": max(0, total - used)}
    if imagined.disk_gib is not None:
        changes["disk_free_bytes"] = int(imagined.disk_gib * GIB)
    return hardware.model_copy(update=changes)


def _find_bases(
    base: str | None,
) -> tuple[list[BaseSpec], list[KnownBase], tuple[Rejected, ...]]:
    """Bases on this machine, those that could be brought, and those that are left out."""
    from appliance.bases.catalogue import find_bases
    from appliance.bases.known import list_known

    if base is not None:
        known = _find_known(base)
        return ([], [known], ()) if known else (list(find_bases(base).specs), [], ())
    choices = find_bases()
    present = sorted(choices.specs, key=lambda spec: spec.num_parameters)
    here = {shorten(spec.name).lower() for spec in present}
    others = [each for each in list_known() if shorten(each.name).lower() not in here]
    return present, others, choices.broken


def _find_known(base: str) -> KnownBase | None:
    """The known base of a name, with or without its maker; None for one that is present."""
    from appliance.bases.catalogue import list_places
    from appliance.bases.known import find_known, list_known

    if Path(base).expanduser().is_dir() or base in {place.name for place in list_places()}:
        return None
    named = [each for each in list_known() if shorten(each.name).lower() == base.lower()]
    return find_known(base) or next(iter(named), None)


def _describe_present(spec: BaseSpec) -> ReportBase:
    from appliance.bases.known import explain_licence

    return ReportBase(
        name=spec.name,
        num_parameters=spec.num_parameters,
        context=spec.context,
        licence=spec.licence,
        commercial=explain_licence(spec.licence).commercial,
        is_present=True,
        exportable=spec.exportable,
        why_not=spec.why_not,
    )


def _describe_known(known: KnownBase) -> ReportBase:
    return ReportBase(
        name=known.name,
        num_parameters=known.num_parameters,
        context=known.context,
        licence=known.terms.licence,
        commercial=known.terms.commercial,
        is_present=False,
        exportable=not known.why_not,
        why_not=known.why_not,
    )
