"""Which methods are tried with a base, in which order, and what of the base learns with each."""

from __future__ import annotations

from appliance.planning.training import count_embedding
from appliance.recipe import PretrainRecipe, TuneRecipe
from appliance.values import BaseSpec, Method

LADDER: tuple[Method, ...] = ("qlora", "adapter")
"""Methods that the planner takes by itself to tune, the best first."""

ON_REQUEST: tuple[Method, ...] = ("lora", "full", "prompt")
"""Methods that only a recipe chooses."""

FULL_PARAMETERS = 100_000_000
"""Up to this a base is pretrained whole: for what it gains it forgets less than QLoRA.

Source: law textbook, embedded base: 7.0 % gained at 1.76 % lost, QLoRA 8.1 % at 2.7 % (2026-11)."""

SMALL_HEAD = 16_000_000
"""Weights of a head that gets a low-rank update by itself; tied heads never do."""

TRAINED_BYTES = 16
"""Bytes of a weight that learns in fp32: itself, its gradient, two moments."""

EMBEDDINGS_SHARE = 0.25
"""Embeddings and head learn whole while that takes no more than this part of the limit."""


def list_methods(spec: BaseSpec, recipe: TuneRecipe) -> tuple[Method, ...]:
    """Methods to try with a base, the best first."""
    if recipe.method != "auto":
        return (recipe.method,)
    if isinstance(recipe, PretrainRecipe):
        if recipe.start == "nothing":
            return ("full",)
        is_small = spec.num_parameters <= FULL_PARAMETERS
        return ("full", "qlora") if is_small else ("qlora",)
    return LADDER


def find_obstacle(spec: BaseSpec, method: Method, recipe: TuneRecipe) -> str:
    """Why a method cannot be used with a base at all; "" when it can."""
    if not spec.exportable:
        return f"cannot be exported: {spec.why_not}"
    if isinstance(recipe, PretrainRecipe) and recipe.start == "nothing" and method != "full":
        return "a model from nothing has to learn every weight"
    if method == "prompt" and isinstance(recipe, PretrainRecipe):
        return "a few virtual tokens cannot hold the language of a domain"
    if method == "prompt" and spec.context < 4 * recipe.virtual_tokens:
        return f"its context of {spec.context} is short for {recipe.virtual_tokens} virtual tokens"
    is_wider = isinstance(recipe, PretrainRecipe) and recipe.new_terms > 0
    if is_wider and method != "full" and (spec.tied or method == "adapter"):
        return "pretrain.new_terms asks for embeddings and a head that learn whole"
    if method == "adapter" and spec.model_type.startswith("phi3"):
        return "its gate and up matrices are one: a bottleneck cannot be merged"
    if method in ("qlora", "lora") and spec.tied:
        if isinstance(recipe, PretrainRecipe) and recipe.embeddings == "yes":
            return "pretrain.embeddings=yes, but head and embedding are one matrix"
        if recipe.head == "yes":
            return (
                "tune.head=yes, but head and embedding are one matrix: the update cannot be merged"
            )
    return ""


def tunes_head(spec: BaseSpec, method: Method, recipe: TuneRecipe) -> bool:
    """Whether the head gets a low-rank update."""
    if method not in ("qlora", "lora") or spec.tied or recipe.head == "no":
        return False
    return recipe.head == "yes" or spec.vocab_size * spec.width <= SMALL_HEAD


def tunes_embeddings(spec: BaseSpec, method: Method, recipe: TuneRecipe, limit_bytes: int) -> bool:
    """Whether embeddings and head learn whole beside a low-rank update.

    Args:
        spec: the base.
        method: of tuning.
        recipe: only one for pretraining asks for it.
        limit_bytes: what a plan may use of the device.
    """
    if not isinstance(recipe, PretrainRecipe) or method not in ("qlora", "lora") or spec.tied:
        return False
    fits = TRAINED_BYTES * count_embedding(spec) <= EMBEDDINGS_SHARE * limit_bytes
    is_needed = recipe.embeddings == "yes" or recipe.new_terms > 0
    return is_needed or (recipe.embeddings == "auto" and fits)
