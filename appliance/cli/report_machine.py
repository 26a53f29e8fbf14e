"""The machine in words: a line or a few for each of its parts, for the terminal and the page."""

from __future__ import annotations

import time

from appliance.units import format_bytes
from appliance.values import Gpu, Hardware, MeasuredRates

REMOTE_PROVIDERS = {"AzureExecutionProvider"}
"""Part of every ONNX Runtime; it does nothing unless a person names an endpoint elsewhere."""


def describe_gpu(gpu: Gpu) -> list[str]:
    """Lines about a GPU: what it is, and what it does at the moment."""
    formats = [
        name
        for name, has in (
            ("bfloat16", gpu.supports_bf16),
            ("float16", gpu.supports_fp16),
            ("int8", gpu.supports_int8),
        )
        if has
    ]
    free = f"{format_bytes(gpu.free_bytes)} of {format_bytes(gpu.total_bytes)} free"
    capability = [f"capability {gpu.capability}"] if gpu.kind == "cuda" else []
    lines = [" · ".join([gpu.name, free, *capability, ", ".join(formats)])]
    if not gpu.usable:
        lines.append(f"cannot be used: {gpu.why_not}")
    now = [
        f"driver {gpu.driver}" if gpu.driver else "",
        f"{gpu.temperature_celsius} °C" if gpu.temperature_celsius is not None else "",
        f"limit {gpu.power_limit_watts:.0f} W" if gpu.power_limit_watts else "",
        f"{gpu.ecc_errors} memory errors" if gpu.ecc_errors is not None else "",
        *(f"{each.name} holds {format_bytes(each.used_bytes)}" for each in gpu.processes[:3]),
    ]
    if any(now):
        lines.append(" · ".join(filter(None, now)))
    if gpu.slices:
        names = ", ".join(f"{each.name} ({format_bytes(each.free_bytes)})" for each in gpu.slices)
        lines.append(f"divided into {names}")
    return lines


def describe_cpu(hardware: Hardware, rates: MeasuredRates | None) -> list[str]:
    """Lines about the processor: what it is, and how fast it was measured."""
    cpu = hardware.cpu
    plural = "s" if cpu.num_cores != 1 else ""
    sets = [", ".join(cpu.instruction_sets)] if cpu.instruction_sets else []
    lines = [" · ".join([cpu.name, f"{cpu.num_cores} core{plural}", *sets])]
    if rates is None:
        lines.append(
            f"{cpu.gflops_fp32:,.0f} GFLOP/s (a glance; --measure takes 10 s and is remembered)"
        )
    else:
        day = time.strftime("%Y-%m-%d", time.localtime(rates.measured_at))
        lines.append(
            f"{rates.fp32_flops_per_second / 1e9:,.0f} GFLOP/s in float32, "
            f"{rates.bf16_flops_per_second / 1e9:,.0f} in bfloat16, "
            f"memory {rates.memory_bytes_per_second / 1e9:,.0f} GB/s (measured {day})"
        )
    return lines


def describe_memory(hardware: Hardware) -> str:
    """Main memory and swap."""
    total = format_bytes(hardware.memory_total_bytes)
    swap = hardware.swap_total_bytes
    more = f"{format_bytes(swap)} of swap, not counted" if swap else "no swap"
    return f"{format_bytes(hardware.memory_bytes)} of {total} can be used · {more}"


def describe_disk(hardware: Hardware, rates: MeasuredRates | None) -> str:
    """Free space, and how fast it is filled."""
    text = f"{format_bytes(hardware.disk_free_bytes)} free where runs are kept"
    if rates is None:
        return text
    return f"{text} · takes {format_bytes(rates.disk_write_bytes_per_second)}/s"


def describe_software(hardware: Hardware) -> str:
    """Versions of what a job stands on."""
    software = hardware.software
    if software is None:
        return "unknown"
    names = ("torch", "transformers", "bitsandbytes", "onnxruntime", "onnxruntime-genai")
    parts = [f"{name} {software.versions[name]}" for name in names if name in software.versions]
    providers = [
        each.removesuffix("ExecutionProvider")
        for each in software.providers
        if each not in REMOTE_PROVIDERS
    ]
    here = [f"onnx on {', '.join(providers)}"] if providers else []
    return " · ".join([*parts, *here])
