"""What a machine can do with a base, method by method: for reports, before there is a corpus."""

from __future__ import annotations

from dataclasses import dataclass

from appliance.planning.rungs import climb, find_obstacle
from appliance.recipe import TuneRecipe
from appliance.values import BaseSpec, Hardware, Method

METHODS: tuple[Method, ...] = ("qlora", "adapter", "lora", "full")


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
