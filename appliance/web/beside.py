"""Base and tuned model side by side: a child process answers (`appliance/beside`), this asks it.

One question at a time; the child stays for a while after it, so that the next one need not wait for
the models. Whoever leaves the page ends their answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from appliance.beside.orders import MAX_SECONDS, STOP, Order, Question
from appliance.web.refusals import Refusal, refuse

SILENT_SECONDS = MAX_SECONDS + 60.0
"""After so long without a line, the child hangs."""

STOP_SECONDS = 10.0
"""For the end of an answer that nobody waits for any more; then the child is killed."""

_MAX_LINE_BYTES = 2**20


class Beside:
    """The child that answers, and whether somebody asks it; lives on the event loop."""

    def __init__(self) -> None:
        """Nobody asks."""
        self._process: asyncio.subprocess.Process | None = None
        self._run: Path | None = None
        self._is_busy = False
        self._settling: asyncio.Task[None] | None = None

    def require_free(self) -> None:
        """Let one person ask at a time.

        Raises:
            Refusal: somebody else asks.
        """
        if self._is_busy:
            raise describe_busy()

    async def ask(self, run: Path, question: Question) -> AsyncIterator[bytes]:
        """What the models of a run tell, as JSON lines; closing this ends their answers."""
        if self._is_busy:
            yield json.dumps({"kind": "refused"} | describe_busy().body).encode() + b"\n"
            return
        self._is_busy = True
        is_over = False
        try:
            process = await self._find_process(run)
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write(question.model_dump_json().encode() + b"\n")
            while not is_over:
                async with asyncio.timeout(SILENT_SECONDS):
                    line = await process.stdout.readline()
                is_over = not line or json.loads(line)["kind"] == "done"
                if not line:
                    await self._end()
                yield line or _GONE
        except (OSError, TimeoutError, ValueError):  # ValueError: a line that is none
            yield _GONE
        finally:
            if is_over:
                self._is_busy = False
            else:
                self._settling = asyncio.create_task(self._settle())

    async def close(self) -> None:
        """End the child."""
        if self._settling is not None:
            self._settling.cancel()
            await asyncio.gather(self._settling, return_exceptions=True)
        await self._end()

    async def _find_process(self, run: Path) -> asyncio.subprocess.Process:
        """A child that has the models of this run, or will load them."""
        if self._process is not None and (self._process.returncode is not None or run != self._run):
            await self._end()
        if self._process is None:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "appliance.beside.child"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,  # what a library complains of may quote
                limit=_MAX_LINE_BYTES,
                start_new_session=True,
            )
            self._run = run
            assert self._process.stdin is not None
            self._process.stdin.write(Order(run=run).model_dump_json().encode() + b"\n")
        return self._process

    async def _settle(self) -> None:
        """Bring an answer that nobody waits for to its end, or the child."""
        process = self._process
        try:
            async with asyncio.timeout(STOP_SECONDS):
                assert process is not None and process.stdin and process.stdout
                process.stdin.write(f"{STOP}\n".encode())
                while line := await process.stdout.readline():
                    if json.loads(line)["kind"] == "done":
                        return
            await self._end()
        except (OSError, TimeoutError, ValueError):
            await self._end()
        finally:
            self._is_busy = False

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)
        await process.wait()


def describe_busy() -> Refusal:
    """Somebody else asks."""
    return refuse(
        503,
        "the models answer somebody else",
        why="two models are loaded for it, so one question is answered at a time",
        fix="ask again in a moment",
        retry_seconds=10,
    )


_GONE = (
    json.dumps(
        {
            "kind": "refused",
            "error": {
                "what": "the models broke off",
                "why": "their process ended; memory may have been short",
                "fix": "ask again when less runs on this machine",
            },
        }
    ).encode()
    + b"\n"
)
