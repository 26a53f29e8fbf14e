"""The pretraining stage: next-token training on windows of text, general text among them."""

from __future__ import annotations

import numpy as np

from appliance.dataset.mixing import divide_windows, list_sources, weigh_sources
from appliance.dataset.tokens import open_token_file
from appliance.dataset.windows import WindowBatches
from appliance.recipe import PretrainRecipe
from appliance.rundir import StageFolder
from appliance.tuning.launch import needs_others, train_together
from appliance.tuning.rates import scale_rate
from appliance.tuning.step import Batches
from appliance.tuning.tune import learn
from appliance.values import BaseSpec, Method, TextDataset, TrainPlan, TunedModel

RATES: dict[Method, float] = {"full": 5e-4, "lora": 5e-4, "qlora": 5e-4, "adapter": 1e-3}
"""Learning rates at width 256, low ones: what a higher rate gains is paid with general text.

Source: loss on unseen text of the law textbook (91 k tokens, read once), and on general text,
embedded base, 3 % replay: full 3e-4 -5.3 %, +0.95 %; full 5e-4 -7.0 %, +1.76 %; qlora 1e-3 -8.1 %,
+2.7 %; qlora 3e-3, read twice, -11.5 %, +6.5 %. Those of lora, qlora and adapter are assumed to be
half of what forgot too much, or less. November 2026.
"""

NEW_BASE_RATE = 2.5e-3
"""Of a model from nothing, at width 256: it has nothing to lose (decision 0011)."""


def pretrain(
    plan: TrainPlan, spec: BaseSpec, text: TextDataset, recipe: PretrainRecipe, stage: StageFolder
) -> TunedModel:
    """Train on plain text: the learning rate rises again, then falls to nought.

    Killed anywhere and started again on the same processor, it ends with the same bits.

    Args:
        plan: what to train, and how long at most.
        spec: the base model.
        text: the corpus and general text.
        recipe: seed, replay, and the learning rates if the person fixed one.
        stage: gets checkpoints while it runs and the trained weights at the end.

    Returns:
        The weights of the lowest held-out loss, with what training cost.

    Raises:
        TrainingError: the loss is not finite at any learning rate.
        InterruptedRun: the person stopped it; a checkpoint is there.

    Source: rise again, fall again, and replay a little of the earlier text: Ibrahim et al. 2024,
    arXiv:2403.08763; how little of it is enough: Bethune et al. 2025, arXiv:2502.06042.
    """
    if needs_others(plan):
        return train_together("pretrain", plan, spec, text, recipe, stage=stage)
    if recipe.lr == "auto":
        rate = RATES[plan.method] if recipe.start == "base" else NEW_BASE_RATE
        rate = scale_rate(rate, spec.width)
        recipe = recipe.model_copy(update={"lr": rate})
    assert text.dataset.replay is not None, "build_text_dataset writes it"
    split = open_token_file(stage.open(text.dataset.train.folder))
    names = list_sources(recipe.mix, recipe.order)
    batches: Batches = WindowBatches(
        split,
        open_token_file(stage.open(text.dataset.replay.folder)),
        window_tokens=plan.sequence_length,
        windows_per_step=plan.packs_per_step,
        replay_share=recipe.replay_share,
        seed=recipe.seed,
        sources=divide_windows(
            split,
            plan.sequence_length,
            np.fromfile(stage.open(text.sources_file), dtype=np.uint8) if names else None,
            weigh_sources(recipe.mix, recipe.order),
        ),
        order=tuple(1 + names.index(name) for name in recipe.order),
    )
    return learn(
        lambda _: batches,
        plan,
        spec,
        text.dataset,
        recipe,
        stage,
        embedding_rate=recipe.embedding_rate if recipe.start == "base" else 1.0,
    )
