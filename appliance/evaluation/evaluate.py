"""The evaluation stage: base against tuned on documents that were not trained on."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from appliance.dataset.tokens import ANSWER, PASSAGE, TokenFile, open_token_file
from appliance.evaluation.forgetting import measure_forgetting
from appliance.evaluation.overlap import measure_overlap
from appliance.evaluation.questioning import Questioning, open_questioning
from appliance.evaluation.scores import ExampleScores, bootstrap_improvement, score_examples
from appliance.evaluation.sources import keep_sources
from appliance.evaluation.ways import BASE_WAYS, TUNED_WAYS, WayAnswers
from appliance.evaluation.ways_report import compare_ways, keep_answers, score_ways
from appliance.events import Progress
from appliance.recipe import EvaluateRecipe, TuneRecipe
from appliance.rundir import StageFolder
from appliance.tuning.method import load_tuned, opened_base
from appliance.tuning.model import DecoderModel
from appliance.tuning.sample import choose_examples
from appliance.values import (
    BaseSpec,
    Corpus,
    Dataset,
    EvalReport,
    HeldOutQuestion,
    Score,
    TrainPlan,
    TunedModel,
    Way,
)

Judged = tuple[ExampleScores, list[str]]
"""Scores of the test split, and answers to the held-out questions."""


def evaluate(
    plan: TrainPlan,
    spec: BaseSpec,
    tuned: TunedModel,
    dataset: Dataset,
    corpus: Corpus,
    recipe: EvaluateRecipe,
    tune: TuneRecipe,
    stage: StageFolder,
) -> EvalReport:
    """Score the base and the tuned model on the test split, and let both answer questions.

    Questions are asked in every way that a person has: the base alone, with a good prompt, with a
    search over the documents; tuned, and tuned with search.

    "Base" is the model that was trained on, with the trained weights switched off: what tuning
    did, and nothing else, is the difference.

    Args:
        plan: tells the method.
        spec: the base model.
        tuned: the trained weights.
        dataset: its test split and questions.
        corpus: what is searched.
        recipe: how much is scored and asked.
        tune: how much may be forgotten.
        stage: the answers are kept in it.

    Returns:
        Both scores, how sure their difference is, and what was forgotten.
    """
    torch.set_num_threads(plan.threads)
    split = open_token_file(stage.open(dataset.test.folder))
    rows = choose_examples(split, recipe.max_tokens)
    questioning = open_questioning(plan, spec, tuned, dataset, corpus, recipe, stage)
    answers: dict[Way, WayAnswers] = {}

    def judge(model: DecoderModel, ways: Sequence[Way], done: int) -> Judged:
        stage.on_event(Progress(stage=stage.name, done=done, total=2, unit="models"))
        scores = score_examples(model, split, rows, plan.sequence_length)
        answers.update(questioning.ask(model, ways))
        return scores, list(answers[ways[0]].answers)

    model = load_tuned(spec, plan, stage.open(tuned.folder))
    after = judge(model, TUNED_WAYS, 0)
    with opened_base(model, spec, plan) as base:
        before = judge(base, BASE_WAYS, 1)
    if dataset.sources_file:
        keep_sources(stage, stage.open(dataset.sources_file), before[0], after[0])
    found = _report_ways(questioning, answers, recipe, stage)
    if dataset.general is not None and dataset.general.num_labels:
        limit = tune.max_forgetting
        found["general"] = measure_forgetting(model, plan, spec, dataset.general, limit, stage)
    report = compare(before, after, questioning.answered, split, rows, stage)
    return report.model_copy(update=found)


def _report_ways(
    questioning: Questioning,
    answers: dict[Way, WayAnswers],
    recipe: EvaluateRecipe,
    stage: StageFolder,
) -> dict[str, object]:
    """Fields of the report that tell of the ways; the answers are kept side by side."""
    ordered = {way: answers[way] for way in (*BASE_WAYS, *TUNED_WAYS)}
    keep_answers(stage.folder / "answers.jsonl", questioning.sheet, ordered)
    return {
        "ways": score_ways(questioning.sheet, ordered, recipe.rules),
        "asked": compare_ways(questioning.sheet, ordered, questioning.index_seconds),
    }


def compare(
    before: Judged,
    after: Judged,
    questions: Sequence[HeldOutQuestion],
    split: TokenFile,
    rows: list[int],
    stage: StageFolder,
) -> EvalReport:
    """Both scores side by side, and how sure their difference is.

    Args:
        before: what the base made of the rows, and its answers.
        after: what the tuned model did.
        questions: that were answered.
        split: what was scored.
        rows: which examples of it.
        stage: where the answers are.
    """
    improvement, low, high = bootstrap_improvement(before[0], after[0])
    has_text = bool((before[0].kinds_E == PASSAGE).any())
    text = bootstrap_improvement(before[0], after[0], PASSAGE) if has_text else (None, None, None)
    return EvalReport(
        base=_score(before, questions),
        tuned=_score(after, questions),
        num_documents=len(set(split.examples_E5[rows, 2].tolist())),
        num_labels=int(before[0].labels_E.sum()),
        improvement=improvement,
        improvement_low=low,
        improvement_high=high,
        text_improvement=text[0],
        text_improvement_low=text[1],
        text_improvement_high=text[2],
        answers_file=stage.locate("answers.jsonl"),
    )


def _score(judged: Judged, questions: Sequence[HeldOutQuestion]) -> Score:
    scores, answers = judged
    overlaps = [
        measure_overlap(answer, question.answer)
        for answer, question in zip(answers, questions, strict=True)
    ]
    loss = scores.mean_loss()
    return Score(
        loss=0.0 if loss is None else loss,
        text_loss=scores.mean_loss(PASSAGE),
        answer_loss=scores.mean_loss(ANSWER),
        bits_per_byte=scores.bits_per_byte(),
        answer_f1=sum(overlaps) / len(overlaps) if overlaps else None,
    )
