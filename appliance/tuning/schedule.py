"""How long and how fast a run learns, and when it is over."""

from __future__ import annotations

from dataclasses import dataclass

from appliance.tuning.checkpoint import Counters
from appliance.tuning.drift import has_ended


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """How long and how fast to learn.

    Attributes:
        num_steps: optimizer updates.
        peak_lr: learning rate after the warm-up.
        warmup_steps: steps of linear rise.
        decay_steps: last steps, in which the rate falls linearly to nought.
        weight_decay: decoupled, on matrices only.
        betas: AdamW's decay rates.
        clip_norm: largest norm of the gradient.
        evaluate_every: steps between held-out losses; 0 for none.
        checkpoint_seconds: time between checkpoints.
        stop_after_worse: held-out losses in a row without a new best that end the run; 0 for never.
        embedding_rate: learning rate of embeddings and head, as a share of the others'.
        lora_b_rate: learning rate of B in low-rank updates, as a multiple of A's.
        num_returns: times a run that falls ill may go back to its last good checkpoint; at 0 only a
            loss that is no number ends it, and jumps are not looked for.
    """

    num_steps: int
    peak_lr: float
    warmup_steps: int
    decay_steps: int
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.99)
    clip_norm: float = 1.0
    evaluate_every: int = 0
    checkpoint_seconds: float = 60.0
    stop_after_worse: int = 0
    embedding_rate: float = 1.0
    lora_b_rate: float = 1.0
    num_returns: int = 0

    def rate_at(self, step: int) -> float:
        """Learning rate of a step, counted from 0.

        Source: trapezoidal schedule, Hägele et al. 2024, arXiv:2405.18392.
        """
        rise = (step + 1) / self.warmup_steps if self.warmup_steps else 1.0
        fall = (self.num_steps - step) / self.decay_steps if self.decay_steps else 1.0
        return self.peak_lr * min(1.0, rise, fall)

    def is_due(self, step: int) -> bool:
        """Whether the run is looked at after so many steps."""
        return bool(self.evaluate_every) and step % self.evaluate_every == 0


def is_over(counters: Counters, schedule: Schedule) -> bool:
    """Whether the schedule has ended, nothing more is learned, or too much is forgotten."""
    stopped = schedule.stop_after_worse and counters.num_worse >= schedule.stop_after_worse
    return counters.step >= schedule.num_steps or bool(stopped) or has_ended(counters)
