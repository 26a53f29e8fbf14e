"""Holding training within memory: the watch on a limit, and what a kill by the kernel teaches.

On a GPU the allocator says when memory runs out. On a CPU nobody does: a process above the limit of
its control group is killed. So the group is looked at before every layer, and the step is broken
off while the rest of it, as the plan's formulas count it, would still fit.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from appliance.cgroup import list_memory_groups, parse_statistic, read_groups
from appliance.files import write_text
from appliance.hardware.allocator import return_freed_memory
from appliance.planning.activations import list_moments
from appliance.planning.training import read_training
from appliance.rundir import StageFolder
from appliance.tuning.model import DecoderModel, compute_twice
from appliance.tuning.ranks import Ranks
from appliance.tuning.relief import (
    MemoryLadder,
    MemoryNotes,
    MemoryShortageError,
    Relief,
    list_reliefs,
    read_notes,
)
from appliance.units import MIB
from appliance.values import BaseSpec, TrainPlan

SPARE_SHARE, SPARE_BYTES = 0.02, 16 * MIB
"""Part of the limit that is left free on top, and at least so much: the kernel charges pages in
batches, and small blocks are not in the formulas.

Source: chosen; Documentation/admin-guide/cgroup-v1/memory.rst, section 5.5, on inexact usage.
"""

NOTES = "memory.json"
"""Where a stage keeps how far its training has climbed down."""


@contextmanager
def hold_memory(
    model: DecoderModel, spec: BaseSpec, plan: TrainPlan, stage: StageFolder, ranks: Ranks
) -> Iterator[MemoryLadder]:
    """The ladder of a training: on the rung where the last attempt was, or one further.

    One further where the kernel killed the last attempt for its memory.

    Args:
        model: with what learns on it.
        spec: the base.
        plan: how it is trained.
        stage: keeps the notes; is told of every rung.
        ranks: the first process writes.

    Raises:
        ResourceError: the kernel killed it on the last rung.
    """

    def apply(relief: Relief) -> None:
        if plan.device == "cpu":
            return_freed_memory()
        if relief.recompute and not plan.recompute:
            compute_twice(model.module)

    file = stage.folder / NOTES
    ladder = MemoryLadder(
        reliefs=list_reliefs(plan),
        pack_tokens=plan.sequence_length,
        apply=apply,
        measure_held=lambda: measure_held(plan.device),
        file=file if ranks.is_first else None,
        on_event=stage.on_event,
        notes=read_notes(file),
    )
    if ladder.notes.taken:
        apply(ladder.relief)
    if was_killed(ladder.notes):
        why = "the kernel killed the last attempt for its memory"
        ladder.take_next(1, why, plan.memory_limit_bytes)
    ladder.keep(dataclasses.replace(ladder.notes, boot=read_boot(), kills=count_kills()))
    try:
        with _watch(model, spec, plan, ladder):
            yield ladder
    finally:
        ladder.keep(dataclasses.replace(ladder.notes, boot="", kills=0))


def was_killed(notes: MemoryNotes) -> bool:
    """Whether the last attempt never left, and the kernel has killed for memory since it began.

    A power cut or a person's `kill -9` leaves the count as it was; another boot starts it anew.
    """
    return bool(notes.boot) and notes.boot == read_boot() and count_kills() > notes.kills


def note_kill(folder: Path, kills: int) -> None:
    """Let the next attempt know that the kernel killed one of several processes for its memory.

    Args:
        folder: of the stage; the others may have left it in order.
        kills: that were counted before they began.
    """
    notes = dataclasses.replace(read_notes(folder / NOTES), boot=read_boot(), kills=kills)
    write_text(folder / NOTES, json.dumps(dataclasses.asdict(notes)))


def read_boot() -> str:
    """What tells this boot of the machine from all others; "unknown" where nothing does."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return "unknown"


def count_kills() -> int:
    """Processes that the kernel has killed for memory since it booted, whatever limit it was."""
    with suppress(OSError):
        return parse_statistic(Path("/proc/vmstat").read_text(), "oom_kill")
    return 0


def measure_held(device: str) -> int:
    """Bytes that this process holds: resident on the CPU, reserved on a GPU."""
    if device != "cpu":
        return torch.cuda.max_memory_reserved(device)
    with suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


@contextmanager
def _watch(
    model: DecoderModel, spec: BaseSpec, plan: TrainPlan, ladder: MemoryLadder
) -> Iterator[None]:
    """Look at the limit before every layer, on a CPU that has one."""
    groups = list_memory_groups() if plan.device == "cpu" else []
    limit = read_groups(groups).total_bytes
    if limit is None:
        yield
        return
    spare = max(SPARE_BYTES, round(SPARE_SHARE * limit))
    rest = make_rest(model, spec, plan)

    def look(*_: object) -> None:
        if not ladder.is_learning:
            return
        free = read_groups(groups).free_bytes
        needed = rest(ladder.relief) + spare
        if free is not None and free < needed:
            raise MemoryShortageError(free, needed)

    layers = [*model.decoder.layers, model.decoder.norm]
    handles = [layer.register_forward_pre_hook(look) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def make_rest(model: DecoderModel, spec: BaseSpec, plan: TrainPlan) -> Callable[[Relief], int]:
    """Bytes that the rest of a step needs beyond what is saved: what passes, and gradients.

    Source: `planning/activations.py`, at the pack length of the rung.
    """
    passing: dict[Relief, int] = {}
    learning = [p for p in model.module.parameters() if p.requires_grad]

    def rest(relief: Relief) -> int:
        if relief not in passing:
            tokens = -(-plan.sequence_length // relief.parts)
            training = dataclasses.replace(
                read_training(plan),
                sequence_length=tokens,
                recompute=plan.recompute or relief.recompute,
            )
            passing[relief] = max(m.passing_bytes for m in list_moments(spec, training))
        missing: int = sum(p.numel() * p.element_size() for p in learning if p.grad is None)
        return passing[relief] + missing

    return rest
