"""What a machine can do with a base, method by method: for reports, before there is a corpus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from appliance.planning.rungs import Rung, climb, find_obstacle, measure_rung
from appliance.planning.speed import count_flops, measure_speed
from appliance.planning.training import count_embedding, count_linear
from appliance.recipe import TuneRecipe
from appliance.units import MIB
from appliance.values import BaseSpec, CapacityRow, Hardware, Method

if TYPE_CHECKING:
    from appliance.values.machine import MeasuredRates

METHODS: tuple[Method, ...] = ("qlora", "adapter", "lora", "full")

LENGTH_STEP = 64
"""The longest pack is told in multiples of this many tokens."""

SERVE_BYTES = 0.5625
"""Bytes of a weight in int4, blocks of 32 with a 16-bit scale."""

SERVE_RUNTIME_BYTES = 150 * MIB
"""Memory of the serving program itself: interpreter and ONNX Runtime."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MethodFit:
    """Whether a base can be tuned with a method here.

    Attributes:
        needed_bytes: peak memory at the longest pack that fits, or at the least that was tried.
        why_not: what is missing, in numbers; "" when it fits.
    """

    method: Method
    needed_bytes: int
    why_not: str


def list_methods(spec: BaseSpec, hardware: Hardware) -> list[MethodFit]:
    """Every method with a base on this machine, with the default sizes."""
    fits = []
    for method in METHODS:
        recipe = TuneRecipe(method=method)
        rung = climb(spec, method, hardware, recipe)
        why_not = find_obstacle(spec, method, recipe) or rung.shortage
        fits.append(MethodFit(method=method, needed_bytes=rung.memory.total_bytes, why_not=why_not))
    return fits


def tabulate_capacity(
    hardware: Hardware, bases: Sequence[BaseSpec], rates: MeasuredRates | None = None
) -> tuple[CapacityRow, ...]:
    """What this machine can tune and serve: a row for every base and method.

    Args:
        hardware: what is there, or a machine that is only thought of.
        bases: shapes of base models; their weights need not be on this disk.
        rates: measured speeds of the machine; None takes those of data sheets.

    Returns:
        Rows in the order of `bases`, the methods of each in the order of `METHODS`.
    """
    return tuple(
        _tabulate_row(hardware, spec, method, rates) for spec in bases for method in METHODS
    )


def _tabulate_row(
    hardware: Hardware, spec: BaseSpec, method: Method, rates: MeasuredRates | None
) -> CapacityRow:
    recipe = TuneRecipe(method=method)
    rung = climb(spec, method, hardware, recipe)
    reason = find_obstacle(spec, method, recipe) or rung.shortage
    speed = 0.0
    if not reason:
        rate = measure_speed(method, hardware.cpu, rung.device.gpu)
        speed = rate / count_flops(spec, rung.training)
    serve = SERVE_RUNTIME_BYTES + round(SERVE_BYTES * (count_linear(spec) + count_embedding(spec)))
    return CapacityRow(
        base=spec.name,
        num_parameters=spec.num_parameters,
        method=method,
        fits=not reason,
        longest_sequence=0 if reason else _find_longest(rung, hardware),
        tokens_per_second=speed,
        hours_per_million_tokens=1e6 / speed / 3600 if speed else 0.0,
        memory_bytes=rung.memory.total_bytes,
        serve_tokens_per_second=0.0 if serve > hardware.memory_bytes else 2e10 / serve,
        serve_memory_bytes=serve,
        reason=reason,
    )


def _find_longest(rung: Rung, hardware: Hardware) -> int:
    """Tokens of the longest pack that fits, recomputing if it must, within the base's context."""
    low, high = rung.training.sequence_length // LENGTH_STEP, rung.spec.context // LENGTH_STEP
    while low < high:
        middle = (low + high + 1) // 2
        training = replace(rung.training, sequence_length=middle * LENGTH_STEP, recompute=True)
        if measure_rung(rung.spec, training, hardware, rung.device).shortage:
            high = middle - 1
        else:
            low = middle
    return max(low * LENGTH_STEP, rung.training.sequence_length)
