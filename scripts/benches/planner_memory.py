"""Planned peak memory beside the measured one, on this processor.

Every setting is a process of its own that runs the product's tuning stage. Its allocator is told
to give freed memory back (`returns_memory`), as a plan tells it where memory is short: what the
process holds is then what it uses.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parent)]

from planner_child import Setting, make_training  # noqa: E402
from planner_shapes import make_spec  # noqa: E402

from appliance.daemon.child import ALLOCATOR  # noqa: E402
from appliance.planning.memory import estimate_memory  # noqa: E402

CHILD = Path(__file__).with_name("planner_child.py")

SETTINGS = (
    Setting(base="14 M", method="qlora", tokens=512),
    Setting(base="14 M", method="qlora", tokens=1024, recompute=True),
    Setting(base="14 M", method="qlora", tokens=1024, packs=1, head=True),
    Setting(base="14 M", method="lora", tokens=256, rank=64),
    Setting(base="14 M", method="adapter", tokens=1024),
    Setting(base="14 M", method="full", tokens=512),
    Setting(base="31 M", method="qlora", tokens=1024),
    Setting(base="31 M", method="lora", tokens=1024, recompute=True),
    Setting(base="31 M", method="adapter", tokens=512, recompute=True),
    Setting(base="31 M", method="full", tokens=256, packs=1),
    Setting(base="31 M", method="full", tokens=512, recompute=True),
    Setting(base="107 M", method="qlora", tokens=512),
    Setting(base="107 M", method="qlora", tokens=1024, recompute=True),
    Setting(base="107 M", method="lora", tokens=256, packs=4),
    Setting(base="107 M", method="lora", tokens=512, recompute=True),
    Setting(base="107 M", method="adapter", tokens=512),
    Setting(base="107 M", method="full", tokens=256, packs=1),
    Setting(base="107 M", method="full", tokens=512),
    Setting(base="135 M", method="qlora", tokens=512),
    Setting(base="135 M", method="lora", tokens=512, packs=1),
    Setting(base="135 M", method="adapter", tokens=512, recompute=True),
    Setting(base="135 M", method="full", tokens=256, recompute=True),
    Setting(base="348 M", method="qlora", tokens=256),
    Setting(base="348 M", method="qlora", tokens=512, recompute=True),
    Setting(base="348 M", method="lora", tokens=512),
    Setting(base="348 M", method="adapter", tokens=512),
    Setting(base="348 M", method="full", tokens=256, packs=1, recompute=True),
)
"""Method, size, tokens of a pack, packs of a step, recomputation: every one at every size."""

KEPT = (
    Setting(base="14 M", method="qlora", tokens=1024, returns_memory=False),
    Setting(base="14 M", method="full", tokens=512, returns_memory=False),
    Setting(base="31 M", method="lora", tokens=512, returns_memory=False),
    Setting(base="107 M", method="qlora", tokens=512, recompute=True, returns_memory=False),
    Setting(base="107 M", method="adapter", tokens=512, returns_memory=False),
)
"""With freed memory kept, as plans do where a quarter of the memory is enough."""

Row = dict[str, Any]


def measure_memory(
    settings: Iterable[Setting], folder: Path, on_row: Callable[[Row], None]
) -> list[Row]:
    """Train with every setting; a row each, with what was planned and measured.

    Args:
        settings: what to train.
        folder: where bases and runs are written.
        on_row: gets a row when it is there.
    """
    rows = []
    for setting in settings:
        row = _make_row(setting, run_child(setting, folder))
        on_row(row)
        rows.append(row)
    return rows


def run_child(setting: Setting, folder: Path) -> Row:
    """Run a setting in a process of its own, in the environment of a job.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    base = folder / setting.base.replace(" ", "-")
    work = folder / "runs"
    work.mkdir(parents=True, exist_ok=True)
    if not (base / "config.json").exists():
        call_child("make", setting.base, str(base))
    return call_child("run", str(base), str(work), text=json.dumps(asdict(setting)))


def call_child(*arguments: str, text: str = "") -> Row:
    """What a child prints last; nothing where it prints nothing.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    done = subprocess.run(
        [sys.executable, str(CHILD), *arguments],
        input=text,
        capture_output=True,
        text=True,
        env=os.environ | ALLOCATOR | {"OMP_NUM_THREADS": "1"},
        check=True,
    )
    row: Row = json.loads(done.stdout.splitlines()[-1]) if done.stdout else {}
    return row


def _make_row(setting: Setting, measured: Row) -> Row:
    estimate = estimate_memory(make_spec(setting.base), make_training(setting))
    planned, peak = estimate.total_bytes, measured["peak_bytes"]
    return asdict(setting) | {
        "planned_bytes": planned,
        "measured_bytes": peak,
        "loading_bytes": measured["loading_bytes"],
        "error": planned / peak - 1,
        "peak_at": estimate.peak_at,
        "terms": estimate.list_terms(),
    }
