"""The GPUs that a job may use, and why the others cannot be used.

A machine without a driver has no GPUs; that is never an error. The driver's own words come from
`nvml.py`, in a child process; what the installed packages can do with a card, from `support.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from pydantic import TypeAdapter, ValidationError

from appliance.hardware.ask import Answer
from appliance.hardware.cards import find_card
from appliance.hardware.memory import Memory
from appliance.hardware.nvml import Card, Driver, Slice
from appliance.hardware.support import CudaSupport, find_why_not
from appliance.values import Finding, Gpu, GpuProcess, GpuSlice

FP16_CAPABILITY = (5, 3)
INT8_CAPABILITY = (6, 1)
BF16_CAPABILITY = (8, 0)
"""First generations that compute in these number formats by themselves.

Source: CUDA C++ Programming Guide, table of arithmetic instructions by compute capability.
"""

_DRIVER = TypeAdapter(Driver)


def parse_driver(answer: Answer) -> Driver:
    """The driver as the child described it; a driver at fault where the child did not come back."""
    if answer.fault:
        return Driver(fault=answer.fault)
    try:
        return _DRIVER.validate_python(json.loads(answer.text))
    except (ValueError, ValidationError):
        return Driver(fault="its answer cannot be read")


def list_gpus(
    driver: Driver, support: CudaSupport, environment: Mapping[str, str], memory: Memory
) -> tuple[Gpu, ...]:
    """GPUs that this process may see, in the order in which CUDA numbers them.

    Args:
        driver: what it says about its cards.
        support: what the installed packages can do.
        environment: with CUDA_VISIBLE_DEVICES, where it is set.
        memory: of the machine, for cards that have none of their own.
    """
    chosen = choose_visible(driver.cards, environment.get("CUDA_VISIBLE_DEVICES"))
    return tuple(_describe(card, part, driver, support, memory) for card, part in chosen)


def choose_visible(cards: tuple[Card, ...], wanted: str | None) -> list[tuple[Card, Slice | None]]:
    """Cards that CUDA_VISIBLE_DEVICES leaves, in its order, each with the slice that CUDA takes.

    As CUDA does, it stops at the first entry that names no card, and takes one slice of a divided
    card: the first, unless another is named.

    Args:
        cards: all of the machine.
        wanted: value of the variable; None where it is not set.

    Source: CUDA C++ Programming Guide, environment variables; NVIDIA MIG User Guide.
    """
    whole = [(card, next(iter(card.slices), None)) for card in cards]
    if wanted is None:
        return whole
    chosen: list[tuple[Card, Slice | None]] = []
    for entry in (part.strip() for part in wanted.split(",")):
        found = _find_visible(cards, entry)
        if found is None:
            break
        if all(found[0] is not card for card, _ in chosen):
            chosen.append(found)
    return chosen


def _find_visible(cards: tuple[Card, ...], entry: str) -> tuple[Card, Slice | None] | None:
    for number, card in enumerate(cards):
        first = next(iter(card.slices), None)
        if entry.isdigit():
            if int(entry) == number:
                return card, first
        elif entry and card.uuid.startswith(entry):
            return card, first
        for part in card.slices:
            if entry.startswith("MIG-") and part.uuid.startswith(entry):
                return card, part
    return None


def _describe(
    card: Card, part: Slice | None, driver: Driver, support: CudaSupport, memory: Memory
) -> Gpu:
    finding = _find_obstacle(card, driver, support)
    known = find_card(card.name)
    total, free = (
        (part.total_bytes, part.free_bytes) if part else (card.total_bytes, card.free_bytes)
    )
    if not card.total_bytes:
        total, free = memory.total_bytes, memory.free_bytes
    share = total / card.total_bytes if part and card.total_bytes else 1.0
    return Gpu(
        name=f"{card.name} · {part.name.removeprefix(card.name).strip()}" if part else card.name,
        uuid=part.uuid if part else card.uuid,
        driver=driver.version,
        total_bytes=total,
        free_bytes=free,
        capability=f"{card.capability[0]}.{card.capability[1]}",
        supports_bf16=card.capability >= BF16_CAPABILITY,
        supports_fp16=card.capability >= FP16_CAPABILITY,
        supports_int8=card.capability >= INT8_CAPABILITY,
        usable=not finding.what,
        why_not=finding.what,
        fix=finding.fix,
        power_limit_watts=card.power_limit_watts,
        temperature_celsius=card.temperature_celsius,
        ecc_errors=card.ecc_errors,
        slowdown=card.slowdown,
        processes=tuple(
            GpuProcess(pid=holder.pid, name=holder.name, used_bytes=holder.used_bytes)
            for holder in card.holders
        ),
        slices=tuple(
            GpuSlice(
                name=each.name,
                uuid=each.uuid,
                total_bytes=each.total_bytes,
                free_bytes=each.free_bytes,
            )
            for each in card.slices
        ),
        peak_flops_per_second=share * known.flops_per_second if known else 0.0,
        peak_bytes_per_second=share * known.memory_bytes_per_second if known else 0.0,
    )


def _find_obstacle(card: Card, driver: Driver, support: CudaSupport) -> Finding:
    if card.is_divided and not card.slices:
        return Finding(
            what="it is in mig mode and has no slice",
            fix="make a slice (nvidia-smi mig -cgi PROFILE -C), or leave the mode "
            "(nvidia-smi -mig 0), both as root",
            level="error",
        )
    return find_why_not(support, card.capability, driver.cuda)
