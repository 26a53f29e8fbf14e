"""How long each stage takes, from the measured speed of the machine and the work in closed form.

The seconds of a pack are those of its matrix products, of the bytes that pass through memory, of
unpacking NF4, and of the calls into the device. Every figure that was measured or assumed stands in
the constants below; the work itself is counted in `work.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

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
    count_flops,
    count_forward_flops,
    count_operations,
    count_traffic,
    count_unpacked,
    sum_traffic,
)
from appliance.values import BaseSpec, Cpu, Gpu, Hardware, MeasuredRates, SpeedEstimate

PRODUCT_SHARE = {"cpu": 0.8, "cuda": 0.7}
"""Part of the measured speed of large matrix products that those of training reach.

Source: cpu: `scripts/bench planner`. cuda: not measured here; 70 % of a measured rate, for
8 B at packs of 4,096 tokens tuned programs reach 45 to 68 % of the data sheet.
"""

DATA_SHEET_SHARE = 0.6
"""Part of a data sheet's matrix speed that a card was measured to reach by large products; 80 % on
an H100, 87 % on an A100 (public measurements), less where the power limit holds it down."""

STREAM_SHARE = {"cpu": 1.0, "cuda": 0.8}
"""Part of the measured memory speed that operations between products reach."""

CPU_STREAM_BYTES = 6e9
"""Memory speed of a core where none was measured, in bytes a second; assumed."""

UNPACK_FLOPS = 200
"""Unpacking a weight from NF4 on a CPU takes as long as so many operations of a matrix product.

Source: 3 ns a weight where a product runs at 71 GFLOP/s (one x86-64 core, bitsandbytes 0.50,
2026-11-23): bitsandbytes has no vector code for it without AVX-512.
"""

UNPACK_BYTES = 2.516
"""Bytes that unpacking a weight moves on a GPU: 0.516 are read and 2 written."""

CALL_SECONDS = {"cpu": 12e-6, "cuda": 8e-6}
"""Time of a call into the device from Python, with autograd; on a GPU it is hidden behind the work
where the work is longer. cuda: not measured here."""

GPU_TFLOPS = {
    (7, 5): 65.0,
    (8, 0): 312.0,
    (8, 6): 71.0,
    (8, 7): 43.0,
    (8, 9): 165.0,
    (9, 0): 990.0,
    (10, 0): 2250.0,
    (12, 0): 210.0,
}
"""Dense 16-bit matrix speed of the largest common card of each compute capability, in TFLOP/s, for
cards that are not in the table of `hardware/cards.yaml`.

Source: NVIDIA data sheets (T4, A100, RTX 3090, Orin, RTX 4090, H100/H200, B200, RTX 5090).
"""

GPU_BYTES_PER_FLOP = 0.005
"""Memory speed of a card beside its matrix speed, where neither was measured nor is known."""

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


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceSpeed:
    """How fast a device computes and moves, as far as training reaches it.

    Attributes:
        flops_per_second: of matrix products.
        bytes_per_second: of its memory.
        unpacked_per_second: weights that are unpacked from NF4.
        call_seconds: of a call.
        hides_calls: whether calls run ahead of the work.
    """

    flops_per_second: float
    bytes_per_second: float
    unpacked_per_second: float
    call_seconds: float
    hides_calls: bool


def find_cpu_speed(cpu: Cpu, rates: MeasuredRates | None = None) -> DeviceSpeed:
    """Speed of the processor: measured where a person asked for it, else by the short probe."""
    flops = rates.fp32_flops_per_second if rates else 1e9 * max(1.0, cpu.gflops_fp32)
    stream = rates.memory_bytes_per_second if rates else CPU_STREAM_BYTES * cpu.num_cores
    return DeviceSpeed(
        flops_per_second=PRODUCT_SHARE["cpu"] * flops,
        bytes_per_second=STREAM_SHARE["cpu"] * stream,
        unpacked_per_second=flops / UNPACK_FLOPS,
        call_seconds=CALL_SECONDS["cpu"],
        hides_calls=False,
    )


def find_gpu_speed(gpu: Gpu, rates: MeasuredRates | None = None) -> DeviceSpeed:
    """Speed of a card: measured, else from its data sheet, else from its generation."""
    measured = next((row for row in rates.gpus if row.name == gpu.name), None) if rates else None
    flops = DATA_SHEET_SHARE * (gpu.peak_flops_per_second or _guess_flops(gpu.capability))
    stream = gpu.peak_bytes_per_second or GPU_BYTES_PER_FLOP * flops / DATA_SHEET_SHARE
    if measured is not None and measured.bf16_flops_per_second > 0:
        flops, stream = measured.bf16_flops_per_second, measured.memory_bytes_per_second
    stream *= STREAM_SHARE["cuda"]
    return DeviceSpeed(
        flops_per_second=PRODUCT_SHARE["cuda"] * flops,
        bytes_per_second=stream,
        unpacked_per_second=stream / UNPACK_BYTES,
        call_seconds=CALL_SECONDS["cuda"],
        hides_calls=True,
    )


def find_speed(hardware: Hardware, gpu: Gpu | None, rates: MeasuredRates | None) -> DeviceSpeed:
    """Speed of the device that trains; None for the CPU."""
    return find_cpu_speed(hardware.cpu, rates) if gpu is None else find_gpu_speed(gpu, rates)


def estimate_learning(spec: BaseSpec, training: Training, speed: DeviceSpeed) -> float:
    """Tokens of training that are read a second, in full packs."""
    tokens = training.sequence_length
    work = tokens * count_flops(spec, training) / speed.flops_per_second
    work += tokens * count_traffic(spec, training) / speed.bytes_per_second
    work += count_unpacked(spec, training) / speed.unpacked_per_second
    update = UPDATE_BYTES * count_trainable(spec, training) / training.packs_per_step
    work += update / speed.bytes_per_second
    calls = count_operations(spec, training) * speed.call_seconds
    return tokens / (max(work, calls) if speed.hides_calls else work + calls)


def estimate_reading(spec: BaseSpec, training: Training, speed: DeviceSpeed) -> float:
    """Tokens that are read a second, in full packs, with nothing learned."""
    tokens = training.sequence_length
    moved = spec.num_layers * sum_traffic(FORWARD_TRAFFIC, spec) * training.compute_bytes
    work = tokens * count_forward_flops(spec, training) / speed.flops_per_second
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


def correct_seconds(
    seconds: dict[str, float], planned_tokens_per_second: float, tokens_per_second: float
) -> dict[str, float]:
    """What is left to expect once the first steps of a run were measured.

    Everything that reads tokens goes as much faster or slower as training does.

    Args:
        seconds: of the plan, by stage.
        planned_tokens_per_second: what the plan expected of training.
        tokens_per_second: what its first steps measured.
    """
    ratio = planned_tokens_per_second / max(1e-9, tokens_per_second)
    scaled = ("tune", "evaluate", "merge", "parity")
    return {
        stage: round(value * ratio, 1) if stage in scaled else value
        for stage, value in seconds.items()
    }


def _guess_flops(capability: str) -> float:
    major, minor = (int(part) for part in capability.split("."))
    known = [key for key in GPU_TFLOPS if key <= (major, minor)]
    return 1e12 * (GPU_TFLOPS[max(known)] if known else GPU_TFLOPS[min(GPU_TFLOPS)])


def _count_weights(spec: BaseSpec) -> int:
    return count_linear(spec) + count_embedding(spec)
