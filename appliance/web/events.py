"""Events of a job as a stream for browsers (server-sent events), which goes on where it broke off.

The id of an event is its place in the run's file: a browser that comes back names the last one in
`Last-Event-ID`. Source: WHATWG HTML, "Server-sent events", https://html.spec.whatwg.org.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from appliance.errors import ApplianceError
from appliance.web.asks import JobAsk
from appliance.web.curves import ask_history
from appliance.web.desk import Desk, Visitor
from appliance.web.jobs import read_row
from appliance.web.recent import Recent
from appliance.web.refusals import refuse
from appliance.web.requests import find_visitor

LOOK_SECONDS = 1.0
"""Between two looks for new events."""

QUIET_SECONDS = 15.0
"""After so long without an event, a sign of life: it finds out whether anybody listens."""

MAX_FOLLOWERS = 32
"""Streams that are open at the same time."""

NAMING = frozenset({"Line", "Note", "Failed"})
"""Kinds of events whose words may name folders and files."""

HIDDEN = frozenset({"Finished", "Alive"})
"""Kinds that tell nothing a stream is for: paths of the run, signs of life."""


class Followers:
    """Who listens now."""

    def __init__(self, desk: Desk) -> None:
        """Nobody."""
        self._desk = desk
        self._number = 0
        self._looks = Recent(LOOK_SECONDS / 2)
        self.is_closing = asyncio.Event()

    async def follow(self, request: Request, who: Visitor, ask: JobAsk) -> Response:
        """The stream of a job.

        Raises:
            Refusal: too many listen.
            ApplianceError: there is no such job.
        """
        await self._desk.ask("GET", f"/v1/jobs/{ask.id}")
        if self._number >= MAX_FOLLOWERS:
            raise refuse(
                503,
                "too many event streams are open",
                why=f"{MAX_FOLLOWERS} are",
                fix="close pages that nobody looks at",
                retry_seconds=30,
            )
        place = read_place(request.headers.get("last-event-id"))
        return StreamingResponse(
            self._tell(request, who, ask.id, place), media_type="text/event-stream"
        )

    async def _tell(
        self, request: Request, who: Visitor, job_id: int, place: int
    ) -> AsyncIterator[str]:
        self._count(1)
        try:
            shown, spoke = "", time.monotonic()
            yield "retry: 3000\n\n"
            while not self.is_closing.is_set() and find_visitor(self._desk, request) is not None:
                try:
                    answer = await self._look(job_id, place)
                except ApplianceError:  # the service is away: the browser comes back by itself
                    return
                place = answer["next"]
                text = "".join(_write(event, who) for event in answer["events"])
                row = read_row(answer["job"], who)
                state = f"event: state\ndata: {row.model_dump_json()}\n\n"
                if state != shown:
                    text, shown = text + state, state
                if not text and time.monotonic() - spoke > QUIET_SECONDS:
                    text = ": quiet\n\n"
                if text:
                    spoke = time.monotonic()
                    yield text
                if not answer["has_more"]:
                    if not row.is_live and row.state != "paused":
                        yield "event: end\ndata: {}\n\n"
                        return
                    await self._wait()
        finally:
            self._count(-1)

    async def _look(self, job_id: int, place: int) -> dict[str, Any]:
        """Events behind a place; those who stand at the same one get the same answer."""
        ask = partial(self._desk.do, ask_history, self._desk.client, job_id, place)
        return await self._looks.find((job_id, place), ask)

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await self.is_closing.wait()
        except TimeoutError:
            return

    def _count(self, change: int) -> None:
        self._number += change
        self._desk.metrics.note_followers(self._number)


def read_place(text: str | None) -> int:
    """Where a stream goes on; -1 for its beginning."""
    is_number = text is not None and text.isascii() and text.isdigit() and len(text) <= 15
    return int(text) if is_number and text is not None else -1


def _write(event: dict[str, object], who: Visitor) -> str:
    kind = event.get("kind")
    if kind in HIDDEN or (kind in NAMING and not who.may("run")):
        return ""
    data = json.dumps({name: value for name, value in event.items() if name != "end"})
    return f"id: {event['end']}\ndata: {data}\n\n"
