"""What the pages work with: the service, who is logged in, plans, the log, the figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import anyio
import anyio.to_thread

from appliance.daemon.client import Client
from appliance.web.audit import AuditLog
from appliance.web.beside import Beside
from appliance.web.curves import Curves, Histories
from appliance.web.machine import MachineLook
from appliance.web.metrics import Metrics
from appliance.web.plans import Plans
from appliance.web.recent import Recent
from appliance.web.sessions import Sessions
from appliance.web.tokens import Scope, has_scope
from appliance.web.uploads import Uploads

P = ParamSpec("P")
T = TypeVar("T")

DEFAULT_UPLOAD_BYTES = 4 * 2**30

MAX_THREADS = 24
"""Questions to the service at the same time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Visitor:
    """Who asks.

    Attributes:
        name: as the audit log has it: id of a token, or "link".
        form_secret: of the session; "" for a program that brings a token.
        jobs: the only ones that are open to them; all where there is none.
    """

    name: str
    scope: Scope
    form_secret: str = ""
    jobs: tuple[int, ...] = ()

    @property
    def home(self) -> str:
        """Where they begin."""
        return f"/jobs/{self.jobs[0]}" if self.jobs else "/jobs"

    def may(self, needed: Scope) -> bool:
        """Whether their scope includes another."""
        return has_scope(self.scope, needed)


class Desk:
    """Everything that one dashboard has."""

    def __init__(
        self,
        folder: Path,
        client: Client,
        roots: tuple[Path, ...],
        upload_bytes: int = DEFAULT_UPLOAD_BYTES,
    ) -> None:
        """Nothing is asked yet.

        Args:
            folder: tokens and audit log lie there.
            client: of the service.
            roots: folders whose folders may be tuned on.
            upload_bytes: that all uploads together may have; 0 for no uploads.
        """
        self.folder = folder
        self.client = client
        self.roots = roots
        self.sessions = Sessions()
        self.audit = AuditLog(folder)
        self.metrics = Metrics()
        self.histories = Histories(client)
        self.machine = MachineLook(folder)
        self.plans = Plans()
        self.uploads = Uploads(folder / "uploads", upload_bytes)
        self.beside = Beside()
        self.recent = Recent()
        self._threads: anyio.CapacityLimiter | None = None

    async def close(self) -> None:
        """End what works for the pages."""
        await self.plans.close()
        await self.machine.close()
        await self.beside.close()

    async def ask(
        self, method: str, path: str, body: dict[str, Any] | None = None, **query: Any
    ) -> dict[str, Any]:
        """Ask the service, without holding anybody else up.

        What only looks may be answered as it was a moment ago (`recent.py`), and is not to be
        changed by the one who asked; what was told before a change is never told after it.

        Raises:
            ApplianceError: what it answered.
        """
        call = partial(self.do, partial(self.client.ask, method, path, body, **query))
        if path.endswith("/verification"):  # who asks for a check wants it done now
            return await call()
        if method == "GET":
            return await self.recent.find((path, *sorted(query.items())), call)
        self.recent.forget()
        try:
            return await call()
        finally:
            self.recent.forget()

    async def read_history(self, job_id: int) -> tuple[dict[str, Any], Curves]:
        """A job as the service tells it, and its curves; as they were a moment ago, at most.

        Raises:
            ApplianceError: the service does not know the job, or does not answer.
        """
        read = partial(self.do, self.histories.read, job_id)
        return await self.recent.find(("history", job_id), read)

    async def do(self, function: Callable[P, T], /, *arguments: P.args, **options: P.kwargs) -> T:
        """Call something that waits for a disk or the service."""
        if self._threads is None:
            self._threads = anyio.CapacityLimiter(MAX_THREADS)
        return await anyio.to_thread.run_sync(
            partial(function, *arguments, **options), limiter=self._threads
        )
