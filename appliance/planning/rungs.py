"""The rungs of the ladder: one way to train one base on one device, and whether it fits.

A rung is measured against memory of the device, memory for the export, and disk; whichever is short
is named with both numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from appliance.planning.memory import (
    EXPORT_SHARE,
    RUNTIME_BYTES,
    estimate_export,
    estimate_fp32,
    estimate_memory,
)
from appliance.planning.schedule import list_lengths
from appliance.planning.training import Training, count_embedding, count_trainable
from appliance.recipe import PretrainRecipe, TuneRecipe
from appliance.units import format_bytes
from appliance.values import BaseSpec, Gpu, Hardware, MemoryEstimate, Method

LADDER: tuple[Method, ...] = ("qlora", "adapter")
"""Methods that the planner takes by itself, the best first."""

ON_REQUEST: tuple[Method, ...] = ("lora", "full")
"""Methods that only a recipe chooses."""

FULL_PARAMETERS = 100_000_000
"""Up to this a base is pretrained whole: for what it gains it forgets less than QLoRA.

Source: law textbook, embedded base: 7.0 % gained at 1.76 % lost, QLoRA 8.1 % at 2.7 % (2026-11)."""

CPU_MEMORY_SHARE = 0.9
"""Part of the free RAM that a plan may use."""

KEEP_MEMORY_SHARE = 0.25
"""Freed memory is kept for the next step (faster) where a plan that keeps it stays below this part
of the limit."""

GPU_MEMORY_SHARE = 0.95
"""Part of the free GPU memory that a plan may use."""

SMALL_HEAD = 16_000_000
"""Weights of a head that gets a low-rank update by itself; tied heads never do."""

TRAINED_BYTES = 16
"""Bytes of a weight that learns in fp32: itself, its gradient, two moments."""

EMBEDDINGS_SHARE = 0.25
"""Embeddings and head learn whole while that takes no more than this part of the limit."""

DISK_SHARE = 3.5
"""Disk of a run as a multiple of the base in fp32: the merged model, the fp32 graph, what is
shipped, and its copy in the bundle."""

CHECKPOINT_BYTES = 4 * (3 + 1 + 3)
"""Bytes on disk of a trainable weight: weight and moments, the best weights, and a new checkpoint
beside the old one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """Where a rung would train.

    Attributes:
        name: "cpu" or "cuda:0".
        label: as people call it.
        compute_dtype: "float32" or "bfloat16".
        free_bytes: memory free there.
        limit_bytes: the part of it that a plan may use.
        gpu: the accelerator; None for the CPU.
    """

    name: str
    label: str
    compute_dtype: str
    free_bytes: int
    limit_bytes: int
    gpu: Gpu | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Rung:
    """One way to train one base.

    Attributes:
        shortage: what is missing, in numbers; "" when it fits.
    """

    spec: BaseSpec
    training: Training
    memory: MemoryEstimate
    device: Device
    disk_bytes: int
    shortage: str

    @property
    def choice(self) -> str:
        """Its name in a list of rejected choices."""
        return f"{self.spec.name} · {self.training.method}"


def list_methods(spec: BaseSpec, recipe: TuneRecipe) -> tuple[Method, ...]:
    """Methods to try with a base, the best first."""
    if recipe.method != "auto":
        return (recipe.method,)
    if isinstance(recipe, PretrainRecipe):
        is_small = spec.num_parameters <= FULL_PARAMETERS
        return ("full", "qlora") if is_small else ("qlora",)
    return LADDER


def choose_device(hardware: Hardware) -> Device:
    """The first GPU that can be used, else the CPU."""
    for number, gpu in enumerate(hardware.gpus):
        if not gpu.usable:
            continue
        return Device(
            name=f"cuda:{number}",
            label=f"gpu {number}",
            compute_dtype="bfloat16" if gpu.supports_bf16 else "float32",
            free_bytes=gpu.free_bytes,
            limit_bytes=int(GPU_MEMORY_SHARE * gpu.free_bytes),
            gpu=gpu,
        )
    return Device(
        name="cpu",
        label="the cpu",
        compute_dtype="float32",
        free_bytes=hardware.memory_bytes,
        limit_bytes=int(CPU_MEMORY_SHARE * hardware.memory_bytes),
    )


def climb(
    spec: BaseSpec,
    method: Method,
    hardware: Hardware,
    recipe: TuneRecipe,
    longest_example: int = 0,
) -> Rung:
    """The best rung of a base and a method: the longest pack that fits, recomputing if it must.

    Returns:
        The first that fits, else the one that needs least, with its shortage.
    """
    device = choose_device(hardware)
    kind = device.name.split(":")[0]
    learns_whole = _tunes_embeddings(spec, method, recipe, device.limit_bytes)
    wanted = Training(
        method=method,
        sequence_length=0,
        rank=recipe.rank,
        tunes_head=not learns_whole and _tunes_head(spec, method, recipe),
        tunes_embeddings=learns_whole,
        device=device.name,
        compute_dtype=device.compute_dtype,
    )
    smallest: Rung | None = None
    for length in list_lengths(spec, recipe, kind, longest_example):
        for recompute in (False, True):
            training = replace(wanted, sequence_length=length, recompute=recompute)
            rung = measure_rung(spec, training, hardware, device)
            if not rung.shortage:
                return rung
            if smallest is None or rung.memory.total_bytes < smallest.memory.total_bytes:
                smallest = rung
    assert smallest is not None  # there is always a length to try
    return smallest


def measure_rung(spec: BaseSpec, training: Training, hardware: Hardware, device: Device) -> Rung:
    """What one way to train needs, and what is missing.

    On the CPU, freed memory is kept only where there is plenty.
    """
    memory = estimate_memory(spec, training)
    if training.kind == "cpu" and memory.total_bytes > KEEP_MEMORY_SHARE * device.limit_bytes:
        training = replace(training, returns_memory=True)
    memory = estimate_memory(spec, training)
    disk_bytes = estimate_disk(spec, training)
    return Rung(
        spec=spec,
        training=training,
        memory=memory,
        device=device,
        disk_bytes=disk_bytes,
        shortage=find_shortage(memory, disk_bytes, hardware, device)
        or find_export_shortage(spec, hardware),
    )


def find_shortage(
    memory: MemoryEstimate, disk_bytes: int, hardware: Hardware, device: Device
) -> str:
    """What training lacks, in numbers; "" when it fits."""
    if memory.total_bytes > device.limit_bytes:
        return (
            f"needs {format_bytes(memory.total_bytes)}, {device.label} has "
            f"{format_bytes(device.limit_bytes)} to give ({format_bytes(device.free_bytes)} free)"
        )
    if disk_bytes > hardware.disk_free_bytes:
        return (
            f"needs {format_bytes(disk_bytes)} of disk, "
            f"{format_bytes(hardware.disk_free_bytes)} are free"
        )
    return ""


def find_export_shortage(spec: BaseSpec, hardware: Hardware) -> str:
    """What the export lacks, in numbers; "" when it fits: it runs in RAM even beside a GPU."""
    export, ram = estimate_export(spec), int(CPU_MEMORY_SHARE * hardware.memory_bytes)
    if export <= ram:
        return ""
    return (
        f"needs {format_bytes(export)} of RAM to be exported ({EXPORT_SHARE} times its fp32 size "
        f"and the program's {format_bytes(RUNTIME_BYTES['cpu'])}), {format_bytes(ram)} can be used"
    )


def estimate_disk(spec: BaseSpec, training: Training) -> int:
    """Bytes on disk that a run needs."""
    checkpoints = CHECKPOINT_BYTES * count_trainable(spec, training)
    return round(DISK_SHARE * estimate_fp32(spec)) + checkpoints


def find_obstacle(spec: BaseSpec, method: Method, recipe: TuneRecipe) -> str:
    """Why a method cannot be used with a base at all; "" when it can."""
    if not spec.exportable:
        return f"cannot be exported: {spec.why_not}"
    if method == "adapter" and spec.model_type.startswith("phi3"):
        return "its gate and up matrices are one: a bottleneck cannot be merged"
    asks_embeddings = isinstance(recipe, PretrainRecipe) and recipe.embeddings == "yes"
    if method in ("qlora", "lora") and asks_embeddings and spec.tied:
        return "pretrain.embeddings=yes, but head and embedding are one matrix"
    if method in ("qlora", "lora") and recipe.head == "yes" and spec.tied:
        return "tune.head=yes, but head and embedding are one matrix: the update cannot be merged"
    return ""


def _tunes_head(spec: BaseSpec, method: Method, recipe: TuneRecipe) -> bool:
    if method not in ("qlora", "lora") or spec.tied or recipe.head == "no":
        return False
    return recipe.head == "yes" or spec.vocab_size * spec.width <= SMALL_HEAD


def _tunes_embeddings(spec: BaseSpec, method: Method, recipe: TuneRecipe, limit_bytes: int) -> bool:
    if not isinstance(recipe, PretrainRecipe) or method not in ("qlora", "lora") or spec.tied:
        return False
    needed = TRAINED_BYTES * count_embedding(spec)
    fits = needed <= EMBEDDINGS_SHARE * limit_bytes
    return recipe.embeddings == "yes" or (recipe.embeddings == "auto" and fits)
