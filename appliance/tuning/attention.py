"""Attention that stays inside each segment of a pack.

Letters: B batch (always 1), H heads, T tokens, K head width.

The stock path contaminates packed examples silently unless the cache is off and no mask is given,
so the program brings its own attention function: causal attention run once per segment, without
any mask. Registered under one name; every model that the program trains is loaded with it.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

IMPLEMENTATION = "segmented"
"""Value of `attn_implementation` for models that read packs."""


def attend_segments(
    module: torch.nn.Module,
    query_BHTK: torch.Tensor,
    key_BHTK: torch.Tensor,
    value_BHTK: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    segments: tuple[tuple[int, int], ...] | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention inside every segment.

    Args:
        module: the attention layer (tells how many query heads share a key head).
        query_BHTK: queries.
        key_BHTK: keys; may have fewer heads than the queries.
        value_BHTK: values; as the keys.
        attention_mask: a mask for generation with left padding; None while training.
        scaling: factor on the scores; 1/sqrt(K) when None.
        segments: (start, end) of each example; None means that the row is one example.

    Returns:
        Attended values, shape (B, T, H, K), and None in place of attention weights.
    """
    shared = query_BHTK.shape[1] != key_BHTK.shape[1]
    if segments is None:
        out_BHTK = F.scaled_dot_product_attention(
            query_BHTK,
            key_BHTK,
            value_BHTK,
            attn_mask=attention_mask,
            is_causal=attention_mask is None and query_BHTK.shape[2] == key_BHTK.shape[2],
            scale=scaling,
            enable_gqa=shared,
        )
        return out_BHTK.transpose(1, 2).contiguous(), None
    # split in the layout in which the products lie: its gradient is one copy, where that of slices
    # is a full row of noughts for every segment
    lengths = [end - start for start, end in segments]
    split = (
        torch.split(heads_BHTK.transpose(1, 2), lengths, 1)
        for heads_BHTK in (query_BHTK, key_BHTK, value_BHTK)
    )
    parts = [
        F.scaled_dot_product_attention(
            query_BTHK.transpose(1, 2),
            key_BTHK.transpose(1, 2),
            value_BTHK.transpose(1, 2),
            is_causal=True,
            scale=scaling,
            enable_gqa=shared,
        ).transpose(1, 2)
        for query_BTHK, key_BTHK, value_BTHK in zip(*split, strict=True)
    ]
    return torch.cat(parts, dim=1).contiguous(), None


def _mask_for_generation(*args: Any, **kwargs: Any) -> torch.Tensor | None:
    """The SDPA mask, but only where a padding mask asks for one: packs need none."""
    if kwargs.get("attention_mask") is None:
        return None
    mask: torch.Tensor | None = ALL_MASK_ATTENTION_FUNCTIONS["sdpa"](*args, **kwargs)
    return mask


ALL_ATTENTION_FUNCTIONS.register(IMPLEMENTATION, attend_segments)
ALL_MASK_ATTENTION_FUNCTIONS.register(IMPLEMENTATION, _mask_for_generation)
