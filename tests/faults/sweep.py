"""Every system call of a durable change meets every fault, one after the other, until none fires.

    LD_PRELOAD=shim.so python -m tests.faults.sweep FLOW [EVERY]

For each fault a child of its own makes the change from the same state and meets the fault at one
call; a second child reads what is there then; a third makes the change again undisturbed. The
figures come out as JSON. `sweep` runs it from a process without the library.

Source of the method: the I/O error tests of SQLite, https://sqlite.org/testing.html, section 3.2:
fail at the Nth call, for N = 1, 2, 3 and so on, until the work ends without the fault.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.conftest import ROOT
from tests.faults import shim
from tests.faults.flows import BROKEN, FLOWS, Flow
from tests.faults.shim import CALLS, NO_FAULT, Fault

FAULTS = (
    ("kill before", 0, CALLS),
    ("kill after", 0, ("rename", "remove", "sync")),
    ("fail once", errno.EIO, CALLS),
    ("fail from here", errno.ENOSPC, ("open", "write", "mkdir", "truncate")),
    ("fail from here", errno.EROFS, CALLS),
    ("short", 0, ("write",)),
)
"""What happens, the number of the error, and at which kinds of calls."""


@dataclass(kw_only=True, slots=True)
class SweepFigures:
    """What became of a change that met faults.

    Attributes:
        flow: what was done.
        faults: faults that came; by action in `by_action`.
        kills: of these, deaths of the process.
        lost: acknowledged, and not there afterwards.
        torn: neither what was there before nor what was to be.
        stuck: the same work done again did not end, or not with the same result.
        unclear: failures without a message that tells what, why and the way on.
        left: files that a later, undisturbed change did not clear away.
        told: the messages, with how often each came.
        examples: the first few things that went wrong.
    """

    flow: str
    faults: int = 0
    kills: int = 0
    lost: int = 0
    torn: int = 0
    stuck: int = 0
    unclear: int = 0
    left: int = 0
    told: dict[str, int] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)

    @property
    def num_wrong(self) -> int:
        """Promises that were not kept."""
        return self.lost + self.torn + self.stuck + self.unclear + self.left


def sweep(flow: str, *, every: int = 1) -> SweepFigures:
    """Sweep in a process that has the library, and wait for its figures.

    Args:
        flow: one of FLOWS.
        every: 1 for every call, 3 for each third.
    """
    done = subprocess.run(
        [sys.executable, "-m", __name__, flow, str(every)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env=shim.preload(),
        check=True,
    )
    return SweepFigures(**json.loads(done.stdout))


def main(name: str, every: int) -> None:
    """Sweep one flow; its figures as JSON."""
    flow = (FLOWS | BROKEN)[name]()
    with tempfile.TemporaryDirectory(
        prefix="sweep-", dir=shim.choose_place(), ignore_cleanup_errors=True
    ) as place:
        figures = _sweep(flow, Path(place).resolve(), every)
    print(json.dumps(asdict(figures)))


def _sweep(flow: Flow, place: Path, every: int) -> SweepFigures:
    start, ground = place / "start", place / "ground"
    start.mkdir()
    _in_child(lambda tell: flow.prepare(start))
    calls, expected = _count(flow, start, ground)
    figures = SweepFigures(flow=flow.name)
    told: Counter[str] = Counter()
    for fault in _list_faults(calls, every):
        _copy(start, ground)
        rows = _in_child(lambda tell, fault=fault: _work(flow, ground, fault, tell))
        figures.faults += 1
        figures.kills += fault.action.startswith("kill")
        _judge(flow, ground, fault, rows, figures, expected)
        told.update(_PASSING.sub("…", row["message"]) for row in rows if "message" in row)
    figures.told = dict(told)
    return figures


def _list_faults(calls: dict[str, int], every: int) -> Iterator[Fault]:
    """All of them; a step of `every` begins at another call for each action."""
    for number, (action, value, kinds) in enumerate(FAULTS):
        for kind in kinds:
            for at in range(1 + number % every, calls[kind] + 1, every):
                yield Fault(call=kind, at=at, action=action, value=value)


def _count(flow: Flow, start: Path, ground: Path) -> tuple[dict[str, int], set[str]]:
    """Calls of undisturbed work, and the files it leaves."""
    _copy(start, ground)
    rows = _in_child(lambda tell: _work(flow, ground, NO_FAULT, tell))
    assert rows[-1].get("is_done"), rows
    (visible,) = _in_child(lambda tell: tell(visible=flow.read(ground)))
    assert visible["visible"] == flow.num_steps, visible
    return rows[-1]["calls"], _list_files(ground)


def _work(flow: Flow, ground: Path, fault: Fault, tell: Callable[..., None]) -> None:
    """Do the work under a fault, telling each step that is done and how it ended."""
    steps = 0

    def acknowledge() -> None:
        nonlocal steps
        steps += 1
        tell(steps=steps)

    shim.arm(ground, fault)
    try:
        flow.work(ground, acknowledge)
        calls = shim.count_calls()
        shim.disarm()
        tell(is_done=True, calls=calls)
    except Exception as exc:
        shim.disarm()
        tell(message=flow.explain(exc, ground))


def _judge(
    flow: Flow,
    ground: Path,
    fault: Fault,
    rows: list[dict[str, Any]],
    figures: SweepFigures,
    expected: set[str],
) -> None:
    """Hold what lies there now, and what the same work makes of it, against what was told."""

    def note(what: str, why: object) -> None:
        setattr(figures, what, getattr(figures, what) + 1)
        if len(figures.examples) < 8:
            figures.examples.append(f"{flow.name}: {fault}: {what}: {why}")

    steps = max((row.get("steps", 0) for row in rows), default=0)
    if any(not message for message in (row.get("message", " ") for row in rows)):
        note("unclear", rows[-1])
    (found,) = _in_child(lambda tell: tell(visible=flow.read(ground)))
    visible = found.get("visible")
    if visible is None or visible > steps + 1:
        note("torn", found)
    elif visible < steps:
        note("lost", f"{visible} of {steps}")
    again = _in_child(lambda tell: _work(flow, ground, NO_FAULT, tell))
    (found,) = _in_child(lambda tell: tell(visible=flow.read(ground)))
    if not (again and again[-1].get("is_done")) or found.get("visible") != flow.num_steps:
        note("stuck", (again[-1:], found))
    elif left := _list_files(ground) - expected:
        note("left", sorted(left))


def _in_child(function: Callable[[Callable[..., None]], object]) -> list[dict[str, Any]]:
    """Run a function in a fork, which tells rows through a pipe; also those of one that died."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        try:
            function(lambda **row: os.write(writer, json.dumps(row).encode() + b"\n"))
        except BaseException:
            trace = traceback.format_exc(limit=-3)
            os.write(writer, json.dumps({"broken": trace}).encode() + b"\n")
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        rows = [json.loads(line) for line in file.read().splitlines()]
    os.waitpid(child, 0)
    return rows


def _copy(start: Path, ground: Path) -> None:
    shutil.rmtree(ground, ignore_errors=True)
    shutil.copytree(start, ground, symlinks=True)


_PASSING = re.compile(r"\.\d+\.partial|/\S*/ground|[\d.]+ GiB")
"""What differs between two messages that say the same."""


def _list_files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


if __name__ == "__main__":
    os.umask(0o077)
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1)
