"""Peak memory of training, in closed form, term by term.

Weights, gradients and the optimizer are exact; what a step holds beside them is counted in
`activations.py`; the program and the allocator were measured. What no formula knows is added from
earlier runs on this machine (`calibration.py`). Figures for a GPU were derived, not yet measured.
"""

from __future__ import annotations

import math

from appliance.planning.activations import Moment, list_moments
from appliance.planning.calibration import correct_memory
from appliance.planning.training import (
    Training,
    count_embedding,
    count_linear,
    count_norms,
    count_trainable,
)
from appliance.units import MIB
from appliance.values import BaseSpec, MemoryEstimate, Method, RunNotes

NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Bytes of a weight in NF4 with double quantization: half a byte, an 8-bit scale for 64 weights, an
fp32 scale for 256 of those; 4.127 bits.

Source: Dettmers et al. 2023, arXiv:2305.14314, section 3 (0.127 bits for the constants).
"""

ADAMW_MOMENTS = 2
"""Numbers that AdamW keeps for a weight, in the type of the weight."""

RUNTIME_BYTES = {"cpu": 449 * MIB, "cuda": 900 * MIB}
"""Memory of the program itself: interpreter and libraries; on a GPU its context and workspaces.

Source: cpu: 413 MiB resident in a job's process with all stages imported (torch 2.13, transformers
5.23, peft 0.21, bitsandbytes 0.50, ONNX); 21 MiB of code that is only read once training runs; 15
MiB of buffers of the matrix library and of blocks too small to be mapped by themselves (the mean
of `scripts/bench planner`, from -11 with packs of 256 to +23; x86-64, 2026-11-23).
cuda: 0.5 GiB context as reported for torch, plus cuBLAS workspaces; not measured here.
"""

LAYER_BYTES = 820 * 2**10
"""Python's objects of a layer with updates, on a CPU: modules, graph nodes, and the last page of
every block, which is mapped whole.

Source: 540 KiB a layer once the base is loaded (8 and 16 layers), and a page of 4 KiB for each of
some 70 blocks (14 matrices with gradients and moments, packed weights with their scales).
"""

KEPT_SHARE: dict[Method, float] = {
    "qlora": 0.6,
    "lora": 0.6,
    "adapter": 1.0,
    "full": 1.0,
    "prompt": 0.8,
}
"""What the C library's allocator holds on top of what a step has in use when it keeps freed memory:
it cannot reuse a freed block for one of the same aligned size, so the heap grows to a multiple of
what is in use. With freed memory given back (`returns_memory`) there is nothing on top.

Source: peak resident set of `scripts/bench planner` in 12 settings of 14 to 107 M parameters and of
the main job, packs of 512 and 1024, glibc 2.36, thresholds of 256 MiB: shares from 0.2 to 0.8, with
which the whole peak is met within -3 and +10 %. Layers that are not fused, and blocks that are
filled before they are written, had shares of 1.1 to 2. One x86-64 core, 2026-11-24.
"""

KEPT_AGAIN = 3.5
"""How much larger that share is with recomputation, whose blocks come and go more often, beside the
less that is in use."""

CUDA_SHARE = 0.08
"""What torch's allocator reserves on a GPU on top of what is in use; not measured here."""


def estimate_memory(
    spec: BaseSpec, training: Training, notes: RunNotes | None = None
) -> MemoryEstimate:
    """Peak bytes of training by term, at the moment of the peak.

    Args:
        spec: the base.
        training: how it is trained.
        notes: what earlier runs on this machine measured.
    """
    num_trainable = count_trainable(spec, training)
    size = training.compute_bytes if training.method == "full" else 4

    def count_gradients(moment: Moment) -> int:
        return 0 if moment.missing is None else size * (num_trainable - moment.missing)

    update = Moment("update", 0, 0)
    peak = max(
        (*list_moments(spec, training), update),
        key=lambda moment: moment.saved_bytes + moment.passing_bytes + count_gradients(moment),
    )
    moving = peak.saved_bytes + peak.passing_bytes
    raw = MemoryEstimate(
        peak_at=peak.name,
        runtime_bytes=_count_runtime(spec, training),
        weights_bytes=0 if training.method == "full" else estimate_weights(spec, training),
        trainable_bytes=size * num_trainable * (2 if training.tries_rates else 1),
        gradients_bytes=count_gradients(peak),
        optimizer_bytes=ADAMW_MOMENTS * size * num_trainable,
        activations_bytes=peak.saved_bytes,
        head_bytes=peak.passing_bytes if peak.name == "loss" else 0,
        workspace_bytes=0 if peak.name == "loss" else peak.passing_bytes,
        allocator_bytes=round(_find_allocator_share(training) * moving),
    )
    return correct_memory(raw, training, notes)


def estimate_weights(spec: BaseSpec, training: Training) -> int:
    """Bytes of the frozen base: decoder matrices in NF4 or plain, the rest in the compute type."""
    linear = count_linear(spec)
    rest = count_embedding(spec) + count_norms(spec)
    per_weight = NF4_BYTES if training.is_quantized else training.compute_bytes
    return math.ceil(linear * per_weight) + rest * training.compute_bytes


def _count_runtime(spec: BaseSpec, training: Training) -> int:
    """Bytes of the program, with its objects for every layer."""
    has_objects = training.kind == "cpu" and training.method != "full"
    return RUNTIME_BYTES[training.kind] + (LAYER_BYTES * spec.num_layers if has_objects else 0)


def _find_allocator_share(training: Training) -> float:
    """What the allocator holds on top of what a step has in use."""
    if training.kind == "cuda":
        return CUDA_SHARE
    if training.returns_memory:
        return 0.0
    return KEPT_SHARE[training.method] * (KEPT_AGAIN if training.recompute else 1)
