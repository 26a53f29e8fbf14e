"""Other verbs of the command line, asked in a process of their own for their `--json`.

Probing hardware and reading documents are heavy and may hang or crash: not in this process. The
child ends with its question, and its answer has a limit.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from typing import Any

from appliance.errors import ServiceError

MAX_ANSWER_BYTES = 16 * 2**20
"""A plan of a folder with tens of thousands of unusable files has a few."""


async def ask_verb(*arguments: str, seconds: float) -> dict[str, Any]:
    """The JSON object that a verb prints.

    Args:
        arguments: verb and options; `--json` is added.
        seconds: at most; then the child is killed.

    Raises:
        ServiceError: the verb refused, with what it said; or it did not answer.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "appliance", *arguments, "--json"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=MAX_ANSWER_BYTES,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(seconds):
            output, told = await process.communicate()
    except TimeoutError:
        raise ServiceError(
            f"`appliance {arguments[0]}` did not answer",
            why=f"it took more than {seconds:g} s",
            fix="try it in a terminal; the machine may be very busy",
        ) from None
    finally:
        await _end(process)
    if process.returncode != 0 or len(output) > MAX_ANSWER_BYTES:
        raise _read_refusal(told.decode(errors="replace"), arguments[0])
    try:
        answer = json.loads(output)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise _read_refusal("", arguments[0])
    return answer


async def _end(process: asyncio.subprocess.Process) -> None:
    """Leave nothing behind, whatever it started."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def _read_refusal(told: str, verb: str) -> ServiceError:
    """The three parts of an error as the command line prints them."""
    parts = {"error": "", "why": "", "fix": ""}
    for line in told.splitlines():
        label, colon, text = line.partition(":")
        if colon and label in parts and not parts[label]:
            parts[label] = text.strip()
    if not parts["error"]:
        return ServiceError(
            f"`appliance {verb}` failed",
            why="it ended without saying why",
            fix=f"try it in a terminal: appliance {verb}",
        )
    return ServiceError(parts["error"], why=parts["why"], fix=parts["fix"])
