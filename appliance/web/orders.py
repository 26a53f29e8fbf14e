"""Starting jobs: folders, a plan, the job; and the pages about machine, models and audit log."""

from __future__ import annotations

from typing import Any

from appliance.daemon.client import HandOverNeeded
from appliance.errors import ApplianceError, BaseModelError, ServiceError
from appliance.web.asks import Ask, AuditAsk, PlanAsk, PlanIdAsk, UploadAsk
from appliance.web.desk import Desk, Visitor
from appliance.web.folders import find_folder, list_folders
from appliance.web.jobs import PAGE_JOBS, read_row
from appliance.web.machine_shapes import BaseRow, BundleRow, MachinePage, ModelsPage, ServiceFacts
from appliance.web.plans import Wish
from appliance.web.receiving import show_upload
from appliance.web.shapes import AuditPage, Fault, JobRow
from appliance.web.start_shapes import FolderRow, PlanPage, StartPage, UploadPage

PAGE_LINES = 100


async def show_start(desk: Desk, who: Visitor, ask: Ask) -> StartPage:
    """Folders and bases that a job can be started with."""
    desk.machine.look()
    folders = await desk.do(list_folders, desk.roots)
    return StartPage(
        roots=len(desk.roots),
        upload_bytes=desk.uploads.max_bytes,
        folders=tuple(
            FolderRow(id=folder.id, name=folder.path.name, num_files=folder.num_files)
            for folder in folders
        ),
        bases=_list_bases(desk, present_only=True),
    )


async def begin_upload(desk: Desk, who: Visitor, ask: UploadAsk) -> UploadPage:
    """Begin an upload; its files follow one by one."""
    upload = await desk.do(desk.uploads.begin, ask.name)
    await desk.do(desk.audit.note, who.name, "upload", upload.id[:8])
    return show_upload(upload)


async def begin_plan(desk: Desk, who: Visitor, ask: PlanAsk) -> PlanPage:
    """Read a folder or an upload and plan; nothing is trained."""
    upload = desk.uploads.find(ask.folder)
    folder = upload.folder if upload else await desk.do(find_folder, desk.roots, ask.folder)
    known = {base.name for base in _list_bases(desk, present_only=True)}
    if ask.base and ask.base not in known:
        raise BaseModelError(
            "there is no such base model on this machine",
            why="only bases that are here, and can be exported, may be chosen",
            fix="choose one from the list; appliance bases add FOLDER adds another",
        )
    page = desk.plans.begin(
        Wish(documents=folder, base=ask.base, upload=upload.id if upload else "")
    )
    await desk.do(desk.audit.note, who.name, "plan", page.id[:8])
    return page


async def show_plan(desk: Desk, who: Visitor, ask: PlanIdAsk) -> PlanPage:
    """A plan that was asked for."""
    return desk.plans.find(ask.plan)[0]


async def start_job(desk: Desk, who: Visitor, ask: PlanIdAsk) -> JobRow:
    """Start what a plan tells; twice the same plan is one job."""
    page, wish = desk.plans.find(ask.plan)
    if page.planned is None:
        raise ServiceError(
            "there is no plan to start yet",
            why="it is still being made, or it failed",
            fix="wait for it, or ask for another",
        )
    order: dict[str, Any] = {
        "key": f"plan-{page.id}",
        "documents": str(wish.documents),
        "base": wish.base or None,
        "by_person": ["base"] if wish.base else [],
    }
    try:
        answer = await desk.ask("POST", "/v1/jobs", order)
    except HandOverNeeded:
        await desk.do(desk.client.hand_over, wish.documents)
        answer = await desk.ask("POST", "/v1/jobs", order | {"is_handed_over": True})
    if wish.upload:
        await desk.do(desk.uploads.note_use, wish.upload, answer["job"]["id"])
    await desk.do(desk.audit.note, who.name, "start", str(answer["job"]["id"]))
    return read_row(answer["job"], who)


async def show_machine(desk: Desk, who: Visitor, ask: Ask) -> MachinePage:
    """What this machine is, what it can tune and serve, and what should be mended."""
    desk.machine.look()
    try:
        service = ServiceFacts.model_validate(await desk.ask("GET", "/v1/status"))
    except ApplianceError:
        service = None
    return MachinePage(service=service, report=desk.machine.report, fault=desk.machine.fault)


async def look_again(desk: Desk, who: Visitor, ask: Ask) -> MachinePage:
    """Look at the machine again."""
    desk.machine.look(again=True)
    return await show_machine(desk, who, ask)


async def show_models(desk: Desk, who: Visitor, ask: Ask) -> ModelsPage:
    """Bases on this machine, and bundles that jobs made."""
    desk.machine.look()
    views = (await desk.ask("GET", "/v1/jobs", limit=PAGE_JOBS, results=1))["jobs"]
    return ModelsPage(
        bases=_list_bases(desk) if desk.machine.report else None,
        bundles=tuple(_read_bundle(view, who) for view in views if _has_bundle(view)),
    )


async def show_audit(desk: Desk, who: Visitor, ask: AuditAsk) -> AuditPage:
    """The audit log, and whether it is whole."""
    entries = await desk.do(desk.audit.read, limit=PAGE_LINES, before=ask.before)
    fault, num_lines = None, 0
    try:
        num_lines = await desk.do(desk.audit.verify)
    except ApplianceError as exc:
        fault = Fault(what=exc.what, why=exc.why, fix=exc.fix)
    has_more = len(entries) == PAGE_LINES and entries[-1].n > 1
    return AuditPage(
        entries=tuple(entries),
        next=entries[-1].n if has_more else None,
        num_lines=num_lines,
        fault=fault,
    )


def _list_bases(desk: Desk, *, present_only: bool = False) -> tuple[BaseRow, ...]:
    report = desk.machine.report
    bases = report.bases if report else ()
    if not present_only:
        return bases
    return tuple(base for base in bases if base.is_present and base.exportable)


def _has_bundle(view: dict[str, Any]) -> bool:
    return {"base", "precision", "base_loss", "exported_loss"} <= set(view.get("result") or {})


def _read_bundle(view: dict[str, Any], who: Visitor) -> BundleRow:
    result = view["result"]
    return BundleRow(
        job=read_row(view, who),
        base=result["base"],
        precision=result["precision"],
        base_loss=result["base_loss"],
        shipped_loss=result["exported_loss"],
        decision=(result.get("verdict") or {}).get("decision", ""),
    )
