"""The process that serves: loads models, listens, tells systemd, and ends without cutting answers.

uvicorn speaks HTTP; what it leaves open is closed here: a signal that should not end the process by
itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn

from appliance.notify import READY, STOPPING, WATCHDOG, notify, watchdog_seconds
from appliance.serving.api.app import make_app
from appliance.serving.api.guard import Access
from appliance.serving.api.metrics import Metrics
from appliance.serving.api.service import ServedModel, Service
from appliance.serving.api.tasks import Limits
from appliance.serving.connections import HEADER_SECONDS, PatientProtocol, allow_connections
from appliance.serving.driver import Driver
from appliance.serving.engine import Engine

_MAX_HEADER_BYTES = 32_768


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFolder:
    """A bundle to serve.

    Attributes:
        name: that clients call it by.
        created: seconds since 1970.
        fingerprint: of its files.
    """

    name: str
    folder: Path
    created: int
    fingerprint: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerSettings:
    """How to serve.

    Attributes:
        num_rows: answers at once, for each model.
        max_waiting: answers that may wait beside them, for each model.
        threads: processor cores to use; None for all.
        drain_seconds: for what runs when the server is stopped.
    """

    access: Access = field(default_factory=Access)
    limits: Limits = field(default_factory=Limits)
    num_rows: int = 8
    max_waiting: int = 64
    threads: int | None = None
    drain_seconds: int = 30


def serve(
    folders: Sequence[ModelFolder],
    listening: socket.socket,
    settings: ServerSettings,
    on_ready: Callable[[Sequence[ServedModel]], None] = lambda models: None,
) -> None:
    """Serve until a signal comes; then finish what runs, within a limit.

    Args:
        folders: bundles that were verified.
        listening: a socket that listens.
        settings: how to serve.
        on_ready: called once requests are answered.

    Raises:
        BundleError: a model does not load.
    """
    allow_connections()
    models = [_load(folder, settings) for folder in folders]
    schedulers = {model.name: model.engine.scheduler for model in models}
    driver = Driver(list(schedulers.values()))
    service = Service(
        models={model.name: model for model in models},
        driver=driver,
        metrics=Metrics(schedulers),
        limits=settings.limits,
    )
    driver.start()
    try:
        server = Server(_configure(service, settings), driver, lambda: on_ready(models))
        server.run(sockets=[listening])
    finally:
        driver.close()
        for model in models:
            model.engine.close()


def _load(folder: ModelFolder, settings: ServerSettings) -> ServedModel:
    engine = Engine(
        folder.folder,
        threads=settings.threads,
        num_rows=settings.num_rows,
        max_waiting=settings.max_waiting,
    )
    engine.start()
    return ServedModel(
        name=folder.name,
        engine=engine,
        created=folder.created,
        fingerprint=folder.fingerprint,
    )


def _configure(service: Service, settings: ServerSettings) -> uvicorn.Config:
    return uvicorn.Config(
        make_app(service, settings.access),
        http=PatientProtocol,
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        log_level="critical",  # what it says about requests is of no use, and could quote them
        access_log=False,
        server_header=False,
        timeout_keep_alive=int(HEADER_SECONDS),
        timeout_graceful_shutdown=settings.drain_seconds,
        h11_max_incomplete_event_size=_MAX_HEADER_BYTES,
    )


class Server(uvicorn.Server):
    """A server that tells the service manager how it is, and returns when it is stopped."""

    def __init__(
        self, config: uvicorn.Config, driver: Driver, on_ready: Callable[[], None]
    ) -> None:
        """Serve what a configuration says."""
        super().__init__(config)
        self._driver = driver
        self._on_ready = on_ready
        self._petting: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Take signals as a wish to stop; the process then ends as if nothing had happened."""
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGTERM, signal.SIGINT)
        for number in numbers:
            loop.add_signal_handler(number, self.stop)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)
                signal.signal(number, signal.SIG_IGN)  # it ends already

    def stop(self) -> None:
        """Finish what runs; at once when called again."""
        self.force_exit = self.should_exit
        self.should_exit = True
        seconds = (self.config.timeout_graceful_shutdown or 0) + 5
        notify(STOPPING, f"EXTEND_TIMEOUT_USEC={seconds * 1_000_000}")

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then tell everybody."""
        await super().startup(sockets)
        self._petting = asyncio.create_task(self._pet_watchdog())
        notify(READY)
        self._on_ready()

    async def _pet_watchdog(self) -> None:
        """Show signs of life as long as the models give some."""
        limit = watchdog_seconds()
        while limit is not None:
            if self._driver.silent_seconds < limit:
                notify(WATCHDOG)
            await asyncio.sleep(limit / 3)
