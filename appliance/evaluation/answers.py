"""Generated answers to questions; what is in them is judged elsewhere (`overlap.py`)."""

from __future__ import annotations

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
