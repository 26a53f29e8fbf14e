"""The learning rate, found by short trials on held-out text."""

from __future__ import annotations

import json
import math

import torch
from torch import Tensor

from appliance.dataset.pack import Pack
from appliance.errors import InterruptedRun, TrainingError
from appliance.events import Progress, ignore_event
from appliance.files import write_text
from appliance.recipe import TuneRecipe
from appliance.rundir import StageFolder
from appliance.tuning.loop import fit
from appliance.tuning.ranks import ALONE, Ranks
from appliance.tuning.relief import MemoryLadder
from appliance.tuning.schedule import Schedule
from appliance.tuning.step import Batches, CausalModel, measure_loss
from appliance.values import BaseSpec, Method, RateTrial, TrainPlan

PROBE_SHARE = 0.12
"""Part of the run's steps that each learning rate is tried for, ..."""

PROBE_STEPS = (8, 40)
"""... within these bounds."""

RATES: dict[Method, tuple[float, ...]] = {
    "qlora": (1e-3, 3e-3, 9e-3),
    "lora": (1e-3, 3e-3, 9e-3),
    "adapter": (2e-3, 6e-3, 1.8e-2),
    "full": (3e-4, 1e-3, 3e-3),
    "prompt": (1e-2, 3e-2, 9e-2),
}
"""Learning rates that are tried at width 256; wider models get lower ones (`scale_rate`)."""

RATE_TOLERANCE = 1e-3
"""A lower rate wins when its loss is within this share of the best: it overfits later."""


def probe_rates(
    model: CausalModel,
    batches: Batches,
    held_out: list[Pack],
    plan: TrainPlan,
    spec: BaseSpec,
    recipe: TuneRecipe,
    stage: StageFolder,
    *,
    embedding_rate: float = 1.0,
    ranks: Ranks = ALONE,
    ladder: MemoryLadder | None = None,
) -> tuple[float, tuple[RateTrial, ...]]:
    """Try each learning rate on the first steps, with its full decay, from the same start.

    The result is kept in the stage, so that a restart does not probe again.

    Returns:
        The held-out loss before any step, and one trial a rate.

    Raises:
        InterruptedRun: the person stopped it.
    """
    notes = stage.folder / "rates.json"
    if notes.exists():
        body = json.loads(notes.read_text())
        return body["start_loss"], tuple(RateTrial(**trial) for trial in body["trials"])
    start_loss = measure_loss(model, held_out, ranks)
    if recipe.lr != "auto":
        trials: tuple[RateTrial, ...] = (RateTrial(lr=recipe.lr, loss=start_loss),)
    else:
        rates = [scale_rate(rate, spec.width) for rate in RATES[plan.method]]
        start = copy_weights(model)
        trials = ()
        for number, rate in enumerate(rates):
            stage.on_event(
                Progress(stage="tune", done=number, total=len(rates), unit="learning rates")
            )
            schedule = _plan_trial(plan, rate, recipe, embedding_rate)
            torch.manual_seed(recipe.seed)
            trials += (_try_rate(model, batches, held_out, schedule, stage, ranks, ladder),)
            restore_weights_from(model, start)
    body = {"start_loss": start_loss, "trials": [trial.model_dump() for trial in trials]}
    if ranks.is_first:
        write_text(notes, json.dumps(body))
    return start_loss, trials


def choose_rate(trials: tuple[RateTrial, ...]) -> float:
    """The lowest rate whose loss is as good as the best one's, within RATE_TOLERANCE.

    Raises:
        TrainingError: no trial has a finite loss.
    """
    finite = [
        (trial.loss, trial.lr)
        for trial in trials
        if trial.loss is not None and math.isfinite(trial.loss)
    ]
    if not finite:
        raise TrainingError(
            "training diverged at every learning rate",
            why=f"tried {', '.join(f'{trial.lr:.1e}' for trial in trials)}",
            fix="set a lower one with --set tune.lr=1e-5, or choose another base",
        )
    best = min(finite)[0]
    return min(lr for loss, lr in finite if loss <= best * (1 + RATE_TOLERANCE))


def scale_rate(rate: float, width: int) -> float:
    """The rate of a wider model: it falls with the width to the power 3/4.

    Source: fits rates that work at width 256 (3e-3 here) and at width 4096 (3e-4, QLoRA's paper).
    """
    return rate * float(min(1.0, (256 / width) ** 0.75))


def copy_weights(model: CausalModel) -> dict[str, Tensor]:
    """Copies of the trainable weights, by name."""
    return {
        name: value.detach().clone()
        for name, value in model.module.named_parameters()
        if value.requires_grad
    }


@torch.no_grad()
def restore_weights_from(model: CausalModel, weights: dict[str, Tensor]) -> None:
    """Set the trainable weights to these copies."""
    for name, value in model.module.named_parameters():
        if name in weights:
            value.copy_(weights[name])


def _plan_trial(
    plan: TrainPlan, rate: float, recipe: TuneRecipe, embedding_rate: float
) -> Schedule:
    low, high = PROBE_STEPS
    num_steps = min(high, max(low, round(PROBE_SHARE * plan.num_steps)))
    return Schedule(
        num_steps=num_steps,
        peak_lr=rate,
        warmup_steps=2,
        decay_steps=num_steps,
        embedding_rate=embedding_rate,
        lora_b_rate=recipe.lora_b_rate,
    )


def _try_rate(
    model: CausalModel,
    batches: Batches,
    held_out: list[Pack],
    schedule: Schedule,
    stage: StageFolder,
    ranks: Ranks,
    ladder: MemoryLadder | None,
) -> RateTrial:
    rate = schedule.peak_lr
    folder = stage.folder / f"trial-{rate:.2e}"
    folder.mkdir(exist_ok=True)
    try:
        counters = fit(
            model,
            batches,
            schedule,
            folder=folder,
            held_out=held_out,
            on_event=ignore_event,
            should_stop=stage.should_stop,
            ranks=ranks,
            ladder=ladder,
        )
    except FloatingPointError:
        return RateTrial(lr=rate, loss=None)
    leave_if_stopped(stage)
    return RateTrial(lr=rate, loss=counters.best_loss)


def leave_if_stopped(stage: StageFolder) -> None:
    """Leave training where the person wants it to stop.

    Raises:
        InterruptedRun: the person does.
    """
    if stage.should_stop():
        raise InterruptedRun(
            "stopped", why="asked to stop; a checkpoint is there", fix="run the same command again"
        )
