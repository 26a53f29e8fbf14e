"""The audit stage: what somebody could get out of the tuned weights.

Four ways in, each against a control: texts word for word (against the base, and against texts that
were not trained on), whether a text was trained on, private values (masked or not), and codes that
were planted for this. Whether that is too much is decided by the limits of the recipe.
"""

from __future__ import annotations

from pathlib import Path

import torch

from appliance.dataset.canaries import make_canaries
from appliance.dataset.tokenizer import TextTokenizer, load_tokenizer
from appliance.dataset.tokens import open_token_file
from appliance.documents.marks import read_marks
from appliance.evaluation.exposure import MOST_BITS, measure_exposure
from appliance.evaluation.membership import measure_membership
from appliance.evaluation.private_values import find_places, list_told
from appliance.evaluation.spans import SpanReadings, read_spans
from appliance.events import Progress
from appliance.recipe import AuditRecipe, DatasetRecipe
from appliance.rundir import StageFolder
from appliance.tuning.method import load_tuned, opened_base
from appliance.tuning.model import DecoderModel
from appliance.tuning.sample import choose_examples
from appliance.values import (
    BaseSpec,
    Dataset,
    LeakLimits,
    LeakReport,
    RecallShare,
    TrainPlan,
    TunedModel,
)

RECALL_LENGTHS = (8, 16, 32, 64)
"""Tokens in a row by which recall is told."""

Both = tuple[SpanReadings, SpanReadings]
"""What one model made of trained and of held-out spans."""


def audit(
    plan: TrainPlan,
    spec: BaseSpec,
    tuned: TunedModel,
    dataset: Dataset,
    made: DatasetRecipe,
    recipe: AuditRecipe,
    stage: StageFolder,
) -> LeakReport:
    """Look for training text in the tuned weights.

    Args:
        plan: tells the method.
        spec: the base model.
        tuned: the trained weights.
        dataset: its training and test split.
        made: how the dataset was made: with canaries or without.
        recipe: how much is looked at, and what may be found.
        stage: of the run.

    Returns:
        What was found, beside its limits.
    """
    torch.set_num_threads(plan.threads)
    tokenizer = load_tokenizer(Path(spec.folder))
    train, test = (open_token_file(stage.open(s.folder)) for s in (dataset.train, dataset.test))
    rows = [choose_examples(split, recipe.max_tokens) for split in (train, test)]
    marks = read_marks(stage.run)
    before, known = find_places(train, tokenizer, recipe.num_places, marks)

    def look(model: DecoderModel, done: int) -> tuple[Both, set[str]]:
        stage.on_event(Progress(stage=stage.name, done=done, total=2, unit="models"))
        readings = tuple(
            read_spans(model, split, chosen, plan.sequence_length)
            for split, chosen in zip((train, test), rows, strict=True)
        )
        told = list_told(model, tokenizer, before, known, marks.key)
        return (readings[0], readings[1]), told

    model = load_tuned(spec, plan, stage.open(tuned.folder))
    after, told = look(model, 0)
    exposure = _measure_canaries(model, made, tokenizer, spec, plan, stage)
    with opened_base(model, spec, plan) as base:
        first, told_before = look(base, 1)
    return LeakReport(
        membership_auc=measure_membership((first[0], after[0]), (first[1], after[1])),
        longest_recall=measure_recall(first, after),
        canary_exposure=exposure,
        num_spans=len(rows[0]),
        num_secrets_recalled=len(told - told_before),
        longest_run=int(after[0].runs_E.max()),
        recall=tuple(_share_recall(first, after, length) for length in RECALL_LENGTHS),
        num_places=len(before),
        num_canaries=made.canaries,
        most_exposure=MOST_BITS if made.canaries else None,
        limits=LeakLimits(
            membership_auc=recipe.max_membership,
            recall=recipe.max_recall,
            exposure=recipe.max_exposure,
            secrets=recipe.max_secrets,
        ),
    )


def measure_recall(first: Both, after: Both) -> int:
    """Tokens in a row of a trained span that the tuned model repeats and nothing else explains.

    What the base repeats of the same span is taken off, and then what is repeated so of spans that
    were not trained on: forms and phrases that many documents share.

    Args:
        first: what the base made of trained and held-out spans.
        after: what the tuned model made of them.
    """
    trained, held_out = (
        int((tuned.runs_E - base.runs_E).max()) for base, tuned in zip(first, after, strict=True)
    )
    return max(0, trained - max(0, held_out))


def _share_recall(first: Both, after: Both, length: int) -> RecallShare:
    return RecallShare(
        num_tokens=length,
        trained=float((after[0].runs_E >= length).mean()),
        held_out=float((after[1].runs_E >= length).mean()),
        base=float((first[0].runs_E >= length).mean()),
    )


def _measure_canaries(
    model: DecoderModel,
    made: DatasetRecipe,
    tokenizer: TextTokenizer,
    spec: BaseSpec,
    plan: TrainPlan,
    stage: StageFolder,
) -> float | None:
    """The highest exposure of all canaries; None where none were planted."""
    exposures = []
    for number, canary in enumerate(make_canaries(made.canaries, made.seed)):
        folder, length = stage.folder / f"canary-{number}", plan.sequence_length
        exposures.append(
            measure_exposure(model, canary, tokenizer, spec.vocab_size, length, folder)
        )
    return max(exposures, default=None)
