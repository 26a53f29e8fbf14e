"""A first guess for a model from nothing: the bigram statistics of its text.

Letters: V vocabulary, D model width, N tokens.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedModel

MAX_VOCABULARY = 8192
"""Up to this many tokens pairs are counted: the table is dense, 256 MiB at this size."""

_STRENGTH = 50.0
"""Pseudo-counts of the unigram: rare tokens fall back on it."""

_EMBEDDING_SCALE = 0.2


def count_pairs(texts: Iterable[list[int]], vocab_size: int) -> npt.NDArray[np.float32]:
    """How often each token follows each other one, shape (V, V), in texts as ids."""
    counts_VV = np.zeros((vocab_size, vocab_size), dtype=np.float32)
    for ids in texts:
        ids_N = np.asarray(ids, dtype=np.int64)
        np.add.at(counts_VV, (ids_N[:-1], ids_N[1:]), 1)
    return counts_VV


@torch.no_grad()
def start_from_bigrams(
    model: PreTrainedModel, counts_VV: npt.NDArray[np.float32], seed: int
) -> None:
    """Set embeddings and head so that their product fits log P(next | token).

    Rows of the embedding are left singular vectors of the centred log-probabilities; the head is
    the least-squares fit to them, weighted by how often a token occurs. The layers between begin as
    the identity (their output projections are nought), so the model's first guess is as good as a
    bigram model's; the loss before any step is 6 nats instead of 9 (decision 0011).

    Args:
        model: a Llama with an untied head; its weights are changed.
        counts_VV: see `count_pairs`.
        seed: of the randomized factorization.
    """
    width, vocab_size = model.config.hidden_size, len(counts_VV)
    unigram_V = (counts_VV.sum(0) + 1) / (counts_VV.sum() + vocab_size)
    totals_V = counts_VV.sum(1)
    smoothed_VV = (counts_VV + _STRENGTH * unigram_V) / (totals_V[:, None] + _STRENGTH)
    target_VV = torch.from_numpy(np.log(smoothed_VV))
    weight_V = torch.from_numpy(np.sqrt(totals_V + 1.0))
    mean_V = (target_VV * weight_V[:, None] ** 2).sum(0) / (weight_V**2).sum()
    torch.manual_seed(seed)
    rank = min(width - 1, vocab_size)
    left_VR, scale_R, _ = torch.svd_lowrank(
        (target_VV - mean_V) * weight_V[:, None], q=rank, niter=4
    )
    rows_VD = torch.zeros(vocab_size, width)
    rows_VD[:, :rank] = left_VR * scale_R / weight_V[:, None]
    rows_VD[:, -1] = rows_VD[:, :rank].norm(dim=1).mean()
    rows_VD /= rows_VD.pow(2).mean(dim=1, keepdim=True).sqrt()
    weighted_VD = rows_VD * weight_V[:, None]
    ridge_DD = 1e-3 * weight_V.pow(2).sum() * torch.eye(width)
    gram_DD = weighted_VD.T @ weighted_VD + ridge_DD
    head_VD = torch.linalg.solve(gram_DD, weighted_VD.T @ (target_VV * weight_V[:, None])).T
    model.get_input_embeddings().weight.copy_(_EMBEDDING_SCALE * rows_VD)
    model.get_output_embeddings().weight.copy_(head_VD)
    for layer in model.get_decoder().layers:
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()
