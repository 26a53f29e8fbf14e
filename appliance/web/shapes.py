"""What the pages show and the API answers: one record a page, the same for both.

Whoever only holds the scope `read` gets figures: fields that may name a folder or a file are empty.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from appliance.values import (
    CapacityRow,
    EvalReport,
    FileVerdict,
    Finding,
    Hardware,
    LeakReport,
    MeasuredRates,
    ParityReport,
    TrainPlan,
    TunedModel,
    Verdict,
)
from appliance.values.record import Value
from appliance.web.audit import Entry
from appliance.web.curves import Curves


class _Answer(BaseModel):
    """What another process of ours told; what it says beyond is of no use here."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Fault(_Answer):
    """An error: what happened, why, and what to do."""

    what: str
    why: str = ""
    fix: str = ""


class JobRow(_Answer):
    """A job.

    Attributes:
        label: name of its run, made from the folder's name.
        state: queued, waiting, running, stopping, paused, done, failed or canceled.
        started_at: seconds since 1970, like all that end in `_at`.
        seconds_left: of its stage.
    """

    id: int
    kind: str
    label: str
    state: str
    submitted_at: float
    started_at: float | None = None
    ended_at: float | None = None
    attempts: int = 0
    crashes: int = 0
    interruptions: int = 0
    stage: str = ""
    done: int = 0
    total: int = 0
    unit: str = ""
    loss: float | None = None
    held_out: float | None = None
    tokens_per_second: float | None = None
    seconds_left: float | None = None
    resident_bytes: int | None = None
    waits_for: str = ""
    reason: str = ""
    trouble: str = ""
    error: Fault | None = None

    @property
    def name(self) -> str:
        """For people; its number tells it from other jobs of the same run."""
        return f"{self.label} · job {self.id}" if self.label else f"job {self.id}"

    @property
    def is_live(self) -> bool:
        """Whether something may still happen by itself."""
        return self.state in ("queued", "waiting", "running", "stopping")


class JobList(Value):
    """Jobs, the newest first; `next` is what to ask `before` for the next page."""

    jobs: tuple[JobRow, ...]
    next: int | None = None
    counts: dict[str, int]
    trouble: str = ""


class FileCounts(_Answer):
    """Files of a folder, by what became of them."""

    num_files: int
    num_used: int
    num_duplicates: int
    num_skipped: int
    num_characters: int
    num_secrets_masked: int
    masked: dict[str, int] = {}


class TokenCounts(Value):
    """Tokens of the splits."""

    train: int
    supervised: int
    valid: int
    test: int
    dropped: int


class BundleFacts(_Answer):
    """A bundle."""

    manifest_sha256: str
    num_bytes: int


class JobPage(Value):
    """A job, how it went, and what its stages made so far.

    Attributes:
        stage_seconds: of finished stages, from their receipts.
    """

    job: JobRow
    curves: Curves
    stage_seconds: dict[str, float]
    files: FileCounts | None = None
    tokens: TokenCounts | None = None
    plan: TrainPlan | None = None
    tuned: TunedModel | None = None
    evaluation: EvalReport | None = None
    parity: ParityReport | None = None
    bundle: BundleFacts | None = None
    leaks: LeakReport | None = None
    verdict: Verdict | None = None


class Ledger(Value):
    """Lines of a documents ledger; `next` is what to ask `after` for the next page."""

    job: JobRow
    files: FileCounts | None
    verdict: str
    after: int
    rows: tuple[FileVerdict, ...]
    next: int | None


class Verification(Value):
    """A bundle that was held against its manifest, and is whole."""

    job: JobRow
    num_files: int
    num_bytes: int
    manifest_sha256: str
    signed: str


class Comparison(Value):
    """Two jobs side by side; None where none is chosen."""

    choices: tuple[JobRow, ...]
    left: JobPage | None = None
    right: JobPage | None = None


class BaseRow(_Answer):
    """A base model that is known; `why_not` says why it cannot be exported."""

    name: str
    num_parameters: int
    context: int
    licence: str
    commercial: str
    is_present: bool
    exportable: bool
    why_not: str = ""


class MachineReport(_Answer):
    """What `appliance report --json` tells."""

    made_at: float
    host: str
    headline: str
    machine: Hardware
    rates: MeasuredRates | None = None
    findings: tuple[Finding, ...] = ()
    bases: tuple[BaseRow, ...] = ()
    capacity: tuple[CapacityRow, ...] = ()


class ServiceFacts(_Answer):
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


class FolderRow(Value):
    """A folder that may be tuned on; `id` stands for its path."""

    id: str
    name: str
    num_files: int


class UploadPage(Value):
    """Files that were sent so far, to start a job with."""

    id: str
    name: str
    num_files: int
    num_bytes: int


class StartPage(Value):
    """What a job can be started with; `upload_bytes` may be sent, none where it is 0."""

    roots: int
    upload_bytes: int
    folders: tuple[FolderRow, ...]
    bases: tuple[BaseRow, ...]


class PlannedTokens(_Answer):
    """Tokens that a plan counted."""

    train: int
    supervised: int


class SkippedFile(_Answer):
    """A file that a plan leaves out."""

    path: str
    verdict: str
    reason: str
    fix: str


class Planned(_Answer):
    """What `appliance plan --json` tells."""

    plan: TrainPlan
    files: dict[str, int]
    skipped_files: tuple[SkippedFile, ...]
    tokens: PlannedTokens


class PlanPage(Value):
    """A plan that somebody asked for: under way, made, or refused."""

    id: str
    folder: str
    base: str
    began_at: float
    planned: Planned | None = None
    fault: Fault | None = None

    @property
    def is_ready(self) -> bool:
        """Whether nothing more will come."""
        return self.planned is not None or self.fault is not None


class AuditPage(Value):
    """Lines of the audit log, the newest first, and whether the log is whole."""

    entries: tuple[Entry, ...]
    next: int | None
    num_lines: int
    fault: Fault | None = None
