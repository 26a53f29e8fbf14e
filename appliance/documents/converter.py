"""The parent's side of the converter process: ask, wait with a limit, kill, start again."""

from __future__ import annotations

import json
import os
import select
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import appliance
from appliance.documents.readers.office import FALLBACKS
from appliance.errors import ResourceError

MEMORY_BYTES = 2**30
"""What reading one file may take, above what the process has when it starts."""

_MAX_REPLY_BYTES = 2**30
_POLL_SECONDS = 0.25


class ConverterStopped(Exception):  # noqa: N818  (the person's wish, not a fault)
    """The person wants to stop."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ConversionFailure:
    """A file that was not read.

    Attributes:
        reason: why, without any text of the file.
        fix: what its owner can do.
    """

    reason: str
    fix: str


class Converter:
    """One long-lived converter process, replaced when a file hangs or kills it."""

    def __init__(
        self, should_stop: Callable[[], bool], *, memory_bytes: int = MEMORY_BYTES
    ) -> None:
        """Nothing starts before the first file."""
        self._memory_bytes = memory_bytes
        self._should_stop = should_stop
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Converter:
        """The process ends with the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Kill the process."""
        self._kill()

    def convert(
        self, path: Path, *, max_bytes: int, seconds: float, mask_secrets: bool
    ) -> dict[str, Any] | ConversionFailure:
        """Read one file; if its reader hangs or dies, once more with the second reader.

        Args:
            path: the file.
            max_bytes: size above which it is not read.
            seconds: time limit of each attempt.
            mask_secrets: whether secrets are replaced.

        Returns:
            What `convert.convert` returns, or why there is nothing.

        Raises:
            ConverterStopped: the person wants to stop.
            ResourceError: the converter process cannot be started.
        """
        reason = ""
        attempts = (False, True) if path.suffix.lower() in FALLBACKS else (False,)
        for only_fallback in attempts:
            request = {
                "path": str(path),
                "max_bytes": max_bytes,
                "only_fallback": only_fallback,
                "mask_secrets": mask_secrets,
            }
            reply = self._ask(request, seconds)
            if isinstance(reply, str):
                reason = reason or reply
                self._kill()
            elif "crashed" in reply:
                reason = reason or str(reply["crashed"])
                self._kill()  # what is left of its memory is in pieces
            elif "reason" in reply:
                fix = str(reply["fix"])
                return ConversionFailure(reason=reason or str(reply["reason"]), fix=fix)
            else:
                return reply
        return ConversionFailure(
            reason=reason, fix="save it again, smaller or in another format, such as text or pdf"
        )

    def _ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any] | str:
        """The reply to a request, or in words why there is none."""
        process = self._start()
        assert process.stdin is not None and process.stdout is not None
        deadline = time.monotonic() + seconds
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            (length,) = struct.unpack(">Q", self._receive(process, 8, deadline))
            if length > _MAX_REPLY_BYTES:
                return "its text is larger than 1 GiB"
            reply = json.loads(self._receive(process, length, deadline + seconds))
        except TimeoutError:
            return f"reading took longer than {seconds:g} s"
        except (OSError, EOFError, ValueError):
            return "its reader crashed"
        return reply if isinstance(reply, dict) else "its reader crashed"

    def _receive(self, process: subprocess.Popen[bytes], length: int, deadline: float) -> bytes:
        assert process.stdout is not None
        descriptor = process.stdout.fileno()
        parts = bytearray()
        while len(parts) < length:
            if self._should_stop():
                raise ConverterStopped
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            if not select.select([descriptor], [], [], min(left, _POLL_SECONDS))[0]:
                continue
            part = os.read(descriptor, min(length - len(parts), 2**20))
            if not part:
                raise EOFError
            parts += part
        return bytes(parts)

    def _start(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._kill()  # closes the pipes of one that died by itself
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "PYTHONPATH": str(Path(appliance.__file__).parent.parent),
            "PYTHONUTF8": "1",
            "MALLOC_ARENA_MAX": "2",  # each arena reserves 64 MiB of the memory limit
            "RAYON_NUM_THREADS": "1",
            "TOKIO_WORKER_THREADS": "1",
            "OMP_NUM_THREADS": "1",
        }
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "appliance.documents.convert", str(self._memory_bytes)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                env=environment,
                cwd="/",
            )
        except OSError as exc:
            raise ResourceError(
                "the process that reads documents cannot be started",
                why=exc.strerror or type(exc).__name__,
                fix="free memory or raise the limit on processes",
            ) from exc
        return self._process

    def _kill(self) -> None:
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process = None
