"""Whether training is well: losses that are no numbers, losses that jump, and what is done then.

A run that falls ill goes back to its last good checkpoint, the one of the lowest held-out loss, and
learns at half the rate from there. What decides is part of every checkpoint and falls at steps that
the schedule fixes, so a killed run goes back to the same step and ends with the same bits.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from appliance.events import WentBack
from appliance.tuning.checkpoint import Counters, restore_checkpoint

MEMORY = 0.1
"""Weight of the newest loss in the moving mean: it remembers about 20 steps."""

CALM_STEPS = 10
"""Losses that the mean must have seen before one of them can be told to jump."""

SPIKE_DEVIATIONS, SPIKE_SHARE = 6.0, 0.5
"""A loss jumps when it is above the mean by so many standard deviations and by this part of it.

Source: chosen, not fitted.
"""

JUMPS_IN_A_ROW = 2
"""One such loss may be a strange document, whose gradient is clipped; the next says it was not."""

RATE_FACTOR = 0.5
"""What the learning rate is multiplied by with every way back."""


def find_illness(counters: Counters, loss: float, gradient_norm: float) -> str:
    """What is wrong with a step, before its update is made; "" when nothing is.

    Args:
        counters: where the run stands, with mean and variance of the losses so far.
        loss: of this step, nats per supervised token.
        gradient_norm: of this step, before it was clipped.
    """
    if not math.isfinite(loss):
        return f"loss became {loss}"
    if not math.isfinite(gradient_norm):
        return f"the gradient became {gradient_norm}"
    if is_jump(counters, loss) and counters.num_jumps + 1 >= JUMPS_IN_A_ROW:
        return f"loss jumped from about {counters.loss_mean:.2f} to {loss:.2f}"
    return ""


def is_jump(counters: Counters, loss: float) -> bool:
    """Whether a loss is far above those before it."""
    limit = max(
        SPIKE_DEVIATIONS * math.sqrt(counters.loss_variance),
        SPIKE_SHARE * abs(counters.loss_mean),
    )
    return counters.num_calm >= CALM_STEPS and loss - counters.loss_mean > limit


def remember_loss(counters: Counters, loss: float) -> Counters:
    """The moving mean and variance with one more loss; one that jumps is only counted.

    Source: exponentially weighted variance, West 1979, "Updating mean and variance estimates".
    """
    if not counters.num_calm:
        return dataclasses.replace(counters, loss_mean=loss, num_calm=1)
    if is_jump(counters, loss):
        return dataclasses.replace(counters, num_jumps=counters.num_jumps + 1)
    away = loss - counters.loss_mean
    return dataclasses.replace(
        counters,
        loss_mean=counters.loss_mean + MEMORY * away,
        loss_variance=(1 - MEMORY) * (counters.loss_variance + MEMORY * away**2),
        num_calm=counters.num_calm + 1,
        num_jumps=0,
    )


def go_back(
    good: Path,
    parameters: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    ill: Counters,
    illness: str,
    times_at_most: int,
) -> tuple[Counters, WentBack]:
    """Take weights, moments and counters of the last good checkpoint.

    Args:
        good: that checkpoint.
        parameters: trainable tensors by name.
        optimizer: an AdamW over them.
        ill: where the run stands.
        illness: what is wrong with the next step.
        times_at_most: ways back that a run has.

    Returns:
        Where the run goes on, and what is to be told.

    Raises:
        FloatingPointError: it has gone back as often as it may.
    """
    if ill.num_returns >= times_at_most:
        again = f" after {ill.num_returns} ways back" if ill.num_returns else ""
        raise FloatingPointError(f"{illness} at step {ill.step + 1}{again}")
    optimizer.zero_grad(set_to_none=True)
    counters = dataclasses.replace(
        restore_checkpoint(good, parameters, optimizer), num_returns=ill.num_returns + 1
    )
    event = WentBack(
        step=ill.step + 1,
        to_step=counters.step,
        reason=illness,
        rate_factor=RATE_FACTOR**counters.num_returns,
        times=counters.num_returns,
        times_at_most=times_at_most,
    )
    return counters, event
