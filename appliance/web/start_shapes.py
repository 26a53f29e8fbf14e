"""The way to a job, from documents to a plan: what pages show and the API answers."""

from __future__ import annotations

from appliance.values import (
    TrainPlan,
)
from appliance.values.record import Value
from appliance.web.machine_shapes import BaseRow
from appliance.web.shapes import Answer, Fault


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


class PlannedTokens(Answer):
    """Tokens that a plan counted."""

    train: int
    supervised: int


class SkippedFile(Answer):
    """A file that a plan leaves out."""

    path: str
    verdict: str
    reason: str
    fix: str


class Planned(Answer):
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
