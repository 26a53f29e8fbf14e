"""The tuning stage: choose a learning rate on held-out text, train, keep the best weights."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import torch

from appliance.dataset.pack import Pack, PackedBatches
from appliance.dataset.tokens import TokenFile, open_token_file
from appliance.dataset.windows import ReplayWindows
from appliance.errors import TrainingError
from appliance.hardware.allocator import return_freed_memory
from appliance.recipe import TuneRecipe
from appliance.rundir import StageFolder
from appliance.tuning.checkpoint import Counters
from appliance.tuning.drift import CHECK_TOKENS, GeneralText
from appliance.tuning.fused import fuse
from appliance.tuning.hidden_cache import count_cached_bytes, keep_hidden_states
from appliance.tuning.hold import hold_memory
from appliance.tuning.launch import needs_others, train_together
from appliance.tuning.loop import fit
from appliance.tuning.memory import read_peak, reset_peak
from appliance.tuning.method import METHODS, load_for, untuned
from appliance.tuning.model import DecoderModel, compute_twice, wrap_model
from appliance.tuning.ranks import Ranks, find_ranks
from appliance.tuning.rates import choose_rate, leave_if_stopped, probe_rates
from appliance.tuning.relief import MemoryLadder
from appliance.tuning.sample import choose_examples, pack_examples
from appliance.tuning.schedule import Schedule
from appliance.tuning.step import Batches, CausalModel, measure_loss
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
        TrainingError: the loss is not finite at any learning rate, or again and again.
        NotFreeError: the recipe wants hidden states kept where there is no room.
        InterruptedRun: the person stopped it; a checkpoint is there.
    """
    if needs_others(plan):
        return train_together("tune", plan, spec, dataset, recipe, stage=stage)

    def open_batches(model: DecoderModel) -> PackedBatches:
        return PackedBatches(
            open_token_file(stage.open(dataset.train.folder)),
            pack_tokens=plan.sequence_length,
            packs_per_step=plan.packs_per_step,
            seed=recipe.seed,
            lead_tokens=len(model.lead_ids),
        )

    return learn(open_batches, plan, spec, dataset, recipe, stage)


def learn(
    open_batches: Callable[[DecoderModel], Batches],
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
        open_batches: gives what every step reads.
        plan: as in `tune`; so are the others.
        spec: the base model.
        dataset: its validation split.
        recipe: seed, and the learning rate if the person fixed one.
        stage: gets checkpoints and weights.
        embedding_rate: learning rate of embeddings and head, as a share of the others'.

    Returns:
        As `tune`.

    Raises:
        ApplianceError: as `tune`.
    """
    if plan.returns_memory:
        return_freed_memory()
    torch.set_num_threads(plan.threads)
    torch.use_deterministic_algorithms(plan.device == "cpu")
    ranks = find_ranks()
    # every fresh block would be filled before it is written
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    held_out = _read_held_out(open_token_file(stage.open(dataset.valid.folder)), plan)
    model = replace(prepare_model(spec, plan, recipe.seed), noise=recipe.embedding_noise)
    reset_peak(plan.device)  # pages of the base's file are no demand: the kernel takes them back
    batches = open_batches(model)
    general = _open_general(model, dataset, plan, recipe, stage)
    with (
        hold_memory(model, spec, plan, stage, ranks) as ladder,
        _open_reader(model, batches, held_out, general, plan, recipe, stage) as reader,
    ):
        start_loss, trials = probe_rates(
            reader, batches, held_out, plan, spec, recipe, stage,
            embedding_rate=embedding_rate, ranks=ranks, ladder=ladder,
        )  # fmt: skip
        lr = choose_rate(trials)
        num_steps = plan.num_epochs * batches.steps_per_epoch
        schedule = _plan_schedule(num_steps, lr, recipe, embedding_rate)
        torch.manual_seed(recipe.seed)  # the same whether rates were tried in this process or not
        counters = _train(reader, batches, schedule, held_out, general, stage, ranks, ladder)
        cached_bytes = count_cached_bytes(reader)
    peak_memory = read_peak(plan.device)
    speed = counters.num_tokens / max(1e-9, counters.seconds)
    if ranks.is_first:
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
        general_rise=counters.best_rise,
        replay_share=counters.replay_share,
        num_lowered=counters.num_lowered,
        num_processes=ranks.size,
        reliefs=ladder.told,
        wanted_memory_bytes=ladder.notes.wanted_bytes,
    )


def _open_reader(
    model: DecoderModel,
    batches: Batches,
    held_out: list[Pack],
    general: GeneralText | None,
    plan: TrainPlan,
    recipe: TuneRecipe,
    stage: StageFolder,
) -> AbstractContextManager[CausalModel]:
    """The model, with its trunk cached where all packs are known and an adapter stands on it.

    Not with several processes: in another epoch, a pack is another's. Nor with noise on the
    embeddings, which is another in every epoch.
    """
    is_changing = recipe.embedding_noise or find_ranks().size > 1
    if not isinstance(batches, PackedBatches) or is_changing:
        return nullcontext(model)
    beside = [*general.held_out, *general.replay.read_all()] if general else []
    return keep_hidden_states(
        model,
        lambda: [*batches.read_all(), *held_out, *beside],
        plan,
        recipe.cache_hidden_states,
        stage.folder,
        stage.on_event,
    )


def _open_general(
    model: DecoderModel, dataset: Dataset, plan: TrainPlan, recipe: TuneRecipe, stage: StageFolder
) -> GeneralText | None:
    """General text to watch and to read again, with what the base makes of it, if there is any."""
    if not (dataset.general and dataset.general.num_labels and dataset.replay):
        return None
    split = open_token_file(stage.open(dataset.general.folder))
    packs = pack_examples(split, choose_examples(split, CHECK_TOKENS), plan.sequence_length)
    with untuned(model) as base:
        base_loss = measure_loss(base, packs, find_ranks())
    return GeneralText(
        held_out=packs,
        replay=ReplayWindows(
            open_token_file(stage.open(dataset.replay.folder)),
            window_tokens=plan.sequence_length - len(model.lead_ids),
            packs_per_step=plan.packs_per_step,
            seed=recipe.seed,
        ),
        base_loss=base_loss,
        limit=recipe.max_forgetting,
    )


def prepare_model(spec: BaseSpec, plan: TrainPlan, seed: int) -> DecoderModel:
    """The base with new trainable weights on it, in training mode."""
    module = METHODS[plan.method].attach(load_for(spec, plan), plan, seed)
    if plan.method != "full" and plan.compute_dtype == "float32":
        fuse(module)
    if plan.recompute:
        compute_twice(module)
    module.train()
    return wrap_model(module)


def _plan_schedule(
    num_steps: int, lr: float, recipe: TuneRecipe, embedding_rate: float
) -> Schedule:
    return Schedule(
        num_steps=num_steps,
        peak_lr=lr,
        warmup_steps=max(1, num_steps // 20),
        decay_steps=num_steps,
        evaluate_every=max(1, num_steps // EVALUATIONS),
        checkpoint_seconds=recipe.checkpoint_seconds,
        stop_after_worse=3,
        num_returns=NUM_RETURNS,
        embedding_rate=embedding_rate,
        lora_b_rate=recipe.lora_b_rate,
    )


def _read_held_out(split: TokenFile, plan: TrainPlan) -> list[Pack]:
    rows = choose_examples(split, HELD_OUT_TOKENS)
    return pack_examples(split, rows, plan.sequence_length)


def _train(
    model: CausalModel,
    batches: Batches,
    schedule: Schedule,
    held_out: list[Pack],
    general: GeneralText | None,
    stage: StageFolder,
    ranks: Ranks,
    ladder: MemoryLadder,
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
            general=general,
            on_event=stage.on_event,
            should_stop=stage.should_stop,
            ranks=ranks,
            ladder=ladder,
        )
    except FloatingPointError as exc:
        raise TrainingError(
            "training diverged",
            why=f"{exc} at learning rate {schedule.peak_lr:.1e}",
            fix="set a lower one with --set tune.lr=<rate>",
        ) from exc
    leave_if_stopped(stage)
    return counters
