"""The parent's side of the converter process: ask, wait with a limit, kill, start again."""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import PurePath
from types import TracebackType
from typing import Any

from appliance.documents.convert import MEMORY_BYTES
from appliance.documents.converter_process import start_process
from appliance.documents.placeholders import KEY_BYTES
from appliance.documents.readers.office import FALLBACKS
from appliance.documents.scrub import ScrubPolicy
from appliance.errors import ResourceError

PARSER_SOCKET = "APPLIANCE_PARSER_SOCKET"
"""Environment variable: where the service manager starts converters as units of their own."""

_LENGTH = struct.Struct(">Q")
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
        is_final: a reader refused what is in it; else it hung or broke, and may not another time.
    """

    reason: str
    fix: str
    is_final: bool = False


_DIED = "its reader crashed"
"""Of a process that ended over a file, for whatever reason."""


class Converter:
    """One long-lived converter process, replaced when a file hangs or kills it."""

    def __init__(
        self,
        should_stop: Callable[[], bool],
        *,
        memory_bytes: int = MEMORY_BYTES,
        mark_key: bytes | None = None,
    ) -> None:
        """Nothing starts before the first file.

        Args:
            should_stop: True when the person wants to stop.
            memory_bytes: what reading one file may take.
            mark_key: for marks of private values; converters of one corpus share it.
        """
        self._memory_bytes = memory_bytes
        self._mark_key = mark_key or os.urandom(KEY_BYTES)  # the same for all that take over
        self._should_stop = should_stop
        self._channel: socket.socket | None = None
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
        self.close()

    def close(self) -> None:
        """Kill the process."""
        self._kill()

    def convert(
        self,
        file: int,
        name: str,
        *,
        max_bytes: int,
        seconds: float,
        policy: ScrubPolicy,
        member: int | None = None,
    ) -> dict[str, Any] | ConversionFailure:
        """Read one file; if its reader hangs or dies, once more with the second reader.

        Args:
            file: open for reading; its position is not kept.
            name: of the file (or member), without folders: decides how it is read.
            max_bytes: size above which it is not read.
            seconds: time limit of each attempt.
            policy: which private values are replaced.
            member: position in an archive; None for the file itself.

        Returns:
            What `convert.convert` returns, or why there is nothing.

        Raises:
            ConverterStopped: the person wants to stop.
            ResourceError: the converter process cannot be started.
        """
        request = {
            "task": "convert",
            "name": name,
            "member": member,
            "max_bytes": max_bytes,
            "scrub": asdict(policy),
            "mark_key": self._mark_key.hex(),
            "seconds": seconds,
        }
        has_fallback = PurePath(name).suffix.lower() in FALLBACKS
        return self._try_each(
            [request | {"only_fallback": False}]
            + [request | {"only_fallback": True}] * has_fallback,
            file,
        )

    def list_archive(self, file: int, seconds: float) -> dict[str, Any] | ConversionFailure:
        """The members of a zip archive, as `convert` lists them.

        Raises:
            ConverterStopped: the person wants to stop.
            ResourceError: the converter process cannot be started.
        """
        return self._try_each([{"task": "list", "seconds": seconds}], file)

    def _try_each(
        self, requests: list[dict[str, Any]], file: int
    ) -> dict[str, Any] | ConversionFailure:
        """The reply to the first request that gets one."""
        reason = ""
        for request in requests:
            os.lseek(file, 0, os.SEEK_SET)  # the process shares the place with us
            reply = self._ask(request, file, request["seconds"])
            if isinstance(reply, str):
                reason = reason or reply
                self._kill()
            elif "crashed" in reply:
                reason = reason or str(reply["crashed"])
                self._kill()  # what is left of its memory is in pieces
            elif "reason" in reply:
                fix = str(reply["fix"])
                return ConversionFailure(
                    reason=reason or str(reply["reason"]), fix=fix, is_final=not reason
                )
            else:
                return reply
        return ConversionFailure(
            reason=reason, fix="save it again, smaller or in another format, such as text or pdf"
        )

    def _ask(self, request: dict[str, Any], file: int, seconds: float) -> dict[str, Any] | str:
        """The reply to a request, or in words why there is none.

        A process that dies over a file is not always killed by it: whoever runs out of memory is
        killed, too, and the same file is read well a moment later.
        """
        reply = self._ask_once(request, file, seconds)
        if reply != _DIED:
            return reply
        self._kill()
        os.lseek(file, 0, os.SEEK_SET)
        return self._ask_once(request, file, seconds)

    def _ask_once(self, request: dict[str, Any], file: int, seconds: float) -> dict[str, Any] | str:
        deadline = time.monotonic() + seconds
        body = json.dumps(request).encode()
        for attempt in range(2):
            channel = self._start()
            try:
                socket.send_fds(channel, [_LENGTH.pack(len(body))], [file])
                channel.sendall(body)
                break
            except OSError:  # it ended while nothing was asked of it: only its successor counts
                self._kill()
                if attempt:
                    return _DIED
        try:
            (length,) = _LENGTH.unpack(self._receive(channel, _LENGTH.size, deadline))
            if length > _MAX_REPLY_BYTES:
                return "its text is larger than 1 GiB"
            reply = json.loads(self._receive(channel, length, deadline + seconds))
        except TimeoutError:
            return f"reading took longer than {seconds:g} s"
        except (OSError, EOFError, ValueError):
            return _DIED
        return reply if isinstance(reply, dict) else _DIED

    def _receive(self, channel: socket.socket, length: int, deadline: float) -> bytes:
        parts = bytearray()
        while len(parts) < length:
            if self._should_stop():
                raise ConverterStopped
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            if not select.select([channel], [], [], min(left, _POLL_SECONDS))[0]:
                continue
            part = channel.recv(min(length - len(parts), 2**20))
            if not part:
                raise EOFError
            parts += part
        return bytes(parts)

    def _start(self) -> socket.socket:
        if self._channel is not None and (self._process is None or self._process.poll() is None):
            return self._channel
        self._kill()  # closes the socket of one that died by itself
        path = os.environ.get(PARSER_SOCKET)
        try:
            if path:
                self._channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                self._channel.connect(path)
            else:
                self._channel, self._process = start_process(self._memory_bytes)
        except OSError as exc:
            raise ResourceError(
                "the process that reads documents cannot be started",
                why=exc.strerror or type(exc).__name__,
                fix="free memory or raise the limit on processes",
            ) from exc
        return self._channel

    def _kill(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
