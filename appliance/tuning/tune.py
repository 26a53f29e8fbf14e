"""The tuning stage: choose a learning rate on held-out text, train, keep the best weights."""

from __future__ import annotations

import torch

from appliance.dataset.pack import Pack, PackedBatches
from appliance.dataset.tokens import TokenFile, open_token_file
from appliance.errors import TrainingError
from appliance.hardware.allocator import return_freed_memory
from appliance.recipe import TuneRecipe
from appliance.rundir import StageFolder
from appliance.tuning.checkpoint import Counters
from appliance.tuning.hidden_cache import count_cached_bytes, keep_hidden_states
from appliance.tuning.loop import CausalModel, Schedule, fit
from appliance.tuning.memory import read_peak, reset_peak
from appliance.tuning.method import METHODS, load_for
from appliance.tuning.model import DecoderModel, wrap_model
from appliance.tuning.rates import choose_rate, leave_if_stopped, probe_rates
from appliance.tuning.sample import choose_examples, pack_examples
from appliance.tuning.utilisation import measure_utilisation
from appliance.values import BaseSpec, Dataset, TrainPlan, TunedModel

HELD_OUT_TOKENS = 12_000
"""Tokens of the validation split that a held-out loss on the way reads at most."""

NUM_RETURNS = 3
"""Times that a run may go back to its last good checkpoint: a rate an eighth of the first is the
least that is tried."""

EVALUATIONS = 8
"""Held-out losses during training."""


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
        NotFreeError: the recipe wants hidden states kept where there is no room.
        InterruptedRun: the person stopped it; a checkpoint is there.
    """
    if plan.returns_memory:
        return_freed_memory()
    torch.set_num_threads(plan.threads)
    torch.use_deterministic_algorithms(plan.device == "cpu")
    reset_peak(plan.device)
    train = open_token_file(stage.open(dataset.train.folder))
    held_out = _read_held_out(open_token_file(stage.open(dataset.valid.folder)), plan)
    model = prepare_model(spec, plan, recipe.seed)
    batches = PackedBatches(
        train,
        pack_tokens=plan.sequence_length,
        packs_per_step=plan.packs_per_step,
        seed=recipe.seed,
        lead_tokens=len(model.lead_ids),
    )
    with keep_hidden_states(
        model,
        [*batches.read_all(), *held_out],
        plan,
        recipe.cache_hidden_states,
        stage.folder,
        stage.on_event,
    ) as reader:
        start_loss, trials = probe_rates(reader, batches, held_out, plan, spec, recipe, stage)
        lr = choose_rate(trials)
        schedule = _plan_schedule(plan.num_epochs * batches.steps_per_epoch, lr, recipe)
        counters = _train(reader, batches, schedule, held_out, stage)
        cached_bytes = count_cached_bytes(reader)
    peak_memory = read_peak(plan.device)
    speed = counters.num_tokens / max(1e-9, counters.seconds)
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
        peak_memory_bytes=peak_memory,
        planned_memory_bytes=plan.memory.total_bytes + cached_bytes,
        tokens_per_second=speed,
        seconds=counters.seconds,
        utilisation=None if reader is not model else measure_utilisation(spec, plan, speed),
        num_returns=counters.num_returns,
    )


def prepare_model(spec: BaseSpec, plan: TrainPlan, seed: int) -> DecoderModel:
    """The base with new trainable weights on it, in training mode."""
    module = METHODS[plan.method].attach(load_for(spec, plan), plan, seed)
    if plan.recompute:
        module.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    module.train()
    return wrap_model(module)


def _plan_schedule(num_steps: int, lr: float, recipe: TuneRecipe) -> Schedule:
    return Schedule(
        num_steps=num_steps,
        peak_lr=lr,
        warmup_steps=max(1, num_steps // 20),
        decay_steps=num_steps,
        evaluate_every=max(1, num_steps // EVALUATIONS),
        checkpoint_seconds=recipe.checkpoint_seconds,
        stop_after_worse=3,
        num_returns=NUM_RETURNS,
    )


def _read_held_out(split: TokenFile, plan: TrainPlan) -> list[Pack]:
    rows = choose_examples(split, HELD_OUT_TOKENS)
    return pack_examples(split, rows, plan.sequence_length)


def _train(
    model: CausalModel,
    batches: PackedBatches,
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
    leave_if_stopped(stage)
    return counters
