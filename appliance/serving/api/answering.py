"""From a task to the answer of a request: whole, or as a stream of events."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from functools import partial

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from appliance.serving.answer import Answer, End, Piece
from appliance.serving.api.bodies import Body, ChatBody
from appliance.serving.api.errors import (
    ApiError,
    make_fault_error,
    make_grammar_error,
    make_overload_error,
    make_timeout_error,
)
from appliance.serving.api.guard import OWNER
from appliance.serving.api.replies import DONE, Reply, make_id, write_event
from appliance.serving.api.service import Service
from appliance.serving.api.tasks import Limits, make_task
from appliance.serving.driver import Driver
from appliance.serving.sampling import TokenScore
from appliance.serving.scheduler import QueueFull


async def answer_body(service: Service, request: Request, body: Body) -> Response:
    """Answer what a body asks for.

    Raises:
        ApiError: the model is not there, the task is refused, or the server is full.
    """
    model = service.find(body.model)
    owner = request.scope[OWNER]
    task = await run_in_threadpool(make_task, model.engine, body, owner, service.limits)
    listener = Listener(partial(service.metrics.note_end, model.name))
    is_chat = isinstance(body, ChatBody)
    reply = Reply(
        id=make_id("chatcmpl" if is_chat else "cmpl"),
        model=model.name,
        created=int(time.time()),
        fingerprint=model.fingerprint,
        is_chat=is_chat,
        is_scored=task.num_top is not None,
        tells_usage=bool(body.stream_options and body.stream_options.include_usage),
        name_token=model.engine.name_token,
        citations=task.citations,
    )
    try:
        answer = model.engine.submit(task, listener.take)
    except QueueFull as exc:
        raise make_overload_error(exc.retry_seconds) from exc
    leave = partial(_leave, answer, service.driver)
    if body.stream:
        return EventStream(_stream(listener, reply, service.limits), leave)
    try:
        return await _collect(request, listener, reply, service.limits, leave)
    finally:
        leave()


class Listener:
    """Takes pieces from the driver's thread to the event loop."""

    def __init__(self, note_end: Callable[[End], None]) -> None:
        """Listen on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._pieces: asyncio.Queue[Piece] = asyncio.Queue()
        self._note_end = note_end

    def take(self, piece: Piece) -> None:
        """Called by the driver."""
        if piece.end is not None:
            self._note_end(piece.end)
        with contextlib.suppress(RuntimeError):  # the loop has ended, and with it the server
            self._loop.call_soon_threadsafe(self._pieces.put_nowait, piece)

    async def listen(self) -> AsyncIterator[Piece]:
        """All pieces, until the last."""
        while True:
            piece = await self._pieces.get()
            yield piece
            if piece.end is not None:
                return


def _leave(answer: Answer, driver: Driver) -> None:
    """Nobody waits for an answer any more; without effect when it has ended."""
    answer.is_unwanted = True
    driver.wake()


async def _collect(
    request: Request, listener: Listener, reply: Reply, limits: Limits, leave: Callable[[], None]
) -> Response:
    """A whole answer; it is left when the client goes away."""
    watcher = asyncio.create_task(_wait_for_disconnect(request, leave))
    text, scores = "", list[TokenScore]()
    try:
        async for piece in listener.listen():
            text += piece.text
            scores += piece.scores
            if piece.end is not None:
                _require_answer(piece.end, limits)
                return JSONResponse(reply.write(text, scores, piece.end))
    finally:
        watcher.cancel()
    raise make_fault_error()


async def _wait_for_disconnect(request: Request, leave: Callable[[], None]) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    leave()


async def _stream(listener: Listener, reply: Reply, limits: Limits) -> AsyncIterator[bytes]:
    """Events of an answer. What goes wrong after the first is an event too."""
    opening = reply.open()
    if opening is not None:
        yield write_event(opening)
    async for piece in listener.listen():
        if piece.text or piece.scores:
            yield write_event(reply.go_on(piece.text, piece.scores))
        if piece.end is None:
            continue
        try:
            _require_answer(piece.end, limits)
        except ApiError as exc:
            yield write_event(exc.body)
        else:
            yield write_event(reply.finish(piece.end))
            if reply.tells_usage:
                yield write_event(reply.tell_usage(piece.end))
        yield DONE


def _require_answer(end: End, limits: Limits) -> None:
    """Raise when an end is no answer."""
    if end.reason in ("fault", "cancelled"):
        raise make_fault_error()
    if end.reason == "grammar":
        raise make_grammar_error("it takes too many states")
    if end.reason == "time" and end.num_tokens == 0:
        raise make_timeout_error(limits.max_seconds)


class EventStream(StreamingResponse):
    """A stream of events; the answer is left however the stream ends."""

    def __init__(self, events: AsyncIterator[bytes], leave: Callable[[], None]) -> None:
        """Send these events."""
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self._leave = leave

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the end, or until the client goes away."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._leave()
