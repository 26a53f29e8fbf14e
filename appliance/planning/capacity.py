"""What a machine can do with a base, method by method: for reports, before there is a corpus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from appliance.planning.methods import find_obstacle
from appliance.planning.rungs import Rung, climb, measure_rung
from appliance.planning.serving import estimate_answering, estimate_serving
from appliance.recipe import TuneRecipe
from appliance.values import BaseSpec, CapacityRow, Hardware, MeasuredRates, Method, PlanTerms

METHODS: tuple[Method, ...] = ("qlora", "adapter", "lora", "full")

LENGTH_STEP = 64
"""The longest pack is told in multiples of this many tokens."""


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
    terms = PlanTerms(rates=rates)
    return tuple(
        _tabulate_row(hardware, spec, method, terms) for spec in bases for method in METHODS
    )


def _tabulate_row(
    hardware: Hardware, spec: BaseSpec, method: Method, terms: PlanTerms
) -> CapacityRow:
    recipe = TuneRecipe(method=method)
    rung = climb(spec, method, hardware, recipe, terms=terms)
    reason = find_obstacle(spec, method, recipe) or rung.shortage
    speed = 0.0 if reason else rung.speed.tokens_per_second
    serve = estimate_serving(spec)
    can_serve = spec.exportable and serve <= hardware.memory_bytes
    return CapacityRow(
        base=spec.name,
        num_parameters=spec.num_parameters,
        method=method,
        fits=not reason,
        longest_sequence=0 if reason else _find_longest(rung, hardware, terms),
        tokens_per_second=speed,
        hours_per_million_tokens=1e6 / speed / 3600 if speed else 0.0,
        memory_bytes=rung.memory.total_bytes,
        serve_tokens_per_second=estimate_answering(spec, hardware, terms.rates)
        if can_serve
        else 0.0,
        serve_memory_bytes=serve,
        reason=reason,
    )


def _find_longest(rung: Rung, hardware: Hardware, terms: PlanTerms) -> int:
    """Tokens of the longest pack that fits, recomputing if it must, within the base's context."""

    def fits(length: int) -> bool:
        training = replace(rung.training, sequence_length=length, recompute=True)
        return not measure_rung(rung.spec, training, hardware, rung.device, terms).shortage

    low, high = rung.training.sequence_length // LENGTH_STEP, rung.spec.context // LENGTH_STEP
    while low < high:
        middle = (low + high + 1) // 2
        if fits(middle * LENGTH_STEP):
            low = middle
        else:
            high = middle - 1
    return max(low * LENGTH_STEP, rung.training.sequence_length)
