"""The long campaign: faults drawn from a seed fall on a living service with jobs, and beside it.

Fault number N of a seed is always of the same kind and has the same parameters; only the moment at
which a process meets it is the machine's. `soak` gives the figures.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import random
import signal
import struct
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.daemon.base import make_base
from tests.daemon.service import write_documents
from tests.faults import powercut, shim
from tests.faults.flows import FLOWS
from tests.faults.kills import kill_queue
from tests.faults.service_kills import Flow, find_worker, judge, strike, tune_undisturbed
from tests.faults.sweep import sweep
from tests.faults.trainer_flow import strike_trainer

SETTINGS = "inbox: {enabled: false}\nsilent_seconds: 20\nhang_seconds: 60\n"

BATCH = {"queue": 20, "trainer": 40, "cut-queue": 10, "cut-publisher": 10}
"""Faults in one draw of a kind that works on processes of its own."""

WEIGHTS = {
    "queue": 2,
    "trainer": 3,
    "cut-queue": 2,
    "cut-publisher": 2,
    "sweep": 2,
    "daemon": 4,
    "worker": 4,
    "both": 4,
    "ask-worker": 2,
    "freeze-worker": 2,
    "freeze-daemon": 2,
    "clock": 4,
}
"""How often each kind is drawn."""

SWEPT = ("file", "stage", "queue", "new-queue", "audit", "checkpoint")


@dataclass(kw_only=True, slots=True)
class SoakFigures:
    """What became of everything.

    Attributes:
        seed: of the sequence.
        minutes: how long it ran.
        draws: faults and batches of faults, by kind.
        kills: SIGKILLs, of whatever process.
        cuts: power cuts.
        call_faults: faults at exact system calls.
        clock_jumps: of the daemon's time of day.
        lost, doubled, torn, wrong_weights, other: promises that were not kept.
        wrong: what was found, in words.
        service: figures of the living service, as in `ServiceKillFigures`.
    """

    seed: int
    minutes: float = 0.0
    draws: dict[str, int] = field(default_factory=dict)
    kills: int = 0
    cuts: int = 0
    call_faults: int = 0
    clock_jumps: int = 0
    lost: int = 0
    doubled: int = 0
    torn: int = 0
    wrong_weights: int = 0
    other: int = 0
    wrong: list[str] = field(default_factory=list)
    service: dict[str, Any] = field(default_factory=dict)

    @property
    def num_wrong(self) -> int:
        """Promises that were not kept."""
        return self.lost + self.doubled + self.torn + self.wrong_weights + self.other


def soak(
    folder: Path,
    *,
    seed: int,
    minutes: float,
    tell: Callable[[str], None] = print,
    is_over: Callable[[], bool] = lambda: False,
) -> SoakFigures:
    """Let faults fall until the time is over, then let all jobs end and hold them to account.

    Args:
        folder: where everything is made.
        seed: of the sequence.
        minutes: how long faults fall.
        tell: gets a line for each fault.
        is_over: True when a person wants to see the figures now.
    """
    documents = write_documents(folder / "documents")
    base = make_base(folder / "small")
    expected = tune_undisturbed(folder, documents, base)
    flow = Flow(folder, documents, base, SETTINGS)
    clock = Clock(folder / "clock")
    flow.daemon.prefix = clock.prefix
    campaign = _Campaign(folder, flow, clock, SoakFigures(seed=seed))
    began = time.monotonic()
    flow.daemon.start()
    try:
        with flow.ordering():
            number = 0
            while time.monotonic() - began < 60 * minutes and not is_over():
                kind, chance = draw(seed, number)
                before = time.monotonic()
                what = campaign.do(kind, chance)
                tell(f"{number} {kind} {what} · {time.monotonic() - before:.1f} s")
                number += 1
        flow.wait_for_the_rest()
        flow.daemon.stop()
    finally:
        if flow.daemon.process is not None and flow.daemon.process.poll() is None:
            flow.daemon.process.send_signal(signal.SIGCONT)
            flow.daemon.kill()
    campaign.figures.minutes = round((time.monotonic() - began) / 60, 1)
    campaign.close(expected)
    return campaign.figures


def draw(seed: int, number: int) -> tuple[str, random.Random]:
    """Kind of a fault of a sequence, and the chance that decides the rest of it."""
    chance = random.Random(f"{seed}/{number}")
    return chance.choices(list(WEIGHTS), list(WEIGHTS.values()))[0], chance


class Clock:
    """The time of day that the daemon is told: a shift in a page of memory that it shares."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(bytes(mmap.PAGESIZE))
        with path.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), mmap.PAGESIZE)

    @property
    def prefix(self) -> list[str]:
        """Put in front of a command, it lets it see this clock."""
        return ["env", f"LD_PRELOAD={shim.build()}", f"FAULT_CLOCK={self.path}"]

    def shift(self, seconds: int) -> None:
        """From now on the time of day is this far from the real one."""
        self._page[:8] = struct.pack("q", seconds)


class _Campaign:
    """One method a kind of fault; each returns what it did, in words."""

    def __init__(self, folder: Path, flow: Flow, clock: Clock, figures: SoakFigures) -> None:
        self.folder, self.flow, self.clock, self.figures = folder, flow, clock, figures
        self.restarts: list[float] = []
        self.struck = {"daemon": 0, "worker": 0}
        self.why_no_cuts = powercut.find_why_not()

    def do(self, kind: str, chance: random.Random) -> str:
        """Let one fault, or one batch, happen."""
        self.flow.require_orders()
        draws = self.figures.draws
        draws[kind] = draws.get(kind, 0) + 1
        match kind:
            case "queue":
                return self._kill_queue(chance)
            case "trainer":
                return self._strike_trainer(chance)
            case "cut-queue" | "cut-publisher":
                return self._cut(kind, chance)
            case "sweep":
                return self._sweep(chance)
            case "daemon" | "worker" | "both":
                return self._kill(kind)
            case "clock":
                return self._turn_clock(chance)
        return self._disturb(kind, chance)

    def _kill_queue(self, chance: random.Random) -> str:
        folder = self.folder / f"queue-{sum(self.figures.draws.values())}"
        folder.mkdir()
        found = kill_queue(folder, kills=BATCH["queue"], seed=chance.randrange(10**6))
        self.figures.kills += found.kills
        self.figures.lost += found.lost
        self.figures.doubled += found.doubled
        return f"{found.kills} kills, {found.submitted} orders: {found.lost} lost"

    def _strike_trainer(self, chance: random.Random) -> str:
        found = strike_trainer(kills=BATCH["trainer"], seed=chance.randrange(10**6))
        self.figures.kills += found.kills
        self.figures.call_faults += found.blows - found.by_kind.get("kill", 0)
        self.figures.wrong_weights += found.wrong_weights
        self._blame(found.num_wrong - found.wrong_weights, found.examples)
        return f"{found.blows} blows, {found.runs} runs: {found.wrong_weights} wrong weights"

    def _cut(self, kind: str, chance: random.Random) -> str:
        if self.why_no_cuts:
            return f"left out: {self.why_no_cuts}"
        cut = powercut.cut_queue if kind == "cut-queue" else powercut.cut_publisher
        found = cut(cuts=BATCH[kind], seed=chance.randrange(10**6))
        self.figures.cuts += found.cuts
        self.figures.lost += found.lost
        self.figures.torn += found.torn
        self.figures.doubled += found.doubled
        return f"{found.cuts} cuts, {found.acknowledged} acknowledged: {found.lost} lost"

    def _sweep(self, chance: random.Random) -> str:
        name = chance.choice([name for name in SWEPT if name in FLOWS])
        found = sweep(name, every=chance.choice((5, 7, 11)))
        self.figures.kills += found.kills
        self.figures.call_faults += found.faults
        self.figures.lost += found.lost
        self.figures.torn += found.torn
        self._blame(found.num_wrong - found.lost - found.torn, found.examples)
        return f"{found.flow}: {found.faults} faults: {found.num_wrong} wrong"

    def _kill(self, kind: str) -> str:
        names = list(strike(self.flow, kind, self.restarts))
        for name in names:
            self.struck[name] += 1
        self.figures.kills += len(names)
        return " and ".join(names)

    def _turn_clock(self, chance: random.Random) -> str:
        seconds = chance.choice((-1, 1)) * chance.randrange(3600, 400 * 86_400)
        self.clock.shift(seconds)
        self.figures.clock_jumps += 1
        self.flow.daemon.client.ask("GET", "/v1/status")
        return f"{seconds / 86_400:+.1f} days"

    def _disturb(self, kind: str, chance: random.Random) -> str:
        """Signals that are no kill: somebody must go on, or end in good order."""
        seconds = chance.uniform(0.2, 4.0)
        pid = self.flow.daemon.pid if kind == "freeze-daemon" else find_worker(self.flow)
        with contextlib.suppress(ProcessLookupError):  # it ended a moment ago
            if kind == "ask-worker":
                os.kill(pid, signal.SIGTERM)
                return "asked to stop"
            os.kill(pid, signal.SIGSTOP)
            time.sleep(seconds)
            os.kill(pid, signal.SIGCONT)
        return f"{seconds:.1f} s"

    def _blame(self, count: int, examples: list[str]) -> None:
        self.figures.other += count
        if count:
            self.figures.wrong += examples

    def close(self, expected: str) -> None:
        """Hold the jobs of the living service to account."""
        found = judge(
            self.flow,
            expected,
            kills=self.struck["daemon"] + self.struck["worker"],
            daemon_kills=self.struck["daemon"],
            worker_kills=self.struck["worker"],
            restart_seconds=sorted(self.restarts)[len(self.restarts) // 2]
            if self.restarts
            else 0.0,
            longest_restart_seconds=max(self.restarts, default=0.0),
            seconds=60 * self.figures.minutes,
        )
        self.figures.service = asdict(found)
        self.figures.lost += found.lost
        self.figures.doubled += found.doubled
        self.figures.wrong_weights += found.wrong_weights
