"""Jobs as the pages show them and the API answers: one record a page, the same for both.

Whoever only holds the scope `read` gets figures: fields that may name a folder or a file are empty.
The machine: `machine_shapes.py`; the way to a job: `start_shapes.py`.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from appliance.values import (
    EvalReport,
    FileVerdict,
    LeakReport,
    ParityReport,
    TrainPlan,
    TunedModel,
    Verdict,
)
from appliance.values.record import Value
from appliance.web.audit import Entry
from appliance.web.curves import Curves


class Answer(BaseModel):
    """What another process of ours told; what it says beyond is of no use here."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Fault(Answer):
    """An error: what happened, why, and what to do."""

    what: str
    why: str = ""
    fix: str = ""


class JobRow(Answer):
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


class FileCounts(Answer):
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


class BundleFacts(Answer):
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


class AuditPage(Value):
    """Lines of the audit log, the newest first, and whether the log is whole."""

    entries: tuple[Entry, ...]
    next: int | None
    num_lines: int
    fault: Fault | None = None
