"""The thread that steps the models of a server, one after the other.

One thread for all of them: two graphs that run at the same time on the same cores are slower
together than in turns.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence

from appliance.serving.scheduler import Scheduler

logger = logging.getLogger(__name__)

_IDLE_SECONDS = 1.0
"""How often a sign of life is given when there is nothing to do."""

_CLOSE_SECONDS = 10.0


class Driver:
    """Steps schedulers while there is something to do, and sleeps otherwise."""

    def __init__(self, schedulers: Sequence[Scheduler]) -> None:
        """Take the schedulers; nothing runs before `start`."""
        self._schedulers = schedulers
        self._work = threading.Event()
        self._is_closing = False
        self._last_sign = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="driver", daemon=True)
        for scheduler in schedulers:
            scheduler.on_submit = self._work.set

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """Tell that an answer is no longer wanted."""
        self._work.set()

    def close(self) -> None:
        """End after the token that is being computed; one that hangs is left behind."""
        self._is_closing = True
        self._work.set()
        self._thread.join(_CLOSE_SECONDS)

    @property
    def silent_seconds(self) -> float:
        """Since the last sign of life; a graph that hangs gives none."""
        return time.monotonic() - self._last_sign

    def _run(self) -> None:
        while not self._is_closing:
            self._last_sign = time.monotonic()
            self._work.clear()
            if not any([self._advance(scheduler) for scheduler in self._schedulers]):
                self._work.wait(_IDLE_SECONDS)

    def _advance(self, scheduler: Scheduler) -> bool:
        try:
            return scheduler.advance()
        except Exception as exc:  # a shell: one model that fails must not silence the others
            logger.error("a model failed: %s", type(exc).__name__)
            scheduler.fail()
            return True
