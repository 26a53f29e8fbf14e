"""One training run in a process of its own: the product's tuning stage on a random base.

python planner_child.py make NAME FOLDER         a base with random weights
python planner_child.py run FOLDER WORK < JSON   trains it; prints what was measured, as JSON
"""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent)]

from planner_shapes import make_config, make_spec  # noqa: E402

from appliance.offline import go_offline  # noqa: E402

SEGMENTS = 2  # examples of a pack

STEPS = {"memory": 2, "time": 6}
"""Steps of a run: with the second, the optimizer has its moments."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a run is given."""

    base: str
    method: str
    tokens: int
    packs: int = 2
    recompute: bool = False
    head: bool = False
    rank: int = 16
    returns_memory: bool = True
    keeps_unpacked: bool = False
    threads: int = 1
    goal: str = "memory"


class Tick(NamedTuple):
    """A moment of a run: the clock, the processor's time used, and whether a step just ended."""

    clock: float
    used: float
    is_step: bool


def make_training(setting: Setting) -> Any:
    """The setting as the planner sees it."""
    from appliance.planning.training import Training

    return Training(
        method=setting.method,
        sequence_length=setting.tokens,
        rank=setting.rank,
        tunes_head=setting.head,
        recompute=setting.recompute,
        returns_memory=setting.returns_memory,
        keeps_unpacked=setting.keeps_unpacked,
        packs_per_step=setting.packs,
        mean_example=setting.tokens // SEGMENTS,
    )


def make_base(name: str, folder: Path) -> None:
    """Write a base with random weights in 16 bit, as published ones come."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(make_config(make_spec(name)), dtype=torch.bfloat16)
    model.save_pretrained(folder)


def run(setting: Setting, folder: Path, work: Path) -> dict[str, Any]:
    """Train as a job does, and measure.

    The peak while the base is loaded is told apart (`loading_bytes`): its file is mapped then, and
    the kernel takes its pages back when memory is short.
    """
    import appliance.pipeline  # noqa: F401  (a job's process has every stage imported)
    from appliance.events import HeldOut, StepDone
    from appliance.recipe import TuneRecipe
    from appliance.rundir import StageFolder
    from appliance.tuning import tune as stage_module
    from appliance.tuning.memory import read_peak, reset_peak

    spec = make_spec(setting.base, folder)
    dataset = _make_dataset(setting, spec.vocab_size, work)
    loading: list[int] = []
    prepare = stage_module.prepare_model

    def prepare_and_note(*arguments: Any) -> Any:
        reset_peak("cpu")
        model = prepare(*arguments)
        loading.append(read_peak("cpu"))
        return model

    stage_module.prepare_model = prepare_and_note
    ticks: list[Tick] = []

    def note(event: Any) -> None:
        if isinstance(event, StepDone | HeldOut):
            is_step = isinstance(event, StepDone)
            ticks.append(Tick(time.perf_counter(), time.process_time(), is_step))

    (work / "tune").mkdir()
    stage = StageFolder(
        name="tune", folder=work / "tune", run=work, on_event=note, should_stop=lambda: False
    )
    recipe = TuneRecipe(lr=1e-4, checkpoint_seconds=1e6)
    tuned = stage_module.tune(_make_plan(setting, spec), spec, dataset, recipe, stage)
    return {
        "peak_bytes": tuned.peak_memory_bytes,
        "loading_bytes": loading[0],
        "tokens_per_second": _measure_speed(setting, ticks, lambda tick: tick.clock),
        "tokens_per_cpu_second": _measure_speed(setting, ticks, lambda tick: tick.used),
    }


def measure_rates() -> dict[str, float]:
    """The product's measurements of speed, by the processor's time instead of the clock.

    Beside other programs a process gets a part of its core; its own time leaves that part out.
    """
    import torch

    from appliance.hardware import benchmark

    torch.set_num_threads(1)
    benchmark.time = SimpleNamespace(perf_counter=time.process_time)  # type: ignore[assignment]
    cpu = torch.device("cpu")
    return {
        "fp32_flops_per_second": benchmark.measure_products(
            torch.float32, cpu, 3.0, benchmark.SIZES
        ),
        "memory_bytes_per_second": benchmark.measure_triad(cpu, 1.5, benchmark.STREAM_BYTES),
    }


def _measure_speed(setting: Setting, ticks: list[Tick], read: Callable[[Tick], float]) -> float:
    """Tokens a second of the median step; a held-out loss lies before or after it, never in it."""
    spans = [
        read(later) - read(earlier) for earlier, later in itertools.pairwise(ticks) if later.is_step
    ]
    if not spans:
        return 0.0
    return setting.packs * setting.tokens / sorted(spans)[len(spans) // 2]


def _make_dataset(setting: Setting, vocab_size: int, work: Path) -> Any:
    import numpy as np

    from appliance.dataset.tokens import Example, write_token_file
    from appliance.values import Dataset, Split

    rng = np.random.default_rng(0)
    length = setting.tokens // SEGMENTS

    def split(name: str, packs: int) -> Any:
        examples = [
            Example(
                token_ids=rng.integers(0, vocab_size, length).tolist(),
                supervised=[True] * length,
                document=number,
                num_bytes=length,
            )
            for number in range(packs * SEGMENTS)
        ]
        write_token_file(work / "dataset" / name, examples, vocab_size)
        count = length * len(examples)
        return Split(
            folder=f"dataset/{name}",
            num_documents=len(examples),
            num_examples=len(examples),
            num_tokens=count,
            num_labels=count - len(examples),
        )

    return Dataset(
        train=split("train", STEPS[setting.goal] * setting.packs),
        valid=split("valid", 1),
        test=split("test", 1),
        questions_file="",
        ledger_file="",
        num_questions=0,
        num_tokens_dropped=0,
        num_tokens_repeated=0,
        longest_example=length,
        sha256="",
    )


def _make_plan(setting: Setting, spec: Any) -> Any:
    from appliance.planning.memory import estimate_memory
    from appliance.values import TrainPlan

    training = make_training(setting)
    return TrainPlan(
        base=spec.name,
        method=training.method,
        device="cpu",
        compute_dtype="float32",
        rank=setting.rank,
        tunes_head=setting.head,
        recompute=setting.recompute,
        returns_memory=setting.returns_memory,
        keeps_unpacked=setting.keeps_unpacked,
        sequence_length=setting.tokens,
        packs_per_step=setting.packs,
        num_epochs=1,
        num_steps=STEPS[setting.goal],
        threads=setting.threads,
        memory=estimate_memory(spec, training),
        memory_limit_bytes=2**40,
        seconds={},
        disk_bytes=0,
        rejected=(),
        reason="",
    )


def main() -> None:
    """See the top of the file."""
    go_offline()
    if sys.argv[1] == "make":
        make_base(sys.argv[2], Path(sys.argv[3]))
        return
    if sys.argv[1] == "rates":
        print(json.dumps(measure_rates()))
        return
    setting = Setting(**json.load(sys.stdin))
    work = Path(tempfile.mkdtemp(dir=sys.argv[3]))
    try:
        with contextlib.redirect_stdout(sys.stderr):
            measured = run(setting, Path(sys.argv[2]), work)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
