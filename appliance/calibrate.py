"""Two tiny trainings on this machine's device: what they take beyond the closed form.

    python -m appliance.calibrate    reads {"device": ..., "compute_dtype": ..., "threads": ...}

It is a process of its own with every stage imported, so that its peak is that of a job; it prints
the bytes. `planning/calibration.py` keeps them for the plans of this machine.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import appliance.pipeline  # noqa: F401  (a job's process has every stage imported)
from appliance.bases.catalogue import find_bases
from appliance.dataset.pack import Pack
from appliance.events import ignore_event
from appliance.hardware.allocator import return_freed_memory
from appliance.offline import go_offline
from appliance.planning.memory import estimate_memory
from appliance.planning.training import Training
from appliance.tuning.loop import fit
from appliance.tuning.memory import read_peak, reset_peak
from appliance.tuning.schedule import Schedule
from appliance.tuning.tune import prepare_model
from appliance.values import BaseSpec, TrainPlan

POINTS = (256, 512)
"""Tokens of a pack: buffers of the matrix library differ between them."""

NUM_STEPS, PACKS_PER_STEP = 2, 2
"""The second step has the moments of the optimizer, the second pack the gradients of the first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RandomBatches:
    """Packs of one example with random tokens."""

    num_tokens: int
    vocab_size: int
    steps_per_epoch: int = NUM_STEPS

    def read_step(self, step: int) -> list[Pack]:
        """Packs of a step; the same whenever it is asked for."""
        ids_T = np.random.default_rng(step).integers(0, self.vocab_size, self.num_tokens)
        pack = Pack(
            token_ids_T=ids_T,
            labels_T=ids_T,
            positions_T=np.arange(self.num_tokens),
            segments=((0, self.num_tokens),),
        )
        return [pack] * PACKS_PER_STEP


def measure_extra(spec: BaseSpec, device: str, compute_dtype: str, threads: int) -> int:
    """Bytes beyond the closed form, the most of the points; below nought where it takes less.

    Args:
        spec: a small base.
        device: "cpu" or "cuda:0".
        compute_dtype: "float32" or "bfloat16".
        threads: processor cores.
    """
    return_freed_memory()
    torch.set_num_threads(threads)
    return max(_measure_point(spec, device, compute_dtype, tokens) for tokens in POINTS)


def _measure_point(spec: BaseSpec, device: str, compute_dtype: str, tokens: int) -> int:
    training = Training(
        method="qlora",
        sequence_length=tokens,
        device=device,
        compute_dtype=compute_dtype,
        returns_memory=True,
        packs_per_step=PACKS_PER_STEP,
    )
    plan = _make_plan(spec, training)
    model = prepare_model(spec, plan, seed=0)
    reset_peak(device)
    batches = RandomBatches(num_tokens=tokens, vocab_size=spec.vocab_size)
    schedule = Schedule(num_steps=NUM_STEPS, peak_lr=1e-4, warmup_steps=0, decay_steps=0)
    with tempfile.TemporaryDirectory() as folder:
        fit(
            model,
            batches,
            schedule,
            folder=Path(folder),
            on_event=ignore_event,
            should_stop=lambda: False,
        )
    planned = plan.memory.total_bytes
    if device != "cpu":  # what is reserved on a card does not hold the program's context
        planned -= plan.memory.runtime_bytes
    return read_peak(device) - planned


def _make_plan(spec: BaseSpec, training: Training) -> TrainPlan:
    return TrainPlan(
        base=spec.name,
        method=training.method,
        device=training.device,
        compute_dtype="bfloat16" if training.compute_dtype == "bfloat16" else "float32",
        rank=training.rank,
        tunes_head=False,
        recompute=False,
        returns_memory=True,
        sequence_length=training.sequence_length,
        packs_per_step=PACKS_PER_STEP,
        num_epochs=1,
        num_steps=NUM_STEPS,
        threads=torch.get_num_threads(),
        memory=estimate_memory(spec, training),
        memory_limit_bytes=0,
        seconds={},
        disk_bytes=0,
        rejected=(),
        reason="a probe",
    )


def main() -> None:
    """See the top of the file."""
    go_offline()
    order = json.loads(sys.stdin.read())
    (spec,) = find_bases("embedded").specs
    print(json.dumps({"extra_bytes": measure_extra(spec, **order)}))


if __name__ == "__main__":
    main()
