"""Judging continued pretraining: the domain, general text and terms, before and after.

Letters: T tokens of a pack, N labels, D model width, V vocabulary.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from appliance.dataset.new_terms import write_in_parts
from appliance.dataset.pack import IGNORED, Pack, build_pack
from appliance.dataset.tokens import TokenFile, open_token_file
from appliance.evaluation.evaluate import compare
from appliance.evaluation.forgetting import compare_general
from appliance.evaluation.scores import ExampleScores, score_examples
from appliance.events import Progress
from appliance.files import write_text
from appliance.recipe import EvaluateRecipe, PretrainRecipe
from appliance.rundir import StageFolder
from appliance.tuning.method import load_for, load_tuned, opened_base
from appliance.tuning.model import DecoderModel, wrap_model
from appliance.tuning.sample import choose_examples
from appliance.values import (
    BaseSpec,
    EvalReport,
    NewTerms,
    TermScore,
    TextDataset,
    TrainPlan,
    TunedModel,
)

Asked = tuple[tuple[TokenFile, list[int]], ...]
"""Splits, each with the rows that are scored."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """What one model made of everything."""

    domain: ExampleScores
    general: ExampleScores
    terms: ExampleScores | None
    share_guessed: float


def evaluate_text(
    plan: TrainPlan,
    spec: BaseSpec,
    tuned: TunedModel,
    text: TextDataset,
    grown: NewTerms,
    recipe: EvaluateRecipe,
    pretrain: PretrainRecipe,
    stage: StageFolder,
) -> EvalReport:
    """Score the base and the trained model on text that neither was trained on.

    Args:
        plan: tells the method.
        spec: the base model.
        tuned: the trained weights.
        text: its test split, general text and terms.
        grown: the base before it got new tokens; it reads the same text in its own.
        recipe: how much is scored.
        pretrain: how much may be forgotten.
        stage: of the run.

    Returns:
        Both scores, what was forgotten, and what terms were learned.
    """
    torch.set_num_threads(plan.threads)
    write_text(stage.folder / "answers.jsonl", "")  # nobody is asked anything
    domain = open_token_file(stage.open(text.dataset.test.folder))
    assert text.dataset.general is not None, "build_text_dataset writes it"
    general = open_token_file(stage.open(text.dataset.general.folder))
    terms = open_token_file(stage.open(text.terms.folder))
    domain_rows = choose_examples(domain, recipe.max_tokens)
    asked = (
        (domain, domain_rows),
        (general, choose_examples(general, recipe.max_tokens)),
        (terms, list(range(len(terms.examples_E5)))),
    )
    model = load_tuned(spec, plan, stage.open(tuned.folder))
    stage.on_event(Progress(stage=stage.name, done=0, total=2, unit="models"))
    after = judge(model, asked, plan.sequence_length)
    stage.on_event(Progress(stage=stage.name, done=1, total=2, unit="models"))
    if grown.parts_file:
        before = _judge_origin(grown, asked, after, plan, stage)
    else:
        with opened_base(model, spec, plan) as base:
            before = judge(base, asked, plan.sequence_length)
    report = compare((before.domain, []), (after.domain, []), [], domain, domain_rows, stage)
    return report.model_copy(
        update={
            "general": compare_general(before.general, after.general, pretrain.max_forgetting),
            "terms": _compare_terms(before, after),
        }
    )


def judge(model: DecoderModel, asked: Asked, length: int) -> Judged:
    """Score one model.

    Args:
        model: any.
        asked: splits of the domain, of general text and of terms, each with the rows that count.
        length: tokens read at a time.
    """
    (domain, domain_rows), (general, general_rows), (terms, term_rows) = asked
    return Judged(
        domain=score_examples(model, domain, domain_rows, length),
        general=score_examples(model, general, general_rows, length),
        terms=score_examples(model, terms, term_rows, length) if term_rows else None,
        share_guessed=measure_guessed(model, [build_pack(terms, [row]) for row in term_rows]),
    )


def _judge_origin(
    grown: NewTerms, asked: Asked, after: Judged, plan: TrainPlan, stage: StageFolder
) -> Judged:
    """What the base without new tokens makes of the same text, cut into its own.

    Its losses are given per token of the model that was trained: only the text is the same, and so
    nats of a text, or bits per byte, are what can be compared.
    """
    body = json.loads(stage.open(grown.parts_file).read_text(encoding="utf-8"))
    parts = {int(token): pieces for token, pieces in body.items()}
    size = grown.origin.vocab_size
    divided = tuple(
        write_in_parts(split, rows, parts, stage.folder / f"origin-{number}", size)
        for number, (split, rows) in enumerate(asked)
    )
    base = wrap_model(load_for(grown.origin, plan).eval())
    every = tuple((split, list(range(len(split.examples_E5)))) for split in divided)
    before = judge(base, every, plan.sequence_length)
    return Judged(
        domain=replace(before.domain, labels_E=after.domain.labels_E),
        general=replace(before.general, labels_E=after.general.labels_E),
        terms=replace(before.terms, labels_E=after.terms.labels_E)
        if before.terms and after.terms
        else None,
        share_guessed=before.share_guessed,
    )


@torch.no_grad()
def measure_guessed(model: DecoderModel, packs: Sequence[Pack]) -> float:
    """Share of packs whose every label is the model's first guess; 0 where there are none."""
    num_right = 0
    for pack in packs:
        hidden_TD = model.read_hidden(pack)
        labels_T = torch.from_numpy(pack.labels_T).to(hidden_TD.device)
        known_T = labels_T != IGNORED
        guesses_N = (hidden_TD[known_T] @ model.read_head().t()).argmax(dim=1)
        num_right += bool((guesses_N == labels_T[known_T]).all())
    return num_right / max(1, len(packs))


def _compare_terms(before: Judged, after: Judged) -> TermScore | None:
    if before.terms is None or after.terms is None:
        return None
    return TermScore(
        num_places=len(before.terms.nats_E),
        base_share=before.share_guessed,
        tuned_share=after.share_guessed,
        base_loss=before.terms.mean_loss() or 0.0,
        tuned_loss=after.terms.mean_loss() or 0.0,
    )
