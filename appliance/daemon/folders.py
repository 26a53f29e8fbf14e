"""Folders that come to the service: handed over through the socket, or dropped into the inbox."""

from __future__ import annotations

import io
import json
from functools import partial
from pathlib import Path

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from appliance.daemon.access import Peer, is_admin
from appliance.daemon.handover import name_copy, take_folder
from appliance.daemon.service import Service
from appliance.daemon.streams import RequestFile
from appliance.errors import ServiceError
from appliance.queue.states import Job

SAME_VERSION = "use a command line of the same version as the service"
"""What to do about a request that is not understood."""


async def take_documents(service: Service, request: Request, peer: Peer) -> Response:
    """Take a folder that the service cannot read where it is."""
    source = request.query_params.get("source", "")
    if not source:
        raise ServiceError("the folder's own path is missing", fix=SAME_VERSION)
    copy = service.state.documents / str(peer.uid) / name_copy(source)
    job = await anyio.to_thread.run_sync(_find_reader, service, copy)
    if job is not None:
        raise ServiceError(
            f"job {job.id} works on an earlier copy of this folder",
            why="changing it now would mix two versions",
            fix=f"wait for it, or: appliance jobs cancel {job.id}",
        )
    if copy in service.arriving:
        raise explain_arriving()
    service.arriving.add(copy)
    try:
        stream = io.BufferedReader(RequestFile(request))
        take = partial(take_folder, keep_free_bytes=service.settings.min_free_disk_bytes)
        num_files = await anyio.to_thread.run_sync(take, stream, copy, limiter=service.hands)
    finally:
        service.arriving.discard(copy)
    service.say(f"documents: {num_files} files handed over by uid {peer.uid}")
    return JSONResponse({"num_files": num_files}, status_code=201)


def explain_arriving() -> ServiceError:
    """Why a job cannot begin: its folder is still on the way."""
    return ServiceError(
        "this folder is being handed over now",
        why="another command of yours sends it",
        fix="wait for that one, and run the same command again",
    )


async def list_drops(service: Service, request: Request, peer: Peer) -> Response:
    """Folders in the inbox: those of the peer, or all for an administrator."""
    drops = await anyio.to_thread.run_sync(service.store.list_drops)
    sees_all = is_admin(peer, service.settings)
    rows = [
        {"name": drop.name, "job": drop.job_id, "fault": drop.fault, "since": drop.since}
        for drop in drops
        if sees_all or _is_owner(service.state.inbox / drop.name, peer)
    ]
    return JSONResponse({"inbox": str(service.state.inbox), "folders": rows})


def _is_owner(path: Path, peer: Peer) -> bool:
    try:
        return path.stat(follow_symlinks=False).st_uid == peer.uid
    except OSError:  # it was taken away
        return False


def _find_reader(service: Service, copy: Path) -> Job | None:
    for job in service.store.list_jobs(live_only=True, limit=None):
        if json.loads(job.request)["documents"] == str(copy):
            return job
    return None
