"""SIGKILL at random moments, with jobs flowing: `kill_queue` gives the figures."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

from tests.faults import queue_flow
from tests.faults.acks import Ack, strike


@dataclass(frozen=True, kw_only=True, slots=True)
class KillFigures:
    """What became of everything that was acknowledged.

    Attributes:
        kills: how often the process was killed.
        submitted: submissions that were acknowledged.
        ended: ends of jobs that were acknowledged.
        fenced: words of killed attempts that were refused.
        lost: acknowledged and not there.
        doubled: submissions that became two jobs, jobs that ended twice, tokens given twice.
    """

    kills: int
    submitted: int
    ended: int
    fenced: int
    lost: int
    doubled: int


def kill_queue(folder: Path, *, kills: int, seed: int, mode: str = "safe") -> KillFigures:
    """Kill a process that works on one queue, again and again.

    Args:
        folder: where the queue is made.
        kills: how often.
        seed: of the moments, uniform over the first 0.2 s of work.
        mode: of `queue_flow`.
    """
    chance = random.Random(seed)
    path = folder / "queue.sqlite3"
    acks: list[Ack] = []
    for _ in range(kills):
        number = queue_flow.find_next_number(acks)
        heard = strike(
            queue_flow.__name__, path, number, mode, seconds=chance.uniform(0, 0.2), blow=list
        )
        acks += heard.before + heard.after
    found = queue_flow.check(path, acks)
    words = [ack[0] for ack in acks]
    return KillFigures(
        kills=kills,
        submitted=words.count("submitted"),
        ended=words.count("ended"),
        fenced=words.count("fenced"),
        lost=found.lost,
        doubled=found.doubled,
    )
