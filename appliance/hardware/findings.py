"""What stands in the way of a job on this machine, each with what mends it."""

from __future__ import annotations

from appliance.hardware.libraries import TorchDevices
from appliance.hardware.memory import Memory
from appliance.hardware.nvml import Driver
from appliance.units import GIB, MIB, format_bytes, format_seconds
from appliance.values import Cpu, Finding, Gpu, MeasuredRates

LOW_DISK_BYTES = 2 * GIB
"""Below this not even the embedded base's run and a system log have room side by side."""

LOW_MEMORY_BYTES = GIB * 3 // 2
"""Below this nothing but the embedded base trains: the program itself takes 0.5 GiB."""

SLOW_DISK_BYTES = 50e6
"""Bytes a second below which checkpoints of a gigabyte hold training up for 20 s and more."""

DISTURBED_SHARE = 0.75
"""Part of the cores below which a measurement tells of other programs, not of the machine."""

HELD_SHARE = 0.1
"""Part of a card's memory that others may hold before it is worth a word."""

BF16_INSTRUCTIONS = {"avx512_bf16", "amx_bf16", "arm_bf16"}
"""With one of these a processor multiplies in bfloat16 by itself."""

MISMATCH = "version mismatch"
"""In the driver's own words for: it was updated, and the old one is still loaded."""


def explain_missing_gpu(driver: Driver, num_cards: int) -> Finding:
    """Why there is no GPU.

    Args:
        driver: that showed none.
        num_cards: NVIDIA's cards on the bus.
    """
    if not num_cards:
        return Finding(
            what="no nvidia gpu is visible: training runs on the processor",
            fix="nothing is needed for small bases; else install a gpu and its driver "
            "(nvidia-smi must list it), or pass it into the container",
            level="note",
        )
    cards = "an nvidia card is" if num_cards == 1 else f"{num_cards} nvidia cards are"
    if MISMATCH in driver.fault.lower():
        fix = "restart the machine: the driver was updated, and the old one is still loaded"
    elif driver.fault:
        fix = "install the nvidia driver, or pass the card into the container (--gpus all)"
    else:
        fix = "unset CUDA_VISIBLE_DEVICES, or reset the card: see `dmesg | grep -i xid`"
    return Finding(
        what=f"{cards} in the machine, but cannot be used: "
        f"{driver.fault or 'the driver shows none to this program'}",
        fix=fix,
        level="error",
    )


def explain_gpus(gpus: tuple[Gpu, ...], num_lost: int) -> list[Finding]:
    """What is wrong with each GPU.

    Args:
        gpus: that this process may see.
        num_lost: cards that are there and do not answer.
    """
    named = [(gpu, _name(gpu, number, len(gpus))) for number, gpu in enumerate(gpus)]
    findings = [_refuse(gpu, name) for gpu, name in named if not gpu.usable]
    if num_lost:
        findings.append(
            Finding(
                what=f"{num_lost} of the nvidia cards do not answer",
                fix="see `dmesg | grep -i xid`; restart the machine, and have the card checked",
                level="error",
            )
        )
    for gpu, name in named:
        found = (_find_holder(gpu, name), _find_wear(gpu, name), _find_slowdown(gpu, name))
        findings.extend(filter(None, found))
    return findings


def explain_memory(memory: Memory) -> list[Finding]:
    """Whether there is too little memory to train."""
    if memory.free_bytes >= LOW_MEMORY_BYTES:
        return []
    what = (
        f"only {format_bytes(memory.free_bytes)} of {format_bytes(memory.total_bytes)} memory "
        f"are free (training wants {format_bytes(LOW_MEMORY_BYTES)} or more)"
    )
    if memory.swap_free_bytes > memory.free_bytes:
        swap = format_bytes(memory.swap_free_bytes)
        what += f"; {swap} of swap are not counted: training in swap does not finish"
    fix = "stop other programs, or raise the memory limit of the container or unit"
    return [Finding(what=what, fix=fix, level="error")]


def explain_disk(disk_free_bytes: int) -> list[Finding]:
    """Whether there is too little room where runs are written."""
    if disk_free_bytes >= LOW_DISK_BYTES:
        return []
    what = (
        f"only {format_bytes(disk_free_bytes)} of disk are free "
        f"where runs are written (a run wants {format_bytes(LOW_DISK_BYTES)} or more)"
    )
    return [
        Finding(
            what=what, fix="delete old runs, or choose another place with --runs", level="error"
        )
    ]


def explain_torch(gpus: tuple[Gpu, ...], seen: TorchDevices) -> list[Finding]:
    """Whether torch sees the cards that the driver shows."""
    if not any(gpu.usable and gpu.kind == "cuda" for gpu in gpus) or seen.devices:
        return []
    return [
        Finding(
            what=f"torch does not see the gpu: {seen.fault or 'it lists none'}",
            fix="see that /dev/nvidia-uvm is there and may be opened (nvidia-modprobe -u -c 0); "
            "in a container, that NVIDIA_DRIVER_CAPABILITIES holds compute",
            level="error",
        )
    ]


def explain_bf16(cpu: Cpu, rates: MeasuredRates | None) -> list[Finding]:
    """Whether the processor is slower in bfloat16 than in float32."""
    if rates is None:
        if BF16_INSTRUCTIONS & set(cpu.instruction_sets):
            return []
        what = "this processor has no bfloat16: it emulates it, and is many times slower"
    elif rates.bf16_flops_per_second >= rates.fp32_flops_per_second:
        return []
    else:
        what = (
            f"this processor is slower in bfloat16 than in float32: "
            f"{rates.bf16_flops_per_second / 1e9:,.1f} against "
            f"{rates.fp32_flops_per_second / 1e9:,.1f} GFLOP/s"
        )
    fix = "nothing is needed: training on the processor computes in float32"
    return [Finding(what=what, fix=fix, level="note")]


def explain_slow_disk(rates: MeasuredRates | None) -> list[Finding]:
    """Whether the disk holds training up."""
    if rates is None or rates.disk_write_bytes_per_second >= SLOW_DISK_BYTES:
        return []
    if not rates.disk_write_bytes_per_second:
        what = "where runs are kept, nothing could be written"
        return [Finding(what=what, fix="choose another place with --runs", level="error")]
    speed = rates.disk_write_bytes_per_second
    what = (
        f"where runs are kept, the disk takes {speed / MIB:,.1f} MiB/s: "
        f"a checkpoint of 1 GiB takes {format_seconds(GIB / speed)}"
    )
    return [Finding(what=what, fix="keep runs on a local ssd: --runs")]


def explain_disturbance(rates: MeasuredRates | None) -> list[Finding]:
    """Whether other programs took the processor while its speed was measured."""
    if rates is None or rates.cpu_share >= DISTURBED_SHARE:
        return []
    what = (
        f"speeds were measured beside other programs, with {rates.cpu_share:.0%} of the "
        "processor: they are too low, and so are plans made with them"
    )
    fix = "run `appliance report --measure` again when the machine has nothing else to do"
    return [Finding(what=what, fix=fix)]


def _name(gpu: Gpu, number: int, count: int) -> str:
    """Its name, with its number where there are several."""
    return gpu.name if count == 1 else f"gpu {number} ({gpu.name})"


def _refuse(gpu: Gpu, name: str) -> Finding:
    what = f"{name} cannot be used: {gpu.why_not}"
    return Finding(what=what, fix=gpu.fix, level="error")


def _find_holder(gpu: Gpu, name: str) -> Finding | None:
    held = gpu.total_bytes - gpu.free_bytes
    if not gpu.processes or held < HELD_SHARE * gpu.total_bytes:
        return None
    first = gpu.processes[0]
    others = f" and {len(gpu.processes) - 1} more" if len(gpu.processes) > 1 else ""
    return Finding(
        what=f"{format_bytes(held)} of {name} are held by {first.name} "
        f"(process {first.pid}){others}",
        fix="stop it, and larger bases and longer packs fit",
        level="note",
    )


def _find_wear(gpu: Gpu, name: str) -> Finding | None:
    if not gpu.ecc_errors:
        return None
    return Finding(
        what=f"{name} has {gpu.ecc_errors} memory errors that could not be corrected",
        fix="reset the card (nvidia-smi --gpu-reset) and have it replaced if they come back: "
        "what was trained meanwhile may be damaged",
        level="error",
    )


def _find_slowdown(gpu: Gpu, name: str) -> Finding | None:
    if not gpu.slowdown:
        return None
    degrees = f" at {gpu.temperature_celsius} °C" if gpu.temperature_celsius is not None else ""
    return Finding(
        what=f"{name} runs below its clock because of {gpu.slowdown}{degrees}",
        fix="look after its cooling, fans and power cables",
    )
