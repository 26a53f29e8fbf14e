"""The process of the dashboard: where it listens, over TLS or not, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import uvicorn

from appliance.daemon.client import Client
from appliance.errors import ApplianceError, UsageError
from appliance.notify import READY, STOPPING, WATCHDOG, notify, watchdog_seconds
from appliance.queue.states import UnknownJobError
from appliance.serving.connections import HEADER_SECONDS, PatientProtocol, allow_connections
from appliance.serving.sockets import is_loopback, open_tcp_socket
from appliance.web.app import App
from appliance.web.desk import DEFAULT_UPLOAD_BYTES, Desk
from appliance.web.guard import Door
from appliance.web.rendering import prepare
from appliance.web.uploads import KEEP_SECONDS

_MAX_HEADER_BYTES = 32_768
_LEAVE_SECONDS = 5

TIDY_SECONDS = 3600.0
"""Between two looks for uploads that nobody uses."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Certificate:
    """Files of TLS, in PEM: the certificate with its chain, and its key."""

    certificate: Path
    key: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a dashboard listens.

    Attributes:
        hosts: names that browsers call it by, beside addresses and localhost.
        certificate: None for plain HTTP, which only loopback may speak.
    """

    host: str
    port: int
    hosts: frozenset[str] = frozenset()
    certificate: Certificate | None = None


def open_place(place: Place) -> socket.socket:
    """Listen.

    Raises:
        UsageError: others could reach it, and it would not speak TLS.
        ServiceError: the address is taken, or not ours.
    """
    if place.certificate is None and not is_loopback(place.host):
        raise UsageError(
            f"the dashboard would listen on {place.host} without TLS",
            why="everybody on the way could read logins, and use them",
            fix="add --tls-cert FILE and --tls-key FILE, or leave --host at 127.0.0.1",
        )
    return open_tcp_socket(place.host, place.port, has_token=True)


def describe_address(listening: socket.socket, place: Place) -> str:
    """What to type into a browser."""
    host, port = listening.getsockname()[:2]
    scheme = "https" if place.certificate else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def run_dashboard(
    listening: socket.socket,
    place: Place,
    desk: Desk,
    on_ready: Callable[[], None] = lambda: None,
) -> None:
    """Answer until a signal comes.

    Args:
        listening: a socket that listens.
        place: how it was opened.
        desk: what the pages work with.
        on_ready: called once requests are answered.

    Raises:
        UsageError: the files of TLS cannot be used.
    """
    allow_connections()
    asyncio.run(_serve(listening, place, desk, on_ready))


async def _serve(
    listening: socket.socket, place: Place, desk: Desk, on_ready: Callable[[], None]
) -> None:
    prepare()
    app = App(desk)
    door = Door(
        hosts=frozenset(name.lower() for name in {place.host, *place.hosts}),
        is_secure=place.certificate is not None,
    )
    config = uvicorn.Config(
        app.make(door),
        http=PatientProtocol,
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        log_level="critical",  # what it says about requests could quote them
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=int(HEADER_SECONDS),
        timeout_graceful_shutdown=_LEAVE_SECONDS,
        h11_max_incomplete_event_size=_MAX_HEADER_BYTES,
        ssl_certfile=place.certificate.certificate if place.certificate else None,
        ssl_keyfile=place.certificate.key if place.certificate else None,
    )
    _load(config, place)
    server = _Server(config, app, on_ready)
    tidying = asyncio.create_task(_keep_tidy(desk))
    try:
        await server.serve(sockets=[listening])
    finally:
        tidying.cancel()
        await asyncio.gather(tidying, return_exceptions=True)
        await desk.close()


async def _keep_tidy(desk: Desk) -> None:
    """Remove uploads that nobody uses, now and then."""
    while True:
        with contextlib.suppress(OSError):  # the disk may be away for a while
            await desk.do(desk.uploads.sweep, time.time(), partial(is_over, desk.client))
        await asyncio.sleep(TIDY_SECONDS)


def is_over(client: Client, job_id: int) -> bool:
    """Whether a job ended long enough ago that nobody will retry it, or is not known any more."""
    try:
        job = client.ask("GET", f"/v1/jobs/{job_id}")
    except UnknownJobError:
        return True
    except ApplianceError:  # the service is away: it may still need it
        return False
    now = time.time()
    return now - float(job.get("ended_at", now)) > KEEP_SECONDS


def _load(config: uvicorn.Config, place: Place) -> None:
    try:
        config.load()
    except OSError as exc:  # ssl.SSLError is one
        named = place.certificate.certificate if place.certificate else ""
        raise UsageError(
            f"the certificate {named} cannot be used",
            why=(exc.strerror or str(exc)).lower(),
            fix="name a certificate and its key, both in PEM, that this user may read",
        ) from exc


class _Server(uvicorn.Server):
    """A server that lets its event streams go before it ends."""

    def __init__(self, config: uvicorn.Config, app: App, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._app = app
        self._on_ready = on_ready
        self._petting: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        yield

    def _stop(self) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True
        self._app.followers.is_closing.set()
        notify(STOPPING)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._petting = asyncio.create_task(_pet_watchdog())
        notify(READY)
        self._on_ready()


async def _pet_watchdog() -> None:
    """Show the service manager, if it asks, that requests are still answered."""
    limit = watchdog_seconds()
    while limit is not None:
        notify(WATCHDOG)
        await asyncio.sleep(limit / 3)


def make_desk(
    folder: Path,
    client: Client,
    roots: tuple[Path, ...],
    upload_bytes: int = DEFAULT_UPLOAD_BYTES,
) -> Desk:
    """What the pages work with; its folder is closed to others.

    Raises:
        UsageError: a root is no folder.
    """
    for root in roots:
        if not root.is_dir():
            raise UsageError(
                f"{root} is not a folder",
                why="jobs are started on the folders in it",
                fix="name an existing folder with --documents",
            )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Desk(folder, client, tuple(root.resolve() for root in roots), upload_bytes)
