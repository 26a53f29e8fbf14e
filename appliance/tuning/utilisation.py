"""How much of the machine training used: FLOPs it spent a second beside those of plain products."""

from __future__ import annotations

import torch

from appliance.hardware.benchmark import measure_products
from appliance.planning.training import read_training
from appliance.planning.work import count_flops
from appliance.values import BaseSpec, TrainPlan

SECONDS = 0.4
"""Time for the products that training is held against."""

SIZES = {"cpu": (512, 1024), "cuda": (2048, 4096)}
"""Widths of the matrices that are multiplied."""


def measure_utilisation(spec: BaseSpec, plan: TrainPlan, tokens_per_second: float) -> float:
    """Hardware FLOPs utilisation, 0 to 1.

    What is computed twice counts twice, held-out losses and checkpoints count as idle time.

    Args:
        spec: the base.
        plan: method, sizes and device; torch runs with its threads already.
        tokens_per_second: of training.

    Source: Chowdhery et al. 2022, arXiv:2204.02311, appendix B.
    """
    training = read_training(plan)
    dtype: torch.dtype = getattr(torch, plan.compute_dtype)
    peak = measure_products(dtype, torch.device(plan.device), SECONDS, SIZES[training.kind])
    return tokens_per_second * count_flops(spec, training) / peak
