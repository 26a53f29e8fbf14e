"""Whether a corpus is large enough for continued pretraining to be worth its time."""

from __future__ import annotations

from appliance.recipe import PretrainRecipe
from appliance.units import format_count, format_seconds
from appliance.values import BaseSpec, TextDataset, TrainPlan

LITTLE_TOKENS = 100_000
"""Below, hardly more than the wording is learned."""

ENOUGH_TOKENS = 10_000_000
"""From here on facts stick that are told in several places.

Source: assumed, between measured gains on unseen text of 7 % (91 k tokens of law) and 13 % (229 k
of 18F), embedded base, November 2026. Below the first, what is gained comes back from search at
once and exactly; a fact is learned after it was read tens of times in other words (Allen-Zhu & Li
2023, arXiv:2309.14316), which small corpora do not have.
"""

BEST_TOKENS_PER_WEIGHT = 20
"""That a model from nothing should read. Source: Hoffmann et al. 2022, arXiv:2203.15556."""


def judge_text(
    text: TextDataset, plan: TrainPlan, spec: BaseSpec, recipe: PretrainRecipe
) -> tuple[str, str]:
    """What will be read and how long it takes, and whether that is worth it, for people.

    Args:
        text: what there is to learn.
        plan: of the training.
        spec: the base.
        recipe: tells whether the base is new.
    """
    num_tokens, times = text.num_read, plan.num_epochs
    read = "once" if times == 1 else f"{times} times"
    cost = (
        f"{num_tokens:,} tokens read {read}, about {format_seconds(plan.seconds['tune'])} of "
        f"training, {format_seconds(sum(plan.seconds.values()))} with all that follows"
    )
    if recipe.start == "nothing":
        return cost, judge_new_base(num_tokens * times, spec.num_parameters)
    return cost, judge_corpus(text.dataset.train.num_labels)


def judge_new_base(num_read: int, num_parameters: int) -> str:
    """Whether a model from nothing has enough to read, in a sentence for people.

    Args:
        num_read: tokens, over all epochs.
        num_parameters: of the model.
    """
    share = num_read / num_parameters
    size = f"{share:.2g} tokens for a weight"
    if share < 1:
        return (
            f"{size} are far too little: it learns which words follow each other and hardly more; "
            "a base that is there knows more (leave pretrain.start out)"
        )
    if share < BEST_TOKENS_PER_WEIGHT:
        best = num_read // BEST_TOKENS_PER_WEIGHT
        return (
            f"{size}, and {BEST_TOKENS_PER_WEIGHT} would be best: more text helps more than a "
            f"larger shape; for this text, about {format_count(best)} weights"
        )
    return f"{size} are enough: a larger shape would learn more from this text"


def judge_corpus(num_tokens: int) -> str:
    """What a corpus of so many training tokens is good for, in a sentence for people.

    Args:
        num_tokens: of the training split.
    """
    size = format_count(num_tokens)
    if num_tokens < LITTLE_TOKENS:
        return (
            f"{size} tokens are too little to be worth pretraining on: search over the documents "
            "answers from them exactly and at once, and `appliance tune` learns their tone"
        )
    if num_tokens < ENOUGH_TOKENS:
        return (
            f"{size} tokens teach wording and terms, hardly facts: for questions about "
            "facts, search the documents, or go on with `appliance tune`"
        )
    return f"{size} tokens are enough to learn a domain's language, and facts it tells often"
