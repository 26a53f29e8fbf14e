"""Whether the hidden states of the trunk are kept while an adapter is tuned, and where.

A cache changes only the time: what does not fit is computed again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch

from appliance.dataset.pack import Pack
from appliance.errors import DiskFullError, NotFreeError
from appliance.events import Note, OnEvent
from appliance.hardware.memory import measure_disk_free, probe_memory
from appliance.tuning.hidden_store import DiskStore, HiddenStore, MemoryStore, name_pack
from appliance.tuning.model import DecoderModel
from appliance.tuning.step import CausalModel
from appliance.tuning.trunk import FOLLOWED, NUM_STATES, CachedModel, find_first
from appliance.units import format_bytes
from appliance.values import TrainPlan

Place = Literal["auto", "off", "memory", "disk"]

MEMORY_SHARE = 0.5
"""Part of the RAM that the plan leaves free which the cache may take."""

WORTH_SHARE = 0.25
"""A disk with room for less than this part of the packs is left alone."""

_OTHERWISE = "hidden states are not cached: this base computes them otherwise"

TOLERANCE = 1e-5
"""Largest difference from the plain run, as a part of the largest hidden state. On a CPU there is
none; on a GPU other kernels may be chosen."""


@contextmanager
def keep_hidden_states(
    model: DecoderModel,
    list_packs: Callable[[], Sequence[Pack]],
    plan: TrainPlan,
    place: Place,
    folder: Path,
    on_event: OnEvent,
) -> Iterator[CausalModel]:
    """The model with its trunk cached where that is possible and pays, else as it is.

    Args:
        model: with bottlenecks, or of any other method.
        list_packs: gives all that will be read: of the training split and held-out.
        plan: method, epochs, and what it needs itself.
        place: what the recipe asks for.
        folder: on the disk that may be used.
        on_event: is told why nothing is cached, where somebody could expect it.

    Yields:
        A model that gives the same hidden states; what it keeps is gone at the end.

    Raises:
        NotFreeError: the recipe asks for RAM that is not free.
        DiskFullError: the recipe asks for disk that is not free.
    """
    if place == "off" or (place == "auto" and plan.num_epochs < 2):
        yield model
        return
    first = find_first(model.decoder)
    if first is None:
        if place != "auto":
            on_event(Note(text=f"nothing is cached: {plan.method} has no frozen trunk"))
        yield model
        return
    if model.decoder.config.model_type not in FOLLOWED:
        on_event(Note(text=_OTHERWISE))
        yield model
        return
    packs = list_packs()
    token_bytes = NUM_STATES * model.decoder.config.hidden_size * model.decoder.dtype.itemsize
    lengths = {name_pack(pack): len(pack.token_ids_T) for pack in packs}
    try:
        store = _open_store(place, sum(lengths.values()), token_bytes, plan, folder)
    except OSError as exc:  # somebody else was faster
        if place == "disk":
            raise _refuse_disk(sum(lengths.values()) * token_bytes, 0) from exc
        store = None
    if store is None:
        needed = format_bytes(sum(lengths.values()) * token_bytes)
        on_event(Note(text=f"hidden states are not cached: {needed} fit neither RAM nor disk"))
        yield model
        return
    try:
        cached = CachedModel(model=model, first=first, store=store)
        if measure_difference(model, cached, packs[0]) > TOLERANCE:
            on_event(Note(text=_OTHERWISE))
            yield model
        else:
            yield cached
    finally:
        store.close()


def count_cached_bytes(model: CausalModel) -> int:
    """RAM that a model's cache takes when it is full."""
    return model.store.memory_bytes if isinstance(model, CachedModel) else 0


@torch.no_grad()
def measure_difference(model: DecoderModel, cached: CachedModel, pack: Pack) -> float:
    """Largest difference that the cache makes on a pack, as a part of the largest hidden state."""
    plain_TD = model.read_hidden(pack)
    largest = 0.0
    for _ in ("computed", "kept"):
        again_TD = cached.read_hidden(pack)
        largest = max(largest, float((again_TD - plain_TD).abs().max()))
    return largest / max(1e-9, float(plain_TD.abs().max()))


def _open_store(
    place: Place, num_tokens: int, token_bytes: int, plan: TrainPlan, folder: Path
) -> HiddenStore | None:
    """Room in RAM if all fits there, else on the disk; None where neither has enough."""
    needed = num_tokens * token_bytes
    planned = plan.memory.total_bytes if plan.device == "cpu" else 0
    memory_room = round(MEMORY_SHARE * max(0, probe_memory().free_bytes - planned))
    disk_room = max(0, measure_disk_free(folder) - plan.disk_bytes)
    if place == "memory" and needed > memory_room:
        raise NotFreeError(
            f"the cache of hidden states needs {format_bytes(needed)} of RAM",
            why=f"{format_bytes(memory_room)} can be given to it beside training",
            fix="--set tune.cache_hidden_states=disk, or auto to let the program choose",
        )
    if place == "disk" and needed > disk_room:
        raise _refuse_disk(needed, disk_room)
    if place != "disk" and needed <= memory_room:
        return MemoryStore(num_tokens, token_bytes)
    if disk_room < WORTH_SHARE * needed:
        return None
    return DiskStore(min(num_tokens, disk_room // token_bytes), token_bytes, folder)


def _refuse_disk(needed: int, room: int) -> DiskFullError:
    return DiskFullError(
        f"the cache of hidden states needs {format_bytes(needed)} of disk",
        why=f"{format_bytes(room)} are free beside what the run needs",
        fix="delete old runs, or --set tune.cache_hidden_states=off (slower, same result)",
    )
