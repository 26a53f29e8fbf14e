"""What the control socket tells of a job's run: how it went, what its stages made, its files.

Everything here is read from the run's folder, which belongs to the service; who may ask has been
decided before (`api.py`).
"""

from __future__ import annotations

import json
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from appliance.bundle.keys import locate_keys
from appliance.bundle.manifest import MANIFEST
from appliance.bundle.signing import check_attestation, describe_signers
from appliance.bundle.verify import verify_bundle
from appliance.daemon.folders import SAME_VERSION
from appliance.daemon.following import read_block
from appliance.daemon.service import Service
from appliance.daemon.views import View, view_job
from appliance.errors import ServiceError
from appliance.files import hash_file
from appliance.queue.states import Job

MAX_ROWS = 500
"""Of a ledger, in one answer."""

MAX_OFFSET = 2**53
"""Largest place in a file that may be asked for."""


async def tell_history(service: Service, request: Request, job: Job) -> Response:
    """Events of a job as one object, from a place on that an earlier answer named as `next`."""
    after = _read_number(request, "after", -1)
    return JSONResponse(await anyio.to_thread.run_sync(_read_history, service, job, after))


def _read_history(service: Service, job: Job, after: int) -> View:
    attempt = service.crew.find_attempt(job.id)
    view = view_job(job, attempt, service.memory.troubles.get(job.id, ""))
    if job.token == 0:  # before its first attempt, what lies there is of earlier jobs
        return {"job": view, "events": [], "next": after, "has_more": False}
    block, end, has_more = read_block(job, after, only_attempt=False)
    events, place = [], end - len(block)
    for line in block.splitlines(keepends=True):
        place += len(line)
        try:
            event = json.loads(line)
        except ValueError:  # torn by a crash
            continue
        if isinstance(event, dict):
            events.append(event | {"end": place})
    return {"job": view, "events": events, "next": end, "has_more": has_more}


async def tell_stages(service: Service, request: Request, job: Job) -> Response:
    """What every finished stage of a job's run made, and how long it took."""
    return JSONResponse({"stages": await anyio.to_thread.run_sync(_read_stages, Path(job.run))})


def _read_stages(run: Path) -> dict[str, Any]:
    stages = {}
    for path in sorted((run / "receipts").glob("*.json")):
        try:
            receipt = json.loads(path.read_text(encoding="utf-8"))
            stages[path.stem] = {"seconds": receipt["seconds"], "value": receipt["value"]}
        except (OSError, ValueError, KeyError, TypeError):  # of a stage that has only begun
            continue
    return stages


async def tell_documents(service: Service, request: Request, job: Job) -> Response:
    """Lines of the documents ledger: `verdict` chooses, `after` and `limit` turn pages."""
    after = max(0, _read_number(request, "after", 0))
    limit = min(MAX_ROWS, max(1, _read_number(request, "limit", 100)))
    verdict = request.query_params.get("verdict", "")
    read = partial(_read_ledger, Path(job.run), verdict, after, limit)
    return JSONResponse(await anyio.to_thread.run_sync(read))


def _read_ledger(run: Path, verdict: str, after: int, limit: int) -> View:
    try:
        with (run / "corpus" / "ledger.jsonl").open(encoding="utf-8") as lines:
            chosen = (row for row in map(json.loads, lines) if verdict in ("", row["verdict"]))
            rows = list(islice(chosen, after, after + limit + 1))
    except FileNotFoundError:
        rows = []
    has_more = len(rows) > limit
    return {"rows": rows[:limit], "next": after + limit if has_more else None}


async def verify(service: Service, request: Request, job: Job) -> Response:
    """Hold every file of a job's bundle against its manifest."""
    return JSONResponse(await anyio.to_thread.run_sync(_verify, Path(job.run)))


def _verify(run: Path) -> View:
    folder = run / "bundle"
    manifest = verify_bundle(folder)
    attested = check_attestation(folder, locate_keys(), must_be_signed=False)
    return {
        "num_files": len(manifest.files),
        "num_bytes": sum(entry.num_bytes for entry in manifest.files),
        "manifest_sha256": hash_file(folder / MANIFEST),
        "signed": describe_signers(attested),
    }


def _read_number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name)
    try:
        return default if text is None else min(MAX_OFFSET, int(text))
    except ValueError as exc:
        raise ServiceError(f"{name} is a number", fix=SAME_VERSION) from exc
