"""Whether adapter tuning will keep the hidden states of its frozen trunk, as the loop decides it.

The loop looks at what is free when it begins (`tuning/hidden_cache.py`); this tells beforehand what
it will find, for the speed of the plan. A cache changes only the time.
"""

from __future__ import annotations

from typing import Literal

from appliance.planning.training import Training
from appliance.recipe import TuneRecipe
from appliance.values import BaseSpec

CachePlace = Literal["memory", "disk", "off"]

NUM_STATES = 2
"""Hidden states kept of a token: NUM_STATES in `tuning/trunk.py`."""

MEMORY_SHARE = 0.5
"""Part of the RAM left over that a cache may take: MEMORY_SHARE in `tuning/hidden_cache.py`."""

HELD_OUT_SHARE = 1.1
"""Tokens that are read beside those of the training split: held-out ones."""


def place_cache(
    spec: BaseSpec,
    training: Training,
    recipe: TuneRecipe,
    train_tokens: int,
    num_epochs: int,
    left_memory_bytes: int,
    left_disk_bytes: int,
) -> CachePlace:
    """Where hidden states will be kept.

    Args:
        spec: the base.
        training: how it is trained.
        recipe: may forbid it, name the place, or ask for noise, which is another in every epoch.
        train_tokens: of the training split.
        num_epochs: times it is read.
        left_memory_bytes: of RAM, beside what training needs there.
        left_disk_bytes: beside what the run needs.
    """
    wanted = "off" if recipe.embedding_noise else recipe.cache_hidden_states
    if training.method != "adapter" or wanted == "off" or not train_tokens:
        return "off"
    if wanted != "auto":
        return wanted
    needed = count_cache_bytes(spec, training, train_tokens)
    if num_epochs < 2:
        return "off"
    if needed <= MEMORY_SHARE * max(0, left_memory_bytes):
        return "memory"
    return "disk" if needed <= left_disk_bytes else "off"


def count_cache_bytes(spec: BaseSpec, training: Training, train_tokens: int) -> int:
    """Bytes of the hidden states of all tokens that are read."""
    of_token = NUM_STATES * spec.width * training.compute_bytes
    return round(HELD_OUT_SHARE * train_tokens) * of_token
