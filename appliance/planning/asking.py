"""How long a base will write questions and answers (`dataset.pairs_by_base`), before it begins."""

from __future__ import annotations

from appliance.values import Dataset, TrainPlan

READS = 2
"""Times that the base reads a passage: to ask, and to answer."""

MAX_PASSAGES = 2_000
"""As many as are shown to it: MAX_PASSAGES of `asking/ask.py`."""

WRITTEN_TOKENS = 48 + 96
"""Tokens of a question and an answer at most: QUESTION_TOKENS and ANSWER_TOKENS there."""

FORWARD_PER_STEP = 3
"""Tokens read in the time of one that is trained on: a step is a forward pass and two like it."""

READ_PER_WRITTEN = 8
"""Tokens read in the time of one that is written. Source: assumed (a batch of 8 reads all weights
for 8 tokens); it errs on the slow side, as most answers end early."""


def estimate_asking(plan: TrainPlan, dataset: Dataset) -> float:
    """Seconds that the base will be asked for, from the speed that its training is planned with.

    Args:
        plan: of the same base on the same device.
        dataset: whose training passages it is shown.
    """
    if plan.speed is None:
        return 0.0
    num_examples = max(1, dataset.train.num_examples)
    num_passages = min(MAX_PASSAGES, dataset.train.kinds.get("passage", 0))
    read = READS * num_passages * dataset.train.num_tokens / num_examples
    written = READ_PER_WRITTEN * num_passages * WRITTEN_TOKENS
    return (read + written) / (FORWARD_PER_STEP * plan.speed.tokens_per_second)
