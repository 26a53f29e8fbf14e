"""How long each stage takes, from the measured speed of the machine and the work in closed form.

The seconds of a pack are those of its matrix products, of the bytes that pass through memory, of
unpacking NF4, and of the calls into the device. The work is counted in `work.py`, the speed of the
device found in `device_speed.py`; every other figure that was measured or assumed stands below.
"""

from __future__ import annotations

from dataclasses import dataclass

from appliance.planning.device_speed import DeviceSpeed
from appliance.planning.training import (
    Training,
    count_embedding,
    count_linear,
    count_trainable,
)
from appliance.planning.work import (
    FORWARD_OPERATIONS,
    FORWARD_TRAFFIC,
    UPDATE_BYTES,
    count_attention,
    count_flops,
    count_forward_attention,
    count_forward_flops,
    count_fresh,
    count_operations,
    count_traffic,
    count_unpacked,
    sum_traffic,
)
from appliance.values import BaseSpec, SpeedEstimate

IMPORT_SECONDS = 7.0
"""torch, peft and bitsandbytes, imported once a job.

Source: 5.5 CPU-seconds (one x86-64 core, 2026-11-23), and reading them from a cold disk.
"""

BUILDER_SECONDS = 1.0
"""Start of every build of a graph, the libraries being there already.

Source: 0.5 s at fp32, embedded base, one x86-64 core, 2026-11-23.
"""

BUILDER_SECONDS_PER_PARAMETER = 73e-9
"""Source: 49 s at int4 for 673 M parameters, one AVX2 core, 2026-11-23."""

TOKENS_READ_PER_SECOND = 60_000
"""Documents: converting, masking and comparing, in tokens of clean text; assumed."""

TOKENS_ENCODED_PER_SECOND = 250_000
"""Dataset: tokenizing, cutting and packing; assumed."""

EVALUATIONS, HELD_OUT_TOKENS = 8, 12_000
"""Held-out losses on the way, and tokens that each reads at most: as in `tuning/tune.py`."""

SCORED_TOKENS = 60_000
"""Tokens of the test split that are scored, for each of the two models."""

PARITY_TOKENS = 3_000
"""Tokens on which the rungs of the export are compared."""

PARITY_RUNGS = 5
"""Models compared: base, tuned, merged, ONNX in fp32, ONNX as shipped."""

ANSWERS_SECONDS = 4.0
"""Held-out questions, answered by both models.

Source: a whole job with the embedded base, one x86-64 core, 2026-11-23.
"""

RATE_TRIALS = 3
"""Learning rates that are tried."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """What there is to do.

    Attributes:
        train_tokens: of the training split.
        valid_tokens: of the validation split.
        test_tokens: of the test split.
        num_epochs: times the training split is read.
        num_steps: optimizer updates over all epochs.
        trial_steps: optimizer updates of one trial of a learning rate; 0 when the rate is given.
    """

    train_tokens: int
    valid_tokens: int
    test_tokens: int
    num_epochs: int
    num_steps: int
    trial_steps: int


def estimate_learning(spec: BaseSpec, training: Training, speed: DeviceSpeed) -> float:
    """Tokens of training that are read a second, in full packs."""
    tokens = training.sequence_length
    attention = count_attention(spec, training)
    work = tokens * (count_flops(spec, training) - attention) / speed.flops_per_second
    work += tokens * attention / speed.attention_per_second
    work += tokens * count_traffic(spec, training) / speed.bytes_per_second
    work += count_unpacked(spec, training) / speed.unpacked_per_second
    work += count_fresh(spec, training) / speed.fresh_bytes_per_second
    update = UPDATE_BYTES * count_trainable(spec, training) / training.packs_per_step
    work += update / speed.bytes_per_second
    calls = count_operations(spec, training) * speed.call_seconds
    return tokens / (max(work, calls) if speed.hides_calls else work + calls)


def estimate_reading(spec: BaseSpec, training: Training, speed: DeviceSpeed) -> float:
    """Tokens that are read a second, in full packs, with nothing learned."""
    tokens = training.sequence_length
    moved = spec.num_layers * sum_traffic(FORWARD_TRAFFIC, spec) * training.compute_bytes
    attention = count_forward_attention(spec, training)
    work = tokens * (count_forward_flops(spec, training) - attention) / speed.flops_per_second
    work += tokens * attention / speed.attention_per_second
    work += tokens * moved / speed.bytes_per_second
    if training.is_quantized:
        work += count_linear(spec) / speed.unpacked_per_second
    calls = spec.num_layers * FORWARD_OPERATIONS * speed.call_seconds
    return tokens / (max(work, calls) if speed.hides_calls else work + calls)


def estimate_seconds(
    spec: BaseSpec,
    training: Training,
    workload: Workload,
    speed: DeviceSpeed,
    learning: SpeedEstimate,
) -> dict[str, float]:
    """Expected seconds by stage of the pipeline (`tune` includes the trials of learning rates).

    Args:
        spec: the base.
        training: method and sizes.
        workload: tokens and steps.
        speed: of the device.
        learning: how fast training reads; what corrected it corrects reading, too.
    """
    learn = learning.tokens_per_second
    read = estimate_reading(spec, training, speed) * learning.correction
    total = workload.train_tokens + workload.valid_tokens + workload.test_tokens
    trained = workload.train_tokens * workload.num_epochs
    trial = trained * workload.trial_steps / max(1, workload.num_steps)
    held_out = min(HELD_OUT_TOKENS, workload.valid_tokens)
    scored = min(SCORED_TOKENS, workload.test_tokens)
    probe = RATE_TRIALS * (trial / learn + held_out / read) if trial else 0.0
    graph = BUILDER_SECONDS + BUILDER_SECONDS_PER_PARAMETER * _count_weights(spec)
    compared = min(PARITY_TOKENS, max(256, workload.test_tokens))
    seconds = {
        "corpus": 1.0 + total / TOKENS_READ_PER_SECOND,
        "dataset": 0.5 + total / TOKENS_ENCODED_PER_SECOND,
        "tune": IMPORT_SECONDS + probe + trained / learn + (1 + EVALUATIONS) * held_out / read,
        "evaluate": 2 * scored / read + ANSWERS_SECONDS,
        "merge": 1.0 + 2 * min(SCORED_TOKENS, workload.valid_tokens) / read,
        "reference": graph,
        "parity": graph + PARITY_RUNGS * compared / read,
        "bundle": 0.5 + 1e-9 * 4 * _count_weights(spec),
    }
    return {stage: round(value, 1) for stage, value in seconds.items()}


def _count_weights(spec: BaseSpec) -> int:
    return count_linear(spec) + count_embedding(spec)
