"""How fast a device computes and moves: as measured, else as probed, else by its data sheet."""

from __future__ import annotations

from dataclasses import dataclass

from appliance.values import Cpu, Gpu, Hardware, MeasuredRates

PRODUCT_SHARE = {"cpu": 0.9, "cuda": 0.7}
"""Part of the measured speed of large matrix products that those of training reach.

Source: cpu: 107 M, qlora, packs of 512, by torch's profiler, one quiet x86-64 core, 2026-11-23; so
are the next three, and `scripts/bench planner --only time` holds them against others. cuda: not
measured here; 70 % of a measured rate, for 8 B at packs of 4,096 tokens tuned programs reach 45 to
68 % of the data sheet.
"""

ATTENTION_SHARE = {"cpu": 0.3, "cuda": 0.7}
"""The same for attention, whose operations are counted over half of an example: on a CPU the other
half is computed, too, and in smaller blocks."""

FRESH_BYTES_PER_SECOND = 2.5e9
"""Speed at which a CPU gets memory new from the system: 1.5 to 1.8 us for a page of 4 KiB, in a
virtual machine."""

DATA_SHEET_SHARE = 0.6
"""Part of a data sheet's matrix speed that a card was measured to reach by large products; 80 % on
an H100, 87 % on an A100 (public measurements), less where the power limit holds it down."""

STREAM_SHARE = {"cpu": 0.8, "cuda": 0.8}
"""Part of the measured memory speed that operations between products reach."""

CPU_STREAM_BYTES = 6e9
"""Memory speed of a core where none was measured, in bytes a second; assumed."""

UNPACK_FLOPS = 120
"""Unpacking a weight from NF4 on a CPU takes as long as so many operations of a matrix product.

Source: 0.9 ns a weight where a product runs at 144 GFLOP/s (AVX-512, bitsandbytes 0.50). Without
AVX-512 bitsandbytes has no vector code for it: 200.
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


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceSpeed:
    """How fast a device computes and moves, as far as training reaches it.

    Attributes:
        flops_per_second: of matrix products.
        attention_per_second: FLOPs of attention.
        bytes_per_second: of its memory.
        unpacked_per_second: weights that are unpacked from NF4.
        fresh_bytes_per_second: of memory that comes new from the system.
        call_seconds: of a call.
        hides_calls: whether calls run ahead of the work.
    """

    flops_per_second: float
    attention_per_second: float
    bytes_per_second: float
    unpacked_per_second: float
    fresh_bytes_per_second: float
    call_seconds: float
    hides_calls: bool


def find_cpu_speed(cpu: Cpu, rates: MeasuredRates | None = None) -> DeviceSpeed:
    """Speed of the processor: measured where a person asked for it, else by the short probe."""
    flops = rates.fp32_flops_per_second if rates else 1e9 * max(1.0, cpu.gflops_fp32)
    stream = rates.memory_bytes_per_second if rates else CPU_STREAM_BYTES * cpu.num_cores
    return DeviceSpeed(
        flops_per_second=PRODUCT_SHARE["cpu"] * flops,
        attention_per_second=ATTENTION_SHARE["cpu"] * flops,
        bytes_per_second=STREAM_SHARE["cpu"] * stream,
        unpacked_per_second=flops / UNPACK_FLOPS,
        fresh_bytes_per_second=FRESH_BYTES_PER_SECOND,
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
        attention_per_second=ATTENTION_SHARE["cuda"] * flops,
        bytes_per_second=stream,
        unpacked_per_second=stream / UNPACK_BYTES,
        fresh_bytes_per_second=FRESH_BYTES_PER_SECOND,
        call_seconds=CALL_SECONDS["cuda"],
        hides_calls=True,
    )


def find_speed(hardware: Hardware, gpu: Gpu | None, rates: MeasuredRates | None) -> DeviceSpeed:
    """Speed of the device that trains; None for the CPU."""
    return find_cpu_speed(hardware.cpu, rates) if gpu is None else find_gpu_speed(gpu, rates)


def _guess_flops(capability: str) -> float:
    major, minor = (int(part) for part in capability.split("."))
    known = [key for key in GPU_TFLOPS if key <= (major, minor)]
    return 1e12 * (GPU_TFLOPS[max(known)] if known else GPU_TFLOPS[min(GPU_TFLOPS)])
