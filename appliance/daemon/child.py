"""A worker process, and the two ways to get one: start it, or have the service manager start it.

Both give the same thing: lines of events come out, lines that steer go in, and the worker ends when
its input closes. The command line uses the first way too, when no service runs.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from appliance.jobs import STOP, WorkOrder

ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(2**28),
    "MALLOC_TRIM_THRESHOLD_": str(2**28),
    "MALLOC_ARENA_MAX": "2",
}
"""Settings of the C library's allocator: freed activations are kept for the next step instead of
going back to the kernel page by page (10 % more tokens a second on two cores)."""

BACKGROUND_NICENESS = 10
"""Of a worker that a daemon starts itself, and of its autogroup, without which it has no effect."""


class Child(Protocol):
    """A worker at work."""

    def read_lines(self) -> Iterator[str]:
        """Its events as they come; ends when it does."""

    def know_pid(self, pid: int) -> None:
        """Hear from the worker which process it is."""

    def ask_stop(self) -> None:
        """Ask it to leave at the next safe point."""

    def kill(self) -> None:
        """End it at once, also when it is stopped by a signal."""

    def wait(self) -> str:
        """Wait for its end, and say in words how it ended."""


class ProcessChild:
    """A worker in a process group of its own, started here."""

    def __init__(self, order: WorkOrder, *, in_background: bool) -> None:
        """Start it and hand it its job.

        Args:
            order: the job.
            in_background: give way to other programs.
        """
        self._process = subprocess.Popen(
            [sys.executable, "-m", "appliance.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            env=ALLOCATOR | os.environ | {"PYTHONUTF8": "1"},  # paths in any language, anywhere
            start_new_session=True,
        )
        self.pid = self._process.pid
        if in_background:
            _give_way(self.pid)
        self._write(order.model_dump_json())

    def know_pid(self, pid: int) -> None:
        """Nothing to learn: we started it."""

    def read_lines(self) -> Iterator[str]:
        """Its events as they come; ends when it does."""
        assert self._process.stdout is not None
        yield from self._process.stdout

    def ask_stop(self) -> None:
        """Ask it to leave at the next safe point."""
        self._write(STOP)

    def kill(self) -> None:
        """End it at once, also when it is stopped by a signal."""
        if self._process.poll() is None:
            self._process.kill()

    def wait(self) -> str:
        """Wait for its end, and say in words how it ended."""
        code = self._process.wait()
        with contextlib.suppress(OSError):  # a line to the dead may still lie in the buffer
            assert self._process.stdin is not None and self._process.stdout is not None
            self._process.stdout.close()
            self._process.stdin.close()
        if code >= 0:
            return f"exit code {code}"
        out_of_memory = " (out of memory?)" if code == -signal.SIGKILL else ""
        return f"killed by signal {-code}{out_of_memory}"

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):  # it died: its end says so
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()


class UnitChild:
    """A worker that the service manager starts, in a unit of its own, for a connection of ours."""

    def __init__(self, order: WorkOrder, path: Path) -> None:
        """Connect and hand the job over.

        Raises:
            OSError: nobody listens there.
        """
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._pidfd: int | None = None
        try:
            self._socket.connect(str(path))
        except OSError:
            self._socket.close()
            raise
        self._write(order.model_dump_json())

    def know_pid(self, pid: int) -> None:
        """Keep hold of the process that says it is ours, so that it can be killed."""
        if self._pidfd is None:
            with contextlib.suppress(OSError):
                self._pidfd = os.pidfd_open(pid)

    def read_lines(self) -> Iterator[str]:
        """Its events as they come; ends when it does."""
        file = self._socket.makefile("r", encoding="utf-8", errors="replace")
        with file, contextlib.suppress(OSError):
            yield from file

    def ask_stop(self) -> None:
        """Ask it to leave at the next safe point."""
        self._write(STOP)

    def kill(self) -> None:
        """End it at once, also when it is stopped by a signal."""
        if self._pidfd is not None:
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def wait(self) -> str:
        """Let go of it, and say in words how it ended."""
        self._socket.close()
        if self._pidfd is not None:
            os.close(self._pidfd)
        return "it ended without a word (journalctl -u 'appliance-trainer@*' may say why)"

    def _write(self, line: str) -> None:
        with contextlib.suppress(OSError):  # it died: its end says so
            self._socket.sendall(line.encode() + b"\n")


def _give_way(pid: int) -> None:
    """Lower a process, and the scheduling group that its session is.

    With autogrouping, the kernel's default, niceness counts only inside a session; between
    sessions the niceness of the group does.
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, BACKGROUND_NICENESS)
        Path(f"/proc/{pid}/autogroup").write_text(str(BACKGROUND_NICENESS))
