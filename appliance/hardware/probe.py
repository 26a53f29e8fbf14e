"""What this machine is: one measurement of GPUs, processor, memory and disk, and what to mend."""

from __future__ import annotations

from pathlib import Path

from appliance.hardware.cpu import probe_cpu
from appliance.hardware.gpu import CudaSupport, find_cuda_support, find_why_not, probe_gpus
from appliance.hardware.memory import Memory, measure_disk_free, probe_memory
from appliance.units import GIB, format_bytes
from appliance.values import Finding, Gpu, Hardware

LOW_DISK_BYTES = 2 * GIB
"""Below this not even the embedded base's run and a system log have room side by side."""

LOW_MEMORY_BYTES = GIB * 3 // 2
"""Below this nothing but the embedded base trains: the program itself takes 0.5 GiB."""


def probe(runs_folder: Path) -> Hardware:
    """Measure the machine; takes about a third of a second.

    Args:
        runs_folder: where runs are written; need not exist yet.

    Returns:
        What is there now, and what should be mended.
    """
    support = find_cuda_support()
    gpus = probe_gpus(support)
    memory = probe_memory()
    disk_free = measure_disk_free(runs_folder)
    return Hardware(
        gpus=gpus,
        cpu=probe_cpu(),
        memory_bytes=memory.free_bytes,
        memory_total_bytes=memory.total_bytes,
        disk_free_bytes=disk_free,
        findings=collect_findings(gpus, support, memory, disk_free),
    )


def collect_findings(
    gpus: tuple[Gpu, ...], support: CudaSupport, memory: Memory, disk_free_bytes: int
) -> tuple[Finding, ...]:
    """What stands in the way of a job, each with what mends it."""
    findings = [_explain_gpu(gpu, support) for gpu in gpus if not gpu.usable]
    if not gpus:
        findings.append(
            Finding(
                what="no nvidia gpu is visible: training runs on the processor",
                fix="nothing, for small bases; else install a gpu and its driver "
                "(nvidia-smi must list it), or pass it into the container",
            )
        )
    if memory.free_bytes < LOW_MEMORY_BYTES:
        findings.append(_explain_memory(memory))
    if disk_free_bytes < LOW_DISK_BYTES:
        findings.append(
            Finding(
                what=f"only {format_bytes(disk_free_bytes)} of disk are free "
                f"where runs are written (a run wants {format_bytes(LOW_DISK_BYTES)} or more)",
                fix="delete old runs, or choose another place with --runs",
            )
        )
    return tuple(findings)


def _explain_gpu(gpu: Gpu, support: CudaSupport) -> Finding:
    major, _, minor = gpu.capability.partition(".")
    fix = find_why_not(support, (int(major), int(minor)), 0).fix
    return Finding(
        what=f"{gpu.name} cannot be used: {gpu.why_not}",
        fix=fix or "update the nvidia driver, or install torch for the older cuda",
    )


def _explain_memory(memory: Memory) -> Finding:
    what = (
        f"only {format_bytes(memory.free_bytes)} of {format_bytes(memory.total_bytes)} memory "
        f"are free (training wants {format_bytes(LOW_MEMORY_BYTES)} or more)"
    )
    fix = "stop other programs, or raise the memory limit of the container or unit"
    if memory.swap_free_bytes > memory.free_bytes:
        swap = format_bytes(memory.swap_free_bytes)
        return Finding(
            what=f"{what}; {swap} of swap are not counted: training in swap does not finish",
            fix=fix,
        )
    return Finding(what=what, fix=fix)
