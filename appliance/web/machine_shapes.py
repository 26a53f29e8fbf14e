"""The machine, its bases and the bundles that were made: what pages show and the API answers."""

from __future__ import annotations

from appliance.values import (
    CapacityRow,
    Finding,
    Hardware,
    MeasuredRates,
)
from appliance.values.record import Value
from appliance.web.shapes import Answer, Fault, JobRow


class BaseRow(Answer):
    """A base model that is known; `why_not` says why it cannot be exported."""

    name: str
    num_parameters: int
    context: int
    licence: str
    commercial: str
    is_present: bool
    exportable: bool
    why_not: str = ""


class MachineReport(Answer):
    """What `appliance report --json` tells."""

    made_at: float
    host: str
    headline: str
    machine: Hardware
    rates: MeasuredRates | None = None
    findings: tuple[Finding, ...] = ()
    bases: tuple[BaseRow, ...] = ()
    capacity: tuple[CapacityRow, ...] = ()


class ServiceFacts(Answer):
    """The service as it tells of itself."""

    version: str
    started_at: float
    is_draining: bool
    trouble: str
    settings_fault: str
    jobs: dict[str, int]
    disk_free_bytes: int


class MachinePage(Value):
    """The machine; `report` is None while it is being looked at."""

    service: ServiceFacts | None
    report: MachineReport | None
    fault: Fault | None = None


class BundleRow(Value):
    """A bundle that a job made."""

    job: JobRow
    base: str
    precision: str
    base_loss: float
    shipped_loss: float
    decision: str = ""


class ModelsPage(Value):
    """Bases that are here or known, and bundles that jobs made; `bases` is None while looking."""

    bases: tuple[BaseRow, ...] | None
    bundles: tuple[BundleRow, ...]
