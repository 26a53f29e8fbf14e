"""The training loop: one `fit` for every method, for fine-tuning and for pretraining.

It knows a model, packs and a schedule. Which weights learn is decided before (`methods/`), what a
step reads is decided in `dataset/pack.py`, and what happens to the result comes after.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from torch import nn

from appliance.dataset.pack import Pack
from appliance.events import OnEvent, ShouldStop
from appliance.tuning.checkpoint import Counters
from appliance.tuning.drift import GeneralText
from appliance.tuning.health import find_illness
from appliance.tuning.held_out import hold_out
from appliance.tuning.optimizer import set_rate
from appliance.tuning.ranks import ALONE, Ranks
from appliance.tuning.relief import MemoryLadder, gather_gradients
from appliance.tuning.run import TrainingRun, open_run
from appliance.tuning.schedule import Schedule, is_over
from appliance.tuning.step import Batches, CausalModel


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
    ranks: Ranks = ALONE,
    ladder: MemoryLadder | None = None,
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
        ranks: which of several processes this is; all call with the same arguments, but the first
            alone saves and should speak, and `should_stop` says the same to all.
        ladder: what is done when memory runs out; without, the run ends.

    Returns:
        Where the run stands; `step < num_steps` when it was asked to stop, or stopped learning.

    Raises:
        ResourceError: memory ran out, on the last rung of the ladder.
        FloatingPointError: training fell ill once more than the schedule allows.
    """
    run = open_run(model, schedule, folder, measure, ranks, on_event)
    ladder = ladder or MemoryLadder()
    while not is_over(run.counters, schedule) and not should_stop():
        step = run.counters.step
        packs = batches.read_step(step)
        replayed = general.replay.read_step(step, run.counters.replay_share) if general else []
        loss = gather_gradients(model, packs, replayed, step=step + 1, ranks=ranks, ladder=ladder)
        norm = float(nn.utils.clip_grad_norm_(run.parameters.values(), schedule.clip_norm))
        illness = find_illness(run.counters, loss, norm)
        if illness and (schedule.num_returns or not math.isfinite(loss + norm)):
            run.go_back(illness, on_event)
            continue
        set_rate(run.optimizer, run.rate_factor, schedule.rate_at(step))
        run.optimizer.step()
        run.optimizer.zero_grad(set_to_none=True)
        run.count_step([*packs, *replayed], loss)
        on_event(run.describe_step(loss, norm))
        _look(model, run, held_out, general, on_event)
        if measure() - run.saved_at > schedule.checkpoint_seconds:
            run.save_latest(on_event)
    if run.num_steps:
        run.save_latest(on_event)
    if held_out and not should_stop():
        run.take_best()
    return run.counters


def _look(
    model: CausalModel,
    run: TrainingRun,
    held_out: Sequence[Pack],
    general: GeneralText | None,
    on_event: OnEvent,
) -> None:
    """Measure where it is due, and keep what is the best so far."""
    is_due = run.schedule.is_due(run.counters.step)
    if held_out and (is_due or run.is_last):
        run.counters = hold_out(model, held_out, general, run.counters, on_event, run.ranks)
        if run.counters.best_step == run.counters.step:
            run.save_best()
    elif is_due and run.schedule.num_returns:
        run.save_best()
