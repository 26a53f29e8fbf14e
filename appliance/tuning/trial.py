"""A short trial tune, to see whether tuning is worth it."""

from __future__ import annotations

from appliance.dataset.pack import PackedBatches
from appliance.dataset.tokens import open_token_file
from appliance.recipe import AssessRecipe, TuneRecipe
from appliance.rundir import StageFolder
from appliance.tuning.launch import needs_others, train_together
from appliance.tuning.model import DecoderModel
from appliance.tuning.sample import choose_examples
from appliance.tuning.tune import learn
from appliance.values import BaseSpec, Dataset, TrainPlan, TunedModel


def tune_briefly(
    plan: TrainPlan,
    spec: BaseSpec,
    dataset: Dataset,
    recipe: TuneRecipe,
    assess: AssessRecipe,
    stage: StageFolder,
) -> TunedModel:
    """Train on a sample of the training split, spread evenly over its documents.

    Args:
        plan: of the whole tune; the trial trains the same weights.
        spec: the base model.
        dataset: its splits.
        recipe: as of the whole tune.
        assess: how much the trial reads.
        stage: gets checkpoints and weights.

    Returns:
        As `tune`.

    Raises:
        ApplianceError: as `tune`.
    """
    if needs_others(plan):
        return train_together("tune_briefly", plan, spec, dataset, recipe, assess, stage=stage)
    split = open_token_file(stage.open(dataset.train.folder))
    examples = choose_examples(split, assess.trial_tokens)

    def open_batches(model: DecoderModel) -> PackedBatches:
        return PackedBatches(
            split,
            pack_tokens=plan.sequence_length,
            packs_per_step=plan.packs_per_step,
            seed=recipe.seed,
            examples=examples,
            lead_tokens=len(model.lead_ids),
        )

    is_part = len(examples) < dataset.train.num_examples
    brief = plan.model_copy(update={"num_epochs": 1}) if is_part else plan
    return learn(open_batches, brief, spec, dataset, recipe, stage)
