"""Where training runs, and how much of it a plan may use."""

from __future__ import annotations

from dataclasses import dataclass

from appliance.units import format_bytes
from appliance.values import Gpu, Hardware, PlanTerms

CPU_MEMORY_SHARE = 0.9
"""Part of the free RAM that a plan may use."""

GPU_MEMORY_SHARE = 0.95
"""Part of the free GPU memory that a plan may use."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """Where a rung would train.

    Attributes:
        name: "cpu" or "cuda:0".
        label: as people call it.
        compute_dtype: "float32" or "bfloat16".
        free_bytes: memory free there.
        limit_bytes: the part of it that a plan may use, or the budget where that is less.
        has_budget: whether the budget is what limits.
        gpu: the accelerator; None for the CPU.
    """

    name: str
    label: str
    compute_dtype: str
    free_bytes: int
    limit_bytes: int
    has_budget: bool = False
    gpu: Gpu | None = None

    @property
    def kind(self) -> str:
        """The kind of it: "cpu" or "cuda"."""
        return self.name.split(":")[0]

    def describe_limit(self) -> str:
        """How much a plan may use, in words."""
        if self.has_budget:
            return f"the budget is {format_bytes(self.limit_bytes)}"
        return (
            f"{self.label} has {format_bytes(self.limit_bytes)} to give "
            f"({format_bytes(self.free_bytes)} free)"
        )


def choose_device(hardware: Hardware, terms: PlanTerms | None = None) -> Device:
    """The first GPU that can be used, else the CPU."""
    budget = terms.memory_bytes if terms else None
    for number, gpu in enumerate(hardware.gpus):
        if not gpu.usable:
            continue
        limit = int(GPU_MEMORY_SHARE * gpu.free_bytes)
        return Device(
            name=f"cuda:{number}",
            label=f"gpu {number}",
            compute_dtype="bfloat16" if gpu.supports_bf16 else "float32",
            free_bytes=gpu.free_bytes,
            limit_bytes=limit if budget is None else min(limit, budget),
            has_budget=budget is not None and budget < limit,
            gpu=gpu,
        )
    limit = int(CPU_MEMORY_SHARE * hardware.memory_bytes)
    return Device(
        name="cpu",
        label="the cpu",
        compute_dtype="float32",
        free_bytes=hardware.memory_bytes,
        limit_bytes=limit if budget is None else min(limit, budget),
        has_budget=budget is not None and budget < limit,
    )
