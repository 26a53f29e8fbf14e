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

NEW_BASE_STEPS = 12_000
"""The same for a model from nothing: it wants many small steps before it wants large ones.

Source: the embedded base: 12,500 steps of 1,024 tokens (decision 0011).
"""

NEW_BASE_EPOCHS = 4
"""Times that a model from nothing reads its text.

Source: up to four are almost as good as as much new text: Muennighoff et al. 2023,
arXiv:2305.16264.
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

PACK_TOKENS = {"cpu": (1024, 512, 256), "cuda": (8192, 4096, 2048, 1024, 512)}
"""Lengths of a pack that are tried, longest first: a GPU needs many rows at a time."""

PACK_STEP = 64
"""The shortest pack that holds the longest example is rounded up to a multiple of this."""

TRIAL_SHARE, TRIAL_STEPS = 0.12, (8, 40)
"""Steps of a trial of a learning rate: PROBE_SHARE and PROBE_STEPS in `tuning/rates.py`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """What is to be learned, as far as a plan needs it; noughts where it is not known yet.

    Attributes:
        train_tokens: of the training split.
        longest_example: tokens; a pack holds it whole, so that nothing is cut off.
        mean_example: tokens.
    """

    train_tokens: int = 0
    longest_example: int = 0
    mean_example: int = 0


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
    packs_per_step = max(1, round(count_step_tokens(train_tokens, recipe) / sequence_length))
    num_packs = max(1, math.ceil(train_tokens / (PACK_FILL * sequence_length)))
    fixed = recipe.epochs
    num_epochs = fixed if isinstance(fixed, int) else choose_epochs(train_tokens, recipe)
    return Steps(
        packs_per_step=packs_per_step,
        num_epochs=num_epochs,
        num_steps=num_epochs * math.ceil(num_packs / packs_per_step),
    )


def count_step_tokens(train_tokens: int, recipe: TuneRecipe) -> int:
    """Tokens that a step should read."""
    low, high = STEP_TOKENS
    return min(high, max(low, train_tokens // count_steps_per_epoch(recipe)))


def count_steps_per_epoch(recipe: TuneRecipe) -> int:
    """Updates that one reading of a small corpus is cut into."""
    if not isinstance(recipe, PretrainRecipe):
        return STEPS_PER_EPOCH
    return PRETRAIN_STEPS if recipe.start == "base" else NEW_BASE_STEPS


def choose_epochs(train_tokens: int, recipe: TuneRecipe) -> int:
    """How often the training split is read: plain text once, whatever its size."""
    if isinstance(recipe, PretrainRecipe):
        return 1 if recipe.start == "base" else NEW_BASE_EPOCHS
    return 2 if train_tokens <= MANY_TOKENS else 1


def list_lengths(spec: BaseSpec, recipe: TuneRecipe, kind: str, text: Text) -> tuple[int, ...]:
    """Lengths of a pack to try, longest first.

    None is shorter than the longest example, and none is longer than a step wants to read.

    Args:
        spec: the base; no pack is longer than its context.
        recipe: may fix the length.
        kind: of the device: "cpu" or "cuda".
        text: what is to be learned.

    Raises:
        RecipeError: the recipe's length is longer than the context or shorter than an example.
    """
    longest = text.longest_example
    if recipe.sequence_length != "auto":
        _check_length(recipe.sequence_length, spec, longest)
        return (recipe.sequence_length,)
    least = -(-max(longest, MIN_PACK_TOKENS) // PACK_STEP) * PACK_STEP
    least = max(longest, min(least, spec.context))
    most = max(PACK_TOKENS[kind])
    if text.train_tokens:
        most = count_step_tokens(text.train_tokens, recipe)
    lengths = {min(length, spec.context) for length in PACK_TOKENS[kind] if length <= most}
    fitting = {length for length in lengths if length >= longest}
    if longest or not fitting:
        fitting.add(least)
    return tuple(sorted(fitting, reverse=True))


def _check_length(length: int, spec: BaseSpec, longest_example: int) -> None:
    if length > spec.context:
        raise RecipeError(
            f"tune.sequence_length={length} is longer than the base can read",
            why=f"{spec.name} was made for {spec.context} positions",
            fix=f"--set tune.sequence_length={spec.context}",
        )
    shortest = max(longest_example, MIN_PACK_TOKENS)
    if length < shortest:
        raise RecipeError(
            f"tune.sequence_length={length} is too short",
            why=f"the longest example has {longest_example} tokens"
            if longest_example
            else f"packs below {MIN_PACK_TOKENS} tokens waste the processor",
            fix=f"--set tune.sequence_length={shortest}",
        )
