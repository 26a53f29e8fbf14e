"""What a model says next: greedy, so that it is repeatable. How it says it is judged elsewhere.

Letters: B prompts at a time, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

BATCH = 16
"""Prompts continued at a time."""


@torch.no_grad()
def generate(
    module: PreTrainedModel, prompts: Sequence[Sequence[int]], num_tokens: int, end: int | None
) -> list[list[int]]:
    """Continue prompts, each with the likeliest token at every place.

    Args:
        module: a causal language model, with or without adapters.
        prompts: token ids, in the chat template if it has one.
        num_tokens: tokens added at most.
        end: token that ends a continuation, if the base has one.

    Returns:
        Token ids of each continuation, without the end token.
    """
    said: list[list[int]] = []
    pad = 0 if end is None else end  # fills short prompts on the left, where the mask hides it
    device = next(module.parameters()).device
    for first in range(0, len(prompts), BATCH):
        batch = prompts[first : first + BATCH]
        longest = max(map(len, batch))
        ids_BT = torch.tensor([[pad] * (longest - len(p)) + list(p) for p in batch], device=device)
        mask_BT = torch.tensor(
            [[0] * (longest - len(p)) + [1] * len(p) for p in batch], device=device
        )
        out_BT = module.generate(
            input_ids=ids_BT,
            attention_mask=mask_BT,
            max_new_tokens=num_tokens,
            do_sample=False,
            eos_token_id=end,
            pad_token_id=pad,
        )
        for row in out_BT[:, longest:].tolist():
            said.append(row[: row.index(end)] if end in row else row)
    return said
