"""Whether a corpus is large enough for continued pretraining to be worth its time."""

from __future__ import annotations

from appliance.units import format_count

LITTLE_TOKENS = 100_000
"""Below, hardly more than the wording is learned."""

ENOUGH_TOKENS = 10_000_000
"""From here on facts stick that are told in several places.

Source for both: assumed. Below the first, what continued pretraining gains on unseen text comes
back from search at once and exactly; a fact is learned after it was read tens of times in other
words (Allen-Zhu & Li 2023, arXiv:2309.14316), which small corpora do not have.
"""


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
