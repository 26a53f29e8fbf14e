"""Attention that stays inside each segment of a pack.

Letters: B batch (always 1 while training), H heads, T tokens, P keys, K head width.

The stock path contaminates packed examples silently unless the cache is off and no mask is given,
so the program brings its own attention function: causal attention run once per segment, without
any mask of the pack. What some families add, a sliding window and a soft cap on the scores, comes
as arguments, for no stock mask carries it here. Registered under one name; every model that the
program trains is loaded with it.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

IMPLEMENTATION = "segmented"
"""Value of `attn_implementation` for models that read packs."""

CAPPED_ROWS = 128
"""Queries whose soft-capped scores are held at a time: no fused kernel caps, and all scores of a
long example would need more memory than is planned."""


def attend_segments(
    module: torch.nn.Module,
    query_BHTK: torch.Tensor,
    key_BHPK: torch.Tensor,
    value_BHPK: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    segments: tuple[tuple[int, int], ...] | None = None,
    places_T: torch.Tensor | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention inside every segment.

    Args:
        module: the attention layer.
        query_BHTK: queries.
        key_BHPK: keys; may have fewer heads than the queries.
        value_BHPK: values; as the keys.
        attention_mask: a mask for generation with left padding; None while training.
        scaling: factor on the scores; 1/sqrt(K) when None.
        segments: (start, end) of each example; None means that the row is one example.
        places_T: positions, where a mask lets tokens stand in another order; a window counts them.
        sliding_window: keys that a query sees, itself among them; all before it when None.
        softcap: scores become softcap · tanh(score / softcap).
        s_aux: attention sinks, which are not computed here.

    Returns:
        Attended values, shape (B, T, H, K), and None in place of attention weights.

    Raises:
        NotImplementedError: the layer has attention sinks.
    """
    if s_aux is not None:
        raise NotImplementedError("attention sinks are not computed in packs")
    if not (places_T is None or attention_mask is None or sliding_window is None):
        attention_mask = attention_mask & (places_T[:, None] - places_T < sliding_window)
    how = (attention_mask, scaling, sliding_window, softcap)
    if segments is None:
        out_BHTK = _attend(query_BHTK, key_BHPK, value_BHPK, *how)
        return out_BHTK.transpose(1, 2).contiguous(), None
    # split in the layout in which the products lie: its gradient is one copy, where that of slices
    # is a full row of noughts for every segment
    lengths = [end - start for start, end in segments]
    split = (
        torch.split(heads_BHTK.transpose(1, 2), lengths, 1)
        for heads_BHTK in (query_BHTK, key_BHPK, value_BHPK)
    )
    parts = [
        _attend(
            query_BTHK.transpose(1, 2), key_BTHK.transpose(1, 2), value_BTHK.transpose(1, 2), *how
        ).transpose(1, 2)
        for query_BTHK, key_BTHK, value_BTHK in zip(*split, strict=True)
    ]
    return torch.cat(parts, dim=1).contiguous(), None


def make_mask(
    num_queries: int, num_keys: int, window: int | None, device: torch.device
) -> torch.Tensor | None:
    """Which keys (P) each of the last queries (T) sees; None for plain causal attention.

    Args:
        num_queries: T.
        num_keys: P; the keys before the first query come from a cache.
        window: keys that a query sees, itself among them.
        device: of the mask.
    """
    if num_queries == num_keys and (window is None or num_keys <= window):
        return None
    seen_by_T1 = torch.arange(num_keys - num_queries, num_keys, device=device)[:, None]
    key_P = torch.arange(num_keys, device=device)
    mask_TP = key_P <= seen_by_T1
    if window is not None:
        mask_TP &= key_P > seen_by_T1 - window
    return mask_TP


def _attend(
    query_BHTK: torch.Tensor,
    key_BHPK: torch.Tensor,
    value_BHPK: torch.Tensor,
    mask: torch.Tensor | None,
    scaling: float | None,
    window: int | None,
    softcap: float | None,
) -> torch.Tensor:
    if softcap is not None:
        return _attend_capped(query_BHTK, key_BHPK, value_BHPK, mask, scaling, window, softcap)
    if mask is None:
        mask = make_mask(query_BHTK.shape[2], key_BHPK.shape[2], window, query_BHTK.device)
    return F.scaled_dot_product_attention(
        query_BHTK,
        key_BHPK,
        value_BHPK,
        attn_mask=mask,
        is_causal=mask is None,
        scale=scaling,
        enable_gqa=query_BHTK.shape[1] != key_BHPK.shape[1],
    )


def _attend_capped(
    query_BHTK: torch.Tensor,
    key_BHPK: torch.Tensor,
    value_BHPK: torch.Tensor,
    mask: torch.Tensor | None,
    scaling: float | None,
    window: int | None,
    softcap: float,
) -> torch.Tensor:
    """Attention with capped scores, some queries at a time; they are computed again backwards."""
    num_queries, num_keys = query_BHTK.shape[2], key_BHPK.shape[2]
    shared = query_BHTK.shape[1] // key_BHPK.shape[1]
    key_BHPK = key_BHPK.repeat_interleave(shared, dim=1)
    value_BHPK = value_BHPK.repeat_interleave(shared, dim=1)
    if mask is None:
        mask = make_mask(num_queries, num_keys, window, query_BHTK.device)
    if mask is None:
        mask = torch.ones(num_queries, num_keys, dtype=torch.bool, device=query_BHTK.device).tril()
    scale = query_BHTK.shape[-1] ** -0.5 if scaling is None else scaling
    out = []
    for start in range(0, num_queries, CAPPED_ROWS):
        rows = slice(start, start + CAPPED_ROWS)
        part = (query_BHTK[:, :, rows], key_BHPK, value_BHPK, mask[..., rows, :], scale, softcap)
        out.append(checkpoint(_attend_rows, *part, use_reentrant=False))
    return torch.cat(out, dim=2)


def _attend_rows(
    query_BHTK: torch.Tensor,
    key_BHPK: torch.Tensor,
    value_BHPK: torch.Tensor,
    mask: torch.Tensor,
    scale: float,
    softcap: float,
) -> torch.Tensor:
    scores_BHTP = softcap * torch.tanh(query_BHTK @ key_BHPK.mT * (scale / softcap))
    if mask.dtype == torch.bool:
        scores_BHTP = scores_BHTP.masked_fill(~mask, torch.finfo(scores_BHTP.dtype).min)
    else:
        scores_BHTP = scores_BHTP + mask
    return scores_BHTP.float().softmax(dim=-1).to(value_BHPK.dtype) @ value_BHPK


def _mask_for_generation(*args: Any, **kwargs: Any) -> torch.Tensor | None:
    """The SDPA mask, but only where a padding mask asks for one: packs need none."""
    if kwargs.get("attention_mask") is None:
        return None
    mask: torch.Tensor | None = ALL_MASK_ATTENTION_FUNCTIONS["sdpa"](*args, **kwargs)
    return mask


ALL_ATTENTION_FUNCTIONS.register(IMPLEMENTATION, attend_segments)
ALL_MASK_ATTENTION_FUNCTIONS.register(IMPLEMENTATION, _mask_for_generation)
