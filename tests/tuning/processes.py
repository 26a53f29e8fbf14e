"""Real processes that train: forked from one that has imported torch, so each starts at once."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from appliance.dataset.pack import PackedBatches
from appliance.dataset.tokens import open_token_file
from appliance.events import Event, StepDone, encode_event
from appliance.recipe import TuneRecipe
from appliance.rundir import StageFolder
from appliance.values import BaseSpec, Dataset, TrainPlan

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["appliance.tuning.tune", "tests.tuning.processes"])


def start(function: Callable[..., None], *arguments: Any) -> BaseProcess:
    process = _CONTEXT.Process(target=function, args=arguments)
    process.start()
    return process


def run(function: Callable[..., None], *arguments: Any) -> int:
    """Exit code of a process that did this; the number of a signal, negative, if one ended it."""
    process = start(function, *arguments)
    process.join(120)
    assert process.exitcode is not None
    return process.exitcode


def read_steps(out: Path) -> list[dict[str, Any]]:
    """Every step that any attempt made; a line that was cut off by a kill is none."""
    lines = (out / "events.jsonl").read_text().split("\n")[:-1]
    rows = [json.loads(line) for line in lines]
    return [row for row in rows if row["kind"] == "StepDone"]


def read_events(out: Path, kind: str) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (out / "events.jsonl").read_text().split("\n")[:-1]]
    return [row for row in rows if row["kind"] == kind]


def open_events(out: Path) -> Callable[[Event], None]:
    descriptor = os.open(out / "events.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(event: Event) -> None:
        os.write(descriptor, (encode_event(event) + "\n").encode())

    return write


def tune_within(
    group: Path | None,
    spec: BaseSpec,
    dataset: Dataset,
    plan: TrainPlan,
    out: Path,
    greedy_at: int = 0,
) -> None:
    """The stage `tune` in a control group; at one step it takes far more than the group may have.

    What it made is written to `tuned.json`.
    """
    if group is not None:
        (group / "cgroup.procs").write_text(str(os.getpid()))
    import torch

    from appliance.tuning.tune import tune

    torch.set_num_threads(1)
    write = open_events(out)

    def on_event(event: Event) -> None:
        write(event)
        if isinstance(event, StepDone) and event.step == greedy_at:
            ballast = bytearray(2**31)
            ballast[::4096] = b"x" * len(ballast[::4096])

    stage = StageFolder(
        name="tune", folder=out, run=out.parent, on_event=on_event, should_stop=lambda: False
    )
    recipe = TuneRecipe(lr=3e-3, checkpoint_seconds=1e-6)
    (out / "tuned.json").write_text(tune(plan, spec, dataset, recipe, stage).model_dump_json())


def train_until(base: Path, split: Path, out: Path, seed: int, cpu_seconds: float) -> None:
    """Train the tiny model, and die after so much time of the processor, whatever happens then.

    What it made is written to `weights.pt`, and how long it took to `cpu_seconds`.
    """
    import torch

    from appliance.tuning.loop import fit
    from tests.tuning.test_loop import SCHEDULE, make_model, read_weights

    torch.set_num_threads(1)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    model = make_model(base)
    batches = PackedBatches(open_token_file(split), pack_tokens=64, packs_per_step=2, seed=seed)
    began = time.process_time()
    signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
    fit(
        model,
        batches,
        dataclasses.replace(SCHEDULE, checkpoint_seconds=1e-6, num_returns=3),
        folder=out,
        held_out=batches.read_all()[:2],
        on_event=open_events(out),
        should_stop=lambda: False,
    )
    signal.setitimer(signal.ITIMER_PROF, 0)
    (out / "cpu_seconds").write_text(str(time.process_time() - began))
    torch.save(read_weights(model), out / "weights.pt")
