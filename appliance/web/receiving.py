"""A file that a browser sends, block by block to the disk; whoever dawdles is let go."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from starlette.requests import Request

from appliance.web.desk import Desk
from appliance.web.refusals import refuse
from appliance.web.start_shapes import UploadPage
from appliance.web.uploads import TooMuchError, Upload

MAX_AT_ONCE = 4
"""Files that come at the same time, of everybody together."""

BLOCK_SECONDS = 10.0
"""Until the next part of a file."""

GRACE_SECONDS = 20.0
"""After which a file has to have come at a speed."""

MIN_BYTES_PER_SECOND = 16 * 2**10

_BLOCK_BYTES = 2**20


class Receiving:
    """How many files come now; lives on the event loop."""

    def __init__(self) -> None:
        """None."""
        self._number = 0

    async def take(self, desk: Desk, request: Request, upload_id: str, name: str) -> UploadPage:
        """Put a file into its upload.

        Raises:
            Refusal: there is no such upload, too many files come, or this one too slowly.
            TooMuchError: it is too large.
        """
        upload = desk.uploads.find(upload_id)
        if upload is None:
            raise refuse(
                404,
                "there is no such upload",
                why="it was not used for a day, or never begun",
                fix="begin again at /start",
            )
        if int(request.headers.get("content-length", "0")) > desk.uploads.max_bytes:
            raise TooMuchError("the file is too large", fix="send a smaller one")
        if self._number >= MAX_AT_ONCE:
            raise refuse(503, "too many files come at once", fix="send one by one", retry_seconds=2)
        self._number += 1
        try:
            with desk.uploads.receive(upload, name) as put:
                async for block in _read_blocks(request):
                    await desk.do(put, block)
        finally:
            self._number -= 1
        return show_upload(desk.uploads.find(upload_id) or upload)


def show_upload(upload: Upload) -> UploadPage:
    """What has come so far."""
    return UploadPage(
        id=upload.id,
        name=upload.folder.name,
        num_files=upload.num_files,
        num_bytes=upload.num_bytes,
    )


async def _read_blocks(request: Request) -> AsyncIterator[bytes]:
    began, total, block = time.monotonic(), 0, bytearray()
    parts = aiter(request.stream())
    while True:
        try:
            async with asyncio.timeout(BLOCK_SECONDS):
                part = await anext(parts)
        except TimeoutError:
            raise _refuse_slow(f"nothing came for {BLOCK_SECONDS:g} s") from None
        except StopAsyncIteration:
            break
        total += len(part)
        seconds = time.monotonic() - began
        if seconds > GRACE_SECONDS and total < seconds * MIN_BYTES_PER_SECOND:
            raise _refuse_slow(f"less than {MIN_BYTES_PER_SECOND // 2**10} KiB a second came")
        block += part
        if len(block) >= _BLOCK_BYTES:
            yield bytes(block)
            block.clear()
    yield bytes(block)


def _refuse_slow(why: str) -> Exception:
    return refuse(408, "the file did not come in time", why=why, fix="send it again")
