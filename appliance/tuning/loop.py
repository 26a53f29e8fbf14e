"""The training loop: one `fit` for every method, for fine-tuning and for pretraining.

It knows a model, packs and a schedule. Which weights learn is decided before (`methods/`), what a
step reads is decided in `dataset/pack.py`, and what happens to the result comes after.

Letters: T tokens of a pack, N labelled positions, D model width, V vocabulary.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from appliance.dataset.pack import IGNORED, Pack
from appliance.events import CheckpointSaved, HeldOut, Note, OnEvent, ShouldStop, StepDone
from appliance.tuning.checkpoint import (
    Counters,
    restore_checkpoint,
    restore_weights,
    save_checkpoint,
)
from appliance.tuning.drift import GeneralText, answer_drift, describe_answer, has_ended
from appliance.tuning.health import RATE_FACTOR, find_illness, go_back, remember_loss
from appliance.tuning.loss import sum_cross_entropy


class CausalModel(Protocol):
    """What the loop asks of a model: hidden states of a pack, and the weight of its head."""

    @property
    def module(self) -> nn.Module:
        """The module that owns the parameters."""

    def read_hidden(self, pack: Pack) -> Tensor:
        """Final hidden states of a pack, shape (T, D)."""

    def read_head(self) -> Tensor:
        """Weight of the language-model head, shape (V, D), with whatever is attached to it."""


class Batches(Protocol):
    """What the loop asks of its data: the packs of a step, by number."""

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps that read everything once."""

    def read_step(self, step: int) -> list[Pack]:
        """Packs of one optimizer step, counted from 0 over all epochs."""


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


def fit(
    model: CausalModel,
    batches: Batches,
    schedule: Schedule,
    *,
    folder: Path,
    held_out: Sequence[Pack] = (),
    general: GeneralText | None = None,
    on_event: OnEvent,
    should_stop: ShouldStop,
    measure: Callable[[], float] = time.perf_counter,
) -> Counters:
    """Train until the schedule ends, from the last checkpoint in `folder` if there is one.

    On return the model holds the weights of the lowest held-out loss, of those that kept general
    text within its limit if any did (the last weights without `held_out`). Killed anywhere and
    called again with the same arguments, it ends with the same bits on the same processor.

    Args:
        model: its trainable parameters are updated in place.
        batches: what a step reads.
        schedule: how long and how fast.
        folder: where checkpoints lie; emptied by nobody but the caller.
        held_out: packs whose loss decides which step was best.
        general: what must not be forgotten; None for whatever comes.
        on_event: gets StepDone, HeldOut, Note, WentBack and CheckpointSaved.
        should_stop: asked before each step; True leaves after a checkpoint.
        measure: a clock, in seconds.

    Returns:
        Where the run stands; `step < num_steps` when it was asked to stop, or stopped learning.

    Raises:
        FloatingPointError: training fell ill once more than the schedule allows.
    """
    parameters = {n: p for n, p in model.module.named_parameters() if p.requires_grad}
    optimizer = build_optimizer(parameters, schedule)
    latest, best = folder / "latest.safetensors", folder / "best.safetensors"
    counters = restore_checkpoint(latest, parameters, optimizer) if latest.exists() else Counters()
    saved_at = resumed_at = measure()
    resumed, steps_here, tokens_here = counters, 0, 0
    if schedule.num_returns and counters.step == 0 and not best.exists():
        save_checkpoint(best, parameters, optimizer, counters)
    while not is_over(counters, schedule) and not should_stop():
        packs = batches.read_step(counters.step)
        replayed = general.replay.read_step(counters.step, counters.replay_share) if general else []
        factor = RATE_FACTOR ** (counters.num_returns + counters.num_lowered)
        for group in optimizer.param_groups:
            group["lr"] = factor * group["share"] * schedule.rate_at(counters.step)
        loss = _add_gradients(model, packs, replayed)
        norm = float(nn.utils.clip_grad_norm_(parameters.values(), schedule.clip_norm))
        illness = find_illness(counters, loss, norm)
        if illness and (schedule.num_returns or not math.isfinite(loss + norm)):
            most = schedule.num_returns
            counters, event = go_back(best, parameters, optimizer, counters, illness, most)
            on_event(event)
            save_checkpoint(latest, parameters, optimizer, counters)
            continue
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        num_tokens = sum(len(pack.token_ids_T) for pack in [*packs, *replayed])
        steps_here, tokens_here = steps_here + 1, tokens_here + num_tokens
        counters = dataclasses.replace(
            remember_loss(counters, loss),
            step=counters.step + 1,
            num_tokens=counters.num_tokens + num_tokens,
            num_labels=counters.num_labels + _count_labels([*packs, *replayed]),
        )
        spent = measure() - resumed_at
        on_event(
            StepDone(
                step=counters.step,
                num_steps=schedule.num_steps,
                loss=loss,
                lr=factor * schedule.rate_at(counters.step - 1),
                tokens_per_second=tokens_here / spent,
                seconds_left=spent / steps_here * (schedule.num_steps - counters.step),
                gradient_norm=norm,
            )
        )
        is_last = counters.step == schedule.num_steps
        due = schedule.evaluate_every and counters.step % schedule.evaluate_every == 0
        if held_out and (due or is_last):
            counters = _hold_out(model, held_out, general, counters, on_event)
            if counters.best_step == counters.step:
                save_checkpoint(best, parameters, optimizer, counters)
        elif due and schedule.num_returns:
            save_checkpoint(best, parameters, optimizer, counters)
        if measure() - saved_at > schedule.checkpoint_seconds:
            counters = dataclasses.replace(
                counters, seconds=resumed.seconds + measure() - resumed_at
            )
            save_checkpoint(latest, parameters, optimizer, counters)
            saved_at = measure()
            on_event(CheckpointSaved(step=counters.step))
    counters = dataclasses.replace(counters, seconds=resumed.seconds + measure() - resumed_at)
    if steps_here:
        save_checkpoint(latest, parameters, optimizer, counters)
        on_event(CheckpointSaved(step=counters.step))
    if held_out and not should_stop() and best.exists():
        restore_weights(best, parameters)
    return counters


def is_over(counters: Counters, schedule: Schedule) -> bool:
    """Whether the schedule has ended, nothing more is learned, or too much is forgotten."""
    stopped = schedule.stop_after_worse and counters.num_worse >= schedule.stop_after_worse
    return counters.step >= schedule.num_steps or bool(stopped) or has_ended(counters)


def _add_gradients(model: CausalModel, packs: Sequence[Pack], replayed: Sequence[Pack]) -> float:
    """Gradients of the mean loss over all labels of a step.

    Returns:
        Mean loss over the labels of `packs` alone, in nats: general text has another one.
    """
    num_labels, loss = _count_labels([*packs, *replayed]), 0.0
    for pack in packs:
        part = sum_pack_loss(model, pack) / num_labels
        part.backward()  # type: ignore[no-untyped-call]
        loss += part.item()
    for pack in replayed:
        (sum_pack_loss(model, pack) / num_labels).backward()  # type: ignore[no-untyped-call]
    return loss * (num_labels / _count_labels(packs))


def _count_labels(packs: Sequence[Pack]) -> int:
    return sum(pack.num_labels for pack in packs)


def _hold_out(
    model: CausalModel,
    held_out: Sequence[Pack],
    general: GeneralText | None,
    counters: Counters,
    on_event: OnEvent,
) -> Counters:
    """Measure on held-out and general text: is this the best so far, and was too much forgotten?

    Weights that keep general text within its limit are better than any that do not.
    """
    loss, rise, is_beyond = measure_loss(model, held_out), None, False
    if general:
        rise = measure_loss(model, general.held_out) / general.base_loss - 1
        is_beyond = rise > general.limit
    is_best = (is_beyond, loss) < (counters.best_is_beyond, counters.best_loss)
    on_event(HeldOut(step=counters.step, loss=loss, is_best=is_best, general_rise=rise))
    if is_best:
        counters = dataclasses.replace(
            counters,
            best_step=counters.step,
            best_loss=loss,
            best_is_beyond=is_beyond,
            best_rise=rise,
            num_worse=0,
        )
    else:
        counters = dataclasses.replace(counters, num_worse=counters.num_worse + 1)
    if not general or rise is None:
        return counters
    answered = answer_drift(counters, rise, general.limit)
    told = describe_answer(counters, answered, rise, general.limit)
    if told:
        on_event(Note(text=told))
    return answered


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


def _is_embedding(name: str) -> bool:
    """Whether a weight has a row for every token; low-rank updates of such do not count."""
    return ("embed_tokens" in name or "lm_head" in name) and "lora_" not in name


def sum_pack_loss(model: CausalModel, pack: Pack) -> Tensor:
    """Sum of the loss over the labels of a pack, in nats, with a graph if anything learns."""
    hidden_TD = model.read_hidden(pack)
    labels_T = torch.from_numpy(pack.labels_T).to(hidden_TD.device)
    labelled_T = labels_T != IGNORED
    return sum_cross_entropy(hidden_TD[labelled_T], model.read_head(), labels_T[labelled_T])


@torch.no_grad()
def measure_loss(model: CausalModel, packs: Sequence[Pack]) -> float:
    """Mean loss over all labels of the packs, in nats per supervised token."""
    was_training = model.module.training
    model.module.eval()
    total = sum(sum_pack_loss(model, pack).item() for pack in packs)
    model.module.train(was_training)
    return total / max(1, sum(pack.num_labels for pack in packs))
