"""The optimizer: which weights are decayed, and which learn at a rate of their own."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from appliance.tuning.schedule import Schedule


def build_optimizer(parameters: Mapping[str, Tensor], schedule: Schedule) -> torch.optim.AdamW:
    """AdamW over the trainable weights; vectors are not decayed, some have their own rate.

    Source: Loshchilov & Hutter 2019, arXiv:1711.05101; a rate of its own for B: LoRA+, Hayou et al.
    2024, arXiv:2402.12354.
    """
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, value in parameters.items():
        decay = schedule.weight_decay if value.ndim >= 2 else 0.0
        share = schedule.embedding_rate if _is_embedding(name) else 1.0
        share = schedule.lora_b_rate if "lora_B" in name else share
        groups.setdefault((decay, share), []).append(value)
    return torch.optim.AdamW(
        [
            {"params": params, "weight_decay": decay, "share": share}
            for (decay, share), params in groups.items()
        ],
        lr=schedule.peak_lr,
        betas=schedule.betas,
        fused=True,
    )


def set_rate(optimizer: torch.optim.Optimizer, factor: float, rate: float) -> None:
    """Set the learning rate of every group of weights: its share of `factor` times `rate`."""
    for group in optimizer.param_groups:
        group["lr"] = factor * group["share"] * rate


def _is_embedding(name: str) -> bool:
    """Whether a weight has a row for every token; low-rank updates of such do not count."""
    return ("embed_tokens" in name or "lm_head" in name) and "lora_" not in name
