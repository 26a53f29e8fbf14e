"""How much text a step reads, how often the text is read, and how long a pack is.

Few documents want small steps and several readings; many want large steps and one: more text beats
more epochs, and training stops early on the held-out loss anyway.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from appliance.errors import RecipeError
from appliance.recipe import PretrainRecipe, TuneRecipe
from appliance.values import BaseSpec

STEPS_PER_EPOCH = 60
"""Optimizer updates that one reading of a small corpus is cut into."""

PRETRAIN_STEPS = 120
"""The same for plain text, which is read once: smaller steps, for every reading costs general text.

Source: 18F handbook (229 k tokens) read once in 116 steps at 4e-4, embedded base: loss on unseen
text -11.5 %, general text +0.84 %. November 2026.
"""

STEP_TOKENS = (1024, 8192)
"""Bounds of the tokens that a step reads."""

MANY_TOKENS = 250_000
"""Training splits above this are read once, smaller ones twice.

Source: fall of the loss on unseen text after 1, 2 and 3 readings, embedded base: 29 k tokens 5.8,
5.8 and 4.5 %; 64 k: 37.5 and 38.7 % after 1 and 2; 103 k: 10.1 and 10.8 %. November 2026.
"""

MIN_PACK_TOKENS = 64
"""Shorter packs waste the processor."""

PACK_FILL = 0.95
"""Part of a pack that examples fill on the average.

Source: assumed; best-fit decreasing over passages of 384 tokens in packs of 1024 fills more.
"""

PACK_TOKENS = {"cpu": (1024, 512, 256), "cuda": (4096, 2048, 1024, 512)}
"""Lengths of a pack that are tried, longest first: a GPU needs many rows at a time."""

TRIAL_SHARE, TRIAL_STEPS = 0.12, (8, 40)
"""Steps of a trial of a learning rate: PROBE_SHARE and PROBE_STEPS in `tuning/tune.py`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Steps:
    """The schedule of a run: packs of an update, readings, updates in all."""

    packs_per_step: int
    num_epochs: int
    num_steps: int

    @property
    def trial_steps(self) -> int:
        """Updates of one trial of a learning rate."""
        low, high = TRIAL_STEPS
        return min(high, max(low, round(TRIAL_SHARE * self.num_steps)))


def plan_steps(train_tokens: int, sequence_length: int, recipe: TuneRecipe) -> Steps:
    """Divide the training split into steps.

    Args:
        train_tokens: of the training split.
        sequence_length: tokens of a pack.
        recipe: may fix the epochs.

    Raises:
        RecipeError: the recipe asks for less than one epoch.
    """
    if isinstance(recipe.epochs, int) and recipe.epochs < 1:
        raise RecipeError(
            f"tune.epochs={recipe.epochs} trains nothing",
            why="the training split must be read at least once",
            fix="--set tune.epochs=1 or leave it at auto",
        )
    low, high = STEP_TOKENS
    is_plain = isinstance(recipe, PretrainRecipe)
    steps_per_epoch = PRETRAIN_STEPS if is_plain else STEPS_PER_EPOCH
    wanted = min(high, max(low, train_tokens // steps_per_epoch))
    packs_per_step = max(1, round(wanted / sequence_length))
    num_packs = max(1, math.ceil(train_tokens / (PACK_FILL * sequence_length)))
    if isinstance(recipe.epochs, int):
        num_epochs = recipe.epochs
    else:
        num_epochs = 1 if is_plain else choose_epochs(train_tokens)
    return Steps(
        packs_per_step=packs_per_step,
        num_epochs=num_epochs,
        num_steps=num_epochs * math.ceil(num_packs / packs_per_step),
    )


def choose_epochs(train_tokens: int) -> int:
    """How often the training split is read."""
    return 2 if train_tokens <= MANY_TOKENS else 1


def list_lengths(
    spec: BaseSpec, recipe: TuneRecipe, kind: str, longest_example: int
) -> tuple[int, ...]:
    """Lengths of a pack to try, the best first.

    Args:
        spec: the base; no pack is longer than its context.
        recipe: may fix the length.
        kind: of the device: "cpu" or "cuda".
        longest_example: tokens that a pack must hold at least; 0 when not known yet.

    Raises:
        RecipeError: the recipe's length is longer than the context or shorter than an example.
    """
    fixed = recipe.sequence_length
    if fixed == "auto":
        lengths = [min(length, spec.context) for length in PACK_TOKENS[kind]]
        long_enough = [length for length in lengths if length >= longest_example]
        return tuple(dict.fromkeys(long_enough)) or (max(longest_example, 1),)
    if fixed > spec.context:
        raise RecipeError(
            f"tune.sequence_length={fixed} is longer than the base can read",
            why=f"{spec.name} was made for {spec.context} positions",
            fix=f"--set tune.sequence_length={spec.context}",
        )
    shortest = max(longest_example, MIN_PACK_TOKENS)
    if fixed < shortest:
        raise RecipeError(
            f"tune.sequence_length={fixed} is too short",
            why=f"the longest example has {longest_example} tokens"
            if longest_example
            else f"packs below {MIN_PACK_TOKENS} tokens waste the processor",
            fix=f"--set tune.sequence_length={shortest}",
        )
    return (fixed,)
