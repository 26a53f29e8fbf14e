"""Planned beside measured speed of training, and how long `appliance report` takes."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from planner_child import Setting, make_training
from planner_memory import call_child, run_child
from planner_shapes import make_spec

from appliance.planning.device_speed import find_cpu_speed
from appliance.planning.speed import estimate_learning
from appliance.values import Cpu, MeasuredRates

SETTINGS = (
    Setting(base="14 M", method="qlora", tokens=512, goal="time"),
    Setting(base="14 M", method="full", tokens=1024, goal="time"),
    Setting(base="31 M", method="lora", tokens=512, goal="time"),
    Setting(base="31 M", method="qlora", tokens=1024, recompute=True, goal="time"),
    Setting(base="107 M", method="adapter", tokens=512, packs=1, goal="time"),
    Setting(base="107 M", method="qlora", tokens=512, packs=1, goal="time"),
)

ROUNDS = 3

Row = dict[str, Any]


def measure_time(folder: Path, on_row: Callable[[Row], None]) -> list[Row]:
    """Train with every setting; a row each, with the planned and the measured speed.

    The speed of the machine is measured before each run. Beside other programs a run gets a part
    of its core: speeds for a second of the processor's time are compared, and tokens for a second
    of the clock are told.
    """
    cpu = Cpu(name="", num_cores=1, instruction_sets=(), gflops_fp32=0.0)  # not looked at
    rows = []
    for setting in SETTINGS:
        rates, load = _measure_rates(), os.getloadavg()[0]
        spec, training = make_spec(setting.base), make_training(setting)
        planned = estimate_learning(spec, training, find_cpu_speed(cpu, rates))
        measured = run_child(setting, folder)
        speed = measured["tokens_per_cpu_second"]
        row = asdict(setting) | {
            "planned_tokens_per_second": planned,
            "tokens_per_cpu_second": speed,
            "tokens_per_second": measured["tokens_per_second"],
            "error": planned / speed - 1,
            "load": load,
            "fp32_gflops": rates.fp32_flops_per_second / 1e9,
            "memory_gigabytes_per_second": rates.memory_bytes_per_second / 1e9,
        }
        on_row(row)
        rows.append(row)
    return rows


def measure_report(folder: Path, on_row: Callable[[Row], None]) -> list[Row]:
    """Seconds of `appliance report`, without and with its measurement; a row each."""
    rows = []
    for arguments in ((), ("--measure",)):
        walls, used = [], []
        for number in range(ROUNDS):
            environment = os.environ | {"XDG_CACHE_HOME": str(folder / f"report-{number}")}
            before, started = _count_processor_seconds(), time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "appliance", "report", "--json", *arguments],
                env=environment,
                stdout=subprocess.DEVNULL,
                check=True,
            )
            walls.append(time.perf_counter() - started)
            used.append(_count_processor_seconds() - before)
        row = {
            "arguments": list(arguments),
            "seconds": statistics.median(walls),
            "best_seconds": min(walls),
            "processor_seconds": statistics.median(used),
            "load": os.getloadavg()[0],
        }
        on_row(row)
        rows.append(row)
    return rows


def _measure_rates() -> MeasuredRates:
    return MeasuredRates(
        **call_child("rates"),
        bf16_flops_per_second=0.0,
        disk_write_bytes_per_second=0.0,
        measured_at=0.0,
        threads=1,
    )


def _count_processor_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
