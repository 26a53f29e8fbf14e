"""Cross entropy of a language-model head, without ever holding all logits.

Letters: N positions that have a label, D model width, V vocabulary.

The head and the loss are one operation: rows are taken in chunks that stay in cache, the gradient
of the hidden states (and of the head, when it learns) is computed in the forward pass, and the
logits of a chunk are gone before the next chunk begins.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

CHUNK_BYTES = 32 * 2**20
"""Bytes of fp32 logits held at a time on the CPU: a few MiB stay in a core's cache."""

CHUNK_BYTES_CUDA = 256 * 2**20
"""The same on a GPU, where a chunk must be large enough to fill the device."""


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden_ND: Tensor, head_VD: Tensor, labels_N: Tensor, cap: float | None
    ) -> Tensor:
        budget = CHUNK_BYTES_CUDA if hidden_ND.is_cuda else CHUNK_BYTES
        rows = max(16, budget // (4 * head_VD.shape[0]))
        needs_hidden, needs_head = ctx.needs_input_grad[0], ctx.needs_input_grad[1]
        grad_hidden_ND = torch.empty_like(hidden_ND) if needs_hidden else None
        grad_head_VD = torch.zeros_like(head_VD) if needs_head else None
        total = torch.zeros((), dtype=torch.float32, device=hidden_ND.device)
        for start in range(0, hidden_ND.shape[0], rows):
            part = slice(start, start + rows)
            hidden_nD = hidden_ND[part]
            scores_nV = cap_scores((hidden_nD @ head_VD.t()).float(), cap)
            # d capped / d score = 1 - (capped / cap)²
            slope_nV = None if cap is None else 1 - (scores_nV / cap).square_()
            label_n1 = labels_N[part, None]
            label_score_n1 = scores_nV.gather(1, label_n1)
            highest_n1 = scores_nV.amax(dim=1, keepdim=True)
            odds_nV = scores_nV.sub_(highest_n1).exp_()
            sum_n1 = odds_nV.sum(dim=1, keepdim=True)
            total += (sum_n1.log() + highest_n1 - label_score_n1).sum()
            if not (needs_hidden or needs_head):
                continue
            # d loss / d score = softmax - one_hot(label)
            grad_nV = odds_nV.div_(sum_n1)
            grad_nV.scatter_add_(1, label_n1, torch.full_like(sum_n1, -1.0))
            if slope_nV is not None:
                grad_nV.mul_(slope_nV)
            grad_nV = grad_nV.to(hidden_ND.dtype)
            if grad_hidden_ND is not None:
                torch.mm(grad_nV, head_VD, out=grad_hidden_ND[part])
            if grad_head_VD is not None:
                grad_head_VD.addmm_(grad_nV.t(), hidden_nD)
        ctx.save_for_backward(
            *(grad for grad in (grad_hidden_ND, grad_head_VD) if grad is not None)
        )
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        scale = grads[0]
        saved = list(ctx.saved_tensors)
        grad_hidden_ND = saved.pop(0) * scale if ctx.needs_input_grad[0] else None
        grad_head_VD = saved.pop(0) * scale if ctx.needs_input_grad[1] else None
        return grad_hidden_ND, grad_head_VD, None, None


def cap_scores(scores: Tensor, cap: float | None) -> Tensor:
    """Scores within ±cap, as Gemma 2 computes them; the same scores without a cap."""
    return scores if cap is None else cap * torch.tanh(scores / cap)


def sum_cross_entropy(
    hidden_ND: Tensor, head_VD: Tensor, labels_N: Tensor, cap: float | None = None
) -> Tensor:
    """Sum of the negative log-likelihoods of the labels, in nats.

    Args:
        hidden_ND: final hidden states of the positions that have a label.
        head_VD: weight of the head; its gradient is computed only if it asks for one.
        labels_N: int64 token ids.
        cap: bound of the scores; None for none.

    Returns:
        A scalar, fp32; divide by the labels of the whole step to get the loss.

    Source: chunked linear cross entropy after Wijmans et al. 2024, "Cut Your Losses in
    Large-Vocabulary Language Models", arXiv:2411.09009 (the idea, not the kernel).
    """
    loss: Tensor = _LinearCrossEntropy.apply(  # type: ignore[no-untyped-call]
        hidden_ND, head_VD, labels_N, cap
    )
    return loss


@torch.no_grad()
def measure_each(
    hidden_ND: Tensor, head_VD: Tensor, labels_N: Tensor, cap: float | None = None
) -> Tensor:
    """Negative log-likelihood of every label by itself, in nats, shape (N,), fp32.

    Args:
        hidden_ND: final hidden states of the positions that have a label.
        head_VD: weight of the head.
        labels_N: int64 token ids.
        cap: bound of the scores; None for none.
    """
    budget = CHUNK_BYTES_CUDA if hidden_ND.is_cuda else CHUNK_BYTES
    rows = max(16, budget // (4 * head_VD.shape[0]))
    losses = [torch.zeros(0, device=hidden_ND.device)]
    for start in range(0, hidden_ND.shape[0], rows):
        part = slice(start, start + rows)
        scores_nV = cap_scores((hidden_ND[part] @ head_VD.t()).float(), cap)
        losses.append(
            torch.nn.functional.cross_entropy(scores_nV, labels_N[part], reduction="none")
        )
    return torch.cat(losses)
