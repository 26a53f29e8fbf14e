"""How fast this machine multiplies, copies and writes; runs in a child process, with torch.

Matrix products are taken as training needs them, with weights W, inputs X and gradients G: X Wᵀ
forward, G W for the gradient of the input, Gᵀ X for that of the weight. Processors that emulate a
number format may be fast in one of these and a hundred times slower in another.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appliance.hardware.disk import measure_disk_write
from appliance.hardware.memory import probe_memory
from appliance.units import MIB

if TYPE_CHECKING:
    import torch

SIZES = (128, 256, 512, 1024, 2048)
"""Rows and columns of the matrices, from small to large: an emulated format stops early."""

GPU_SIZES = (1024, 2048, 4096, 8192)

STREAM_BYTES = 256 * MIB
"""Of each of three arrays: more than the caches of one processor hold."""

DISK_SECONDS = 1.5


@dataclass(frozen=True, kw_only=True, slots=True)
class GpuSpeed:
    """What a GPU was measured to do; see `GpuRates`."""

    name: str
    bf16_flops_per_second: float
    memory_bytes_per_second: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """What the machine was measured to do; see `MeasuredRates`."""

    fp32_flops_per_second: float
    bf16_flops_per_second: float
    memory_bytes_per_second: float
    disk_write_bytes_per_second: float
    threads: int
    cpu_share: float
    gpus: tuple[GpuSpeed, ...] = ()


def measure_machine(folder: str, threads: int, seconds: float) -> Speed:
    """Measure everything, one after the other.

    Args:
        folder: where runs are written; need not exist yet.
        threads: that compute.
        seconds: for the measurements that compute; the disk gets its own.
    """
    import torch

    torch.set_num_threads(threads)
    share = seconds / 3
    cpu = torch.device("cpu")
    started, used = time.perf_counter(), time.process_time()
    fp32 = measure_products(torch.float32, cpu, share, SIZES)
    used, wall = time.process_time() - used, time.perf_counter() - started
    return Speed(
        fp32_flops_per_second=fp32,
        bf16_flops_per_second=measure_products(torch.bfloat16, cpu, share, SIZES),
        memory_bytes_per_second=measure_triad(cpu, share, _fit_stream(STREAM_BYTES)),
        disk_write_bytes_per_second=measure_disk_write(Path(folder), DISK_SECONDS),
        threads=threads,
        cpu_share=min(1.0, used / wall / threads),
        gpus=tuple(_measure_gpu(torch, number, share) for number in _list_gpus(torch)),
    )


def measure_products(
    dtype: torch.dtype, device: torch.device, seconds: float, sizes: tuple[int, ...]
) -> float:
    """FLOP/s of the three products of training, at the largest size that the time allows.

    The best of several rounds is kept: another program's burst says nothing about the machine.
    """
    import torch

    deadline, rate = time.perf_counter() + seconds, 0.0
    for size in sizes:
        generator = torch.Generator().manual_seed(size)
        weight, inputs, gradient = (
            torch.randn(size, size, generator=generator).to(device, dtype) for _ in range(3)
        )

        def multiply(
            weight: torch.Tensor = weight,
            inputs: torch.Tensor = inputs,
            gradient: torch.Tensor = gradient,
        ) -> None:
            inputs @ weight.T, gradient @ weight, gradient.T @ inputs

        is_last = size == sizes[-1]
        until = deadline if is_last else time.perf_counter() + seconds / 20
        took = _time_best(multiply, device, until)
        rate = 6 * size**3 / took
        if time.perf_counter() + 8 * 2 * took > deadline:  # the next size needs eight times that
            break
    return rate


def measure_triad(device: torch.device, seconds: float, num_bytes: int) -> float:
    """Bytes a second of a = b + 3 c, each of `num_bytes`: two are read and one is written.

    Source: the triad of STREAM (McCalpin 1995), which counts three arrays.
    """
    import torch

    target, first, second = (
        torch.ones(num_bytes // 4, dtype=torch.float32, device=device) for _ in range(3)
    )

    def add() -> None:
        torch.add(first, second, alpha=3.0, out=target)

    return 3 * num_bytes / _time_best(add, device, time.perf_counter() + seconds)


def _measure_gpu(torch: Any, number: int, seconds: float) -> GpuSpeed:
    device = torch.device("cuda", number)
    dtype = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    free, _ = torch.cuda.mem_get_info(number)
    sizes = tuple(size for size in GPU_SIZES if 16 * size**2 < free)
    return GpuSpeed(
        name=torch.cuda.get_device_name(number),
        bf16_flops_per_second=measure_products(dtype, device, seconds, sizes) if sizes else 0.0,
        memory_bytes_per_second=measure_triad(device, seconds / 4, min(STREAM_BYTES, free // 8)),
    )


def _list_gpus(torch: Any) -> range:
    return range(torch.cuda.device_count() if torch.cuda.is_available() else 0)


def _fit_stream(wanted: int) -> int:
    """Bytes of an array that leaves most of the free memory alone."""
    return max(MIB, min(wanted, probe_memory().free_bytes // 16))


def _time_best(work: Callable[[], None], device: torch.device, until: float) -> float:
    """Seconds of the fastest round, of two at least."""
    work()
    rounds, best = 0, float("inf")
    while rounds < 2 or time.perf_counter() < until:
        _finish(device)
        started = time.perf_counter()
        work()
        _finish(device)
        best = min(best, time.perf_counter() - started)
        rounds += 1
    return best


def _finish(device: torch.device) -> None:
    """Wait for a GPU: it takes orders faster than it carries them out."""
    if device.type == "cuda":
        import torch

        torch.cuda.synchronize(device)
