"""The rungs of the ladder: one way to train one base on one device, and whether it fits.

A rung is measured against memory of the device, RAM for the export, and disk; whichever is short is
named with both numbers. Of the ways that fit, the fastest is taken: pack length and recomputation
follow from the speed, not from a rule of thumb.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from appliance.planning.calibration import correct_speed
from appliance.planning.device import CPU_MEMORY_SHARE, Device, choose_device
from appliance.planning.device_speed import find_speed
from appliance.planning.handover import describe_export, estimate_disk, estimate_export
from appliance.planning.memory import estimate_memory
from appliance.planning.methods import tunes_embeddings, tunes_head
from appliance.planning.processes import share_device
from appliance.planning.schedule import Text, list_lengths, plan_steps
from appliance.planning.speed import estimate_learning
from appliance.planning.training import Training
from appliance.planning.trunk import CachePlace, place_cache
from appliance.recipe import TuneRecipe
from appliance.units import format_bytes, format_count
from appliance.values import (
    BaseSpec,
    Hardware,
    MemoryEstimate,
    Method,
    PlanTerms,
    Rejected,
    SpeedEstimate,
)

KEEP_MEMORY_SHARE = 0.25
"""Freed memory is kept for the next step, and the base is kept unpacked (both faster), where a plan
that keeps it stays below this part of the limit."""

NO_TERMS, NO_TEXT = PlanTerms(), Text()


@dataclass(frozen=True, kw_only=True, slots=True)
class Rung:
    """One way to train one base.

    Attributes:
        export_bytes: RAM that the stages after training need.
        shortage: what is missing, in numbers; "" when it fits.
        cache: where adapter tuning keeps hidden states of its trunk.
        others: pack lengths and recomputation that were not taken, with the reason.
    """

    spec: BaseSpec
    training: Training
    memory: MemoryEstimate
    speed: SpeedEstimate
    device: Device
    disk_bytes: int
    export_bytes: int
    shortage: str
    cache: CachePlace = "off"
    others: tuple[Rejected, ...] = ()

    @property
    def choice(self) -> str:
        """Its name in a list of rejected choices."""
        return f"{self.spec.name} · {self.training.method}"

    @property
    def way(self) -> str:
        """Its pack length and what it does to save memory."""
        again = ", recomputed" if self.training.recompute else ""
        return f"packs of {self.training.sequence_length}{again}"


def climb(
    spec: BaseSpec,
    method: Method,
    hardware: Hardware,
    recipe: TuneRecipe,
    text: Text = NO_TEXT,
    terms: PlanTerms = NO_TERMS,
) -> Rung:
    """The fastest way to train a base with a method that fits.

    Returns:
        It, with why the other ways were not taken; where none fits, the one that needs least, with
        its shortage.
    """
    shares = recipe.num_processes if isinstance(recipe.num_processes, int) else 1
    device = share_device(choose_device(hardware, terms), shares)
    if method == "prompt":  # its virtual tokens stand before every example
        text = replace(text, longest_example=text.longest_example + recipe.virtual_tokens)
    learns_whole = tunes_embeddings(spec, method, recipe, device.limit_bytes)
    ways = [
        measure_rung(
            spec,
            Training(
                method=method,
                sequence_length=length,
                rank=recipe.virtual_tokens if method == "prompt" else recipe.rank,
                tunes_head=not learns_whole and tunes_head(spec, method, recipe),
                tunes_embeddings=learns_whole,
                recompute=recompute,
                device=device.name,
                compute_dtype=device.compute_dtype,
                packs_per_step=_count_packs(text, length, recipe),
                tries_rates=recipe.tries_rates,
                mean_example=text.mean_example,
            ),
            hardware,
            device,
            terms,
            recipe=recipe,
            text=text,
        )
        for length in list_lengths(spec, recipe, device.kind, text)
        for recompute in (False, True)
    ]
    fitting = [way for way in ways if not way.shortage]
    if not fitting:
        return min(ways, key=lambda way: way.memory.total_bytes)
    best = max(fitting, key=lambda way: way.speed.tokens_per_second)
    return replace(best, others=tuple(_explain_way(way, best) for way in ways if way is not best))


def measure_rung(
    spec: BaseSpec,
    training: Training,
    hardware: Hardware,
    device: Device,
    terms: PlanTerms = NO_TERMS,
    *,
    recipe: TuneRecipe | None = None,
    text: Text = NO_TEXT,
) -> Rung:
    """What one way to train needs, how fast it is, and what is missing.

    On the CPU, freed memory and an unpacked base are kept only where there is plenty.
    """
    plenty = KEEP_MEMORY_SHARE * device.limit_bytes if training.kind == "cpu" else 0
    memory = estimate_memory(spec, training, terms.notes)
    if training.is_quantized:
        unpacked = replace(training, keeps_unpacked=True)
        larger = estimate_memory(spec, unpacked, terms.notes)
        if larger.total_bytes <= plenty:
            training, memory = unpacked, larger
    if training.kind == "cpu" and memory.total_bytes > plenty:
        training = replace(training, returns_memory=True)
        memory = estimate_memory(spec, training, terms.notes)
    disk_bytes, export_bytes = estimate_disk(spec, training), estimate_export(spec)
    cache: CachePlace = "off"
    if recipe is not None and text.train_tokens:
        num_epochs = plan_steps(text.train_tokens, training.sequence_length, recipe).num_epochs
        held = memory.total_bytes if training.kind == "cpu" else 0
        cache = place_cache(
            spec,
            training,
            recipe,
            text.train_tokens,
            num_epochs,
            left_memory_bytes=hardware.memory_bytes - held,
            left_disk_bytes=hardware.disk_free_bytes - disk_bytes,
        )
        if cache != "off":
            training = replace(training, trunk_share=1 / num_epochs)
    learned = estimate_learning(spec, training, find_speed(hardware, device.gpu, terms.rates))
    return Rung(
        spec=spec,
        training=training,
        memory=memory,
        speed=correct_speed(learned, training, terms.notes),
        device=device,
        disk_bytes=disk_bytes,
        export_bytes=export_bytes,
        cache=cache,
        shortage=find_shortage(memory, disk_bytes, hardware, device, terms)
        or find_export_shortage(export_bytes, spec, hardware),
    )


def find_shortage(
    memory: MemoryEstimate,
    disk_bytes: int,
    hardware: Hardware,
    device: Device,
    terms: PlanTerms = NO_TERMS,
) -> str:
    """What training lacks, in numbers; "" when it fits."""
    if memory.total_bytes > device.limit_bytes:
        return f"needs {format_bytes(memory.total_bytes)}, {device.describe_limit()}"
    if disk_bytes > hardware.disk_free_bytes:
        return (
            f"needs {format_bytes(disk_bytes)} of disk, "
            f"{format_bytes(hardware.disk_free_bytes)} are free"
        )
    if terms.disk_bytes is not None and disk_bytes > terms.disk_bytes:
        return (
            f"needs {format_bytes(disk_bytes)} of disk, "
            f"the budget is {format_bytes(terms.disk_bytes)}"
        )
    return ""


def find_export_shortage(export_bytes: int, spec: BaseSpec, hardware: Hardware) -> str:
    """What the export lacks, in numbers; "" when it fits: it runs in RAM even beside a GPU."""
    ram = int(CPU_MEMORY_SHARE * hardware.memory_bytes)
    if export_bytes <= ram:
        return ""
    return (
        f"needs {format_bytes(export_bytes)} of RAM to be exported ({describe_export(spec)}), "
        f"{format_bytes(ram)} can be used"
    )


def _count_packs(text: Text, length: int, recipe: TuneRecipe) -> int:
    """Packs of a step; several where nothing is known, which needs more memory."""
    if not text.train_tokens:
        return 2
    return plan_steps(text.train_tokens, length, recipe).packs_per_step


def _explain_way(way: Rung, best: Rung) -> Rejected:
    speeds = (way.speed.tokens_per_second, best.speed.tokens_per_second)
    slower = f"slower: {format_count(speeds[0])} against {format_count(speeds[1])} tokens/s"
    return Rejected(choice=f"{way.choice} · {way.way}", reason=way.shortage or slower)
