"""The tuning stage: choose a learning rate on held-out text, train, keep the best weights."""

from __future__ import annotations

import json

import torch
from torch import Tensor

from appliance.dataset.pack import Pack, PackedBatches
from appliance.dataset.tokens import TokenFile, open_token_file
from appliance.errors import InterruptedRun, TrainingError
from appliance.events import Progress, ignore_event
from appliance.files import write_text
from appliance.hardware.allocator import return_freed_memory
from appliance.recipe import TuneRecipe
from appliance.rundir import StageFolder
from appliance.tuning.checkpoint import Counters
from appliance.tuning.loop import Batches, Schedule, fit, measure_loss
from appliance.tuning.memory import read_peak, reset_peak
from appliance.tuning.method import METHODS, load_for
from appliance.tuning.model import DecoderModel, wrap_model
from appliance.tuning.sample import choose_examples, pack_examples
from appliance.values import BaseSpec, Dataset, Method, RateTrial, TrainPlan, TunedModel

HELD_OUT_TOKENS = 12_000
"""Tokens of the validation split that a held-out loss on the way reads at most."""

EVALUATIONS = 8
"""Held-out losses during training."""

PROBE_SHARE = 0.12
"""Part of the run's steps that each learning rate is tried for, ..."""

PROBE_STEPS = (8, 40)
"""... within these bounds."""

RATES: dict[Method, tuple[float, ...]] = {
    "qlora": (1e-3, 3e-3, 9e-3),
    "lora": (1e-3, 3e-3, 9e-3),
    "adapter": (2e-3, 6e-3, 1.8e-2),
    "full": (3e-4, 1e-3, 3e-3),
}
"""Learning rates that are tried at width 256; wider models get lower ones (`scale_rate`)."""

RATE_TOLERANCE = 1e-3
"""A lower rate wins when its loss is within this share of the best: it overfits later."""


def tune(
    plan: TrainPlan, spec: BaseSpec, dataset: Dataset, recipe: TuneRecipe, stage: StageFolder
) -> TunedModel:
    """Train the plan's method on the training split.

    Killed anywhere and started again on the same processor, it ends with the same bits.

    Args:
        plan: what to train, and how long at most.
        spec: the base model.
        dataset: its splits.
        recipe: seed, and the learning rate if the person fixed one.
        stage: gets checkpoints while it runs and the trained weights at the end.

    Returns:
        The weights of the lowest held-out loss, with what training cost.

    Raises:
        TrainingError: the loss is not finite at any learning rate.
        InterruptedRun: the person stopped it; a checkpoint is there.
    """
    batches = PackedBatches(
        open_token_file(stage.open(dataset.train.folder)),
        pack_tokens=plan.sequence_length,
        packs_per_step=plan.packs_per_step,
        seed=recipe.seed,
    )
    return learn(batches, plan, spec, dataset, recipe, stage)


def learn(
    batches: Batches,
    plan: TrainPlan,
    spec: BaseSpec,
    dataset: Dataset,
    recipe: TuneRecipe,
    stage: StageFolder,
    *,
    embedding_rate: float = 1.0,
) -> TunedModel:
    """Choose a learning rate, train on these batches, keep the best weights.

    Args:
        batches: what every step reads.
        plan: as in `tune`; so are the others.
        spec: the base model.
        dataset: its validation split.
        recipe: seed, and the learning rate if the person fixed one.
        stage: gets checkpoints and weights.
        embedding_rate: learning rate of embeddings and head, as a share of the others'.

    Returns:
        As `tune`.

    Raises:
        TrainingError: the loss is not finite at any learning rate.
        InterruptedRun: the person stopped it; a checkpoint is there.
    """
    if plan.returns_memory:
        return_freed_memory()
    torch.set_num_threads(plan.threads)
    torch.use_deterministic_algorithms(plan.device == "cpu")
    held_out = _read_held_out(open_token_file(stage.open(dataset.valid.folder)), plan)
    model = prepare_model(spec, plan, recipe.seed)
    reset_peak(plan.device)  # pages of the base's file are no demand: the kernel takes them back
    start_loss, trials = probe_rates(
        model, batches, held_out, plan, spec, recipe, stage, embedding_rate=embedding_rate
    )
    lr = choose_rate(trials)
    num_steps = plan.num_epochs * batches.steps_per_epoch
    schedule = Schedule(
        num_steps=num_steps,
        peak_lr=lr,
        warmup_steps=max(1, num_steps // 20),
        decay_steps=num_steps,
        evaluate_every=max(1, num_steps // EVALUATIONS),
        checkpoint_seconds=recipe.checkpoint_seconds,
        stop_after_worse=3,
        embedding_rate=embedding_rate,
    )
    counters = _train(model, batches, schedule, held_out, stage)
    METHODS[plan.method].save(model.module, stage.folder / "weights")
    return TunedModel(
        folder=stage.locate("weights"),
        method=plan.method,
        lr=lr,
        trials=trials,
        step=counters.best_step,
        num_steps=counters.step,
        num_tokens=counters.num_tokens,
        num_labels=counters.num_labels,
        start_loss=start_loss,
        held_out_loss=counters.best_loss,
        peak_memory_bytes=read_peak(plan.device),
        planned_memory_bytes=plan.memory.total_bytes,
        tokens_per_second=counters.num_tokens / max(1e-9, counters.seconds),
        seconds=counters.seconds,
    )


def prepare_model(spec: BaseSpec, plan: TrainPlan, seed: int) -> DecoderModel:
    """The base with new trainable weights on it, in training mode."""
    module = METHODS[plan.method].attach(load_for(spec, plan), plan, seed)
    if plan.recompute:
        module.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    module.train()
    return wrap_model(module)


def probe_rates(
    model: DecoderModel,
    batches: Batches,
    held_out: list[Pack],
    plan: TrainPlan,
    spec: BaseSpec,
    recipe: TuneRecipe,
    stage: StageFolder,
    *,
    embedding_rate: float = 1.0,
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
    start_loss = measure_loss(model, held_out)
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
            schedule = _plan_trial(plan, rate, embedding_rate)
            trials += (_try_rate(model, batches, held_out, schedule, stage),)
            restore_weights_from(model, start)
    body = {"start_loss": start_loss, "trials": [trial.model_dump() for trial in trials]}
    write_text(notes, json.dumps(body))
    return start_loss, trials


def choose_rate(trials: tuple[RateTrial, ...]) -> float:
    """The lowest rate whose loss is as good as the best one's, within RATE_TOLERANCE.

    Raises:
        TrainingError: no trial has a finite loss.
    """
    finite = [(trial.loss, trial.lr) for trial in trials if trial.loss is not None]
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


def copy_weights(model: DecoderModel) -> dict[str, Tensor]:
    """Copies of the trainable weights, by name."""
    return {
        name: value.detach().clone()
        for name, value in model.module.named_parameters()
        if value.requires_grad
    }


@torch.no_grad()
def restore_weights_from(model: DecoderModel, weights: dict[str, Tensor]) -> None:
    """Set the trainable weights to these copies."""
    for name, value in model.module.named_parameters():
        if name in weights:
            value.copy_(weights[name])


def _read_held_out(split: TokenFile, plan: TrainPlan) -> list[Pack]:
    rows = choose_examples(split, HELD_OUT_TOKENS)
    return pack_examples(split, rows, plan.sequence_length)


def _plan_trial(plan: TrainPlan, rate: float, embedding_rate: float) -> Schedule:
    low, high = PROBE_STEPS
    num_steps = min(high, max(low, round(PROBE_SHARE * plan.num_steps)))
    return Schedule(
        num_steps=num_steps,
        peak_lr=rate,
        warmup_steps=2,
        decay_steps=num_steps,
        embedding_rate=embedding_rate,
    )


def _try_rate(
    model: DecoderModel,
    batches: Batches,
    held_out: list[Pack],
    schedule: Schedule,
    stage: StageFolder,
) -> RateTrial:
    folder = stage.folder / f"trial-{schedule.peak_lr:.2e}"
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
        )
    except FloatingPointError:
        return RateTrial(lr=schedule.peak_lr, loss=None)
    _leave_if_stopped(stage)
    return RateTrial(lr=schedule.peak_lr, loss=counters.best_loss)


def _train(
    model: DecoderModel,
    batches: Batches,
    schedule: Schedule,
    held_out: list[Pack],
    stage: StageFolder,
) -> Counters:
    folder = stage.folder / "checkpoint"
    folder.mkdir(exist_ok=True)
    try:
        counters = fit(
            model,
            batches,
            schedule,
            folder=folder,
            held_out=held_out,
            on_event=stage.on_event,
            should_stop=stage.should_stop,
        )
    except FloatingPointError as exc:
        raise TrainingError(
            "training diverged",
            why=f"{exc} at learning rate {schedule.peak_lr:.1e}",
            fix="set a lower one with --set tune.lr=<rate>",
        ) from exc
    _leave_if_stopped(stage)
    return counters


def _leave_if_stopped(stage: StageFolder) -> None:
    if stage.should_stop():
        raise InterruptedRun(
            "stopped", why="asked to stop; a checkpoint is there", fix="run the same command again"
        )
