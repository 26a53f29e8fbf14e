"""Streams of the control socket as files: a request's body that is read, a tar that is written."""

from __future__ import annotations

import contextlib
import io
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.from_thread
from starlette.requests import Request

from appliance.daemon.sending import write_tar
from appliance.errors import ServiceError


def stream_tar(folder: Path) -> Iterator[bytes]:
    """A folder as a tar stream, made while it is read."""
    read_end, write_end = os.pipe()

    def write() -> None:
        output = os.fdopen(write_end, "wb")
        with contextlib.suppress(OSError, ServiceError), output:  # the client finds no end
            write_tar(folder, output)

    threading.Thread(target=write, daemon=True).start()
    with os.fdopen(read_end, "rb", buffering=0) as source:
        while block := source.read(2**16):
            yield block


class RequestFile(io.RawIOBase):
    """The body of a request, as a file that a thread reads."""

    def __init__(self, request: Request) -> None:
        """Nothing is read yet; only a thread of the server may read."""
        self._stream = request.stream()
        self._rest = b""

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Wait for the next bytes; ClientDisconnect when the sender went away."""
        if not self._rest:
            self._rest = anyio.from_thread.run(self._next)
        taken = self._rest[: len(buffer)]
        buffer[: len(taken)] = taken
        self._rest = self._rest[len(taken) :]
        return len(taken)

    async def _next(self) -> bytes:
        async for block in self._stream:
            if block:
                return block
        return b""
