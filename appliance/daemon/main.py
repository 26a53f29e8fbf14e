"""`appliance daemon`: one process that keeps the queue, starts workers, and answers on a socket.

It imports no torch, opens no network, and may be killed at any line.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from appliance.daemon.access import find_group, identify
from appliance.daemon.api import make_app
from appliance.daemon.paths import TRAINER_SOCKET, StateFolder, find_own_socket
from appliance.daemon.service import Service
from appliance.errors import BusyError, DiskFullError, ResourceError, ServiceError
from appliance.notify import READY, notify
from appliance.rundir import close_to_others

FIRST_PASSED_FD = 3
"""Where the service manager passes sockets. Source: sd_listen_fds(3)."""

FULL_DISK_SECONDS = 2.0
"""Between two tries to open the queue on a full disk."""


def run_daemon(state: StateFolder, settings_file: Path | None, socket_path: Path | None) -> None:
    """Serve until a signal asks to leave.

    Args:
        state: folder of this service; made if it is not there.
        settings_file: None for defaults.
        socket_path: where to listen; None: the socket that was passed, or the usual place.

    Raises:
        BusyError: another daemon works on this state.
        ResourceError: the state folder cannot be written.
        ServiceError: the control socket cannot be made.
        QueueError: the queue cannot be used.
        RecipeError: the settings are wrong.
    """
    close_to_others()
    with _lock(state):
        trainer = TRAINER_SOCKET if _is_system_service() and TRAINER_SOCKET.exists() else None
        service = _open_service(state, settings_file, trainer)
        path = socket_path or find_own_socket(state)
        with _listen(None if socket_path else _take_passed(), path, service) as listener:
            asyncio.run(_serve(service, listener))


def _open_service(state: StateFolder, settings_file: Path | None, trainer: Path | None) -> Service:
    """Open the queue; under a service manager, wait for room on a full disk.

    A daemon that ended instead would be started again at once, five times, and then no more.
    """
    while True:
        try:
            return Service(state, settings_file, trainer)
        except DiskFullError as exc:
            if not notify(f"STATUS={exc.what}: waits for room"):
                raise
            time.sleep(FULL_DISK_SECONDS)


class _PeerProtocol(H11Protocol):
    """HTTP that knows who is at the other end of its unix socket."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._peer = identify(transport.get_extra_info("socket"))
        app = self.app

        async def with_peer(scope: Any, receive: Any, send: Any) -> None:
            await app({**scope, "peer": self._peer}, receive, send)

        self.app = with_peer


class _Server(uvicorn.Server):
    """A server that leaves the signals to us: it answers while the workers leave."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _serve(service: Service, listener: socket.socket) -> None:
    logging.getLogger("uvicorn").disabled = True  # its tracebacks may quote requests
    logging.getLogger("uvicorn.error").disabled = True
    config = uvicorn.Config(
        make_app(service),
        http=_PeerProtocol,
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=2,
        limit_concurrency=256,
    )
    server = _Server(config)
    loop = asyncio.get_running_loop()
    failures: list[BaseException] = []

    def control() -> None:
        try:
            service.run(on_ready=_tell_ready)
        except BaseException as exc:
            failures.append(exc)
        service.has_left.set()
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, service.leave)
    loop.add_signal_handler(signal.SIGHUP, service.reload)
    controller = threading.Thread(target=control, name="control")
    controller.start()
    try:
        await server.serve(sockets=[listener])
    finally:
        if not service.has_left.is_set():  # the server fell: nobody could steer the jobs
            service.leave()
        controller.join()
        service.close()
    if failures:
        raise failures[0]


def _tell_ready() -> None:
    notify(READY)


@contextlib.contextmanager
def _lock(state: StateFolder) -> Iterator[None]:
    """Hold the state folder; the kernel lets go of it on any death."""
    try:
        state.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = state.lock.open("a+")
    except OSError as exc:
        raise ResourceError(
            f"cannot write to {state.path}",
            why=exc.strerror or type(exc).__name__,
            fix="mend the permissions, or choose another folder with --state",
        ) from exc
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            raise _describe_other(lock, state) from exc
        with contextlib.suppress(OSError):  # a full disk: the lock holds all the same
            os.ftruncate(lock.fileno(), 0)
            os.write(lock.fileno(), f"{os.getpid()}\n".encode())
        yield


def _describe_other(lock: IO[str], state: StateFolder) -> BusyError:
    lock.seek(0)
    return BusyError(
        f"another daemon works on {state.path}",
        why=f"its pid is {lock.read().strip() or 'not written yet'}",
        fix="use that one (appliance service status), or stop it first",
    )


def _take_passed() -> socket.socket | None:
    """The socket that the service manager passed; None if it passed none to this process."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return None
    if int(os.environ.get("LISTEN_FDS", "0")) < 1:
        return None
    os.set_inheritable(FIRST_PASSED_FD, False)
    return socket.socket(fileno=FIRST_PASSED_FD)


def _is_system_service() -> bool:
    return "STATE_DIRECTORY" in os.environ


@contextlib.contextmanager
def _listen(passed: socket.socket | None, path: Path, service: Service) -> Iterator[socket.socket]:
    """The control socket: the passed one, or one of our own, open to the group of users."""
    if passed is not None:
        with passed:
            yield passed
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as own:
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            _clear(path)
            own.bind(str(path))
            path.chmod(0o660)
            group = find_group(service.settings.users_group)
            if group is not None:
                with contextlib.suppress(PermissionError):  # not a member: for this user alone
                    os.chown(path, -1, group)
            own.listen(128)
        except OSError as exc:
            too_long = exc.errno == errno.ENAMETOOLONG or "too long" in str(exc)
            raise ServiceError(
                f"cannot listen on {path}",
                why="its path is too long for a socket" if too_long else exc.strerror or str(exc),
                fix="choose another place with --socket",
            ) from exc
        service.say(f"listening on {path}")
        inode = path.stat().st_ino
        yield own
        with contextlib.suppress(OSError):  # it may be another daemon's by now, or gone
            if path.stat().st_ino == inode:
                path.unlink()


def _clear(path: Path) -> None:
    """Take away the socket that a dead daemon left.

    Raises:
        BusyError: somebody answers there, for another state.
        OSError: it is something else than a socket.
    """
    if not os.path.lexists(path):
        return
    if not path.is_socket():
        raise FileExistsError(errno.EEXIST, "something else has this name")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink()
            return
    raise BusyError(
        f"another service listens on {path}",
        why="it keeps another state folder",
        fix="use that one (appliance service status), or choose another place with --socket",
    )
