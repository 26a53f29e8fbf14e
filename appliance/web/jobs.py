"""Jobs as pages and API tell them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from appliance.errors import ServiceError
from appliance.values import (
    EvalReport,
    LeakReport,
    ParityReport,
    TrainPlan,
    TunedModel,
    Verdict,
)
from appliance.web.asks import CompareAsk, DocumentsAsk, JobAsk, JobsAsk
from appliance.web.curves import Curves
from appliance.web.desk import Desk, Visitor
from appliance.web.shapes import (
    BundleFacts,
    Comparison,
    Fault,
    FileCounts,
    JobList,
    JobPage,
    JobRow,
    Ledger,
    TokenCounts,
    Verification,
)

PAGE_JOBS = 50
PAGE_FILES = 100

M = TypeVar("M", bound=BaseModel)

HIDDEN = Fault(
    what="it failed",
    why="the reason may name folders and files, which this login does not show",
    fix="log in with a token of the scope run",
)


async def list_jobs(desk: Desk, who: Visitor, ask: JobsAsk) -> JobList:
    """Jobs, the newest first."""
    page: dict[str, Any] = {"before": ask.before} if ask.before else {}
    answer = await desk.ask("GET", "/v1/jobs", limit=PAGE_JOBS, **page)
    status = await desk.ask("GET", "/v1/status")
    jobs = tuple(read_row(view, who) for view in answer["jobs"])
    return JobList(
        jobs=jobs,
        next=jobs[-1].id if len(jobs) == PAGE_JOBS and jobs[-1].id > 1 else None,
        counts=status["jobs"],
        trouble=status["trouble"] or status["settings_fault"],
    )


async def show_job(desk: Desk, who: Visitor, ask: JobAsk) -> JobPage:
    """One job: its progress, its curves, and what its stages made so far."""
    view, curves = await desk.read_history(ask.id)
    stages = (await desk.ask("GET", f"/v1/jobs/{ask.id}/stages"))["stages"]
    return make_page(view, curves, stages, who)


def make_page(
    view: dict[str, Any], curves: Curves, stages: dict[str, Any], who: Visitor
) -> JobPage:
    """A job's page from what the service told."""
    values = {name: stage["value"] for name, stage in stages.items()}
    result = view.get("result") or {}
    if not who.may("run"):
        curves = curves.model_copy(update={"messages": ()})
    if not view["attempts"]:  # what lies in its run is of an earlier job
        values = {}
    return JobPage(
        job=read_row(view, who),
        curves=curves,
        stage_seconds={name: stages[name]["seconds"] for name in values},
        files=_read(FileCounts, values.get("corpus")),
        tokens=_count_tokens(values.get("dataset")),
        plan=_read(TrainPlan, values.get("plan")),
        tuned=_read(TunedModel, values.get("tune") or values.get("pretrain")),
        evaluation=_read(EvalReport, values.get("evaluate") or values.get("judge")),
        parity=_read(ParityReport, (values.get("parity") or {}).get("parity")),
        bundle=_read(BundleFacts, values.get("bundle")),
        leaks=_read(LeakReport, result.get("leaks") or values.get("audit")),
        verdict=_read(Verdict, result.get("verdict") or values.get("verdict")),
    )


async def list_documents(desk: Desk, who: Visitor, ask: DocumentsAsk) -> Ledger:
    """What became of every file of a job's folder."""
    view = await desk.ask("GET", f"/v1/jobs/{ask.id}")
    stages = (await desk.ask("GET", f"/v1/jobs/{ask.id}/stages"))["stages"]
    answer = await desk.ask(
        "GET",
        f"/v1/jobs/{ask.id}/documents",
        verdict=ask.verdict,
        after=ask.after,
        limit=PAGE_FILES,
    )
    await desk.do(desk.audit.note, who.name, "see documents", str(ask.id))
    return Ledger(
        job=read_row(view, who),
        files=_read(FileCounts, (stages.get("corpus") or {}).get("value")),
        verdict=ask.verdict,
        after=ask.after,
        rows=tuple(answer["rows"]),
        next=answer["next"],
    )


async def verify_bundle(desk: Desk, who: Visitor, ask: JobAsk) -> Verification:
    """Hold every file of a job's bundle against its manifest."""
    view = await desk.ask("GET", f"/v1/jobs/{ask.id}")
    answer = await desk.ask("GET", f"/v1/jobs/{ask.id}/verification")
    return Verification(job=read_row(view, who), **answer)


async def find_models(desk: Desk, job_id: int) -> Path:
    """The run of a job whose models can be asked.

    Raises:
        ServiceError: the job made no bundle.
    """
    view = await desk.ask("GET", f"/v1/jobs/{job_id}")
    if "bundle" not in (view.get("result") or {}):
        raise ServiceError(
            f"there is no model of job {job_id} to ask",
            why="it is not done, or made no bundle",
            fix="choose a job that is done",
        )
    return Path(view["run"])


async def compare(desk: Desk, who: Visitor, ask: CompareAsk) -> Comparison:
    """Two jobs side by side."""
    views = (await desk.ask("GET", "/v1/jobs", limit=PAGE_JOBS))["jobs"]
    left, right = [
        await show_job(desk, who, JobAsk(id=job)) if job else None for job in (ask.left, ask.right)
    ]
    choices = tuple(read_row(view, who) for view in views if view["attempts"])
    return Comparison(choices=choices, left=left, right=right)


async def cancel(desk: Desk, who: Visitor, ask: JobAsk) -> JobRow:
    """Stop a job at the next safe point; what it did is kept."""
    return await _steer(desk, who, ask.id, "cancel")


async def resume(desk: Desk, who: Visitor, ask: JobAsk) -> JobRow:
    """Let a canceled or paused job go on where it was."""
    return await _steer(desk, who, ask.id, "resume")


async def retry(desk: Desk, who: Visitor, ask: JobAsk) -> JobRow:
    """Try a failed job again, from its last finished stage or checkpoint."""
    return await _steer(desk, who, ask.id, "retry")


async def _steer(desk: Desk, who: Visitor, job_id: int, verb: str) -> JobRow:
    view = await desk.ask("POST", f"/v1/jobs/{job_id}/{verb}")
    await desk.do(desk.audit.note, who.name, verb, str(job_id))
    return read_row(view, who)


def read_row(view: dict[str, Any], who: Visitor) -> JobRow:
    """A job from what the service told, with as much as this visitor may see."""
    row = JobRow.model_validate({name: value for name, value in view.items() if value is not None})
    if who.may("run"):
        return row
    return row.model_copy(update={"label": "", "error": HIDDEN if row.error else None})


def _count_tokens(dataset: dict[str, Any] | None) -> TokenCounts | None:
    if dataset is None:
        return None
    splits = dataset.get("dataset", dataset)  # pretraining wraps it
    try:
        return TokenCounts(
            train=splits["train"]["num_tokens"],
            supervised=splits["train"]["num_labels"],
            valid=splits["valid"]["num_tokens"],
            test=splits["test"]["num_tokens"],
            dropped=splits["num_tokens_dropped"],
        )
    except (KeyError, TypeError):
        return None


def _read(kind: type[M], value: dict[str, Any] | None) -> M | None:
    """A value; None if it is not there yet, or was made by another version."""
    if value is None:
        return None
    try:
        return kind.model_validate(value)
    except ValidationError:
        return None
