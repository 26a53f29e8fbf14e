"""How long each stage takes, from the measured speed of the machine and the work in closed form.

Every figure that was measured or assumed stands in the constants below; the rest is arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass

from appliance.planning.training import (
    Training,
    count_adapted_layers,
    count_embedding,
    count_linear,
    count_trainable,
)
from appliance.values import BaseSpec, Cpu, Gpu, Method

TIME_BUDGET_SECONDS = 12 * 3600.0
"""A base whose training would take longer gives way to a smaller one: a night."""

CPU_EFFICIENCY: dict[Method, float] = {
    "full": 0.5,
    "lora": 0.45,
    "qlora": 0.37,
    "adapter": 0.4,
    "prompt": 0.37,
}
"""Part of the measured matrix speed that training reaches on a CPU.

Source: full: 4,000 tokens/s where numpy multiplies at 250 GFLOP/s (7.1 M parameters, packs of 1024,
2 x86-64 cores, 2026-11-23). qlora: 1,616 tokens/s at 132 GFLOP/s in a whole job (same model, one
core); 0.3 at 88 M parameters beside another job. NF4 costs 14 % against plain LoRA (11 M).
"""

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
"""Dense 16-bit matrix speed of the largest common card of each compute capability, in TFLOP/s.

Source: NVIDIA data sheets (T4, A100, RTX 3090, Orin, RTX 4090, H100/H200, B200, RTX 5090).
"""

GPU_EFFICIENCY = 0.3
"""Part of it that QLoRA reaches without compilation; not measured here.

Source: 45 % is typical of tuned QLoRA at 8 B parameters; smaller models are bound by launches.
"""

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

EVALUATION_SHARE = 0.1
"""Tokens read for held-out losses on the way, as a part of the training split."""

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


def estimate_seconds(
    spec: BaseSpec, training: Training, workload: Workload, cpu: Cpu, gpu: Gpu | None = None
) -> dict[str, float]:
    """Expected seconds by stage of the pipeline (`tune` includes the trials of learning rates).

    Args:
        spec: the base.
        training: method and sizes.
        workload: tokens and steps.
        cpu: of this machine.
        gpu: that trains; None for the CPU.
    """
    speed = measure_speed(training.method, cpu, gpu)
    learn = speed / count_flops(spec, training)
    read = speed / count_forward_flops(spec, training.sequence_length)
    total = workload.train_tokens + workload.valid_tokens + workload.test_tokens
    trained = workload.train_tokens * workload.num_epochs
    trial = trained * workload.trial_steps / max(1, workload.num_steps)
    held_out = EVALUATION_SHARE * workload.train_tokens
    scored = min(SCORED_TOKENS, workload.test_tokens)
    probe = RATE_TRIALS * (trial / learn + held_out / read) if trial else 0.0
    graph = BUILDER_SECONDS + BUILDER_SECONDS_PER_PARAMETER * _size(spec)
    compared = min(PARITY_TOKENS, max(256, workload.test_tokens))
    seconds = {
        "corpus": 1.0 + total / TOKENS_READ_PER_SECOND,
        "dataset": 0.5 + total / TOKENS_ENCODED_PER_SECOND,
        "tune": IMPORT_SECONDS + probe + trained / learn + held_out / read,
        "evaluate": 2 * scored / read + ANSWERS_SECONDS,
        "merge": 1.0 + 2 * min(SCORED_TOKENS, workload.valid_tokens) / read,
        "reference": graph,
        "parity": graph + PARITY_RUNGS * compared / read,
        "bundle": 0.5 + 1e-9 * 4 * _size(spec),
    }
    return {stage: round(value, 1) for stage, value in seconds.items()}


def measure_speed(method: Method, cpu: Cpu, gpu: Gpu | None) -> float:
    """FLOP/s that training reaches on the device."""
    if gpu is None:
        return max(1.0, cpu.gflops_fp32) * 1e9 * CPU_EFFICIENCY[method]
    major, minor = (int(part) for part in gpu.capability.split("."))
    known = [key for key in GPU_TFLOPS if key <= (major, minor)]
    tflops = GPU_TFLOPS[max(known)] if known else GPU_TFLOPS[min(GPU_TFLOPS)]
    return tflops * 1e12 * GPU_EFFICIENCY


def count_flops(spec: BaseSpec, training: Training) -> float:
    """FLOPs of training for a token of a full pack.

    Frozen weights P cost 4 (forward, gradient of the input), their head 4, updates R 6, attention
    over half the pack 7 T Q a layer; recomputing adds a forward pass. Full training costs 6.

    Source: 2 FLOPs a weight and matrix product; the backward pass has one product for the input and
    one for the weight: Kaplan et al. 2020, arXiv:2001.08361, section 2.1.
    """
    linear, head = count_linear(spec), spec.vocab_size * spec.width
    attention = 7 * training.sequence_length * spec.num_heads * spec.head_width * spec.num_layers
    forward = count_forward_flops(spec, training.sequence_length)
    work: float
    if training.method == "full":
        work = 6 * (linear + head) + attention
    elif training.method == "adapter":
        share = count_adapted_layers(spec) / spec.num_layers
        learned = 6 * count_trainable(spec, training)
        work = forward + share * (2 * linear + attention * 5 / 7) + 2 * head + learned
    else:
        work = 4 * linear + 4 * head + 6 * count_trainable(spec, training) + attention
    return work + (forward if training.recompute else 0)


def count_forward_flops(spec: BaseSpec, sequence_length: int) -> float:
    """FLOPs of reading a token of a full pack, the head included."""
    attention = 2 * sequence_length * spec.num_heads * spec.head_width * spec.num_layers
    return 2 * (count_linear(spec) + spec.vocab_size * spec.width) + attention


def _size(spec: BaseSpec) -> int:
    return count_linear(spec) + count_embedding(spec)
