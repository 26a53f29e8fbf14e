"""Every page and every call, in one table: pages, API and its OpenAPI document are made from it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel

from appliance.web import jobs, orders
from appliance.web.asks import (
    Ask,
    AuditAsk,
    CompareAsk,
    DocumentsAsk,
    JobAsk,
    JobsAsk,
    PlanAsk,
    PlanIdAsk,
    UploadAsk,
)
from appliance.web.machine_shapes import MachinePage, ModelsPage
from appliance.web.shapes import (
    AuditPage,
    Comparison,
    JobList,
    JobPage,
    JobRow,
    Ledger,
    Verification,
)
from appliance.web.start_shapes import PlanPage, StartPage, UploadPage
from appliance.web.tokens import Scope


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """A page, and the call that tells the same as JSON.

    Attributes:
        path: of the page; the call is at /api and this.
        scope: that a visitor needs.
        load: makes the answer; its docstring is the summary.
        ask: what it may be asked with.
        answer: what comes back.
        template: that draws it; "" where a form leads on to another page.
        then: of a form: where it leads, from fields of the answer.
    """

    method: Literal["GET", "POST"]
    path: str
    scope: Scope
    load: Callable[[Any, Any, Any], Awaitable[BaseModel]]
    ask: type[Ask]
    answer: type[BaseModel]
    template: str = ""
    then: str = ""

    @property
    def summary(self) -> str:
        """One sentence."""
        return (self.load.__doc__ or "").strip().splitlines()[0]


def _page(
    path: str,
    scope: Scope,
    load: Callable[[Any, Any, Any], Awaitable[BaseModel]],
    ask: type[Ask],
    answer: type[BaseModel],
    template: str,
) -> Route:
    return Route(
        method="GET",
        path=path,
        scope=scope,
        load=load,
        ask=ask,
        answer=answer,
        template=template,
    )


def _form(
    path: str,
    scope: Scope,
    load: Callable[[Any, Any, Any], Awaitable[BaseModel]],
    ask: type[Ask],
    answer: type[BaseModel],
    then: str,
) -> Route:
    return Route(
        method="POST", path=path, scope=scope, load=load, ask=ask, answer=answer, then=then
    )


ROUTES = (
    _page("/jobs", "read", jobs.list_jobs, JobsAsk, JobList, "jobs.html"),
    _page("/jobs/{id}", "read", jobs.show_job, JobAsk, JobPage, "job.html"),
    _page(
        "/jobs/{id}/documents", "run", jobs.list_documents, DocumentsAsk, Ledger, "documents.html"
    ),
    _page(
        "/jobs/{id}/verification",
        "run",
        jobs.verify_bundle,
        JobAsk,
        Verification,
        "verification.html",
    ),
    _form("/jobs/{id}/cancel", "run", jobs.cancel, JobAsk, JobRow, "/jobs/{id}"),
    _form("/jobs/{id}/resume", "run", jobs.resume, JobAsk, JobRow, "/jobs/{id}"),
    _form("/jobs/{id}/retry", "run", jobs.retry, JobAsk, JobRow, "/jobs/{id}"),
    _page("/compare", "read", jobs.compare, CompareAsk, Comparison, "compare.html"),
    _page("/start", "run", orders.show_start, Ask, StartPage, "start.html"),
    _form("/uploads", "run", orders.begin_upload, UploadAsk, UploadPage, "/start"),
    _form("/plans", "run", orders.begin_plan, PlanAsk, PlanPage, "/plans/{id}"),
    _page("/plans/{plan}", "run", orders.show_plan, PlanIdAsk, PlanPage, "plan.html"),
    _form("/jobs", "run", orders.start_job, PlanIdAsk, JobRow, "/jobs/{id}"),
    _page("/models", "read", orders.show_models, Ask, ModelsPage, "models.html"),
    _page("/machine", "read", orders.show_machine, Ask, MachinePage, "machine.html"),
    _form("/machine", "run", orders.look_again, Ask, MachinePage, "/machine"),
    _page("/audit", "admin", orders.show_audit, AuditAsk, AuditPage, "audit.html"),
)
