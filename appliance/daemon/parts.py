"""What a round of the control loop works with: the queue, the workers, the machine, the limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

from appliance.daemon.crew import Attempt
from appliance.daemon.machine import Machine
from appliance.daemon.settings import Settings
from appliance.jobs import WorkOrder
from appliance.queue.store import Store

RESUME_DISK_FACTOR = 1.5
"""After a full disk, jobs go on when this many times the limit is free."""


class Workers(Protocol):
    """What a round needs of the workers; `crew.Crew` is the real one."""

    def start(self, job_id: int, token: int, order: WorkOrder) -> None:
        """Start a worker; OSError if that cannot be done."""

    def list_attempts(self) -> tuple[Attempt, ...]:
        """What all workers have told, the ended ones too."""

    def ask_stop(self, job_id: int) -> None:
        """Ask a worker to leave at the next safe point."""

    def kill(self, job_id: int) -> None:
        """End a worker at once."""

    def dismiss(self, job_id: int) -> None:
        """Forget a worker that has ended."""


class Sensors(Protocol):
    """What a round asks of the machine; `machine.LocalSensors` is the real one."""

    def measure_disk(self) -> int:
        """Bytes free on the disk of the state folder."""

    def measure(self) -> Machine:
        """All that is free."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stop:
    """Why a worker was asked to stop, and when, in monotonic seconds."""

    reason: Literal["cancel", "leave", "disk"]
    since: float


@dataclass(kw_only=True, slots=True)
class Memory:
    """What one daemon remembers between rounds; all of it may be lost.

    Attributes:
        stops: which workers were asked to stop.
        troubles: what is wrong with a job that runs, for people.
        hung: jobs whose worker was killed because it hung, and what was wrong with it.
        is_disk_low: whether running jobs make room.
        filled: bytes that were free when a job found the disk full: it needs more.
    """

    stops: dict[int, Stop] = field(default_factory=dict)
    troubles: dict[int, str] = field(default_factory=dict)
    hung: dict[int, str] = field(default_factory=dict)
    is_disk_low: bool = False
    filled: dict[int, int] = field(default_factory=dict)

    def forget_attempt(self, job_id: int) -> None:
        """The worker has ended: the next one begins with a clean sheet."""
        for kept in (self.stops, self.troubles, self.hung):
            kept.pop(job_id, None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """What a round works with.

    Attributes:
        store: the queue.
        workers: the workers at work.
        sensors: tell what is free.
        settings: limits.
        memory: what earlier rounds of this daemon saw.
        say: takes journal lines: ids and counts, never text or names.
        clock: seconds since 1970.
    """

    store: Store
    workers: Workers
    sensors: Sensors
    settings: Settings
    memory: Memory
    say: Callable[[str], None]
    clock: Callable[[], float]

    @property
    def resume_disk_bytes(self) -> float:
        """Disk that must be free before jobs go on that a full disk stopped."""
        return RESUME_DISK_FACTOR * self.settings.min_free_disk_bytes
