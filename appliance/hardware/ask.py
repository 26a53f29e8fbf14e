"""Questions that may hang or kill whoever asks: a child process asks them, within a time limit.

A driver that is stuck keeps the call inside the kernel, a broken library ends the process, and
importing torch takes seconds of the parent's life. What the child answers: `answer.py`.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import appliance
from appliance.offline import OFFLINE

Question = Literal["gpus", "libraries", "rates"]

MAX_ANSWER_BYTES = 2**20
"""The longest answer is a few kilobytes; a child that writes more has gone mad."""

GRACE_SECONDS = 1.0
"""Time between killing a child and giving it up: it may hang where not even a kill reaches it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a child said, or why it said nothing.

    Attributes:
        text: what it wrote; "" when there is a fault.
        fault: why there is no answer, such as "no answer within 5 s"; "" when there is one.
    """

    text: str = ""
    fault: str = ""


class Asked:
    """A question under way; reading the answer waits for it."""

    def __init__(self, process: subprocess.Popen[bytes] | None, seconds: float) -> None:
        """Keep the child and the moment at which its time is over."""
        self._process = process
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds

    def read(self) -> Answer:
        """Wait for the answer, no longer than the limit; afterwards the child is gone."""
        if self._process is None:
            return Answer(fault="its process cannot be started")
        try:
            text = self._receive(self._process)
        except TimeoutError:
            return Answer(fault=f"no answer within {self._seconds:g} s{self.end()}")
        except OverflowError:
            return Answer(fault=f"its answer is longer than {MAX_ANSWER_BYTES} bytes{self.end()}")
        code = self._wait(self._process)
        if code is None:
            return Answer(fault=f"its process does not end{self.end()}")
        if code:
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            return Answer(fault=f"its process ended with {how}{self.end()}")
        self.end()
        return Answer(text=text.decode(errors="replace"))

    def end(self) -> str:
        """Kill the child and all it started; a remark where even that does not end it."""
        process, self._process = self._process, None  # once: its number may become another's
        if process is None:
            return ""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        if process.stdout is not None:
            process.stdout.close()
        try:
            process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            return f" (process {process.pid} hangs inside the kernel and cannot be ended)"
        return ""

    def _receive(self, process: subprocess.Popen[bytes]) -> bytes:
        assert process.stdout is not None
        descriptor, parts = process.stdout.fileno(), bytearray()
        readable = select.poll()
        readable.register(descriptor, select.POLLIN)
        while True:
            left = self._deadline - time.monotonic()
            if left <= 0 or not readable.poll(1000 * left):
                raise TimeoutError
            part = os.read(descriptor, 2**16)
            if not part:
                return bytes(parts)
            parts += part
            if len(parts) > MAX_ANSWER_BYTES:
                raise OverflowError

    def _wait(self, process: subprocess.Popen[bytes]) -> int | None:
        try:
            return process.wait(max(0.0, self._deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            return None


@contextlib.contextmanager
def asking(
    question: Question, seconds: float, arguments: Mapping[str, object] | None = None
) -> Iterator[Asked]:
    """Put a question to a child; the block may do something else before it reads the answer.

    Args:
        question: one that `answer.py` knows.
        seconds: the child's whole life.
        arguments: of the question.
    """
    command = [sys.executable, "-m", "appliance.hardware.answer", question, str(seconds)]
    with running([*command, json.dumps(arguments or {})], seconds) as asked:
        yield asked


@contextlib.contextmanager
def running(command: Sequence[str], seconds: float) -> Iterator[Asked]:
    """Run a command that answers on its standard output; it ends with the block at the latest."""
    package = str(Path(appliance.__file__).parent.parent)
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **OFFLINE, "PYTHONPATH": os.pathsep.join(paths)},
            cwd="/",  # `-m` would import from the folder that the person stands in
            start_new_session=True,  # so that what it starts dies with it
        )
    except OSError:
        process = None
    asked = Asked(process, seconds)
    try:
        yield asked
    finally:
        asked.end()
