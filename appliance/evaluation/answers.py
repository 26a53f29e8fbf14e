"""Generated answers to held-out questions, and how much of the reference answer is in them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import torch

from appliance.tuning.model import DecoderModel

BATCH = 16
"""Questions answered at a time."""


@torch.no_grad()
def generate_answers(
    model: DecoderModel, prompts: Sequence[Sequence[int]], num_tokens: int, end: int | None
) -> list[list[int]]:
    """Greedy answers.

    Args:
        model: any model of the loop.
        prompts: token ids of each question, in the chat template.
        num_tokens: tokens of an answer at most.
        end: token that ends an answer, if the base has one.

    Returns:
        Token ids of each answer, without the end token.
    """
    answers: list[list[int]] = []
    pad = 0 if end is None else end  # fills short prompts on the left, where the mask hides it
    device = next(model.module.parameters()).device
    for first in range(0, len(prompts), BATCH):
        batch = prompts[first : first + BATCH]
        longest = max(map(len, batch))
        ids_BT = torch.tensor([[pad] * (longest - len(p)) + list(p) for p in batch], device=device)
        mask_BT = torch.tensor(
            [[0] * (longest - len(p)) + [1] * len(p) for p in batch], device=device
        )
        out_BT = model.module.generate(
            input_ids=ids_BT,
            attention_mask=mask_BT,
            max_new_tokens=num_tokens,
            do_sample=False,
            eos_token_id=end,
            pad_token_id=pad,
        )
        for row in out_BT[:, longest:].tolist():
            answers.append(row[: row.index(end)] if end in row else row)
    return answers


def measure_overlap(answer: str, reference: str) -> float:
    """F1 of the words that an answer shares with the reference, 0 to 1.

    Source: the measure of SQuAD, Rajpurkar et al. 2016, arXiv:1606.05250.
    """
    ours, theirs = _words(answer), _words(reference)
    shared = sum((Counter(ours) & Counter(theirs)).values())
    return 2 * shared / (len(ours) + len(theirs)) if shared else 0.0


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())
