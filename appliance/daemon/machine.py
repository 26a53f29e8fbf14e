"""What a job needs of the machine before it starts, and what stands in its way now."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from appliance.daemon.settings import Settings
from appliance.hardware.ask import asking
from appliance.hardware.gpu import list_gpus, parse_driver
from appliance.hardware.memory import Memory, measure_disk_free, probe_memory
from appliance.hardware.support import find_cuda_support
from appliance.units import format_bytes
from appliance.values import Gpu

_DRIVER = Path("/dev/nvidiactl")
_GPU_SECONDS = 10.0
"""Limit for the driver's answer: one that hangs must not stop the service."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """What is free now: RAM and disk in bytes, GPUs by CUDA's numbers, cores of this process."""

    memory_free_bytes: int
    disk_free_bytes: int
    gpus: tuple[Gpu, ...]
    cores: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """What the plan of an earlier attempt says that a job takes: where, and how many bytes."""

    device: str
    num_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalSensors:
    """Tells what is free on this machine: milliseconds, no torch.

    Attributes:
        folder: on the disk that matters.
    """

    folder: Path

    def measure_disk(self) -> int:
        """Bytes free on the disk of the state folder; 0 when the disk does not answer."""
        return measure_disk_free(self.folder)

    def measure(self) -> Machine:
        """All that is free."""
        memory = probe_memory()
        return Machine(
            memory_free_bytes=memory.free_bytes,
            disk_free_bytes=self.measure_disk(),
            gpus=_probe_gpus(memory),
            cores=tuple(sorted(os.sched_getaffinity(0))),
        )


def _probe_gpus(memory: Memory) -> tuple[Gpu, ...]:
    """GPUs by CUDA's numbers; asks in a child process, and only where there is a driver.

    One that torch cannot use keeps its number, and has nothing free.
    """
    if not _DRIVER.exists():
        return ()
    with asking("gpus", seconds=_GPU_SECONDS) as asked:
        driver = parse_driver(asked.read())
    gpus = list_gpus(driver, find_cuda_support(), os.environ, memory)
    if not any(gpu.usable for gpu in gpus):
        return ()
    return tuple(gpu if gpu.usable else _take(gpu, gpu.free_bytes) for gpu in gpus)


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a job computes: cores (empty: all) and the number of its GPU (None: its own choice)."""

    cores: tuple[int, ...] = ()
    gpu: int | None = None


def choose_place(machine: Machine, settings: Settings, taken: tuple[Place, ...]) -> Place:
    """Cores of its own for a job, and a GPU of its own where jobs run side by side.

    Two jobs that share cores are slower together than one after the other (decision 0008): with N
    jobs at once, each gets an Nth of the cores that are not kept spare.

    Args:
        machine: what is there.
        settings: how many jobs at once, and the cores kept spare.
        taken: places of the jobs at work.
    """
    if settings.jobs_at_once == 1 and not settings.spare_cores:
        return Place()
    usable = machine.cores[: max(1, len(machine.cores) - settings.spare_cores)]
    share = max(1, len(usable) // settings.jobs_at_once)
    busy = {core for place in taken for core in place.cores}
    cores = [core for core in usable if core not in busy][:share] or usable[:share]
    busy_gpus = {place.gpu for place in taken}
    gpus = [number for number in range(len(machine.gpus)) if number not in busy_gpus]
    if settings.jobs_at_once == 1 or not gpus:
        return Place(cores=tuple(cores))
    return Place(cores=tuple(cores), gpu=max(gpus, key=lambda n: machine.gpus[n].free_bytes))


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """What a worker that runs was promised.

    Attributes:
        place: where it computes.
        need: what its plan says; None before there is a plan.
        resident_bytes: RAM that it holds already.
        has_taken: it trains, so the memory of its GPU is no longer free.
    """

    place: Place
    need: Need | None
    resident_bytes: int
    has_taken: bool


def subtract_claims(machine: Machine, claims: Iterable[Claim], settings: Settings) -> Machine:
    """What is left for another job: workers that have just started will still take their share."""
    gpus, ram = list(machine.gpus), machine.memory_free_bytes
    for claim in claims:
        if gpus and (claim.need is None or claim.need.device.startswith("cuda")):
            number = claim.place.gpu or 0
            if not claim.has_taken and number < len(gpus):
                gpus[number] = _take(gpus[number], _want(gpus[number], claim.need, settings))
        else:
            wanted = claim.need.num_bytes if claim.need else settings.min_free_memory_bytes
            ram -= max(0, wanted - claim.resident_bytes)
    return dataclasses.replace(machine, memory_free_bytes=max(0, ram), gpus=tuple(gpus))


def _take(gpu: Gpu, num_bytes: float) -> Gpu:
    return gpu.model_copy(update={"free_bytes": max(0, int(gpu.free_bytes - num_bytes))})


def _want(gpu: Gpu, need: Need | None, settings: Settings) -> float:
    """Bytes of a GPU that must be free for a job."""
    return need.num_bytes if need else settings.min_free_gpu_share * gpu.total_bytes


def forget_events(run: Path) -> None:
    """Remove what earlier jobs told in a run that is begun afresh; nobody works on it now."""
    with contextlib.suppress(OSError):
        (run / "events.jsonl").unlink()


def measure_events(run: Path) -> int:
    """Bytes of events that earlier attempts left in a run."""
    with contextlib.suppress(OSError):
        return (run / "events.jsonl").stat().st_size
    return 0


def read_need(run: Path) -> Need | None:
    """What the plan in a run says that it takes; None before there is a plan."""
    for name in ("plan", "pretrain-plan"):  # a run may have both: the later counts
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            receipt = (run / "receipts" / f"{name}.json").read_text(encoding="utf-8")
            plan = json.loads(receipt)["value"]
            return Need(device=str(plan["device"]), num_bytes=_sum_bytes(plan["memory"]))
    return None


def _sum_bytes(memory: dict[str, object]) -> int:
    """Sum of the terms; the plan also holds a word about the moment of its peak."""
    return sum(value for value in memory.values() if isinstance(value, int))


def find_obstacle(run: Path, machine: Machine, settings: Settings, *, min_disk_bytes: float) -> str:
    """What a job waits for, in words; empty when it can start.

    Args:
        run: the folder of its run.
        machine: what is free now.
        settings: limits.
        min_disk_bytes: disk that must be free.
    """
    if machine.disk_free_bytes < min_disk_bytes:
        return (
            f"disk: {format_bytes(machine.disk_free_bytes)} free, "
            f"{format_bytes(min_disk_bytes)} wanted"
        )
    if is_run_locked(run):
        return "another process that works on the same run"
    need = read_need(run)
    if machine.gpus and (need is None or need.device.startswith("cuda")):
        return _find_gpu_obstacle(machine.gpus, need, settings)
    wanted = need.num_bytes if need else settings.min_free_memory_bytes
    if machine.memory_free_bytes < wanted:
        return (
            f"memory: {format_bytes(machine.memory_free_bytes)} free, {format_bytes(wanted)} needed"
        )
    return ""


def _find_gpu_obstacle(gpus: tuple[Gpu, ...], need: Need | None, settings: Settings) -> str:
    if any(gpu.free_bytes >= _want(gpu, need, settings) for gpu in gpus):
        return ""
    best = max(range(len(gpus)), key=lambda number: gpus[number].free_bytes)
    gpu = gpus[best]
    return (
        f"gpu {best}: {format_bytes(gpu.free_bytes)} of {format_bytes(gpu.total_bytes)} free, "
        f"{format_bytes(_want(gpu, need, settings))} needed"
    )


def is_run_locked(run: Path) -> bool:
    """Whether some process works on a run: the kernel frees its lock on any death."""
    try:
        lock = (run / "lock").open("r")
    except OSError:  # no such run yet
        return False
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False
