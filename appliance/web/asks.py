"""What a page or a call may be asked with: checked before anything is done with it.

A field that stands in the path of a route comes from there; the others from the query or the body.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from appliance.beside.orders import MAX_TOKENS

MAX_ID = 2**63 - 1

JobId = Annotated[int, Field(ge=1, le=MAX_ID)]
HexId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


class Ask(BaseModel):
    """Nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class JobAsk(Ask):
    """One job."""

    id: JobId


class QuestionAsk(JobAsk):
    """A question to the models of a job; `search` puts passages before it."""

    question: Annotated[str, Field(min_length=1, max_length=4000)]
    max_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS)] = 256
    search: bool = True


class JobsAsk(Ask):
    """A page of jobs: those with smaller numbers than `before`."""

    before: JobId | None = None


class DocumentsAsk(JobAsk):
    """A page of a documents ledger."""

    verdict: Literal["", "used", "duplicate", "skipped"] = ""
    after: Annotated[int, Field(ge=0, le=2**31)] = 0


class CompareAsk(Ask):
    """Two jobs."""

    left: JobId | None = None
    right: JobId | None = None


class UploadAsk(Ask):
    """An upload to begin; `name` is what its folder is called."""

    name: Annotated[str, Field(max_length=200)] = ""


class FileAsk(Ask):
    """A file of an upload, with the folders that it lies in."""

    upload: HexId
    name: Annotated[str, Field(min_length=1, max_length=2000)]


class PlanAsk(Ask):
    """A plan for a folder or an upload; `base` "" leaves the choice to the planner."""

    folder: HexId
    base: Annotated[str, Field(max_length=200)] = ""


class PlanIdAsk(Ask):
    """One plan."""

    plan: HexId


class AuditAsk(Ask):
    """A page of the audit log: lines with smaller numbers than `before`."""

    before: JobId | None = None
