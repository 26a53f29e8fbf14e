"""What is left of the work after kills, power cuts, full and failing disks, and flipped bits.

    scripts/bench faults --json FILE                  all of it: some twenty minutes
    scripts/bench faults --only trainer --only calls  parts of it
    scripts/bench faults --kills 20 --cuts 6          fewer faults than 200 and 60 of each kind

Kinds: `calls` puts every fault into every system call of a durable change (files, stages, queue,
audit log, checkpoint); `queue`, `daemon`, `trainer`, `parser` and `server` kill these processes at
random moments, the trainer also at exact calls, and flips bits of its checkpoints; `cuts` cuts the
power under queue and artefacts. The long form, on a living service: scripts/soak.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from appliance.offline import go_offline  # noqa: E402

Row = dict[str, Any]

MUST_BE_NOUGHT = (
    "lost", "doubled", "torn", "stuck", "unclear", "left", "wrong_weights", "failed", "unnoticed",
    "changed", "damaged",
)  # fmt: skip
"""Figures that count promises that were not kept."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """What the parts share: a folder to work in, and the number of faults."""

    folder: Path
    kills: int
    cuts: int
    every: int
    seed: int


@click.command()
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write all figures.")
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(["calls", "queue", "daemon", "trainer", "parser", "server", "cuts"]),
)
@click.option("--kills", default=200, show_default=True, help="Of each process.")
@click.option("--cuts", default=60, show_default=True, help="Of the queue, and of artefacts.")
@click.option("--every", default=1, show_default=True, help="3: only each third system call.")
@click.option("--seed", default=1, show_default=True)
@click.option(
    "--work", type=click.Path(path_type=Path), help="Where to work. Default: a new folder."
)
def main(
    json_file: Path | None,
    only: tuple[str, ...],
    kills: int,
    cuts: int,
    every: int,
    seed: int,
    work: Path | None,
) -> None:
    """Let faults fall, count what was lost, doubled or torn, and hold it against the promise."""
    go_offline()
    figures: Row = {"machine": f"{len(os.sched_getaffinity(0))} cores", "seed": seed}
    with tempfile.TemporaryDirectory(prefix="bench-faults-", dir=work) as folder:
        place = Place(folder=Path(folder), kills=kills, cuts=cuts, every=every, seed=seed)
        for name, measure in PARTS.items():
            if name in (only or PARTS):
                began = time.monotonic()
                figures[name] = measure(place)
                click.echo(f"{name}: {time.monotonic() - began:.0f} s", err=True)
                if json_file:  # what was measured stays when a later part fails
                    json_file.write_text(json.dumps(figures, indent=1) + "\n")
    checks = list(list_checks(figures))
    click.echo(make_table(checks))
    if json_file:
        json_file.write_text(json.dumps(figures | {"checks": checks}, indent=1) + "\n")
    sys.exit(0 if all(check["ok"] for check in checks) else 1)


def measure_calls(place: Place) -> Row:
    """Every fault at every system call of each durable change."""
    from tests.faults.flows import FLOWS
    from tests.faults.shim import find_why_not
    from tests.faults.sweep import sweep

    if why_not := find_why_not():
        return {"left_out": why_not}
    return {name: dataclasses.asdict(sweep(name, every=place.every)) for name in FLOWS}


def measure_queue(place: Place) -> Row:
    """A process on the queue alone is killed with jobs flowing."""
    from tests.faults.kills import kill_queue

    folder = make_folder(place, "queue")
    return dataclasses.asdict(kill_queue(folder, kills=place.kills, seed=place.seed))


def measure_daemon(place: Place) -> Row:
    """The daemon is killed while a client orders."""
    from tests.faults.daemon_kills import kill_daemon

    folder = make_folder(place, "daemon")
    return dataclasses.asdict(kill_daemon(folder, kills=place.kills, seed=place.seed))


def measure_trainer(place: Place) -> Row:
    """Training is killed, asked to stop, and finds flipped bits in its checkpoints."""
    from tests.faults.shim import find_why_not
    from tests.faults.trainer_flow import strike_trainer

    if why_not := find_why_not():
        return {"left_out": why_not}
    return dataclasses.asdict(strike_trainer(kills=place.kills, seed=place.seed))


def measure_parser(place: Place) -> Row:
    """Readers of documents are killed while a folder is read."""
    from tests.faults.parser_kills import kill_parsers

    return dataclasses.asdict(kill_parsers(kills=place.kills, seed=place.seed))


def measure_server(place: Place) -> Row:
    """A server is killed in the middle of answers."""
    from tests.daemon.base import make_base
    from tests.daemon.service import write_documents
    from tests.faults.server_kills import kill_server
    from tests.faults.service_kills import tune_undisturbed

    folder = make_folder(place, "server")
    documents = write_documents(folder / "documents")
    tune_undisturbed(folder, documents, make_base(folder / "small"))
    (bundle,) = (folder / "undisturbed").glob("*/bundle")
    return dataclasses.asdict(kill_server(bundle, kills=place.kills, seed=place.seed))


def measure_cuts(place: Place) -> Row:
    """Power cuts under the queue, and under the publisher of artefacts."""
    from tests.faults.powercut import cut_publisher, cut_queue, find_why_not

    if why_not := find_why_not():
        return {"left_out": why_not}
    return {
        "queue": dataclasses.asdict(cut_queue(cuts=place.cuts, seed=place.seed)),
        "publisher": dataclasses.asdict(cut_publisher(cuts=place.cuts, seed=place.seed)),
    }


PARTS: dict[str, Callable[[Place], Row]] = {
    "queue": measure_queue,
    "cuts": measure_cuts,
    "trainer": measure_trainer,
    "daemon": measure_daemon,
    "calls": measure_calls,
    "parser": measure_parser,
    "server": measure_server,
}


def make_folder(place: Place, name: str) -> Path:
    """A folder of its own for a part."""
    folder = place.folder / name
    folder.mkdir()
    return folder


def list_checks(figures: Row) -> Iterator[Row]:
    """What is promised, for what was measured."""
    for part, found in figures.items():
        if part not in PARTS:
            continue
        if "left_out" in found:
            yield {"name": f"{part}: {found['left_out']}", "value": 0, "target": "-", "ok": True}
            continue
        groups = found if part in ("calls", "cuts") else {"": found}
        for name, group in groups.items():
            yield from check_group(f"{part} {name}".strip(), group)


def check_group(name: str, group: Row) -> Iterator[Row]:
    """How often a kind of fault fell, and what became of what was acknowledged."""
    scale = ("faults", "kills", "cuts", "acknowledged", "submitted", "runs", "readings", "whole")
    words = ", ".join(f"{group[key]} {key}" for key in scale if key in group)
    for key in MUST_BE_NOUGHT:
        if key in group:
            what = key.replace("_", " ")
            is_kept = group[key] == 0
            yield {"name": f"{name}: {words}: {what}", "value": group[key], "target": "0",
                   "ok": is_kept}  # fmt: skip


def make_table(checks: list[Row]) -> str:
    """One line a promise."""
    lines = ["| | measured | target | |", "|---|---|---|---|"]
    for row in checks:
        mark = "ok" if row["ok"] else "MISSED"
        lines.append(f"| {row['name']} | {row['value']} | {row['target']} | {mark} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
