"""A training run at work: weights, optimizer, counters, and the clock beside them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from appliance.dataset.pack import Pack
from appliance.events import CheckpointSaved, OnEvent, StepDone
from appliance.tuning.checkpoint import Counters, restore_weights, save_checkpoint
from appliance.tuning.health import RATE_FACTOR, go_back, remember_loss
from appliance.tuning.optimizer import build_optimizer
from appliance.tuning.ranks import Ranks
from appliance.tuning.resume import resume
from appliance.tuning.schedule import Schedule
from appliance.tuning.step import CausalModel, count_labels, count_tokens


@dataclass(kw_only=True, slots=True)
class TrainingRun:
    """What changes while a model is trained.

    Attributes:
        parameters: trainable tensors by name; `optimizer` updates them.
        counters: where the run stands.
        schedule: how long and how fast.
        folder: where checkpoints lie.
        measure: a clock, in seconds.
        ranks: which of several processes this is; the first saves.
        resumed_at: when this attempt began; `seconds_before` were spent by earlier ones.
        saved_at: when the last checkpoint was written.
        num_steps: made in this attempt; `num_tokens` were read in them.
    """

    parameters: dict[str, Tensor]
    optimizer: torch.optim.Optimizer
    counters: Counters
    schedule: Schedule
    folder: Path
    measure: Callable[[], float]
    ranks: Ranks
    resumed_at: float
    saved_at: float
    seconds_before: float
    num_steps: int = 0
    num_tokens: int = 0

    @property
    def rate_factor(self) -> float:
        """What the schedule's rates are multiplied by."""
        return RATE_FACTOR ** (self.counters.num_returns + self.counters.num_lowered)

    @property
    def is_last(self) -> bool:
        """Whether the last step of the schedule has been made."""
        return self.counters.step == self.schedule.num_steps

    def count_step(self, packs: Sequence[Pack], loss: float) -> None:
        """One more step was made."""
        tokens = count_tokens(packs)
        self.num_steps, self.num_tokens = self.num_steps + 1, self.num_tokens + tokens
        self.counters = dataclasses.replace(
            remember_loss(self.counters, loss),
            step=self.counters.step + 1,
            num_tokens=self.counters.num_tokens + tokens,
            num_labels=self.counters.num_labels + count_labels(packs),
        )

    def describe_step(self, loss: float, norm: float) -> StepDone:
        """The last step, its speed, and how long the rest will take."""
        step, schedule = self.counters.step, self.schedule
        spent = self.measure() - self.resumed_at
        return StepDone(
            step=step,
            num_steps=schedule.num_steps,
            loss=loss,
            lr=self.rate_factor * schedule.rate_at(step - 1),
            tokens_per_second=self.num_tokens / spent,
            seconds_left=spent / self.num_steps * (schedule.num_steps - step),
            gradient_norm=norm,
        )

    def go_back(self, illness: str, on_event: OnEvent) -> None:
        """Go on from the best checkpoint, at half the rate.

        Raises:
            FloatingPointError: it went back as often as it may.
        """
        self.counters, event = go_back(
            self._best, self.parameters, self.optimizer, self.counters, illness,
            self.schedule.num_returns,
        )  # fmt: skip
        on_event(event)
        self._save(self._latest)

    def save_best(self) -> None:
        """Keep this step as the one to go back to, and to end with."""
        self._save(self._best)

    def save_latest(self, on_event: OnEvent) -> None:
        """Keep this step as the one that a restart goes on from."""
        self.count_seconds()
        self._save(self._latest)
        self.saved_at = self.measure()
        on_event(CheckpointSaved(step=self.counters.step))

    def count_seconds(self) -> None:
        """Write the time spent into the counters."""
        seconds = self.seconds_before + self.measure() - self.resumed_at
        self.counters = dataclasses.replace(self.counters, seconds=seconds)

    def take_best(self) -> None:
        """Give the model the weights of its best step, if one was kept."""
        if self._best.exists():
            restore_weights(self._best, self.parameters)

    def _save(self, path: Path) -> None:
        if self.ranks.is_first:
            save_checkpoint(path, self.parameters, self.optimizer, self.counters)

    @property
    def _best(self) -> Path:
        return self.folder / "best.safetensors"

    @property
    def _latest(self) -> Path:
        return self.folder / "latest.safetensors"


def open_run(
    model: CausalModel,
    schedule: Schedule,
    folder: Path,
    measure: Callable[[], float],
    ranks: Ranks,
    on_event: OnEvent,
) -> TrainingRun:
    """A run from the last whole checkpoint in `folder`, or from the start if there is none.

    One that may go back keeps its start, for the time before its first held-out loss.
    """
    named = model.module.named_parameters()
    parameters: dict[str, Tensor] = {name: p for name, p in named if p.requires_grad}
    optimizer = build_optimizer(parameters, schedule)
    latest, best = folder / "latest.safetensors", folder / "best.safetensors"
    counters = resume(latest, best, parameters, optimizer, on_event, ranks)
    now = measure()
    run = TrainingRun(
        parameters=parameters,
        optimizer=optimizer,
        counters=counters,
        schedule=schedule,
        folder=folder,
        measure=measure,
        ranks=ranks,
        resumed_at=now,
        saved_at=now,
        seconds_before=counters.seconds,
    )
    if schedule.num_returns and counters.step == 0 and not best.exists():
        run.save_best()
    return run
